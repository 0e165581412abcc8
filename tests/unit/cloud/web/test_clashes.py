"""Requests that other transactions get in the way of: tried again from the start; where that does not help, the answer says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from flask import Flask
from sqlalchemy import Connection, select, text
from werkzeug.test import TestResponse

from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.prepay.tables import payment
from gridtally_cloud.web.clashes import AGAIN_S, TRIES
from gridtally_cloud.web.tokens import create_token
from gridtally_shared.clock import SystemClock
from support.meanwhile import beside
from support.stores import ON_POSTGRES
from support.web_person import Person
from support.web_street import PASSWORD, WebStreet

together = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")
CLASHES = """CREATE SEQUENCE tries;
CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'others are here' USING ERRCODE = '{state}'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER clash BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION clash()"""


def clashing(street: WebStreet, table: str, times: int, state: str = "40001") -> None:
    """The first `times` writes to a table end as they do where PostgreSQL finds two transactions in each other's way."""
    with street.pay.db.write() as conn:
        conn.execute(text(CLASHES.format(table=table, times=times, state=state)))


def tries(street: WebStreet) -> int:
    with street.pay.db.read() as conn:
        return int(conn.execute(text("SELECT last_value FROM tries")).scalar_one())


@contextmanager
def taken(street: WebStreet) -> Iterator[None]:
    """Nobody gets to write: on PostgreSQL each try clashes, on SQLite another process holds the lock."""
    if ON_POSTGRES:
        clashing(street, "payment", 1000, "40P01")
        yield
        return
    with street.pay.db.read() as conn:
        conn.exec_driver_sql("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(street.pay.db.url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def token(street: WebStreet) -> str:
    with street.pay.db.write() as conn:
        return create_token(conn, "till", ("station:write",), SystemClock().now_ms(), "test")


def pay(app: Flask, bearer: str, account_no: int) -> TestResponse:
    headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": "till-1"}
    body = {"account_no": account_no, "amount": "250", "method": "cash"}
    return app.test_client().post("/api/v1/station/payments", headers=headers, json=body)


def paid(street: WebStreet) -> list[str]:
    with street.pay.db.read() as conn:
        return list(conn.execute(select(payment.c.gateway_ref)).scalars())


@together
def test_a_request_in_a_deadlock_is_done_at_the_second_try(street: WebStreet) -> None:
    db, account_no, before = street.pay.db, street.pay.account, paid(street)
    app, bearer = street.app(), token(street)
    with db.write() as conn:
        name = conn.execute(text("SELECT current_database()")).scalar_one()
        conn.execute(text(f"ALTER DATABASE {name} SET deadlock_timeout = '200ms'"))
    db.engine.dispose()

    def first(conn: Connection) -> None:
        conn.execute(text("SET LOCAL deadlock_timeout = '20s'"))
        conn.execute(text("LOCK TABLE payment IN SHARE ROW EXCLUSIVE MODE"))

    answer = beside(db, first, lambda: pay(app, bearer, account_no), lambda conn: hold(conn, account_no)).result()
    assert (answer.status_code, answer.get_json()["amount"]) == (201, "250")
    assert len(paid(street)) == len(before) + 1


@together
@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_request_that_clashed_four_times_is_done_once(street: WebStreet, state: str) -> None:
    before = paid(street)
    app, bearer = street.app(), token(street)
    clashing(street, "payment", TRIES - 1, state)
    assert pay(app, bearer, street.pay.account).status_code == 201
    assert (tries(street), len(paid(street))) == (TRIES, len(before) + 1)


def test_where_it_does_not_help_a_program_is_told_to_send_again(street: WebStreet) -> None:
    before = paid(street)
    app, bearer = street.app(), token(street)
    with taken(street):
        answer = pay(app, bearer, street.pay.account)
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert answer.headers["Retry-After"] == str(AGAIN_S)
    assert answer.get_json()["type"].endswith("/busy")
    assert "Nothing of this request was done" in answer.get_json()["detail"]
    assert paid(street) == before
    if ON_POSTGRES:
        assert tries(street) == TRIES


def test_where_it_does_not_help_a_person_gets_a_page_that_says_what_next(street: WebStreet) -> None:
    before, dora = paid(street), Person(street.app(), "dora")
    path = f"/desk/accounts/{street.pay.account}"
    dora.get(path)
    with taken(street):
        answer = dora.post(f"{path}/credit", {"amount": "200", "reference": "R-1"}, form=path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, str(AGAIN_S))
    assert "Nothing of yours was done. Go back and do it again." in answer.get_data(as_text=True)
    assert paid(street) == before


@together
def test_what_committed_a_part_is_not_tried_again_and_says_so(street: WebStreet) -> None:
    """The old password was checked, which counts as a login: a second count of its own accord would be one too many."""
    asha = Person(street.app(), "asha")
    clashing(street, "app_user", 1)
    fields = {"old": PASSWORD, "new": "eight blue umbrellas", "again": "eight blue umbrellas"}
    answer = asha.post("/password", fields)
    assert answer.status_code == 503
    assert "Part of yours may be done" in answer.get_data(as_text=True)
    assert asha.post("/password", fields).status_code == 302


def test_a_broken_store_is_no_busy_one(street: WebStreet) -> None:
    dora = Person(street.app(), "dora")
    path = f"/desk/accounts/{street.pay.account}"
    dora.get(path)
    with street.pay.db.write() as conn:
        conn.execute(text("ALTER TABLE payment RENAME TO away"))
    assert dora.client.get(path).status_code == 500
