"""A slow, quick, silent or dying gateway: nobody waits for it, a crossing is charged once, and what it took is never lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.capture import catch_up
from gridtally_cloud.prepay.gateway import GatewayOrder
from gridtally_cloud.prepay.refunds import refund_payment, send_refunds
from gridtally_cloud.prepay.replenish import CLAIM_MS, AttemptState, attempts, replenish
from gridtally_cloud.prepay.replenish_rules import Wish, agree, keep_method, switch_off
from gridtally_cloud.prepay.tables import payment, refund
from gridtally_cloud.prepay.tables import test_gateway_order as bank_order
from gridtally_cloud.prepay.trial_gateway import TrialGateway
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import LinkDown
from gridtally_shared.money import nano
from support.payday import GATEWAY, HOUR_MS, OPENED_WH, Payday

S = AttemptState
Then = Callable[[Database], None]


class Killed(BaseException):
    """The worker is gone, as with kill -9: only what was committed is there."""


def killed(_db: Database) -> None:
    raise Killed


def away(_db: Database) -> None:
    raise LinkDown("the bank does not answer")


def nothing(_db: Database) -> None:
    pass


class Bank(TrialGateway):
    """The test gateway in which something happens before it hears of a charge or a refund, and after."""

    def __init__(self, before: Then = nothing, after: Then = nothing) -> None:
        super().__init__(GATEWAY.secrets)
        self.before, self.after = before, after

    def charge(self, db: Database, *asked: Any) -> GatewayOrder:
        self.before(db)
        placed = TrialGateway.charge(self, db, *asked)
        self.after(db)
        return placed

    def refund(self, db: Database, *asked: Any) -> str:
        self.before(db)
        given = TrialGateway.refund(self, db, *asked)
        self.after(db)
        return given


class Home:
    """Below the threshold of 100, with a rule that takes 200."""

    def __init__(self, folder: Path) -> None:
        self.town = Payday(folder)
        self.town.read(0, OPENED_WH)
        self.town.pay("150")
        self.town.round()
        self.agree()
        self.town.wait(HOUR_MS)
        self.town.read(0, OPENED_WH + 12_000)
        self.town.carry_up()

    def agree(self) -> None:
        with self.town.db.write() as conn:
            stored = GATEWAY.store_method(conn, "card", self.town.now_ms)
            number = keep_method(conn, self.town.payments, self.town.account, stored, self.town.now_ms, "asha").method_no
            wish = Wish(number, nano("100"), nano("200"), nano("600"), True)
            agree(conn, self.town.payments, self.town.account, wish, self.town.now_ms, "asha")

    def off(self) -> None:
        with self.town.db.write() as conn:
            switch_off(conn, self.town.account, self.town.now_ms, "asha")

    def work(self, before: Then = nothing, after: Then = nothing) -> None:
        bank = Bank(before, after)
        replenish(self.town.db, replace(self.town.payments, gateway=bank), self.town.now_ms)

    def later(self) -> None:
        self.town.now_ms += CLAIM_MS
        self.work()

    def bank(self) -> None:
        """Everything the gateway has to say, said."""
        with self.town.db.read() as conn:
            hooks = GATEWAY.undelivered(conn)
        for hook in hooks:
            self.town.deliver(hook)
        self.work()

    @property
    def states(self) -> list[AttemptState]:
        with self.town.db.read() as conn:
            return [a.state for a in attempts(conn, self.town.account)]

    @property
    def taken(self) -> tuple[int, int]:
        """What the bank took, and what came to the account, beside the 150 paid by hand."""
        with self.town.db.read() as conn:
            assert prepay.reconcile(conn) == ()
            banked = conn.execute(select(func.count()).select_from(bank_order)).scalar_one()
            paid = conn.execute(select(func.count()).where(payment.c.gateway == GATEWAY.name)).scalar_one()
        return banked - 1, paid - 1


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    assert home.taken == (0, 0)
    yield home
    home.town.close()


def test_nobody_waits_while_the_bank_is_asked(home: Home) -> None:
    """The account's row, which an upload of the home takes too, and SQLite's one writer are free."""

    def upload(db: Database) -> None:
        with db.write() as conn:
            hold(conn, home.town.account)

    home.work(before=upload, after=upload)
    assert home.states == [S.ASKED]
    home.bank()
    assert (home.states, home.taken) == ([S.CAPTURED], (1, 1))


def test_a_worker_that_died_before_the_bank_heard_is_followed_by_the_next(home: Home) -> None:
    with pytest.raises(Killed):
        home.work(before=killed)
    home.work()
    assert (home.states, home.taken) == ([S.ASKING], (0, 0)), "its claim holds for a while"
    home.later()
    home.bank()
    assert (home.states, home.taken) == ([S.CAPTURED], (1, 1))


@pytest.mark.parametrize("told", ["before the next asks", "after the next asks", "only in the bank's list"])
def test_what_the_bank_took_from_a_worker_that_died_is_credited_once(home: Home, told: str) -> None:
    with pytest.raises(Killed):
        home.work(after=killed)
    assert home.taken == (1, 0)
    if told == "before the next asks":
        home.bank()
        assert (home.states, home.taken) == ([S.CAPTURED], (1, 1))
        home.later()
    elif told == "after the next asks":
        home.later()
        assert home.states == [S.ASKED]
        home.bank()
    else:
        catch_up(home.town.db, home.town.payments, 0, home.town.now_ms + 1, home.town.now_ms)
        home.later()
    assert (home.states, home.taken) == ([S.CAPTURED], (1, 1))


def test_a_bank_that_is_quicker_with_its_webhook_than_with_its_answer(home: Home) -> None:
    home.work(after=lambda _db: home.bank())
    home.work()
    assert (home.states, home.taken) == ([S.CAPTURED], (1, 1))


def test_two_workers_at_once_ask_once(home: Home) -> None:
    asked: list[int] = []

    def other(_db: Database) -> None:
        asked.append(1)
        home.work(before=lambda _db: asked.append(2))

    home.work(before=other)
    assert asked == [1]


def test_who_switches_off_while_the_bank_is_away_is_not_charged(home: Home) -> None:
    home.work(before=away)
    home.off()
    home.later()
    assert home.taken == (0, 0)


def test_who_switched_off_while_it_was_unknown_and_was_charged_has_the_money_and_is_charged_once(home: Home) -> None:
    home.work(after=away)
    home.off()
    home.later()
    assert (home.states, home.taken) == ([S.ASKING], (1, 0))
    home.agree()  # before the bank has told
    home.work()
    home.bank()
    home.work()
    assert (home.states, home.taken) == ([S.CAPTURED], (1, 1))


def test_nobody_waits_while_a_refund_is_asked_and_a_worker_that_died_gives_it_once(home: Home) -> None:
    town, keys = home.town, []

    def look(db: Database) -> None:
        keys.append(1)
        with db.write() as conn:
            hold(conn, town.account)

    with town.db.write() as conn:
        number = conn.execute(select(payment.c.payment_no).where(payment.c.gateway == GATEWAY.name)).scalar_one()
        refund_payment(conn, town.payments, number, nano("20"), town.now_ms, "desk")
        refund_payment(conn, town.payments, number, nano("20"), town.now_ms, "desk")
    dying = replace(town.payments, gateway=Bank(look, killed))
    with pytest.raises(Killed):
        send_refunds(town.db, dying, town.now_ms)
    assert send_refunds(town.db, town.payments, town.now_ms) == 2
    with town.db.read() as conn:
        refs = list(conn.execute(select(refund.c.gateway_ref)).scalars())
    assert (len(keys), len(set(refs)), "" in refs) == (1, 2, False)
