"""Auto-replenish: when the balance falls to a threshold, a stored method is charged. Once per crossing, with consent, up to a cap.

* A crossing is the first verified journal entry at or below the threshold since the last one above it. The attempt is unique by
  that entry, so a mirror that is late, repeated or read by two workers charges once. A threshold that is changed meanwhile has another
  crossing: any attempt behind it is of the same low balance, and while one is under way no other begins. A bank that was asked and says
  nothing is waited for two hours.
* Written first, charged second: attempt and order are in the store before the gateway hears of them, and it is asked outside any
  transaction, so that nobody waits for it. The same order again charges nothing more: whoever died while he asked is followed by the
  next one after `CLAIM_MS`, under the same order. What became of it comes by webhook, like any payment, also before the gateway's answer
  is booked; the capture issues the instrument.
* Who switches off while nobody knows whether the bank took it is not asked for again; the order's end, or its age, settles it.
* Money on its way that lifts the balance again is waited for. A month's cap holds the attempt until the next month.
* Who pays by bill has no balance that could be low: his card is left alone, also where it was about to be charged, until he pays ahead
  again.
* A failure stops the rule and tells the consumer; only a new consent starts it again.

Source: seed 002 C3-A1.6, C3-A2.8d; prepayment.md T18.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, or_, select, update

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.customers.model import Account, Mode
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay import orders
from gridtally_cloud.prepay.model import Order, OrderState
from gridtally_cloud.prepay.notices import tell
from gridtally_cloud.prepay.replenish_rules import RuleState, rule_of, stop
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import payment_method, payment_order, replenish_attempt, replenish_rule
from gridtally_cloud.prepay.wallet import pending_nano
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database, insert_new
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_shared.errors import LinkDown, RefusedCommand
from gridtally_shared.records import dataclass

ACTOR = "auto-replenish"
CLAIM_MS, ANSWER_MS = 120_000, 7_200_000
BILLED = "billed"


class AttemptState(StrEnum):
    WANTED = "wanted"
    ASKING = "asking"
    ASKED = "asked"
    CAPTURED = "captured"
    FAILED = "failed"
    CAPPED = "capped"


S = AttemptState
NEXT: dict[AttemptState, frozenset[AttemptState]] = {
    S.CAPPED: frozenset({S.WANTED}),
    S.WANTED: frozenset({S.ASKING, S.FAILED}),
    S.ASKING: frozenset({S.ASKING, S.ASKED, S.CAPTURED, S.FAILED}),
    S.ASKED: frozenset({S.CAPTURED, S.FAILED}),
    S.FAILED: frozenset({S.CAPTURED, S.WANTED}),  # money taken late is money; a new consent tries again
    S.CAPTURED: frozenset(),
}
TO_BE_ASKED = (S.WANTED.value, S.ASKING.value)
COUNTED = (*TO_BE_ASKED, S.ASKED.value, S.CAPTURED.value)
SETTLED: dict[str, AttemptState] = {
    OrderState.PAID.value: S.CAPTURED,
    OrderState.FAILED.value: S.FAILED,
    OrderState.EXPIRED.value: S.FAILED,
}


@dataclass(frozen=True, slots=True)
class Crossing:
    """The journal entry with which the balance came to the threshold."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Attempt:
    attempt_no: int
    account_no: int
    crossing: Crossing
    amount_nano: int
    order_id: str
    state: AttemptState
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Question:
    """A charge to ask the gateway for: the attempt, and the method's token there."""

    attempt: Row[Any]
    token: str
    currency: str


def replenish(db: Database, payments: Payments, at_ms: int) -> int:
    """One turn of the job: see the crossings, charge, note what became of it. Number of attempts that moved."""
    if payments.gateway is None:
        return 0
    return _want_all(db, at_ms) + _ask_all(db, payments, at_ms) + _settle_all(db, at_ms)


