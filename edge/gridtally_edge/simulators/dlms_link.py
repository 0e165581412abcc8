"""The meter's side of one HDLC link: sequence numbers, segments, repeats. Frames in, frames out.

* One client at a time; a new SNRM starts afresh. Before SNRM every polled frame gets DM.
* A repeated I frame (an old number) is answered with the last frame again and never delivered twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Control, Frame
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters, read_parameters
from gridtally_shared.errors import MeterFault


class Application(Protocol):
    """What sits above the link."""

    def start(self, client: int) -> None: ...

    def handle(self, apdu: bytes) -> bytes: ...


@dataclass(slots=True)
class HdlcSession:
    """Link state of one meter. `sizes` are the largest information fields it sends and takes."""

    application: Application
    sizes: LinkParameters = field(default_factory=LinkParameters)
    _client: Address | None = field(default=None, init=False)
    _agreed: LinkParameters = field(default_factory=LinkParameters, init=False)
    _sent: int = field(default=0, init=False)
    _received: int = field(default=0, init=False)
    _incoming: bytes = field(default=b"", init=False)
    _outgoing: list[bytes] = field(default_factory=list, init=False)
    _last: Frame | None = field(default=None, init=False)

    def handle(self, frame: Frame) -> Frame | None:
        """The answer, or None where a meter stays silent."""
        if frame.kind is Control.SNRM:
            return self._open(frame)
        if self._client is None or self._client.upper != frame.source.upper:
            return self._reply(frame, hdlc.DM) if frame.poll else None
        answer = _ANSWERS.get(frame.kind)
        return answer(self, frame) if answer else self._reply(frame, hdlc.FRMR)

    def _open(self, frame: Frame) -> Frame | None:
        try:
            theirs = read_parameters(frame.information)
        except MeterFault:
            return self._reply(frame, hdlc.DM)
        self._agreed = LinkParameters(min(self.sizes.size_sent, theirs.size_taken), min(self.sizes.size_taken, theirs.size_sent))
        self._client, self._sent, self._received = frame.source, 0, 0
        self._incoming, self._outgoing, self._last = b"", [], None
        self.application.start(frame.source.upper)
        return self._reply(frame, hdlc.UA, self._agreed.octets())

    def _close(self, frame: Frame) -> Frame:
        self._client = None
        return self._reply(frame, hdlc.UA)

    def _information(self, frame: Frame) -> Frame | None:
        if frame.send_number != self._received:
            return self._last
        self._received = (self._received + 1) % 8
        self._incoming += frame.information
        if frame.segmented:
            self._last = self._reply(frame, hdlc.receive_ready(self._received))
            return self._last
        message, self._incoming = self._incoming, b""
        return self._deliver(frame, message)

    def _deliver(self, frame: Frame, message: bytes) -> Frame:
        if message[:3] != hdlc.LLC_COMMAND:
            return self._reply(frame, hdlc.FRMR)
        answer = hdlc.LLC_RESPONSE + self.application.handle(message[3:])
        size = self._agreed.size_sent
        self._outgoing = [answer[at : at + size] for at in range(0, len(answer), size)]
        return self._next_piece(frame)

    def _ready(self, frame: Frame) -> Frame | None:
        if frame.receive_number != self._sent and self._last is not None:
            return self._last
        if self._outgoing:
            return self._next_piece(frame)
        return self._reply(frame, hdlc.receive_ready(self._received))

    def _next_piece(self, frame: Frame) -> Frame:
        piece = self._outgoing.pop(0)
        control = hdlc.information(self._sent, self._received)
        self._sent = (self._sent + 1) % 8
        self._last = Frame(frame.source, frame.destination, control, piece, bool(self._outgoing))
        return self._last

    def _reply(self, frame: Frame, control: int, information: bytes = b"") -> Frame:
        return Frame(frame.source, frame.destination, control, information)


_ANSWERS: dict[Control, Callable[[HdlcSession, Frame], Frame | None]] = {
    Control.I: HdlcSession._information,
    Control.RR: HdlcSession._ready,
    Control.DISC: HdlcSession._close,
}
