"""Policy documents: JSON that says rules, read into a `Policy`. The one declaration of what a document may hold.

* `schema()` is the same declaration as JSON Schema; the file `policy.schema.json` beside this module is made from it.
* A document that is not understood whole is refused whole: ConfigError with the path, what stands there, and what to write.
* Money and percentages are text ("250.00", "50"), times of day "HH:MM". Fields and their meaning: `docs/policy.md`.

Source: prepayment.md 3.6.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from gridtally_shared.errors import ConfigError
from gridtally_shared.prepay.checks import checked
from gridtally_shared.prepay.policy import (
    AlertTo,
    Close,
    Collect,
    DebtKind,
    DebtRule,
    Emergency,
    FlagRule,
    Limit,
    LimitStep,
    Low,
    NoSwitch,
    Notice,
    OfflineCut,
    Overdraft,
    Partial,
    Period,
    Policy,
    Protected,
    Reclose,
    Restore,
    Span,
    TopUp,
    Weather,
    Weekly,
    ZeroAction,
)  # fmt: skip
from gridtally_shared.tariff.currencies import CURRENCIES
from gridtally_shared.tariff.forms import (
    CODE,
    DAY,
    FLAG,
    MINUTE,
    MONTH_DAY,
    NAME,
    Field,
    Form,
    Json,
    choice,
    decimal,
    listed,
    number,
    parsed,
    refuse,
    shaped,
    words,
)  # fmt: skip

SCHEMA_ID = "https://gridtally.org/schemas/policy-1.json"
WEEKDAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}
MONEY, PERCENT = decimal(9, "250.00"), decimal(4, "50")
LANGUAGE = words("^[a-z]{2}$", 'write a language code of two letters, such as "en"')
SOURCE = words(r"^[^\x00-\x1f]{1,400}$", "name the order or rule the document follows, in at most 400 characters")
HOURS, DAYS, SECONDS, WATTS = number(0, 8_760), number(0, 3_660), number(0, 2_678_400), number(1, 10_000_000)


def _words(kind: Any) -> dict[str, Any]:
    return {member.value: member for member in kind}


def _read_currency(value: Any, path: str) -> str:
    if not isinstance(value, str) or value not in CURRENCIES:
        raise refuse(path, value, 'write the ISO 4217 code of a currency, such as "INR"')
    return value


CURRENCY = Form(_read_currency, {"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217"})
ACTION = choice(_words(ZeroAction))
ALERT_TO = choice(_words(AlertTo))
SPAN = shaped(Span, [Field("from", MINUTE), Field("to", MINUTE)])


def _low(money: tuple[int, ...], percent_of_last: tuple[int, ...], hours: tuple[int, ...]) -> Low:
    return Low(money, percent_of_last, hours)


def _emergency(limit: int, threshold: int, **rest: Any) -> Emergency:
    return Emergency(limit, threshold, **rest)


def _overdraft(money: int | None, **rest: Any) -> Overdraft:
    return Overdraft(money, **rest)


def _restore(min_balance: int, **rest: Any) -> Restore:
    return Restore(min_balance, **rest)


def _debt(kind: DebtKind, rate: int, percent: int, cap_per_period: int | None, **rest: Any) -> DebtRule:
    return DebtRule(kind, rate_nano=rate, percent_ppm=percent, cap_nano=cap_per_period, **rest)


def _top_up(min: int, max: int | None, multiple: int, max_balance: int | None) -> TopUp:
    return TopUp(min, max, multiple, max_balance)


def _step(code: str, watts: int | None, percent: int | None) -> LimitStep:
    return LimitStep(code, watts, percent)


LOW = shaped(_low, [
    Field("money", listed(MONEY), (), "balances at which the consumer is warned"),
    Field("percent_of_last", listed(PERCENT), (), "shares of the last top-up at which the consumer is warned"),
    Field("hours", listed(HOURS), (), "estimated hours left at which the consumer is warned"),
])  # fmt: skip
NOTICE = shaped(Notice, [
    Field("min_count", number(0, 10), 1, "notices before a step down"), Field("lead_s", SECONDS, 0, "seconds between the first and it"),
    Field("cadence_s", SECONDS, 0, "how often the low message is repeated; 0 once"),
])  # fmt: skip
EMERGENCY = shaped(_emergency, [
    Field("limit", MONEY), Field("threshold", MONEY, 0, "the balance from which it is offered"),
    Field("auto", FLAG, False, "taken at zero without being asked for"), Field("max_days", number(1, 365), None),
    Field("uses_per_topup", number(1, 10), 1), Field("step", number(0, 9), 0, "limit step while it is in use; 0 none"),
])  # fmt: skip
OVERDRAFT = shaped(_overdraft, [
    Field("money", MONEY, None, "how far below zero"), Field("days", number(1, 365), None, "how long below zero"),
    Field("load_classes", listed(CODE), ()), Field("up_to_w", WATTS, None, "only contracts of at most that many watts"),
])  # fmt: skip
PROTECTED = shaped(Protected, [
    Field("daily", listed(SPAN), (), "hours of each day without a step down"),
    Field("weekly", listed(shaped(Weekly, [Field("days", listed(choice(WEEKDAYS), 1)), Field("nth", number(0, 5), 0)])), (),
          "whole weekdays, or the nth of a month"),
    Field("dates", listed(DAY), ()), Field("yearly", listed(MONTH_DAY), ()),
    Field("holidays", FLAG, False, "the holidays of the account's calendar"),
    Field("window", SPAN, None, "steps down only within these minutes"),
    Field("weather", shaped(Weather, [Field("max_age_h", number(1, 240)), Field("cap_days", number(1, 60))]), None,
          "without word from the cloud for so long the weather counts as dangerous, at most for so many days"),
    Field("flags", listed(shaped(FlagRule, [Field("flag", CODE), Field("from", MONTH_DAY, None), Field("to", MONTH_DAY, None)])), ()),
])  # fmt: skip
RESTORE = shaped(_restore, [
    Field("min_balance", MONEY, 1), Field("clear_negative", FLAG, True),
    Field("partial", listed(shaped(lambda ratio_percent, days: Partial(ratio_percent, days),
                                   [Field("ratio_percent", PERCENT), Field("days", number(1, 60))])), (),
          "shares of what was owed that buy days of supply"),
    Field("once", FLAG, True), Field("close", choice(_words(Close)), Close.CLOSE), Field("spread_s", SECONDS, 0),
])  # fmt: skip
COLLECT = shaped(Collect, [Field("cut", FLAG, True), Field("limited", FLAG, True), Field("emergency", FLAG, True)])
DEBT = shaped(_debt, [
    Field("kind", choice(_words(DebtKind))), Field("period", choice(_words(Period)), Period.MONTH), Field("rate", MONEY, 0),
    Field("percent", PERCENT, 0), Field("cap_per_period", MONEY, None), Field("collect", COLLECT, Collect()),
])  # fmt: skip
TOP_UP = shaped(_top_up, [
    Field("min", MONEY, 0), Field("max", MONEY, None), Field("multiple", MONEY, 0), Field("max_balance", MONEY, None),
])  # fmt: skip
LIMIT = shaped(Limit, [
    Field("steps", listed(shaped(_step, [Field("code", CODE), Field("watts", WATTS, None), Field("percent", PERCENT, None)])), ()),
    Field("at_zero", number(0, 9), 0, "the step of the action \"limit\", counted from 1"),
    Field("cut_after_h", HOURS, None, "a limit is followed by a cut after so many hours"), Field("guard_s", number(10, 3_600), 60),
])  # fmt: skip
RECLOSE = shaped(Reclose, [
    Field("delay_s", number(30, 3_600), 120), Field("count", number(0, 10), 1), Field("reset_after_s", number(60, 86_400), 3_600),
])  # fmt: skip


def _offline(cut: OfflineCut, grace_h: int, lease_days: int | None) -> tuple[OfflineCut, int, int | None]:
    return cut, grace_h, lease_days


def _switchless(action: NoSwitch, after_days: int) -> tuple[NoSwitch, int]:
    return action, after_days


OFFLINE = shaped(_offline, [
    Field("cut", choice(_words(OfflineCut))), Field("grace_h", HOURS, 0), Field("lease_days", number(1, 90), None),
])  # fmt: skip
SWITCHLESS = shaped(_switchless, [Field("action", choice(_words(NoSwitch))), Field("after_days", DAYS, 0)])


def _policy(kind: str, zero_balance: int, offline: Any, no_switch: Any, **rest: Any) -> Policy:
    cut, grace_h, lease_days = offline
    action, days = no_switch
    return Policy(zero_nano=zero_balance, offline_cut=cut, offline_grace_h=grace_h, lease_days=lease_days,
                  no_switch=action, no_switch_days=days, **rest)  # fmt: skip


POLICY = shaped(_policy, [
    Field("kind", choice({"policy": "policy"})), Field("code", CODE), Field("name", NAME, ""), Field("currency", CURRENCY),
    Field("source", SOURCE, "", "the order the rules are taken from"),
    Field("sample", FLAG, False, "true: not checked against the original order; not for live accounts without that"),
    Field("zero_action", ACTION, ZeroAction.NONE), Field("zero_balance", MONEY, 0, "the balance that counts as zero"),
    Field("then", ACTION, ZeroAction.NONE, "what follows a request (postpaid, replenish) whose allowance has ended"),
    Field("offline", OFFLINE, (OfflineCut.NEVER, 0, None)), Field("cut_spread_s", SECONDS, 0),
    Field("low", LOW, Low()), Field("notice", NOTICE, Notice()), Field("emergency", EMERGENCY, Emergency()),
    Field("overdraft", listed(OVERDRAFT), (), "below zero: the first rule that fits the account"),
    Field("protected", PROTECTED, Protected()), Field("restore", RESTORE, Restore()),
    Field("debts", listed(DEBT), ()), Field("debt_may_cut", FLAG, False),
    Field("fixed", COLLECT, Collect(), "when fixed charges are taken from the balance; otherwise they wait as a debt"),
    Field("topup", TOP_UP, TopUp()), Field("limit", LIMIT, Limit()),
    Field("reclose", RECLOSE, Reclose()), Field("convert_grace_days", number(0, 365), 0),
    Field("dormant_days", DAYS, None, "days off without a payment after which somebody at the utility is to look; none never"),
    Field("show_at", MINUTE, None, "local time at which the meter's own display is written each day; none: each hour it is read"),
    Field("alerts", listed(ALERT_TO), (AlertTo.METER, AlertTo.DISPLAY), "where alerts and messages are shown on the spot; none: not here"),
    Field("stale_read_intervals", number(1, 96), 2), Field("no_switch", SWITCHLESS, (NoSwitch.NOTIFY, 0)),
    Field("keypad", FLAG, True, "credit may be typed at the meter side"), Field("languages", listed(LANGUAGE, 1), ("en",)),
])  # fmt: skip


def policy_of(text: str, version: int = 0) -> Policy:
    """The policy of a document. Raises ConfigError with the path and what to write there."""
    raw = parsed(text, "policy")
    policy: Policy = POLICY.read(raw, "")
    return replace(checked(policy), version=version)


def canonical(text: str) -> str:
    """The text as it travels: one line, keys in order. Raises ConfigError for what is not a policy."""
    policy_of(text)
    return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def problem_of(text: str) -> ConfigError | None:
    """Why a document is refused, None where it is not."""
    try:
        policy_of(text)
    except ConfigError as error:
        return error
    return None


def schema() -> str:
    """The JSON Schema of a policy document, as text."""
    body: Json = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, "title": "gridtally policy",
                  **POLICY.schema}  # fmt: skip
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"
