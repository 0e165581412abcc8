"""Schedules in the journal: what began, what an event used, what it came to. The journal is the truth, the row a cache.

* An event is funded once, with the entry that starts it; an edge that got its journal back from the mirror finds it there.
* What a reading charges within an event is given back to the account in the same turn (schedules/funding.py).

Source: C3-S3.7; prepayment.md 5.5.
"""

from __future__ import annotations

from gridtally_edge.prepay.rows import JournalRow, ScheduleRow, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, Posting, entry_from
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.schedules import funding
from gridtally_shared.schedules.document import Outcome, Programme, Schedule, Step
from gridtally_shared.schedules.windows import Span

FUNDS = (Pool.PAID, Pool.RESERVED, Pool.EMERGENCY)


def start(turn: Turn, account: AccountConfig, row: ScheduleRow, schedule: Schedule) -> None:
    """The first window: the event's money is there from now on."""
    if any(step == Step.STARTED for step, _ in told(turn, row)):
        return
    credit_nano = schedule.credit_nano if schedule.programme == Programme.B else 0
    write(turn, account, row, Step.STARTED, funding.funded(credit_nano))


def write(
    turn: Turn, account: AccountConfig, row: ScheduleRow, step: Step, postings: tuple[Posting, ...] = (), *,
    spent_nano: int = 0, spent_wh: int = 0, rest_nano: int = 0,
) -> Outcome:  # fmt: skip
    outcome = Outcome(row.schedule_no, step.value, turn.now_ms, spent_nano, spent_wh, rest_nano, row.runs)
    turn.book(account).add(
        Kind.SCHEDULE, turn.stamp(), postings, meter_no=row.meter_no, cause=row.cmd_id, detail=encode(outcome)
    )
    return outcome


def finish(turn: Turn, account: AccountConfig, row: ScheduleRow) -> Outcome:
    """What it came to; an event's pool is emptied, the rest or the overrun is the cloud's to pass on."""
    used = [(outcome, entry) for step, (outcome, entry) in told(turn, row) if step == Step.USED]
    spent_nano = -sum(p.amount_nano for _, entry in used for p in entry.postings if p.pool == Pool.EVENT)
    spent_wh = sum(outcome.spent_wh for outcome, _ in used)
    state = turn.book(account).state
    rest_nano = state.pools.get(Pool.EVENT, 0)
    postings = funding.emptied(state) if row.programme == Programme.B else ()
    return write(turn, account, row, Step.ENDED, postings, spent_nano=spent_nano, spent_wh=spent_wh, rest_nano=rest_nano)


def cover(turn: Turn, account: AccountConfig, before: LedgerState, read_ms: int) -> None:
    """After a charge: the part of it that fell into an event is the event's. `read_ms`: the good reading before this one. The first
    charge of an epoch is of what was used since the box before left the register."""
    after, begun = turn.book(account).state, before.register_wh is None
    if after.seq == before.seq or (begun and not account.swapped_ms):
        return
    used_wh = (after.register_wh or 0) - ((after.opened_wh if begun else before.register_wh) or 0)
    from_ms = account.swapped_ms if begun else max(before.register_at_ms, read_ms)
    charged_nano = sum(before.pools.get(p, 0) - after.pools.get(p, 0) for p in FUNDS)
    events = "WHERE account_no = ? AND programme = 'B' AND stage IN ('running', 'closing')"
    for row in some(turn.db, ScheduleRow, events, account.account_no):
        _cover(turn, account, row, charged_nano, used_wh, from_ms)


def _cover(turn: Turn, account: AccountConfig, row: ScheduleRow, charged_nano: int, used_wh: int, from_ms: int) -> None:
    after, event = turn.book(account).state, Span(row.start_ms, row.end_ms)
    nano, wh = (funding.share(amount, from_ms, after.register_at_ms, event) for amount in (charged_nano, used_wh))
    if nano > 0:
        write(turn, account, row, Step.USED, funding.covered(after, nano), spent_nano=nano, spent_wh=wh)


def told(turn: Turn, row: ScheduleRow) -> list[tuple[str, tuple[Outcome, LedgerEntry]]]:
    """The schedule's entries, those of this turn with them: the step of each, with what it says."""
    clause = "WHERE account_no = ? AND epoch = ? AND kind = ? ORDER BY seq"
    rows = some(turn.db, JournalRow, clause, row.account_no, row.epoch, int(Kind.SCHEDULE))
    mine = (e for e in (entry_from(r.body) for r in rows) if e.cause == row.cmd_id)
    return [(outcome.step, (outcome, e)) for e in mine if (outcome := _outcome(e))]


def _outcome(entry: LedgerEntry) -> Outcome | None:
    try:
        return decode(Outcome, entry.detail)
    except ContractError:
        return None
