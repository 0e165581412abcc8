"""Four tariffs, energy taken and given back: the meter's rate registers and its intervals give the same bill, and it is the one of plain
sums over the hours.

The registers here count as a meter's clock would: by a function of day and hour that stands beside each tariff, not by its document.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from gridtally_cloud.billing import service
from gridtally_cloud.billing.determinants import determinants
from gridtally_cloud.billing.model import BillView
from gridtally_cloud.customers.tables import tariff_version
from gridtally_cloud.ingest.measurements import take_intervals, take_readings
from gridtally_native import encode_block
from gridtally_shared.contract.messages import ChannelBlock, Intervals, Readings, Value
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.tariff.document import tariff_plan
from support.payday import DAY_MS, OPENED_WH, START_MS, Payday

HOME, DAYS, QUARTERS = 2, 4, 96
DATES = ("2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04")  # a Sunday and three working days
WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TAKEN = [40 + place % 7 for place in range(DAYS * QUARTERS)]
GIVEN = [30 + place % 11 if 40 <= place % QUARTERS < 64 else place % 2 for place in range(DAYS * QUARTERS)]
Clock = Callable[[int, int], str]
"""Day and hour to the period that counts."""


@dataclass(frozen=True)
class Tariff:
    """`prices` are those of energy taken; what is given back earns half of it."""

    clock: Clock
    prices: dict[str, str]
    day_types: tuple[dict[str, Any], ...]
    days: tuple[tuple[tuple[str, ...], int], ...]

    @property
    def version(self) -> dict[str, Any]:
        """`days`: day types, and a day whose hours are theirs."""
        hours = [{"days": list(kinds), "bands": bands(partial(self.clock, day))} for kinds, day in self.days]
        return {
            "from": "2020-01-01", "day_types": list(self.day_types), "hours": hours,
            "registers": [{"period": period, "rate": rate} for rate, period in enumerate(self.prices, 1)],
            "items": [
                {"kind": "energy", "code": "energy", "rates": [{"periods": [p], "price": price} for p, price in self.prices.items()]},
                {"kind": "energy", "code": "given", "measure": "export", "credit": True,
                 "rates": [{"periods": [p], "price": half(price)} for p, price in self.prices.items()]},
                {"kind": "percent", "code": "tax", "percent": "5", "of": ["energy"]},
            ],
        }  # fmt: skip

    @property
    def document(self) -> str:
        return json.dumps({"kind": "tariff", "code": "rates", "currency": "INR", "zone": "Asia/Kolkata", "versions": [self.version]})

    def counted(self, wh: list[int]) -> Counter[str]:
        """What a register of each period counts."""
        found = Counter(dict.fromkeys(self.prices, 0))
        for place, value in enumerate(wh):
            found[self.clock(place // QUARTERS, place % QUARTERS // 4)] += value
        return found


def half(price: str) -> str:
    return f"{int(price) / 2:.1f}"


def bands(period_at: Callable[[int], str]) -> list[dict[str, str]]:
    """A band for each hour; neighbours may have the same period."""
    return [{"from": f"{hour:02d}:00", "to": f"{hour + 1:02d}:00", "period": period_at(hour)} for hour in range(24)]


def dated(*dates: str) -> tuple[dict[str, Any], ...]:
    """A day type for each date, and one for all other days."""
    return (*({"code": f"d{i}", "dates": [date]} for i, date in enumerate(dates)), {"code": "other", "weekdays": WEEK})


def use_time(_day: int, hour: int) -> str:
    return "night" if hour < 6 else "day" if hour < 18 else "peak"


def critical(day: int, hour: int) -> str:
    """Called for Tuesday the 3rd, from 14:00 to 18:00."""
    return "critical" if day == 2 and 14 <= hour < 18 else "base"


def real_time(day: int, hour: int) -> str:
    """Prices published for each hour of each day, in eight steps."""
    return f"step{(7 * hour + 3 * day * day + hour // 5) % 8}"


def combined(day: int, hour: int) -> str:
    """Sunday at one price, times of use on working days, a critical peak on Tuesday, hourly prices on Wednesday."""
    hourly = f"step{(5 * hour + hour // 3) % 3}"
    return "rest" if day == 0 else hourly if day == 3 else "critical" if critical(day, hour) == "critical" else use_time(day, hour)


ALL_DATED = tuple(((f"d{i}",), i) for i in range(DAYS))
TARIFFS = {
    "time of use": Tariff(use_time, {"night": "3", "day": "6", "peak": "9"}, (), (((), 0),)),
    "critical peak": Tariff(critical, {"base": "5", "critical": "40"}, dated(DATES[2]), ((("d0",), 2), (("other",), 0))),
    "real time": Tariff(real_time, {f"step{n}": str(2 + 3 * n) for n in range(8)}, dated(*DATES), (*ALL_DATED, (("other",), 0))),
    "combined": Tariff(combined, {"rest": "2", "night": "3", "day": "6", "critical": "50", "peak": "9", "step0": "4", "step1": "5",
                                  "step2": "11"},
                       dated(*DATES), (*ALL_DATED, (("other",), 1))),
}  # fmt: skip


def put(town: Payday, quantity: str, first: int, moved: int) -> None:
    """A register at both ends of the four days."""
    number, code = town.homes[HOME].meter_no, BY_NAME[quantity].code
    with town.db.write() as conn:
        values = (Value(number, code, START_MS, first), Value(number, code, START_MS + DAYS * DAY_MS, first + moved))
        take_readings(town.arrival(conn), Readings(values))


def put_rates(town: Payday, tariff: Tariff, **more: int) -> None:
    for direction, wh in (("import", TAKEN), ("export", GIVEN)):
        moved = tariff.counted(wh)
        for rate, period in enumerate(tariff.prices, 1):
            put(town, f"energy_{direction}_rate{rate}_wh", 1_000 * rate, moved[period] + more.get(f"{direction}{rate}", 0))


def put_intervals(town: Payday) -> None:
    with town.db.write() as conn:
        both = (("interval_import_wh", TAKEN), ("interval_export_wh", GIVEN))
        take_intervals(town.arrival(conn), Intervals(tuple(
            ChannelBlock(town.homes[HOME].meter_no, BY_NAME[name].code, START_MS, 900, len(wh), encode_block(array("q", wh)), b"")
            for name, wh in both)))  # fmt: skip


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.now_ms += DAYS * DAY_MS
    put(town, "energy_import_wh", OPENED_WH, sum(TAKEN))
    yield town
    town.close()


def priced(town: Payday, tariff: Tariff) -> None:
    with town.db.write() as conn:
        conn.execute(update(tariff_version).values(document=tariff.document))


def counted_by(town: Payday) -> str:
    with town.db.read() as conn:
        return determinants(conn, town.postpaid_account, START_MS, START_MS + DAYS * DAY_MS).counted_by


def issue(town: Payday) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, START_MS, START_MS + DAYS * DAY_MS, town.now_ms, "desk")


def by_hand(tariff: Tariff) -> int:
    taken, given = tariff.counted(TAKEN), tariff.counted(GIVEN)
    cost = sum(taken[p] * int(price) * 1_000_000 for p, price in tariff.prices.items())
    return cost + cost * 5 // 100 - sum(given[p] * int(price) * 500_000 for p, price in tariff.prices.items())


@pytest.mark.covers("ETSI-F3c")
@pytest.mark.parametrize("name", TARIFFS)
def test_rate_registers_and_intervals_give_the_same_bill(name: str, tmp_path: Path) -> None:
    tariff, bills = TARIFFS[name], []
    for source, bring in (("rate registers", partial(put_rates, tariff=tariff)), ("intervals", put_intervals)):
        (tmp_path / source).mkdir()
        town = Payday(tmp_path / source)
        town.now_ms += DAYS * DAY_MS
        put(town, "energy_import_wh", OPENED_WH, sum(TAKEN))
        priced(town, tariff)
        bring(town)
        assert counted_by(town) == source
        bills.append(issue(town).bill)
        town.close()
    assert bills[0].lines == bills[1].lines
    assert bills[0].closing_nano == bills[1].closing_nano
    assert sum(line.amount_nano for line in bills[0].lines) == by_hand(tariff)
    assert bills[0].used_wh == sum(TAKEN)


WRONG: dict[str, dict[str, int]] = {"backwards": {"import1": -10**6}, "more than the total": {"import2": 31}}


@pytest.mark.parametrize("what", WRONG)
def test_registers_that_can_not_be_right_are_not_billed(town: Payday, what: str) -> None:
    tariff = TARIFFS["time of use"]
    priced(town, tariff)
    put_rates(town, tariff, **WRONG[what])
    with pytest.raises(RefusedCommand, match=r"interval_export_wh|interval_import_wh"):
        issue(town)


def test_without_every_register_the_intervals_are_asked_for(town: Payday) -> None:
    priced(town, TARIFFS["time of use"])
    put(town, "energy_import_rate1_wh", 0, sum(TAKEN))
    with pytest.raises(RefusedCommand, match="none was measured"):
        issue(town)
    put_rates(town, TARIFFS["critical peak"])
    with pytest.raises(RefusedCommand, match="none was measured"):
        issue(town)


@pytest.mark.parametrize(("registers", "said"), [
    ([{"period": "night", "rate": 1}], "no register counts this period"),
    ([{"period": "night", "rate": 1}, {"period": "day", "rate": 1}, {"period": "peak", "rate": 2}], "stands twice"),
    ([{"period": "noon", "rate": 1}], "no such period"),
    ([{"period": "night", "rate": 9}], "registers"),
])  # fmt: skip
def test_a_document_names_a_register_for_each_period_or_for_none(registers: list[dict[str, Any]], said: str) -> None:
    whole = json.loads(TARIFFS["time of use"].document)
    whole["versions"][0]["registers"] = registers
    with pytest.raises(ConfigError, match=said):
        tariff_plan([json.dumps(whole)])
    del whole["versions"][0]["registers"]
    assert tariff_plan([json.dumps(whole)]).versions[0].registers == ()
