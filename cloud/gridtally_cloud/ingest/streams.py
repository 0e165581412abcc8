"""How far each stream of an edge is received: exactly once, in any order.

* `upto` is contiguous and goes into the receipt; numbers above it are kept one by one until the hole is filled.
* An edge whose next number is not above what this store holds runs on an old disk image: its streams are retired and it is
  told to start new ones. Nothing of a retired stream is taken or receipted any more.

Source: architecture.md section 4 (restores); reliability-security.md 6.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, and_, delete, select, update

from gridtally_cloud.ingest.arrival import StreamKey
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.tables import inbox_seen, stream_head
from gridtally_shared.contract.messages import StreamHead


def is_retired(conn: Connection, key: StreamKey) -> bool:
    h = stream_head.c
    query = select(h.retired).where(h.shard == SHARD, h.dcu == key.dcu, h.stream_id == key.stream_id, h.retired)
    return conn.execute(query.limit(1)).first() is not None


def upto_of(conn: Connection, key: StreamKey) -> int:
    """Last contiguous number received, 0 for a stream never seen. Takes the stream's row for this transaction."""
    h = stream_head.c
    where = and_(h.shard == SHARD, h.dcu == key.dcu, h.stream_id == key.stream_id, h.lane == key.lane)
    return int(conn.execute(select(h.upto).where(where).with_for_update()).scalar_one_or_none() or 0)


def new_numbers(conn: Connection, key: StreamKey, seqs: Iterable[int], upto: int) -> frozenset[int]:
    """Those of `seqs` that were not received before."""
    above = {seq for seq in seqs if seq > upto}
    return frozenset(above - _seen_above(conn, key, upto)) if above else frozenset()


def advance(conn: Connection, key: StreamKey, new: frozenset[int], upto: int, now_ms: int) -> int:
    """Note the new numbers; returns the contiguous number reached."""
    seen = _seen_above(conn, key, upto) | new
    reached = upto
    while reached + 1 in seen:
        reached += 1
    rest = {"shard": SHARD, "dcu": key.dcu, "stream_id": key.stream_id, "lane": key.lane}
    insert_new(conn, inbox_seen, [rest | {"seq": seq} for seq in sorted(new) if seq > reached])
    if reached > upto:
        s = inbox_seen.c
        where = and_(s.shard == SHARD, s.dcu == key.dcu, s.stream_id == key.stream_id, s.lane == key.lane, s.seq <= reached)
        conn.execute(delete(inbox_seen).where(where))
    _save_head(conn, key, reached, max(seen, default=reached), now_ms)
    return reached


def _save_head(conn: Connection, key: StreamKey, reached: int, highest: int, now_ms: int) -> None:
    row = {"shard": SHARD, "dcu": key.dcu, "stream_id": key.stream_id, "lane": key.lane}
    insert_new(conn, stream_head, [row | {"upto": 0, "highest": 0, "first_seen_ms": now_ms, "updated_ms": now_ms}])
    h = stream_head.c
    where = and_(h.shard == SHARD, h.dcu == key.dcu, h.stream_id == key.stream_id, h.lane == key.lane)
    conn.execute(update(stream_head).where(where).values(upto=reached, highest=max(highest, reached), updated_ms=now_ms))


def _seen_above(conn: Connection, key: StreamKey, upto: int) -> set[int]:
    s = inbox_seen.c
    where = and_(s.shard == SHARD, s.dcu == key.dcu, s.stream_id == key.stream_id, s.lane == key.lane, s.seq > upto)
    return set(conn.execute(select(s.seq).where(where)).scalars())


def heads(conn: Connection, dcu: str) -> tuple[StreamHead, ...]:
    """What this store holds of every living stream of the DCU."""
    h = stream_head.c
    where = and_(h.shard == SHARD, h.dcu == dcu, ~h.retired)
    rows = conn.execute(select(stream_head).where(where).order_by(h.stream_id, h.lane))
    return tuple(StreamHead(bytes(r.stream_id), r.lane, r.highest + 1, r.upto) for r in rows)


def retire_old_images(conn: Connection, dcu: str, announced: Iterable[StreamHead]) -> tuple[bytes, ...]:
    """Streams whose edge is behind what this store has received: retired, and named to the edge."""
    held = {(head.stream_id, head.lane): head for head in heads(conn, dcu)}
    streams = tuple(announced)
    behind = {a.stream_id for a in streams if (a.stream_id, a.lane) in held and a.next_seq < held[a.stream_id, a.lane].next_seq}
    known_retired = {a.stream_id for a in streams if is_retired(conn, StreamKey(dcu, a.stream_id, a.lane))}
    for stream_id in behind:
        h = stream_head.c
        where = and_(h.shard == SHARD, h.dcu == dcu, h.stream_id == stream_id)
        conn.execute(update(stream_head).where(where).values(retired=True))
    return tuple(sorted(behind | known_retired))
