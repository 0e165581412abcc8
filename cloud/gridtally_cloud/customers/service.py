"""Logins and sessions, as the web pages and the command line call them.

Functions that hash take the `Database`, so that no transaction waits for argon2; the others take a connection.
`at_ms` is real time here (web sessions and lock-outs do not follow virtual time).
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.customers.model import LoginResult, Role, Session, User
from gridtally_cloud.store.db import Database


def create_user(db: Database, login: str, name: str, role: Role, password: str, at_ms: int, actor: str, *,
                language: str = "en", customer_no: int | None = None, must_change: bool = False) -> User: ...  # fmt: skip


def authenticate(db: Database, login: str, password: str, source: str, at_ms: int) -> LoginResult: ...


def change_password(db: Database, user_id: int, old: str, new: str, at_ms: int) -> None: ...


def set_password(db: Database, login: str, new: str, at_ms: int, actor: str, *, must_change: bool = True) -> None: ...


def set_active(conn: Connection, login: str, active: bool, at_ms: int, actor: str) -> None: ...


def list_users(conn: Connection) -> tuple[User, ...]: ...


def open_session(conn: Connection, user: User, source: str, agent: str, at_ms: int) -> str: ...


def resolve_session(conn: Connection, token: str, at_ms: int) -> tuple[User, Session] | None: ...


def touch_session(conn: Connection, token: str, at_ms: int) -> None: ...


def list_sessions(conn: Connection, user_id: int, at_ms: int) -> tuple[Session, ...]: ...


def end_session(conn: Connection, token: str, at_ms: int) -> None: ...


def end_other_sessions(conn: Connection, user_id: int, keep_token: str, at_ms: int) -> int: ...
