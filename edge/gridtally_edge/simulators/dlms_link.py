"""The meter's side of one HDLC link: sequence numbers, windows, segments, repeats. Frames in, frames out.

* One client at a time; a new SNRM starts afresh. Before SNRM every polled frame gets DM.
* Frames go out in windows of the agreed size; the last one of a window carries the final bit. What is not acknowledged
  is sent again when the client polls, repeats its request or says REJ.
* A repeated I frame (an old number) is never delivered twice; one that skips a number gets REJ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import field
from typing import Final, Protocol

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Control, Frame
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters, read_parameters
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

MAX_INFORMATION: Final = 2_030
MAX_WINDOW: Final = 7
MAX_MESSAGE: Final = 1 << 17
Frames = tuple[Frame, ...]


class Application(Protocol):
    """What sits above the link."""

    def start(self, client: int) -> None: ...

    def handle(self, apdu: bytes) -> tuple[bytes, ...]:
        """The PDUs that answer this one, none where a meter stays silent."""
        ...

    def abort(self) -> None:
        """The link is gone, and with it the association."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """The information field of one I frame to come."""

    octets: bytes
    more: bool


@dataclass(slots=True)
class HdlcSession:
    """Link state of one meter. `sizes` are the largest information fields and windows it sends and takes."""

    application: Application
    sizes: LinkParameters = field(default_factory=LinkParameters)
    quirks: QuirkBoard = field(default_factory=QuirkBoard)
    _client: Address | None = field(default=None, init=False)
    _agreed: LinkParameters = field(default_factory=LinkParameters, init=False)
    _next: int = field(default=0, init=False)
    _received: int = field(default=0, init=False)
    _incoming: bytes = field(default=b"", init=False)
    _outgoing: deque[Piece] = field(default_factory=deque, init=False)
    _unacknowledged: deque[tuple[int, Piece]] = field(default_factory=deque, init=False)

    @property
    def linked(self) -> bool:
        return self._client is not None

    def handle(self, frame: Frame) -> Frames:
        """What the meter sends; nothing where it stays silent."""
        if frame.kind is Control.SNRM:
            return self._open(frame)
        if self.quirks.acts(Quirk.FORGET_LINK, lambda: self._client is not None):
            self.drop()
        if self._client is None or self._client.upper != frame.source.upper:
            return self._only(frame, hdlc.DM) if frame.poll else ()
        answer = _ANSWERS.get(frame.kind)
        return answer(self, frame) if answer else self._reject_frame(frame)

    def drop(self) -> None:
        """Forget the link, as a meter does that restarts."""
        self._client = None
        self.application.abort()

    def _open(self, frame: Frame) -> Frames:
        try:
            theirs = read_parameters(frame.information)
        except MeterFault:
            return self._only(frame, hdlc.DM)
        empty = self.quirks.acts(Quirk.EMPTY_UA)
        self._agreed = LinkParameters() if empty else agreed(self.sizes, theirs)
        self._client, self._next, self._received, self._incoming = frame.source, 0, 0, b""
        self._outgoing.clear()
        self._unacknowledged.clear()
        self.application.start(frame.source.upper)
        return self._only(frame, hdlc.UA, b"" if empty else self._agreed.octets())

    def _close(self, frame: Frame) -> Frames:
        self.drop()
        return self._only(frame, hdlc.UA)

    def _information(self, frame: Frame) -> Frames:
        self._acknowledge(frame.receive_number)
        if self.quirks.acts(Quirk.FRAME_REJECT):
            return self._reject_frame(frame)
        if frame.send_number == self._received and self.quirks.acts(Quirk.REJECT):
            return self._only(frame, _reject(self._received))
        if frame.send_number != self._received:
            return self._out_of_sequence(frame)
        self._received = (self._received + 1) % 8
        self._incoming += frame.information
        if len(self._incoming) > MAX_MESSAGE:
            return self._reject_frame(frame)
        if not frame.segmented and not self._deliver():
            return self._reject_frame(frame)
        if self.quirks.acts(Quirk.BUSY):
            return self._only(frame, _not_ready(self._received))
        return self._window(frame) if frame.poll else ()

    def _out_of_sequence(self, frame: Frame) -> Frames:
        """An old frame again: what answered it goes out again. A later one than due: REJ."""
        ahead = (frame.send_number - self._received) % 8
        if ahead < self._agreed.window_taken:
            return self._only(frame, _reject(self._received)) if frame.poll else ()
        return self._again(frame) if frame.poll else ()

    def _deliver(self) -> bool:
        """Hand the whole message over and queue what answers it; False where it is no DLMS message."""
        message, self._incoming = self._incoming, b""
        if message[:3] != hdlc.LLC_COMMAND:
            return False
        for apdu in self.application.handle(message[3:]):
            self._queue(hdlc.LLC_RESPONSE + apdu)
        return True

    def _queue(self, message: bytes) -> None:
        size = self._agreed.size_sent
        for at in range(0, len(message), size):
            self._outgoing.append(Piece(message[at : at + size], at + size < len(message)))

    def _ready(self, frame: Frame) -> Frames:
        self._acknowledge(frame.receive_number)
        if not frame.poll:
            return ()
        return self._again(frame) if self._unacknowledged else self._window(frame)

    def _rejected(self, frame: Frame) -> Frames:
        self._acknowledge(frame.receive_number)
        return self._again(frame)

    def _not_yet(self, frame: Frame) -> Frames:
        self._acknowledge(frame.receive_number)
        return self._only(frame, hdlc.receive_ready(self._received)) if frame.poll else ()

    def _acknowledge(self, up_to: int) -> None:
        """Everything before N(R) has arrived; a number outside the window says nothing."""
        numbers = [number for number, _ in self._unacknowledged]
        if up_to in numbers or up_to == self._next:
            while self._unacknowledged and self._unacknowledged[0][0] != up_to:
                self._unacknowledged.popleft()

    def _window(self, frame: Frame) -> Frames:
        while self._outgoing and len(self._unacknowledged) < self._agreed.window_sent:
            self._unacknowledged.append((self._next, self._outgoing.popleft()))
            self._next = (self._next + 1) % 8
        return self._again(frame)

    def _again(self, frame: Frame) -> Frames:
        """All that is not acknowledged, or RR where there is nothing."""
        if not self._unacknowledged:
            return self._only(frame, hdlc.receive_ready(self._received))
        last = len(self._unacknowledged) - 1
        frames = tuple(self._piece_frame(frame, n, p, i == last) for i, (n, p) in enumerate(self._unacknowledged))
        if self.quirks.acts(Quirk.LOSE_FRAME):
            lost = min(1, last)
            return frames[:lost] + frames[lost + 1 :]
        return frames

    def _piece_frame(self, frame: Frame, number: int, piece: Piece, final: bool) -> Frame:
        control = hdlc.information(number, self._received) & (0xFF if final else ~hdlc.POLL)
        return Frame(frame.source, frame.destination, control, piece.octets, piece.more)

    def _reject_frame(self, frame: Frame) -> Frames:
        """FRMR with the control octet refused and the state; the link is gone."""
        self.drop()
        return self._only(frame, hdlc.FRMR, bytes([frame.control, self._received << 5 | self._next << 1, 0x01]))

    def _only(self, frame: Frame, control: int, information: bytes = b"") -> Frames:
        return (Frame(frame.source, frame.destination, control, information),)


def agreed(ours: LinkParameters, theirs: LinkParameters) -> LinkParameters:
    """What both sides can do, from our view, within the limits of the standard."""
    return LinkParameters(
        min(ours.size_sent, theirs.size_taken, MAX_INFORMATION),
        min(ours.size_taken, theirs.size_sent, MAX_INFORMATION),
        min(ours.window_sent, theirs.window_taken, MAX_WINDOW),
        min(ours.window_taken, theirs.window_sent, MAX_WINDOW),
    )


def _reject(receive: int) -> int:
    return receive << 5 | hdlc.POLL | 0x09


def _not_ready(receive: int) -> int:
    return receive << 5 | hdlc.POLL | 0x05


_ANSWERS: Final[dict[Control, Callable[[HdlcSession, Frame], Frames]]] = {
    Control.I: HdlcSession._information,
    Control.RR: HdlcSession._ready,
    Control.REJ: HdlcSession._rejected,
    Control.RNR: HdlcSession._not_yet,
    Control.DISC: HdlcSession._close,
    Control.UI: lambda session, frame: (),
}
