"""Billing determinants and whole bills out of the store, against months worked by hand on paper.

The arithmetic stands beside each case; amounts come from it, none from the program. Every interval is a whole number of Wh.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gridtally_cloud.billing import service
from gridtally_cloud.billing.determinants import Determinants, determinants
from gridtally_cloud.billing.model import BillView, LineKind
from gridtally_cloud.cli import main
from gridtally_cloud.customers.tables import tariff_version
from gridtally_cloud.ingest.measurements import take_intervals
from gridtally_cloud.prepay.terms import SupplyTerms, set_terms
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.tables import channel
from gridtally_cloud.vee.run import run_pending
from gridtally_native import encode_block
from gridtally_shared.contract.messages import ChannelBlock, Intervals
from gridtally_shared.money import decimal_text, nano
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.tariff.terms import Measure
from support.payday import DAY_MS, OPENED_WH, START_MS, Payday

NOVEMBER, NOVEMBER_DAYS = (START_MS, START_MS + 30 * DAY_MS), 30
HOME = 2


@dataclass(frozen=True)
class Case:
    """A month on paper: what is measured, what it comes to."""

    items: tuple[dict[str, Any], ...]
    contract_w: int
    wh: Sequence[int]
    vah: Sequence[int] = ()
    hours: tuple[dict[str, Any], ...] = ()
    used: tuple[tuple[str, str, int], ...] = ()
    demands: tuple[tuple[str, str, int], ...] = ()
    power_factor: int | None = None
    lines: tuple[tuple[str, str], ...] = ()
    total: str = ""


def spread(total_wh: int, count: int = NOVEMBER_DAYS * 96) -> list[int]:
    """As even as whole Wh allow."""
    return [total_wh * (i + 1) // count - total_wh * i // count for i in range(count)]


def shop(night: int, day: int, evening: int) -> list[int]:
    """The quarters of the shop's month, each one less than said, then one more."""
    def size(d: int, q: int) -> int:
        return evening if d == 11 and 72 <= q < 76 else night if q < 16 or q >= 88 else day

    return [size(d, q) + (1 if q % 2 else -1) for d in range(NOVEMBER_DAYS) for q in range(96)]


# Delhi, domestic (BYPL schedule 2019-20): 3 kW, 350 units in a month of 30 days.
#   fixed 3 x 50 = 150; energy 200 x 3.00 = 600 and 150 x 4.50 = 675; together 1,425.00 (mdm.md C.3, 6)
#   surcharges 8 % of 1,425 = 114.00; electricity tax 5 % of 1,425 = 71.25; to pay 1,610.25
DELHI = Case(
    ({"kind": "fixed", "code": "fixed", "times": "kw", "slabs": [{"to_kw": "2", "price": "20"}, {"to_kw": "5", "price": "50"},
                                                                 {"price": "100"}]},
     {"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "200", "price": "3.00"}, {"to_kwh": "400", "price": "4.50"},
                                                    {"price": "6.50"}]},
     {"kind": "percent", "code": "surcharge", "percent": "8", "of": ["fixed", "energy"]},
     {"kind": "percent", "code": "duty", "percent": "5", "of": ["fixed", "energy"]}),
    3000, spread(350_000), used=(("all", "import", 350_000),),
    lines=(("fixed", "150"), ("energy 1", "600"), ("energy 2", "675"), ("surcharge", "114"), ("duty", "71.25")), total="1610.25",
)  # fmt: skip

# Kerala, domestic (KSEB, July 2020), as published: 117 units come to 540.35 (mdm.md C.3, 1).
#   50 x 3.15 = 157.50, 50 x 3.70 = 185.00, 17 x 4.80 = 81.60; duty 10 % of 424.10 = 42.41; rent 6.00, its tax 18 % = 1.08 and
#   cess 1 % = 0.06; fuel 117 x 0.10 = 11.70; fixed 55.00
KERALA = Case(
    ({"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "50", "price": "3.15"}, {"to_kwh": "100", "price": "3.70"},
                                                    {"to_kwh": "150", "price": "4.80"}, {"price": "6.40"}]},
     {"kind": "percent", "code": "duty", "percent": "10", "of": ["energy"]},
     {"kind": "fixed", "code": "rent", "price": "6"}, {"kind": "percent", "code": "rent_tax", "percent": "18", "of": ["rent"]},
     {"kind": "percent", "code": "rent_cess", "percent": "1", "of": ["rent"]},
     {"kind": "energy", "code": "fuel", "price": "0.10"}, {"kind": "fixed", "code": "fixed", "price": "55"}),
    1000, spread(117_000), used=(("all", "import", 117_000),),
    lines=(("energy 1", "157.5"), ("energy 2", "185"), ("energy 3", "81.6"), ("duty", "42.41"), ("rent", "6"), ("rent_tax", "1.08"),
           ("rent_cess", "0.06"), ("fuel", "11.7"), ("fixed", "55")), total="540.35",
)  # fmt: skip

