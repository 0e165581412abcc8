"""Messages and entries that can not be taken in: set aside whole, with the reason, shown to staff, never lost.

* A message whose envelope can not be read has no number and gets no receipt.
* An entry with a good envelope but an unreadable body counts as received, so that the stream moves on; its bytes are
  here and can be tried again after a repair (`retry.py`).
* The same bytes again only count up.
* What is said of them fits any store, whatever they are: a NUL in a text or a kind beyond 32 bits is none for PostgreSQL, and what
  could not be set aside would stop the stream.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, and_, select, update

from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.tables import poison
from gridtally_shared.records import dataclass

MAX_REASON = 500
MAX_KIND = 2**31 - 1


@dataclass(frozen=True, slots=True)
class SetAside:
    """One row as the staff page shows it."""

    poison_no: int
    dcu: str
    channel: str
    seq: int | None
    kind: int | None
    reason: str
    payload_bytes: int
    times: int
    at_ms: int
    last_ms: int


def set_aside_message(conn: Connection, dcu: str, channel: str, payload: bytes, reason: str, now_ms: int) -> None:
    """A whole message that can not be read."""
    _save(conn, dcu, channel, payload, reason, now_ms, {})


def set_aside_entry(arrival: Arrival, kind: int, body: bytes, reason: str) -> None:
    """One entry, or the part of it that does not fit."""
    place = {"stream_id": arrival.stream.stream_id, "lane": arrival.stream.lane, "seq": arrival.seq,
             "kind": min(max(kind, -1), MAX_KIND)}  # fmt: skip
    _save(arrival.conn, arrival.dcu, "entry", body, reason, arrival.now_ms, place)


def _save(conn: Connection, dcu: str, channel: str, payload: bytes, reason: str, now_ms: int, place: dict[str, object]) -> None:
    digest = hashlib.sha256(repr((dcu, channel, sorted(place.items()))).encode() + payload).digest()
    again = update(poison).where(poison.c.digest == digest).values(times=poison.c.times + 1, last_ms=now_ms)
    if conn.execute(again).rowcount:
        return
    said = reason.replace("\0", "\\0")[:MAX_REASON]
    row = {"dcu": dcu, "channel": channel, "reason": said, "payload": payload, "payload_bytes": len(payload), "digest": digest,
           "at_ms": now_ms, "last_ms": now_ms}  # fmt: skip
    insert_new(conn, poison, [row | place])


def waiting(conn: Connection, limit: int = 100) -> tuple[SetAside, ...]:
    """What nobody has dealt with yet, newest first."""
    p = poison.c
    columns = (p.poison_no, p.dcu, p.channel, p.seq, p.kind, p.reason, p.payload_bytes, p.times, p.at_ms, p.last_ms)
    rows = conn.execute(select(*columns).where(p.resolved_ms.is_(None)).order_by(p.poison_no.desc()).limit(limit))
    return tuple(SetAside(**row._mapping) for row in rows)


def came_back(conn: Connection, poison_no: int, times: int) -> bool:
    """Whether the same bytes were set aside again since the count `times`."""
    return int(conn.execute(select(poison.c.times).where(poison.c.poison_no == poison_no)).scalar_one()) > times


def resolve(conn: Connection, poison_no: int, by: str, now_ms: int) -> bool:
    """A person has dealt with it. False when it was not waiting."""
    where = and_(poison.c.poison_no == poison_no, poison.c.resolved_ms.is_(None))
    return bool(conn.execute(update(poison).where(where).values(resolved_ms=now_ms, resolved_by=by)).rowcount)
