"""Rows of tokens on their way to a meter, and of who waits for their end."""

from __future__ import annotations

from typing import ClassVar

from gridtally_edge.prepay.rows import Row
from gridtally_shared.records import dataclass

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE token (
        token_id BLOB PRIMARY KEY, meter_no INTEGER NOT NULL, digits TEXT NOT NULL, since_ms INTEGER NOT NULL,
        until_ms INTEGER NOT NULL, due_ms INTEGER, reached INTEGER NOT NULL, result TEXT NOT NULL, reason TEXT NOT NULL,
        status INTEGER NOT NULL, data TEXT NOT NULL, entered_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE token_asker (
        asker_id BLOB PRIMARY KEY, token_id BLOB NOT NULL, carrier TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX token_asker_token ON token_asker (token_id)",
)


@dataclass(slots=True)
class TokenRow(Row):
    """One token for one meter. `reached`: it may have got there; `result` '' while it is on its way; `due_ms` when it is tried
    again, None while somebody is at it. `digits` are forgotten at its end; `token_id` is their hash."""

    TABLE: ClassVar[str] = "token"
    KEY: ClassVar[tuple[str, ...]] = ("token_id",)

    token_id: bytes
    meter_no: int
    digits: str
    since_ms: int
    until_ms: int
    due_ms: int | None = None
    reached: int = 0
    result: str = ""
    reason: str = ""
    status: int = -1
    data: str = ""
    entered_ms: int = 0
    at_ms: int = 0


@dataclass(slots=True)
class TokenAskerRow(Row):
    """A command or a request at the counter that brought a token."""

    TABLE: ClassVar[str] = "token_asker"
    KEY: ClassVar[tuple[str, ...]] = ("asker_id",)

    asker_id: bytes
    token_id: bytes
    carrier: str
