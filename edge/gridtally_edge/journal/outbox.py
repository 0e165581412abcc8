"""The queue towards the cloud, inside a store, so that a fact and its outbox row are one commit.

* Lanes are streams of their own: (stream_id, lane, seq). A number is taken from `outbox_lane` in the caller's
  transaction and never used again, also not after the queue ran empty.
* Nothing leaves before the cloud's receipt; receipted rows stay 45 days, so that a cloud restored from a backup can be
  refilled; unreceipted rows stay, and may be given up only after 90 days when the disk is short.
* `renew_stream` is the answer to an old disk image: a new stream id; what has no receipt gets new numbers in it.

Source: architecture.md 4; reliability-security.md 1.1, 1.3 and 6.1.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.marks import mark_of
from gridtally_shared.contract.messages import Entry, EntryKind, Lane, StreamHead
from gridtally_shared.errors import ContractError

KEEP_RECEIPTED_MS = 45 * MS_PER_DAY
ENTRY_OVERHEAD_BYTES = 16


class Outbox:
    """Over the store's one writer connection. `append` runs inside the caller's transaction; the other writing methods
    too, so that the caller decides what is one commit."""

    schema: tuple[str, ...] = (
        """CREATE TABLE outbox_stream (
            current INTEGER PRIMARY KEY CHECK (current = 1), stream_id BLOB NOT NULL CHECK (length(stream_id) = 16)
        ) STRICT""",
        "INSERT INTO outbox_stream VALUES (1, randomblob(16))",
        """CREATE TABLE outbox_lane (
            lane INTEGER PRIMARY KEY, next_seq INTEGER NOT NULL, receipted INTEGER NOT NULL, CHECK (receipted < next_seq)
        ) STRICT""",
        "INSERT INTO outbox_lane VALUES (1, 1, 0), (2, 1, 0), (3, 1, 0)",
        """CREATE TABLE outbox_entry (
            stream_id BLOB NOT NULL, lane INTEGER NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL,
            body BLOB NOT NULL, created_ms INTEGER NOT NULL, PRIMARY KEY (stream_id, lane, seq)
        ) STRICT, WITHOUT ROWID""",
    )

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = self.connection = connection
        self.stream_id: bytes = connection.execute("SELECT stream_id FROM outbox_stream").fetchone()[0]

    def append(self, kind: EntryKind, message: Any, lane: Lane, now_ms: int) -> int:
        """Queue a contract message (one of ENTRY_TYPES) and give its number."""
        return self.append_all(kind, (message,), lane, now_ms)

    def append_all(self, kind: EntryKind, messages: Sequence[Any], lane: Lane, now_ms: int) -> int:
        """Queue several messages of one kind in their order and give the number of the first."""
        bodies = [encode(message) for message in messages]
        take = "UPDATE outbox_lane SET next_seq = next_seq + ? WHERE lane = ? RETURNING next_seq"
        first = int(self._db.execute(take, (len(messages), int(lane))).fetchall()[0][0]) - len(messages)
        rows = [(self.stream_id, int(lane), seq, int(kind), body, now_ms) for seq, body in enumerate(bodies, first)]
        self._db.executemany("INSERT INTO outbox_entry VALUES (?, ?, ?, ?, ?, ?)", rows)
        return first

    def pending(self, lane: Lane, after_seq: int, max_bytes: int) -> tuple[Entry, ...]:
        """The entries that follow `after_seq`, as many as fit `max_bytes`, at least one if there is any. Receipted
        ones that are still kept count too: where to begin is the cloud's word."""
        query = "SELECT seq, kind, body FROM outbox_entry WHERE stream_id = ? AND lane = ? AND seq > ? ORDER BY seq"
        entries: list[Entry] = []
        left = max_bytes
        rows = self._db.execute(query, (self.stream_id, int(lane), after_seq))
        for seq, kind, body in rows:
            left -= len(body) + ENTRY_OVERHEAD_BYTES
            if entries and left < 0:
                break
            entries.append(Entry(seq, kind, body))
        rows.close()
        return tuple(entries)

    def receipt(self, stream_id: bytes, lane: int, upto: int, now_ms: int) -> bool:
        """The cloud has committed everything up to `upto`. True when that was news. Raises ContractError for another
        stream or for numbers that were never given."""
        head = self._head(stream_id, lane)
        if upto >= head.next_seq:
            raise ContractError(f"receipt up to {upto} in lane {lane}, but the next number is {head.next_seq}")
        if upto <= head.receipted:
            return False
        self._db.execute("UPDATE outbox_lane SET receipted = ? WHERE lane = ?", (upto, lane))
        return True

    def heads(self) -> tuple[StreamHead, ...]:
        rows = self._db.execute("SELECT lane, next_seq, receipted FROM outbox_lane ORDER BY lane").fetchall()
        return tuple(StreamHead(self.stream_id, *row) for row in rows)

    def is_another(self, head: StreamHead) -> bool:
        """Whether the cloud took another entry under that number: this disk was put back, and gave its numbers anew since. What is not
        here any more, or of which it says nothing, is none."""
        query = "SELECT seq, kind, body FROM outbox_entry WHERE stream_id = ? AND lane = ? AND seq = ?"
        row = self._db.execute(query, (head.stream_id, head.lane, head.receipted)).fetchone()
        return bool(head.mark) and row is not None and mark_of(Entry(*row)) != head.mark

    def depth(self) -> int:
        """Entries that wait for their receipt."""
        return int(self._db.execute("SELECT sum(next_seq - 1 - receipted) FROM outbox_lane").fetchone()[0])

    def renew_stream(self) -> bytes:
        """Start a new stream; entries without a receipt follow into it with new numbers, in their order."""
        new = os.urandom(16)
        for head in self.heads():
            self._move_unreceipted(head, new)
        self._db.execute("UPDATE outbox_stream SET stream_id = ?", (new,))
        self.stream_id = new
        return new

    def prune(self, now_ms: int) -> int:
        """Delete what was receipted and is older than 45 days; how many entries that were."""
        query = """DELETE FROM outbox_entry WHERE created_ms < ? AND (stream_id <> ?
            OR seq <= (SELECT receipted FROM outbox_lane l WHERE l.lane = outbox_entry.lane))"""
        return self._db.execute(query, (now_ms - KEEP_RECEIPTED_MS, self.stream_id)).rowcount

    def _head(self, stream_id: bytes, lane: int) -> StreamHead:
        for head in self.heads():
            if (head.stream_id, head.lane) == (stream_id, lane):
                return head
        raise ContractError(f"no stream {stream_id.hex()} with lane {lane} here")

    def _move_unreceipted(self, head: StreamHead, new: bytes) -> None:
        query = "SELECT seq FROM outbox_entry WHERE stream_id = ? AND lane = ? AND seq > ? ORDER BY seq"
        old_seqs = self._db.execute(query, (head.stream_id, head.lane, head.receipted)).fetchall()
        move = "UPDATE outbox_entry SET stream_id = ?, seq = ? WHERE stream_id = ? AND lane = ? AND seq = ?"
        rows = ((new, seq, head.stream_id, head.lane, old) for seq, (old,) in enumerate(old_seqs, start=1))
        self._db.executemany(move, rows)
        update = "UPDATE outbox_lane SET next_seq = ?, receipted = 0 WHERE lane = ?"
        self._db.execute(update, (len(old_seqs) + 1, head.lane))
