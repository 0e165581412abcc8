"""How fast one meter answers: pure. Two things are learnt, so that the line sleeps once and does not wait in vain.

* `lag_s`: how much later than bytes and silence alone its answers are complete. The line wakes then: too early costs a
  second wake, too late costs the line. Answers that were complete shorten it a little, an unfinished one lengthens it by
  five times as much (so one in six is allowed to be unfinished); four in a row set it to the shortest of the four. One late
  answer alone is an accident and must not hold up those behind it. Its step is 0.4 % of the time on the wire.
* The time-out of a healthy meter: four times its usual delay, `SHORTEST_S` at least, never more than the protocol wants.
  It counts for first tries and only after `KNOWN_AFTER` answers; a repetition always gets the protocol's own.

Source: performance.md section 5, tricks (a) and (c); protocols.md section 7, "absent unit costs timeouts".
"""

from __future__ import annotations

from gridtally_shared.records import dataclass

SHORTEST_S = 0.150
KNOWN_AFTER = 8
PATIENCE = 4.0
FORGET = 1 / 8
STEP_SHARE = 0.004
SHORTEST_STEP_S = 0.000_060
SHORT_IN_A_ROW = 4


@dataclass(slots=True)
class Pace:
    lag_s: float = 0.0
    slowest_s: float = 0.0
    answers: int = 0
    _short: int = 0
    _least_s: float = 0.0

    def on_time(self, travel_s: float) -> None:
        """The answer was complete when the line woke up; it had `travel_s` on the wire."""
        self.answers += 1
        self._short = 0
        self.lag_s = max(0.0, self.lag_s - _step_s(travel_s) / 50)

    def late(self, lag_s: float, travel_s: float) -> None:
        """The answer was complete only `lag_s` after bytes and silence."""
        self.answers += 1
        self._note_slow(lag_s)
        self._least_s = min(self._least_s, lag_s) if self._short else lag_s
        self._short += 1
        if self._short >= SHORT_IN_A_ROW:
            self.lag_s, self._short = self._least_s, 0
        self.lag_s += _step_s(travel_s) / 10

    def timeout_s(self, longest_s: float) -> float:
        """How long a first try waits for the first byte."""
        if self.answers < KNOWN_AFTER:
            return longest_s
        return min(longest_s, max(SHORTEST_S, PATIENCE * max(self.lag_s, self.slowest_s)))

    def _note_slow(self, lag_s: float) -> None:
        if lag_s >= self.slowest_s:
            self.slowest_s = lag_s
        else:
            self.slowest_s += (lag_s - self.slowest_s) * FORGET


def _step_s(travel_s: float) -> float:
    return max(SHORTEST_STEP_S, STEP_SHARE * travel_s)
