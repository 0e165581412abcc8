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
