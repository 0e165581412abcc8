"""Guesses and new prices at the same time, on PostgreSQL: many guesses at once get no further than one after the other.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from gridtally_cloud.customers import identity, lockout, service, users
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.model import LoginOutcome, Role
from gridtally_cloud.customers.seed import DEMO_TARIFF
from gridtally_cloud.customers.tables import customer
from gridtally_cloud.customers.tariffs import add_tariff
from gridtally_cloud.store.db import Database
from support.cloud_store import START_MS, new_street
from support.meanwhile import beside, meanwhile
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

PASSWORD, FROM = "long enough for asha 7", "10.0.0.1"
BEFORE_THE_LAST = lockout.STEPS[0][0] - 1


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    street = new_street(tmp_path)
    yield street.db
    street.db.close()


def test_a_password_guessed_beside_the_last_wrong_one_is_not_looked_at(db: Database) -> None:
    service.create_user(db, "asha", "Asha", Role.DESK, PASSWORD, START_MS, "test")
    with db.write() as conn:
        for _ in range(BEFORE_THE_LAST):
            users.add_attempt(conn, "asha", FROM, START_MS, False)

    def last(conn: Connection) -> None:
        service._decide(conn, "asha", FROM, False, "", START_MS)

    other = beside(db, last, lambda: service.authenticate(db, "asha", PASSWORD, FROM, START_MS))
    assert other.result().outcome is LoginOutcome.LOCKED


def test_answers_guessed_beside_the_last_wrong_ones_are_not_looked_at(db: Database) -> None:
    with db.write() as conn:
        conn.execute(update(customer).values(address="12, Rose Lane"))
        account = account_of(conn, 1)
        for _ in range(BEFORE_THE_LAST):
            identity.confirm(conn, 1, {}, "dora", START_MS)
    right = {"name": account.customer_name, "address": "12, Rose Lane", "meter_serial": account.meter_serial}
    other = meanwhile(db, lambda conn: identity.confirm(conn, 1, {}, "dora", START_MS),
                      lambda conn: identity.confirm(conn, 1, right, "dora", START_MS)).result()  # fmt: skip
    assert (other.good, other.wait_s) == (False, lockout.STEPS[0][1])


def test_two_versions_of_a_tariff_are_numbered_one_after_the_other(db: Database) -> None:
    first, second = (lambda conn, at=at: add_tariff(conn, "new", START_MS + at * 86_400_000 * 60, DEMO_TARIFF, START_MS, "ada")
                     for at in (0, 1))  # fmt: skip
    assert meanwhile(db, first, second).result().version == 2
