"""Who speaks next on a line: a pure queue, ordered by priority, fair among meters.

* The order of architecture.md 5; a smaller number goes first. The line is granted for a conversation, which may be asked
  to rest between two exchanges (`turns.py`) and is then resumed before the others of its priority.
* Within one priority the meter that had the line longest ago goes first, then the older request.
* Each meter has one lane a priority; a heap holds the lanes, so a full queue costs no more than a short one.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import field
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from gridtally_shared.records import dataclass

T = TypeVar("T")


class Priority(IntEnum):
    SWITCH = 0
    ON_DEMAND = 1
    PREPAID_LOW = 2
    EVENTS = 3
    PROFILE = 4
    GAP_FILL = 5
    DISCOVERY = 6


NOBODY = len(Priority)


class Rank(NamedTuple):
    """Whose turn it is."""

    priority: int
    meter_key: str


Place = tuple[int, int, int, int, str]
"""Of a lane's first entry: priority, 0 for what was asked to rest and 1 otherwise, when its meter last had the line,
sequence, meter. The smallest goes first."""


@dataclass(slots=True)
class Arbiter(Generic[T]):
    """`add` and `next` are the whole life of an entry; a conversation that must wait for its retry is added again.
    `best` is the priority of whoever is next, `NOBODY` when nobody waits."""

    best: int = NOBODY
    _lanes: dict[tuple[int, int, str], deque[tuple[int, T]]] = field(default_factory=dict)
    _order: list[Place] = field(default_factory=list)
    _granted: dict[str, int] = field(default_factory=dict)
    _sequence: int = 0
    _length: int = 0

    def __len__(self) -> int:
        return self._length

    def add(self, priority: Priority, meter_key: str, item: T, resumed: bool = False) -> None:
        self._sequence += 1
        self._length += 1
        key = (int(priority), 0 if resumed else 1, meter_key)
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = deque(((self._sequence, item),))
            heapq.heappush(self._order, (key[0], key[1], self._granted.get(meter_key, 0), self._sequence, meter_key))
            self.best = self._order[0][0]
        else:
            lane.append((self._sequence, item))

    def head(self) -> Rank | None:
        """Who would be next, without taking it out."""
        if not self._order:
            return None
        priority, _, _, _, meter_key = self._first()
        return Rank(priority, meter_key)

    def next(self) -> T | None:
        """Take out the entry whose turn it is; None when nobody waits."""
        if not self._order:
            return None
        priority, late, _, _, meter_key = self._first()
        lane = self._lanes[priority, late, meter_key]
        item = lane.popleft()[1]
        self._length -= 1
        self._sequence += 1
        self._granted[meter_key] = self._sequence
        if lane:
            heapq.heapreplace(self._order, (priority, late, self._sequence, lane[0][0], meter_key))
        else:
            del self._lanes[priority, late, meter_key]
            heapq.heappop(self._order)
        self.best = self._order[0][0] if self._order else NOBODY
        return item

    def _first(self) -> Place:
        """The first place of the heap, once it is known to be up to date."""
        while True:
            first = self._order[0]
            granted = self._granted.get(first[4], 0)
            if first[2] == granted:
                return first
            heapq.heapreplace(self._order, (*first[:2], granted, *first[3:]))  # its meter had the line meanwhile

    def drain(self) -> tuple[T, ...]:
        """Take out everything, in order of arrival (the line is going away)."""
        entries = sorted((entry for lane in self._lanes.values() for entry in lane), key=lambda entry: entry[0])
        self._lanes.clear()
        self._order.clear()
        self._length, self.best = 0, NOBODY
        return tuple(item for _, item in entries)
