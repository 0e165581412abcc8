"""Lines of a tariff on a statement: period, step, price and base in words, in each language; no code of ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridtally_cloud.billing.charge_lines import Charged, charge_lines
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.model import Bill, BillKind, BillState, BillView, DataQuality, DayUse, Line, LineKind, Party
from gridtally_cloud.billing.page import BillPage, Row, bill_page
from gridtally_shared.money import nano
from gridtally_shared.tariff.lines import Line as TariffLine

DAY_MS, ZONE_MS = 86_400_000, 19_800_000
CHARGED = (
    TariffLine("energy", "energy", 1, 31, 12_500, "Wh", 8_000_000, "kWh", nano("100"), "peak", 2),
    TariffLine("energy", "energy", 1, 31, 2_000, "Wh", 3_000_000, "kWh", nano("6"), "off_peak", 0),
    TariffLine("fuel", "energy", 1, 31, 14_500, "VAh", 100_000, "kVAh", nano("1.45")),
    TariffLine("rebate", "debt", 1, 31, 30, "day", nano("1"), "day", -nano("30")),
    TariffLine("load", "fixed", 1, 31, 3_000, "W", nano("100"), "kW a month", nano("10")),
    TariffLine("duty", "percent", 1, 31, nano("100"), "money", 50_000, "%", nano("5")),
    TariffLine("minimum", "minimum", 1, 31, nano("40"), "money", nano("50"), "month", nano("10")),
)


def rows(language: str) -> dict[str, Row]:
    lines = tuple(replace(line, shown_nano=line.amount_nano) for line in charge_lines((Charged(t, DAY_MS, False) for t in CHARGED), 1))
    party = Party(101, "Asha", "", "GT1", "Home", "Asia/Kolkata", language, "INR")
    bill = Bill(BillKind.STATEMENT, party, 0, 30 * DAY_MS, 0, lines, 0, 0, (), DataQuality())
    assert from_json(to_json(bill)) == bill
    return {row.what: row for row in bill_page(BillView("S-1", 0, None, BillState.ISSUED, 0, bill), language).rows}


def how(row: Row) -> tuple[str, ...]:
    return tuple(line.replace("\N{NO-BREAK SPACE}", " ") for line in row.how)


def test_each_line_says_what_it_is_and_how_it_comes_about() -> None:
    said = rows("en")
    assert how(said["Energy, peak, step 2"]) == ("12.500 kWh × ₹ 8.00 per kWh",)
    assert how(said["Energy, off-peak"]) == ("2.000 kWh × ₹ 3.00 per kWh",)
    assert how(said["Fuel adjustment"]) == ("14.500 kVAh at ₹ 0.10 per kVAh",)
    assert how(said["Rebate"]) == ("30 days at ₹ 1.00 per day, until it is paid",)
    assert how(said["Charge by connected load"]) == ("1 days, as charged", "a part of ₹ 100.00 per kW and month")
    assert how(said["Electricity duty"]) == ("5 % of ₹ 100.00",)
    assert how(said["Minimum charge"]) == ("raised from ₹ 40.00 to the minimum of ₹ 50.00",)


@pytest.mark.parametrize("language", ["es", "hi"])
def test_no_line_is_english_elsewhere(language: str) -> None:
    english, here = rows("en"), rows(language)
    assert len(here) == len(english)
    assert not english.keys() & here.keys()
    assert not {line for row in here.values() for line in row.how} & {line for row in english.values() for line in row.how}


PARTY = Party(101, "Asha", "", "GT1", "Home", "Asia/Kolkata", "en", "INR")


def _page(state: BillState, *lines: Line, opening_nano: int = 0, closing_nano: int = 0) -> BillPage:
    bill = Bill(BillKind.BILL, PARTY, 0, 31 * DAY_MS, opening_nano, lines, closing_nano, 0, (DayUse("1970-01-06", 4_000),), DataQuality(),
                opening_shown_nano=opening_nano, closing_shown_nano=closing_nano)  # fmt: skip
    return bill_page(BillView("B-1", 0, 45 * DAY_MS, state, 0, bill))


@pytest.mark.parametrize(("state", "before", "charged", "said"), [
    (BillState.ISSUED, "0", "50", "please pay by"), (BillState.CANCELLED, "0", "50", "do not pay"), (BillState.PAID, "0", "50", "is paid"),
    (BillState.PAID, "80", "-50", "please pay by"), (BillState.PAID, "0", "-50", "in your favour"),
])  # fmt: skip
def test_what_is_to_be_paid_is_asked_for_and_nothing_else(state: BillState, before: str, charged: str, said: str) -> None:
    line = Line(LineKind.OTHER, nano(charged), nano(charged), 0, DAY_MS, reference="energy")
    page = _page(state, line, opening_nano=nano(before), closing_nano=nano(before) + nano(charged))
    assert said in next(box.note for box in page.boxes if box.strong)
    assert page.rows[0].what == "Energy"
    assert page.chart_alt == "Use per day in kWh, highest 4.000\N{NO-BREAK SPACE}kWh on 6 Jan 1970"


def test_a_late_charge_can_be_worked_out_from_its_line() -> None:
    late = Line(LineKind.LATE, nano("8.18"), nano("8.18"), 17 * DAY_MS - ZONE_MS, 18 * DAY_MS - ZONE_MS, 1, "day", reference="B-1",
                rate=nano("1.5"), per="month", base_nano=nano("545.50"))  # fmt: skip
    rounding = Line(LineKind.ROUNDING, 0, nano("-0.01"), 0, DAY_MS)
    page = _page(BillState.ISSUED, late, rounding, closing_nano=nano("8.17"))
    assert how(page.rows[0]) == ("₹ 545.50 × 1.5 % a month × 1 day of 31", "late: 18 Jan 1970")
    assert page.boxes[2].value == "₹\N{NO-BREAK SPACE}8.17", "the boxes add up"


def test_a_bill_from_before_forms_were_kept_still_names_its_item() -> None:
    party = Party(101, "Asha", "", "GT1", "Home", "Asia/Kolkata", "en", "INR")
    old = Line(LineKind.OTHER, nano("5"), nano("5"), 0, DAY_MS, reference="fuel night 2")
    bill = Bill(BillKind.STATEMENT, party, 0, DAY_MS, 0, (old,), 0, 0, (), DataQuality())
    row = bill_page(BillView("S-1", 0, None, BillState.ISSUED, 0, bill)).rows[0]
    assert (row.what, row.how) == ("Fuel adjustment, night, step 2", ())