# A shop on kVAh, by time of use, with demand in kVA and a power factor penalty; 10 kW under contract.
#   Each day: 24 quarters of the night (22:00 to 04:00) at 48 Wh and 60 VAh, 72 of the day at 100 Wh and 125 VAh; but on the 12th the four
#   quarters from 18:00 are 600 Wh and 750 VAh. (Each is one less, then one more, as a meter that never moves is not believed.)
#   Night 30 x 24 x 48 = 34,560 Wh, 43,200 VAh. Day 30 x 72 x 100 + 4 x 500 = 218,000 Wh, 270,000 + 4 x 625 = 272,500 VAh.
#   Demand: 1,500 VAh in half an hour = 3,000 VA by day; by night 120 VAh = 240 VA. 75 % of the contract are 7,500, which is more.
#   Energy 43.200 x 6.00 = 259.20 and 272.500 x 8.50 = 2,316.25; demand 7.5 x 250 = 1,875.00
#   Power factor 252,560 / 315,700 = 0.80: five steps of 1 % below 0.85 on the energy, 5 % of 2,575.45 = 128.7725. Sum 4,579.2225,
#   of which 4,579.22 is asked.
SHOP = Case(
    ({"kind": "energy", "code": "energy", "measure": "apparent", "rates": [{"periods": ["night"], "price": "6.00"},
                                                                           {"periods": ["day"], "price": "8.50"}]},
     {"kind": "demand", "code": "demand", "measure": "apparent", "window_min": 30, "price": "250", "contract_percent": "75"},
     {"kind": "power_factor", "code": "pf", "of": ["energy"], "each": "0.01", "penalties": [{"below": "0.85", "percent": "1"}]}),
    10_000, shop(48, 100, 600), shop(60, 125, 750),
    ({"bands": [{"from": "00:00", "to": "04:00", "period": "night"}, {"from": "04:00", "to": "22:00", "period": "day"},
                {"from": "22:00", "to": "24:00", "period": "night"}]},),
    (("day", "apparent", 272_500), ("day", "import", 218_000), ("night", "apparent", 43_200), ("night", "import", 34_560)),
    (("demand", "day", 3_000), ("demand", "night", 240)), 8_000,
    (("energy night", "259.2"), ("energy day", "2316.25"), ("demand", "1875"), ("pf 0.80", "128.7725")), "4579.22",
)  # fmt: skip

CASES = {"Delhi, slabs and contract": DELHI, "Kerala, as published": KERALA, "shop, kVAh, demand, power factor": SHOP}


@pytest.fixture(params=CASES)
def month(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Payday, Case]]:
    """The month of a case in a store: come in, closed, validated."""
    case, town = CASES[request.param], Payday(tmp_path)
    version = {"from": "2020-01-01", "items": list(case.items)} | ({"hours": list(case.hours)} if case.hours else {})
    text = json.dumps({"kind": "tariff", "code": "paper", "currency": "INR", "zone": "Asia/Kolkata", "versions": [version]})
    columns = (("interval_import_wh", case.wh), ("interval_apparent_vah", case.vah))
    town.read(HOME, OPENED_WH)
    town.now_ms = NOVEMBER[1]
    with town.db.write() as conn:
        conn.execute(update(tariff_version).values(document=text))
        set_terms(conn, town.postpaid_account, SupplyTerms(contract_w=case.contract_w), town.now_ms, "desk")
        blocks = (ChannelBlock(town.homes[HOME].meter_no, BY_NAME[name].code, START_MS, 900, len(values),
                               encode_block(array("q", values)), b"") for name, values in columns if values)  # fmt: skip
        take_intervals(town.arrival(conn), Intervals(tuple(blocks)))
    town.read(HOME, OPENED_WH + sum(case.wh))
    town.now_ms += GRACE_MS
    while close_days(town.db, town.now_ms):
        pass
    while run_pending(town.db, town.now_ms):
        pass
    yield town, case
    town.close()


def found(town: Payday) -> Determinants:
    with town.db.read() as conn:
        return determinants(conn, town.postpaid_account, *NOVEMBER)


def issued(town: Payday) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, *NOVEMBER, town.now_ms, "desk")


def named(line_reference: str, kind: LineKind) -> str:
    return line_reference or {LineKind.ENERGY: "energy", LineKind.FIXED: "fixed"}[kind]


@pytest.mark.covers("BYPL-2.5")
def test_determinants_and_bill_are_those_worked_by_hand(month: tuple[Payday, Case]) -> None:
    town, case = month
    said = found(town)
    assert [(u.period, u.measure, u.wh) for u in said.used] == list(case.used)
    assert [(d.item, d.period, d.power_w) for d in said.demands] == list(case.demands)
    assert (said.power_factor, said.contract_w, said.days, said.counted_by) == (case.power_factor, case.contract_w, 30, "intervals")
    assert (said.first.register_wh, said.last.register_wh) == (OPENED_WH, OPENED_WH + sum(case.wh))
    assert said.import_wh == said.total(Measure.IMPORT) == sum(case.wh)
    assert (said.quality.measured, said.quality.missing) == (2_880, 0)
    bill = issued(town)
    amounts = [(named(line.reference, line.kind), line.amount_nano) for line in bill.bill.lines if line.kind is not LineKind.ROUNDING]
    assert [(name, decimal_text(amount)) for name, amount in amounts] == list(case.lines)
    assert bill.due_nano == nano(case.total)
    assert found(town) == said, "a bill that was issued moves nothing it rests on"


@pytest.mark.covers_part("BYPL-2.5")
def test_the_command_says_them_and_issues_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no interval came the register is all there is to say."""
    town = Payday(tmp_path)
    town.read(HOME, OPENED_WH)
    town.now_ms = NOVEMBER[1]
    town.read(HOME, OPENED_WH + 123_456)
    with town.db.read() as conn:
        assert conn.execute(select(channel.c.channel_no)).first() is None
    (tmp_path / "mdm.toml").write_text(f'data_dir = "."\n[store]\nurl = "{town.db.url}"\n')
    given = ("--config", str(tmp_path / "mdm.toml"), "bill", str(town.postpaid_account), "--month", "2026-11")
    assert main([*given, "--determinants"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["counted_by"], said["import_wh"], said["used"], said["power_factor"]) == ("register", 123_456, [], None)
    assert said["last"]["register_wh"] - said["first"]["register_wh"] == 123_456
    with town.db.read() as conn:
        assert service.list_bills(conn, town.postpaid_account) == ()
    town.close()
