"""How fast one meter answers: pure. Two things are learnt, so that the line sleeps once and does not wait in vain.

* `lag_s`: how much later than bytes and silence alone its answers are complete. The line wakes then: too early costs a
  second wake, too late costs the line. Answers that were complete shorten it by `SHORTER_S`, an unfinished one lengthens it by
  0.05 % of the time on the wire (at 9,600 baud one in 35 may be unfinished, at 115,200 one in six); four in a row set it to
  the shortest of the four. One late answer alone is an accident and must not hold up those behind it.
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
SHORTER_S = 0.000_001_5
LONGER_SHARE = 0.000_5
SHORTEST_LONGER_S = 0.000_007_5
SHORT_IN_A_ROW = 4


@dataclass(slots=True)
class Pace:
    lag_s: float = 0.0
    slowest_s: float = 0.0
    answers: int = 0
    _short: int = 0
    _least_s: float = 0.0

    def on_time(self) -> None:
        """The answer was complete when the line woke up."""
        self.answers += 1
        self._short = 0
        if self.lag_s > SHORTER_S:
            self.lag_s -= SHORTER_S

    def late(self, lag_s: float, travel_s: float) -> None:
        """The answer was complete only `lag_s` after bytes and silence; it had `travel_s` on the wire."""
        self.answers += 1
        self._note_slow(lag_s)
        self._least_s = min(self._least_s, lag_s) if self._short else lag_s
        self._short += 1
        if self._short >= SHORT_IN_A_ROW:
            self.lag_s, self._short = self._least_s, 0
        self.lag_s += max(SHORTEST_LONGER_S, LONGER_SHARE * travel_s)

    def timeout_s(self, longest_s: float) -> float:
        """How long a first try waits for the first byte."""
        if self.answers < KNOWN_AFTER:
            return longest_s
        usual_s = PATIENCE * (self.lag_s if self.lag_s > self.slowest_s else self.slowest_s)
        return min(longest_s, usual_s if usual_s > SHORTEST_S else SHORTEST_S)

    def _note_slow(self, lag_s: float) -> None:
        if lag_s >= self.slowest_s:
            self.slowest_s = lag_s
        else:
            self.slowest_s += (lag_s - self.slowest_s) * FORGET
