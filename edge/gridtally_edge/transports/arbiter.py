"""Who speaks next on a line: a pure queue, ordered by priority, fair among meters.

* The order of architecture.md 5; a smaller number goes first. The line is granted for a whole conversation.
* Within one priority the meter that had the line longest ago goes first, then the older request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Priority(IntEnum):
    SWITCH = 0
    ON_DEMAND = 1
    PREPAID_LOW = 2
    EVENTS = 3
    PROFILE = 4
    GAP_FILL = 5
    DISCOVERY = 6


@dataclass(slots=True)
class Waiting(Generic[T]):
    priority: Priority
    meter_key: str
    sequence: int
    item: T


@dataclass(slots=True)
class Arbiter(Generic[T]):
    """`add` and `next` are the whole life of an entry; a conversation that must wait for its retry is added again."""

    _waiting: list[Waiting[T]] = field(default_factory=list)
    _granted: dict[str, int] = field(default_factory=dict)
    _sequence: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, priority: Priority, meter_key: str, item: T) -> None:
        self._sequence += 1
        self._waiting.append(Waiting(priority, meter_key, self._sequence, item))

    def next(self) -> T | None:
        """Take out the entry whose turn it is; None when nobody waits."""
        if not self._waiting:
            return None
        chosen = min(self._waiting, key=lambda w: (w.priority, self._granted.get(w.meter_key, 0), w.sequence))
        self._waiting.remove(chosen)
        self._sequence += 1
        self._granted[chosen.meter_key] = self._sequence
        return chosen.item

    def drain(self) -> tuple[T, ...]:
        """Take out everything, in order of arrival (the line is going away)."""
        items = tuple(w.item for w in self._waiting)
        self._waiting.clear()
        return items
