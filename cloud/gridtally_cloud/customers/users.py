"""The rows behind logins: find, insert, change. No rules here; they are in service.py."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from gridtally_cloud.customers.model import Role, User
from gridtally_cloud.customers.tables import app_user, login_attempt


def normal_login(login: str) -> str:
    """A login is compared without case and outer blanks."""
    return login.strip().lower()


def user_from(row: Row[Any]) -> User:
    return User(row.user_id, row.login, row.name, Role(row.role), row.language, row.active, row.must_change,
                row.customer_no, row.created_ms)  # fmt: skip


def user_row(conn: Connection, login: str) -> Row[Any] | None:
    return conn.execute(select(app_user).where(app_user.c.login == normal_login(login))).one_or_none()


def user_row_by_id(conn: Connection, user_id: int) -> Row[Any] | None:
    return conn.execute(select(app_user).where(app_user.c.user_id == user_id)).one_or_none()


def insert_user(conn: Connection, user: User, password_hash: str) -> User:
    values = {"login": user.login, "name": user.name, "role": user.role.value, "password_hash": password_hash,
              "language": user.language, "active": user.active, "must_change": user.must_change,
              "customer_no": user.customer_no, "created_ms": user.created_at_ms}  # fmt: skip
    row = conn.execute(insert(app_user).values(values).returning(app_user)).one()
    return user_from(row)


def set_hash(conn: Connection, user_id: int, password_hash: str, must_change: bool | None = None) -> None:
    values: dict[str, Any] = {"password_hash": password_hash}
    if must_change is not None:
        values["must_change"] = must_change
    conn.execute(update(app_user).where(app_user.c.user_id == user_id).values(values))


def failures_of_login(conn: Connection, login: str, since_ms: int) -> tuple[int, ...]:
    """Times of the failed attempts since the last good one and since `since_ms`."""
    t = login_attempt.c
    last_good = select(func.coalesce(func.max(t.attempt_no), 0)).where(t.login == login, t.good).scalar_subquery()
    query = select(t.at_ms).where(t.login == login, ~t.good, t.at_ms >= since_ms, t.attempt_no > last_good)
    return tuple(conn.execute(query).scalars())


def failures_of_source(conn: Connection, source: str, since_ms: int) -> tuple[int, ...]:
    t = login_attempt.c
    return tuple(conn.execute(select(t.at_ms).where(t.source == source, ~t.good, t.at_ms >= since_ms)).scalars())


def add_attempt(conn: Connection, login: str, source: str, at_ms: int, good: bool) -> None:
    conn.execute(insert(login_attempt).values(login=login, source=source, at_ms=at_ms, good=good))


def forget_attempts(conn: Connection, before_ms: int) -> int:
    """Drop attempts nobody counts any more; number dropped."""
    return conn.execute(delete(login_attempt).where(login_attempt.c.at_ms < before_ms)).rowcount
