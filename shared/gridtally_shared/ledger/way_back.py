"""The least payment after which a balance is there again, what a top-up pays off first included (prepayment.md 3.4). Pure."""

from __future__ import annotations

from gridtally_shared.ledger.entries import OWN
from gridtally_shared.ledger.money_order import MoneyRules, top_up
from gridtally_shared.ledger.replay import LedgerState


def brings_back(state: LedgerState, rules: MoneyRules, restore_nano: int, pending_nano: int = 0) -> int:
    """The least payment after which the balance is `restore_nano` or more. 0: none. `pending_nano` is on its way already."""

    def reaches(amount_nano: int) -> bool:
        brought = sum(p.amount_nano for p in top_up(state, rules, max(0, amount_nano + pending_nano)) if p.pool in OWN)
        return state.balance_nano + brought >= restore_nano

    low_nano, high_nano = 0, 1
    while not reaches(high_nano):
        low_nano, high_nano = high_nano, high_nano * 2
    while low_nano < high_nano:
        middle_nano = (low_nano + high_nano) // 2
        low_nano, high_nano = (low_nano, middle_nano) if reaches(middle_nano) else (middle_nano + 1, high_nano)
    return low_nano
