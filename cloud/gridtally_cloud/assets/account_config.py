"""The part of a DCU's configuration that is about money: its prepaid accounts and the tariffs they need.

* Prepaid accounts travel, and those that were prepaid or are about to be: an edge charges nothing to a postpaid one.
* Of each tariff in use travel the version in force, the one before it (a late reading needs the price of its time) and
  all that are still to come.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import accounts_of_dcu
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay.charging import begun_before, charging_of
from gridtally_cloud.prepay.handover_tables import account_swap, managed_ones
from gridtally_cloud.prepay.left import left_standing
from gridtally_cloud.prepay.managed_tables import managed_supply
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.prepay.wallet import ledger_state
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.messages import AccountConfig, TariffDocument
from gridtally_shared.contract.prepay_messages import CarriedCharge
from gridtally_shared.tariff.carried import carried


def prepaid_accounts(conn: Connection, dcu: str) -> tuple[Account, ...]:
    """The accounts a DCU keeps a journal of; one that is managed from here is none (its meter is read, its orders come as commands)."""
    i, here = instrument.c, managed_ones(conn)
    rows = conn.execute(select(i.account_no, i.epoch).where(i.shard == SHARD, i.dcu == dcu).distinct())
    known = {(row.account_no, row.epoch) for row in rows}
    kept = (a for a in accounts_of_dcu(conn, dcu) if a.account_no not in here)
    return tuple(a for a in kept if a.is_prepaid or (a.account_no, a.account_epoch) in known)


def with_swaps(conn: Connection, configs: tuple[AccountConfig, ...]) -> tuple[AccountConfig, ...]:
    """The registers of the last swap behind each account; at a new concentrator also how far the open cycle was charged."""
    rows = {row.account_no: row for row in conn.execute(select(account_swap))} if configs else {}
    return tuple(_swapped(conn, config, rows.get(config.account_no)) for config in configs)


def _swapped(conn: Connection, config: AccountConfig, row: Any) -> AccountConfig:
    if row is None:
        return config
    swapped = replace(config, closing_wh=row.closing_wh, opening_wh=row.opening_wh, swapped_ms=row.swapped_ms)
    return replace(swapped, carried=_carried(conn, config), standing=_standing(conn, config)) if row.kind == "edge" else swapped


def _standing(conn: Connection, config: AccountConfig) -> str:
    """Where the supply was left by the epoch before, run from here or by another concentrator; nothing once the new one has begun."""
    if _has_begun(conn, config):
        return ""
    t, before = managed_supply.c, config.account_epoch - 1
    found = conn.execute(select(t.standing).where(t.account_no == config.account_no, t.epoch == before)).scalar_one_or_none()
    return found or left_standing(conn, load(conn, config.account_no, before).state, config.meter_no)


def _has_begun(conn: Connection, config: AccountConfig) -> bool:
    """With its register: money may come into the journal before the meter is read for the first time."""
    state = ledger_state(conn, config.account_no, config.account_epoch)
    return state is not None and state.opened_wh is not None


def _carried(conn: Connection, config: AccountConfig) -> tuple[CarriedCharge, ...]:
    """What the last epoch that began had charged of its open cycle; nothing once the new one has begun."""
    if _has_begun(conn, config):
        return ()
    before = replace(account_of(conn, config.account_no), account_epoch=begun_before(conn, config.account_no, config.account_epoch))
    found = charging_of(conn, before)
    return (carried(found.plan, found.running),) if found else ()


def account_config(account: Account) -> AccountConfig:
    p = account.policy
    return AccountConfig(
        account.account_no, account.account_epoch, account.meter_no, account.currency, account.zone, account.tariff_id,
        p.low_balance_nano, p.zero_action, p.offline_cut, p.offline_grace_h, p.protected_hours, p.holds, p.restore_min_nano,
        p.arm_only, account.label, account.pin_hash, account.language, p.notice_lead_s, mode=int(not account.is_prepaid),
    )  # fmt: skip


def tariff_documents(conn: Connection, names: set[str], at_ms: int) -> tuple[TariffDocument, ...]:
    return tuple(document for name in sorted(names) for document in _needed(versions_of(conn, name), at_ms))


def _needed(versions: tuple[TariffDocument, ...], at_ms: int) -> tuple[TariffDocument, ...]:
    begun = sum(version.from_ms <= at_ms for version in versions)
    return versions[max(0, begun - 2) :]
