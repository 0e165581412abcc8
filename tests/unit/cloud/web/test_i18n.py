"""Languages: equal catalogues, numbers and dates as each language writes them, a word for every code that can appear."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

import gridtally_cloud.web
from gridtally_cloud.billing.model import BillState
from gridtally_cloud.customers.model import Mode, Role
from gridtally_cloud.prepay.model import InstrumentState, OrderState, SupplyState
from gridtally_cloud.prepay.notices import REACHED
from gridtally_cloud.prepay.trial_gateway import CHOICES
from gridtally_cloud.web.i18n import LANGUAGES, best_language, catalogue, language, places
from gridtally_edge.prepay.events import SwitchResult
from gridtally_shared.contract.messages import ClockState, CommandType
from gridtally_shared.events import EVENT_TYPES
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.money import NANO
from gridtally_shared.quantities import QUANTITIES

WEB = Path(gridtally_cloud.web.__path__[0])
USED = re.compile(r"""\bt\(\s*["']([a-z_.0-9]+)["']\s*[,)]""")


@pytest.mark.covers_part("C3-FR29")
@pytest.mark.parametrize("code", LANGUAGES)
def test_all_languages_have_the_same_keys_and_places(code: str) -> None:
    english, other = catalogue("en"), catalogue(code)
    assert set(other) == set(english)
    assert {k: places(other[k]) for k in other} == {k: places(english[k]) for k in english}


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_sentence_is_empty_or_left_in_english(code: str) -> None:
    same = {k for k, text in catalogue(code).items() if text == catalogue("en")[k] and len(text.split()) > 3}
    assert all(text.strip() for text in catalogue(code).values())
    assert code == "en" or not same


def test_plurals_come_in_pairs() -> None:
    keys = set(catalogue("en"))
    assert {k[:-4] for k in keys if k.endswith(".one")} == {k[:-6] for k in keys if k.endswith(".other")} - {"recharge"}


def test_every_sentence_a_page_asks_for_exists() -> None:
    sources = [*WEB.rglob("*.html"), *WEB.rglob("*.py")]
    wanted = {key for path in sources for key in USED.findall(path.read_text())}
    assert len(wanted) > 250
    known = catalogue("en")
    assert {k for k in wanted if k not in known and f"{k}.one" not in known} == set()


CODES = {
    "event": [e.name for e in EVENT_TYPES],
    "state": [s.name.lower() for s in CommandState],
    "reason": [r.value for r in Reason],
    "command_type": [c.name.lower() for c in CommandType],
    "quantity": [q.name for q in QUANTITIES],
    "supply": [s.value for s in SupplyState],
    "bill_state": [s.value for s in BillState],
    "instrument_state": [s.value for s in InstrumentState],
    "mode": [m.value for m in Mode],
    "role": [r.value for r in Role],
    "entry": [k.name.lower() for k in Kind],
    "clock_state": [int(s) for s in ClockState],
    "method": [c.method for c in CHOICES],
    "pay_reason": [c.reason for c in CHOICES if c.reason],
    "receipt.text": [s.value for s in OrderState],
    "switch_result": [s.value for s in SwitchResult],
    "switch_failed": [s.value for s in SwitchResult if s.value not in REACHED],
}


@pytest.mark.parametrize("group", CODES)
def test_every_code_has_words(group: str) -> None:
    assert [c for c in CODES[group] if f"{group}.{c}" not in catalogue("en")] == []


@pytest.mark.parametrize("group", ["state", "reason", "command_type", "event", "entry"])
def test_no_word_is_left_over(group: str) -> None:
    known = {f"{group}.{c}" for c in CODES[group]}
    assert {k for k in catalogue("en") if k.startswith(f"{group}.")} - known == set()


@pytest.mark.covers_part("C3-FR29")
@pytest.mark.parametrize(
    ("wanted", "found"),
    [("hi-IN,en;q=0.8", "hi"), ("es", "es"), ("fr-FR, es;q=0.5", "es"), ("tlh", "en"), ("", "en"), (";;,", "en")],
)
def test_an_unknown_language_falls_back(wanted: str, found: str) -> None:
    assert best_language(wanted) == found
    assert language("tlh").code == "en"


@pytest.mark.parametrize(
    ("code", "currency", "shown"),
    [
        ("en", "EUR", "€ 1,234,567.89"),
        ("es", "EUR", "1.234.567,89 €"),
        ("hi", "INR", "₹ 12,34,567.89"),
        ("en", "INR", "₹ 12,34,567.89"),
        ("en", "JPY", "JPY 1,234,567"),
    ],
)
def test_money_as_each_language_writes_it(code: str, currency: str, shown: str) -> None:
    assert language(code).money(1_234_567_899_999_999, currency).replace("\u00a0", " ") == shown


def test_money_never_shows_more_than_there_is() -> None:
    say = language("en")
    assert say.money(9_999_999_999, "EUR") == "€\u00a09.99"
    assert say.money(-1, "EUR") == "−€\u00a00.01"
    assert say.money(125 * NANO // 1000, "EUR", exact=True) == "€\u00a00.12"
    assert say.money(20 * NANO, "EUR", whole=True) == "€\u00a020"
    assert say.money(20 * NANO + 500_000_000, "EUR", whole=True) == "€\u00a020.50"


def test_spanish_groups_from_five_digits_on() -> None:
    assert [language("es").number(n) for n in (1234, 12345)] == ["1234", "12.345"]


@pytest.mark.parametrize(
    ("wh", "shown"),
    [(0, "0.00 kWh"), (995, "1.00 kWh"), (99_994, "99.99 kWh"), (123_456, "123.5 kWh"), (-1500, "−1.50 kWh")],
)
def test_energy_is_rounded_half_up(wh: int, shown: str) -> None:
    assert language("en").kwh(wh).replace("\u00a0", " ") == shown


def test_plural_of_each_language() -> None:
    assert [language("en").t("span.day", n=n) for n in (0, 1, 2)] == ["0 days", "1 day", "2 days"]
    assert language("hi").t("span.hour", n=0) == "0 घंटा"


def test_dates_times_and_spans() -> None:
    say = language("es", "Asia/Kolkata")
    at_ms = 1_795_271_700_000
    assert say.when(at_ms) == "21 nov 2026, 20:05"
    assert say.month_of(date(2026, 11, 1)) == "noviembre de 2026"
    assert [say.duration(ms) for ms in (0, 90 * 60_000, 49 * 3_600_000)] == ["1 minuto", "1 hora", "2 días"]
    assert say.ago(at_ms - 30_000, at_ms) == "ahora mismo"
    assert say.ago(at_ms - 7_200_000, at_ms) == "hace 2 horas"


def test_a_missing_sentence_is_a_defect() -> None:
    with pytest.raises(KeyError):
        language("en").t("no.such.sentence")
