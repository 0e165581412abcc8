"""A meter without a contactor and a switch beside it, as one `MeterPort`.

* The meter's own serial number is read in the same conversation before each order: an order without one is refused. The
  board's identity, where it has one, is proven then too (safety.md 4).
* A board that does not answer a look makes the state UNKNOWN and costs the meter's readings nothing: its exchanges carry its
  own name, and the line keeps it apart from the meter (`Exchange.device`). An order asks it at once, whatever it did before;
  an order that fails goes on as the failure it is.
"""

from __future__ import annotations

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.model import Capability, MeterEvent, MeterPort, Now, Reading, SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.switches.model import Switch
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.records import dataclass


@dataclass(slots=True)
class SwitchedPort(BasePort):
    """Reads go to `meter`, orders to `switch`; both must be on one line."""

    meter: MeterPort
    switch: Switch
    capabilities: frozenset[Capability] = frozenset()
    interval_s: int = 0
    _serial: str = ""

    def __post_init__(self) -> None:
        self.capabilities = self.meter.capabilities | {Capability.SWITCH}
        self.interval_s = self.meter.interval_s

    def open(self) -> Conversation[None]:
        self._serial = ""
        yield from self.meter.open()

    def close(self) -> Conversation[None]:
        self._serial = ""
        yield from self.meter.close()

    def read_serial(self) -> Conversation[str]:
        self._serial = yield from self.meter.read_serial()
        return self._serial

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        return (yield from self.meter.read_instant(now))

    def read_intervals(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        return (yield from self.meter.read_intervals(from_ms, to_ms))

    def read_events(self, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        return (yield from self.meter.read_events(after_ms))

    def read_clock(self) -> Conversation[int]:
        return (yield from self.meter.read_clock())

    def write_clock(self, utc_ms: int) -> Conversation[None]:
        yield from self.meter.write_clock(utc_ms)

    def read_switch(self) -> Conversation[SwitchState]:
        try:
            return (yield from self.switch.read())
        except LinkDown:
            return SwitchState.UNKNOWN

    def open_switch(self) -> Conversation[None]:
        yield from self._order(False)

    def close_switch(self) -> Conversation[None]:
        yield from self._order(True)

    def _order(self, close: bool) -> Conversation[None]:
        if not self._serial:
            raise MeterFault("the meter's serial number was not read in this conversation: nothing is switched")
        yield from self.switch.prove()
        yield from self.switch.order(close)
