"""How far each stream of an edge is received: exactly once, in any order.

* `upto` is contiguous and goes into the receipt; numbers above it are kept one by one until the hole is filled.
* An edge whose next number is not above what this store holds runs on an old disk image: its streams are retired and it is
  told to start new ones. One that wrote on without a link may be above it: it is told the mark of the last entry that was taken, and
  sees by itself that this is not its own. Nothing of a retired stream is taken or receipted any more. A second hello of the same start can
  not come from an older image: it was said before what has been received since.

Source: architecture.md section 4 (restores); reliability-security.md 6.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, select, update

from gridtally_cloud.ingest.arrival import StreamKey
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.tables import inbox_seen, stream_head
from gridtally_shared.contract.messages import StreamHead
from gridtally_shared.records import dataclass

_h, _s = stream_head.c, inbox_seen.c
_STREAM = and_(_h.shard == SHARD, _h.dcu == bindparam("of_dcu"), _h.stream_id == bindparam("of_stream"))
_LANE = and_(_STREAM, _h.lane == bindparam("of_lane"))
_SEEN = and_(_s.shard == SHARD, _s.dcu == bindparam("of_dcu"), _s.stream_id == bindparam("of_stream"), _s.lane == bindparam("of_lane"))
_RETIRED = select(_h.retired).where(_STREAM, _h.retired).limit(1)
_LANES = select(_h.lane, _h.upto, _h.retired).where(_STREAM).with_for_update()
_FORGET = delete(inbox_seen).where(_SEEN, _s.seq <= bindparam("reached"))
_REACHED = update(stream_head).where(_LANE)
_ABOVE = select(_s.seq, _s.mark).where(_SEEN, _s.seq > bindparam("above"))
_LIVING = select(stream_head).where(_h.shard == SHARD, _h.dcu == bindparam("of_dcu"), ~_h.retired).order_by(_h.stream_id, _h.lane)
_RETIRE = update(stream_head).where(_STREAM)


def _place(key: StreamKey) -> dict[str, Any]:
    return {"of_dcu": key.dcu, "of_stream": key.stream_id, "of_lane": key.lane}


def is_retired(conn: Connection, key: StreamKey) -> bool:
    return conn.execute(_RETIRED, {"of_dcu": key.dcu, "of_stream": key.stream_id}).first() is not None


@dataclass(frozen=True, slots=True)
class Received:
    """How far a lane is received: its last contiguous number, and those above that came, with their marks. `known`: it has its row."""

    upto: int
    above: Mapping[int, bytes]
    known: bool

    def new(self, seqs: Iterable[int]) -> frozenset[int]:
        """Those of `seqs` that were not received before."""
        return frozenset(seq for seq in seqs if seq > self.upto) - self.above.keys()


def received(conn: Connection, key: StreamKey) -> Received | None:
    """None for a retired stream. Takes the stream's rows for this transaction."""
    lanes = conn.execute(_LANES, {"of_dcu": key.dcu, "of_stream": key.stream_id}).all()
    if any(row.retired for row in lanes):
        return None
    upto = next((int(row.upto) for row in lanes if row.lane == key.lane), None)
    above = conn.execute(_ABOVE, _place(key) | {"above": upto or 0})
    return Received(upto or 0, {row.seq: bytes(row.mark or b"") for row in above}, upto is not None)


def advance(conn: Connection, key: StreamKey, new: Mapping[int, bytes], before: Received, now_ms: int) -> int:
    """Note the new numbers with the marks of their entries; returns the contiguous number reached."""
    seen, upto = {**before.above, **new}, before.upto
    reached = upto
    while reached + 1 in seen:
        reached += 1
    rest = {"shard": SHARD, "dcu": key.dcu, "stream_id": key.stream_id, "lane": key.lane}
    insert_new(conn, inbox_seen, [rest | {"seq": seq, "mark": new[seq]} for seq in sorted(new) if seq > reached])
    if reached > upto:
        conn.execute(_FORGET, _place(key) | {"reached": reached})
    if not before.known:
        insert_new(conn, stream_head, [rest | {"upto": 0, "highest": 0, "first_seen_ms": now_ms, "updated_ms": now_ms}])
    mark = {"mark": seen[reached]} if reached > upto else {}
    conn.execute(_REACHED, _place(key) | {"upto": reached, "highest": max(seen, default=reached), "updated_ms": now_ms} | mark)
    return reached


def heads(conn: Connection, dcu: str) -> tuple[StreamHead, ...]:
    """What this store holds of every living stream of the DCU."""
    rows = conn.execute(_LIVING, {"of_dcu": dcu})
    return tuple(StreamHead(bytes(r.stream_id), r.lane, r.highest + 1, r.upto, bytes(r.mark or b"")) for r in rows)


def retire_old_images(conn: Connection, dcu: str, announced: Iterable[StreamHead], same_boot: bool = False) -> tuple[bytes, ...]:
    """Streams whose edge is behind what this store has received: retired, and named to the edge. `same_boot`: this start
    has greeted before."""
    held = {(head.stream_id, head.lane): head for head in heads(conn, dcu)}
    streams = tuple(announced)
    behind = {a.stream_id for a in streams if (a.stream_id, a.lane) in held and a.next_seq < held[a.stream_id, a.lane].next_seq}
    known_retired = {a.stream_id for a in streams if is_retired(conn, StreamKey(dcu, a.stream_id, a.lane))}
    if same_boot:
        behind = set()
    for stream_id in behind:
        conn.execute(_RETIRE, {"of_dcu": dcu, "of_stream": stream_id, "retired": True})
    return tuple(sorted(behind | known_retired))
