"""Three languages, complete, with the same placeholders; messages fit their SMS (prepayment.md 6.3)."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pytest

from gridtally_edge.display.texts import LABELS, LANGUAGES, MESSAGES, Words, accepted
from gridtally_shared.money import nano
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS

TABLES = {"messages": MESSAGES, "labels": LABELS}
EVERY = [(table, name) for table, rows in TABLES.items() for name in rows]
SMS_CHARACTERS = 70


@pytest.mark.parametrize(("table", "name"), EVERY)
def test_every_text_is_there_in_every_language_with_the_same_placeholders(table: str, name: str) -> None:
    texts = TABLES[table][name]
    assert set(texts) == set(LANGUAGES)
    assert len({frozenset(re.findall(r"{(\w+)}", text)) for text in texts.values()}) == 1


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", [c for c in MESSAGES if c != "TEXT"])
def test_a_message_fits_one_sms(code: str, language: str) -> None:
    params = {"a": str(nano("12345.67")), "b": str(nano("12345.67")), "t": str(2 * DAY_MS + 3 * HOUR_MS)}
    assert len(Words(language, "INR").message(code, params, "")) <= SMS_CHARACTERS


def test_a_message_says_money_and_time_in_words() -> None:
    params = {"b": str(nano("3.889")), "t": str(30 * HOUR_MS)}
    assert Words("en", "INR").message("LOW", params, "").replace("\xa0", " ") == "Low balance ₹ 3.88. About 1 d 6 h left."
    assert Words("es", "EUR").message("LOW", params, "").replace("\xa0", " ") == "Saldo bajo € 3.88. Quedan unas 1 d 6 h."
    assert Words("hi", "INR").message("LOW", params, "").replace("\xa0", " ") == "बैलेंस कम ₹ 3.88। लगभग 1 d 6 h शेष।"


def test_what_is_asked_for_is_never_too_little_and_what_is_there_never_too_much() -> None:
    words = Words("en", "INR")
    assert words.asked(nano("7.880000001")).replace("\xa0", " ") == "₹ 7.89"
    assert words.money(nano("7.889999999")).replace("\xa0", " ") == "₹ 7.88"


def test_an_unknown_code_shows_itself() -> None:
    assert Words("en").message("NEW_CODE", {}, "") == "NEW_CODE"
    assert Words("en").message("LOW", {}, "") == "LOW"


def test_prices_keep_their_decimals() -> None:
    assert Words("en", "EUR").price(nano("0.29563")).replace("\xa0", " ") == "€ 0.2956"
    assert Words("en", "EUR").price(nano("8.4")).replace("\xa0", " ") == "€ 8.40"


def test_moments_are_local() -> None:
    assert Words("hi", "INR", ZoneInfo("Asia/Kolkata")).moment(START_MS) == "02.03.2026 11:10"


@pytest.mark.parametrize(("header", "language"), [("hi-IN,en;q=0.8", "hi"), ("fr,es;q=0.5", "es"), ("", "en"), (";;,", "en")])
def test_the_browsers_language_is_taken(header: str, language: str) -> None:
    assert accepted(header) == language
