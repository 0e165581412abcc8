"""Payments, orders and uploads beside another concentrator, way of paying or meter, on PostgreSQL: no money stays behind, none comes twice.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select

from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.ingest.journal import take_journal
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay import calendars, enrolment, handover, leases, migration, offers, policies, replaced, shared_wallets
from gridtally_cloud.prepay.capture import pay_at_desk
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.managed_facts import said
from gridtally_cloud.prepay.managed_run import write_on
from gridtally_cloud.prepay.migration_rows import Wish
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.refunds import refund_payment
from gridtally_cloud.prepay.tables import instrument, payment
from gridtally_cloud.store.tables import dcu, meter
from gridtally_edge.prepay.book import entries_of
from gridtally_shared.contract.messages import InstrumentType, JournalRange
from gridtally_shared.contract.prepay_messages import LeaseAsk, Managed
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.money import nano
from support.meanwhile import meanwhile
from support.payday import HOUR_MS, OPENED_WH, SIGNER, Payday
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

NEW = "dcu-new"
HOME = {"kind": "policy", "code": "home", "currency": "INR"}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """Home 0 has 100 at its concentrator; another one stands ready, and a fourth meter."""
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    with town.db.write() as conn:
        conn.execute(insert(dcu).values(dcu=NEW, serial="S-NEW", state="active", created_ms=town.now_ms))
        old = conn.execute(select(meter).where(meter.c.meter_no == town.homes[0].meter_no)).mappings().one()
        conn.execute(insert(meter).values({**old, "meter_no": 99, "serial": "S-99"}))
        pay(town, "before", "100")(conn)
    town.round()
    yield town
    town.close()


def pay(town: Payday, receipt: str, amount: str = "200") -> Any:
    return lambda conn: pay_at_desk(conn, town.payments, town.account, nano(amount), receipt, town.now_ms, "desk")


def taken_over(town: Payday) -> Any:
    return lambda conn: replaced.replace_edge(conn, SIGNER, town.account, NEW, town.now_ms, "desk")


def managed(town: Payday) -> Any:
    return lambda conn: manage(conn, SIGNER, town.account, Managed.CLOUD, town.now_ms, "desk")


def issued(town: Payday, epoch: int) -> list[tuple[int, InstrumentType, int]]:
    i = instrument.c
    with town.db.read() as conn:
        rows = conn.execute(select(i.gseq, i.type, i.amount_nano).where(i.account_no == town.account, i.epoch == epoch).order_by(i.gseq))
        return [(r.gseq, InstrumentType(r.type), r.amount_nano) for r in rows]


# ---- another concentrator -------------------------------------------------------------------------------------


@pytest.mark.parametrize("handed", [taken_over, managed])
@pytest.mark.parametrize("payment_first", [True, False])
def test_a_payment_beside_another_concentrator_is_in_the_epoch_that_goes_on(town: Payday, handed: Any, payment_first: bool) -> None:
    steps = [pay(town, "r1"), handed(town)]
    meanwhile(town.db, *(steps if payment_first else reversed(steps))).result()
    made = issued(town, 2)
    assert [number for number, _, _ in made] == list(range(1, len(made) + 1))
    assert sum(amount for _, _, amount in made) == nano("300")


@pytest.mark.parametrize("upload_first", [True, False])
def test_what_a_concentrator_uploads_beside_its_successor_is_in_what_is_handed_over_or_set_aside(town: Payday, upload_first: bool) -> None:
    town.now_ms += HOUR_MS
    town.read(0, OPENED_WH + 3_000)
    with town.db.read() as conn:
        seq = load(conn, town.account, 1).state.seq
    fresh = tuple(e.to_bytes() for e in entries_of(town.money, town.account, 1)[seq:])
    steps = [lambda conn: take_journal(town.arrival(conn), JournalRange(town.account, 1, seq + 1, fresh)), taken_over(town)]
    done = meanwhile(town.db, *(steps if upload_first else reversed(steps)))
    assert isinstance(done.exception(), ContractError) is not upload_first
    with town.db.read() as conn:
        left_nano = load(conn, town.account, 1).state.balance_nano
        assert [amount for _, kind, amount in issued(town, 2) if kind is InstrumentType.OPENING] == [left_nano]


def test_a_chunk_of_a_shared_wallet_is_not_lent_to_a_concentrator_that_goes(town: Payday) -> None:
    with town.db.write() as conn:
        wallet = shared_wallets.open_wallet(conn, "hostel", "INR", town.now_ms, "desk")
        shared_wallets.join(conn, wallet, town.account, town.now_ms, "desk")
        shared_wallets.pay_in(conn, wallet, nano("500"), "slip", town.now_ms, "desk")
        leases.take_ask(town.arrival(conn), LeaseAsk(town.account, 1, 1, 0, town.now_ms))
    meanwhile(town.db, taken_over(town), lambda conn: shared_wallets.grant_due(conn, SIGNER, town.now_ms)).result()
    with town.db.read() as conn:
        assert shared_wallets.view(conn, wallet).lent_nano == 0


def test_a_payment_into_a_shared_wallet_is_booked_once_by_two_desks(town: Payday) -> None:
    with town.db.write() as conn:
        wallet = shared_wallets.open_wallet(conn, "hostel", "INR", town.now_ms, "desk")

    def slip(conn: Connection) -> bool:
        return shared_wallets.pay_in(conn, wallet, nano("500"), "slip", town.now_ms, "desk")

    assert meanwhile(town.db, slip, slip).result() is False
    with town.db.read() as conn:
        assert shared_wallets.free_nano(conn, wallet) == nano("500")


@pytest.mark.parametrize("payment_first", [True, False])
def test_a_payment_beside_joining_a_wallet_is_in_one_of_them(town: Payday, payment_first: bool) -> None:
    with town.db.write() as conn:
        wallet = shared_wallets.open_wallet(conn, "hostel", "INR", town.now_ms, "desk")
    steps = [pay(town, "r1"), lambda conn: shared_wallets.join(conn, wallet, town.account, town.now_ms, "desk")]
    meanwhile(town.db, *(steps if payment_first else reversed(steps))).result()
    with town.db.read() as conn:
        purposes = [*conn.execute(select(payment.c.purpose).order_by(payment.c.payment_no)).scalars()]
        assert purposes == ["credit", "credit" if payment_first else "wallet"]
        assert shared_wallets.free_nano(conn, wallet) == (0 if payment_first else nano("200"))


def test_two_desks_join_two_wallets_with_one_account_and_one_is_told(town: Payday) -> None:
    with town.db.write() as conn:
        one, two = (shared_wallets.open_wallet(conn, "hostel", "INR", town.now_ms, "desk") for _ in range(2))
    with pytest.raises(RefusedCommand, match="already_member"):
        meanwhile(town.db, lambda conn: shared_wallets.join(conn, one, town.account, town.now_ms, "desk"),
                  lambda conn: shared_wallets.join(conn, two, town.account, town.now_ms, "desk")).result()  # fmt: skip


@pytest.mark.parametrize("refund_first", [True, False])
def test_what_a_shared_wallet_gives_back_is_not_lent_too(town: Payday, refund_first: bool) -> None:
    with town.db.write() as conn:
        wallet = shared_wallets.open_wallet(conn, "hostel", "INR", town.now_ms, "desk")
        shared_wallets.join(conn, wallet, town.account, town.now_ms, "desk")
        number = pay(town, "r1", "100")(conn).payment_no
        leases.take_ask(town.arrival(conn), LeaseAsk(town.account, 1, 1, 0, town.now_ms))
    steps = [lambda conn: refund_payment(conn, town.payments, number, nano("100"), town.now_ms, "desk"),
             lambda conn: shared_wallets.grant_due(conn, SIGNER, town.now_ms)]  # fmt: skip
    done = meanwhile(town.db, *(steps if refund_first else reversed(steps)))
    with town.db.read() as conn:
        view = shared_wallets.view(conn, wallet)
    if refund_first:
        assert (done.result(), view.lent_nano, view.free_nano) == (0, 0, 0)
    else:
        assert "is lent to its accounts" in str(done.exception())
        assert view.lent_nano + view.free_nano == nano("100")


# ---- managed from here ----------------------------------------------------------------------------------------


def test_a_managed_account_is_written_on_beside_its_return(town: Payday) -> None:
    """The one who comes second sees whose it is now."""
    with town.db.write() as conn:
        managed(town)(conn)
        known = said(conn)
    back = [lambda conn: manage(conn, SIGNER, town.account, Managed.EDGE, town.now_ms, "desk"),
            lambda conn: write_on(conn, SIGNER, town.account, known, town.now_ms)]  # fmt: skip
    assert meanwhile(town.db, *back).result() == 0
    with town.db.read() as conn:
        assert sum(amount for _, _, amount in issued(town, 3)) == nano("100")


def test_a_payment_beside_the_engine_of_a_managed_account_is_written_in_the_same_run(town: Payday) -> None:
    """What is decided on the supply is decided with it: nobody is cut who has just paid."""
    with town.db.write() as conn:
        managed(town)(conn)
        known = said(conn)
        write_on(conn, SIGNER, town.account, known, town.now_ms)
    meanwhile(town.db, pay(town, "r1"), lambda conn: write_on(conn, SIGNER, town.account, known, town.now_ms)).result()
    with town.db.read() as conn:
        assert load(conn, town.account, 2).state.balance_nano == nano("300")


# ---- way of paying --------------------------------------------------------------------------------------------


def test_a_deposit_comes_along_once_though_two_desks_change_the_way_of_paying(town: Payday) -> None:
    def convert(conn: Connection) -> int:
        return handover.convert(conn, SIGNER, town.postpaid_account, Mode.PREPAID, town.now_ms, "desk", nano("80"))

    with pytest.raises(RefusedCommand, match="change_pending"):
        meanwhile(town.db, convert, convert).result()
    i = instrument.c
    with town.db.read() as conn:
        given = select(func.sum(i.amount_nano)).where(i.account_no == town.postpaid_account)
        assert conn.execute(given).scalar_one() == nano("80")


@pytest.mark.parametrize("payment_first", [True, False])
def test_a_payment_beside_the_end_of_prepayment_is_credit_or_on_the_bills(town: Payday, payment_first: bool) -> None:
    with town.db.write() as conn:
        handover.convert(conn, SIGNER, town.account, Mode.POSTPAID, town.now_ms, "desk")
    town.takes_mode = ""
    town.carry_down()
    town.now_ms += HOUR_MS
    town.configure()
    town.read(0, OPENED_WH + 1_000)
    with town.db.read() as conn:
        seq = load(conn, town.account, 1).state.seq
    fresh = tuple(e.to_bytes() for e in entries_of(town.money, town.account, 1)[seq:])
    steps = [pay(town, "r1"), lambda conn: take_journal(town.arrival(conn), JournalRange(town.account, 1, seq + 1, fresh))]
    meanwhile(town.db, *(steps if payment_first else reversed(steps))).result()
    with town.db.read() as conn:
        assert accounts.account(conn, town.account).mode is Mode.POSTPAID
        purposes = [*conn.execute(select(payment.c.purpose).order_by(payment.c.payment_no)).scalars()]
        assert purposes == ["credit", "credit" if payment_first else "bill"]
        assert reconcile(conn, town.account) == ()


@pytest.mark.parametrize("key", ["k1", "k2"])
def test_a_change_that_another_system_asks_for_twice_is_one(town: Payday, key: str) -> None:
    first, second = (Wish(town.account, Mode.POSTPAID, idempotency_key=k) for k in ("k1", key))
    done = meanwhile(town.db, lambda conn: migration.ask(conn, first, town.now_ms, "cis"),
                     lambda conn: migration.ask(conn, second, town.now_ms, "cis"))  # fmt: skip
    if key == "k1":
        assert done.result().migration_no == 1
    else:
        assert "is on its way already" in str(done.exception())


@pytest.fixture
def programme(town: Payday) -> Payday:
    """The same town, where every home may prepay by the programme "home"."""
    with town.db.write() as conn:
        policies.add_policy(conn, town.now_ms - town.now_ms % 900_000, json.dumps(HOME), town.now_ms, "ada")
        offers.set_option(conn, "home", "home", (), town.now_ms, "ada")
    return town


def asked(town: Payday, key: str) -> Any:
    """A step: a request of the first home."""

    def ask(conn: Connection) -> enrolment.Request:
        account = accounts.account(conn, town.account)
        wish = enrolment.Wish(town.account, account.customer_name, account.address, town.now_ms, None, "home", "none", "desk", "check 1",
                              idempotency_key=key)  # fmt: skip
        return enrolment.ask(conn, wish, town.now_ms, "desk")

    return ask


@pytest.mark.parametrize("key", ["k1", "k2"])
def test_a_request_to_prepay_that_is_clicked_twice_is_one(programme: Payday, key: str) -> None:
    done = meanwhile(programme.db, asked(programme, "k1"), asked(programme, key))
    if key == "k1":
        assert done.result().request_no == 1
    else:
        assert "has a request on its way" in str(done.exception())


def test_of_two_who_acknowledge_a_request_the_first_stands(programme: Payday) -> None:
    town = programme
    with town.db.write() as conn:
        number = asked(town, "k1")(conn).request_no
    enrolment.carry_out(town.db, SIGNER, town.now_ms)
    first, second = (lambda conn, who=who: enrolment.acknowledge(conn, number, town.now_ms, who) for who in ("dora", "otto"))
    assert meanwhile(town.db, first, second).result().acknowledged_by == "dora"


# ---- meters, versions -----------------------------------------------------------------------------------------


def test_two_accounts_do_not_get_one_meter(town: Payday) -> None:
    first, second = (
        lambda conn, no=home.account_no: replaced.swap_meter(conn, SIGNER, no, 99, None, None, town.now_ms, "desk")
        for home in town.homes[:2]
    )
    with pytest.raises(RefusedCommand, match="meter_in_use"):
        meanwhile(town.db, first, second).result()


def test_an_account_is_not_opened_on_a_meter_that_another_one_gets(town: Payday) -> None:
    with town.db.read() as conn:
        t = account_table.c
        there = conn.execute(select(account_table).where(t.account_no == town.account)).one()
    new = accounts.NewAccount(there.customer_no, there.usage_point_no, 99, Mode.PREPAID, there.tariff_id, there.currency, there.zone, "en",
                              "", town.now_ms)  # fmt: skip
    with pytest.raises(RefusedCommand, match="meter_in_use"):
        meanwhile(town.db, lambda conn: replaced.swap_meter(conn, SIGNER, town.account, 99, None, None, town.now_ms, "desk"),
                  lambda conn: accounts.open_account(conn, new, "desk")).result()  # fmt: skip


def test_two_versions_of_a_policy_are_numbered_one_after_the_other(town: Payday) -> None:
    at_ms, text = town.now_ms - town.now_ms % 900_000, json.dumps(HOME)
    first, second = (
        lambda conn, begins_ms=at_ms + n * 900_000: policies.add_policy(conn, begins_ms, text, town.now_ms, "desk") for n in (1, 2)
    )
    assert meanwhile(town.db, first, second).result().version == 2


def test_two_desks_let_all_homes_go_by_a_calendar(town: Payday) -> None:
    text = json.dumps({"kind": "calendar", "code": "here", "zone": "Asia/Kolkata"})
    with town.db.write() as conn:
        calendars.add_calendar(conn, town.now_ms, text, town.now_ms, "desk")
    first, second = (lambda conn: calendars.go_by(conn, "here", None, town.now_ms, "desk") for _ in range(2))
    assert meanwhile(town.db, first, second).result() == 3


def test_two_desks_let_an_account_follow_a_policy(town: Payday) -> None:
    with town.db.write() as conn:
        policies.add_policy(conn, town.now_ms - town.now_ms % 900_000, json.dumps(HOME), town.now_ms, "desk")

    def follow(conn: Connection) -> None:
        policies.follow(conn, town.account, "home", town.now_ms, "desk")

    meanwhile(town.db, follow, follow).result()
    with town.db.read() as conn:
        assert policies.followed(conn) == {town.account: "home"}
