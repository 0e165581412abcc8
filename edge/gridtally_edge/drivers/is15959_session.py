"""Which association of a meter is open: one for reading, one for what changes something, never both at once.

* `read` and `change` give the client for a purpose and switch over when needed (DISC, SNRM, AARQ).
* Before the first ciphered association the public client reads the meter's invocation counters.
* After a switch-over the serial is read again and must be the one read before: what changes something must reach the
  meter that was looked at (safety.md 4).
"""

from __future__ import annotations

from dataclasses import field

from gridtally_edge.drivers.is15959_config import Associations
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, Result, attribute
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.client import AccessDenied, DlmsClient
from gridtally_edge.protocols.dlms.counters import MemoryCounters
from gridtally_edge.protocols.dlms.initiate import Conformance
from gridtally_edge.protocols.dlms.security import Security, repair_counter
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.lifecycle import Reason
from gridtally_shared.records import dataclass

SERIAL = attribute(1, "0.0.96.1.0.255", 2)
_MOST_LIST_FAULTS = 2
_LARGE_PDU = 0xFFFF
_LIST_ITEM, _LIST_OVERHEAD = 10, 48
"""Octets of one attribute in a list, and of what stands around the list, ciphering included."""


@dataclass(slots=True)
class Session:
    """`changing` None in `clients`: the reading association may do everything."""

    clients: Associations
    _current: DlmsClient = field(init=False)
    _serial: str = field(default="", init=False)
    _counters_read: bool = field(default=False, init=False)
    _list_faults: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._current = self.clients.reading

    def open(self) -> Conversation[None]:
        self._serial = ""
        yield from self._read_counters()
        self._current = self.clients.reading
        yield from self._current.open()

    def _read_counters(self) -> Conversation[None]:
        """Once: our counters must not stand below the meter's. A meter without public client is asked in earnest."""
        wanted = self.clients.counters()
        if not wanted or self._counters_read:
            return
        self._current = self.clients.public
        try:
            yield from self._current.open()
        except MeterFault:
            self._counters_read = True
            return
        for target, security in wanted:
            outcome = yield from _value_or_result(self._current, target)
            if not isinstance(outcome, Result):
                _catch_up(security, axdr.integer_of(outcome))
        yield from self._current.close()
        self._counters_read = True

    def close(self) -> Conversation[None]:
        yield from self._current.close()

    def read_serial(self) -> Conversation[str]:
        client = yield from self.read()
        self._serial = axdr.text_of((yield from client.get(SERIAL)))
        return self._serial

    def read(self) -> Conversation[DlmsClient]:
        """The client to read with; whichever association is open will do."""
        yield from ()
        return self._current

    def change(self) -> Conversation[DlmsClient]:
        """The client to change something with. Raises RefusedCommand(WRONG_SERIAL) for another meter than before."""
        wanted = self.clients.changing or self.clients.reading
        if self._current is not wanted:
            yield from self._current.close()
            self._current = wanted
            yield from wanted.open()
            yield from self._same_meter(wanted)
        return wanted

    def _same_meter(self, client: DlmsClient) -> Conversation[None]:
        if not self._serial:
            return
        serial = axdr.text_of((yield from client.get(SERIAL)))
        if serial != self._serial:
            raise RefusedCommand(Reason.WRONG_SERIAL, f"meter {serial} answered, {self._serial} had answered before")

    def get(self, target: Attribute) -> Conversation[Data]:
        client = yield from self.read()
        return (yield from client.get(target))

    def has_lists(self) -> bool:
        """Whether several values may be asked for in one exchange."""
        agreed = self._current.agreed
        granted = bool(agreed and agreed.conformance & Conformance.MULTIPLE_REFERENCES)
        return granted and self._list_faults < _MOST_LIST_FAULTS

    def get_all(self, targets: tuple[Attribute, ...]) -> Conversation[tuple[Data | Result, ...]]:
        """Several values in as few exchanges as the meter's PDU allows where it has lists, else one by one."""
        found: list[Data | Result] = []
        size = self._list_size()
        for start in range(0, len(targets), size):
            found += yield from self._get_some(targets[start : start + size])
        return tuple(found)

    def _list_size(self) -> int:
        agreed = self._current.agreed
        octets = agreed.max_pdu if agreed and agreed.max_pdu else _LARGE_PDU
        return max((octets - _LIST_OVERHEAD) // _LIST_ITEM, 1)

    def _get_some(self, targets: tuple[Attribute, ...]) -> Conversation[tuple[Data | Result, ...]]:
        """A meter that grants lists and then fails at them is asked one by one from the second time on."""
        if len(targets) > 1 and self.has_lists():
            try:
                values = yield from self._current.get_list(targets)
            except MeterFault:
                self._list_faults += 1
            else:
                self._list_faults = 0
                return values
        found: list[Data | Result] = []
        for target in targets:
            found.append((yield from _value_or_result(self._current, target)))
        return tuple(found)


def _catch_up(security: Security, theirs: int) -> None:
    """Behind the meter's counter: a durable book follows within its bound, one that knows nothing follows at all."""
    if theirs < security.counters.next_of(security.channel):
        return
    if isinstance(security.counters, MemoryCounters):
        security.counters.raise_to(security.channel, theirs + 1)
    else:
        repair_counter(security, theirs)


def _value_or_result(client: DlmsClient, target: Attribute) -> Conversation[Data | Result]:
    try:
        return (yield from client.get(target))
    except AccessDenied as denied:
        return denied.result


def value_of(target: Attribute, outcome: Data | Result) -> Data:
    """Raises AccessDenied where a result stands in the value's place."""
    if isinstance(outcome, Result):
        raise AccessDenied(target, outcome)
    return outcome


def refusal(denied: AccessDenied, what: str) -> RefusedCommand:
    """What a denied access means to who gave the command. `temporary failure` is no refusal: it may be asked again."""
    reason = Reason.UNSUPPORTED if denied.undefined else Reason.METER_BUSY if denied.may_pass else Reason.METER_FAULT
    return RefusedCommand(reason, f"the meter refuses {what}: {denied.result}")


