"""What one consumer may see of money.db: read in one short read-only transaction, always for one account only."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.book import state_from
from gridtally_edge.prepay.estimate import energy_left_wh, time_left_ms
from gridtally_edge.prepay.plan import stored_plan
from gridtally_edge.prepay.rows import AccountRow, JournalRow, MessageRow, SwitchRow, one, some
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.ledger.entries import Kind, Pool, entry_from
from gridtally_shared.ledger.evidence import DecisionEvidence, evidence_of
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.tariff.charge import energy_charge, fixed_charge
from gridtally_shared.tariff.model import Tariff

MESSAGES_SHOWN = 8
STALE_INTERVALS = 2


@dataclass(frozen=True, slots=True)
class Message:
    at_ms: int
    code: str
    params: dict[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class TopUp:
    amount_nano: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class AccountView:
    """Prices include tax; None is not known. `why` is the newest decision while it still stands."""

    config: AccountConfig
    serial: str
    seq: int
    as_of_ms: int
    balance_nano: int
    debt_nano: int
    time_left_ms: int | None
    energy_left_wh: int | None
    price_per_kwh_nano: int | None
    price_per_day_nano: int
    register_wh: int | None
    read_ms: int
    is_stale: bool
    supply: SwitchState
    off_reason: str
    off_since_ms: int
    why: DecisionEvidence | None
    topup: TopUp | None
    messages: tuple[Message, ...]

    @property
    def to_pay_nano(self) -> int:
        """What brings the supply back."""
        return max(1, self.config.restore_min_nano) - self.balance_nano


def find_account(db: sqlite3.Connection, account_no: int) -> AccountConfig | None:
    return stored_plan(db).accounts.get(account_no)


def view_account(db: sqlite3.Connection, account_no: int, now_ms: int) -> AccountView | None:
    """The account's view now, None when it is not configured here."""
    plan = stored_plan(db)
    config = plan.accounts.get(account_no)
    if config is None:
        return None
    row = one(db, AccountRow, account_no, config.account_epoch) or AccountRow(account_no, config.account_epoch)
    switch = one(db, SwitchRow, config.meter_no) or SwitchRow(config.meter_no)
    meter, tariffs, state = plan.meters.get(config.meter_no), plan.tariffs.get(config.tariff_id), state_from(row)
    tariff = tariffs.at(now_ms) if tariffs else None
    is_stale = now_ms - switch.register_ms > STALE_INTERVALS * (meter.interval_s if meter else 900) * 1000
    return AccountView(
        config=config,
        serial=meter.serial if meter else "",
        seq=state.seq,
        as_of_ms=max(row.as_of_ms, switch.register_ms),
        balance_nano=state.balance_nano,
        debt_nano=state.debt_nano,
        time_left_ms=None if is_stale else _time_left_ms(db, row, state, tariff),
        energy_left_wh=energy_left_wh(state.balance_nano, tariff) if tariff else None,
        price_per_kwh_nano=energy_charge(tariff, 0, 1000).total_nano if tariff else None,
        price_per_day_nano=fixed_charge(tariff, 0, 1).total_nano if tariff else 0,
        register_wh=state.register_wh,
        read_ms=switch.register_ms,
        is_stale=is_stale,
        supply=SwitchState(switch.state),
        off_reason=switch.off_reason,
        off_since_ms=switch.off_since_ms,
        why=_why(db, row),
        topup=_topup(db, row),
        messages=_messages(db, account_no, now_ms),
    )


def _time_left_ms(db: sqlite3.Connection, row: AccountRow, state: LedgerState, tariff: Tariff | None) -> int | None:
    if tariff is None or state.register_wh is None:
        return None
    clause = "WHERE account_no = ? AND epoch = ? AND register_wh IS NOT NULL"
    key = (row.account_no, row.epoch)
    day_before = state.register_at_ms - MS_PER_DAY
    since = some(db, JournalRow, f"{clause} AND at_ms <= ? ORDER BY seq DESC LIMIT 1", *key, day_before)
    first = since or some(db, JournalRow, f"{clause} ORDER BY seq LIMIT 1", *key)
    if not first or first[0].register_wh is None:
        return None
    used_wh, over_ms = state.register_wh - first[0].register_wh, state.register_at_ms - first[0].at_ms
    return time_left_ms(state.balance_nano, tariff, used_wh, over_ms)


def _why(db: sqlite3.Connection, row: AccountRow) -> DecisionEvidence | None:
    if not row.last_decision:
        return None
    newest = _newest(db, row, Kind.DECISION)
    evidence = evidence_of(entry_from(newest.body)) if newest else None
    return evidence if isinstance(evidence, DecisionEvidence) else None


def _topup(db: sqlite3.Connection, row: AccountRow) -> TopUp | None:
    newest = _newest(db, row, Kind.CREDIT)
    if newest is None:
        return None
    amount = sum(p.amount_nano for p in entry_from(newest.body).postings if p.pool == Pool.PAID)
    return TopUp(amount, newest.at_ms)


def _newest(db: sqlite3.Connection, row: AccountRow, kind: Kind) -> JournalRow | None:
    clause = "WHERE account_no = ? AND epoch = ? AND kind = ? ORDER BY seq DESC LIMIT 1"
    rows = some(db, JournalRow, clause, row.account_no, row.epoch, int(kind))
    return rows[0] if rows else None


def _messages(db: sqlite3.Connection, account_no: int, now_ms: int) -> tuple[Message, ...]:
    clause = "WHERE account_no = ? AND (until_ms = 0 OR until_ms >= ?) ORDER BY at_ms DESC, message_no DESC LIMIT ?"
    rows = some(db, MessageRow, clause, account_no, now_ms, MESSAGES_SHOWN)
    return tuple(Message(r.at_ms, r.code, json.loads(r.params), r.text) for r in rows)
