"""What a meter's own display is told of its account: the same figures as page and portal, made from money.db when they are written.

* Objects of their own have the balance, its moment and the last top-up. The line of text has what no object is for: kWh left, time
  left in days, hours and minutes, and what a day usually takes; "--" is not known. It has no words, so every household reads it.
* In front of the figures stands the newest message, where the policy sends alerts to the meter: until it was read, for a day at most,
  in the household's language as far as a meter has its letters.

Source: prepayment.md 2.1, 6.3, 6.4; C3-FR1, C3-IE7.
"""

from __future__ import annotations

import json
import sqlite3

from gridtally_edge.drivers.model import Face, Recharge
from gridtally_edge.prepay.book import state_from
from gridtally_edge.prepay.estimate import energy_left_wh, prices_now
from gridtally_edge.prepay.events import ShowOnMeter
from gridtally_edge.prepay.forecast_rows import kept
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.plan import Plan
from gridtally_edge.prepay.rows import AccountRow, MessageRow, SwitchRow, one, some
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.forecast.timeleft import HORIZON_HOURS, TimeLeft
from gridtally_shared.messages.catalogue import FALLBACK
from gridtally_shared.messages.sms import ascii_text
from gridtally_shared.messages.words import Words, whole_span
from gridtally_shared.prepay.in_force import in_force
from gridtally_shared.prepay.lasting import STALE_INTERVALS
from gridtally_shared.prepay.policy import AlertTo

ALERT_FOR_MS = MS_PER_DAY
MOST_LETTERS = 160
APART = " | "
UNKNOWN = "--"


def face_of(db: sqlite3.Connection, plan: Plan, show: ShowOnMeter, daily_wh: int | None) -> Face:
    """The face of a meter whose account is served here; `daily_wh` is what a day usually takes."""
    account = plan.by_meter.get(show.meter_no)
    if account is None:
        return Face(show.amount_nano, show.at_ms)
    figures = APART.join((_energy(db, plan, account, show), _left(db, plan, account, show), f"{_kwh(daily_wh)}/d"))
    alert = _alert(db, plan, account, show.at_ms)[: MOST_LETTERS - len(figures) - len(APART)]
    text = APART.join((alert, figures)) if alert else figures
    return Face(show.amount_nano, show.at_ms, text, _recharge(db, account))


def _energy(db: sqlite3.Connection, plan: Plan, account: AccountConfig, show: ShowOnMeter) -> str:
    row = one(db, AccountRow, account.account_no, account.account_epoch)
    price = prices_now(db, plan.priced.get(account.account_no), state_from(row), show.at_ms) if row else None
    left_wh = energy_left_wh(show.amount_nano, price) if price else None
    return _kwh(None) if left_wh is None else f"{left_wh // 100 / 10:.1f} kWh"


def _left(db: sqlite3.Connection, plan: Plan, account: AccountConfig, show: ShowOnMeter) -> str:
    """From now on, as the moment beside it says; no number where readings are older than two intervals."""
    left, switch, meter = kept(db, account.account_no, account.account_epoch), one(db, SwitchRow, show.meter_no), plan.meters[show.meter_no]
    is_stale = switch is None or show.at_ms - switch.register_ms > STALE_INTERVALS * meter.interval_s * 1_000
    return UNKNOWN if left is None or is_stale else _span(left, show.at_ms)


def _span(left: TimeLeft, now_ms: int) -> str:
    if left.central_ms is None:
        return f">{HORIZON_HOURS // 24} d"
    return whole_span(left.central_ms - now_ms)


def _kwh(wh: int | None) -> str:
    return UNKNOWN + " kWh" if wh is None else ascii_text(Words(FALLBACK).kwh(wh))


def _alert(db: sqlite3.Connection, plan: Plan, account: AccountConfig, now_ms: int) -> str:
    """The newest message nobody has read yet."""
    if AlertTo.METER not in in_force(account, plan.rules.policies, now_ms).policy.alerts:
        return ""
    clause = "WHERE account_no = ? AND at_ms > ? AND (until_ms = 0 OR until_ms >= ?) ORDER BY at_ms DESC, message_no DESC LIMIT 1"
    newest = some(db, MessageRow, clause, account.account_no, now_ms - ALERT_FOR_MS, now_ms)
    if not newest or newest[0].state not in ("", "displayed") or newest[0].filed:
        return ""
    found, zone = newest[0], zone_of(account.zone)
    own, other = (Words(language, account.currency, zone) for language in (account.language or FALLBACK, FALLBACK))
    params = json.loads(found.params)
    return ascii_text(own.message(found.code, params, found.text), other.message(found.code, params, found.text))


def _recharge(db: sqlite3.Connection, account: AccountConfig) -> Recharge | None:
    """The last top-up as the household was told of it, with the balance after it."""
    clause = "WHERE account_no = ? AND code = 'CREDIT' ORDER BY at_ms DESC, message_no DESC LIMIT 1"
    for row in some(db, MessageRow, clause, account.account_no):
        params = json.loads(row.params)
        return Recharge(int(params["a"]), row.at_ms, int(params["b"]))
    return None
