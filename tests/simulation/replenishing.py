"""A stored card that is charged when the balance is low: what people and their bank do with it, the MDM's own jobs, and what must hold.

* The bank is the product's trial gateway behind a line of the world's: it can be away, and it can take the money and its answer be lost.
* Its word comes as a webhook later, doubled, or never; then the MDM finds it in the bank's list.
* The truth is what the bank took, by its own table, and when which consent stood, as the world gave it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gridtally_cloud.prepay import charging, orders
from gridtally_cloud.prepay.capture import catch_up, handle_webhook
from gridtally_cloud.prepay.gateway import GatewayOrder
from gridtally_cloud.prepay.refunds import send_refunds
from gridtally_cloud.prepay.replenish import replenish
from gridtally_cloud.prepay.replenish_rules import Wish, agree, keep_method, switch_off
from gridtally_cloud.prepay.resend import watch as watch_late
from gridtally_cloud.prepay.settling import settle
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import LinkDown
from gridtally_shared.money import NANO
from simulation import watch

if TYPE_CHECKING:
    from simulation.world import World

JOBS_MS = 5 * 60_000
CATCH_UP_MS, SETTLED_MS = 3 * 86_400_000, 120_000
NOW, AWAY, DEAF = range(3)
"""How the line to the bank is: there, away, or its answers get lost."""
DELAYS_MS = (0, 2_000, 60_000, 3_600_000)
SLOW_MS = 3_600_000
CHOICES = ("card", "card", "card-declined")
DAY_AND_MORE_MS = 30 * 3_600_000


class Bank:
    """The trial gateway, as far away as the world says."""

    def __init__(self, world: World, gateway: Any) -> None:
        self.world, self._gateway = world, gateway
        self.random = Random(f"bank:{world.plan.seed}")
        self.line = NOW

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def charge(self, db: Database, token: str, order_id: str, amount_nano: int, currency: str, at_ms: int) -> GatewayOrder:
        if self.line == AWAY:
            raise LinkDown("the bank", "it does not answer")
        placed = self._gateway.charge(db, token, order_id, amount_nano, currency, at_ms)
        self.world.note(f"the bank is asked for {amount_nano}")
        if self.line == DEAF:
            raise LinkDown("the bank", "its answer was lost")
        return placed  # type: ignore[no-any-return]


def begin(world: World) -> None:
    """Some homes store a card and agree at the start; the jobs run every few minutes."""
    for place in world.plan.money.cards:
        card(world, place, 0, world.plan.seed + place)
    if world.plan.money.cards or world.plan.money.kinds:
        jobs(world)


def jobs(world: World) -> None:
    """What the worker does of it."""
    world.after(JOBS_MS, "the bank's jobs", lambda: jobs(world))
    cloud, now_ms = world.cloud, world.now_ms
    if not cloud.alive:
        return
    replenish(cloud.db, cloud.payments, now_ms)
    send_refunds(cloud.db, cloud.payments, now_ms)
    settle(cloud.db, cloud.payments.signer, now_ms)
    charging.keep(cloud.db)
    watch_late(cloud.db, now_ms)
    with cloud.db.write() as conn:
        orders.expire_orders(conn, now_ms)
    if world.bank.line == NOW:
        catch_up(cloud.db, cloud.payments, now_ms - CATCH_UP_MS, now_ms - SETTLED_MS, now_ms)
    _deliver(world)
    replenish(cloud.db, cloud.payments, now_ms)
    world.replenished_to = {(account_no, epoch): seq for account_no, epoch, seq in cloud.eye.execute(MIRRORED).fetchall()}
    cloud.changed += 1
    cloud.beat()


MIRRORED = "SELECT account_no, epoch, max(seq) FROM journal_entry WHERE verified GROUP BY account_no, epoch"


def _deliver(world: World) -> None:
    """The bank sends what it has to say: once, twice or never."""
    with world.cloud.db.write() as conn:
        waiting = world.bank.undelivered(conn)
        for hook in waiting:
            world.bank.mark_delivered(conn, hook.event_id, world.now_ms)
    for hook in waiting:
        for _ in range(world.bank.random.choice((0, 1, 1, 2))):
            world.after(world.bank.random.choice(DELAYS_MS), "the bank's word", lambda hook=hook: _heard(world, hook))


def _heard(world: World, hook: Any) -> None:
    cloud = world.cloud
    cloud._do(lambda conn: handle_webhook(conn, cloud.payments, hook.body, hook.signature, world.now_ms))
    cloud.beat()


# ---- people -------------------------------------------------------------------------------------------------------


def card(world: World, place: int, which: int, noise: int) -> None:
    """Somebody stores a card, which will pay or not, and agrees anew."""
    account_no, random = world.plan.homes[place % len(world.plan.homes)].account_no, Random(noise)
    cloud, now_ms = world.cloud, world.now_ms
    amount_nano = random.choice((20, 50, 100)) * NANO
    threshold_nano, cap_nano = random.choice((0, 5, 20)) * NANO, random.choice((1, 3, 50)) * amount_nano

    def store(conn: Any) -> bool:
        stored = world.bank.store_method(conn, CHOICES[which % len(CHOICES)], now_ms)
        method = keep_method(conn, cloud.payments, account_no, stored, now_ms, "consumer")
        agree(conn, cloud.payments, account_no, Wish(method.method_no, threshold_nano, amount_nano, cap_nano, True), now_ms, "consumer")
        return True

    if cloud._do(store):
        world.consents.setdefault(account_no, []).append((now_ms, threshold_nano, cap_nano))
    cloud.beat()


def off(world: World, place: int) -> None:
    account_no = world.plan.homes[place % len(world.plan.homes)].account_no
    if account_no not in world.consents or not world.cloud.alive:
        return
    world.cloud._do(lambda conn: switch_off(conn, account_no, world.now_ms, "consumer"))
    world.consents[account_no].append((world.now_ms, None, 0))


def line(world: World, how: int, length_ms: int) -> None:
    world.bank.line = how

    def mend() -> None:
        world.bank.line = NOW

    world.after(length_ms, "the bank is there again", mend)


# ---- what must hold -----------------------------------------------------------------------------------------------


ASKED = """SELECT a.account_no, a.epoch, a.seq, a.amount_nano, a.state, a.state_ms, g.created_ms, g.paid_ref IS NOT NULL
    FROM replenish_attempt a LEFT JOIN test_gateway_order g USING (order_id) ORDER BY a.attempt_no"""


def with_consent(world: World) -> Iterator[str]:
    """Nothing is taken from a card without consent, beyond the month's cap, nor from who pays by bill."""
    if not world.consents:
        return
    taken: dict[tuple[int, str], int] = {}
    for account_no, _, _, amount, _, _, asked_ms, paid in world.cloud.eye.execute(ASKED).fetchall():
        if asked_ms is None:
            continue
        said = [c for c in world.consents[account_no] if c[0] <= asked_ms]
        if not said or said[-1][1] is None:
            yield f"account {account_no}: {amount} is asked of the bank without consent"
        if paid:
            month = datetime.fromtimestamp(asked_ms / 1000, ZoneInfo(world.home_of(account_no).zone)).strftime("%Y-%m")
            taken[account_no, month] = taken.get((account_no, month), 0) + amount
    for (account_no, month), amount in taken.items():
        most = max(cap for _, _, cap in world.consents[account_no])
        if amount > most:
            yield f"account {account_no}: {amount} was taken in {month}, the cap was {most}"
    for account_no in world.consents:
        if world.cloud.mode_of(account_no) == "prepaid":
            world.billed_since.pop(account_no, None)
            continue
        since_ms = world.billed_since.setdefault(account_no, world.now_ms)
        if any(row[0] == account_no and (row[6] or 0) > since_ms for row in world.cloud.eye.execute(ASKED)):
            yield f"account {account_no} is billed, and its card is charged"


