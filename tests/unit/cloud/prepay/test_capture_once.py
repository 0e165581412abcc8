"""Money is captured once: two clicks at once, a process killed at any statement, webhooks lost and repeated, in any order."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from gridtally_cloud.prepay import paystation
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.capture import catch_up
from gridtally_cloud.prepay.model import CaptureOutcome
from gridtally_cloud.prepay.station_day import Station
from gridtally_cloud.prepay.tables import instrument, payment
from gridtally_cloud.prepay.trial_gateway import Webhook
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import outbox_down
from gridtally_shared.money import nano
from support.payday import OPENED_WH, Payday

TILL = Station(7, "Mira", "Asia/Kolkata")


class PowerCut(BaseException):
    """The process ends here."""


@contextmanager
def power_cut(db: Database, at_statement: int, act: Callable[[], None]) -> Iterator[None]:
    """`act` happens before the statement of that number is run."""
    seen = [0]

    def before(*_: object) -> None:
        seen[0] += 1
        if seen[0] == at_statement:
            act()

    event.listen(db.engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        event.remove(db.engine, "before_cursor_execute", before)


def _end() -> None:
    raise PowerCut


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    yield town
    town.close()


def counts(town: Payday) -> tuple[int, int, int]:
    """Payments, instruments, messages on their way down."""
    down = select(func.count()).select_from(outbox_down).where(outbox_down.c.channel == "instrument")
    with town.db.read() as conn:
        rows = [conn.execute(select(func.count()).select_from(t)).scalar_one() for t in (payment, instrument)]
        return rows[0], rows[1], conn.execute(down).scalar_one()


@pytest.mark.covers_part("C3-S1.5", "C3-S1.6")
def test_a_power_cut_at_any_statement_leaves_all_of_a_capture_or_nothing(town: Payday) -> None:
    cuts = 0
    for done in range(100):
        hook, before = town.choose(town.order("100")), counts(town)
        try:
            with power_cut(town.db, done + 1, _end):
                town.deliver(hook)
        except PowerCut:
            cuts += 1
            assert counts(town) == before
        else:
            break
        assert town.deliver(hook).outcome is CaptureOutcome.CAPTURED
    assert cuts > 10
    assert len(set(counts(town))) == 1
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


def _deliver_in_a_process_that_dies(town: Payday, hook: Webhook, at_statement: int) -> None:
    child = os.fork()
    if child == 0:
        db = Database(town.db.url)
        with power_cut(db, at_statement, lambda: os.kill(os.getpid(), 9)), db.write() as conn:
            prepay.handle_webhook(conn, town.payments, hook.body, hook.signature, town.now_ms)
        os._exit(0)
    assert os.waitpid(child, 0)[1] in (0, 9)


@pytest.mark.covers_part("C3-S1.5")
def test_a_killed_process_leaves_no_half_of_a_capture(town: Payday) -> None:
    hook = town.choose(town.order("100"))
    town.db.engine.dispose()
    for at_statement in (4, 9, 14, 999):
        _deliver_in_a_process_that_dies(town, hook, at_statement)
        assert len(set(counts(town))) == 1
        town.db.engine.dispose()
    assert counts(town) == (1, 1, 1)
    assert town.deliver(hook).outcome is CaptureOutcome.REPEATED
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


@pytest.mark.covers_part("C3-S1.5", "BYPL-17.4")
def test_clicks_and_webhooks_at_the_same_moment_are_one_payment(town: Payday) -> None:
    hooks = [town.choose(town.order("100")) for _ in range(2)]

    def counter(_: int) -> int:
        with town.db.write() as conn:
            return paystation.pay(conn, town.payments, TILL, town.account, nano("200"), "till-1", town.now_ms).payment.payment_no

    with ThreadPoolExecutor(8) as pool:
        captures = list(pool.map(town.deliver, hooks * 4))
        receipts = list(pool.map(counter, range(8)))
    assert sorted(c.outcome for c in captures) == [CaptureOutcome.CAPTURED] * 2 + [CaptureOutcome.REPEATED] * 6
    assert len(set(receipts)) == 1
    assert counts(town) == (3, 3, 3)
    town.round()
    assert town.balance().balance_nano == nano("400")


def test_a_webhook_that_never_came_is_made_good_from_the_gateways_list(town: Payday) -> None:
    hook = town.choose(town.order("100"))
    town.choose(town.order("100"), "card-declined")
    now_ms = town.now_ms
    assert catch_up(town.db, town.payments, now_ms - 1, now_ms, now_ms) == 0
    assert [catch_up(town.db, town.payments, now_ms, now_ms + 1, now_ms) for _ in range(2)] == [1, 0]
    assert town.deliver(hook).outcome is CaptureOutcome.REPEATED
    assert counts(town) == (1, 1, 1)


class Counter:
    """Orders and what the bank said of them, delivered in any way."""

    def __init__(self, folder: Path) -> None:
        self.town = Payday(folder)
        self.town.read(0, OPENED_WH)
        self.hooks: list[Webhook] = []
        self.keys = 0

    def order(self, _: Random) -> None:
        self.hooks.append(self.town.choose(self.town.order("100")))

    def deliver(self, random: Random) -> None:
        for hook in random.choices(self.hooks, k=2) if self.hooks else ():
            self.town.deliver(hook)

    def cut(self, random: Random) -> None:
        try:
            with power_cut(self.town.db, random.randint(1, 25), _end):
                self.deliver(random)
        except PowerCut:
            pass

    def till(self, random: Random) -> None:
        self.keys += random.randint(0, 1)
        with self.town.db.write() as conn:
            paystation.pay(conn, self.town.payments, TILL, self.town.account, nano("100"), f"k{self.keys}", self.town.now_ms)

    def listed(self, _: Random) -> None:
        catch_up(self.town.db, self.town.payments, 0, self.town.now_ms + 1, self.town.now_ms)

    def down(self, random: Random) -> None:
        (self.town.carry_down if random.random() < 0.5 else self.town.carry_up)()


STEPS = (Counter.order, Counter.deliver, Counter.cut, Counter.till, Counter.listed, Counter.down)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(STEPS), min_size=8, max_size=30), st.randoms(use_true_random=False))
def test_in_any_order_each_payment_gives_one_credit(steps: list[Callable[[Counter, Random], None]], random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        counter = Counter(Path(folder))
        for step in steps:
            step(counter, random)
            assert len(set(counts(counter.town))) == 1
        counter.till(Random(1))
        for hook in counter.hooks * 2:
            counter.town.deliver(hook)
        counter.town.round()
        counter.town.round()
        with counter.town.db.read() as conn:
            tills = conn.execute(select(func.count()).select_from(payment).where(payment.c.gateway == "station")).scalar_one()
            assert prepay.reconcile(conn) == ()
        assert counts(counter.town) == (len(counter.hooks) + tills,) * 3
        assert counter.town.balance().balance_nano == nano("100") * (len(counter.hooks) + tills)
        counter.town.close()
