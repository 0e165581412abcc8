"""The accepted configuration, indexed for the core: who is behind a meter, and which tariff prices what.

A tariff document this version does not understand leaves its accounts without a tariff: nothing is charged until a
readable version comes (then everything is, from the register), and nobody is cut meanwhile.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import AccountConfig, DcuConfig, MeterConfig
from gridtally_shared.errors import ContractError
from gridtally_shared.tariff.versions import TariffBook, tariff_book


@dataclass(frozen=True, slots=True)
class Plan:
    config: DcuConfig
    meters: dict[int, MeterConfig] = field(default_factory=dict)
    accounts: dict[int, AccountConfig] = field(default_factory=dict)
    by_meter: dict[int, AccountConfig] = field(default_factory=dict)
    tariffs: dict[str, TariffBook] = field(default_factory=dict)

    @property
    def cuts_allowed(self) -> int:
        """Local cuts within one hour before the breaker holds them."""
        return max(1, len(self.meters) * self.config.cut_share_per_hour_permille // 1000)

    @property
    def lease_length_ms(self) -> int:
        return max(0, self.config.cut_lease_until_ms - self.config.issued_at_ms)


def plan_of(config: DcuConfig) -> Plan:
    meters = {m.meter_no: m for m in config.meters}
    accounts = {a.account_no: a for a in config.accounts}
    tariffs = {tid: book for tid in sorted({a.tariff_id for a in config.accounts}) if (book := _readable(tid, config))}
    return Plan(config, meters, accounts, {a.meter_no: a for a in config.accounts}, tariffs)


def rules_of(config: DcuConfig) -> bytes:
    """What decides about cuts; a renewed lease or another meter is no change of it."""
    return encode(DcuConfig(0, "", 0, (), config.accounts, config.tariffs, config.cut_share_per_hour_permille))


def stored_plan(db: sqlite3.Connection) -> Plan:
    """The plan of the stored configuration; an empty one where none was accepted yet."""
    row = db.execute("SELECT body FROM config").fetchone()
    return plan_of(decode(DcuConfig, row[0]) if row else DcuConfig(0, "", 0))


def store_config(db: sqlite3.Connection, config: DcuConfig, now_ms: int) -> None:
    db.execute("INSERT OR REPLACE INTO config VALUES (1, ?, ?, ?)", (config.version, encode(config), now_ms))


def _readable(tariff_id: str, config: DcuConfig) -> TariffBook | None:
    try:
        return tariff_book(tariff_id, config.tariffs)
    except ContractError:
        return None
