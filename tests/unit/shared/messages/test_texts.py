"""Every sentence in three languages with the same places; messages fit their SMS and have an ASCII form (prepayment.md 6.3)."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from gridtally_shared.ledger.charges import FORMS
from gridtally_shared.messages.catalogue import LANGUAGES, TABLES, places, table
from gridtally_shared.messages.sms import ascii_text, sms_parts
from gridtally_shared.messages.words import KINDS, Words
from gridtally_shared.money import nano
from gridtally_shared.prepay.cut_tests import CUT_TESTS, RESTORE_TESTS, TRIP_TESTS
from gridtally_shared.prepay.holds import HOLDS

DAY_MS = 86_400_000
MOST = {
    "a": str(nano("12345.67")), "b": str(nano("12345.67")), "t": str(2 * DAY_MS + 3_600_000), "d": "1772430000000",
    "s": "1772430000000", "w": "99000",
}  # fmt: skip
NOTICES = [code for code in table("notices") if code != "TEXT"]


@pytest.mark.covers_part("C3-FR29")
@pytest.mark.parametrize("name", TABLES)
def test_every_sentence_is_there_in_every_language_with_the_same_places(name: str) -> None:
    wrong = [code for code, texts in table(name).items() if set(texts) != set(LANGUAGES) or len({places(t) for t in texts.values()}) != 1]
    assert wrong == []
    assert len(table(name)) > 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_message_is_one_sms_and_says_its_figures(language: str) -> None:
    words = Words(language, "INR", ZoneInfo("Asia/Kolkata"))
    said = {code: words.message(code, MOST) for code in NOTICES}
    assert [code for code, text in said.items() if sms_parts(text) != 1 or text == code] == []


def test_places_of_messages_have_a_kind() -> None:
    assert {p for code in NOTICES for p in places(table("notices")[code]["en"])} <= KINDS.keys()


@pytest.mark.parametrize("code", NOTICES)
def test_a_meter_of_few_letters_shows_english_or_spanish(code: str) -> None:
    english = Words("en", "INR").message(code, MOST)
    spanish, hindi = (ascii_text(Words(lang, "INR").message(code, MOST), english) for lang in ("es", "hi"))
    assert spanish.isascii()
    assert hindi.isascii()
    assert "?" not in spanish + hindi
    assert hindi == ascii_text(english)


@pytest.mark.parametrize(("text", "parts"), [("a" * 160, 1), ("a" * 161, 2), ("é" * 160, 1), ("á" * 70, 1), ("á" * 71, 2), ("€" * 80, 1)])
def test_parts_of_short_messages(text: str, parts: int) -> None:
    assert sms_parts(text) == parts


def test_every_test_hold_and_charge_has_words() -> None:
    tests = {name for name, _ in (*CUT_TESTS, *RESTORE_TESTS, *TRIP_TESTS)}
    assert {n for n in tests if f"test_{n}" not in table("why")} == set()
    assert {h for h in HOLDS if f"name_{h}" not in table("why")} == set()
    assert {kind for kind, _, _ in FORMS} <= table("charges").keys()
    assert {f"unit_{per}" for _, _, per in FORMS} <= table("charges").keys()


def test_an_unknown_language_and_an_unknown_code_fall_back() -> None:
    assert Words("fr", "INR").message("MANUAL", {}) == "Reduce load, then press the button."
    assert Words("hi", "INR").message("NEW_CODE", {}) == "NEW_CODE"
    assert Words("en", "INR").message("LOW", {}) == "LOW"
