"""What each type of instrument does: one table from type to effect. The checks are behind it (instruments.py).

* Every effect writes exactly one entry that carries the instrument's number, so it is used in the journal itself.
* Money goes by the money order (ledger/money_order.py): a top-up pays debts first, a refund takes at most what is there.
* `CREDIT_CLEAR` moves out what was there when its turn came; credit with a higher number that came earlier stays.
* What a control instrument sets for others is an order (account_orders.py); what it moves is nothing.

Source: prepayment.md 1.2, 3.4, 5.2 to 5.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gridtally_edge.prepay import account_orders, leases, meter_jobs, mode_checks, price_changes
from gridtally_edge.prepay.account_orders import set_order
from gridtally_edge.prepay.charge_store import pin
from gridtally_edge.prepay.notices import tell
from gridtally_edge.prepay.plan import stored_plan
from gridtally_edge.prepay.rows import InstrumentRow, KeypadRow, one, save, some
from gridtally_edge.prepay.rules import money_rules_of, policy_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import AccountConfig, ClockState, Instrument, InstrumentType, TariffDocument
from gridtally_shared.instruments import details as d
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.correction import corrected
from gridtally_shared.ledger.entries import Kind, Pool, Posting, move
from gridtally_shared.ledger.evidence import InstrumentEvidence
from gridtally_shared.ledger.evidence import detail as evidence_bytes
from gridtally_shared.ledger.money_order import bring, owed, take_back, top_up
from gridtally_shared.ledger.standing_orders import Stands, evidence_with, standing
from gridtally_shared.lifecycle import Reason
from gridtally_shared.money import MAX_NANO

MOST_NANO = MAX_NANO // 2
DEBTS = {"time": Pool.DEBT_TIME, "payment": Pool.DEBT_PAYMENT}


def apply_effect(turn: Turn, account: AccountConfig, instrument: Instrument) -> None:
    """Do what a checked instrument says."""
    EFFECTS[InstrumentType(instrument.type)](turn, account, instrument, detail_of(instrument))


def refuse_number(turn: Turn, account: AccountConfig, instrument: Instrument, reason: str) -> None:
    """Use the number of an instrument that is refused for good, and say why; nothing is moved."""
    evidence = InstrumentEvidence(instrument.type, reason, instrument.amount_nano)
    _enter(turn, account, instrument, Kind.CONTROL, (), evidence_bytes(evidence))


def most_balance(turn: Turn, account: AccountConfig) -> int:
    """What the account may hold at most: the policy's word, and what fits a posting."""
    most_nano = policy_of(turn, account).policy.topup.max_balance_nano
    return MOST_NANO if most_nano is None else min(most_nano, MOST_NANO)


def _enter(turn: Turn, account: AccountConfig, instrument: Instrument, kind: Kind, postings: tuple[Posting, ...],
           detail: bytes = b"", period: int = 0) -> None:  # fmt: skip
    turn.book(account).add(
        kind, turn.stamp(), postings,
        meter_no=account.meter_no, gseq=instrument.gseq, cause=instrument.payment_ref, detail=detail, period=period,
    )  # fmt: skip


# ---- money --------------------------------------------------------------------------------------------------


def _credit(turn: Turn, account: AccountConfig, instrument: Instrument, detail: Any) -> None:
    rules, amount_nano = money_rules_of(turn, account), instrument.amount_nano
    postings = top_up(turn.book(account).state, rules, amount_nano)
    _enter(turn, account, instrument, Kind.CREDIT, postings, instrument.detail, rules.period)
    tell(turn, account, "CREDIT", a=amount_nano, b=turn.book(account).state.balance_nano)


def _refund(turn: Turn, account: AccountConfig, instrument: Instrument, detail: Any) -> None:
    postings = take_back(turn.book(account).state, -instrument.amount_nano)
    _enter(turn, account, instrument, Kind.REFUND, postings)


def _opening(turn: Turn, account: AccountConfig, instrument: Instrument, detail: Any) -> None:
    """What an account brings from elsewhere; a balance below zero comes along as it was."""
    postings = bring(turn.book(account).state, money_rules_of(turn, account), instrument.amount_nano)
    _enter(turn, account, instrument, Kind.CREDIT, postings)
    if instrument.amount_nano > 0:
        tell(turn, account, "CREDIT", a=instrument.amount_nano, b=turn.book(account).state.balance_nano)


