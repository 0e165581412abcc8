"""Who is at the desk: the right answers open the account for a while, wrong ones refuse and lock, and both are on record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from gridtally_cloud.customers import identity
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import customer as customer_of
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.identity import Checked
from gridtally_cloud.customers.tables import customer
from gridtally_shared.errors import RefusedCommand
from support.cloud_store import START_MS, Street, new_street

DESK = "staff:dora"
PHONE = "+91 98100 00001"


class Counter:
    """A desk before account 1."""

    def __init__(self, street: Street) -> None:
        self.street, self.now_ms = street, START_MS
        with street.db.write() as conn:
            conn.execute(update(customer).values(phone=PHONE, address="12, Rosé Lane"))
            account = account_of(conn, 1)
            self.right = {"name": customer_of(conn, account.customer_no).name, "address": "12 Rose lane", "phone": "098100-00001"}
            self.serial = account.meter_serial

    def ask(self, **answers: str) -> Checked:
        with self.street.db.write() as conn:
            return identity.confirm(conn, 1, {**self.right, **answers}, DESK, self.now_ms)

    @property
    def is_open(self) -> bool:
        with self.street.db.read() as conn:
            return bool(identity.confirmed(conn, 1, DESK, self.now_ms))

    @property
    def audit(self) -> list[str]:
        with self.street.db.read() as conn:
            return [r.action for r in audit_rows(conn, subject="account:1") if r.action.startswith("identity.")]


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    street = new_street(tmp_path)
    yield Counter(street)
    street.db.close()


def test_the_right_answers_hold_for_a_quarter_of_an_hour_and_for_whom_they_were_given_to(counter: Counter) -> None:
    assert not counter.is_open
    assert counter.ask().good
    assert counter.is_open
    with counter.street.db.read() as conn:
        assert not identity.confirmed(conn, 1, "staff:otto", counter.now_ms)
        assert not identity.confirmed(conn, 2, DESK, counter.now_ms)
    counter.now_ms += identity.HOLDS_MS
    assert not counter.is_open
    assert counter.audit == ["identity.confirmed"]


@pytest.mark.parametrize("wrong", [
    {"name": "Somebody Else"}, {"address": "13 Rose Lane"}, {"phone": "098100-00002"}, {"phone": "1"}, {"phone": ""},
    {"name": ""}, {"address": ""}, {"meter_serial": "999"}, {"email": "a@b.example"}, {"phone": "", "email": " "},
])  # fmt: skip
def test_one_wrong_answer_refuses_and_is_on_record(counter: Counter, wrong: dict[str, str]) -> None:
    assert not counter.ask(**wrong).good
    assert not counter.is_open
    assert counter.audit == ["identity.refused"]


def test_another_secret_does_as_well_and_each_that_is_given_must_be_right(counter: Counter) -> None:
    assert counter.ask(phone="", meter_serial=counter.serial.lower()).good
    assert not counter.ask(meter_serial=counter.serial + "1").good


def test_guessing_locks_the_account_even_for_the_right_answers_and_the_lock_ends(counter: Counter) -> None:
    for _ in range(5):
        assert not counter.ask(phone="000000000").good
    locked = counter.ask()
    assert (locked.good, locked.wait_s) == (False, 60)
    counter.now_ms += 60_000
    assert counter.ask().good
    assert not counter.ask(phone="000000000").wait_s
    assert counter.audit[-5:] == ["identity.refused"] * 5


def test_an_account_that_is_not_there_is_refused(counter: Counter) -> None:
    with counter.street.db.write() as conn, pytest.raises(RefusedCommand, match="there is no account 999"):
        identity.confirm(conn, 999, {}, DESK, counter.now_ms)
