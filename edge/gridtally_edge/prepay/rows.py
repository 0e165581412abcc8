"""Rows of money.db as dataclasses: the field names are the columns, `TABLE` and `KEY` name where they live.

Only int, str, bytes and None are stored; a class with other types converts them itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from gridtally_shared.records import dataclass


class Row:
    """Base of the row dataclasses; holds nothing itself."""

    TABLE: ClassVar[str] = ""
    KEY: ClassVar[tuple[str, ...]] = ()
    __slots__ = ()


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class _Sql:
    columns: str
    insert: str
    select: str
    values: Callable[[Any], tuple[Any, ...]]


@cache
def _made(cls: Any) -> _Sql:
    names = tuple(f.name for f in fields(cls))
    columns, marks = ", ".join(names), ", ".join("?" * len(names))
    where = " AND ".join(f"{name} = ?" for name in cls.KEY)
    insert = f"INSERT OR REPLACE INTO {cls.TABLE} ({columns}) VALUES ({marks})"
    return _Sql(columns, insert, f"SELECT {columns} FROM {cls.TABLE} WHERE {where}", attrgetter(*names))


def _sql(cls: Any) -> _Sql:
    """The statements of a row class, made once."""
    return _made(cls)


def values_of(row: Row) -> tuple[Any, ...]:
    """The row's columns in order: what is stored, and what tells whether it changed."""
    return _sql(type(row)).values(row)


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


def save_all(db: sqlite3.Connection, cls: type[R], rows: Sequence[R]) -> None:
    """`save` of several rows of one class."""
    if rows:
        db.executemany(_sql(cls).insert, [values_of(row) for row in rows])


@dataclass(slots=True)
class AccountRow(Row):
    """`state` is the cached LedgerState (book.py); the journal is the truth. `held` is why the register is not charged
    ('went_back', 'jumped'), since `held_wh`. `standing` is where the engine left this supply (shared prepay/standing.py),
    `last_decision` its verdict with what blocked it."""

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
    shown_ms: int = 0
    last_decision: str = ""
    standing: str = ""


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
    """`state`: 'applied', 'parked' (account not here yet, too far ahead, or before its turn), 'refused'. `carrier`: what
    brought it first: 'mqtt', 'keypad' or 'file'. A body that came by keypad is replaced by the signed one when that comes."""

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
    carrier: str = "mqtt"


@dataclass(slots=True)
class KeypadRow(Row):
    """Wrong codes of an account and the lock they led to (keypad_lock.py); `key` is the one a KEY_ROTATE brought, `retired`
    the one it took out of use."""

    TABLE: ClassVar[str] = "keypad"
    KEY: ClassVar[tuple[str, ...]] = ("account_no",)

    account_no: int
    wrong: int = 0
    left_ms: int = 0
    seen_ms: int = 0
    boot_id: bytes = b""
    key: bytes = b""
    retired: bytes = b""


@dataclass(slots=True)
class OrderRow(Row):
    """What a control instrument set for an account, under a name of account_orders.py; 0 was lifted. `until_ms` 0: until
    another one says otherwise."""

    TABLE: ClassVar[str] = "account_order"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch", "name")

    account_no: int
    epoch: int
    name: str
    value: int
    until_ms: int
    gseq: int
    at_ms: int


@dataclass(slots=True)
class LeaseRow(Row):
    """Asks of an account for chunks of its shared wallet: how many were asked for and granted, and the newest chunk."""

    TABLE: ClassVar[str] = "lease"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch")

    account_no: int
    epoch: int
    asked: int = 0
    granted: int = 0
    chunk_nano: int = 0


@dataclass(slots=True)
class CodeEntryRow(Row):
    """The answer to a typed code (keypad.CodeResult), kept a week for whoever asks again."""

    TABLE: ClassVar[str] = "code_entry"
    KEY: ClassVar[tuple[str, ...]] = ("entry_id",)

    entry_id: bytes
    account_no: int
    result: str
    gseq: int
    amount_nano: int
    balance_nano: int
    until_ms: int
    at_ms: int


@dataclass(slots=True)
class SwitchRow(Row):
    """What is known of one meter's switch. `counter` is the number of its newest action, whoever ordered it; `ordered`
    the state last ordered (1 closed, 0 open, None never). `arms`: whether its meter arms instead of closing, None not known.
    `fault`: 'stuck' (no movement) or 'live' (says open, and there is current or voltage behind it), until it is seen to work."""

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
    arms: int | None = None
    fault: str = ""
    load_side_mv: int | None = None


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
    receipt. `due_ms`: when to run it (or run it again), None when it is not waiting. `reserved`: the switch number it took
    (0: none yet), so only a newer order can overtake it."""

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
    not_before_ms: int = 0


@dataclass(slots=True)
class ScheduleRow(Row):
    """A schedule this edge holds, beside its command. `running`: within a window; `runs` counts them. `before`: why the supply
    was off when the window began ('': it was on). `stage`: 'waiting', 'running', 'closing' (its time is over, the last
    reading is awaited), 'over'. `reopen_ms`: since when the supply is to go off again; `held` is what keeps a step from
    being taken. `end_ms` comes earlier when it is ended early."""

    TABLE: ClassVar[str] = "schedule"
    KEY: ClassVar[tuple[str, ...]] = ("cmd_id",)

    cmd_id: bytes
    schedule_no: int
    meter_no: int
    account_no: int
    epoch: int
    programme: str
    start_ms: int
    end_ms: int
    stage: str = "waiting"
    running: int = 0
    runs: int = 0
    window_ms: int = 0
    before: str = ""
    reopen_ms: int | None = None
    early: int = 0
    held: str = ""
    action: int = 1


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
    """A message on the consumer's page. `params` is JSON of name and value; `text` is the words of a MESSAGE command. `state` is
    that of messages.py since `state_ms`, '' is delivered; `asks`: a yes or no is wanted. `entry` names the journal's own entry;
    `filed` is what the consumer did with it: '', 'saved' or 'deleted'."""

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
    state: str = ""
    state_ms: int = 0
    asks: int = 0
    entry: str = ""
    filed: str = ""


@dataclass(slots=True)
class FactRow(Row):
    """A single number that must outlive a restart."""

    TABLE: ClassVar[str] = "fact"
    KEY: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    value: int
