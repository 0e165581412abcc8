"""The least a consumer has to pay now, and what brings the supply back: shown before anything is paid.

* `least_nano` is the policy's smallest payment; smaller ones are refused with the amount. Where the policy says
  `minimum_covers_reconnection`, an account that is cut pays at least what brings its supply back.
* `reconnect_nano` is that amount: what the balance is short of the restoring balance of the account's policy, with what a payment pays
  off first by its rules (the share of a debt by payment, debts, emergency credit; prepayment.md 3.4), less money on the way. 0 where
  the supply needs no payment.
* Both go up to the next whole coin.

Source: prepayment.md 7 (L427); seed 002 C3-BR2.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.model import SupplyState
from gridtally_cloud.prepay.policies import rules_at
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.wallet import balance, ledger_state
from gridtally_shared.ledger.way_back import brings_back
from gridtally_shared.money import minor_digits
from gridtally_shared.prepay.money import money_rules
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.prepay.zones import zone_of
from gridtally_shared.records import dataclass

WITHOUT_SUPPLY = frozenset({SupplyState.OFF, SupplyState.ARMED})


@dataclass(frozen=True, slots=True)
class Least:
    """`owed_nano`: debts, overdraft and emergency credit in use; `restore_nano`: the balance the policy wants before it
    reconnects. `pending_nano` is on its way already."""

    currency: str
    least_nano: int
    reconnect_nano: int
    owed_nano: int
    restore_nano: int
    pending_nano: int


def least_payment(conn: Connection, payments: Payments, account: Account, at_ms: int) -> Least:
    """What to pay at least now. Of a prepaid account."""
    policy = rules_at(conn, account, at_ms)
    view, limits = balance(conn, account.account_no), payments.limits_for(account.currency)
    state = ledger_state(conn, account.account_no, account.account_epoch)
    restore_nano = max(1, policy.restore.min_balance_nano)
    cut = state is not None and view.supply in WITHOUT_SUPPLY
    rules = money_rules(policy, Standing(), zone_of(account.zone), at_ms)
    short_nano = brings_back(state, rules, restore_nano, view.pending_nano) if state and cut else 0
    reconnect_nano = whole_coins(short_nano, account.currency)
    covers = payments.minimum_covers_reconnection
    least_nano = min(max(limits.minimum_nano, reconnect_nano if covers else 0), limits.maximum_nano)
    owed_nano = state.debt_nano + state.emergency_used_nano + max(0, -state.balance_nano) if state else 0
    return Least(account.currency, least_nano, reconnect_nano, owed_nano, restore_nano, view.pending_nano)


def whole_coins(amount_nano: int, currency: str) -> int:
    """The next whole coin: nobody can pay less than one."""
    step: int = 10 ** (9 - minor_digits(currency))
    return -(-amount_nano // step) * step