def attempts(conn: Connection, account_no: int, limit: int = 20) -> tuple[Attempt, ...]:
    """Newest first."""
    a = replenish_attempt.c
    rows = conn.execute(select(replenish_attempt).where(a.account_no == account_no).order_by(a.attempt_no.desc()).limit(limit))
    return tuple(Attempt(r.attempt_no, r.account_no, Crossing(r.epoch, r.seq), r.amount_nano, r.order_id, S(r.state), r.reason,
                         r.at_ms) for r in rows)  # fmt: skip


# ---- 1: a crossing is seen ------------------------------------------------------------------------------------


def _want_all(db: Database, at_ms: int) -> int:
    with db.read() as conn:
        low = conn.execute(_low()).all()
    moved = 0
    for row in low:
        with db.write() as conn:
            hold(conn, row.account_no)
            still = conn.execute(_low().where(replenish_rule.c.account_no == row.account_no)).one_or_none()
            moved += _want(conn, account_of(conn, row.account_no), still, at_ms) if still is not None else 0
    return moved


def _low() -> Select[Any]:
    """Active rules whose account's mirror stands at or below the threshold."""
    m, r, a = account_mirror.c, replenish_rule.c, account_table.c
    joined = replenish_rule.join(account_table, a.account_no == r.account_no)
    live = and_(m.shard == SHARD, m.account_no == r.account_no, m.epoch == a.account_epoch)
    ahead = and_(a.mode == Mode.PREPAID.value, a.closed_ms.is_(None))
    low = and_(r.state == RuleState.ACTIVE.value, m.balance_nano <= r.threshold_nano, ~m.stopped, ahead)
    return select(replenish_rule).select_from(joined.join(account_mirror, live)).where(low).order_by(r.account_no)


def _want(conn: Connection, account: Account, rule: Row[Any], at_ms: int) -> int:
    seen = crossing(conn, account.account_no, rule.threshold_nano)
    if seen is None or _lifted_soon(conn, account, rule):
        return 0
    there = _of_this_low(conn, account.account_no, seen, at_ms)
    capped = month_nano(conn, account, at_ms) + rule.amount_nano > rule.month_cap_nano
    if there is not None:
        return _want_again(conn, there, rule, at_ms) if not capped else 0
    state = S.CAPPED if capped else S.WANTED
    row = {"account_no": account.account_no, "epoch": seen.epoch, "seq": seen.seq, "amount_nano": rule.amount_nano,
           "method_no": rule.method_no, "order_id": orders.new_id(at_ms), "state": state.value,
           "reason": "month_cap" if capped else "", "at_ms": at_ms, "state_ms": at_ms}  # fmt: skip
    if capped:
        tell(conn, account.account_no, "replenish_capped", f"{seen.epoch}/{seen.seq}", at_ms, a=str(rule.month_cap_nano))
    return insert_new(conn, replenish_attempt, [row])


def _want_again(conn: Connection, there: Row[Any], rule: Row[Any], at_ms: int) -> int:
    """The month's cap has room again, the consumer agreed anew after a failure, or he pays ahead again."""
    anew = rule.consent_ms > there.state_ms or there.reason == BILLED
    if there.state == S.CAPPED.value or (there.state == S.FAILED.value and anew):
        return _advance(conn, there, S.WANTED, at_ms, at_ms=at_ms, reason="", order_id=orders.new_id(at_ms),
                        amount_nano=rule.amount_nano, method_no=rule.method_no)  # fmt: skip
    return 0


def _of_this_low(conn: Connection, account_no: int, seen: Crossing, at_ms: int) -> Row[Any] | None:
    """The attempt that is under way, else the newest since the balance was above the threshold."""
    a = replenish_attempt.c
    behind = or_(a.epoch > seen.epoch, and_(a.epoch == seen.epoch, a.seq >= seen.seq))
    under_way = or_(a.state.in_(TO_BE_ASKED), and_(a.state == S.ASKED.value, a.state_ms > at_ms - ANSWER_MS))
    mine = select(replenish_attempt).where(a.account_no == account_no, or_(under_way, behind))
    return conn.execute(mine.order_by(under_way.desc(), a.attempt_no.desc()).limit(1)).one_or_none()