def _debt(turn: Turn, account: AccountConfig, instrument: Instrument, debt: d.DebtTaken) -> None:
    postings = move(Pool.TRANSFER, DEBTS[debt.by], instrument.amount_nano)
    _enter(turn, account, instrument, Kind.DEBT, postings, instrument.detail)


def _correct(turn: Turn, account: AccountConfig, instrument: Instrument, correction: d.ChargeCorrection) -> None:
    """Past charges were wrong: given back, or a debt, never a lower balance (safety.md 16)."""
    _enter(turn, account, instrument, Kind.CORRECTION, corrected(turn.book(account).state, instrument.amount_nano), instrument.detail)
    turn.report(account.meter_no, "charge_corrected", f"account={account.account_no} why={correction.why} nano={instrument.amount_nano}")
    code = "CORRECTED" if instrument.amount_nano > 0 else "CORRECTED_DEBT"
    tell(turn, account, code, a=abs(instrument.amount_nano), b=turn.book(account).state.balance_nano)


def _lease(turn: Turn, account: AccountConfig, instrument: Instrument, grant: d.LeaseGrant) -> None:
    """A chunk of a shared wallet: it pays what was used beyond zero, and of emergency credit; the rest is reserved."""
    state, left_nano = turn.book(account).state, instrument.amount_nano
    below_nano = min(left_nano, owed(state, Pool.PAID))
    lent_nano = min(left_nano - below_nano, owed(state, Pool.EMERGENCY))
    kept_nano = left_nano - below_nano - lent_nano
    rows = ((Pool.TRANSFER, -left_nano), (Pool.PAID, below_nano), (Pool.EMERGENCY, lent_nano), (Pool.RESERVED, kept_nano))
    _enter(turn, account, instrument, Kind.TRANSFER, tuple(Posting(*row) for row in rows if row[1]), instrument.detail)
    leases.granted(turn, account, grant.number, instrument.amount_nano)


def _lease_return(turn: Turn, account: AccountConfig, instrument: Instrument, detail: Any) -> None:
    _enter(turn, account, instrument, Kind.RETURN, move(Pool.RESERVED, Pool.TRANSFER, _there(turn, account, instrument, Pool.RESERVED)))


def _clear(turn: Turn, account: AccountConfig, instrument: Instrument, detail: Any) -> None:
    """A transfer out of what was there, never a silent zero."""
    _enter(turn, account, instrument, Kind.TRANSFER, move(Pool.PAID, Pool.TRANSFER, _there(turn, account, instrument, Pool.PAID)))


BROUGHT_BY = {
    Pool.PAID: frozenset({InstrumentType.CREDIT, InstrumentType.CREDIT_KWH, InstrumentType.CREDIT_TIME, InstrumentType.OPENING}),
    Pool.RESERVED: frozenset({InstrumentType.LEASE}),
}


def _there(turn: Turn, account: AccountConfig, instrument: Instrument, pool: Pool) -> int:
    """What is in a pool but for what instruments with a higher number, which came earlier, brought into it."""
    clause = "WHERE account_no = ? AND epoch = ? AND gseq > ? AND state = 'applied' AND amount_nano > 0"
    rows = some(turn.db, InstrumentRow, clause, account.account_no, account.account_epoch, instrument.gseq)
    later = sum(row.amount_nano for row in rows if decode(Instrument, row.body).type in BROUGHT_BY[pool])
    return max(0, turn.book(account).state.pools.get(pool, 0) - later)


# ---- control ------------------------------------------------------------------------------------------------


def _noted(turn: Turn, account: AccountConfig, instrument: Instrument, seen: str) -> None:
    _enter(turn, account, instrument, Kind.CONTROL, (), evidence_bytes(InstrumentEvidence(instrument.type, seen=seen)))


def _stands(turn: Turn, account: AccountConfig, instrument: Instrument, order: Stands, seen: str) -> None:
    """It stands from here on; the entry holds it, for a box that lost it."""
    evidence = evidence_with(InstrumentType(instrument.type), order, seen)
    _enter(turn, account, instrument, Kind.CONTROL, (), evidence_bytes(evidence))
    set_order(turn, account, standing(instrument.type, order, instrument.gseq))


