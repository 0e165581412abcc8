"""Rows of money.db about people who work on site."""

from __future__ import annotations

from typing import ClassVar

from gridtally_edge.prepay.rows import Row
from gridtally_shared.records import dataclass

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE field_person (
        name TEXT PRIMARY KEY, salt BLOB NOT NULL, verifier BLOB NOT NULL, since_ms INTEGER NOT NULL, wrong INTEGER NOT NULL,
        left_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, boot_id BLOB NOT NULL
    ) STRICT, WITHOUT ROWID""",
)

METER_HOLDS: tuple[str, ...] = (
    """CREATE TABLE meter_hold (
        meter_no INTEGER NOT NULL, reason TEXT NOT NULL, value INTEGER NOT NULL, entry_id BLOB NOT NULL, heard INTEGER NOT NULL,
        account_no INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (meter_no, reason)
    ) STRICT, WITHOUT ROWID""",
)


@dataclass(slots=True)
class MeterHoldRow(Row):
    """The last word on a hold of a meter whose account is not run here; 0 was lifted. `entry_id`: the entry that told it, b"" where only
    the MDM said so; `heard`: the MDM has it. `account_no`: how the person, or the journal it was in, named the supply; 0 by its meter."""

    TABLE: ClassVar[str] = "meter_hold"
    KEY: ClassVar[tuple[str, ...]] = ("meter_no", "reason")

    meter_no: int
    reason: str
    value: int
    entry_id: bytes
    heard: int
    account_no: int
    at_ms: int


@dataclass(slots=True)
class FieldPersonRow(Row):
    """Somebody who may set and lift holds on site. `verifier` is the hash of what the PIN and `salt` give; the others are the
    lock after wrong PINs (keypad_lock.py)."""

    TABLE: ClassVar[str] = "field_person"
    KEY: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    salt: bytes
    verifier: bytes
    since_ms: int = 0
    wrong: int = 0
    left_ms: int = 0
    seen_ms: int = 0
    boot_id: bytes = b""
