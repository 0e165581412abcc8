"""`gridtally-mdm bill --tariff --intervals`: the engine cases and published bills of the shared data, and files that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from gridtally_cloud.cli import main
from support.data import data_path
from support.required import ROOT

CENT = Decimal("0.01")
Bill = Callable[..., dict[str, Any]]


def energy(**more: Any) -> dict[str, Any]:
    return {"kind": "energy", "code": "energy", **more}


def fixed(price: str, **more: Any) -> dict[str, Any]:
    return {"kind": "fixed", "code": "fixed", "price": price, **more}


def tariff(*items: dict[str, Any], version: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    versions = [{"from": "2010-01-01", "items": list(items), **(version or {})}]
    return {"kind": "tariff", "code": "home", "currency": "USD", "zone": "Etc/UTC", "versions": versions} | more


@pytest.fixture
def bill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bill:
    def run(document: dict[str, Any], intervals: str | Path, *options: str) -> dict[str, Any]:
        (tmp_path / "tariff.json").write_text(json.dumps(document), encoding="utf-8")
        if isinstance(intervals, str):
            (tmp_path / "use.csv").write_text(intervals, encoding="utf-8")
            intervals = tmp_path / "use.csv"
        given = ("bill", "--tariff", str(tmp_path / "tariff.json"), "--intervals", str(intervals), *options, "--json")
        assert main(given) == 0, capsys.readouterr().err
        shown: dict[str, Any] = json.loads(capsys.readouterr().out)
        return shown

    return run


# ---- cases of an independent engine ---------------------------------------------------------------------------

WEEK = [{"code": "weekday", "weekdays": ["mon", "tue", "wed", "thu", "fri"]}, {"code": "weekend", "weekdays": ["sat", "sun"]}]


def hours_of(row: list[int]) -> list[dict[str, str]]:
    """An engine's row of 24 period numbers as bands."""
    starts = [h for h in range(24) if h == 0 or row[h] != row[h - 1]]
    ends = [*starts[1:], 24]
    return [{"from": f"{a:02d}:00", "to": f"{b:02d}:00", "period": f"p{row[a]}"} for a, b in zip(starts, ends, strict=True)]


def translated(case: dict[str, Any]) -> dict[str, Any]:
    """A case of the engine as a document of ours; its schedules are the same in every month."""
    terms = case["tariff"]
    rates: dict[int, list[dict[str, str]]] = {}
    for period, _, upper, _, price, _ in terms["ec"]:
        bound = {} if upper > 1e30 else {"to_kwh": str(upper)}
        rates.setdefault(period, []).append({**bound, "price": str(price)})
    version: dict[str, Any] = {}
    if "ecwd" in terms:
        assert all(row == terms["ecwd"][0] for row in terms["ecwd"])
        version = {"day_types": WEEK, "hours": [{"days": ["weekday"], "bands": hours_of(terms["ecwd"][0])},
                                                {"days": ["weekend"], "bands": hours_of(terms["ecwe"][0])}]}  # fmt: skip
        price = energy(rates=[{"periods": [f"p{number}"], "slabs": slabs} for number, slabs in rates.items()])
    else:
        price = energy(slabs=rates[1])
    minimum = {"kind": "minimum", "code": "minimum", "amount": str(terms.get("minm", 0)), "of": ["energy", "fixed"]}
    return tariff(price, fixed(str(terms["fixed"])), minimum, version=version)


@pytest.mark.parametrize("number", range(3))
def test_a_year_costs_what_an_independent_engine_says(bill: Bill, number: int) -> None:
    case = json.loads(data_path("billing/sam_utilityrate_cases.json").read_text())["cases"][number]
    shown = bill(translated(case), data_path(f"billing/{case['load_file']}.gz"), "--from", "2018-01-01", "--to", "2019-01-01")
    expected = case["expected"]
    months = shown["by_month"]
    assert [m["month"] for m in months] == [f"2018-{n:02d}" for n in range(1, 13)]
    for code, name in (("energy", "monthly_energy_charge"), ("fixed", "monthly_fixed"), ("minimum", "monthly_minimum_topup")):
        assert [Decimal(m["amounts"].get(code, "0")) for m in months] == [Decimal(str(x)) for x in expected[name]]
    assert [Decimal(m["kwh"]) for m in months] == [Decimal(str(x)) for x in expected["monthly_kwh"]]
    assert [Decimal(m["total"]) for m in months] == [Decimal(str(x)) for x in expected["monthly_bill"]]
    assert abs(Decimal(shown["total"]) - Decimal(str(expected["annual_bill"]))) <= Decimal("0.00005")
    assert sum(Decimal(line["amount"]) for line in shown["lines"]) == Decimal(shown["total"])
    assert shown["notes"] == []


