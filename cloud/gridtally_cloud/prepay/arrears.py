"""A load limit instead of a cut for who owes bills: the household is told, limited after the notice, and free with its payment.

* Told first, by every channel it wants, with what to pay and when the limit begins. Who has paid by then is not limited.
* The order is a signed one like any other; the meter's side keeps its own protections above it (flags, holds, weather: safety.md 5).
* It is lifted as soon as nothing is owed any more, by the worker, without a hand.
* A hold of the account against cuts is one against this too.

Source: C3-N5; seed 002 (demand limiting for poor payers, prepaid or not).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.billing import receivables
from gridtally_cloud.commands.flow import check_may_limit
from gridtally_cloud.customers import outgoing
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.prepay import control
from gridtally_cloud.prepay.arrears_tables import arrears_limit
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import LimitOrder
from gridtally_shared.prepay.holds import holds_against_cut
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

LEAD_MS = 3 * MS_PER_DAY
LEAST_W, MOST_W = 100, 100_000
ACTOR = "system:arrears"


class ArrearsReason(StrEnum):
    NOTHING_OWED = "nothing_owed"
    LIMITED_ALREADY = "limited_already"
    BAD_WATTS = "bad_watts"
    HOLD = "hold"


class LimitState(StrEnum):
    TOLD = "told"
    ORDERED = "ordered"
    LIFTED = "lifted"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class ArrearsLimit:
    limit_no: int
    account_no: int
    watts: int
    owed_nano: int
    state: LimitState
    reason: str
    due_ms: int
    ordered_ms: int | None
    ended_ms: int | None


def tell(conn: Connection, account_no: int, watts: int, now_ms: int, actor: str, lead_ms: int = LEAD_MS) -> ArrearsLimit:
    """Tell the household that its load is limited from `lead_ms` on unless it pays. Raises RefusedCommand (unknown_account, no_dcu,
    no_flow_limit, nothing_owed, limited_already, bad_watts, hold)."""
    account, owed_nano = account_of(conn, account_no), receivables.outstanding_nano(conn, account_no)
    if not LEAST_W <= watts <= MOST_W:
        raise RefusedCommand(ArrearsReason.BAD_WATTS, f"{watts} W: a limit is {LEAST_W} to {MOST_W} W, so that light and a fan stay on")
    if not account.dcu:
        raise RefusedCommand(control.ControlReason.NO_DCU, f"no concentrator serves account {account_no}: nothing can be ordered of it")
    check_may_limit(conn, account.meter_no)
    if owed_nano <= 0:
        raise RefusedCommand(ArrearsReason.NOTHING_OWED, f"account {account_no} owes nothing on bills: there is nothing to limit it for")
    if holds_against_cut(account.policy.holds):
        raise RefusedCommand(ArrearsReason.HOLD, f"account {account_no} is held ({', '.join(account.policy.holds)}): it is not limited")
    if any(found.state in OPEN for found in limits(conn, account_no)):
        raise RefusedCommand(ArrearsReason.LIMITED_ALREADY, f"account {account_no} was told already, or is limited")
    row = {"account_no": account_no, "watts": watts, "owed_nano": owed_nano, "state": LimitState.TOLD.value, "due_ms": now_ms + lead_ms,
           "told_ms": now_ms, "actor": actor}  # fmt: skip
    number = conn.execute(insert(arrears_limit).values(row).returning(arrears_limit.c.limit_no)).scalar_one()
    params = (("a", str(owed_nano)), ("d", str(now_ms + lead_ms)), ("n", str(watts)))
    outgoing.put(conn, account_no, "limit_soon", f"limit {number}", now_ms, params)
    record(conn, now_ms, actor, "arrears.told", f"account:{account_no}", f"limit {number}, {watts} W")
    return limits(conn, account_no)[0]


OPEN = frozenset({LimitState.TOLD, LimitState.ORDERED})


def carry_out(db: Database, signer: Signer, now_ms: int) -> None:
    """The worker's part: limit those whose notice is over, free those who have paid."""
    with db.read() as conn:
        found = _open(conn)
    for each in found:
        with db.write() as conn:
            _step(conn, signer, each, now_ms)


def _step(conn: Connection, signer: Signer, found: ArrearsLimit, now_ms: int) -> None:
    owes = receivables.outstanding_nano(conn, found.account_no) > 0
    if found.state is LimitState.TOLD and not owes:
        _advance(conn, found, LimitState.DROPPED, now_ms, "paid", ended_ms=now_ms)
    elif found.state is LimitState.TOLD and holds_against_cut(account_of(conn, found.account_no).policy.holds):
        _advance(conn, found, LimitState.DROPPED, now_ms, "hold", ended_ms=now_ms)
    elif found.state is LimitState.TOLD and now_ms >= found.due_ms:
        control.order(conn, signer, found.account_no, LimitOrder(found.watts, 0, "arrears"), now_ms, ACTOR)
        _advance(conn, found, LimitState.ORDERED, now_ms, "", ordered_ms=now_ms)
    elif found.state is LimitState.ORDERED and not owes:
        control.order(conn, signer, found.account_no, LimitOrder(0, 0, "arrears"), now_ms, ACTOR)
        _advance(conn, found, LimitState.LIFTED, now_ms, "paid", ended_ms=now_ms)


def _advance(conn: Connection, found: ArrearsLimit, to: LimitState, now_ms: int, reason: str, **times: int) -> None:
    mine = arrears_limit.c.limit_no == found.limit_no
    conn.execute(update(arrears_limit).where(mine).values(state=to.value, reason=reason, **times))
    record(conn, now_ms, ACTOR, f"arrears.{to.value}", f"account:{found.account_no}", f"limit {found.limit_no} {reason}".strip())


def limits(conn: Connection, account_no: int) -> tuple[ArrearsLimit, ...]:
    """Those of an account, newest first."""
    a = arrears_limit.c
    rows = conn.execute(select(arrears_limit).where(a.account_no == account_no).order_by(a.limit_no.desc()))
    return tuple(_limit(r) for r in rows)


def _open(conn: Connection) -> tuple[ArrearsLimit, ...]:
    a = arrears_limit.c
    rows = conn.execute(select(arrears_limit).where(a.state.in_([s.value for s in OPEN])).order_by(a.limit_no))
    return tuple(_limit(r) for r in rows)


def _limit(r: Row[Any]) -> ArrearsLimit:
    return ArrearsLimit(r.limit_no, r.account_no, r.watts, r.owed_nano, LimitState(r.state), r.reason, r.due_ms, r.ordered_ms, r.ended_ms)
