"""One outbox row of an edge on its way into the store: what every entry handler is given."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class StreamKey:
    """One lane of one edge store's life. With a `seq` it is the only idempotency key."""

    dcu: str
    stream_id: bytes
    lane: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """`conn` is inside the batch's transaction; `now_ms` is the time of receipt."""

    conn: Connection
    stream: StreamKey
    seq: int
    now_ms: int

    @property
    def dcu(self) -> str:
        return self.stream.dcu
