"""Money is neither made nor lost, whatever happens to messages in between (prepayment.md I1, I2, I5 to I8)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.tables import instrument, payment, refund
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_edge.prepay.events import InstrumentArrived
from gridtally_shared.money import nano
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, Payday


class Street:
    """A `Payday` and what a simple ledger beside it says must be true."""

    def __init__(self, folder: Path) -> None:
        self.town = Payday(folder)
        self.register = OPENED_WH
        self.paid = self.refunded = 0
        self.town.read(0, OPENED_WH)

    def pay(self, random: Random) -> None:
        amount = random.randint(100, 20_000)
        hook = self.town.choose(self.town.order(str(amount)), random.choice(("card", "netbanking", "wallet")))
        for _ in range(random.randint(1, 4)):
            self.town.deliver(hook)
        self.paid += nano(str(amount))

    def fail(self, random: Random) -> None:
        self.town.deliver(self.town.choose(self.town.order("100"), "card-declined"))

    def refund(self, random: Random) -> None:
        with self.town.db.write() as conn:
            done = prepay.payments(conn, self.town.account)
            open_ones = [p for p in done if p.amount_nano > p.refunded_nano]
            if open_ones:
                chosen = random.choice(open_ones)
                amount = random.randint(1, chosen.amount_nano - chosen.refunded_nano)
                prepay.refund_payment(conn, self.town.payments, chosen.payment_no, amount, self.town.now_ms, "desk")
                self.refunded += amount

    def use(self, random: Random) -> None:
        self.town.wait(random.choice((HOUR_MS, 6 * HOUR_MS, DAY_MS)))
        self.register += random.randint(0, 3_000)
        self.town.read(0, self.register)

    def carry_some_down(self, random: Random) -> None:
        waiting = self.town.instruments()
        for envelope in random.choices(waiting, k=len(waiting)) if waiting else ():
            self.town.tell(InstrumentArrived(envelope))

    def carry_up(self, random: Random) -> None:
        self.town.carry_up()

    def check(self) -> None:
        view = self.town.balance()
        with self.town.db.read() as conn:
            assert prepay.reconcile(conn) == ()
            applied = sum(i.amount_nano for i in prepay.instruments(conn, self.town.account) if i.applied_seq is not None)
        assert applied + view.pending_nano == self.paid - self.refunded


STEPS: tuple[Callable[[Street, Random], None], ...] = (
    Street.pay, Street.fail, Street.refund, Street.use, Street.carry_some_down, Street.carry_up,
)  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STEPS), min_size=5, max_size=20), st.randoms(use_true_random=False))
def test_payments_are_balance_charges_and_money_on_the_way(steps: list[Callable[..., None]], random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        street = Street(Path(folder))
        for step in steps:
            step(street, random)
            street.check()
        street.town.round()
        street.town.round()
        street.check()
        assert street.town.balance().pending_nano == 0
        street.town.close()


TAMPERS = (
    ("a payment nobody issued", lambda c: c.execute(update(payment).values(amount_nano=payment.c.amount_nano + 1)), "issued"),
    ("another amount in the row", lambda c: c.execute(update(instrument).values(amount_nano=instrument.c.amount_nano + 1)), "chain"),
    ("another balance on record", lambda c: c.execute(update(account_mirror).values(balance_nano=1)), "replay"),
    ("another head on record", lambda c: c.execute(update(account_mirror).values(head=bytes(32))), "replay"),
    ("a lost entry", lambda c: c.execute(journal_entry.delete().where(journal_entry.c.seq == 2)), "replay"),
)


@pytest.mark.parametrize(("tamper", "check"), [t[1:] for t in TAMPERS], ids=[t[0] for t in TAMPERS])
def test_the_books_find_what_was_changed(tmp_path: Path, tamper: Callable[..., object], check: str) -> None:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    town.pay("100")
    town.round()
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()
    with town.db.write() as conn:
        tamper(conn)
    with town.db.read() as conn:
        assert check in {m.check for m in prepay.reconcile(conn)}
    town.close()


def test_numbers_of_instruments_have_no_gaps(tmp_path: Path) -> None:
    town = Payday(tmp_path)
    for account in (town.homes[0].account_no, town.homes[1].account_no, town.homes[0].account_no):
        town.pay("100", account)
    with town.db.read() as conn:
        for home in town.homes[:2]:
            numbers = sorted(i.gseq for i in prepay.instruments(conn, home.account_no))
            assert numbers == list(range(1, len(numbers) + 1))
        assert conn.execute(select(func.count()).select_from(refund)).scalar_one() == 0
    town.close()
