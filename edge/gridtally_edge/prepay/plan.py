"""The accepted configuration, indexed for the core: who is behind a meter, and what prices an account.

A tariff none of whose versions is understood leaves its accounts without one: nothing is charged until a readable version
comes (then everything is, from the register), and nobody is cut meanwhile.
"""

from __future__ import annotations

import sqlite3
from dataclasses import field, replace

from gridtally_edge.prepay.charge_store import Pinned, Priced, pin, pinned, priced
from gridtally_edge.prepay.documents import Documents, documents_of, keep
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import AccountConfig, DcuConfig, MeterConfig, TariffDocument
from gridtally_shared.prepay.facts import most_cuts
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.taking import Refusal


@dataclass(frozen=True, slots=True)
class Plan:
    config: DcuConfig
    meters: dict[int, MeterConfig] = field(default_factory=dict)
    accounts: dict[int, AccountConfig] = field(default_factory=dict)
    by_meter: dict[int, AccountConfig] = field(default_factory=dict)
    tariffs: dict[str, tuple[TariffDocument, ...]] = field(default_factory=dict)
    priced: dict[int, Priced] = field(default_factory=dict)
    rules: Documents = field(default_factory=Documents)

    def without(self, numbers: frozenset[int]) -> Plan:
        """The plan of the other accounts; all meters stay."""
        if numbers.isdisjoint(self.accounts):
            return self
        accounts = {no: a for no, a in self.accounts.items() if no not in numbers}
        config = replace(self.config, accounts=tuple(a for a in self.config.accounts if a.account_no not in numbers))
        found = {no: price for no, price in self.priced.items() if no not in numbers}
        return replace(self, config=config, accounts=accounts, by_meter={a.meter_no: a for a in accounts.values()}, priced=found)

    @property
    def cuts_allowed(self) -> int:
        """Local cuts within one hour before the breaker holds them."""
        return self.most_cuts(len(self.meters))

    def most_cuts(self, meters: int) -> int:
        return most_cuts(meters, self.config.cut_share_per_hour_permille)

    def on_feeder(self, feeder: str) -> frozenset[int]:
        """The meters behind one feeder; none where it is not named."""
        return frozenset(a.meter_no for a in self.accounts.values() if a.feeder == feeder) if feeder else frozenset()

    @property
    def lease_length_ms(self) -> int:
        return max(0, self.config.cut_lease_until_ms - self.config.issued_at_ms)


def plan_of(config: DcuConfig, documents: Pinned, rules: Documents) -> Plan:
    """`documents`: the versions of each tariff; `rules`: policies and calendars.
    `tariffs` of the plan are those that price at least one account."""
    meters = {m.meter_no: m for m in config.meters}
    accounts = {a.account_no: a for a in config.accounts}
    found = {a.account_no: price for a in config.accounts if (price := priced(a, documents.get(a.tariff_id, ())))}
    tariffs = {accounts[number].tariff_id: documents[accounts[number].tariff_id] for number in found}
    return Plan(config, meters, accounts, {a.meter_no: a for a in config.accounts}, tariffs, found, rules)


def rules_of(config: DcuConfig) -> bytes:
    """What decides about cuts; a renewed lease or another meter is no change of it."""
    return encode(replace(config, version=0, issued_at_ms=0, meters=(), cut_lease_until_ms=0))


def stored_plan(db: sqlite3.Connection) -> Plan:
    """The plan of the stored configuration; an empty one where none was accepted yet."""
    config = _stored(db)
    return plan_of(config, pinned(db, config), documents_of(db, config))


def _stored(db: sqlite3.Connection) -> DcuConfig:
    row = db.execute("SELECT body FROM config").fetchone()
    return decode(DcuConfig, row[0]) if row else DcuConfig(0, "", 0)


def store_config(db: sqlite3.Connection, config: DcuConfig, now_ms: int, believed: bool) -> tuple[Plan, tuple[Refusal, ...]]:
    """Keep a configuration with its tariffs, policies and calendars; the plan of now, and the versions of tariffs that were refused."""
    before = _stored(db)
    refused = pin(db, before, config, now_ms, believed)
    keep(db, before, config)
    db.execute("INSERT OR REPLACE INTO config VALUES (1, ?, ?, ?)", (config.version, encode(config), now_ms))
    return stored_plan(db), refused
