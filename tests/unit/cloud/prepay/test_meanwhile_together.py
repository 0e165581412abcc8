"""Desks, workers and webhooks all at once over the same homes, on PostgreSQL: nobody waits for another for ever, and the books hold.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection, func, insert, select

from gridtally_cloud.billing.receivables import post_assessment
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.prepay import arrears, control, disconnect_run, leases, replaced, settling, shared_wallets
from gridtally_cloud.prepay.capture import pay_at_desk
from gridtally_cloud.prepay.instruments import issue_waiting
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.managed_run import run as managed_run
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.refunds import refund_payment
from gridtally_cloud.prepay.tables import instrument, payment, refund
from gridtally_cloud.programs import money, service
from gridtally_cloud.programs.model import Booking
from gridtally_cloud.store.tables import dcu
from gridtally_shared.contract.prepay_messages import LeaseAsk, Managed
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from gridtally_shared.schedules.document import Programme
from support.payday import DCU, HOUR_MS, OPENED_WH, SIGNER, Payday
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

NEW, DESKS = "dcu-new", 3
Act = Callable[[Connection, Random], object]


class Rush:
    """Three homes, two concentrators, a wallet; each act is a transaction over a home at random."""

    def __init__(self, town: Payday) -> None:
        self.town, self.now_ms, self.numbers, self.receipts = town, town.now_ms, [h.account_no for h in town.homes], count()
        for home in range(3):
            town.read(home, OPENED_WH)
        with town.db.write() as conn:
            conn.execute(insert(dcu).values(dcu=NEW, serial="S-NEW", state="active", created_ms=self.now_ms))
            for no in self.numbers:
                money.allow_events(conn, no, True, "desk", self.now_ms)
                self.pay(conn, Random(no), no)
            self.wallet = shared_wallets.open_wallet(conn, "hostel", "INR", self.now_ms, "desk")
            shared_wallets.pay_in(conn, self.wallet, nano("500"), "slip", self.now_ms, "desk")
            shared_wallets.join(conn, self.wallet, self.numbers[1], self.now_ms, "desk")
        town.round()
        self.acts: tuple[Act, ...] = (
            self.pay, self.pay, self.pay, self.give_back, self.give_back, self.replace, self.ask, self.wallets, self.book, self.cut,
            lambda conn, dice: replaced.replace_whole_edge(conn, SIGNER, *dice.sample([DCU, NEW], 2), self.now_ms, "desk"),
            lambda conn, dice: control.show_test(conn, SIGNER, self.home(dice), self.now_ms, "desk"),
            lambda conn, dice: control.rotate_keypad_key(conn, SIGNER, self.home(dice), self.now_ms, "desk"),
            lambda conn, dice: manage(conn, SIGNER, self.home(dice), dice.choice([*Managed]), self.now_ms, "desk"),
            lambda conn, dice: post_assessment(conn, account_of(conn, self.home(dice)), nano("5"), self.now_ms),
            lambda conn, dice: settling.carry_bills(conn, SIGNER, self.home(dice), self.now_ms),
            lambda conn, dice: service.cancel(conn, SIGNER, 1, "desk", self.now_ms),
            lambda conn, dice: money.settle_ended(conn, SIGNER, self.now_ms),
            lambda conn, dice: issue_waiting(conn, SIGNER, self.now_ms),
        )

    def home(self, dice: Random) -> int:
        return dice.choice(self.numbers)

    def pay(self, conn: Connection, dice: Random, no: int = 0) -> None:
        pay_at_desk(conn, self.town.payments, no or self.home(dice), nano("200"), f"r{next(self.receipts)}", self.now_ms, "desk")

    def give_back(self, conn: Connection, dice: Random) -> None:
        refund_payment(conn, self.town.payments, dice.randint(1, 3), nano("90"), self.now_ms, "desk")

    def replace(self, conn: Connection, dice: Random) -> None:
        replaced.replace_edge(conn, SIGNER, self.home(dice), dice.choice([DCU, NEW]), self.now_ms, "desk")

    def ask(self, conn: Connection, dice: Random) -> None:
        account = account_of(conn, self.numbers[1])
        if account.dcu == DCU:
            asked = LeaseAsk(account.account_no, account.account_epoch, dice.randint(1, 9), 0, self.now_ms)
            leases.take_ask(self.town.arrival(conn), asked)

    def wallets(self, conn: Connection, dice: Random) -> None:
        shared_wallets.take_returns(conn, self.now_ms)
        shared_wallets.grant_due(conn, SIGNER, self.now_ms)

    def book(self, conn: Connection, dice: Random) -> None:
        start_ms = self.now_ms + dice.randint(1, 99) * HOUR_MS
        service.book(conn, SIGNER, Booking(programme=Programme.B, account_no=self.home(dice), requester_no=self.home(dice), by="desk",
                                           credit_nano=nano("10"), start_ms=start_ms, end_ms=start_ms + HOUR_MS), self.now_ms)  # fmt: skip

    def cut(self, conn: Connection, dice: Random) -> None:
        disconnect_run.order(conn, SIGNER, disconnect_run.announce(conn, self.now_ms, "desk", 0).run_no, self.now_ms)

    def work(self, dice: Random) -> None:
        acts = [*self.acts]
        dice.shuffle(acts)
        for act in acts:
            try:
                with self.town.db.write() as conn:
                    act(conn, dice)
            except RefusedCommand:
                pass  # as it should be: what others did stands
        managed_run(self.town.db, SIGNER, self.now_ms)
        arrears.carry_out(self.town.db, SIGNER, self.now_ms)


def test_all_at_once_nobody_sees_a_fault_and_the_books_hold(tmp_path: Path) -> None:
    town, faults = Payday(tmp_path), []
    rush = Rush(town)

    def desk(seed: int) -> None:
        try:
            rush.work(Random(seed))
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=desk, args=(seed,)) for seed in range(DESKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    i, back = instrument.c, func.sum(refund.c.amount_nano)
    with town.db.read() as conn:
        counted = conn.execute(select(func.count(), func.max(i.gseq)).group_by(i.account_no, i.epoch)).all()
        too_much = select(payment.c.payment_no).join(refund).group_by(payment.c.payment_no).having(back > payment.c.amount_nano)
        assert faults == []
        assert all(number == highest for number, highest in counted)
        assert conn.execute(too_much).all() == []
        assert shared_wallets.free_nano(conn, rush.wallet) >= 0
        assert reconcile(conn) == ()
    town.close()
