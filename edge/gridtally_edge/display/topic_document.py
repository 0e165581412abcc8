"""The document of the local topic: everything the balance page shows, for a display device. Pure; described in docs/display.md.

* Codes and figures for a device with words of its own; `shown` has the page's own lines in each language for one without.
* Money is exact decimal text in `currency`; energy and loads carry their unit in the name; moments are UTC, ISO 8601.
* null is "not known": a device shows nothing then, and never zero.

Source: prepayment.md 6.2, 6.3, 6.4; C3-S1.13, C3-FR1, C3-FR3, C3-N4.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

from gridtally_edge.display.account import AccountView, Message
from gridtally_edge.display.facts import as_of, charges_today, days_used, facts, lasts
from gridtally_edge.display.page import STATES
from gridtally_edge.display.texts import LANGUAGES, Words
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.forecast.timeleft import TimeLeft, span_ms
from gridtally_shared.messages.explain import Sentence
from gridtally_shared.messages.telling import told
from gridtally_shared.money import decimal_text

FORMAT = 1
MS_PER_MINUTE = 60_000


def document_of(view: AccountView) -> bytes:
    return json.dumps(_document(view), ensure_ascii=False, separators=(",", ":")).encode()


def _document(view: AccountView) -> dict[str, Any]:
    config = view.config
    return {
        "format": FORMAT, "account": config.account_no, "label": config.label, "meter": view.serial, "language": config.language,
        "currency": config.currency, "as_of": _moment(view.as_of_ms), "entry": view.seq,
        "read_at": _moment(view.read_ms), "is_stale": view.is_stale, "register_kwh": _kwh(view.register_wh),
        "balance": decimal_text(view.balance_nano), "energy_left_kwh": _kwh(view.energy_left_wh),
        "time_left": _time_left(view.time_left, view.as_of_ms), "usual_day_kwh": _kwh(view.daily_wh),
        "days": [{"day": date.fromordinal(d.day).isoformat(), "kwh": _kwh(d.wh), "is_whole": d.is_whole} for d in view.days],
        "price_per_kwh": _money(view.price_per_kwh_nano), "price_per_day": decimal_text(view.price_per_day_nano),
        "prices_coming": [{"from": _moment(c.from_ms), "price_per_kwh": _money(c.kwh_nano)} for c in view.prices_coming],
        "cost_today": decimal_text(view.cost_today_nano), **_rules(view), "topup": _topup(view), "supply": _supply(view),
        "messages": [_message(view, m) for m in view.messages], "shown": {code: _shown(view, code) for code in LANGUAGES},
    }  # fmt: skip


def _rules(view: AccountView) -> dict[str, Any]:
    now = view.now
    debt, emergency = now.debt, now.emergency
    return {
        "debt": {"owed": decimal_text(debt.owed_nano), "rate": decimal_text(debt.rate_nano), "period": debt.period,
                 "percent_of_topups": decimal_text(debt.percent_ppm * 100_000)},
        "emergency_credit": {"state": emergency.state, "left": decimal_text(emergency.left_nano),
                             "used": decimal_text(emergency.used_nano)},
        "limit_w": now.limit_w, "protected_until": _moment(now.protected_until_ms or 0),
        "event_credit": _money(now.event_credit_nano),
        "schedules": [
            {"programme": s.programme, "action": s.action, "start": _moment(s.start_ms), "end": _moment(s.end_ms), "running": s.is_running}
            for s in now.schedules
        ],
    }  # fmt: skip


def _time_left(left: TimeLeft | None, as_of_ms: int) -> dict[str, Any] | None:
    """The span of the likely forecast from `as_of` on, and until when it lasts with caution; `more_than_days` beyond what can be told."""
    if left is None:
        return None
    until = {"until": _moment(left.central_ms or 0), "cautious_until": _moment(left.cautious_ms or 0), "is_estimate": True}
    if left.central_ms is None:
        return {"more_than_days": 28, **until}
    days, rest = divmod(span_ms(left, as_of_ms) or 0, MS_PER_DAY)
    hours, rest = divmod(rest, MS_PER_HOUR)
    return {"days": days, "hours": hours, "minutes": rest // MS_PER_MINUTE, **until}


def _topup(view: AccountView) -> dict[str, str | None] | None:
    return {"amount": decimal_text(view.topup.amount_nano), "at": _moment(view.topup.at_ms)} if view.topup else None


def _supply(view: AccountView) -> dict[str, Any]:
    why = view.explanation
    return {
        "state": STATES[view.supply][0], "off_since": _moment(view.off_since_ms), "headline": _code(why.headline),
        "because": [_code(s) for s in why.because], "remedy": [_code(s) for s in why.remedy],
    }  # fmt: skip


def _code(sentence: Sentence) -> dict[str, Any]:
    return {"code": sentence.code, "params": dict(sentence.params)}


def _message(view: AccountView, message: Message) -> dict[str, Any]:
    words = {code: _words(view, code).message(message.code, message.params, message.text) for code in LANGUAGES}
    return {
        "number": message.message_no, "at": _moment(message.at_ms), "code": message.code, "params": message.params,
        "state": message.state or "delivered", "filed": message.filed, "asks": message.asks, "words": words,
    }  # fmt: skip


def _shown(view: AccountView, language: str) -> dict[str, Any]:
    """The page's lines, from the top."""
    words = _words(view, language)
    return {
        "balance": words.money(view.balance_nano), "lasts": lasts(words, view), "supply": words.label(STATES[view.supply][0]),
        "why": told(view.explanation, words).text, "facts": [list(fact) for fact in facts(words, view)], "as_of": as_of(words, view),
        "days": [[day.name, day.kwh] for day in days_used(words, view)],
        "charges_today": [[line.what, line.how, words.money(line.amount_nano)] for line in charges_today(words, view)],
    }  # fmt: skip


def _words(view: AccountView, language: str) -> Words:
    return Words(language, view.config.currency, zone_of(view.config.zone))


def _moment(at_ms: int) -> str | None:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at_ms else None


def _money(amount_nano: int | None) -> str | None:
    return None if amount_nano is None else decimal_text(amount_nano)


def _kwh(wh: int | None) -> str | None:
    """Exact: thousandths of a kWh."""
    return None if wh is None else decimal_text(wh * 1_000_000)
