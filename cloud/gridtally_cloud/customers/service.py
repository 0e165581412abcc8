"""Logins, as the web pages and the command line call them.

* Functions that hash take the `Database`, so that no write transaction waits for argon2; the others take a connection.
* `at_ms` is real time here: lock-outs do not follow virtual time.
* A wrong password, an unknown login and a disabled login give the same answer in the same time.
* Refusals for a person are `RefusedCommand` with a code of `AccessReason` and a sentence in `detail`.
"""

from __future__ import annotations

import re
from enum import StrEnum

from sqlalchemy import Connection, select, update

from gridtally_cloud.customers import passwords, users
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.lockout import SOURCE_STEPS, SOURCE_WINDOW_MS, WINDOW_MS, locked_for_s
from gridtally_cloud.customers.model import LoginOutcome, LoginResult, Role, User
from gridtally_cloud.customers.sessions import end_sessions
from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.store.db import Database, in_turn
from gridtally_shared.errors import RefusedCommand

LANGUAGES = ("en", "es", "hi")
_LOGIN = re.compile(r"^[a-z0-9][a-z0-9._@+-]{2,63}$")


class AccessReason(StrEnum):
    WEAK_PASSWORD = "weak_password"
    WRONG_PASSWORD = "wrong_password"
    LOGIN_TAKEN = "login_taken"
    BAD_LOGIN = "bad_login"
    UNKNOWN_LOGIN = "unknown_login"
    UNKNOWN_LANGUAGE = "unknown_language"
    LOCKED = "locked"


def create_user(db: Database, login: str, name: str, role: Role, password: str, at_ms: int, actor: str, *,
                language: str = "en", customer_no: int | None = None, must_change: bool = False) -> User:  # fmt: skip
    """Add a login. Raises RefusedCommand (weak_password, login_taken, bad_login, unknown_language)."""
    wanted = User(0, users.normal_login(login), name, role, language, True, must_change, customer_no, at_ms)
    _check_new(wanted)
    _check_password(password, (wanted.login, name))
    hashed = passwords.hash_password(password)
    with db.write() as conn:
        if users.user_row(conn, wanted.login) is not None:
            raise RefusedCommand(AccessReason.LOGIN_TAKEN, f"the login {wanted.login!r} exists already: choose another")
        user = users.insert_user(conn, wanted, hashed)
        record(conn, at_ms, actor, "user.created", f"user:{user.login}", role.value)
    return user


def _check_new(user: User) -> None:
    if not _LOGIN.match(user.login):
        raise RefusedCommand(AccessReason.BAD_LOGIN, f"{user.login!r}: a login has 3 to 64 letters, digits or . _ @ + -")
    if user.language not in LANGUAGES:
        raise RefusedCommand(AccessReason.UNKNOWN_LANGUAGE, f"{user.language!r}: choose one of {', '.join(LANGUAGES)}")


def _check_password(password: str, about: tuple[str, ...]) -> None:
    problem = passwords.weakness(password, about)
    if problem:
        raise RefusedCommand(AccessReason.WEAK_PASSWORD, problem)


def authenticate(db: Database, login: str, password: str, source: str, at_ms: int) -> LoginResult:
    """Check a login. `source` is the network address. Every attempt that is looked at leaves a row."""
    login = users.normal_login(login)[:64]
    with db.read() as conn:
        wait_s = _locked_s(conn, login, source, at_ms)
        row = users.user_row(conn, login)
    if wait_s:
        return LoginResult(LoginOutcome.LOCKED, retry_after_s=wait_s)
    good = passwords.matches(row.password_hash if row else passwords.nobodys_hash(), password) and row is not None
    renewed = passwords.hash_password(password) if good and row and passwords.is_outdated(row.password_hash) else ""
    with db.write() as conn:
        return _decide(conn, login, source, good, renewed, at_ms)


def _locked_s(conn: Connection, login: str, source: str, at_ms: int) -> int:
    of_login = users.failures_of_login(conn, login, at_ms - WINDOW_MS)
    of_source = users.failures_of_source(conn, source, at_ms - SOURCE_WINDOW_MS)
    return max(locked_for_s(of_login, at_ms), locked_for_s(of_source, at_ms, SOURCE_STEPS))


