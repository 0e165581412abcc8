"""The client side of a DLMS link, as conversations: HDLC on serial lines, the wrapper on IP.

* HDLC, window 1: one I frame, one answer. Long PDUs are segmented both ways; each received segment but the last is
  acknowledged with RR.
* A lost answer: the line repeats the same frame (the meter knows it by its number), then the link polls with RR and
  learns whether the meter got the request. FRMR or DM mean the meter has forgotten us: `LinkDown`.
* Every loop has an end: segments, polls and octets are bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found
from gridtally_edge.protocols.dlms import hdlc, wrapper
from gridtally_edge.protocols.dlms.hdlc import Address, Control, Frame
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters, read_parameters
from gridtally_shared.errors import LinkDown, MeterFault

MAX_APDU: Final = 1 << 17
MAX_POLLS: Final = 8
_SUPERVISION: Final = (Control.RR, Control.RNR, Control.FRMR, Control.DM)


class Link(Protocol):
    """Carries whole PDUs to one meter and back."""

    def connect(self) -> Conversation[None]: ...

    def request(self, apdu: bytes) -> Conversation[bytes]: ...

    def disconnect(self) -> Conversation[None]: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one answer may take and how often the line asks again."""

    answer_ms: int = 1_500
    retries: int = 2


@dataclass(slots=True)
class HdlcLink:
    """State of one HDLC link: the two sequence numbers and the sizes agreed on."""

    client: Address
    server: Address
    wanted: LinkParameters = field(default_factory=LinkParameters)
    timing: Timing = Timing()
    agreed: LinkParameters = field(default_factory=LinkParameters, init=False)
    _sent: int = field(default=0, init=False)
    _received: int = field(default=0, init=False)

    def connect(self) -> Conversation[None]:
        """SNRM, UA. Raises LinkDown where the meter answers DM (busy, or no link for this client)."""
        request = Frame(self.server, self.client, hdlc.SNRM, self.wanted.octets())
        answer = yield from self._exchange(request, (Control.UA, Control.DM))
        if answer.kind is Control.DM:
            raise LinkDown(f"meter {self.server} refuses the link")
        theirs = read_parameters(answer.information)
        self.agreed = LinkParameters(
            min(self.wanted.size_sent, theirs.size_taken), min(self.wanted.size_taken, theirs.size_sent)
        )
        self._sent = self._received = 0

    def request(self, apdu: bytes) -> Conversation[bytes]:
        """Send a PDU and return the answer's PDU. Raises LinkDown, or MeterFault for an answer without sense."""
        message = hdlc.LLC_COMMAND + apdu
        size = self.agreed.size_sent
        pieces = [message[at : at + size] for at in range(0, len(message), size)]
        for piece in pieces[:-1]:
            yield from self._send(piece, True, (Control.RR,))
        answer = yield from self._send(pieces[-1], False, (Control.I,))
        return hdlc.strip_llc((yield from self._gather(answer)))

    def disconnect(self) -> Conversation[None]:
        """DISC; UA and DM are both fine."""
        frame = Frame(self.server, self.client, hdlc.DISC)
        yield from self._exchange(frame, (Control.UA, Control.DM), Timing(self.timing.answer_ms, 0))

    def _send(self, piece: bytes, more: bool, wanted: tuple[Control, ...]) -> Conversation[Frame]:
        """One I frame of ours until it is acknowledged, and the frame that answers it."""
        number = self._sent
        self._sent = (number + 1) % 8
        frame = Frame(self.server, self.client, hdlc.information(number, self._received), piece, more)
        answer = yield from self._ask_or_poll(frame, wanted)
        for _ in range(MAX_POLLS):
            taken = answer.receive_number == self._sent
            if taken and answer.kind in wanted:
                return answer
            answer = yield from (self._poll() if taken else self._ask_or_poll(frame, wanted))
        raise LinkDown(f"meter {self.server} does not take frame {number}")

    def _gather(self, answer: Frame) -> Conversation[bytes]:
        """The whole message of which `answer` is the first segment."""
        message = b""
        while True:
            self._received = (answer.send_number + 1) % 8
            message += answer.information
            if not answer.segmented:
                return message
            if len(message) > MAX_APDU or not answer.information:
                raise MeterFault("a segmented message without end")
            answer = yield from self._next_segment()

    def _next_segment(self) -> Conversation[Frame]:
        for _ in range(MAX_POLLS):
            answer = yield from self._poll()
            if answer.kind is Control.I:
                return answer
        raise LinkDown(f"meter {self.server} stopped within a message")

    def _ask_or_poll(self, frame: Frame, wanted: tuple[Control, ...]) -> Conversation[Frame]:
        try:
            answer = yield from self._exchange(frame, (*wanted, *_SUPERVISION))
        except LinkDown:
            return (yield from self._poll())
        return self._alive(answer)

    def _poll(self) -> Conversation[Frame]:
        frame = Frame(self.server, self.client, hdlc.receive_ready(self._received))
        return self._alive((yield from self._exchange(frame, (Control.I, *_SUPERVISION))))

    def _alive(self, answer: Frame) -> Frame:
        if answer.kind in (Control.FRMR, Control.DM):
            raise LinkDown(f"meter {self.server} has dropped the link ({answer.kind.value})")
        return answer

    def _exchange(self, frame: Frame, kinds: tuple[Control, ...], timing: Timing | None = None) -> Conversation[Frame]:
        limits = timing or self.timing
        find = self._finder(kinds)
        octets = yield Exchange(hdlc.encode_frame(frame), find, None, limits.answer_ms, limits.retries)
        return hdlc.frames_of(octets)[0]

    def _finder(self, kinds: tuple[Control, ...]) -> Callable[[bytes], Found | None]:
        def find(received: bytes) -> Found | None:
            for placed in hdlc.scan(received):
                if self._is_answer(placed.frame, kinds):
                    return Found(placed.start, placed.end)
            return None

        return find

    def _is_answer(self, frame: Frame, kinds: tuple[Control, ...]) -> bool:
        if frame.kind not in kinds or frame.source != self.server or frame.destination.upper != self.client.upper:
            return False
        return frame.kind is not Control.I or frame.send_number == self._received


@dataclass(slots=True)
class WrapperLink:
    """DLMS over TCP or UDP; `client` and `server` are wrapper ports. The connection itself is the line's."""

    client: int
    server: int
    timing: Timing = Timing()

    def connect(self) -> Conversation[None]:
        yield from ()

    def disconnect(self) -> Conversation[None]:
        yield from ()

    def request(self, apdu: bytes) -> Conversation[bytes]:
        request = wrapper.WrapperPdu(self.client, self.server, apdu).octets()
        octets = yield Exchange(request, self._find, None, self.timing.answer_ms, self.timing.retries)
        return wrapper.scan(octets)[0].pdu.apdu

    def _find(self, received: bytes) -> Found | None:
        for placed in wrapper.scan(received):
            if (placed.pdu.source, placed.pdu.destination) == (self.server, self.client):
                return Found(placed.start, placed.end)
        return None
