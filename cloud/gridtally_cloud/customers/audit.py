"""Who did what to what. Every change a person or a command causes leaves a row in the same transaction."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from gridtally_cloud.customers.model import AuditRow
from gridtally_cloud.customers.tables import audit_row

_RECORD = insert(audit_row)


def record(conn: Connection, at_ms: int, actor: str, action: str, subject: str, detail: str = "") -> None:
    """`action` is verb.object such as 'login.refused'; `subject` names the thing, such as 'user:asha'. No secrets."""
    conn.execute(_RECORD, {"at_ms": at_ms, "actor": actor, "action": action, "subject": subject, "detail": detail})


def audit_rows(conn: Connection, *, subject: str | None = None, limit: int = 100) -> tuple[AuditRow, ...]:
    """Newest first."""
    query = select(audit_row).order_by(audit_row.c.audit_no.desc()).limit(limit)
    if subject is not None:
        query = query.where(audit_row.c.subject == subject)
    return tuple(AuditRow(r.at_ms, r.actor, r.action, r.subject, r.detail) for r in conn.execute(query))