def _decide(conn: Connection, login: str, source: str, good: bool, renewed: str, at_ms: int) -> LoginResult:
    """The second half of a login, in the write transaction; a lock-out that came meanwhile still holds."""
    in_turn(conn, f"login {login}")
    in_turn(conn, f"logins from {source}")
    wait_s = _locked_s(conn, login, source, at_ms)
    if wait_s:
        return LoginResult(LoginOutcome.LOCKED, retry_after_s=wait_s)
    row = users.user_row(conn, login)
    accepted = good and row is not None and bool(row.active)
    users.add_attempt(conn, login, source, at_ms, accepted)
    record(conn, at_ms, login, "login.accepted" if accepted else "login.refused", f"user:{login}", source)
    if not accepted or row is None:
        return LoginResult(LoginOutcome.WRONG, retry_after_s=_locked_s(conn, login, source, at_ms))
    if renewed:
        users.set_hash(conn, row.user_id, renewed)
    return LoginResult(LoginOutcome.OK, users.user_from(row))


def change_password(db: Database, user_id: int, old: str, new: str, at_ms: int, *,
                    keep_token: str = "", source: str = "") -> None:  # fmt: skip
    """A person changes the own password; all other sessions end. Raises RefusedCommand (wrong_password, weak_password,
    locked)."""
    with db.read() as conn:
        row = users.user_row_by_id(conn, user_id)
    if row is None:
        raise RefusedCommand(AccessReason.UNKNOWN_LOGIN, "this login does not exist any more")
    checked = authenticate(db, row.login, old, source or "password form", at_ms)
    if checked.outcome is LoginOutcome.LOCKED:
        raise RefusedCommand(AccessReason.LOCKED, f"too many wrong passwords: try again in {checked.retry_after_s} s")
    if checked.user is None:
        raise RefusedCommand(AccessReason.WRONG_PASSWORD, "the present password is not right")
    if new == old:
        raise RefusedCommand(AccessReason.WEAK_PASSWORD, "the new password is the same as the present one")
    _check_password(new, (row.login, row.name))
    hashed = passwords.hash_password(new)
    with db.write() as conn:
        users.set_hash(conn, user_id, hashed, must_change=False)
        end_sessions(conn, user_id, at_ms, keep_token)
        record(conn, at_ms, row.login, "password.changed", f"user:{row.login}")


def set_password(db: Database, login: str, new: str, at_ms: int, actor: str, *, must_change: bool = True) -> None:
    """An administrator gives a login a new password; its sessions end. Raises RefusedCommand."""
    with db.read() as conn:
        row = users.user_row(conn, login)
    if row is None:
        raise RefusedCommand(AccessReason.UNKNOWN_LOGIN, f"there is no login {login!r}: see 'gridtally-mdm user list'")
    _check_password(new, (row.login, row.name))
    hashed = passwords.hash_password(new)
    with db.write() as conn:
        users.set_hash(conn, row.user_id, hashed, must_change=must_change)
        end_sessions(conn, row.user_id, at_ms)
        record(conn, at_ms, actor, "password.set", f"user:{row.login}")


def set_active(conn: Connection, login: str, active: bool, at_ms: int, actor: str) -> None:
    """Enable or disable a login; disabling ends its sessions at once. Raises RefusedCommand."""
    row = users.user_row(conn, login)
    if row is None:
        raise RefusedCommand(AccessReason.UNKNOWN_LOGIN, f"there is no login {login!r}: see 'gridtally-mdm user list'")
    conn.execute(update(app_user).where(app_user.c.user_id == row.user_id).values(active=active))
    if not active:
        end_sessions(conn, row.user_id, at_ms)
    record(conn, at_ms, actor, "user.enabled" if active else "user.disabled", f"user:{row.login}")


def list_users(conn: Connection) -> tuple[User, ...]:
    """All logins in alphabetical order."""
    return tuple(users.user_from(r) for r in conn.execute(select(app_user).order_by(app_user.c.login)))


def set_language(conn: Connection, user_id: int, language: str, at_ms: int) -> None:
    """The language of a person's pages. Raises RefusedCommand (unknown_language)."""
    if language not in LANGUAGES:
        raise RefusedCommand(AccessReason.UNKNOWN_LANGUAGE, f"{language!r}: choose one of {', '.join(LANGUAGES)}")
    row = users.user_row_by_id(conn, user_id)
    conn.execute(update(app_user).where(app_user.c.user_id == user_id).values(language=language))
    record(conn, at_ms, row.login if row else "", "user.language", f"user:{row.login if row else user_id}", language)