def crossing(conn: Connection, account_no: int, threshold_nano: int) -> Crossing | None:
    """Where the balance last came to the threshold; None while it stands above."""
    j = journal_entry.c
    mine = and_(j.shard == SHARD, j.account_no == account_no, j.verified)
    newest = select(j.epoch, j.seq).where(mine, j.balance_nano > threshold_nano).order_by(j.epoch.desc(), j.seq.desc()).limit(1)
    above = conn.execute(newest).one_or_none() or (0, 0)
    after = or_(j.epoch > above[0], and_(j.epoch == above[0], j.seq > above[1]))
    first = select(j.epoch, j.seq).where(mine, after).order_by(j.epoch, j.seq).limit(1)
    row = conn.execute(first).one_or_none()
    return Crossing(row.epoch, row.seq) if row else None


def _lifted_soon(conn: Connection, account: Account, rule: Row[Any]) -> bool:
    """Money on its way lifts the balance above the threshold already."""
    m = account_mirror.c
    where = and_(m.shard == SHARD, m.account_no == account.account_no, m.epoch == account.account_epoch)
    balance_nano = int(conn.execute(select(m.balance_nano).where(where)).scalar_one())
    return balance_nano + pending_nano(conn, account.account_no) > int(rule.threshold_nano)


def month_nano(conn: Connection, account: Account, at_ms: int) -> int:
    """What auto-replenish took, or is about to take, in the local month of `at_ms`."""
    first = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(account.zone)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    a = replenish_attempt.c
    counted = and_(a.account_no == account.account_no, a.state.in_(COUNTED), a.at_ms >= int(first.timestamp() * 1000))
    return int(conn.execute(select(func.coalesce(func.sum(a.amount_nano), 0)).where(counted)).scalar_one())


# ---- 2: the gateway is asked ----------------------------------------------------------------------------------


def _ask_all(db: Database, payments: Payments, at_ms: int) -> int:
    moved = 0
    for attempt_no in _to_ask(db, at_ms):
        with db.write() as conn:
            question, changed = _claim(conn, payments, attempt_no, at_ms)
        moved += changed
        if question is not None and not _ask(db, payments, question, at_ms):
            return moved  # it is away: asked again at the next turn, under the same order
    return moved


def _to_ask(db: Database, at_ms: int) -> list[int]:
    a = replenish_attempt.c
    with db.read() as conn:
        return list(conn.execute(select(a.attempt_no).where(_due(at_ms)).order_by(a.attempt_no)).scalars())


def _due(at_ms: int) -> ColumnElement[bool]:
    a = replenish_attempt.c
    return or_(a.state == S.WANTED.value, and_(a.state == S.ASKING.value, a.state_ms <= at_ms - CLAIM_MS))


def _claim(conn: Connection, payments: Payments, attempt_no: int, at_ms: int) -> tuple[Question | None, int]:
    """What to ask the gateway, if anything, and how many attempts moved."""
    a = replenish_attempt.c
    hold(conn, conn.execute(select(a.account_no).where(a.attempt_no == attempt_no)).scalar_one())
    row = conn.execute(select(replenish_attempt).where(a.attempt_no == attempt_no, _due(at_ms))).one_or_none()
    if row is None:
        return None, 0
    rule, gateway = rule_of(conn, row.account_no), payments.gateway
    kept = select(payment_method).where(payment_method.c.method_no == row.method_no, payment_method.c.removed_ms.is_(None))
    method = conn.execute(kept).one_or_none()
    off, gone = rule is None or rule.state is RuleState.OFF, gateway is None or method is None or method.gateway != gateway.name
    account = account_of(conn, row.account_no)
    if (off or gone or not account.is_prepaid) and row.state == S.ASKING.value:
        return None, 0
    if not account.is_prepaid:
        return None, _advance(conn, row, S.FAILED, at_ms, reason=BILLED)
    if off:
        return None, _advance(conn, row, S.FAILED, at_ms, reason="switched_off")
    if gateway is None or method is None or gone:
        return None, _fail(conn, row, "method_removed", at_ms)
    if not _order_open(conn, row, gateway.name, account.currency, at_ms):
        return None, 0
    return Question(row, method.token, account.currency), _advance(conn, row, S.ASKING, at_ms)


