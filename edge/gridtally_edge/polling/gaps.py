"""Which intervals are missing: exact ranges on the plain UTC grid, nothing asked twice, nothing left out."""

from __future__ import annotations

from collections.abc import Collection

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Intervals whose start lies in from_ms..to_ms, the end not included; both on the grid."""

    from_ms: int
    to_ms: int

    def count(self, interval_ms: int) -> int:
        return max(0, (self.to_ms - self.from_ms) // interval_ms)

    def first(self, count: int, interval_ms: int) -> Span:
        """The first `count` intervals of the span."""
        return Span(self.from_ms, min(self.to_ms, self.from_ms + count * interval_ms))


def floor_to(at_ms: int, interval_ms: int) -> int:
    """The last interval boundary at or before `at_ms`."""
    return at_ms // interval_ms * interval_ms


def missing_spans(wanted: Span, stored_starts: Collection[int], interval_ms: int) -> tuple[Span, ...]:
    """The parts of `wanted` that are not stored, oldest first, each as long as it goes."""
    stored = frozenset(stored_starts)
    spans: list[Span] = []
    start: int | None = None
    for at_ms in range(wanted.from_ms, wanted.to_ms, interval_ms):
        if at_ms not in stored:
            start = at_ms if start is None else start
        elif start is not None:
            spans.append(Span(start, at_ms))
            start = None
    if start is not None:
        spans.append(Span(start, wanted.to_ms))
    return tuple(spans)
