"""Erases a person: everything that names the person goes, in one transaction; books, chains and readings stay under a number.

* Killed at any moment it has done all or nothing; the same again does the rest (the emptying of the log too), or nothing and says so.
* The line of the list beside the store (`listed.py`) is on the disk before the transaction ends: a copy that is put back later knows.
* SQLite overwrites what goes with zeros (secure_delete) and the log is emptied after. What earlier versions of a row left in other places
  of a page goes by `vacuum` for sure, which writes the whole file anew; so do the dead rows of PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, and_, case, delete, func, insert, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.person import listed
from gridtally_cloud.person.held import HELD, Held
from gridtally_cloud.person.links import Person, find, rows_of
from gridtally_cloud.person.obstacles import obstacles
from gridtally_cloud.person.tables import erasure
from gridtally_cloud.person.texts import after, scrubber
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.schema import metadata
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

OPEN = "person_not_settled"
NO_REASON = "no_reason"


@dataclass(frozen=True, slots=True)
class Part:
    """What becomes of a person's rows of one table."""

    held: Held
    rows: int

    @property
    def gone(self) -> str:
        """Columns, or 'rows' for all of each."""
        return "rows" if self.held.goes else " ".join(self.held.changes)


@dataclass(frozen=True, slots=True)
class Erased:
    """`before_ms`: it was done before, and nothing was done now. `changed` rows and `deleted` rows."""

    customer_no: int
    erased_ms: int
    before: bool = False
    changed: int = 0
    deleted: int = 0


def erased_ms(conn: Connection, customer_no: int) -> int | None:
    """When the customer was erased; None if never."""
    return conn.execute(select(erasure.c.erased_ms).where(erasure.c.customer_no == customer_no)).scalar_one_or_none()


def parts(conn: Connection, person: Person) -> tuple[Part, ...]:
    """Every table that holds something of the person."""
    counts = ((held, select(func.count()).select_from(metadata.tables[held.table]).where(rows_of(person, held))) for held in HELD)
    return tuple(Part(held, n) for held, query in counts if (n := conn.execute(query).scalar_one()))


def erase(db: Database, file: Path, customer_no: int, by: str, reason: str, now_ms: int) -> Erased:
    """`file`: the list beside the store. Raises RefusedCommand (unknown_customer, no_reason, person_not_settled)."""
    if not reason.strip() or not by.strip():
        raise RefusedCommand(NO_REASON, "say why and who: --reason 'asked by letter of 20 November' --by dora")
    with db.write() as conn:
        person = find(conn, customer_no, hold=True)
        before_ms = erased_ms(conn, customer_no)
        if before_ms is None:
            done = _settled(conn, person, by.strip(), reason.strip(), now_ms)
            listed.append(file, listed.Line(customer_no, person.created_ms, now_ms))
        else:
            done = Erased(customer_no, before_ms, before=True)
    empty_log(db)  # also where it was done before: that process may have been killed between
    return done


def empty_log(db: Database) -> None:
    """What was written goes into the file of an SQLite store, over what it replaces, and its log forgets both."""
    if db.is_sqlite:
        _alone(db, "PRAGMA wal_checkpoint(TRUNCATE)")


def _settled(conn: Connection, person: Person, by: str, reason: str, now_ms: int) -> Erased:
    against = obstacles(conn, person)
    if against:
        raise RefusedCommand(OPEN, f"customer {person.customer_no} can not be erased yet:\n  " + "\n  ".join(against))
    return _erase(conn, person, by, reason, now_ms)


def _erase(conn: Connection, person: Person, by: str, reason: str, now_ms: int) -> Erased:
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")
    number, scrub = person.customer_no, scrubber(person.names, person.customer_no)
    changes = [change for held in HELD if held.changes and not held.goes for change in _changes(conn, person, held)]
    goes = [(table, key) for held in reversed(HELD) if held.goes for table, key in _keys(conn, person, held)]
    for table, key, values in changes:
        conn.execute(update(table).where(key).values(values))
    _rename(conn, person)
    for table, key in goes:
        conn.execute(delete(table).where(key))
    conn.execute(update(app_user).where(app_user.c.customer_no == number).values(customer_no=None))
    row = {"customer_no": number, "created_ms": person.created_ms, "erased_ms": now_ms, "erased_by": by, "reason": scrub(reason)}
    conn.execute(insert(erasure).values(row))
    said = f"{len(changes)} rows changed, {len(goes)} deleted: {scrub(reason)}"
    record(conn, now_ms, by, "person.erased", f"customer:{number}", said)
    return Erased(number, now_ms, changed=len(changes), deleted=len(goes))


def _changes(conn: Connection, person: Person, held: Held) -> Iterator[tuple[Table, Any, dict[str, Any]]]:
    table, scrub = metadata.tables[held.table], scrubber(person.names, person.customer_no)
    for row in conn.execute(select(table).where(rows_of(person, held))).mappings().all():
        values = after(table, held, {c.name: row[c] for c in table.c}, person.customer_no, scrub)
        if values:
            yield table, _key(table, row), values


def _keys(conn: Connection, person: Person, held: Held) -> list[tuple[Table, Any]]:
    table = metadata.tables[held.table]
    rows = conn.execute(select(*table.primary_key).where(rows_of(person, held))).mappings().all()
    return [(table, _key(table, row)) for row in rows]


def _key(table: Table, row: Any) -> Any:
    return and_(*(c == row[c] for c in table.primary_key))


def _rename(conn: Connection, person: Person) -> None:
    """The person as the one who did something, in every row there is."""
    new = dict(person.actors)
    for held in HELD if new else ():
        table = metadata.tables[held.table]
        for name in held.actor.split():
            c = table.c[name]
            conn.execute(update(table).where(c.in_(new)).values({c: case(new, value=c, else_=c)}))


def vacuum(db: Database) -> None:
    """Write the files anew without what was deleted. SQLite wants as much free disk as the store has; PostgreSQL locks each table."""
    if db.is_sqlite:
        _alone(db, "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        _alone(db, *(f'VACUUM FULL "{held.table}"' for held in HELD if held.changes or held.goes))


def _alone(db: Database, *statements: str) -> None:
    """Outside any transaction."""
    pooled = db.engine.raw_connection()
    raw: Any = pooled.driver_connection
    try:
        if not db.is_sqlite:
            raw.autocommit = True
        for statement in statements:
            raw.execute(statement).close()
    finally:
        pooled.invalidate()
