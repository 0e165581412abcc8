"""Circuit breaker of one meter: a silent meter must not cost its neighbours their time. Pure, a table.

* HEALTHY: conversations run with their own retries. One that ends in silence opens the breaker.
* SILENT: refused at once until the back-off is over; then one conversation may probe, with a single try.
* Back-off doubles from `FIRST_S` to `LONGEST_S`. A person's command (`urgent`) may probe earlier, but never more
  often than every `FIRST_S`.
* A device beside a meter (`Exchange.device`) is left alone for `BESIDE_LONGEST_S` at most, and an urgent command always asks it.
"""

from __future__ import annotations

from enum import Enum

from gridtally_shared.records import dataclass

FIRST_S = 5.0
LONGEST_S = 300.0
BESIDE_LONGEST_S = 30.0


class State(Enum):
    HEALTHY = "healthy"
    SILENT = "silent"
    PROBING = "probing"


class Event(Enum):
    ANSWERED = "answered"
    STAYED_SILENT = "stayed silent"
    PROBE_STARTED = "probe started"
    PROBE_LOST = "probe lost with its line"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.HEALTHY, Event.ANSWERED): State.HEALTHY,
    (State.HEALTHY, Event.STAYED_SILENT): State.SILENT,
    (State.SILENT, Event.ANSWERED): State.HEALTHY,
    (State.SILENT, Event.STAYED_SILENT): State.SILENT,
    (State.SILENT, Event.PROBE_STARTED): State.PROBING,
    (State.PROBING, Event.ANSWERED): State.HEALTHY,
    (State.PROBING, Event.STAYED_SILENT): State.SILENT,
    (State.PROBING, Event.PROBE_LOST): State.SILENT,
}


@dataclass(frozen=True, slots=True)
class Breaker:
    """`failures` in a row, and when (monotonic seconds) the last one was noticed."""

    state: State = State.HEALTHY
    failures: int = 0
    failed_at_s: float = 0.0

    def may_speak(self, now_s: float, urgent: bool = False) -> bool:
        return self.state is not State.SILENT or self.wait_s(now_s, urgent) <= 0

    def may_speak_beside(self, now_s: float, urgent: bool) -> bool:
        """For a device beside a meter."""
        return urgent or self.state is not State.SILENT or now_s >= self.failed_at_s + min(BESIDE_LONGEST_S, back_off_s(self.failures))

    def wait_s(self, now_s: float, urgent: bool = False) -> float:
        """How long the meter is still left alone; 0 or less when it may be asked."""
        if self.state is not State.SILENT:
            return 0.0
        return self.failed_at_s + (FIRST_S if urgent else back_off_s(self.failures)) - now_s


def back_off_s(failures: int) -> float:
    return min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 16))


def advance(breaker: Breaker, event: Event, now_s: float) -> Breaker:
    """The breaker after an event. KeyError means a caller's mistake, not the meter's."""
    state = TRANSITIONS[breaker.state, event]
    if event is Event.ANSWERED:
        return Breaker(state)
    if event is Event.STAYED_SILENT:
        return Breaker(state, breaker.failures + 1, now_s)
    return Breaker(state, breaker.failures, breaker.failed_at_s)
