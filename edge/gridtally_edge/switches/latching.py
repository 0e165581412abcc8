"""A latching contactor: a pulse on one coil opens it, a pulse on the other closes it, and without current it stays.

* Never both coils: before a pulse both are switched off and read back; a coil that stays on ends the order.
* A pulse has its length; when anything fails during it, the coil is switched off before the failure goes on. A coil found
  on at a visit (the process died during a pulse) is switched off.
* Only the feedback contact knows the state, so it is needed.
* The coils are outputs of a Modbus board or of the machine itself: whatever can drive, read a coil and read a contact.

Source: safety.md 8.
"""

from __future__ import annotations

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.switches.model import LOOKS, FeedbackOn, Outputs, Pause, contact_state, pause
from gridtally_shared.errors import GridtallyError, MeterFault
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class LatchingSwitch:
    outputs: Outputs
    open_coil: int
    close_coil: int
    feedback: int
    pulse_s: float
    feedback_on: FeedbackOn = FeedbackOn.OPEN
    settle_s: float = 0.1
    pause: Pause = pause

    def prove(self) -> Conversation[None]:
        yield from self.outputs.prove()

    def read(self) -> Conversation[SwitchState]:
        for coil in (self.open_coil, self.close_coil):
            if (yield from self.outputs.coil(coil)):
                yield from self.outputs.drive(coil, False)
        yield from self.outputs.guard()
        return (yield from self._state())

    def order(self, close: bool) -> Conversation[None]:
        coil, wanted = (self.close_coil, SwitchState.CLOSED) if close else (self.open_coil, SwitchState.OPEN)
        yield from self._both_off()
        yield from self._pulse(coil)
        for _ in range(LOOKS):
            if (yield from self._state()) is wanted:
                return
            self.pause(self.settle_s)

    def _both_off(self) -> Conversation[None]:
        for coil in (self.open_coil, self.close_coil):
            yield from self.outputs.drive(coil, False)
            if (yield from self.outputs.coil(coil)):
                raise MeterFault(f"coil {coil} of the latching contactor stays on: no pulse was given; look at the board")

    def _pulse(self, coil: int) -> Conversation[None]:
        try:
            yield from self.outputs.drive(coil, True)
            self.pause(self.pulse_s)
        except GridtallyError:
            yield from self.outputs.drive(coil, False)
            raise
        yield from self.outputs.drive(coil, False)

    def _state(self) -> Conversation[SwitchState]:
        return contact_state((yield from self.outputs.contact(self.feedback)), self.feedback_on)