def once(world: World) -> Iterator[str]:
    """Between two charges of a card the balance was above the threshold."""
    if not world.consents or world.rolled_back:
        return
    before: dict[int, tuple[int, int]] = {}
    for account_no, epoch, seq, *_, asked_ms, paid in world.cloud.eye.execute(ASKED).fetchall():
        if asked_ms is None or not paid:
            continue
        last = before.get(account_no)
        before[account_no] = (epoch, seq)
        book = world.edge_watch.books.get((account_no, epoch))
        if last is None or last[0] != epoch or book is None or not book.lines:
            continue
        lowest = min(threshold for _, threshold, _ in world.consents[account_no] if threshold is not None)
        if max(_balances(book)[last[1] - 1 : seq], default=0) <= lowest:
            yield f"account {account_no}: charged at entries {last[1]} and {seq}, and never was the balance above {lowest} between"


def _balances(book: watch.Book) -> list[int]:
    found, sum_nano = [], 0
    for entry in book.lines:
        sum_nano += sum(amount for pool, amount in entry.postings if pool in (watch.PAID, watch.RESERVED))
        found.append(sum_nano)
    return found


def known(world: World) -> Iterator[str]:
    """In the end everybody knows what became of each charge, and what the bank took is booked, once. Nobody is asked any more for who has
    ended it meanwhile: it is over when a day has passed."""
    if not world.consents:
        return
    for account_no, epoch, seq, amount, state, state_ms, asked_ms, paid in world.cloud.eye.execute(ASKED).fetchall():
        ended = world.consents[account_no][-1][1] is None or world.cloud.mode_of(account_no) != "prepaid"
        if state in ("wanted", "asking") and state_ms < world.now_ms - (DAY_AND_MORE_MS if ended else SLOW_MS):
            yield f"account {account_no}: the charge at {epoch}/{seq} is {state} since {(world.now_ms - state_ms) // 60_000} minutes"
        if paid and state != "captured" and asked_ms < world.now_ms - SLOW_MS:
            yield f"account {account_no}: the bank took {amount} at {epoch}/{seq}, and the charge is {state}"
    booked = """SELECT g.order_id, g.amount_nano, count(p.payment_no), coalesce(sum(p.amount_nano), 0) FROM test_gateway_order g
        LEFT JOIN payment p USING (order_id) WHERE g.paid_ref IS NOT NULL GROUP BY g.order_id HAVING count(p.payment_no) <> 1"""
    for order_id, amount, count, _ in world.cloud.eye.execute(booked).fetchall():
        yield f"the bank took {amount} for {order_id}, and it is booked {count} times"