def _limit(turn: Turn, account: AccountConfig, instrument: Instrument, order: d.LimitOrder) -> None:
    meter = turn.plan.meters.get(account.meter_no)
    if order.limit_w and meter is not None and meter.commodity == "gas":
        _noted(turn, account, instrument, "no limit: gas is not limited")
        turn.report(account.meter_no, "instrument_refused", f"account={account.account_no} limit_w={order.limit_w} {Reason.NO_FLOW_LIMIT}")
        return
    _stands(turn, account, instrument, order, f"limit {order.limit_w} W" if order.limit_w else "limit lifted")


def _mode(turn: Turn, account: AccountConfig, instrument: Instrument, order: d.ModeOrder) -> None:
    _stands(turn, account, instrument, order, f"mode {order.mode}")
    mode_checks.watch(turn, turn.plan.accounts[account.account_no])


def _hold(turn: Turn, account: AccountConfig, instrument: Instrument, order: d.HoldOrder) -> None:
    _stands(turn, account, instrument, order, f"hold {order.reason} {'set' if order.on else 'lifted'}")


def _protect(turn: Turn, account: AccountConfig, instrument: Instrument, order: d.ProtectOrder) -> None:
    _stands(turn, account, instrument, order, f"protection {order.reason} {'set' if order.on else 'lifted'}")


def _unbalance(turn: Turn, account: AccountConfig, instrument: Instrument, order: d.UnbalanceOrder) -> None:
    _stands(turn, account, instrument, order, f"unbalance limit {order.limit_ma} mA")


def _tariff(turn: Turn, account: AccountConfig, instrument: Instrument, load: d.TariffLoad) -> None:
    """A tariff version, pinned beside those of the configuration; it is active from its day on."""
    document = TariffDocument(load.tariff_id, load.version, load.from_ms, load.document, instrument.issued_at_ms)
    before, believed = turn.plan, turn.clock.state is not ClockState.UNTRUSTED
    pin(turn.db, before.config, replace(before.config, tariffs=(document,)), turn.now_ms, believed)
    turn.plan = account_orders.with_orders(turn, stored_plan(turn.db))
    price_changes.taken(turn, before)
    _noted(turn, account, instrument, f"tariff {load.tariff_id} {load.version}")


def _rotate(turn: Turn, account: AccountConfig, instrument: Instrument, change: d.KeyChange) -> None:
    row = one(turn.db, KeypadRow, account.account_no) or KeypadRow(account.account_no)
    before = row.key or account.keypad_key
    row.retired, row.key = before if before != change.secret else row.retired, change.secret
    save(turn.db, row)
    _noted(turn, account, instrument, f"keypad key {change.version}")


def _clear_tamper(turn: Turn, account: AccountConfig, instrument: Instrument, detail: Any) -> None:
    _noted(turn, account, instrument, "tamper counters to be cleared")
    meter_jobs.begin(turn, account, instrument.gseq)


def _test(turn: Turn, account: AccountConfig, instrument: Instrument, detail: Any) -> None:
    _noted(turn, account, instrument, "test")
    tell(turn, account, "TEST", b=turn.book(account).state.balance_nano)


T = InstrumentType
EFFECTS: dict[InstrumentType, Callable[[Turn, AccountConfig, Instrument, Any], None]] = {
    T.CREDIT: _credit,
    T.REFUND: _refund,
    T.OPENING: _opening,
    T.CREDIT_KWH: _credit,
    T.CREDIT_TIME: _credit,
    T.DEBT: _debt,
    T.LEASE: _lease,
    T.LEASE_RETURN: _lease_return,
    T.CREDIT_CLEAR: _clear,
    T.LIMIT_SET: _limit,
    T.MODE_SET: _mode,
    T.HOLD: _hold,
    T.PROTECT: _protect,
    T.TARIFF_LOAD: _tariff,
    T.KEY_ROTATE: _rotate,
    T.TAMPER_CLEAR: _clear_tamper,
    T.UNBALANCE_SET: _unbalance,
    T.TEST: _test,
    T.CORRECTION: _correct,
}
"""A type that is not here is refused as unknown to this version."""
