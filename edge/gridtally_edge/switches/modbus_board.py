"""The outputs and inputs of a Modbus relay board.

* The board's coils are off after power-up, so a dead board leaves supply on. Where the board has a time-out register
  (coils off after a silence), `watchdog_register` and `watchdog_value` name it: it is looked at on each visit and written
  when it differs, so that a dead concentrator ends its cuts too. The time must be longer than the poll interval.
* `identity_register` and `identity_value` say by what the board is known; it is asked before each order.

Source: MODBUS Application Protocol 1.1b3; safety.md 4 and 8.
"""

from __future__ import annotations

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.modbus import Function, ReadRequest, read_registers
from gridtally_edge.protocols.modbus_bits import (
    READ_COILS,
    READ_INPUTS,
    ask_bits,
    read_bit,
    write_coil_request,
    write_register_request,
)
from gridtally_edge.switches.model import NOT_THERE
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Board:
    """How a relay board is spoken to. -1 means that it has no such register."""

    unit: int
    write_function: int = 15
    identity_register: int = NOT_THERE
    identity_value: int = 0
    watchdog_register: int = NOT_THERE
    watchdog_value: int = 0
    timeout_ms: int = 500
    retries: int = 2

    @property
    def name(self) -> str:
        """Who is silent when the board is; the meter is not to blame."""
        return f"board-{self.unit}"

    def prove(self) -> Conversation[None]:
        if self.identity_register == NOT_THERE:
            return
        found = yield from self._register(self.identity_register)
        if found != self.identity_value:
            said = f"register {self.identity_register} holds {found}, not {self.identity_value}"
            raise MeterFault(f"another relay board answers at unit {self.unit}: {said}; nothing was switched")

    def guard(self) -> Conversation[None]:
        """See that the board lets go by itself when nobody speaks to it."""
        if self.watchdog_register == NOT_THERE:
            return
        if (yield from self._register(self.watchdog_register)) != self.watchdog_value:
            request = write_register_request(self.unit, self.watchdog_register, self.watchdog_value)
            yield from ask_bits(request, self.timeout_ms, self.retries, self.name)

    def coil(self, coil: int) -> Conversation[bool]:
        return (yield from read_bit(self.unit, READ_COILS, coil, self.timeout_ms, self.retries, self.name))

    def contact(self, contact: int) -> Conversation[bool]:
        return (yield from read_bit(self.unit, READ_INPUTS, contact, self.timeout_ms, self.retries, self.name))

    def drive(self, coil: int, on: bool) -> Conversation[None]:
        request = write_coil_request(self.unit, coil, on, self.write_function)
        yield from ask_bits(request, self.timeout_ms, self.retries, self.name)

    def _register(self, address: int) -> Conversation[int]:
        request = ReadRequest(self.unit, Function.READ_HOLDING, address, 1)
        return (yield from read_registers(request, self.timeout_ms, self.retries, self.name))[0]
