"""The lines of today's cost on the balance page: together they are what the day has cost."""

from __future__ import annotations

import json
import re

import pytest

from gridtally_edge.display.account import AccountView, view_account
from gridtally_edge.display.facts import charges_today
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import LANGUAGES, Words
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.money import nano
from support.prepay_bench import HOUR_MS, Bench

ITEMS = [
    {"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "3.1", "price": "3"}, {"price": "6"}]},
    {"kind": "fixed", "code": "fixed", "price": "60"},
    {"kind": "percent", "code": "fuel", "percent": "4", "of": ["energy"]},
    {"kind": "percent", "code": "duty", "percent": "10", "of": ["energy", "fixed"]},
]  # fmt: skip
VERSIONS = [{"from": "2026-01-01", "items": ITEMS}]
DOCUMENT = {"kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata", "versions": VERSIONS}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> AccountView:
    bench = Bench(tmp_path_factory.mktemp("day"), tariffs=(TariffDocument("home", 1, 0, json.dumps(DOCUMENT)),))
    bench.credit(1, "100")
    for n in range(1, 6):
        bench.wait(HOUR_MS)
        bench.read(1, 1_000_000 + 1_000 * n)
    found = view_account(bench.db, 101, bench.now_ms)
    assert found is not None
    return found


def test_the_lines_are_the_days_cost(view: AccountView) -> None:
    lines = charges_today(Words("en", "INR"), view)
    assert sum(line.amount_nano for line in lines) == view.cost_today_nano
    said = {line.what: (line.how.replace("\xa0", " "), line.amount_nano) for line in lines}
    assert said["Energy, step 1"] == ("3 kWh at ₹ 3.00 per kWh", nano("9"))
    assert said["Energy, step 2"] == ("2 kWh at ₹ 6.00 per kWh", nano("12"))
    assert said["Fuel adjustment"] == ("4 % of ₹ 21.00", nano("0.84"))
    assert said["Electricity duty"][0].startswith("10 % of ₹ ")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_line_stands_on_the_page_in_the_readers_language(view: AccountView, language: str) -> None:
    words = Words(language, "INR", zone_of("Asia/Kolkata"))
    page = balance_page(words, view)
    lines = charges_today(words, view)
    assert len(lines) >= 4
    for line in lines:
        assert f"<span>{line.what}<small>{line.how}</small></span><b>{words.money(line.amount_nano)}</b>" in page
    if language != "en":
        assert not {line.what for line in lines} & {line.what for line in charges_today(Words("en", "INR"), view)}
    assert not re.search(r"item_|unit_|period_|\{\w+\}", page)
