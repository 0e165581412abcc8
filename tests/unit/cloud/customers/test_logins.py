"""Logins, lock-outs and sessions, on a real store with a clock wound by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from gridtally_cloud.customers import service, sessions
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.lockout import locked_for_s
from gridtally_cloud.customers.model import LoginOutcome, Role, User
from gridtally_cloud.customers.tables import app_user, web_session
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import RefusedCommand
from support.stores import fresh_store

PASSWORD, OTHER = "correct river lantern 9", "violet-kettle-orbit"
NOW, S, MINUTE, HOUR = 1_800_000_000_000, 1_000, 60_000, 3_600_000
FROM = "192.0.2.7"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = fresh_store(tmp_path)
    yield db
    db.close()


@pytest.fixture
def asha(db: Database) -> User:
    return service.create_user(db, " Asha ", "Asha Rao", Role.DESK, PASSWORD, NOW, "root")


def outcome(db: Database, login: str, password: str, at_ms: int, source: str = FROM) -> LoginOutcome:
    return service.authenticate(db, login, password, source, at_ms).outcome


def test_a_login_is_compared_without_case(db: Database, asha: User) -> None:
    assert asha.login == "asha"
    assert service.authenticate(db, "ASHA", PASSWORD, FROM, NOW).user == asha
    assert outcome(db, "asha", PASSWORD.upper(), NOW) is LoginOutcome.WRONG


REFUSED = (
    ("asha", PASSWORD, "en", "login_taken"), ("a", PASSWORD, "en", "bad_login"), ("as ha", PASSWORD, "en", "bad_login"),
    ("ravi", "short", "en", "weak_password"), ("ravi", PASSWORD, "xx", "unknown_language"),
)  # fmt: skip


@pytest.mark.parametrize(("login", "password", "language", "reason"), REFUSED)
def test_a_login_that_can_not_be_made(db: Database, asha: User, login: str, password: str, language: str, reason: str) -> None:
    with pytest.raises(RefusedCommand) as caught:
        service.create_user(db, login, "R", Role.CONSUMER, password, NOW, "root", language=language)
    assert caught.value.reason == reason


def test_five_wrong_passwords_lock_the_login_for_a_minute(db: Database, asha: User) -> None:
    for second in range(5):
        assert outcome(db, "asha", "wrong", NOW + second * S) is LoginOutcome.WRONG
    last = NOW + 4 * S
    locked = service.authenticate(db, "asha", PASSWORD, FROM, last + 59 * S)
    assert (locked.outcome, locked.retry_after_s) == (LoginOutcome.LOCKED, 1)
    assert outcome(db, "asha", PASSWORD, last + 60 * S) is LoginOutcome.OK


def test_attempts_during_a_lock_out_do_not_make_it_longer(db: Database, asha: User) -> None:
    for _ in range(5):
        outcome(db, "asha", "wrong", NOW)
    for second in range(1, 60):
        assert outcome(db, "asha", "wrong", NOW + second * S) is LoginOutcome.LOCKED
    assert outcome(db, "asha", PASSWORD, NOW + 60 * S) is LoginOutcome.OK


def test_an_unknown_login_is_locked_out_just_the_same(db: Database, asha: User) -> None:
    answers = [[outcome(db, login, "wrong", NOW + i) for i in range(6)] for login in ("asha", "nobody")]
    assert answers[0] == answers[1]


def test_a_good_login_forgets_the_failures(db: Database, asha: User) -> None:
    for i in range(4):
        outcome(db, "asha", "wrong", NOW + i)
    assert outcome(db, "asha", PASSWORD, NOW + 5) is LoginOutcome.OK
    for i in range(4):
        assert outcome(db, "asha", "wrong", NOW + 10 + i) is LoginOutcome.WRONG


def test_lock_outs_grow_by_the_table() -> None:
    waits = [locked_for_s((NOW,) * count, NOW) for count in (4, 5, 7, 8, 10, 15, 99)]
    assert waits == [0, 60, 60, 300, 900, 3600, 3600]


def test_one_source_that_tries_many_logins_has_to_wait(db: Database, asha: User) -> None:
    for i in range(30):
        outcome(db, f"guess{i}", "wrong", NOW + i)
    assert outcome(db, "asha", PASSWORD, NOW + 31) is LoginOutcome.LOCKED
    assert outcome(db, "asha", PASSWORD, NOW + 31, source="192.0.2.8") is LoginOutcome.OK


def test_a_disabled_login_looks_like_a_wrong_password(db: Database, asha: User) -> None:
    with db.write() as conn:
        token = sessions.open_session(conn, asha, FROM, "browser", NOW)
        service.set_active(conn, "asha", False, NOW, "root")
        assert sessions.resolve_session(conn, token, NOW) is None
    assert outcome(db, "asha", PASSWORD, NOW) is LoginOutcome.WRONG


def test_an_old_hash_is_renewed_at_the_next_good_login(db: Database, asha: User) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(PASSWORD)
    with db.write() as conn:
        conn.execute(update(app_user).values(password_hash=old))
    assert outcome(db, "asha", PASSWORD, NOW) is LoginOutcome.OK
    with db.read() as conn:
        assert conn.execute(select(app_user.c.password_hash)).scalar_one().startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_changing_the_password_ends_the_other_sessions(db: Database, asha: User) -> None:
    with db.write() as conn:
        here, there = (sessions.open_session(conn, asha, FROM, "b", NOW) for _ in range(2))
    service.change_password(db, asha.user_id, PASSWORD, OTHER, NOW, keep_token=here)
    with db.read() as conn:
        assert sessions.resolve_session(conn, here, NOW) is not None
        assert sessions.resolve_session(conn, there, NOW) is None
    assert outcome(db, "asha", PASSWORD, NOW) is LoginOutcome.WRONG
    assert outcome(db, "asha", OTHER, NOW) is LoginOutcome.OK


CHANGES = (("wrong", OTHER, "wrong_password"), (PASSWORD, PASSWORD, "weak_password"), (PASSWORD, "asha-asha-rao-1", "weak_password"))


@pytest.mark.parametrize(("old", "new", "reason"), CHANGES)
def test_a_change_of_password_that_is_refused(db: Database, asha: User, old: str, new: str, reason: str) -> None:
    with pytest.raises(RefusedCommand) as caught:
        service.change_password(db, asha.user_id, old, new, NOW)
    assert caught.value.reason == reason
    assert outcome(db, "asha", PASSWORD, NOW) is LoginOutcome.OK


@pytest.mark.parametrize(("role", "idle_min", "hours"), [(Role.CONSUMER, 30, 12), (Role.DESK, 15, 8), (Role.ADMIN, 15, 8)])
def test_sessions_end_when_idle_and_at_their_limit(db: Database, role: Role, idle_min: int, hours: int) -> None:
    user = service.create_user(db, f"user-{role.value}", "U", role, PASSWORD, NOW, "root")
    with db.write() as conn:
        token = sessions.open_session(conn, user, FROM, "b", NOW)
        assert sessions.resolve_session(conn, token, NOW + idle_min * MINUTE - 1) is not None
        assert sessions.resolve_session(conn, token, NOW + idle_min * MINUTE) is None
        for at_ms in range(NOW, NOW + hours * HOUR, 10 * MINUTE):
            found = sessions.resolve_session(conn, token, at_ms)
            assert found is not None
            assert found[1].touch_due == (at_ms > NOW)
            sessions.touch_session(conn, token, at_ms)
        assert sessions.resolve_session(conn, token, NOW + hours * HOUR) is None


def test_a_session_is_listed_ended_and_its_token_is_not_stored(db: Database, asha: User) -> None:
    with db.write() as conn:
        token = sessions.open_session(conn, asha, FROM, "Firefox", NOW)
        listed = sessions.list_sessions(conn, asha.user_id, NOW)
        assert [(s.source, s.agent) for s in listed] == [(FROM, "Firefox")]
        stored = conn.execute(select(web_session.c.token_hash)).scalar_one()
        assert token.encode() not in stored
        assert len(token) >= 43
        assert not sessions.end_session_no(conn, asha.user_id + 1, listed[0].session_no, NOW)
        assert sessions.end_session_no(conn, asha.user_id, listed[0].session_no, NOW)
        assert sessions.list_sessions(conn, asha.user_id, NOW) == ()
        assert sessions.resolve_session(conn, "a made-up token", NOW) is None


def test_every_attempt_and_change_is_in_the_audit(db: Database, asha: User) -> None:
    outcome(db, "asha", "wrong", NOW)
    outcome(db, "asha", PASSWORD, NOW)
    service.change_password(db, asha.user_id, PASSWORD, OTHER, NOW)
    with db.read() as conn:
        rows = audit_rows(conn, subject="user:asha")
    assert [r.action for r in reversed(rows)] == [
        "user.created", "login.refused", "login.accepted", "login.accepted", "password.changed",
    ]  # fmt: skip
    assert not any(word in str(rows) for word in (PASSWORD, OTHER))