def _order_open(conn: Connection, row: Row[Any], gateway: str, currency: str, at_ms: int) -> bool:
    """Keeps the order under our own number until the gateway has said its own: a webhook that is quicker than its answer finds it."""
    state = conn.execute(select(payment_order.c.state).where(payment_order.c.order_id == row.order_id)).scalar_one_or_none()
    if state is None:
        orders.keep(conn, Order(row.order_id, row.account_no, row.amount_nano, currency, OrderState.CREATED, at_ms, gateway, row.order_id,
                                "", ""), ACTOR)  # fmt: skip
    return state in (None, OrderState.CREATED.value)


def _ask(db: Database, payments: Payments, asked: Question, at_ms: int) -> bool:
    """Whether the gateway answered."""
    row, gateway = asked.attempt, payments.gateway
    assert gateway is not None
    try:
        placed = gateway.charge(db, asked.token, row.order_id, row.amount_nano, asked.currency, at_ms)
    except LinkDown:
        with db.write() as conn:
            _advance(conn, row, S.ASKING, at_ms - CLAIM_MS, state=S.ASKING)
        return False
    except RefusedCommand as refused:
        with db.write() as conn:
            hold(conn, row.account_no)
            orders.advance(conn, orders.order(conn, row.order_id), OrderState.FAILED, at_ms, str(refused.reason))
        return True
    with db.write() as conn:
        hold(conn, row.account_no)
        orders.place(conn, row.order_id, placed)
        _advance(conn, row, S.ASKED, at_ms, state=S.ASKING)
    return True


# ---- 3: what became of it -------------------------------------------------------------------------------------


def _settle_all(db: Database, at_ms: int) -> int:
    a, o = replenish_attempt.c, payment_order.c
    asked = a.state.in_([S.ASKING.value, S.ASKED.value])
    open_ones = or_(and_(asked, o.state.in_(SETTLED)), and_(a.state == S.FAILED.value, o.state == OrderState.PAID.value))
    columns = select(replenish_attempt, o.state.label("order_state"), o.reason.label("order_reason"))
    query = columns.join(payment_order, o.order_id == a.order_id).where(open_ones)
    with db.read() as conn:
        rows = conn.execute(query).all()
    for seen in rows:
        with db.write() as conn:
            hold(conn, seen.account_no)
            row = conn.execute(query.where(a.attempt_no == seen.attempt_no)).one_or_none()
            if row is not None:
                _settle(conn, row, at_ms)
    return len(rows)


def _settle(conn: Connection, row: Row[Any], at_ms: int) -> None:
    if SETTLED[row.order_state] is S.FAILED:
        _fail(conn, row, row.order_reason or row.order_state, at_ms)
    elif _advance(conn, row, S.CAPTURED, at_ms):
        tell(conn, row.account_no, "replenish_done", row.order_id, at_ms, a=str(row.amount_nano))


def _fail(conn: Connection, row: Row[Any], reason: str, at_ms: int) -> int:
    moved = _advance(conn, row, S.FAILED, at_ms, reason=reason)
    if moved:
        stop(conn, row.account_no, reason, at_ms)
        tell(conn, row.account_no, "replenish_failed", row.order_id, at_ms, a=str(row.amount_nano), why=reason)
    return moved


def _advance(conn: Connection, row: Row[Any], to: AttemptState, now_ms: int, state: AttemptState | None = None, **values: Any) -> int:
    """One step of the table; 0 where another worker took it, or it is none."""
    before = state or S(row.state)
    if to not in NEXT[before]:
        return 0
    a = replenish_attempt.c
    mine = update(replenish_attempt).where(a.attempt_no == row.attempt_no, a.state == before.value)
    return conn.execute(mine.values(state=to.value, state_ms=now_ms, **values)).rowcount
