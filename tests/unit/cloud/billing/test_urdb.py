"""Rates of the OpenEI Utility Rate Database as tariff documents: priced as an independent engine prices them, and what is left out said."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gridtally_cloud.billing.interval_file import read_interval_file
from gridtally_cloud.billing.urdb import document_of, read_rate
from gridtally_cloud.cli import main
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import decimal_text
from gridtally_shared.tariff.daybook import starts_at
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.engine import Step, bill
from gridtally_shared.tariff.terms import Account
from gridtally_shared.tariff.use import Series
from support.data import data_path

HOUR_MS = 3_600_000
ALL_DAY = [[0] * 24] * 12
PLAIN: dict[str, Any] = {"name": "R", "energyratestructure": [[{"rate": 0.1}]]}
ALWAYS = "holidays: the rate database names none; add dates to the day type rest"


def document(rate: dict[str, Any], window_min: int = 0) -> tuple[dict[str, Any], tuple[str, ...]]:
    return document_of(read_rate(json.dumps(rate)), "Etc/UTC", "urdb", window_min)


def priced(rate: dict[str, Any], load: list[int], exported: list[int] | None = None, month: int = 1) -> dict[str, str]:
    """One month of 2026, hourly, by item."""
    plan = tariff_plan([json.dumps(document(rate, 60)[0])])
    first, until = date(2026, month, 1).toordinal(), date(2026, month + 1, 1).toordinal()
    step: Step = bill(plan, Account(), [Series(starts_at(first, plan.zone), HOUR_MS, load, exported or ())], first, until)
    sums: dict[str, int] = {}
    for line in step.lines:
        sums[line.code] = sums.get(line.code, 0) + line.amount_nano
    return {code: decimal_text(amount) for code, amount in sums.items()}


def test_a_quarter_of_a_rate_costs_what_an_independent_engine_says() -> None:
    case = json.loads(data_path("billing/sam_utilityrate_cases.json").read_text())["cases"][1]
    terms = case["tariff"]
    days = (("weekday", "ecwd"), ("weekend", "ecwe"))
    schedules = {f"energy{day}schedule": [[p - 1 for p in row] for row in terms[key]] for day, key in days}
    rate = {"utility": "U", "name": "TOU", "fixedchargefirstmeter": terms["fixed"], "fixedchargeunits": "$/month", **schedules,
            "energyratestructure": [[{"rate": row[4]}] for row in terms["ec"]]}  # fmt: skip
    made, notes = document(rate)
    assert notes == (ALWAYS,)
    plan = tariff_plan([json.dumps(made)])
    first, until = date(2018, 1, 1).toordinal(), date(2018, 4, 1).toordinal()
    file = read_interval_file(data_path(f"billing/{case['load_file']}.gz"), plan.zone)
    step = bill(plan, Account(), file.series(starts_at(first, plan.zone), starts_at(until, plan.zone)), first, until)
    assert [Decimal(decimal_text(c.amount_nano)) for c in step.closed] == [Decimal(str(x)) for x in case["expected"]["monthly_bill"][:3]]


def test_tiers_adjustments_fixed_charge_and_minimum() -> None:
    tiers = [[{"max": 100, "rate": 0.1, "adj": 0.01, "unit": "kWh"}, {"rate": 0.2}]]
    rate = PLAIN | {"energyratestructure": tiers, "fixedchargefirstmeter": 0.5, "fixedchargeunits": "$/day", "mincharge": 200}
    assert priced(rate, [1000] * 744) == {"energy": "139.8", "fixed": "15.5", "minimum": "44.7"}
    assert priced(rate | {"mincharge": 0, "fixedchargefirstmeter": 120, "fixedchargeunits": "$/year"}, [1000] * 744)["fixed"] == "10"
    daily = [[{"max": 10, "rate": 0.1, "unit": "kWh daily"}, {"rate": 0.2, "unit": "kWh daily"}]]
    assert priced(PLAIN | {"energyratestructure": daily}, [1000] * 744) == {"energy": "117.8"}  # 310 x 0.1 + 434 x 0.2


def test_demand_of_the_month_and_by_time_of_day() -> None:
    day = [[0] * 14 + [1] * 6 + [0] * 4] * 12
    rate = PLAIN | {
        "flatdemandstructure": [[{"rate": 2}], [{"max": 3, "rate": 5}, {"rate": 8}]], "flatdemandmonths": [1, *[0] * 11],
        "demandratestructure": [[{"rate": 0}], [{"rate": 10}]], "demandweekdayschedule": day, "demandweekendschedule": ALL_DAY,
    }  # fmt: skip
    load = [1000] * 744
    load[15], load[38] = 4000, 2500  # Thursday 15:00, Friday 14:00
    assert priced(rate, load) == {"energy": "74.85", "demand_1": "23", "demand_tou_1": "40"}
    assert priced(rate, load[:672], month=2)["demand_0"] == "8"


def test_the_rules_of_what_is_given_back() -> None:
    sold = PLAIN | {"energyratestructure": [[{"rate": 0.1, "sell": 0.04}]]}
    load, given = [1000, 0] * 372, [500, 500] * 372
    assert priced(sold | {"dgrules": "Net Billing Hourly"}, load, given) == {"energy": "18.6", "export": "-7.44"}
    assert priced(sold | {"dgrules": "Buy All Sell All"}, load, given) == {"energy": "37.2", "export": "-14.88"}
    assert priced(sold | {"dgrules": "Net Metering"}, [2000, 0] * 372, given) == {"energy": "37.2"}
    assert [n for n in document(sold)[1] if n.startswith("energyratestructure")] == [
        "energyratestructure: there are sell prices and no dgrules; what is given back is not priced"]  # fmt: skip


def test_what_is_not_carried_over_is_named() -> None:
    rate = PLAIN | {
        "energyratestructure": [[{"rate": 0.12345678}]], "demandreactivepowercharge": 0.3, "annualmincharge": 12, "enddate": 1_420_070_400,
        "mincharge": 5, "minchargeunits": "$/day", "energycomments": "TOU holidays apply", "approved": True, "coincidentrateunit": "",
    }  # fmt: skip
    assert document(rate)[1] == (
        "energyratestructure[0][0].rate: 0.12345678 is rounded to 0.123457",
        "mincharge: 5 $/day is not carried over, only a minimum a month is",
        'annualmincharge: not carried over, "12"', 'demandreactivepowercharge: not carried over, "0.3"',
        "enddate: the rate ended on 2015-01-01; the document goes on", "energycomments: is prose and may hold rules, read it", ALWAYS,
    )  # fmt: skip


WRONG: list[tuple[Any, str]] = [
    ("{", "not JSON"), ("[]", "one rate"), (json.dumps({"items": [PLAIN, PLAIN]}), "one rate"),
    (json.dumps({"name": "x"}), "no energy prices"),
    (json.dumps(PLAIN | {"energyweekdayschedule": [[0] * 23] * 12, "energyweekendschedule": ALL_DAY}), "energyweekdayschedule.*12 rows"),
    (json.dumps(PLAIN | {"energyweekdayschedule": [[1] * 24] * 12, "energyweekendschedule": ALL_DAY}), r"schedule\[0\]\[0\].*no such"),
    (json.dumps(PLAIN | {"energyratestructure": [[]]}), r"energyratestructure\[0\].*no prices"),
    (json.dumps(PLAIN | {"energyratestructure": [[{"rate": "a lot"}]]}), r"energyratestructure\[0\]\[0\].rate.*number"),
    (json.dumps(PLAIN | {"energyratestructure": [[{"rate": -1}]]}), "below zero"),
    (json.dumps(PLAIN | {"energyratestructure": [[{"max": 5, "rate": 1, "unit": "kWh/kW"}, {"rate": 2}]]}), "kwh/kw"),
    (json.dumps(PLAIN | {"fixedchargefirstmeter": 1, "fixedchargeunits": "$/meter"}), "fixedchargeunits"),
    (json.dumps(PLAIN | {"flatdemandstructure": [[{"rate": 1}]]}), "flatdemandmonths"),
    (json.dumps(PLAIN | {"flatdemandstructure": [[{"rate": 1}]], "flatdemandmonths": [0] * 12, "flatdemandunit": "hp"}), "flatdemandunit"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_rate_that_can_not_be_billed_is_refused_with_its_field(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        document_of(read_rate(text), "Etc/UTC", "urdb")


def test_the_command_writes_a_document_and_says_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, out = tmp_path / "rate.json", tmp_path / "tariff.json"
    given.write_text(json.dumps({"items": [PLAIN | {"startdate": 1_420_070_400}]}), encoding="utf-8")
    assert main(["urdb", str(given), "--zone", "America/New_York", "--code", "r_one", "--out", str(out)]) == 0
    assert "1 items; 1 notes" in capsys.readouterr().err
    plan = tariff_plan([out.read_text(encoding="utf-8")])
    assert (plan.code, plan.currency, plan.versions[0].first) == ("r_one", "USD", date(2015, 1, 1).toordinal())
    assert main(["urdb", str(given), "--zone", "Mars", "--out", str(out)]) == 3
    assert main(["urdb", str(tmp_path / "no.json"), "--zone", "Etc/UTC"]) == 3
