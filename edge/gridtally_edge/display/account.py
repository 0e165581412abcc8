"""What one consumer may see of money.db: read in one short read-only transaction, always for one account only."""

from __future__ import annotations

import json
import sqlite3

from gridtally_edge.display.rules import RulesNow, rules_now
from gridtally_edge.display.story import explained, standing
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.book import state_from
from gridtally_edge.prepay.estimate import energy_left_wh, prices_coming, prices_now
from gridtally_edge.prepay.forecast_rows import ForecastRow, left_of
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.plan import stored_plan
from gridtally_edge.prepay.price_changes import NEW_PRICES
from gridtally_edge.prepay.rows import AccountRow, JournalRow, MessageRow, SwitchRow, one, some
from gridtally_edge.prepay.told import newest_of
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import ContractError
from gridtally_shared.forecast.timeleft import TimeLeft, span_ms
from gridtally_shared.ledger.charges import charge_of, lines_of
from gridtally_shared.ledger.entries import OWN, Kind, LedgerEntry, Pool, entry_from
from gridtally_shared.messages.charge_words import together
from gridtally_shared.messages.explain import Explanation
from gridtally_shared.messages.order import ANSWERS
from gridtally_shared.prepay.in_force import in_force
from gridtally_shared.prepay.lasting import STALE_INTERVALS
from gridtally_shared.prepay.policy import AlertTo
from gridtally_shared.prepay.standing import standing_from
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of, starts_at
from gridtally_shared.tariff.lines import Line
from gridtally_shared.tariff.prices import Coming
from gridtally_shared.usage_days import DayTotal, daily_mean

MESSAGES_SHOWN = 8
SAVED_SHOWN = 20
MOST_A_DAY = 5_000
"""Entries of one account in one day, however often it is read."""
CHARGING = tuple(int(k) for k in (Kind.ENERGY, Kind.FIXED, Kind.CORRECTION))


@dataclass(frozen=True, slots=True)
class Message:
    """`is_sent`: it came by command, and its sender wants to know that it was read. `filed`: '' or 'saved'."""

    message_no: int
    at_ms: int
    code: str
    params: dict[str, str]
    text: str
    state: str = ""
    asks: bool = False
    is_sent: bool = False
    filed: str = ""

    @property
    def wants_a_word(self) -> bool:
        """Somebody waits to hear that it was seen."""
        return self.is_sent or self.code == NEW_PRICES

    @property
    def is_open(self) -> bool:
        """It may be kept or deleted: nothing more is asked."""
        return self.wants_a_word and (not self.asks or self.state in ANSWERS)