# ---- published bills ------------------------------------------------------------------------------------------


def published(name: str) -> dict[str, str]:
    bills = json.loads(data_path("billing/published_bills.json").read_text())["bills"]
    expected: dict[str, str] = next(b["expected"] for b in bills if b["id"] == name)
    return expected


def kerala(cycle: str = "month") -> dict[str, Any]:
    bounds = (("50", "3.15"), ("100", "3.70"), ("150", "4.80"), ("200", "6.40"))
    slabs = [*({"to_kwh": to, "price": price} for to, price in bounds), {"price": "7.60"}]
    return tariff(
        energy(slabs=slabs), {"kind": "percent", "code": "duty", "percent": "10", "of": ["energy"]},
        {"kind": "fixed", "code": "meter_rent", "price": "6.00"},
        {"kind": "percent", "code": "rent_tax", "percent": "18", "of": ["meter_rent"]},
        {"kind": "percent", "code": "rent_cess", "percent": "1", "of": ["meter_rent"]},
        {"kind": "energy", "code": "fuel_surcharge", "price": "0.10"}, fixed("55"),
        currency="INR", zone="Asia/Kolkata", cycle={"every": cycle},
    )  # fmt: skip


def cents(amount: str) -> Decimal:
    return Decimal(amount).quantize(CENT, ROUND_HALF_UP)


def test_the_kerala_bill_comes_out_line_by_line(bill: Bill) -> None:
    shown = bill(kerala(), "start,end,kwh\n2020-07-01,2020-08-01,117\n")
    expected = {code: Decimal(amount) for code, amount in published("kerala_kseb_2020_domestic_117").items()}
    assert {code: cents(a) for code, a in shown["by_month"][0]["amounts"].items()} | {"total": cents(shown["total"])} == expected


def test_a_bill_of_two_months_has_slabs_twice_as_wide(bill: Bill) -> None:
    shown = bill(kerala("bill"), "start,end,kwh\n2020-06-01,2020-08-01,396\n")
    expected = published("kerala_kseb_2020_bimonthly_396")
    assert cents(shown["by_month"][0]["amounts"]["energy"]) == Decimal(expected["energy"])


def test_the_delhi_bill_prorates_as_it_is_printed(bill: Bill) -> None:
    document = tariff(
        energy(slabs=[{"to_kwh": "200", "price": "4.00"}, {"price": "5.95"}]),
        {"kind": "fixed", "code": "fixed", "slabs": [{"to_kw": "2", "price": "40"}, {"to_kw": "5", "price": "100"}, {"price": "180"}]},
        version={"round_lines": {"places": 2}}, currency="INR", zone="Asia/Kolkata", cycle={"every": "bill"}, proration={"places": 4},
    )  # fmt: skip
    readings = "at,register_kwh\n2015-06-17,9000\n2015-07-18,9350\n"
    shown = bill(document, readings, "--from", "2015-06-17", "--to", "2015-07-18", "--contract-kw", "2")
    expected = published("tata_power_ddl_2015_fixed_charge")
    line = next(line for line in shown["lines"] if line["code"] == "fixed")
    assert Decimal(shown["kwh"]) == expected["units"]
    assert (line["factor"], line["factor_parts"]) == (expected["slab"], expected["slab_parts"])
    assert cents(line["amount"]) == Decimal(expected["fixed"])
    assert [(s["quantity"], s["amount"]) for s in shown["lines"] if s["code"] == "energy"] == [
        ("203.02 kWh", "812.08"), ("146.98 kWh", "874.53"),
    ]  # fmt: skip


# ---- files ----------------------------------------------------------------------------------------------------

HOURS = "start,kwh\n2026-03-29 00:00,1\n2026-03-29 01:00,1\n2026-03-29 03:00,1\n2026-03-29 04:00,1\n"


def test_a_clock_that_jumps_leaves_no_gap(bill: Bill) -> None:
    shown = bill(tariff(energy(price="1"), zone="Europe/Berlin"), HOURS)
    assert shown["kwh"] == "4"
    assert shown["notes"] == [f"{(23 - 4) * 60} minutes of these days have no energy in the file; nothing is charged for them"]


def test_an_hour_that_comes_twice_is_read_in_the_order_of_rows(bill: Bill) -> None:
    rows = [f"2026-10-25 {h:02d}:00,1" for h in (0, 1, 2, 2, *range(3, 24))]
    shown = bill(tariff(energy(price="1"), zone="Europe/Berlin"), "\n".join(["start,kwh", *rows]))
    assert (shown["kwh"], shown["notes"]) == ("25", [])


