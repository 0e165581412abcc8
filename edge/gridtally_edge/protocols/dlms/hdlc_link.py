"""The client side of an HDLC link, as conversations (IEC 62056-46): numbers, windows, segments, repairs.

* Sizes to 2,030 octets and windows to 7 are negotiated in both directions. A window of ours goes out in one write, the
  poll bit on its last frame; a window of theirs is received as one answer, up to the frame with the final bit.
* Lost request or answer: the line repeats the same frames (the meter knows them by number), then RR asks what the meter
  got. REJ, or a number not taken: go on from there. RNR: ask again until the meter is ready.
* DM and FRMR mean that the meter has forgotten us: `LinkDropped`; the client sends DISC, SNRM, AARQ and asks again.
* Every loop has an end: segments, polls and octets are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Final

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found, GaveWay, GivesWay
from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Control, Frame
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters, read_parameters
from gridtally_edge.protocols.dlms.timing import LinkDropped, Timing, Unsolicited, announced_length
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.records import dataclass

MAX_APDU: Final = 1 << 17
MAX_POLLS: Final = 8
MAX_BUSY: Final = 64
MAX_SIZE: Final = 2_030
MAX_WINDOW: Final = 7
_LLC_OCTETS: Final = 3
_DROPPED: Final = (Control.FRMR, Control.DM)
_OPENING: Final = (Control.UA, Control.DM)
_RUNNING: Final = (Control.I, Control.RR, Control.RNR, Control.REJ, *_DROPPED)

LARGEST: Final = LinkParameters(MAX_SIZE, MAX_SIZE, MAX_WINDOW, MAX_WINDOW)
"""What to ask for where nothing speaks against it; the meter answers with what it can."""


@dataclass(slots=True)
class HdlcLink:
    """One HDLC link. `agreed` is what UA granted, from our view. `unsolicited` gets what comes in UI frames."""

    client: Address
    server: Address
    wanted: LinkParameters = field(default_factory=LinkParameters)
    timing: Timing = field(default_factory=Timing)
    unsolicited: Unsolicited | None = field(default=None, repr=False)
    agreed: LinkParameters = field(default_factory=LinkParameters, init=False)
    _sent: int = field(default=0, init=False)
    _received: int = field(default=0, init=False)
    _partial: bytes = field(default=b"", init=False)
    _segment: int = field(default=0, init=False)
    _more_to_come: bool = field(default=False, init=False)
    _inbox: list[bytes] = field(default_factory=list, init=False)

    @property
    def repairs(self) -> bool:
        return True

    @property
    def streams(self) -> bool:
        return True

    @property
    def needs_release(self) -> bool:
        return False

    def connect(self) -> Conversation[None]:
        """SNRM, UA; after DM once more behind a DISC, since an old link may stand in the way. Raises LinkDown where the
        meter goes on refusing (busy, or no link for this client)."""
        request = hdlc.encode_frame(Frame(self.server, self.client, hdlc.SNRM, self.wanted.octets()))
        answer = (yield from self._exchange(request, _OPENING))[-1]
        if answer.kind is Control.DM:
            yield from self.disconnect()
            answer = (yield from self._exchange(request, _OPENING))[-1]
        if answer.kind is Control.DM:
            raise LinkDown(f"meter {self.server} refuses the link")
        self.agreed = _agreed(self.wanted, read_parameters(answer.information))
        self._sent = self._received = 0
        self._partial, self._inbox, self._more_to_come = b"", [], False

    def request(self, *apdus: bytes) -> Conversation[bytes]:
        """Send PDUs and return the answer's PDU. Raises LinkDown, or MeterFault for an answer without sense."""
        self._hand_over()
        yield from self._transmit(tuple(self._pieces(apdus)))
        return (yield from self.receive())

    def receive(self) -> Conversation[bytes]:
        """The next whole PDU of the meter, asked for with RR as often as needed."""
        idle = 0
        while not self._inbox:
            before = len(self._partial)
            yield from self._continue()
            idle = 0 if len(self._partial) > before else idle + 1
            if idle > MAX_BUSY:
                raise LinkDown(f"meter {self.server} {'stopped within a message' if self._partial else 'has no answer'}")
        return self._inbox.pop(0)

    def disconnect(self) -> Conversation[None]:
        """DISC; UA and DM are both fine."""
        frame = Frame(self.server, self.client, hdlc.DISC)
        yield from self._exchange(hdlc.encode_frame(frame), _OPENING, retries=0)

    def _hand_over(self) -> None:
        """What is still here answered nothing."""
        while self._inbox:
            message = self._inbox.pop(0)
            if self.unsolicited:
                self.unsolicited(message)
        self._partial = b""

    def _pieces(self, apdus: tuple[bytes, ...]) -> Iterator[tuple[bytes, bool]]:
        """Information fields, and whether the message goes on behind each."""
        size = self.agreed.size_sent
        for apdu in apdus:
            message = hdlc.LLC_COMMAND + apdu
            for at in range(0, len(message), size):
                yield message[at : at + size], at + size < len(message)

    def _transmit(self, pieces: tuple[tuple[bytes, bool], ...]) -> Conversation[None]:
        """Send until all are taken. What came back beyond that is in the inbox or in the partial message."""
        done = idle = 0
        while done < len(pieces):
            burst = pieces[done : done + self.agreed.window_sent]
            answer = yield from self._send(burst, done + len(burst) == len(pieces))
            taken = (answer.receive_number - self._sent) % 8
            taken = taken if taken <= len(burst) else 0
            self._sent, done = (self._sent + taken) % 8, done + taken
            if answer.kind is Control.RNR:
                yield from self._until_ready()
            idle = 0 if taken else idle + 1
            if idle > MAX_POLLS:
                raise LinkDown(f"meter {self.server} does not take frame {self._sent}")

    def _send(self, burst: tuple[tuple[bytes, bool], ...], last: bool) -> Conversation[Frame]:
        """One window of ours, and the frame that says how far the meter took it. No answer at all: ask with RR."""
        octets = b"".join(
            hdlc.encode_frame(self._information(number, piece, more, number == len(burst) - 1))
            for number, (piece, more) in enumerate(burst)
        )
        try:
            heard = yield from self._exchange(octets, _RUNNING, None if last else self._frame_octets(0), sent=len(burst))
        except (LinkDropped, GaveWay):
            raise
        except LinkDown:
            heard = yield from self._exchange(self._receive_ready(), _RUNNING)
        return heard[-1]

    def _until_ready(self) -> Conversation[None]:
        for _ in range(MAX_BUSY):
            if (yield from self._poll()) is not Control.RNR:
                return
        raise LinkDown(f"meter {self.server} stays busy")

    def _continue(self) -> Conversation[Control]:
        """The meter's next frames: it is still speaking, or it is asked to go on."""
        if not self._more_to_come:
            return (yield from self._poll())
        try:
            return (yield from self._exchange(b"", _RUNNING, self._expected()))[-1].kind
        except (LinkDropped, GaveWay):
            raise
        except LinkDown:
            return (yield from self._poll())

    def _poll(self) -> Conversation[Control]:
        return (yield from self._exchange(self._receive_ready(), _RUNNING, self._expected()))[-1].kind

    def _exchange(
        self, octets: bytes, kinds: tuple[Control, ...], expected: int | None = None, retries: int | None = None, sent: int = 0
    ) -> Conversation[tuple[Frame, ...]]:
        """The frames that answer, at least one; what they carry is taken in. `sent`: I frames of ours in `octets`."""
        tries = self.timing.retries if retries is None else retries
        find = self._finder(kinds, (self._sent + sent) % 8)
        gives_way = GivesWay.OTHER_METERS if octets else GivesWay.NOBODY
        received = yield Exchange(
            octets, find, expected, self.timing.answer_ms, tries, gives_way=gives_way, missing=hdlc.missing
        )
        frames = tuple(f for f in hdlc.frames_of(received) if self._is_ours(f))
        heard = tuple(f for f in frames if f.kind in kinds)
        for frame in frames:
            self._take(frame)
        if kinds is _RUNNING and heard[-1].kind in _DROPPED:
            raise LinkDropped(f"meter {self.server} has dropped the link ({heard[-1].kind.value})")
        self._more_to_come = heard[-1].kind is Control.I and not heard[-1].poll
        return heard

    def _take(self, frame: Frame) -> None:
        if frame.kind is Control.UI and self.unsolicited and frame.information[:_LLC_OCTETS] == hdlc.LLC_RESPONSE:
            self.unsolicited(frame.information[_LLC_OCTETS:])
        if frame.kind is not Control.I or frame.send_number != self._received:
            return
        self._received = (self._received + 1) % 8
        if len(self._partial) > MAX_APDU or (frame.segmented and not frame.information):
            raise MeterFault("a segmented message without end")
        self._segment = self._segment if self._partial else len(frame.information)
        self._partial += frame.information
        if not frame.segmented:
            message, self._partial = self._partial, b""
            self._inbox.append(hdlc.strip_llc(message))

    def _finder(self, kinds: tuple[Control, ...], acknowledged: int) -> Callable[[bytes], Found | None]:
        due, window = self._received, self.agreed.window_taken

        def find(received: bytes) -> Found | None:
            start, taken = None, 0
            for placed in hdlc.scan(received):
                frame = placed.frame
                if not self._is_ours(frame) or not _is_due(frame, (due + taken) % 8, window, acknowledged):
                    continue
                start = placed.start if start is None else start
                taken += frame.kind is Control.I
                if frame.kind in kinds and _ends_turn(frame, taken, window):
                    return Found(start, placed.end)
            return None

        return find

    def _is_ours(self, frame: Frame) -> bool:
        """From our meter, to this client; a push may go to another client of ours."""
        return frame.source == self.server and (frame.kind is Control.UI or frame.destination.upper == self.client.upper)

    def _information(self, number: int, piece: bytes, more: bool, poll: bool) -> Frame:
        control = hdlc.information((self._sent + number) % 8, self._received, poll)
        return Frame(self.server, self.client, control, piece, more)

    def _receive_ready(self) -> bytes:
        return hdlc.encode_frame(Frame(self.server, self.client, hdlc.receive_ready(self._received)))

    def _frame_octets(self, content: int) -> int:
        """Length of a frame of the meter with so many octets of information."""
        return 7 + self.client.size + self.server.size + (content + 2 if content else 0)

    def _expected(self) -> int | None:
        """How many octets the rest of the message (or of the window) takes, where its start told its length."""
        total = announced_length(self._partial[_LLC_OCTETS:]) if self._partial else None
        left = (total or 0) + _LLC_OCTETS - len(self._partial)
        if total is None or left <= 0 or not self._segment:
            return None
        left = min(left, self._segment * self.agreed.window_taken)
        whole, rest = divmod(left, self._segment)
        return whole * self._frame_octets(self._segment) + (self._frame_octets(rest) if rest else 0)


def _agreed(wanted: LinkParameters, theirs: LinkParameters) -> LinkParameters:
    return LinkParameters(
        min(wanted.size_sent, theirs.size_taken),
        min(wanted.size_taken, theirs.size_sent),
        min(wanted.window_sent, theirs.window_taken, MAX_WINDOW),
        min(wanted.window_taken, theirs.window_sent, MAX_WINDOW),
    )


def _is_due(frame: Frame, number: int, window: int, acknowledged: int) -> bool:
    """An I frame is the next one, or one further on whose forerunner was lost: that one has seen all we sent. Others
    are late repeats."""
    ahead = (frame.send_number - number) % 8
    return frame.kind is not Control.I or not ahead or (ahead < window and frame.receive_number == acknowledged)


def _ends_turn(frame: Frame, taken: int, window: int) -> bool:
    """Whether the meter stops speaking behind this frame."""
    return frame.kind is not Control.I or frame.poll or not frame.segmented or taken >= window
