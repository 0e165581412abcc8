"""Web sessions, kept at the server: 256-bit random tokens, idle and absolute limits by role (ASVS 5.0).

* Limits are real time: staff 15 minutes idle and 8 hours at most, consumers 30 minutes and 12 hours.
* A session ends with log-out, with a changed password (all others), and when the login is disabled.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, insert, select, update

from gridtally_cloud.customers.model import Role, Session, User
from gridtally_cloud.customers.tables import app_user, web_session
from gridtally_cloud.customers.users import user_from

MINUTE_MS = 60_000
TOUCH_AFTER_MS = MINUTE_MS
_STAFF_LIMITS = (15 * MINUTE_MS, 8 * 60 * MINUTE_MS)
LIMITS_MS: dict[Role, tuple[int, int]] = {
    Role.CONSUMER: (30 * MINUTE_MS, 12 * 60 * MINUTE_MS),
    Role.DESK: _STAFF_LIMITS,
    Role.OPERATIONS: _STAFF_LIMITS,
    Role.ADMIN: _STAFF_LIMITS,
}

_JOINED: Select[Any] = select(
    *app_user.c, web_session.c.session_no, web_session.c.created_ms.label("opened_ms"), web_session.c.seen_ms,
    web_session.c.ended_ms, web_session.c.source, web_session.c.agent,
).join(web_session, web_session.c.user_id == app_user.c.user_id)  # fmt: skip


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def open_session(conn: Connection, user: User, source: str, agent: str, at_ms: int) -> str:
    """A new session's token, for the cookie. Always a new one at login."""
    token = secrets.token_urlsafe(32)
    conn.execute(insert(web_session).values(token_hash=_digest(token), user_id=user.user_id, created_ms=at_ms, seen_ms=at_ms,
                                            source=source[:64], agent=agent[:200]))  # fmt: skip
    return token


def resolve_session(conn: Connection, token: str, at_ms: int) -> tuple[User, Session] | None:
    """The user behind a token, or None when it is unknown, ended, too old, or its login is disabled."""
    row = conn.execute(_JOINED.where(web_session.c.token_hash == _digest(token))).one_or_none()
    if row is None or not row.active or not _is_live(row, Role(row.role), at_ms):
        return None
    return user_from(row), _session_from(row, at_ms)


def _is_live(row: Row[Any], role: Role, at_ms: int) -> bool:
    idle_ms, absolute_ms = LIMITS_MS[role]
    return row.ended_ms is None and at_ms - row.seen_ms < idle_ms and at_ms - row.opened_ms < absolute_ms


def _session_from(row: Row[Any], at_ms: int) -> Session:
    return Session(row.session_no, row.user_id, row.opened_ms, row.seen_ms, row.source, row.agent,
                   at_ms - row.seen_ms >= TOUCH_AFTER_MS)  # fmt: skip


def touch_session(conn: Connection, token: str, at_ms: int) -> None:
    """Note that the session was used; called when `touch_due`, so that reading a page rarely writes."""
    conn.execute(update(web_session).where(web_session.c.token_hash == _digest(token)).values(seen_ms=at_ms))


def list_sessions(conn: Connection, user_id: int, at_ms: int) -> tuple[Session, ...]:
    """Live sessions of a user, newest first."""
    rows = conn.execute(_JOINED.where(web_session.c.user_id == user_id).order_by(web_session.c.session_no.desc()))
    return tuple(_session_from(r, at_ms) for r in rows if _is_live(r, Role(r.role), at_ms))


def _end(conn: Connection, at_ms: int, *conditions: ColumnElement[bool]) -> int:
    open_ones = update(web_session).where(web_session.c.ended_ms.is_(None), *conditions)
    return conn.execute(open_ones.values(ended_ms=at_ms)).rowcount


def end_session(conn: Connection, token: str, at_ms: int) -> None:
    _end(conn, at_ms, web_session.c.token_hash == _digest(token))


def end_session_no(conn: Connection, user_id: int, session_no: int, at_ms: int) -> bool:
    """End one session out of the user's own list; False when it is not his or already ended."""
    return _end(conn, at_ms, web_session.c.session_no == session_no, web_session.c.user_id == user_id) == 1


def end_sessions(conn: Connection, user_id: int, at_ms: int, keep_token: str = "") -> int:
    """End all sessions of a user but the one named; number ended."""
    return _end(conn, at_ms, web_session.c.user_id == user_id, web_session.c.token_hash != _digest(keep_token))
