"""The part of a DCU's configuration that is about money: its prepaid accounts and the tariffs they need.

* Only prepaid accounts travel: an edge holds no money of a postpaid one.
* Of each tariff in use travel the version in force, the one before it (a late reading needs the price of its time) and
  all that are still to come.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.customers.accounts import accounts_of_dcu
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_shared.contract.messages import AccountConfig, TariffDocument


def prepaid_accounts(conn: Connection, dcu: str) -> tuple[Account, ...]:
    return tuple(account for account in accounts_of_dcu(conn, dcu) if account.is_prepaid)


def account_config(account: Account) -> AccountConfig:
    p = account.policy
    return AccountConfig(
        account.account_no, account.account_epoch, account.meter_no, account.currency, account.zone, account.tariff_id,
        p.low_balance_nano, p.zero_action, p.offline_cut, p.offline_grace_h, p.protected_hours, p.holds, p.restore_min_nano,
        p.arm_only, account.label, account.pin_hash, account.language, p.notice_lead_s,
    )  # fmt: skip


def tariff_documents(conn: Connection, names: set[str], at_ms: int) -> tuple[TariffDocument, ...]:
    return tuple(document for name in sorted(names) for document in _needed(versions_of(conn, name), at_ms))


def _needed(versions: tuple[TariffDocument, ...], at_ms: int) -> tuple[TariffDocument, ...]:
    begun = sum(version.from_ms <= at_ms for version in versions)
    return versions[max(0, begun - 2) :]
