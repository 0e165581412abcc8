"""What the store knows of the files of the watched folder."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePath
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from gridtally_cloud.exchange.bringing import Brought
from gridtally_cloud.exchange.tables import exchange_file
from gridtally_cloud.store.db import Database
from gridtally_shared.records import dataclass

LONGEST = 180
"""Of a name, in characters: with number and .report.txt it stays below what file systems take."""


class State(Enum):
    WORKING = "working"
    TAKEN = "taken"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of the watched folder."""

    number: int
    source: str
    name: str
    size: int
    state: State
    tries: int
    report: str
    added: int
    conflicts: int
    seen_ms: int
    done_ms: int | None

    @property
    def kept_name(self) -> str:
        """Its name in done/ or refused/: the number makes it one of its own."""
        path = PurePath(self.name)
        stem = path.stem.encode()[: LONGEST - len(path.suffix.encode())].decode("utf-8", "ignore")
        return f"{self.number}-{stem}{path.suffix}"


def taken_up(db: Database, source: str, name: str, digest: str, size: int, now_ms: int) -> FileRow:
    """The row of a file in .work/, made at its first try. One that was moved away is another file, even of the same bytes."""
    f = exchange_file.c
    here = and_(f.source == source, f.name == name, f.digest == digest, f.moved_ms.is_(None))
    with db.write() as conn:
        number = conn.execute(select(f.file_no).where(here)).scalar()
        if number is None:
            values = {"source": source, "name": name, "digest": digest, "size": size, "state": State.WORKING.value, "tries": 0,
                      "seen_ms": now_ms}  # fmt: skip
            number = conn.execute(insert(exchange_file).values(values).returning(f.file_no)).scalar_one()
        is_open = and_(f.file_no == number, f.state == State.WORKING.value)
        conn.execute(update(exchange_file).where(is_open).values(tries=f.tries + 1))
        return _row(conn.execute(select(exchange_file).where(f.file_no == number)).one())


def keep(conn: Connection, row: FileRow, brought: Brought, report: str, now_ms: int) -> None:
    """The result, in the caller's transaction."""
    state = State.TAKEN if brought.is_taken else State.REFUSED
    added, other = sum(t.new for _, t in brought.taken), sum(len(t.conflicts) for _, t in brought.taken)
    values = {"state": state.value, "report": report, "added": added, "conflicts": other, "done_ms": now_ms}
    conn.execute(update(exchange_file).where(exchange_file.c.file_no == row.number).values(values))


def row_of(db: Database, number: int) -> FileRow:
    with db.read() as conn:
        return _row(conn.execute(select(exchange_file).where(exchange_file.c.file_no == number)).one())


def mark_moved(db: Database, number: int, now_ms: int) -> None:
    with db.write() as conn:
        conn.execute(update(exchange_file).where(exchange_file.c.file_no == number).values(moved_ms=now_ms))


def mark_gone(db: Database, there: set[tuple[str, str]], now_ms: int) -> None:
    """Files that are no longer in .work/: those with a result were moved before the kill, the others somebody took away."""
    f = exchange_file.c
    with db.read() as conn:
        rows = conn.execute(select(f.file_no, f.source, f.name, f.state).where(f.moved_ms.is_(None))).all()
    gone = [row for row in rows if (row.source, row.name) not in there]
    if not gone:
        return
    with db.write() as conn:
        for row in gone:
            mine = f.file_no == row.file_no
            conn.execute(delete(exchange_file).where(mine) if row.state == State.WORKING.value
                         else update(exchange_file).where(mine).values(moved_ms=now_ms))  # fmt: skip


def latest(conn: Connection, limit: int, only: State | None = None) -> tuple[FileRow, ...]:
    """Newest first."""
    query = select(exchange_file).order_by(exchange_file.c.file_no.desc()).limit(limit)
    if only is not None:
        query = query.where(exchange_file.c.state == only.value)
    return tuple(_row(row) for row in conn.execute(query))


def _row(row: Any) -> FileRow:
    return FileRow(row.file_no, row.source, row.name, row.size, State(row.state), row.tries, row.report, row.added, row.conflicts,
                   row.seen_ms, row.done_ms)  # fmt: skip
