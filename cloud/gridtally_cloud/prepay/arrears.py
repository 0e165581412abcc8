"""A load limit instead of a cut for who is overdue with bills: the household is told, limited after the notice, and free with its payment.

* Only what is overdue counts (billing/overdue.py). What a running arrangement covers, a bill that is not late yet and a claim no bill
  shows lead to no limit; nothing is ordered for them, and a limit that stands is lifted when nothing else is left.
* Told first, by every channel it wants, with what to pay and when the limit begins. Who has paid by then what it was told is not limited,
  and who pays that later is free, whatever became overdue meanwhile: for that the household is told anew.
* The order is a signed one like any other; the meter's side keeps its own protections above it (flags, holds, weather: safety.md 5).
* It is lifted by the worker, without a hand. One account whose order is refused keeps no other one limited.
* A hold of the account against cuts is one against this too, also where it comes later. An account that the MDM runs is not limited: only
  a concentrator does that.

Source: C3-N5; seed 002 (demand limiting for poor payers, prepaid or not).
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from gridtally_cloud.billing.overdue import Arrears, arrears_of
from gridtally_cloud.billing.receivables import hold_books
from gridtally_cloud.billing.tables import arrangement, receivable
from gridtally_cloud.customers import outgoing
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay import control
from gridtally_cloud.prepay.arrears_tables import arrears_limit
from gridtally_cloud.prepay.handover_tables import is_managed, managed_ones
from gridtally_cloud.store.days import date_of, day_of
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import LimitOrder
from gridtally_shared.prepay.holds import holds_against_cut
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

log = logging.getLogger(__name__)

LEAD_MS = 3 * MS_PER_DAY
LEAST_W, MOST_W = 100, 100_000
ACTOR = "system:arrears"


class ArrearsReason(StrEnum):
    NOTHING_OWED = "nothing_owed"
    ARRANGED = "arranged"
    NOT_DUE = "not_due"
    LIMITED_ALREADY = "limited_already"
    BAD_WATTS = "bad_watts"
    HOLD = "hold"


class LimitState(StrEnum):
    TOLD = "told"
    ORDERED = "ordered"
    LIFTED = "lifted"
    DROPPED = "dropped"


class Freed(StrEnum):
    """Why a limit is dropped or lifted."""

    PAID = "paid"
    ARRANGED = "arranged"
    NOT_DUE = "not_due"
    HOLD = "hold"
    MANAGED = "managed"


@dataclass(frozen=True, slots=True)
class ArrearsLimit:
    """`owed_nano`: what was overdue when it was told. `paid_nano`: all that had been paid until then; None for those told before this was
    kept."""

    limit_no: int
    account_no: int
    watts: int
    owed_nano: int
    paid_nano: int | None
    state: LimitState
    reason: str
    due_ms: int
    ordered_ms: int | None
    ended_ms: int | None

    def is_over(self, now_ms: int) -> bool:
        """Whether its notice has run out, with nothing ordered yet."""
        return self.state is LimitState.TOLD and now_ms >= self.due_ms


OPEN = frozenset({LimitState.TOLD, LimitState.ORDERED})


def tell(conn: Connection, account_no: int, watts: int, now_ms: int, actor: str, lead_ms: int = LEAD_MS) -> ArrearsLimit:
    """Tell the household that its load is limited from `lead_ms` on unless it pays what is overdue. Raises RefusedCommand (unknown_account,
    no_dcu, no_flow_limit, managed, nothing_owed, arranged, not_due, limited_already, bad_watts, hold)."""
    account = account_of(conn, account_no)
    hold_books(conn, account_no)
    if not LEAST_W <= watts <= MOST_W:
        raise RefusedCommand(ArrearsReason.BAD_WATTS, f"{watts} W: a limit is {LEAST_W} to {MOST_W} W, so that light and a fan stay on")
    if not account.dcu:
        raise RefusedCommand(control.ControlReason.NO_DCU, f"no concentrator serves account {account_no}: nothing can be ordered of it")
    control.check_limit(conn, account)
    found = arrears_of(conn, account, now_ms)
    if not found.overdue_nano:
        raise _nothing_overdue(account, found)
    if holds_against_cut(account.policy.holds):
        raise RefusedCommand(ArrearsReason.HOLD, f"account {account_no} is held ({', '.join(account.policy.holds)}): it is not limited")
    if any(limit.state in OPEN for limit in limits(conn, account_no)):
        raise RefusedCommand(ArrearsReason.LIMITED_ALREADY, f"account {account_no} was told already, or is limited")
    row = {"account_no": account_no, "watts": watts, "owed_nano": found.overdue_nano, "paid_nano": found.paid_nano,
           "state": LimitState.TOLD.value, "due_ms": now_ms + lead_ms, "told_ms": now_ms, "actor": actor}  # fmt: skip
    number = conn.execute(insert(arrears_limit).values(row).returning(arrears_limit.c.limit_no)).scalar_one()
    params = (("a", str(found.overdue_nano)), ("d", str(now_ms + lead_ms)), ("n", str(watts)))
    outgoing.put(conn, account_no, "limit_soon", f"limit {number}", now_ms, params)
    record(conn, now_ms, actor, "arrears.told", f"account:{account_no}", f"limit {number}, {watts} W")
    return limits(conn, account_no)[0]


def _nothing_overdue(account: Account, found: Arrears) -> RefusedCommand:
    """Why nobody may limit an account, and what to do next."""
    no = account.account_no
    if found.owed_nano <= 0:
        return RefusedCommand(ArrearsReason.NOTHING_OWED, f"account {no} owes nothing on bills: there is nothing to limit it for")
    if found.arranged_nano:
        text = f"account {no} keeps an instalment arrangement, and nothing beside it is overdue: leave it on. If the arrangement breaks " \
               f"(gridtally-mdm arrangement show {no}), order again"  # fmt: skip
        return RefusedCommand(ArrearsReason.ARRANGED, text)
    if found.next_ms is None:
        text = f"no bill asks for what account {no} owes yet: make one (gridtally-mdm bill {no}), and order again when that is overdue"
        return RefusedCommand(ArrearsReason.NOT_DUE, text)
    day = date_of(day_of(found.next_ms, account.zone))
    text = f"nothing of account {no} is overdue before {day}: order again from that day on, if it is not paid by then"
    return RefusedCommand(ArrearsReason.NOT_DUE, text)


def freed_by(limit: ArrearsLimit, found: Arrears) -> Freed | None:
    """Why who was told is to be free; None while something of what it was told is overdue."""
    since_nano = 0 if limit.paid_nano is None else found.paid_nano - limit.paid_nano
    if min(found.overdue_nano, limit.owed_nano - since_nano) > 0:
        return None
    if found.owed_nano <= 0 or since_nano >= limit.owed_nano:
        return Freed.PAID
    if found.arranged_nano:
        return Freed.ARRANGED
    return Freed.PAID if since_nano > 0 or limit.paid_nano is None else Freed.NOT_DUE


Mark = tuple[int, int, str, bool]
"""How many rows the books of an account have, how many arrangements, its holds, and whether the MDM runs it: while all are the same,
nothing frees it."""


def carry_out(db: Database, signer: Signer, now_ms: int, looked: dict[int, Mark] | None = None) -> None:
    """The worker's part: limit those whose notice is over, free those for whom nothing is overdue any more. A refused order is tried again
    with the next turn. `looked`: what was found to stand in earlier turns of this process, which is not looked through again."""
    known = {} if looked is None else looked
    with db.read() as conn:
        found = _open(conn)
        open_now = [limit for limit, mark in found.values() if known.get(limit.limit_no) != mark or limit.is_over(now_ms)]
        due = [limit for limit in open_now if _next(conn, limit, now_ms) is not None]
    known.clear()
    known.update({number: mark for number, (limit, mark) in found.items() if limit not in due})
    for each in due:
        try:
            with db.write() as conn:
                _step(conn, signer, each, now_ms)
        except RefusedCommand as refused:
            log.warning("a limit for arrears waits", extra={"account_no": each.account_no, "reason": str(refused)})


def _next(conn: Connection, limit: ArrearsLimit, now_ms: int) -> tuple[LimitState, str] | None:
    account = account_of(conn, limit.account_no)
    freed = freed_by(limit, arrears_of(conn, account, now_ms)) or _kept_free(conn, account, limit)
    if freed is not None:
        return LimitState.DROPPED if limit.state is LimitState.TOLD else LimitState.LIFTED, freed.value
    return (LimitState.ORDERED, "") if limit.is_over(now_ms) else None


def _kept_free(conn: Connection, account: Account, limit: ArrearsLimit) -> Freed | None:
    """A hold ends a limit, a change to the MDM's care keeps one from being ordered."""
    if holds_against_cut(account.policy.holds):
        return Freed.HOLD
    return Freed.MANAGED if limit.state is LimitState.TOLD and is_managed(conn, account.account_no) else None


