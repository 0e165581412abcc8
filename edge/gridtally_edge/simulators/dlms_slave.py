"""Simulated DLMS meters on one bus: octets in, octets out, no I/O.

* `DlmsSlave` hears everything on the bus and answers for the physical addresses it has; frames of other units, and
  the answers of its own ones echoed back, are passed over.
* Frames may come in pieces, with noise between them and flags shared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.hdlc import Frame
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.simulators.dlms_link import HdlcSession
from gridtally_edge.simulators.dlms_objects import SimObjects
from gridtally_edge.simulators.dlms_server import CosemServer
from gridtally_edge.simulators.meter import SimMeter

LONGEST_PENDING: Final = 2 * hdlc.MAX_LENGTH
INDIA: Final = ClockRule(utc_offset_min=330)


@dataclass(frozen=True, slots=True)
class DlmsUnit:
    """One meter on the bus. `physical` is the lower HDLC address, `logical` the upper one. `frame_size` is the largest
    information field, `max_pdu` the largest PDU; `entry_access_only` refuses range access to profiles."""

    meter: SimMeter
    physical: int
    logical: int = 1
    password: bytes = field(default=b"ABCD0001", repr=False)
    clock: ClockRule = INDIA
    frame_size: int = 512
    max_pdu: int = 1024
    entry_access_only: bool = False


class DlmsSlave:
    """Many meters on one bus. Not thread-safe: one bus, one thread."""

    def __init__(self, units: Iterable[DlmsUnit]) -> None:
        self._sessions = {(unit.logical, unit.physical): _session(unit) for unit in units}
        self._pending = b""

    def receive(self, octets: bytes) -> bytes:
        """What the meters send after these octets of the bus; empty where nobody is addressed."""
        buffer = self._pending + octets
        answers = [answer for placed in hdlc.scan(buffer) if (answer := self._answer(placed.frame))]
        self._pending = buffer[hdlc.pending_from(buffer) :][-LONGEST_PENDING:]
        return b"".join(hdlc.encode_frame(answer) for answer in answers)

    def forget(self) -> None:
        """Drop a half-received frame, as a meter does after silence on the line."""
        self._pending = b""

    def _answer(self, frame: Frame) -> Frame | None:
        address = frame.destination
        key = (1, address.upper) if address.lower is None else (address.upper, address.lower)
        session = self._sessions.get(key)
        return session.handle(frame) if session and frame.source.lower is None else None


def _session(unit: DlmsUnit) -> HdlcSession:
    objects = SimObjects(unit.meter, unit.clock, unit.entry_access_only)
    server = CosemServer(objects, unit.password, unit.max_pdu)
    return HdlcSession(server, LinkParameters(unit.frame_size, unit.frame_size))
