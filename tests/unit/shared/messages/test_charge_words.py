"""Lines of a tariff in three languages: what it is and how its amount comes about, without a code in sight."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridtally_shared.ledger.charges import FORMS
from gridtally_shared.messages.catalogue import LANGUAGES, table
from gridtally_shared.messages.charge_words import item_name, together, told
from gridtally_shared.messages.words import Words
from gridtally_shared.money import nano
from gridtally_shared.tariff.lines import Line

ENERGY = Line("energy", "energy", 1, 31, 12_345, "Wh", 8_000_000, "kWh", nano("98.76"), "night", 2)


def plain(text: str) -> str:
    return text.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("language", "what", "how"),
    [("en", "Energy, night, step 2", "12.345 kWh at ₹ 8.00 per kWh"), ("es", "Energía, noche, tramo 2", "12.345 kWh a ₹ 8.00 por kWh"),
     ("hi", "ऊर्जा, रात, स्लैब 2", "12.345 kWh, ₹ 8.00 प्रति kWh")],
)  # fmt: skip
def test_energy_names_period_step_quantity_and_price(language: str, what: str, how: str) -> None:
    said = told(ENERGY, Words(language, "INR"))
    assert (said.what, plain(said.how), said.amount_nano) == (what, how, nano("98.76"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("kind", "unit", "per"), FORMS)
def test_every_form_of_a_line_has_its_sentence_with_its_price(kind: str, unit: str, per: str, language: str) -> None:
    rate = {"%": 50_000, "kWh": 5_000_000, "kVAh": 5_000_000, "kW": 5_000_000}.get(per, nano("5"))
    how = plain(told(Line("fuel", kind, 1, 31, 2_000, unit, rate, per, nano("1")), Words(language, "INR")).how)
    sentence = table("charges")[kind][language]
    assert how != kind
    assert "{" not in how
    assert ("5 %" in how or "5%" in how) if per == "%" else ("₹ 5.00" in how or "{rate}" not in sentence)


def test_a_charge_by_power_or_month_names_what_it_is_a_part_of() -> None:
    said = told(Line("fixed", "fixed", 1, 31, 3_000, "W", nano("100"), "kW a month", nano("10")), Words("en", "INR"))
    assert (said.what, plain(said.how)) == ("Standing charge", "a part of ₹ 100.00 per kW and month")


def test_lines_of_one_price_stand_together_and_what_came_to_nothing_is_left_out() -> None:
    back = replace(ENERGY, quantity=-12_345, amount_nano=-nano("98.76"))
    assert together((ENERGY, replace(ENERGY, rate=9_000_000), ENERGY)) == (
        replace(ENERGY, quantity=24_690, amount_nano=nano("197.52")), replace(ENERGY, rate=9_000_000),
    )  # fmt: skip
    assert together((ENERGY, back)) == ()


def test_an_item_of_the_tariffs_own_is_named_as_it_is_there() -> None:
    assert item_name("street_light_levy", "peak+own_hours", 0, "en") == "Street light levy, peak + own hours"
