"""The concentrator's own clock against the cloud's signed time (BYPL-10.1).

* A welcome that came within `FRESH_S` of the very hello it answers tells the time to within half that round trip; a later one
  may have lain somewhere and sets nothing (sync/greetings.py).
* Off by more than the tolerance the clock is corrected at once, old and new time logged; by more than `LARGEST_MS` it is
  flagged and left to a person: cuts stop by themselves, since such a clock is not trusted (prepayment.md 5.6).
* A machine whose time service works is left to it, and virtual time is nobody's to set: the rim decides that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridtally_edge.core_events import ClockStepped, Effect, Moment, StepClock
from gridtally_edge.prepay.clocktrust import STEP_MS
from gridtally_edge.prepay.events import WelcomeSeen
from gridtally_shared.clock import Clock
from gridtally_shared.contract import messages as m
from gridtally_shared.events import BY_NAME
from gridtally_shared.records import dataclass

if TYPE_CHECKING:
    from gridtally_edge.core import EdgeCore

FRESH_S = 5.0
LARGEST_MS = 600_000
CORRECTED, JUMP_NEEDED = BY_NAME["clock_corrected"].code, BY_NAME["clock_jump_needed"].code


@dataclass(slots=True)
class SteppedClock:
    """A clock that is another one and a correction."""

    base: Clock
    correction_ms: int = 0

    def now_ms(self) -> int:
        return self.base.now_ms() + self.correction_ms

    def factor(self) -> float:
        return self.base.factor()

    def step(self, by_ms: int) -> ClockStepped:
        """Set it forward or back; what it showed and shows."""
        old_ms = self.now_ms()
        self.correction_ms += by_ms
        return ClockStepped(old_ms, old_ms + by_ms)


def compare(core: EdgeCore, welcome: m.Welcome, round_trip_s: float | None, moment: Moment) -> tuple[Effect, ...]:
    """What the cloud's signed time means for our clock. `round_trip_s`: since the hello it answers left, None when not known."""
    if moment.factor > 1 or round_trip_s is None or round_trip_s > FRESH_S:
        return ()
    off_ms = welcome.at_ms + int(round_trip_s * 500) - moment.now_ms
    if abs(off_ms) <= STEP_MS:
        return ()
    if abs(off_ms) > LARGEST_MS:
        event = m.Event(0, JUMP_NEEDED, moment.now_ms, f"offset={-off_ms} ms concentrator")
        core.journal.add_event(event, core.lane(), moment.now_ms)
        return ()
    return (StepClock(off_ms),)


def stepped(core: EdgeCore, step: ClockStepped, moment: Moment) -> tuple[Effect, ...]:
    """The clock was corrected: log it, and let it be believed again."""
    event = m.Event(0, CORRECTED, step.new_ms, f"old={step.old_ms} new={step.new_ms} concentrator")
    core.journal.add_event(event, core.lane(), moment.now_ms)
    return core.tell_prepay(WelcomeSeen(moment.now_ms), moment) + core.send(moment)