def _step(conn: Connection, signer: Signer, seen: ArrearsLimit, now_ms: int) -> None:
    """Looked at once more, with the books held: what was paid or arranged meanwhile counts."""
    hold(conn, seen.account_no)
    hold_books(conn, seen.account_no)
    limit = next(each for each in limits(conn, seen.account_no) if each.limit_no == seen.limit_no)
    step = _next(conn, limit, now_ms) if limit.state in OPEN else None
    if step is None:
        return
    to, reason = step
    if to is not LimitState.DROPPED:
        watts = limit.watts if to is LimitState.ORDERED else 0
        control.order(conn, signer, limit.account_no, LimitOrder(watts, 0, "arrears"), now_ms, ACTOR)
    when = {"ordered_ms": now_ms} if to is LimitState.ORDERED else {"ended_ms": now_ms}
    mine = arrears_limit.c.limit_no == limit.limit_no
    conn.execute(update(arrears_limit).where(mine).values(state=to.value, reason=reason, **when))
    record(conn, now_ms, ACTOR, f"arrears.{to.value}", f"account:{limit.account_no}", f"limit {limit.limit_no} {reason}".strip())


def limits(conn: Connection, account_no: int) -> tuple[ArrearsLimit, ...]:
    """Those of an account, newest first."""
    a = arrears_limit.c
    rows = conn.execute(select(arrears_limit).where(a.account_no == account_no).order_by(a.limit_no.desc()))
    return tuple(_limit(r) for r in rows)


def _open(conn: Connection) -> dict[int, tuple[ArrearsLimit, Mark]]:
    a, c, managed = arrears_limit.c, account_table.c, managed_ones(conn)
    rows = select(func.count()).where(receivable.c.account_no == a.account_no).scalar_subquery()
    arranged = select(func.count()).where(arrangement.c.account_no == a.account_no).scalar_subquery()
    query = select(arrears_limit, rows.label("rows"), arranged.label("arranged"), c.holds).join(account_table, c.account_no == a.account_no)
    found = conn.execute(query.where(a.state.in_([s.value for s in OPEN])).order_by(a.limit_no))
    return {r.limit_no: (_limit(r), (r.rows, r.arranged, r.holds, r.account_no in managed)) for r in found}


def _limit(r: Row[Any]) -> ArrearsLimit:
    return ArrearsLimit(r.limit_no, r.account_no, r.watts, r.owed_nano, r.paid_nano, LimitState(r.state), r.reason, r.due_ms, r.ordered_ms,
                        r.ended_ms)  # fmt: skip
