"""What a top-up may be now: the limits of the currency, the account's policy, and what the account has to pay at least.

* A policy's `topup` gives the least and the most of one payment, a multiple, and the most the account may hold; what is on its way
  to the meter counts as held. An account at its most takes nothing.
* The smallest and the largest amount are told where a payment is refused, and shown before it is made.

Source: prepayment.md 3.6 (`topup`), 7 (L427).
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay import minimum
from gridtally_cloud.prepay.model import PaymentReason
from gridtally_cloud.prepay.policies import policy_at
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.wallet import balance
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import display
from gridtally_shared.prepay.policy import TopUp
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """`multiple_nano` 0: any amount between the two. `most_nano` below `least_nano`: nothing can be paid now."""

    least_nano: int
    most_nano: int
    multiple_nano: int = 0


def bounds(conn: Connection, payments: Payments, account: Account, at_ms: int) -> Bounds:
    limits = payments.limits_for(account.currency)
    if not account.is_prepaid:
        return Bounds(limits.minimum_nano, limits.maximum_nano)
    policy = policy_at(conn, account.account_no, at_ms)
    rule = policy.topup if policy is not None else TopUp()
    most_nano = limits.maximum_nano if rule.max_nano is None else min(rule.max_nano, limits.maximum_nano)
    if rule.max_balance_nano is not None:
        view = balance(conn, account.account_no)
        most_nano = max(0, min(most_nano, rule.max_balance_nano - view.balance_nano - view.pending_nano))
    least_nano = max(minimum.least_payment(conn, payments, account, at_ms).least_nano, rule.min_nano)
    step = rule.multiple_nano
    return Bounds(-(-least_nano // step) * step, most_nano // step * step, step) if step else Bounds(least_nano, most_nano)


def check(found: Bounds, amount_nano: int, currency: str) -> None:
    """Raises RefusedCommand (payment_too_small, payment_too_large, payment_not_a_multiple) with the amount that would do."""
    said = display(amount_nano, currency)
    if amount_nano > found.most_nano:
        remedy = f"Pay at most {display(found.most_nano, currency)} now." if found.most_nano else "The account holds as much as it may."
        raise RefusedCommand(PaymentReason.TOO_MUCH, f"{said} is more than the largest single payment. {remedy}")
    if amount_nano < found.least_nano:
        least = display(found.least_nano, currency)
        raise RefusedCommand(PaymentReason.TOO_LITTLE, f"{said} is less than the smallest payment, {least}. Pay at least that much.")
    if found.multiple_nano and amount_nano % found.multiple_nano:
        step = display(found.multiple_nano, currency)
        raise RefusedCommand(PaymentReason.NOT_A_MULTIPLE, f"{said} is not a multiple of {step}. Pay a multiple of it.")
