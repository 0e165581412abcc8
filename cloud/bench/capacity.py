"""What a meter-day costs the MDM: disk, memory and CPU time, as slopes from which docs/capacity.md works out bigger systems.

    python cloud/bench/capacity.py
    python cloud/bench/capacity.py --meters 200 400 800 --days 6 --months 3

* Streets of some sizes, each in a process of its own on SQLite: every day comes in, is closed and totalled, and goes through VEE. Registers
  are read every quarter hour. Forty meters in a transaction; once a day's quarters come together (a profile that is read), once quarter by
  quarter (meters that are read all day).
* A slope is between the second and the last day: bytes of the pages in use, by table; CPU time of the process; memory is its highest,
  without the bench's own columns of use.
* Bills: one street for some months, each month issued in turn, since a bill walks its account from the beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import text

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "cloud", "tests")]

from support.billed_street import BilledStreet  # noqa: E402
from support.month_of_use import DAYS, QUARTERS  # noqa: E402

TOGETHER = 40
SETTLED = 2
"""Days after which slopes are taken: by then every table has its first pages."""


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU in ms and disk in bytes, both of a meter-day; `tables`: those that take most of it."""

    meters: int
    live: bool
    in_ms: float
    close_ms: float
    vee_ms: float
    disk: float
    tables: dict[str, float]
    rss_mb: float


class Timed:
    """CPU seconds by name, once it is told to count."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, counts: bool, work: Callable[[], None]) -> None:
        before = time.process_time()
        work()
        if counts:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - before


def _pages(street: BilledStreet) -> dict[str, int]:
    """Bytes of the pages in use, by table with its indexes."""
    query = "SELECT m.tbl_name, SUM(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name GROUP BY m.tbl_name"
    with street.db.read() as conn:
        return {str(name): int(size) for name, size in conn.execute(text(query))}


def _highest_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(folder: Path, meters: int, days: int, live: bool) -> Measured:
    street, timed = BilledStreet(folder, meters, each=1), Timed()
    settled: dict[str, int] = {}
    for day in range(days):
        timed("in", day >= SETTLED, lambda d=day: street.take(d, 1 if live else QUARTERS, TOGETHER))  # type: ignore[misc]
        timed("close", day >= SETTLED, lambda d=day: street.close(d))  # type: ignore[misc]
        timed("vee", day >= SETTLED, lambda d=day: street.judge(d))  # type: ignore[misc]
        if day == SETTLED - 1:
            settled = _pages(street)
    amount = meters * (days - SETTLED)
    grown = {name: (size - settled.get(name, 0)) / amount for name, size in _pages(street).items()}
    own_mb = street.own_bytes / 2**20
    street.db.close()
    most = dict(sorted(grown.items(), key=lambda row: -row[1])[:6])
    in_ms, close_ms, vee_ms = (1000 * timed.seconds[name] / amount for name in ("in", "close", "vee"))
    return Measured(meters, live, in_ms, close_ms, vee_ms, sum(grown.values()), most, _highest_mb() - own_mb)


def bills(folder: Path, meters: int, months: int) -> list[tuple[float, float]]:
    """(ms of CPU, bytes) of a bill of each month."""
    street = BilledStreet(folder, meters)
    found = []
    for month in range(months):
        for day in range(month * DAYS, (month + 1) * DAYS):
            street.take(day)
        street.close((month + 1) * DAYS - 1)
        before, seconds = sum(_pages(street).values()), []
        for number in street.street.meters:
            start = time.process_time()
            street.bill(number, (month + 1) * DAYS, month * DAYS)
            seconds.append(time.process_time() - start)
        found.append((1000 * median(seconds), (sum(_pages(street).values()) - before) / meters))
    street.db.close()
    return found


def _alone(*arguments: str) -> Measured:
    """In a process of its own, so that memory is that of one size."""
    answer = subprocess.run([sys.executable, __file__, "--one", *arguments], check=True, capture_output=True, text=True).stdout
    return Measured(**json.loads(answer))


def shown(found: Measured) -> str:
    per = ", ".join(f"{name} {size:,.0f}" for name, size in found.tables.items() if size >= 1)
    return (
        f"  {found.meters:5} meters, {'quarter by quarter' if found.live else 'a day at once':18} in {found.in_ms:.2f}, close and totals "
        f"{found.close_ms:.2f}, VEE {found.vee_ms:.2f} ms; {found.disk:,.0f} B ({per}); at most {found.rss_mb:.0f} MB"
    )


def report(options: argparse.Namespace) -> None:
    print(f"of a meter-day of {QUARTERS} quarter hours and {QUARTERS} registers, load {os.getloadavg()[0]:.1f}")
    runs = [_alone(str(n), str(options.days), "0") for n in options.meters] + [_alone(str(options.meters[0]), str(options.days), "1")]
    for run in runs:
        print(shown(run), flush=True)
    first, last = runs[0], runs[-2]
    if last.meters > first.meters:
        print(f"  memory: {1000 * (last.rss_mb - first.rss_mb) / (last.meters - first.meters):.1f} MB for each 1,000 meters more")
    with tempfile.TemporaryDirectory() as folder:
        found = bills(Path(folder), options.bills, options.months)
    for month, (ms, size) in enumerate(found, 1):
        print(f"  a bill of month {month}: {ms:.1f} ms, {size:,.0f} B")


def main() -> int:
    parser = argparse.ArgumentParser(description="What a meter-day costs the MDM.", epilog="example: capacity.py --meters 200 800")
    parser.add_argument("--meters", type=int, nargs="+", default=[200, 400, 800])
    parser.add_argument("--days", type=int, default=6)
    parser.add_argument("--bills", type=int, default=20, help="accounts that are billed")
    parser.add_argument("--months", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        meters, days, live = (int(each) for each in options.one)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asdict(measure(Path(folder), meters, days, bool(live)))))
        return 0
    report(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
