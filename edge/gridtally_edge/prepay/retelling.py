"""What a journal that was healed, or taken over from another box, tells of the supply: told to the switch's row and to the engine.

An order of this box that is under way, and what it saw of the switch later, stand; a switch that is open for no reason it knows is open for
the reason the journal gives. The number of its newest order never goes back (safety.md 3). Holds, protections and limits that were
ordered while this disk was not there stand again (account_orders.py).

Source: prepayment.md T27, 5.8; `gridtally_shared.prepay.retold`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import account_orders
from gridtally_edge.prepay.actions import open_action
from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.limiter import look_again
from gridtally_edge.prepay.rows import SwitchRow
from gridtally_edge.prepay.rules import policy_of, standing_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import LedgerEntry, Pool, entry_from
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.prepay.facts import FIRST_EPOCH, OffReason
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.prepay.regions import Entitlement, Schedule
from gridtally_shared.prepay.retold import KINDS, OFF_BY_LIMIT, Retold, retold, standing_cut, standing_limited, standing_with
from gridtally_shared.prepay.standing import Standing, standing_from, standing_text

NOT_KNOWN = frozenset({OffReason.NONE.value, OffReason.UNORDERED.value})
CUT = (Entitlement.CUT, Entitlement.RESTORE_DUE)
_MARKS = ", ".join("?" * len(KINDS))


def healed(turn: Turn, book: Book, since_ms: int) -> None:
    """The journal has reached the mirror's head; what this box wrote and did meanwhile, since `since_ms`, came behind it."""
    account = turn.plan.accounts.get(book.row.account_no)
    if account is None or account.account_epoch != book.row.epoch:
        return
    account_orders.retold(turn, account, since_ms)
    policy = policy_of(turn, account).policy
    rule = policy.reclose
    told = retold(_entries(turn, book, since_ms), account.meter_no, rule)
    row = turn.switch(account.meter_no)
    row.counter = max(row.counter, told.counter)
    if row.state != SwitchState.OPEN.value:
        row.closed_by_order_ms = told.closed_by_order_ms or row.closed_by_order_ms
    standing = standing_with(standing_of(book), told, turn.now_ms, rule)
    if open_action(turn, account.meter_no) is None and _is_news(row, told):
        _tell(row, told)
        standing = _cut(book, standing) if told.off_reason is OffReason.BALANCE else standing
        if told.off_reason is OffReason.LIMIT and told.limited_ms is not None:
            standing = standing_limited(standing, told.limited_ms, step_of(policy))
    book.row.standing = standing_text(standing)


def begun(turn: Turn, account: AccountConfig, book: Book, at_ms: int) -> None:
    """A new epoch began where another box, or the MDM, had left the supply: as the configuration says, in the standing."""
    if account.account_epoch > FIRST_EPOCH:
        look_again(turn, account.meter_no)
    row, left = turn.switch(account.meter_no), standing_from(book.row.standing)
    reason, by_money = _left_off_by(left), left.regions.entitlement in CUT
    if row.off_reason in NOT_KNOWN and reason is not OffReason.NONE:
        row.off_reason = reason.value
        row.off_since_ms = at_ms if by_money else left.tripped_ms or at_ms
    if by_money and left.exhausted_since_ms is None:  # the MDM's own engine tells all its moments
        book.row.standing = standing_text(_cut(book, left))
    elif left.regions.entitlement is Entitlement.LIMITED and not left.regions.step:
        step = step_of(policy_of(turn, account).policy)
        book.row.standing = standing_text(standing_limited(left, left.limited_since_ms or at_ms, step))


def step_of(policy: Policy) -> int:
    """The limit step for want of money; that of emergency credit is found when the supply is on again."""
    return policy.limit.at_zero or 1


def _cut(book: Book, standing: Standing) -> Standing:
    return standing_cut(standing, owed(book.state, Pool.EMERGENCY))


def _left_off_by(left: Standing) -> OffReason:
    """Why the supply was off where it was left, as far as a standing says."""
    if left.regions.entitlement in CUT:
        return OffReason.BALANCE
    if left.regions.limit in OFF_BY_LIMIT:
        return OffReason.LIMIT
    return OffReason.SCHEDULE if left.regions.schedule is Schedule.RUNNING else OffReason.NONE


def _entries(turn: Turn, book: Book, since_ms: int) -> Iterator[LedgerEntry]:
    """Those of the journal, then those that were put aside. One that can not be read, for which it may have been healed, tells nothing."""
    key = (book.row.account_no, book.row.epoch)
    there = f"SELECT body FROM journal WHERE account_no = ? AND epoch = ? AND kind IN ({_MARKS}) ORDER BY seq"
    aside = "SELECT body FROM journal_aside WHERE account_no = ? AND epoch = ? AND aside_ms >= ? ORDER BY seq"
    bodies = [*turn.db.execute(there, (*key, *map(int, KINDS))).fetchall(), *turn.db.execute(aside, (*key, since_ms)).fetchall()]
    for (body,) in bodies:
        with suppress(ContractError):
            yield entry_from(body)


def _is_news(row: SwitchRow, told: Retold) -> bool:
    if told.state is None:
        return False
    both_open = row.state == SwitchState.OPEN.value == told.state
    return told.switched_ms > row.state_ms or (both_open and (row.off_reason in NOT_KNOWN or row.off_since_ms < told.switched_ms))


def _tell(row: SwitchRow, told: Retold) -> None:
    if told.switched_ms > row.state_ms:
        row.state, row.state_ms = told.state or 0, told.switched_ms
    row.off_reason = told.off_reason.value
    row.off_since_ms = told.switched_ms if told.off_reason is not OffReason.NONE else 0