def test_a_clock_of_standard_time_never_jumps(bill: Bill) -> None:
    rows = [f"2026-07-0{d} {h:02d}:00,1" for d in (1, 2) for h in range(24)]
    shown = bill(tariff(energy(price="1"), zone="Europe/Berlin"), "\n".join(["hour_beginning_standard_time,kwh", *rows]),
                 "--from", "2026-07-02", "--to", "2026-07-03")  # fmt: skip
    assert (shown["kwh"], shown["notes"]) == ("24", [])


def test_energy_finer_than_a_watt_hour_is_carried_on(bill: Bill) -> None:
    shown = bill(tariff(energy(price="1")), "start,kwh\n" + "".join(f"2026-01-01 {h:02d}:00,0.0004\n" for h in range(24)))
    assert shown["kwh"] == "0.01"


def test_a_missing_value_is_said_and_not_billed_as_zero(bill: Bill) -> None:
    rows = "".join(f"2026-01-01 {h:02d}:00,{'' if h == 7 else 2}\n" for h in range(24))
    shown = bill(tariff(energy(price="1")), "start,kwh\n" + rows)
    assert shown["kwh"] == "46"
    assert shown["notes"] == ["60 minutes of these days have no energy in the file; nothing is charged for them"]


REFUSED = [
    ("", "this file is empty"),
    ("start,kwh\n", "no interval"),
    ("start,volt\n2026-01-01,1\n", "one column of energy"),
    ("when,kwh\n2026-01-01,1\n", "start of each interval"),
    ("start,kwh\n2026-01-01,1\n", "add a column end"),
    ("start,kwh\n2026-01-01 00:00,1\n2026-01-01 00:00,1\n2026-01-01 01:00,1\n", "line 3"),
    ("start,kwh\n2026-01-01 02:00,1\n2026-01-01 01:00,1\n", "line 3"),
    ("start,kwh\nnoon,1\n", "line 2 = 'noon'"),
    ("start,kwh\n2026-01-01 00:00,1\n2026-01-01 01:00,lots\n", "line 3 = 'lots'"),
    ("start,kwh\n2026-01-01 00:00,nan\n2026-01-01 01:00,1\n", "line 2"),
    ("start,kwh\n2026-01-01 00:00,-1\n2026-01-01 01:00,1\n", "export_kwh"),
    ("start,kwh\n2026-01-01 00:00\n", "1 cells and the header 2"),
    ("start,end,kwh\n2026-01-01 00:00,2026-01-01 02:00,1\n2026-01-01 01:00,2026-01-01 02:00,1\n", "line 3"),
    ("at,register_kwh\n2026-01-01,5\n2026-01-02,4\n", "register went back"),
    ("at,register_kwh\n2026-01-01,5\n", "two readings"),
    ("start,end,kwh\n2025-12-31,2026-01-02,1\n", "lies across --from"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_a_file_that_can_not_be_used_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    (tmp_path / "t.json").write_text(json.dumps(tariff(energy(price="1"))))
    (tmp_path / "u.csv").write_text(text)
    days = ("--from", "2026-01-01", "--to", "2026-01-02")
    assert main(("bill", "--tariff", str(tmp_path / "t.json"), "--intervals", str(tmp_path / "u.csv"), *days)) == 3
    assert reason in capsys.readouterr().err


def test_an_account_and_a_tariff_file_are_two_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("bill", "7", "--tariff", "t.json")) == 3
    assert "not both" in capsys.readouterr().err
    assert main(("bill",)) == 3


def test_the_lines_can_be_read_by_a_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.json").write_text(json.dumps(kerala()))
    (tmp_path / "u.csv").write_text("start,end,kwh\n2020-07-01,2020-08-01,117\n")
    assert main(("bill", "--tariff", str(tmp_path / "t.json"), "--intervals", str(tmp_path / "u.csv"))) == 0
    text = capsys.readouterr().out
    assert "17 kWh at 4.8 per kWh, slab 3" in text
    assert "10 % of 424.1" in text
    assert "540.35" in text.splitlines()[-1]


def test_the_example_of_the_manual_works(bill: Bill) -> None:
    manual = (ROOT / "docs" / "tariff.md").read_text(encoding="utf-8")
    document = json.loads(manual.split("```json\n")[1].split("```")[0])
    shown = bill(document, "start,end,kwh\n2026-01-01,2026-02-01,10\n")
    assert shown["by_month"][0]["amounts"] == {"energy": "31.5", "fixed": "55", "duty": "3.15"}
    assert shown["total"] == "89.65"
    assert [key for key in (*shown, *shown["by_month"][0], *shown["lines"][0]) if f"`{key}" not in manual] == []
