"""What goes up next: the pure core of the uplink, over the outboxes of both stores.

* After each connect: hello, and nothing more until the cloud's welcome says how far it has come. Sending begins there:
  after what it has committed, or from further back where the cloud was restored from a backup.
* At most 20 batches are on their way (sent, not yet receipted); urgent goes before live before backlog, and the lower
  lanes leave room for the higher ones.
* A batch without a receipt is sent again after a time-out in real seconds, and then later each time; a PUBACK counts
  for nothing. After the longest time-out it greets again: the cloud may have answered a stream that this store should
  have renewed, and that answer was lost.
* Where the cloud has numbers this store never gave (an old disk image), the store starts a new stream.

Source: architecture.md 4; reliability-security.md 1.1, 1.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import Enum

from gridtally_edge.journal.outbox import Outbox
from gridtally_shared.contract.channels import BATCH_TARGET_BYTES, MAX_IN_FLIGHT
from gridtally_shared.contract.messages import Batch, Lane, Receipt, StreamHead, Welcome
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

HELLO_AGAIN_S = 15.0
RECEIPT_FIRST_S = 10.0
RECEIPT_LONGEST_S = 120.0
WINDOW: Mapping[Lane, int] = {Lane.URGENT: MAX_IN_FLIGHT, Lane.LIVE: MAX_IN_FLIGHT - 4, Lane.BACKLOG: MAX_IN_FLIGHT - 8}


class State(Enum):
    OFFLINE = "offline"
    GREETING = "greeting"
    OPEN = "open"


class Event(Enum):
    CONNECTED = "connected"
    WELCOMED = "welcomed"
    STREAM_RENEWED = "stream renewed"
    DISCONNECTED = "disconnected"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.OFFLINE, Event.CONNECTED): State.GREETING,
    (State.OFFLINE, Event.DISCONNECTED): State.OFFLINE,
    (State.GREETING, Event.CONNECTED): State.GREETING,
    (State.GREETING, Event.WELCOMED): State.OPEN,
    (State.GREETING, Event.STREAM_RENEWED): State.GREETING,
    (State.GREETING, Event.DISCONNECTED): State.OFFLINE,
    (State.OPEN, Event.CONNECTED): State.GREETING,
    (State.OPEN, Event.WELCOMED): State.OPEN,
    (State.OPEN, Event.STREAM_RENEWED): State.GREETING,
    (State.OPEN, Event.DISCONNECTED): State.OFFLINE,
}


@dataclass(slots=True)
class _Stream:
    """One lane of one store: sent up to here, committed in the cloud up to there."""

    outbox: Outbox
    lane: Lane
    sent: int = 0
    receipted: int = 0
    in_flight: list[int] = field(default_factory=list)
    oldest_s: float = 0.0
    patience_s: float = RECEIPT_FIRST_S

    @property
    def key(self) -> tuple[bytes, int]:
        return (self.outbox.stream_id, int(self.lane))

    @property
    def is_unheard(self) -> bool:
        """Sent again and again, and never a receipt."""
        return self.patience_s >= RECEIPT_LONGEST_S


class Uplink:
    """Called by the core thread only; `mono_s` is real time, `now_ms` UTC."""

    def __init__(self, outboxes: Iterable[Outbox]) -> None:
        self._outboxes = tuple(outboxes)
        self.state = State.OFFLINE
        self.store_id = b""
        self.resent = 0
        self._hello_s = float("-inf")
        self._streams: list[_Stream] = []
        self._unstored: dict[tuple[bytes, int], int] = {}

    def connected(self) -> None:
        self._advance(Event.CONNECTED)
        self._streams, self._hello_s = [], float("-inf")

    def disconnected(self) -> None:
        self._advance(Event.DISCONNECTED)
        self._streams = []

    def hello_is_due(self, mono_s: float) -> bool:
        """True once at each connect, and again while no welcome comes."""
        if self.state is not State.GREETING or mono_s - self._hello_s < HELLO_AGAIN_S:
            return False
        self._hello_s = mono_s
        return True

    def heads(self) -> tuple[StreamHead, ...]:
        return tuple(head for outbox in self._outboxes for head in outbox.heads())

    def depth(self) -> int:
        return sum(outbox.depth() for outbox in self._outboxes)

    def in_flight(self) -> int:
        return sum(len(stream.in_flight) for stream in self._streams)

    def to_renew(self, welcome: Welcome) -> tuple[Outbox, ...]:
        """The stores that are older than what the cloud has committed of them. The caller renews each in a transaction
        of its store, then calls `renewed`."""
        return tuple(outbox for outbox in self._outboxes if is_older(outbox, welcome))

    def renewed(self) -> None:
        """Greet again, with the new stream ids."""
        self._advance(Event.STREAM_RENEWED)
        self._streams, self._hello_s = [], float("-inf")

    def welcomed(self, welcome: Welcome) -> None:
        """Begin after what the cloud has. A second welcome of the same cloud changes nothing."""
        if self.state is State.OPEN and welcome.store_id == self.store_id:
            return
        self._advance(Event.WELCOMED)
        self.store_id = welcome.store_id
        cloud = {(head.stream_id, head.lane): head.receipted for head in welcome.streams}
        lanes = [_Stream(outbox, lane) for lane in Lane for outbox in self._outboxes]
        for stream in lanes:
            stream.sent = stream.receipted = cloud.get(stream.key, 0)
            self._unstored[stream.key] = stream.receipted
        self._streams = lanes

    def receipt(self, receipt: Receipt, mono_s: float) -> bool:
        """Note a receipt. False when it comes from another store than the one that welcomed us: greet again.
        Raises ContractError for a stream or number that does not exist here."""
        if self.state is State.OPEN and receipt.store_id != self.store_id:
            self._advance(Event.STREAM_RENEWED)
            self._streams, self._hello_s = [], float("-inf")
            return False
        stream = self._find(receipt)
        if stream is not None and receipt.upto > stream.receipted:
            self._check(stream, receipt.upto)
            stream.receipted, stream.patience_s, stream.oldest_s = receipt.upto, RECEIPT_FIRST_S, mono_s
            stream.in_flight = [last for last in stream.in_flight if last > receipt.upto]
            stream.sent = max(stream.sent, receipt.upto)
            self._unstored[stream.key] = receipt.upto
        return True

    def unstored_receipts(self) -> tuple[tuple[Outbox, int, int], ...]:
        """(outbox, lane, upto) that are news for the stores, to be written now and then in one transaction."""
        by_id = {outbox.stream_id: outbox for outbox in self._outboxes}
        news = tuple((by_id[sid], lane, upto) for (sid, lane), upto in self._unstored.items() if sid in by_id)
        self._unstored = {}
        return tuple((o, lane, upto) for o, lane, upto in news if upto > _head(o, lane).receipted)

    def next_batches(self, mono_s: float, now_ms: int) -> tuple[Batch, ...]:
        """All batches that may leave now, most urgent first."""
        batches: list[Batch] = []
        for stream in self._streams:
            self._rewind_if_forgotten(stream, mono_s)
        if any(stream.is_unheard for stream in self._streams):
            self.renewed()
        for stream in self._streams:
            while self.in_flight() < WINDOW[stream.lane]:
                batch = self._next(stream, mono_s, now_ms)
                if batch is None:
                    break
                batches.append(batch)
        return tuple(batches)

    def _next(self, stream: _Stream, mono_s: float, now_ms: int) -> Batch | None:
        entries = stream.outbox.pending(stream.lane, stream.sent, BATCH_TARGET_BYTES)
        if not entries:
            return None
        if not stream.in_flight:
            stream.oldest_s = mono_s
        stream.sent = entries[-1].seq
        stream.in_flight.append(stream.sent)
        return Batch(stream.outbox.stream_id, int(stream.lane), entries, now_ms)

    def _rewind_if_forgotten(self, stream: _Stream, mono_s: float) -> None:
        if not stream.in_flight or mono_s - stream.oldest_s < stream.patience_s:
            return
        self.resent += len(stream.in_flight)
        stream.sent, stream.in_flight = stream.receipted, []
        stream.patience_s = min(RECEIPT_LONGEST_S, 2 * stream.patience_s)

    def _find(self, receipt: Receipt) -> _Stream | None:
        key = (receipt.stream_id, receipt.lane)
        found = next((s for s in self._streams if s.key == key), None)
        if found is None and self.state is State.OPEN:
            raise ContractError(f"receipt for stream {receipt.stream_id.hex()} lane {receipt.lane}, which is not ours")
        return found

    def _check(self, stream: _Stream, upto: int) -> None:
        head = _head(stream.outbox, int(stream.lane))
        if upto >= head.next_seq:
            raise ContractError(f"receipt up to {upto}, but the next number of lane {head.lane} is {head.next_seq}")

    def _advance(self, event: Event) -> None:
        self.state = TRANSITIONS.get((self.state, event), self.state)


def _head(outbox: Outbox, lane: int) -> StreamHead:
    return next(head for head in outbox.heads() if head.lane == lane)


def is_older(outbox: Outbox, welcome: Welcome) -> bool:
    """Whether the cloud says so, has numbers that were not given here yet, or has other entries under those that were."""
    ours = {(head.stream_id, head.lane): head.next_seq for head in outbox.heads()}
    named = [h for h in welcome.streams if (h.stream_id, h.lane) in ours]
    behind = any(h.receipted >= ours[h.stream_id, h.lane] or outbox.is_another(h) for h in named)
    return behind or outbox.stream_id in welcome.new_stream_ids
