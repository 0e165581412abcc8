"""What happens in the demo besides the street living on: the uplink is cut for half a day, and homes that went dark pay again.

Pure: `due` says what to do now; the launcher does it. Times are virtual milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR

PAY_AFTER_MS = 2 * MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class CutUplink:
    pass


@dataclass(frozen=True, slots=True)
class MendUplink:
    pass


@dataclass(frozen=True, slots=True)
class Pay:
    account_no: int


Act = CutUplink | MendUplink | Pay


@dataclass(slots=True)
class Story:
    """`days` None: no end (the live demo), an outage every second day. Otherwise one outage in the middle."""

    start_ms: int
    days: float | None
    cut: bool = False
    outages: list[list[int]] = field(default_factory=list)
    _paid_for: set[tuple[int, int]] = field(default_factory=set)

    @property
    def end_ms(self) -> int | None:
        return None if self.days is None else self.start_ms + int(self.days * MS_PER_DAY)

    def outage(self, now_ms: int) -> tuple[int, int]:
        """The outage of now or the next one: half a day, or half of a shorter run."""
        if self.days is not None:
            middle, half = self.start_ms + int(self.days * MS_PER_DAY / 2), int(self.days * MS_PER_DAY / 4)
        else:
            middle = self.start_ms + (now_ms - self.start_ms) // (2 * MS_PER_DAY) * 2 * MS_PER_DAY + 30 * MS_PER_HOUR
            half = MS_PER_DAY
        half = min(half, 6 * MS_PER_HOUR)
        return middle - half, middle + half

    def due(self, now_ms: int, dark: Iterable[tuple[int, int]]) -> list[Act]:
        """Acts of this moment. `dark`: (account, since when) of homes known to be cut. Each cut is paid for once."""
        acts: list[Act] = []
        begin, end = self.outage(now_ms)
        inside = begin <= now_ms < end
        if inside and not self.cut:
            self.cut = True
            self.outages.append([now_ms, now_ms])
            acts.append(CutUplink())
        elif self.cut and not inside:
            self.cut = False
            self.outages[-1][1] = now_ms
            acts.append(MendUplink())
        for account_no, since_ms in dark:
            if now_ms - since_ms >= PAY_AFTER_MS and (account_no, since_ms) not in self._paid_for:
                self._paid_for.add((account_no, since_ms))
                acts.append(Pay(account_no))
        return acts
