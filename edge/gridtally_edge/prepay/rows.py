"""Rows of money.db as dataclasses: the field names are the columns, `TABLE` and `KEY` name where they live.

Only int, str, bytes and None are stored; a class with other types converts them itself.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, TypeVar


class Row:
    """Base of the row dataclasses; holds nothing itself."""

    TABLE: ClassVar[str] = ""
    KEY: ClassVar[tuple[str, ...]] = ()
    __slots__ = ()


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class _Sql:
    names: tuple[str, ...]
    columns: str
    insert: str
    select: str


@cache
def _made(cls: Any) -> _Sql:
    names = tuple(f.name for f in fields(cls))
    columns, marks = ", ".join(names), ", ".join("?" * len(names))
    where = " AND ".join(f"{name} = ?" for name in cls.KEY)
    insert = f"INSERT OR REPLACE INTO {cls.TABLE} ({columns}) VALUES ({marks})"
    return _Sql(names, columns, insert, f"SELECT {columns} FROM {cls.TABLE} WHERE {where}")


def _sql(cls: Any) -> _Sql:
    """The statements of a row class, made once."""
    return _made(cls)


def values_of(row: Row) -> tuple[Any, ...]:
    """The row's columns in order: what is stored, and what tells whether it changed."""
    values: tuple[Any, ...] = attrgetter(*_sql(type(row)).names)(row)
    return values


def one(db: sqlite3.Connection, cls: type[R], *key: Any) -> R | None:
    """The row of this key, or None."""
    found = db.execute(_sql(cls).select, key).fetchone()
    return None if found is None else cls(*found)


def some(db: sqlite3.Connection, cls: type[R], clause: str, *values: Any) -> list[R]:
    """Rows of a WHERE/ORDER clause."""
    return [cls(*row) for row in db.execute(f"SELECT {_sql(cls).columns} FROM {cls.TABLE} {clause}", values).fetchall()]


def save(db: sqlite3.Connection, row: Row) -> None:
    """Insert the row, or replace the one of the same key."""
    db.execute(_sql(type(row)).insert, values_of(row))


@dataclass(slots=True)
class AccountRow(Row):
    """`state` is the cached LedgerState (book.py); the journal is the truth. `held` is why the register is not charged
    ('went_back', 'jumped'), since `held_wh`. `notice_ms` is when the consumer was warned in this low spell."""

    TABLE: ClassVar[str] = "account"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch")

    account_no: int
    epoch: int
    state: str = ""
    balance_nano: int = 0
    seq: int = 0
    as_of_ms: int = 0
    held: str = ""
    held_wh: int | None = None
    ledger_fault: str = ""
    notice_ms: int | None = None
    exhausted_since_ms: int | None = None
    shown_ms: int = 0
    last_decision: str = ""


@dataclass(slots=True)
class JournalRow(Row):
    TABLE: ClassVar[str] = "journal"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch", "seq")

    account_no: int
    epoch: int
    seq: int
    kind: int
    at_ms: int
    register_wh: int | None
    body: bytes


@dataclass(slots=True)
class InstrumentRow(Row):
    """`state`: 'applied', 'parked' (account not here yet, or too far ahead), 'refused'."""

    TABLE: ClassVar[str] = "instrument"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch", "gseq")

    account_no: int
    epoch: int
    gseq: int
    body: bytes
    state: str
    reason: str
    amount_nano: int
    at_ms: int


@dataclass(slots=True)
class SwitchRow(Row):
    """What is known of one meter's switch. `counter` is the number of its newest action, whoever ordered it; `ordered`
    the state last ordered (1 closed, 0 open, None never)."""

    TABLE: ClassVar[str] = "switch"
    KEY: ClassVar[tuple[str, ...]] = ("meter_no",)

    meter_no: int
    counter: int = 0
    state: int = 4
    state_ms: int = 0
    serial: str = ""
    serial_ms: int = 0
    register_ms: int = 0
    power_w: int | None = None
    ordered: int | None = None
    off_reason: str = ""
    off_since_ms: int = 0
    open_wh: int | None = None
    use_reported: int = 0
    resyncs: int = 0
    retries: int = 0
    stuck_until_ms: int = 0
    closed_by_order_ms: int | None = None
    register_modulus_wh: int | None = None


@dataclass(slots=True)
class ActionRow(Row):
    """A switch action. `state`: 'intent' (stored, its order is or may be on its way), 'unresolved' (the switch must be
    read), 'finished'. `origin`: 'local' or 'command'; `account_no` 0 and `cmd_id` empty where there is none."""

    TABLE: ClassVar[str] = "action"
    KEY: ClassVar[tuple[str, ...]] = ("action_id",)

    action_id: bytes
    meter_no: int
    account_no: int
    epoch: int
    cmd_id: bytes
    counter: int
    close: int
    origin: str
    state: str
    created_ms: int
    unresolved_ms: int = 0
    finished_ms: int = 0
    result: str = ""


@dataclass(slots=True)
class CommandRow(Row):
    """A command that was verified and addressed to this DCU. `state` and `reason` are of lifecycle.py, `result` of the
    receipt. `due_ms`: when to run it (or run it again), None when it is not waiting. `reserved`: its switch number is
    taken, so only a newer order can overtake it."""

    TABLE: ClassVar[str] = "command"
    KEY: ClassVar[tuple[str, ...]] = ("cmd_id",)

    cmd_id: bytes
    body: bytes
    meter_no: int
    type: int
    state: int
    reason: str
    result: bytes
    at_ms: int
    expires_ms: int
    due_ms: int | None = None
    tries: int = 0
    reserved: int = 0


@dataclass(slots=True)
class CounterRow(Row):
    """Replay guard of one key: the highest counter, which of the 64 up to it were used (hexadecimal, bit 0 the highest
    itself), the highest critical one."""

    TABLE: ClassVar[str] = "command_counter"
    KEY: ClassVar[tuple[str, ...]] = ("key_id",)

    key_id: bytes
    highest: int = 0
    bitmap: str = "0"
    highest_critical: int = 0


@dataclass(slots=True)
class MessageRow(Row):
    """A message on the consumer's page. `params` is JSON of name and value; `text` is the words of a MESSAGE command."""

    TABLE: ClassVar[str] = "message"
    KEY: ClassVar[tuple[str, ...]] = ("message_no",)

    message_no: int | None
    account_no: int
    meter_no: int
    at_ms: int
    code: str
    params: str
    text: str = ""
    until_ms: int = 0
    cmd_id: bytes = b""


@dataclass(slots=True)
class FactRow(Row):
    """A single number that must outlive a restart."""

    TABLE: ClassVar[str] = "fact"
    KEY: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    value: int
