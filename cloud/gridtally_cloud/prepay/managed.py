"""Accounts managed from the cloud (safety.md 17): the MDM runs the journal of an account, its concentrator reads and carries out orders.

* The default is local: the concentrator runs the account and goes on without us. Managed is for a meter that is read by others, or whose
  concentrator can not keep a journal.
* Either way begins a new epoch with what the mirror of the one before holds: balance, debts, open slabs, orders that stand. So nothing is
  made, lost or charged twice, and the day costs the same in both modes.
* The engine runs here with all its tests (managed_engine.py); the concentrator carries out what is ordered, and refuses what its own
  tests forbid. A limit of the load is kept by a concentrator only: it needs the demand as it is at the moment, and its one automatic
  close must come though the link is gone. So an account is refused whose rules limit, now or by a version to come; one that is managed
  neither follows such a policy (policies.py) nor takes an order to limit (control.py). Nor is there a schedule at it (programs/), and
  nobody here asks a shared wallet for money.
* The regions come along both ways: nobody is warned or cut a second time by the change.

Source: seed 004 5.2.5 (remotely managed); seed 000 1.4, 17.5.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection

from gridtally_cloud.customers.accounts import held
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay import policies, shared_wallets
from gridtally_cloud.prepay.handover import pending_mode
from gridtally_cloud.prepay.handover_tables import CLOUD, EDGE, is_managed
from gridtally_cloud.prepay.managed_run import release
from gridtally_cloud.prepay.replaced import next_epoch
from gridtally_cloud.programs.follow import open_ones
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.signing import Signer

KINDS = {Managed.EDGE: EDGE, Managed.CLOUD: CLOUD}


class ManagedReason(StrEnum):
    SAME = "managed_already"
    NOT_PREPAID = "not_prepaid"
    LIMITS = "limits_at_zero"
    SCHEDULES = "schedules_open"
    WALLET = "shared_wallet"


def manage(conn: Connection, signer: Signer, account_no: int, by: Managed, at_ms: int, actor: str) -> int:
    """Let the MDM or the concentrator run an account; its new epoch. Raises RefusedCommand (managed_already, not_prepaid, limits_at_zero,
    schedules_open, shared_wallet, unknown_account)."""
    account = held(conn, account_no)
    _check(conn, account, by, at_ms)
    if by is Managed.EDGE:
        release(conn, signer, account, at_ms)
    epoch, again = next_epoch(conn, signer, account, KINDS[by], at_ms, actor)
    record(conn, at_ms, actor, "account.managed", f"account:{account_no}", f"by {by.name.lower()}, epoch {epoch}, {again} orders again")
    return epoch


def _check(conn: Connection, account: Account, by: Managed, at_ms: int) -> None:
    no = account.account_no
    if is_managed(conn, no) == (by is Managed.CLOUD):
        raise RefusedCommand(ManagedReason.SAME, f"account {no} is managed by the {by.name.lower()} already; nothing to change")
    if by is Managed.EDGE:
        return
    if not account.is_prepaid or pending_mode(conn, account) is not None:
        raise RefusedCommand(ManagedReason.NOT_PREPAID, f"account {no} is not prepaid, or on its way to regular billing: there is no "
                             "journal to keep")  # fmt: skip
    if open_ones(conn, no):
        raise RefusedCommand(ManagedReason.SCHEDULES, f"account {no} has schedules, which only its concentrator can keep: wait for their "
                             "end, or cancel them, first")  # fmt: skip
    if (wallet_no := shared_wallets.wallet_of(conn, no)) is not None:
        raise RefusedCommand(ManagedReason.WALLET, f"account {no} lives on wallet {wallet_no}, which only its concentrator asks for money: "
                             "leave the account local")  # fmt: skip
    policy_id = policies.followed(conn).get(no, "")
    if policies.limits_load(policies.rules_at(conn, account, at_ms)) or policies.will_limit(conn, policy_id, at_ms):
        raise RefusedCommand(ManagedReason.LIMITS, f"the rules of account {no} limit its load, which only its concentrator can do: let it "
                             "follow a policy without a limit, or leave the account local")  # fmt: skip
