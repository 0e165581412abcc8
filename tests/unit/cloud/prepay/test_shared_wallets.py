"""A wallet two accounts live on: asked for, lent once, given back by the journal only, and never more than it holds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from gridtally_cloud.prepay import leases, shared_wallets
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.history import payment_view
from gridtally_cloud.prepay.instrument_tables import wallet_entry
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.refunds import refund_payment
from gridtally_edge.prepay.events import InstrumentArrived
from gridtally_edge.prepay.rows import AccountRow, one
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import EntryKind
from gridtally_shared.contract.prepay_messages import LeaseAsk
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from support.payday import HOUR_MS, OPENED_WH, SIGNER, Payday


class Hostel:
    """Homes 0 and 1 live on one wallet; asks and leases are carried by hand."""

    def __init__(self, folder: Path, paid: str = "500") -> None:
        self.town = Payday(folder)
        self.town.money.execute("PRAGMA synchronous = OFF")
        self.accounts = tuple(home.account_no for home in self.town.homes[:2])
        self.registers = [OPENED_WH, OPENED_WH]
        self.paid = 0
        with self.town.db.write() as conn:
            self.wallet = shared_wallets.open_wallet(conn, "hostel", "INR", self.town.now_ms, "desk")
            for account_no in self.accounts:
                shared_wallets.join(conn, self.wallet, account_no, self.town.now_ms, "desk")
        self.pay(paid)
        self.town.configure()
        for home in (0, 1):
            self.town.read(home, OPENED_WH)

    def pay(self, amount: str) -> None:
        self.paid += nano(amount)
        with self.town.db.write() as conn:
            assert shared_wallets.pay_in(conn, self.wallet, nano(amount), f"slip {self.paid}", self.town.now_ms, "desk")

    def asks(self) -> list[LeaseAsk]:
        query = "SELECT body FROM outbox_entry WHERE kind = ? ORDER BY seq"
        return [decode(LeaseAsk, body) for (body,) in self.town.money.execute(query, (int(EntryKind.LEASE_ASK),))]

    def carry_asks(self) -> None:
        with self.town.db.write() as conn:
            for ask in self.asks():
                leases.take_ask(self.town.arrival(conn), ask)

    def grant(self) -> int:
        with self.town.db.write() as conn:
            shared_wallets.take_returns(conn, self.town.now_ms)
            return shared_wallets.grant_due(conn, SIGNER, self.town.now_ms)

    def free(self) -> int:
        with self.town.db.read() as conn:
            return shared_wallets.free_nano(conn, self.wallet)

    def lent(self) -> int:
        with self.town.db.read() as conn:
            return -int(conn.execute(select(func.coalesce(func.sum(wallet_entry.c.amount_nano), 0))
                                     .where(wallet_entry.c.kind != "paid")).scalar_one())  # fmt: skip

    def balance(self, home: int) -> int:
        row = one(self.town.money, AccountRow, self.accounts[home], 1)
        return row.balance_nano if row else 0

    def use(self, home: int, wh: int) -> None:
        self.town.wait(HOUR_MS)
        self.registers[home] += wh
        self.town.read(home, self.registers[home])


def test_an_edge_asks_gets_a_chunk_and_asks_again_when_it_is_nearly_used(tmp_path: Path) -> None:
    hostel = Hostel(tmp_path)
    hostel.town.wait(60_000)
    assert [(a.account_no, a.number) for a in hostel.asks()] == [(n, 1) for n in hostel.accounts]
    hostel.carry_asks()
    hostel.carry_asks()
    assert (hostel.grant(), hostel.grant()) == (2, 0)
    hostel.town.carry_down()
    chunk = hostel.balance(0)
    assert chunk > 0
    assert hostel.free() + hostel.lent() == nano("500")
    hostel.town.wait(60_000)
    assert len(hostel.asks()) == 2, "enough is there"
    while hostel.balance(0) * 100 > chunk * 30:
        hostel.use(0, 1_000)
    hostel.town.wait(60_000)
    assert [(a.account_no, a.number) for a in hostel.asks()][2:] == [(hostel.accounts[0], 2)]
    hostel.town.carry_up()
    with hostel.town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


def test_what_is_not_used_comes_back_once(tmp_path: Path) -> None:
    hostel = Hostel(tmp_path)
    hostel.town.wait(60_000)
    hostel.carry_asks()
    hostel.grant()
    hostel.town.carry_down()
    with hostel.town.db.write() as conn:
        shared_wallets.ask_back(conn, SIGNER, hostel.accounts[0], hostel.town.now_ms)
    before = hostel.free()
    chunk = hostel.balance(0)
    assert 0 < chunk <= hostel.lent()
    hostel.town.carry_down()
    assert (hostel.balance(0), hostel.free()) == (0, before), "not before the mirror shows it"
    hostel.town.carry_up()
    hostel.grant()
    hostel.grant()
    assert hostel.free() == before + chunk


def test_an_ask_that_finds_no_money_is_answered_when_some_comes(tmp_path: Path) -> None:
    hostel = Hostel(tmp_path, "1")
    hostel.town.wait(60_000)
    hostel.carry_asks()
    assert (hostel.grant(), hostel.free()) == (1, 0)
    hostel.pay("300")
    assert hostel.grant() == 1
    assert hostel.grant() == 0


def test_money_is_booked_once_and_strangers_stay_out(tmp_path: Path) -> None:
    hostel = Hostel(tmp_path)
    with hostel.town.db.write() as conn:
        assert not shared_wallets.pay_in(conn, hostel.wallet, nano("500"), f"slip {hostel.paid}", hostel.town.now_ms, "desk")
        other = shared_wallets.open_wallet(conn, "abroad", "EUR", hostel.town.now_ms, "desk")
        with pytest.raises(RefusedCommand, match="pays in INR"):
            shared_wallets.join(conn, other, hostel.accounts[0], hostel.town.now_ms, "desk")
        with pytest.raises(RefusedCommand, match="not prepaid"):
            shared_wallets.join(conn, hostel.wallet, hostel.town.postpaid_account, hostel.town.now_ms, "desk")
        with pytest.raises(RefusedCommand, match="no wallet 99"):
            shared_wallets.pay_in(conn, 99, nano("1"), "x", hostel.town.now_ms, "desk")


def _some_down(hostel: Hostel, random: Random) -> None:
    waiting = hostel.town.instruments()
    for envelope in random.choices(waiting, k=len(waiting)) if waiting else ():
        hostel.town.tell(InstrumentArrived(envelope))


def _ask_back(hostel: Hostel, random: Random) -> None:
    with hostel.town.db.write() as conn:
        shared_wallets.ask_back(conn, SIGNER, random.choice(hostel.accounts), hostel.town.now_ms)


STEPS: tuple[Callable[[Hostel, Random], object], ...] = (
    lambda h, r: h.pay(str(r.randint(1, 200))),
    lambda h, r: h.use(r.randint(0, 1), r.randint(0, 9_000)),
    lambda h, r: h.carry_asks(),
    lambda h, r: h.grant(),
    lambda h, r: h.town.carry_up(),
    _some_down,
    _ask_back,
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STEPS), min_size=10, max_size=30), st.randoms(use_true_random=False))
def test_never_more_is_lent_than_was_paid_in(steps: list, random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hostel = Hostel(Path(folder), "50")
        for step in steps:
            step(hostel, random)
            assert hostel.free() >= 0
            assert hostel.lent() + hostel.free() == hostel.paid
        hostel.carry_asks()
        for _ in range(2):
            hostel.town.round()
        with hostel.town.db.read() as conn:
            assert prepay.reconcile(conn) == ()
        hostel.town.close()


def paid_no(hostel: Hostel, amount: str) -> int:
    payment = hostel.town.pay(amount, hostel.accounts[0]).payment
    assert payment is not None
    return payment.payment_no


def test_a_payment_for_an_account_of_a_wallet_goes_into_the_wallet_and_comes_back_out_of_it(tmp_path: Path) -> None:
    hostel = Hostel(tmp_path)
    free = hostel.free()
    payment_no = paid_no(hostel, "120")
    assert hostel.free() == free + nano("120")
    with hostel.town.db.write() as conn:
        assert payment_view(conn, payment_no).instrument is None
        with pytest.raises(RefusedCommand, match="at most"):
            refund_payment(conn, hostel.town.payments, payment_no, nano("121"), hostel.town.now_ms, "desk")
        refund_payment(conn, hostel.town.payments, payment_no, nano("120"), hostel.town.now_ms, "desk")
        assert reconcile(conn) == ()
    assert hostel.free() == free


def test_money_that_is_lent_is_not_given_back(tmp_path: Path) -> None:
    hostel = Hostel(tmp_path, paid="0.01")
    payment_no = paid_no(hostel, "120")
    hostel.town.wait(60_000)
    hostel.carry_asks()
    assert hostel.grant() > 0
    with hostel.town.db.write() as conn, pytest.raises(RefusedCommand, match="lent to its accounts"):
        refund_payment(conn, hostel.town.payments, payment_no, nano("120"), hostel.town.now_ms, "desk")
