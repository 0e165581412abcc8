"""One outbox row of an edge on its way into the store: what every entry handler is given."""

from __future__ import annotations

from dataclasses import field, replace

from sqlalchemy import Connection

from gridtally_shared.contract.messages import Entry
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class StreamKey:
    """One lane of one edge store's life. With a `seq` it is the only idempotency key."""

    dcu: str
    stream_id: bytes
    lane: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A message for the edge that sent the entry, to be signed for `channel` and published after the commit."""

    channel: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """`conn` is inside the batch's transaction; `now_ms` is the time of receipt; `replies` is shared by the batch."""

    conn: Connection
    stream: StreamKey
    seq: int
    now_ms: int
    replies: list[Reply] = field(default_factory=list)

    @property
    def dcu(self) -> str:
        return self.stream.dcu

    def of(self, entry: Entry) -> Arrival:
        """The same for another row of the batch."""
        return replace(self, seq=entry.seq)
