"""What staff see and do of the accounts the cloud runs: where each stands, and the emergency credit its household asks for by telephone."""

from __future__ import annotations

import argparse

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.prepay.handover_tables import managed_ones
from gridtally_cloud.prepay.managed_run import accept_emergency
from gridtally_cloud.prepay.managed_supply import SWITCHES, Supply, supply_of
from gridtally_cloud.prepay.wallet import balance
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import display
from gridtally_shared.prepay.standing import standing_from

NOT_OFFERED = "not_offered"
HEADING = f"{'account':>8}  {'balance':>14}  {'funds':<12} {'supply':<12} {'switch':<10} decision"


def show(desk: Desk, options: argparse.Namespace) -> int:
    """One line for each account the cloud runs."""
    with desk.db.read() as conn:
        rows = []
        for no in sorted(managed_ones(conn)):
            account, seen = account_of(conn, no), balance(conn, no)
            rows.append(_line(no, display(seen.balance_nano, account.currency), supply_of(conn, no, account.account_epoch)))
    print("\n".join((HEADING, *rows)) if rows else "no account is run by the cloud; 'gridtally-mdm handover manage 7 cloud' makes one so")
    return 0


def _line(no: int, money: str, supply: Supply | None) -> str:
    if supply is None:
        return f"{no:>8}  {money:>14}  begins with its first reading"
    r = standing_from(supply.standing).regions
    way = f" (a {'close' if supply.order_close else 'cut'} is under way)" if supply.order_id else ""
    switch = SWITCHES[supply.switch].value
    return f"{no:>8}  {money:>14}  {r.funds.value:<12} {r.entitlement.value:<12} {switch:<10} {supply.decision or '-'}{way}"


def emergency(desk: Desk, options: argparse.Namespace) -> int:
    """Take up the emergency credit of an account. Raises RefusedCommand (not_offered) where there is none to take."""
    with desk.db.write() as conn:
        if options.account not in managed_ones(conn):
            raise RefusedCommand(NOT_OFFERED, f"account {options.account} is run by its concentrator: its household takes up emergency "
                                 "credit on its own page there")  # fmt: skip
        taken = accept_emergency(conn, desk.payments.signer, options.account, desk.clock.now_ms())
    if not taken:
        raise RefusedCommand(NOT_OFFERED, f"account {options.account} has no emergency credit to take up now: its policy has none, the "
                             "balance is not low enough, or it was used since the last payment")  # fmt: skip
    print("the emergency credit is in use; a supply that is off for want of money comes back now")
    return 0
