"""From recorded octets to the PDUs in them: HDLC frames, wrapper, M-Bus transport, LLC or a bare PDU.

* Frames of one message must touch each other: where something unreadable stands between two segments the message is
  given up, since nothing says how much is missing.
* A message that starts without LLC is no start of a message, except a further block of general block transfer (some
  meters leave the LLC out there).
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.dlms import hdlc, mbus_transport, wrapper
from gridtally_edge.protocols.dlms.apdu import could_be_apdu
from gridtally_edge.protocols.dlms.hdlc import Control, Placed
from gridtally_edge.protocols.dlms.notification import GeneralBlock
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

_LLC: Final = (hdlc.LLC_COMMAND, hdlc.LLC_RESPONSE)
_CARRIERS: Final = (Control.I, Control.UI)


@dataclass(slots=True)
class Capture:
    """`transport` names the wrapping, `lines` describe its frames, `apdus` are the whole messages found. `proved`:
    a checksum confirms the transport."""

    transport: str
    proved: bool
    lines: list[str] = field(default_factory=list)
    apdus: list[bytes] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_capture(octets: bytes) -> Capture | None:
    """The PDUs in the octets, or None where they do not look like DLMS at all."""
    if octets[:1] == bytes([hdlc.FLAG]) or any(hdlc.scan(octets)):
        return _read_hdlc(octets)
    if mbus_transport.looks_like_mbus(octets):
        return _read_mbus(octets)
    if octets[:2] == wrapper.VERSION and wrapper.scan(octets):
        return _read_wrapper(octets)
    if octets[:3] in _LLC:
        return Capture("LLC PDU", False, apdus=[octets[3:]])
    if could_be_apdu(octets):
        return Capture("PDU", False, apdus=[octets])
    return None


def _read_hdlc(octets: bytes) -> Capture | None:
    placed = tuple(hdlc.scan(octets))
    if not placed and (len(octets) < 2 or octets[1] & 0xF0 != 0xA0):
        return None
    capture = Capture("HDLC", bool(placed))
    capture.lines = [_frame_line(p) for p in placed]
    capture.faults = [f"octets {start} to {end - 1}: {why}" for start, end, why in _gaps(octets, placed)]
    message: bytes | None = None
    behind: int | None = None
    for p in placed:
        if message is not None and not _touches(behind, p):
            capture.faults.append("a segment of a message is missing or damaged: the message is given up")
            message = None
        behind = p.end
        if p.frame.kind in _CARRIERS:
            message = _take_frame(capture, p, message)
    if message is not None:
        capture.faults.append("the last segment of a message is missing")
    return capture


def _take_frame(capture: Capture, placed: Placed, message: bytes | None) -> bytes | None:
    """Add a frame to the message under way; the message as far as it goes, or None when it is complete."""
    piece = placed.frame.information
    if message is None:
        start = _message_start(piece)
        if start is None:
            capture.faults.append(f"the frame at octet {placed.start} continues a message that is not here")
            return None
        piece = piece[start:]
    whole = (message or b"") + piece
    if placed.frame.segmented:
        return whole
    capture.apdus.append(whole)
    return None


def _message_start(piece: bytes) -> int | None:
    if piece[:3] in _LLC:
        return 3
    return 0 if piece[:1] == GeneralBlock.tags else None


def _touches(behind: int | None, placed: Placed) -> bool:
    return behind is not None and placed.start in (behind, behind - 1)


def _gaps(octets: bytes, placed: tuple[Placed, ...]) -> list[tuple[int, int, str]]:
    """Stretches outside sound frames, flags apart."""
    gaps = []
    position = 0
    for start, end in [*((p.start, p.end) for p in placed), (len(octets), len(octets))]:
        if octets[position:start].strip(b"\x7e"):
            flag = octets.find(hdlc.FLAG, position, start)
            why = hdlc.damage_at(octets[:start], flag) if flag >= 0 else "no frame"
            gaps.append((position, start, why))
        position = end
    return gaps


def _frame_line(placed: Placed) -> str:
    frame = placed.frame
    numbers = f" N(S) {frame.send_number}, N(R) {frame.receive_number}" if frame.kind is Control.I else ""
    more = ", more segments follow" if frame.segmented else ""
    size = f", {len(frame.information)} octets of information" if frame.information else ""
    return f"HDLC frame {frame.kind.value}{numbers} from {frame.source} to {frame.destination}{size}{more}"


def _read_mbus(octets: bytes) -> Capture | None:
    try:
        segments = mbus_transport.segments_of(octets)
    except MeterFault as fault:
        return Capture("M-Bus", False, faults=[str(fault)])
    lines = [f"M-Bus frame to address {s.address}, segment {s.number}, {len(s.piece)} octets" for s in segments]
    try:
        return Capture("M-Bus", True, lines, [mbus_transport.join_segments(segments)])
    except MeterFault as fault:
        return Capture("M-Bus", True, lines, faults=[str(fault)])


def _read_wrapper(octets: bytes) -> Capture:
    placed = wrapper.scan(octets)
    capture = Capture("wrapper", True)
    capture.lines = [f"wrapper PDU from port {p.pdu.source} to {p.pdu.destination}" for p in placed]
    capture.apdus = [p.pdu.apdu for p in placed]
    if placed[-1].end != len(octets):
        capture.faults.append(f"{len(octets) - placed[-1].end} octets behind the last wrapper PDU")
    return capture
