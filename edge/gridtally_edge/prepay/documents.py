"""Policies and calendars as they came, in money.db: a version that was here is never replaced by an earlier one (I25).

* Every version is kept when its configuration is accepted, and its text never changes here. A configuration that names only an
  older version leaves the newer one in force.
* The newest `KEPT` versions of each are kept; the one in force is among them.

Source: prepayment.md 3.6, I25; safety.md 12.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, ClassVar

from gridtally_edge.prepay.rows import Row, one, save, some
from gridtally_shared.contract.messages import DcuConfig
from gridtally_shared.contract.prepay_messages import CalendarDocument, PolicyDocument
from gridtally_shared.records import dataclass

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE document (
        kind TEXT NOT NULL, code TEXT NOT NULL, version INTEGER NOT NULL, from_ms INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (kind, code, version)
    ) STRICT, WITHOUT ROWID""",
)
POLICY, CALENDAR = "policy", "calendar"
KEPT = 24


@dataclass(slots=True)
class DocumentRow(Row):
    TABLE: ClassVar[str] = "document"
    KEY: ClassVar[tuple[str, ...]] = ("kind", "code", "version")

    kind: str
    code: str
    version: int
    from_ms: int
    body: str


@dataclass(frozen=True, slots=True)
class Documents:
    """What is here, oldest first."""

    policies: tuple[PolicyDocument, ...] = ()
    calendars: tuple[CalendarDocument, ...] = ()


def documents_of(db: sqlite3.Connection, config: DcuConfig) -> Documents:
    """The versions kept, and those of a configuration from before any was."""
    return Documents(
        _joined(db, POLICY, [_policy_row(d) for d in config.policies], PolicyDocument),
        _joined(db, CALENDAR, [_calendar_row(d) for d in config.calendars], CalendarDocument),
    )


def keep(db: sqlite3.Connection, before: DcuConfig, config: DcuConfig) -> None:
    """Store the versions of a new configuration, and first those of the one before it."""
    for each in (before, config):
        for row in (*map(_policy_row, each.policies), *map(_calendar_row, each.calendars)):
            if one(db, DocumentRow, row.kind, row.code, row.version) is None:
                save(db, row)
    db.execute(
        """DELETE FROM document WHERE version <= (SELECT max(d.version) FROM document d
        WHERE d.kind = document.kind AND d.code = document.code) - ?""", (KEPT,)
    )  # fmt: skip


def _joined(db: sqlite3.Connection, kind: str, given: list[DocumentRow], make: Callable[[str, int, int, str], Any]) -> tuple[Any, ...]:
    found = {(r.code, r.version): r for r in (*given, *some(db, DocumentRow, "WHERE kind = ?", kind))}
    return tuple(make(r.code, r.version, r.from_ms, r.body) for _, r in sorted(found.items()))


def _policy_row(d: PolicyDocument) -> DocumentRow:
    return DocumentRow(POLICY, d.policy_id, d.version, d.from_ms, d.document)


def _calendar_row(d: CalendarDocument) -> DocumentRow:
    return DocumentRow(CALENDAR, d.calendar_id, d.version, d.from_ms, d.document)