def seen(world: World) -> Iterator[str]:
    """Who agreed and is low is charged, or there is a reason. An entry that came to the MDM behind its newest turn is for the next one."""
    if not world.consents or world.edge.config is None:
        return
    rules = "SELECT account_no, threshold_nano, amount_nano, month_cap_nano FROM replenish_rule WHERE state = 'active'"
    for account_no, threshold, amount, cap in world.cloud.eye.execute(rules).fetchall():
        key = next(((a.account_no, a.account_epoch) for a in world.edge.config.accounts if a.account_no == account_no), None)
        book = world.edge_watch.books.get(key) if key else None
        if book is None or book.mode or not book.lines or world.cloud.mode_of(account_no) != "prepaid":
            continue
        balances = _balances(book)
        if balances[-1] > threshold or world.now_ms - book.lines[-1].at_ms < 0:
            continue
        above = max((n for n, balance in enumerate(balances, 1) if balance > threshold), default=0)
        if above >= world.replenished_to.get(key, 0):
            continue
        mine = "SELECT count(*) FROM replenish_attempt WHERE account_no = ? AND (epoch > ? OR (epoch = ? AND seq > ?) OR state = 'capped')"
        query = (account_no, key[1], key[1], above) if above else (account_no, 0, 0, 0)
        if not world.cloud.eye.execute(mine, query).fetchone()[0]:
            yield f"account {account_no}: {balances[-1]} is left, {threshold} was agreed, and no card is asked for {amount} of {cap}"
