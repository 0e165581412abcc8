"""From what is stored to a decision, and from a decision to an order: the step the core takes after every event."""

from __future__ import annotations

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.actions import new_id, open_action, order_by_balance
from gridtally_edge.prepay.decide import Decision, OffReason, SupplyView, Verdict, decide
from gridtally_edge.prepay.instruments import parked_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import detail

READING_LIMIT_INTERVALS = 2
CAREFUL_AFTER_CHANGE_MS = MS_PER_DAY
REPORTED_HELD = frozenset({Verdict.HELD, Verdict.RESTORE_HELD})


def evaluate(turn: Turn, account: AccountConfig) -> None:
    """Decide on one supply and do what follows. Nothing to decide while an order is under way or before the opening."""
    book, meter_no = turn.book(account), account.meter_no
    if meter_no not in turn.plan.meters or book.state.opened_wh is None:
        return
    if _is_settled(turn, account):
        book.row.last_decision = ""
        return
    if open_action(turn, meter_no) is not None or _is_waited_for(turn, meter_no):
        return
    decision = decide(view_of(turn, account), account, turn.now_ms)
    if decision.verdict is Verdict.STAY:
        book.row.last_decision = ""
    elif decision.verdict in REPORTED_HELD:
        if decision.blocked_by == ("hourly_share",):
            _trip(turn)
        _hold(turn, account, decision)
    else:
        _carry_out(turn, account, decision)


def _is_settled(turn: Turn, account: AccountConfig) -> bool:
    """There is money and money did not switch off: nothing that `decide` could change. Most supplies, most of the time."""
    return turn.book(account).state.balance_nano > 0 and turn.switch(account.meter_no).off_reason != OffReason.BALANCE.value


def view_of(turn: Turn, account: AccountConfig) -> SupplyView:
    book, row, clock = turn.book(account), turn.switch(account.meter_no), turn.clock
    meter = turn.plan.meters[account.meter_no]
    return SupplyView(
        balance_nano=book.state.balance_nano,
        funded=bool(book.state.used.prefix or book.state.used.bitmap),
        ledger_fault=book.row.ledger_fault,
        register_held=book.row.held,
        tariff_known=account.tariff_id in turn.plan.tariffs,
        clock=clock.state,
        uncertainty_ms=clock.uncertainty_ms,
        reading_age_ms=turn.now_ms - row.register_ms if row.register_ms else None,
        reading_limit_ms=READING_LIMIT_INTERVALS * meter.interval_s * 1000,
        serial_proven=row.serial == meter.serial,
        parked=parked_of(turn, account.account_no),
        missing_instruments=book.state.used.bitmap != 0,
        notice_at_ms=book.row.notice_ms,
        exhausted_since_ms=book.row.exhausted_since_ms,
        link_up=turn.link.online,
        offline_since_ms=turn.link.offline_since_ms,
        lease_until_ms=lease_until_ms(turn),
        switch=SwitchState(row.state),
        off_reason=OffReason(row.off_reason),
        pending_action=_is_waited_for(turn, account.meter_no),
        stuck_until_ms=row.stuck_until_ms,
        resyncs=row.resyncs,
        closed_by_order_ms=row.closed_by_order_ms,
        cuts_last_hour=_cuts_last_hour(turn),
        cuts_allowed=turn.plan.cuts_allowed,
        breaker_tripped=bool(turn.fact("breaker_tripped")),
        power_w=row.power_w,
    )


def lease_until_ms(turn: Turn) -> int:
    """The right to cut ends by itself: the lease of the configuration, or the same length since the cloud last spoke."""
    seen_ms = turn.fact("cloud_seen_ms")
    renewed_ms = seen_ms + turn.plan.lease_length_ms if seen_ms and turn.plan.lease_length_ms else 0
    return max(turn.plan.config.cut_lease_until_ms, renewed_ms)


def _is_waited_for(turn: Turn, meter_no: int) -> bool:
    """A switch command that was accepted and waits for its turn."""
    query = "SELECT 1 FROM command WHERE meter_no = ? AND state < 20 AND type IN (1, 2) AND due_ms <= ? LIMIT 1"
    return turn.db.execute(query, (meter_no, turn.now_ms)).fetchone() is not None


def _cuts_last_hour(turn: Turn) -> int:
    """Local cuts that acted or may have; an order that was withdrawn or never reached its meter does not count."""
    query = """SELECT count(*) FROM action WHERE origin = 'local' AND close = 0 AND created_ms > ?
        AND result IN ('', 'done', 'stuck', 'unknown')"""
    return int(turn.db.execute(query, (turn.now_ms - MS_PER_HOUR,)).fetchone()[0])


def _trip(turn: Turn) -> None:
    """Soon after a change of tariff, policy or clock, cuts above the hourly share wait for a person, who changes the
    rules again (safety.md 13); at other times they wait for the hour."""
    changed_ms = turn.fact("changed_ms")
    if changed_ms and turn.now_ms - changed_ms < CAREFUL_AFTER_CHANGE_MS:
        turn.remember("breaker_tripped", 1)
        turn.report(0, "cut_held", "breaker: too many cuts in an hour soon after a change; change tariff, policy or share to go on")


def _hold(turn: Turn, account: AccountConfig, decision: Decision) -> None:
    """Write the evidence once for each new set of reasons, not at every reading."""
    book = turn.book(account)
    key = f"{decision.verdict.value}:{','.join(decision.blocked_by)}"
    if book.row.last_decision == key:
        return
    book.row.last_decision = key
    book.add(Kind.DECISION, turn.stamp(), meter_no=account.meter_no, detail=detail(decision.evidence()))
    if decision.verdict is Verdict.HELD and "zero_action" not in decision.blocked_by:
        turn.report(account.meter_no, "cut_held", f"account={account.account_no} by={','.join(decision.blocked_by)}")


def _carry_out(turn: Turn, account: AccountConfig, decision: Decision) -> None:
    book, action_id = turn.book(account), new_id()
    book.row.last_decision = decision.verdict.value
    book.add(Kind.DECISION, turn.stamp(), meter_no=account.meter_no, cause=action_id, detail=detail(decision.evidence()))
    order_by_balance(turn, account, decision.verdict is Verdict.RESTORE, action_id)
