"""The clock of a simulated meter: true time, a skew that changes when somebody sets it, and a crystal that runs fast or slow.

* Setting it moves what comes later; a mark that the clock has shown once is never shown again for the same profile.
"""

from __future__ import annotations

from gridtally_shared.records import dataclass

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """From the true time `from_ms` on the clock is `skew_ms` ahead, and from `drifts_from_ms` on more and more."""

    from_ms: int
    skew_ms: int
    drifts_from_ms: int
    drift_ppm: int

    def shows(self, true_ms: int) -> int:
        return true_ms + self.skew_ms + max(true_ms - self.drifts_from_ms, 0) * self.drift_ppm // _MILLION

    def first_shows(self, mark_ms: int) -> int:
        """The first true time at which it shows a mark or more."""
        true_ms = mark_ms - self.skew_ms
        if not self.drift_ppm:
            return true_ms
        for _ in range(4):
            true_ms -= self.shows(true_ms) - mark_ms
        while self.shows(true_ms) < mark_ms:
            true_ms += 1
        while self.shows(true_ms - 1) >= mark_ms:
            true_ms -= 1
        return true_ms


class MeterTime:
    """The clock's stretches, the first one since ever; `drift_ppm` is how fast it runs away, from `drifts_from_ms` on."""

    def __init__(self, skew_ms: int, drift_ppm: int = 0, drifts_from_ms: int = 0) -> None:
        self._drift_ppm = drift_ppm
        self._stretches = [Stretch(0, skew_ms, drifts_from_ms, drift_ppm)]

    def set(self, at_ms: int, skew_ms: int) -> None:
        self._stretches.append(Stretch(at_ms, skew_ms, at_ms, self._drift_ppm))

    def shows(self, true_ms: int) -> int:
        return next(s for s in reversed(self._stretches) if s.from_ms <= true_ms or s.from_ms == 0).shows(true_ms)

    def was_set_within(self, from_true_ms: int, to_true_ms: int) -> bool:
        """Whether the clock was set in this span, its end excluded."""
        return any(from_true_ms <= stretch.from_ms < to_true_ms for stretch in self._stretches[1:])

    def furthest_ms(self, now_ms: int) -> int:
        """The latest time this clock ever showed."""
        ends = [stretch.from_ms for stretch in self._stretches[1:]] + [now_ms]
        return max(stretch.shows(end_ms) for end_ms, stretch in zip(ends, self._stretches, strict=True))

    def crossing_ms(self, mark_ms: int) -> int:
        """True time at which this clock first showed `mark_ms`."""
        for index, stretch in enumerate(self._stretches):
            after_ms = self._stretches[index + 1].from_ms if index + 1 < len(self._stretches) else None
            crossing_ms = max(stretch.first_shows(mark_ms), stretch.from_ms)
            if after_ms is None or crossing_ms <= after_ms:
                return crossing_ms
        raise AssertionError("the last stretch has no end")
