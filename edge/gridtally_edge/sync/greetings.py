"""When each hello of this run left, so that the age of a welcome is known: pure.

* A welcome names the hello it answers by that hello's `at_ms`. What passed since that hello left is the most the welcome's time can lie
  back. The newest hello alone would not do: an answer to an older one that comes right behind it looks fresh and is not.
* A hello of which nothing is known (an older run, an MDM that names none) gives no age.
"""

from __future__ import annotations

KEPT = 8


class Greetings:
    """`mono_s` is monotonic time."""

    def __init__(self) -> None:
        self._left_s: dict[int, float] = {}

    def sent(self, hello_at_ms: int, mono_s: float) -> None:
        self._left_s.setdefault(hello_at_ms, mono_s)  # the clock showed this time twice: the longer age is the safe one
        while len(self._left_s) > KEPT:
            del self._left_s[next(iter(self._left_s))]

    def round_trip_s(self, hello_at_ms: int, mono_s: float) -> float | None:
        """Since that hello left; None when it is not known."""
        left_s = self._left_s.get(hello_at_ms)
        return None if left_s is None else max(0.0, mono_s - left_s)
