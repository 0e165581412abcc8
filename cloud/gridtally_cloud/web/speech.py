"""What templates may say: sentences, money, energy and time in the visitor's language and the page's zone."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask
from markupsafe import Markup
from sqlalchemy import Connection

from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.model import BalanceView, Notice
from gridtally_cloud.prepay.notices import switch_code
from gridtally_cloud.store.days import date_of
from gridtally_cloud.web import access
from gridtally_cloud.web.devices import device
from gridtally_cloud.web.i18n import RULES, Language, catalogue, places
from gridtally_cloud.web.reads import evidence
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import visitor, words
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.messages.telling import Told, told
from gridtally_shared.messages.words import Words
from gridtally_shared.money import SYMBOLS, nano

SAME_RESULT = {
    "switch_stuck": "stuck", "cancelled": "withdrawn", "overtaken": "superseded", "no_receipt": "no_answer", "unanswered": "no_answer",
    "expired": "no_answer",
}  # fmt: skip
"""Ends of an order of ours that say of the switch what a concentrator's own result says."""


def may(endpoint: str) -> bool:
    """Whether the visitor may call an endpoint: for links that would lead to a refusal."""
    found = visitor().user
    return access.allowed(endpoint, found.role if found else None)


def notice_text(notice: Notice, currency: str) -> str:
    """A message of the edge in the reader's words; its parameters are money (a, b, in nano) and spans (t, in ms)."""
    say = words()
    key = f"{notice.kind}.{notice.code.lower()}"
    if key not in catalogue(say.code):
        return Words(say.code, currency, say.zone).say("notices", notice.code, dict(notice.params))
    fields = {name: _param(say, name, value, currency) for name, value in notice.params}
    wanted = places(catalogue(say.code)[key])
    return say.t(key, **{name: fields.get(name, "") for name in wanted})


def switch_text(evidence: SwitchEvidence) -> str:
    """What a switch action did, or that it failed and why."""
    say = words()
    return say.t(f"switch.{switch_code(evidence)}", result=_switch_result(say, evidence.result))


def _switch_result(say: Language, result: str) -> str:
    """Why an action failed, as the end of a sentence. One of another version is told as such."""
    return say.name_of("switch_failed", SAME_RESULT.get(result, result), say.t("switch_failed.not_done"))


def account_words(account: Account) -> Words:
    """The words of the messages that edge and cloud share, in the reader's language."""
    return Words(words().code, account.currency, ZoneInfo(account.zone))


def why_told(conn: Connection, account: Account, view: BalanceView) -> Told:
    """Why the account's supply is as it is, in the words of the display."""
    return told(evidence.explanation(conn, account, view, site().now_ms), account_words(account))


def _param(say: Language, name: str, value: str, currency: str) -> str:
    if name == "result":
        return _switch_result(say, value)
    if name == "why":
        return say.name_of("pay_reason", value, value)
    if name == "gseq":
        return value
    if not value.lstrip("-").isdigit() or len(value) > 19:
        return value
    return say.duration(int(value)) if name == "t" else say.money(int(value), currency)


def _context() -> dict[str, Any]:
    say, now_ms = words(), site().now_ms
    factor = site().clock.factor()
    return {
        "t": say.t, "name_of": say.name_of, "money": say.money, "price": say.price, "kwh": say.kwh, "number": say.number, "day": say.day,
        "time": say.time, "when": say.when, "duration": say.duration, "ago": lambda at_ms: say.ago(at_ms, now_ms),
        "whole_span": say.whole_span, "day_of": lambda no: say.day_of(date_of(no)),
        "language": say.code, "languages": tuple((r.code, r.name) for r in RULES.values()), "user": visitor().user, "may": may,
        "now_ms": now_ms, "clock_factor": round(factor), "nano": nano, "notice_text": notice_text, "switch_text": switch_text,
        "device": device, "symbols": SYMBOLS,
    }  # fmt: skip


def give_templates_words(app: Flask, version: str, style_version: str) -> None:
    """Register the words, and the one filter that lets a chart's markup through (charts.py escapes every text in it)."""
    app.context_processor(_context)
    app.jinja_env.globals.update(version=version, style_version=style_version)
    app.jinja_env.filters["safe_chart"] = Markup
