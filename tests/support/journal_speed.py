"""How fast the edge's own path writes the journal: sweeps of meters that each moved, one transaction a sweep, on a real money.db.

* CPU time is the whole process's; the time of a sweep by the wall holds the disk's too, and whatever else ran beside it. The fastest
  sweep of all is the least disturbed one: where cores are shared, CPU time grows with the load too.
* What is written per entry is counted at each place: the entry's body, its copy in the outbox, the rows that are rewritten beside it,
  and all pages as they stand in the write-ahead log, which is what reaches the disk.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.engine import advance, opened
from gridtally_shared.tariff.terms import Account
from gridtally_shared.tariff.use import Series
from support.prepay_bench import START_MS, Bench, tariff

INTERVAL_MS = 900_000
WH = 250
SIZED_SWEEPS = 4
STEPS = 2000
TARGET = 1000
TOU = {
    "kind": "tariff", "code": "tou", "currency": "INR", "zone": "Asia/Kolkata", "versions": [{
        "from": "2020-01-01",
        "hours": [{"bands": [{"from": "00:00", "to": "06:00", "period": "night"}, {"from": "06:00", "to": "18:00", "period": "day"},
                             {"from": "18:00", "to": "24:00", "period": "peak"}]}],
        "items": [
            {"kind": "energy", "code": "energy", "rates": [
                {"periods": ["night"], "price": "3.00"}, {"periods": ["day"], "price": "5.00"},
                {"periods": ["peak"], "slabs": [{"to_kwh": "50", "price": "7.00"}, {"price": "9.00"}]}]},
            {"kind": "fixed", "code": "fixed", "price": "60.00"},
            {"kind": "percent", "code": "duty", "percent": "5", "of": ["energy"]}],
    }],
}  # fmt: skip
"""Three periods, one of them in slabs, a fixed part and a tax."""


@dataclass(frozen=True, slots=True)
class Speed:
    meters: int
    sweeps: int
    entries: int
    cpu_s: float
    wall_s: float
    body_bytes: float
    outbox_bytes: float
    rows_bytes: float
    wal_bytes: float
    advance_cpu_us: float
    best_per_cpu_s: float

    @property
    def per_cpu_s(self) -> float:
        return self.entries / self.cpu_s

    @property
    def per_wall_s(self) -> float:
        return self.entries / self.wall_s


@dataclass(slots=True)
class _Clock:
    cpu_s: float = 0.0
    wall_s: float = 0.0
    best_cpu_s: float = math.inf

    @contextmanager
    def running(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        used_s = time.process_time() - cpu
        self.cpu_s, self.wall_s = self.cpu_s + used_s, self.wall_s + time.perf_counter() - wall
        self.best_cpu_s = min(self.best_cpu_s, used_s)


def measure(folder: Path, meters: int = 400, sweeps: int = 20) -> Speed:
    """`meters` prepaid accounts with a daily fixed part, read every 15 minutes; the first sweeps are not counted."""
    bench = Bench(folder, meters, tariffs=(tariff(fixed_per_day="2"),))
    for number in range(1, meters + 1):
        bench.credit(number, "1000")
    _sweeps(bench, 2, _Clock())
    before, clock = _sizes(bench)[0], _Clock()
    _sweeps(bench, sweeps, clock)
    entries = _sizes(bench)[0] - before
    body, outbox, wal = _written(bench)
    speed = Speed(
        meters, sweeps, entries, clock.cpu_s, clock.wall_s, body, outbox, _rows_beside(bench) / meters, wal, advance_cpu_us(),
        meters / clock.best_cpu_s,
    )  # fmt: skip
    bench.db.close()
    return speed


def advance_cpu_us() -> float:
    """CPU time of the engine for one interval of 15 minutes, half a month of it and more in one account."""
    plan, account, at_ms = tariff_plan([json.dumps(TOU)], "Asia/Kolkata"), Account(), START_MS
    state, started = opened(plan, account, at_ms), time.process_time()
    for _ in range(STEPS):
        state = advance(plan, account, state, (Series(at_ms, INTERVAL_MS, (WH,)),), at_ms + INTERVAL_MS).state
        at_ms += INTERVAL_MS
    return (time.process_time() - started) / STEPS * 1e6


def _written(bench: Bench) -> tuple[float, float, float]:
    """Bytes for each entry of some sweeps: its body, its copy in the outbox, the log's pages. Nothing goes from the log to the file
    meanwhile, so all that was written can be counted."""
    bench.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    bench.db.execute("PRAGMA wal_autocheckpoint = 0")
    before = _sizes(bench)
    _sweeps(bench, SIZED_SWEEPS, _Clock())
    count, body, outbox, wal = (b - a for a, b in zip(before, _sizes(bench), strict=True))
    return body / count, outbox / count, wal / count


def _sweeps(bench: Bench, count: int, clock: _Clock) -> None:
    for _ in range(count):
        bench.now_ms += INTERVAL_MS
        bench.trust()
        register_wh = bench.db.execute("SELECT max(register_wh) FROM journal").fetchone()[0] + WH
        with clock.running():
            bench.read_all(register_wh)
        bench.effects.clear()


def _sizes(bench: Bench) -> tuple[int, int, int, int]:
    count, body = bench.db.execute("SELECT count(*), sum(length(body)) FROM journal").fetchone()
    (outbox,) = bench.db.execute("SELECT sum(length(body)) FROM outbox_entry").fetchone()
    wal = bench.path.with_name(bench.path.name + "-wal")
    return count, body, outbox, wal.stat().st_size if wal.exists() else 0


def _rows_beside(bench: Bench) -> int:
    """What an entry rewrites beside the journal: the account, its running charge, its switch and its forecast."""
    found = 0
    for table in ("account", "charging", "switch", "forecast"):
        names = [row[1] for row in bench.db.execute(f"PRAGMA table_info({table})")]
        found += bench.db.execute(f"SELECT sum({' + '.join(f'length(coalesce({n}, 0))' for n in names)}) FROM {table}").fetchone()[0]
    return int(found)
