"""A relay with a normally closed contactor: output driven = supply open, not driven = supply on.

* After an order the contact is looked at until it agrees, at most `LOOKS` times.
* Without a feedback contact the output read back is all there is: it tells that the relay was driven, not more.

Source: safety.md 8.
"""

from __future__ import annotations

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.switches.model import LOOKS, NOT_THERE, FeedbackOn, Outputs, Pause, agreed, contact_state, pause
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class RelaySwitch:
    """`feedback` NOT_THERE: no contact."""

    outputs: Outputs
    coil: int
    feedback: int = NOT_THERE
    feedback_on: FeedbackOn = FeedbackOn.OPEN
    settle_s: float = 0.1
    pause: Pause = pause

    def prove(self) -> Conversation[None]:
        yield from self.outputs.prove()

    def read(self) -> Conversation[SwitchState]:
        yield from self.outputs.guard()
        return (yield from self._state())

    def order(self, close: bool) -> Conversation[None]:
        yield from self.outputs.guard()
        yield from self.outputs.drive(self.coil, not close)
        wanted = SwitchState.CLOSED if close else SwitchState.OPEN
        for _ in range(LOOKS):
            if (yield from self._state()) is wanted:
                return
            self.pause(self.settle_s)

    def _state(self) -> Conversation[SwitchState]:
        ordered = SwitchState.OPEN if (yield from self.outputs.coil(self.coil)) else SwitchState.CLOSED
        if self.feedback == NOT_THERE:
            return ordered
        return agreed(ordered, contact_state((yield from self.outputs.contact(self.feedback)), self.feedback_on))
