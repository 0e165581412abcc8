"""The one place where amounts on paper are rounded.

* Charges, payments and what is owed: half-even to the coin. Balances: down to the coin, as on every other screen.
* What the lines' rounding leaves over is a line of its own, exact amount 0, so that the printed column adds up.
"""

from __future__ import annotations

from dataclasses import replace

from gridtally_cloud.billing.model import Bill, Line, LineKind
from gridtally_shared.money import floor_to_minor, minor_digits, round_half_even


def to_coin(amount_nano: int, currency: str) -> int:
    """Half-even to the smallest coin."""
    return round_half_even(amount_nano, minor_digits(currency))


def rounded_statement(bill: Bill) -> Bill:
    """Fill in what is printed on a statement; balances are rounded down."""
    currency = bill.party.currency
    return _with_shown(bill, floor_to_minor(bill.opening_nano, currency), floor_to_minor(bill.closing_nano, currency))


def rounded_bill(bill: Bill) -> Bill:
    """Fill in what is printed on a bill. Its closing amount becomes the printed one: that is what is owed."""
    currency = bill.party.currency
    owed_nano = to_coin(bill.closing_nano, currency)
    return replace(_with_shown(bill, to_coin(bill.opening_nano, currency), owed_nano), closing_nano=owed_nano)


def _with_shown(bill: Bill, opening_nano: int, closing_nano: int) -> Bill:
    lines = tuple(replace(line, shown_nano=to_coin(line.amount_nano, bill.party.currency)) for line in bill.lines)
    rest_nano = closing_nano - opening_nano - sum(line.shown_nano for line in lines)
    extra = (Line(LineKind.ROUNDING, 0, rest_nano, bill.from_ms, bill.to_ms),) if rest_nano else ()
    return replace(bill, lines=(*lines, *extra), opening_shown_nano=opening_nano, closing_shown_nano=closing_nano)
