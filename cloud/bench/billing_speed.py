"""How fast bills by time of use and slabs are made from a month of quarter hours: accounts per CPU-second of one core.

    python cloud/bench/billing_speed.py --rounds 5
    python cloud/bench/billing_speed.py --accounts 1000 --stored 0

* The target of 500 is for the bill itself (`billing.postpaid.postpaid_bill`): 2,976 intervals, three periods of three slabs each, fuel,
  fixed, two percentages, a minimum and rounding, to the lines as they stand on paper. Every account has a month of its own.
* Before anything is timed, the energy of each period and slab is added up by plain loops over the clock, and must be the bill's.
* Beside it, without a target: the same bills issued out of a store, with its checks, reads and writes, one transaction each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "cloud", "tests", "native/bench")]

from measure import in_turn  # noqa: E402

from gridtally_cloud.billing.model import Bill, DataQuality, Party, Reading  # noqa: E402
from gridtally_cloud.billing.postpaid import BillInputs, Stop, postpaid_bill  # noqa: E402
from gridtally_native import BACKEND  # noqa: E402
from gridtally_shared.tariff.engine import bill  # noqa: E402
from gridtally_shared.tariff.running import Terms  # noqa: E402
from gridtally_shared.tariff.use import Series  # noqa: E402
from support.billed_street import BilledStreet, at_day  # noqa: E402
from support.month_of_use import DAYS, REAL, ZONE, month_of, plan  # noqa: E402

TARGET = 500
PLAN = plan()
TERMS = Terms("home_tou", ZONE, (), 3000)
PARTY = Party(1, "Asha Rao", "1 Acacia Lane", "10000001", "Home", ZONE, "en", "INR")
FROM_MS, TO_MS = at_day(0), at_day(DAYS)
WORKDAY = {"night": {*range(6), 22, 23}, "peak": {*range(6, 10), *range(18, 22)}}
SLABS_WH = (100_000, 300_000)


def made(values: Sequence[int]) -> Bill:
    """The bill of one account."""
    series = Series(FROM_MS, 900_000, values)
    stops = (Stop(FROM_MS, Reading(FROM_MS, 0)), Stop(TO_MS, Reading(TO_MS, sum(values))))
    return postpaid_bill(BillInputs(PARTY, FROM_MS, TO_MS, PLAN, TERMS, stops, 0, (), (), DataQuality(len(values)), use=((series,),)))


def _period(at: datetime) -> str:
    if at.weekday() >= 5:
        return "night" if at.hour < 8 else "day"
    return next((name for name, hours in WORKDAY.items() if at.hour in hours), "day")


def by_the_clock(values: Sequence[int]) -> dict[str, int]:
    """Wh of each period and slab, by loops that know nothing of the engine."""
    start, used = datetime(2026, 10, 1, tzinfo=ZoneInfo(ZONE)), Counter[str]()
    for place, value in enumerate(values):
        used[_period(start + timedelta(minutes=15 * place))] += value
    found = {}
    for period, wh in used.items():
        for number, (low, high) in enumerate(zip((0, *SLABS_WH), (*SLABS_WH, wh), strict=True), 1):
            if min(wh, high) > low:
                found[f"energy {period} {number}"] = min(wh, high) - low
    return found


def check(months: list[array[int]]) -> None:
    for values in months:
        said = {line.reference: line.quantity for line in made(values).lines if line.reference.startswith("energy ")}
        assert said == by_the_clock(values), "the bill's energy is not what the clock says"


def rating(accounts: int, rounds: int) -> float:
    """Bills per CPU-second."""
    months = [array("q", month_of(number)) for number in range(accounts)]
    check(months[:20])
    first = datetime(2026, 10, 1, tzinfo=ZoneInfo(ZONE)).toordinal()
    timed = in_turn({
        "engine alone, to the tariff's lines": lambda: [
            bill(PLAN, TERMS.account, [Series(FROM_MS, 900_000, m)], first, first + DAYS) for m in months],
        "bill, to the lines on paper": lambda: [made(m) for m in months],
    }, rounds)  # fmt: skip
    print(f"{accounts} accounts, {len(months[0]):,} intervals each, {'a real month' if REAL else 'a month made up'}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for name, timing in timed.items():
        print(f"  {name:48} {timing.rate(accounts):>8,.0f} accounts per CPU-second ({timing.spread(accounts)})")
    return timed["bill, to the lines on paper"].rate(accounts)


def issued(folder: Path, accounts: int) -> list[float]:
    """CPU seconds of each bill issued out of a store whose days are closed; the first, which fills the caches, is left out."""
    street = BilledStreet(folder, accounts + 1)
    for day in range(DAYS):
        street.take(day)
    street.close(DAYS - 1)
    seconds = []
    for number in street.street.meters:
        before = time.process_time()
        street.bill(number, DAYS)
        seconds.append(time.process_time() - before)
    street.db.close()
    return seconds[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast bills are made.", epilog="example: billing_speed.py --rounds 7 --stored 0")
    parser.add_argument("--accounts", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stored", type=int, default=40, help="accounts of the store; 0 leaves it out")
    options = parser.parse_args()
    rate = rating(options.accounts, options.rounds)
    print(f"  target {TARGET} for the bill: {'met' if rate >= TARGET else 'MISSED'} ({rate / TARGET:.1f})")
    if options.stored:
        with tempfile.TemporaryDirectory() as folder:
            seconds = issued(Path(folder), options.stored)
        print(f"  issued out of a store with {BACKEND}: {1 / median(seconds):,.0f} a CPU-second, {1000 * median(seconds):.1f} ms each "
              "(reads, checks, rows and commit; no target)")  # fmt: skip
    return 0 if rate >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
