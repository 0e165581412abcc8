"""What the configuration publisher puts into `DcuConfig` about money: prepaid accounts and their tariffs.

Only prepaid accounts travel: an edge holds no money of a postpaid one. All versions of a tariff in use travel that are in
force or still to come, and the one before, so that a late reading finds the price of its time.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.customers.accounts import accounts_of_dcu
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_shared.contract.messages import AccountConfig, TariffDocument


def account_configs(conn: Connection, dcu: str) -> tuple[AccountConfig, ...]:
    """The prepaid accounts of a DCU, by number."""
    return tuple(account_config(a) for a in accounts_of_dcu(conn, dcu) if a.is_prepaid)


def account_config(account: Account) -> AccountConfig:
    p = account.policy
    return AccountConfig(
        account.account_no, account.account_epoch, account.meter_no, account.currency, account.zone, account.tariff_id,
        p.low_balance_nano, p.zero_action, p.offline_cut, p.offline_grace_h, p.protected_hours, p.holds, p.restore_min_nano,
        p.arm_only, account.label, account.pin_hash, account.language, p.notice_lead_s,
    )  # fmt: skip


def meter_accounts(conn: Connection, dcu: str) -> dict[int, int]:
    """Account number by meter number, for `MeterConfig.account_no`; prepaid accounts only."""
    return {a.meter_no: a.account_no for a in accounts_of_dcu(conn, dcu) if a.is_prepaid}


def tariff_documents(conn: Connection, dcu: str, at_ms: int) -> tuple[TariffDocument, ...]:
    """The tariff versions the prepaid accounts of a DCU need at `at_ms` and later."""
    names = sorted({a.tariff_id for a in accounts_of_dcu(conn, dcu) if a.is_prepaid})
    return tuple(document for name in names for document in _needed(versions_of(conn, name), at_ms))


def _needed(versions: tuple[TariffDocument, ...], at_ms: int) -> tuple[TariffDocument, ...]:
    begun = sum(1 for v in versions if v.from_ms <= at_ms)
    return versions[max(0, begun - 2):]
