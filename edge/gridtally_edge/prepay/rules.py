"""The rules that hold for an account in this turn, and where the engine left it."""

from __future__ import annotations

from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.ledger.money_order import MoneyRules
from gridtally_shared.prepay.calendars import Region, region_of
from gridtally_shared.prepay.in_force import InForce, in_force
from gridtally_shared.prepay.money import money_rules
from gridtally_shared.prepay.standing import Standing, standing_from


def policy_of(turn: Turn, account: AccountConfig) -> InForce:
    return in_force(account, turn.plan.rules.policies, turn.now_ms)


def local_of(turn: Turn, account: AccountConfig) -> Region:
    """The account's local time, holidays and announced weather."""
    return region_of(account, turn.plan.rules.calendars, turn.now_ms)


def standing_of(book: Book) -> Standing:
    return standing_from(book.row.standing, book.row.last_decision)


def money_rules_of(turn: Turn, account: AccountConfig) -> MoneyRules:
    """For every charge and every top-up of this account; before its first reading as the epoch before left it."""
    book = turn.book(account)
    standing = standing_of(book) if book.row.standing or book.state.opened_wh is not None else standing_from(account.standing)
    return money_rules(policy_of(turn, account).policy, standing, local_of(turn, account).zone, turn.now_ms)