@dataclass(frozen=True, slots=True)
class TopUp:
    amount_nano: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class AccountView:
    """`as_of_ms`: the newest entry, or the newest reading the forecast was made from, since a reading without use writes no entry; the
    portal says the same (C3-S1.12). Prices include tax; None is not known. `time_left` is None where none can be told,
    `cost_today_nano` is what the journal charged since local midnight, `lines_today` what that is made of. `has_messages`: the
    policy has them shown here; `days` is what recent local days used, where readings.db is at hand (door.py)."""

    config: AccountConfig
    now_ms: int
    serial: str
    seq: int
    as_of_ms: int
    balance_nano: int
    debt_nano: int
    time_left: TimeLeft | None
    energy_left_wh: int | None
    price_per_kwh_nano: int | None
    price_per_day_nano: int
    prices_coming: tuple[Coming, ...]
    register_wh: int | None
    read_ms: int
    is_stale: bool
    supply: SwitchState
    off_reason: str
    off_since_ms: int
    cost_today_nano: int
    lines_today: tuple[Line, ...]
    now: RulesNow
    explanation: Explanation
    topup: TopUp | None
    messages: tuple[Message, ...]
    has_messages: bool = True
    days: tuple[DayTotal, ...] = ()

    @property
    def time_left_ms(self) -> int | None:
        """The likely span from `as_of_ms` on; None where it is not known or beyond the forecast."""
        return span_ms(self.time_left, self.as_of_ms)

    @property
    def today(self) -> int:
        """The local day of now; 0 where the zone is not known."""
        zone = zone_of(self.config.zone)
        return day_of(self.now_ms, zone) if zone is not None else 0

    @property
    def daily_wh(self) -> int | None:
        """What a day usually takes."""
        return daily_mean(self.days, self.today)



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
    meter, state = plan.meters.get(config.meter_no), state_from(row)
    price = prices_now(db, plan.priced.get(account_no), state, now_ms)
    is_stale = now_ms - switch.register_ms > STALE_INTERVALS * (meter.interval_s if meter else 900) * 1000
    policy = in_force(config, plan.rules.policies, now_ms).policy
    charged = _charged_today(db, row, config, now_ms)
    now = rules_now(db, config, policy, state, standing_from(row.standing, row.last_decision), now_ms)
    what_is = standing(config, policy, state, switch, now_ms)
    forecast, has_messages = one(db, ForecastRow, account_no, config.account_epoch), AlertTo.DISPLAY in policy.alerts
    return AccountView(
        config=config,
        now_ms=now_ms,
        serial=meter.serial if meter else "",
        seq=state.seq,
        as_of_ms=max(state.at_ms, forecast.as_of_ms if forecast is not None else 0),
        balance_nano=state.balance_nano,
        debt_nano=state.debt_nano,
        time_left=None if is_stale else left_of(forecast),
        energy_left_wh=energy_left_wh(state.balance_nano, price) if price else None,
        price_per_kwh_nano=price.kwh_nano if price else None,
        price_per_day_nano=price.day_nano if price else 0,
        prices_coming=prices_coming(db, plan.priced.get(account_no), state, now_ms),
        register_wh=state.register_wh,
        read_ms=switch.register_ms,
        is_stale=is_stale,
        supply=SwitchState(switch.state),
        off_reason=switch.off_reason,
        off_since_ms=switch.off_since_ms,
        cost_today_nano=-sum(p.amount_nano for e in charged for p in e.postings if p.pool in OWN),
        lines_today=together(line for e in charged for line in _lines(e)),
        now=now,
        explanation=explained(db, row, what_is),
        topup=_topup(db, row),
        messages=_messages(db, account_no, now_ms) if has_messages else (),
        has_messages=has_messages,
    )


def _charged_today(db: sqlite3.Connection, row: AccountRow, config: AccountConfig, now_ms: int) -> tuple[LedgerEntry, ...]:
    """The charges since local midnight."""
    zone = zone_of(config.zone)
    if zone is None:
        return ()
    clause = "WHERE account_no = ? AND epoch = ? AND seq > ? AND kind IN (?, ?, ?) AND at_ms > ? ORDER BY seq"
    since_ms = starts_at(day_of(now_ms, zone), zone)
    rows = some(db, JournalRow, clause, row.account_no, row.epoch, row.seq - MOST_A_DAY, *CHARGING, since_ms)
    return tuple(entry_from(r.body) for r in rows)


def _lines(entry: LedgerEntry) -> tuple[Line, ...]:
    """What a charge is made of; nothing for one that does not say."""
    try:
        record = charge_of(entry)
        return lines_of(record) if record is not None else ()
    except ContractError:
        return ()


def _topup(db: sqlite3.Connection, row: AccountRow) -> TopUp | None:
    newest = newest_of(db, row, Kind.CREDIT)
    if newest is None:
        return None
    amount = sum(p.amount_nano for p in entry_from(newest.body).postings if p.pool == Pool.PAID)
    return TopUp(amount, newest.at_ms)


def _messages(db: sqlite3.Connection, account_no: int, now_ms: int) -> tuple[Message, ...]:
    """The newest, and those the consumer keeps."""
    mine, newest = "WHERE account_no = ? AND filed", "ORDER BY at_ms DESC, message_no DESC LIMIT ?"
    others = some(db, MessageRow, f"{mine} = '' AND (until_ms = 0 OR until_ms >= ?) {newest}", account_no, now_ms, MESSAGES_SHOWN)
    saved = some(db, MessageRow, f"{mine} = 'saved' {newest}", account_no, SAVED_SHOWN)
    return tuple(_message(r) for r in sorted((*others, *saved), key=lambda r: (r.at_ms, r.message_no or 0), reverse=True))


def _message(r: MessageRow) -> Message:
    return Message(r.message_no or 0, r.at_ms, r.code, json.loads(r.params), r.text, r.state, bool(r.asks), bool(r.cmd_id), r.filed)
