"""The store of intervals by itself: what it writes, holds and reads in bulk, against its limits and against rows in SQLite in the same run.

    python cloud/bench/store_speed.py
    python cloud/bench/store_speed.py --rounds 3 --data ../data     a quicker run, and where `interval_data` lies

* Data: 15 minutes, 1 Wh, shaped to the figures published for the SimBench profiles (native/bench/samples.py: it is not SimBench); 1,000
  meters of 30 days are made, ten concentrators have them with their days shifted. Beside it five measured households of 30 minutes.
* Written is through `take_days` (store/close.py), as closing and import do: look whether anything is held, pack, blocks, day totals, the
  order to VEE, notices; one durable transaction a concentrator and day (WAL, synchronous FULL), from columns of integers. The same without
  the order to VEE is told beside it (`write_first`, store/bulk.py).
* Peers get the same intervals as rows that were made before the clock started: `sqlite3.executemany` WITHOUT ROWID, key (meter, start),
  and sqlite-utils' `insert_all`; one durable transaction a concentrator and day too. In two orders, each held against the limit: by time,
  as meters send them (the order of arrival of performance.md section 2), and by key, as our columns stand, which is the peers' best.
* Time is CPU time of the process, all methods in turn, median of the rounds; for PostgreSQL the CPU of its server is counted in.
* Bytes held are pages of the tables (dbstat). Bytes written are told twice, last checkpoint included, the file system's own journal not:
  what SQLite handed over in write calls (/proc/self/io, wchar), and what the kernel counted (write_bytes). The kernel counts a page when
  it becomes dirty, and since Linux 6.16 ext4 keeps pages in folios of several, of which it counts all for one: 800 pages written by a
  checkpoint were counted as 925 to 1,053. The block device itself got 2 % more than the write calls (docs/benchmarks.md).
* The inbox path is `store_blocks` for a day of a concentrator, then `close_days` as the worker does it.
"""

from __future__ import annotations

import argparse
import gc
import os
import sqlite3
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "cloud", "tests", "native/bench", "cloud/bench")]

from samples import difference_entropy, load_days, measured_days  # noqa: E402
from server_time import server_s  # noqa: E402
from sqlalchemy import Connection, func, insert, select  # noqa: E402

from gridtally_cloud.store.blocks import APPROVED  # noqa: E402
from gridtally_cloud.store.bulk import ClosedDays, write_first  # noqa: E402
from gridtally_cloud.store.close import close_days, take_days  # noqa: E402
from gridtally_cloud.store.days import slots_of  # noqa: E402
from gridtally_cloud.store.db import Database  # noqa: E402
from gridtally_cloud.store.inbox import store_blocks, unpack  # noqa: E402
from gridtally_cloud.store.intervals import ChannelRef, read_intervals  # noqa: E402
from gridtally_cloud.store.tables import channel, interval_block, usage_day, usage_point  # noqa: E402
from gridtally_native import BACKEND, decode_block, encode_block  # noqa: E402
from gridtally_shared.contract.messages import ChannelBlock  # noqa: E402
from support import postgres  # noqa: E402
from support.stores import empty_store  # noqa: E402

METERS, DCUS, DAYS = 1_000, 10, 30
FIRST = 20_544
MS_PER_DAY = 86_400_000
NEVER_MS = (FIRST + 4_000) * MS_PER_DAY
PEER_DAYS, UTILS_DCUS = 3, 2
Values: TypeAlias = "list[array[int]]"
Write = Callable[[Connection, ClosedDays, int], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report; `limit` is what may be at most, or is wanted at least. Without one it is told only."""

    about: str
    value: float
    unit: str = ""
    limit: float | None = None
    least: bool = False

    @property
    def missed(self) -> bool:
        return self.limit is not None and (self.value < self.limit if self.least else self.value > self.limit)

    def __str__(self) -> str:
        wanted = "" if self.limit is None else f"   at {'least' if self.least else 'most'} {self.limit:g}"
        verdict = "" if self.limit is None else f": {'MISSED' if self.missed else 'met'}"
        number = f"{self.value:,.0f}" if self.value >= 1000 else f"{self.value:.3g}"
        return f"  {self.about:68} {number:>10} {self.unit:6}{wanted}{verdict}"


# ---- the set --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Set:
    """`days[meter][day]`; concentrator d has the days of each meter shifted by 3 d."""

    days: list[Values]
    period_s: int

    def of(self, dcu: int, day: int) -> Values:
        return [meter[(day + 3 * dcu) % len(meter)] for meter in self.days]

    def closed(self, dcu: int, day: int) -> ClosedDays:
        column = array("q")
        for values in self.of(dcu, day):
            column += values
        refs = [ChannelRef(dcu * len(self.days) + n + 1, "Wh", "UTC") for n in range(len(self.days))]
        return ClosedDays(refs, [slots_of(FIRST + day, "UTC", self.period_s)] * len(refs), column, [b""] * len(refs))

    def rows(self, dcu: int, day: int, by_time: bool) -> list[tuple[int, int, int]]:
        """(meter, start, value), as a peer has them, in the order of the key or of time."""
        start, step = (FIRST + day) * MS_PER_DAY, self.period_s * 1000
        rows = [(dcu * len(self.days) + n + 1, start + i * step, value) for n, values in enumerate(self.of(dcu, day))
                for i, value in enumerate(values)]  # fmt: skip
        return sorted(rows, key=lambda row: row[1]) if by_time else rows

    @property
    def per_batch(self) -> int:
        return sum(len(meter[0]) for meter in self.days)


def simbench_shaped() -> Set:
    days = load_days(METERS, DAYS)
    return Set([days[i : i + DAYS] for i in range(0, len(days), DAYS)], 900)


def households(data: Path) -> Set | None:
    """The five of `interval_data`, as one concentrator of five meters; as many days of each as the shortest has."""
    days = measured_days(data)
    if not days:
        return None
    least = len(days) // 5
    return Set([days[i * least : (i + 1) * least] for i in range(5)], 1800)


# ---- stores ---------------------------------------------------------------------------------------------------------


def sqlite_store(folder: Path, name: str, held: Set) -> Database:
    (folder / name).write_bytes(empty_store())
    return _with_channels(Database(folder / name), held)


def _with_channels(db: Database, held: Set) -> Database:
    numbers = range(1, DCUS * len(held.days) + 1)
    with db.write() as conn:
        conn.execute(insert(usage_point), [{"usage_point_no": n, "zone": "UTC", "created_ms": 0} for n in numbers])
        conn.execute(insert(channel), [{"channel_no": n, "usage_point_no": n, "quantity": 11, "direction": "import", "unit": "Wh",
                                        "exponent": 0, "period_s": held.period_s} for n in numbers])  # fmt: skip
    return db


def writer(db: Database, held: Set, write: Write) -> Callable[[int], Callable[[], None]]:
    """For a day: lay its columns ready, then what is timed."""

    def ready(day: int) -> Callable[[], None]:
        batches = [held.closed(dcu, day) for dcu in range(DCUS)]

        def run() -> None:
            for batch in batches:
                with db.write() as conn:
                    write(conn, batch, (FIRST + day + 1) * MS_PER_DAY)

        return run

    return ready


def executemany(folder: Path, held: Set, by_time: bool) -> Callable[[int], Callable[[], None]]:
    conn = sqlite3.connect(folder / f"rows{by_time}.db", isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        conn.execute(f"PRAGMA {pragma}")
    conn.execute("CREATE TABLE r (meter INTEGER, at INTEGER, value INTEGER, PRIMARY KEY (meter, at)) WITHOUT ROWID")

    def ready(day: int) -> Callable[[], None]:
        batches = [held.rows(dcu, day, by_time) for dcu in range(DCUS)]

        def run() -> None:
            for rows in batches:
                conn.execute("BEGIN IMMEDIATE")
                conn.executemany("INSERT INTO r VALUES (?, ?, ?)", rows)
                conn.execute("COMMIT")

        return run

    return ready


def sqlite_utils_rows(folder: Path, held: Set, by_time: bool) -> Callable[[int], Callable[[], None]]:
    import sqlite_utils

    db = sqlite_utils.Database(folder / f"utils{by_time}.db")
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        db.execute(f"PRAGMA {pragma}")

    def ready(day: int) -> Callable[[], None]:
        batches = [[{"meter": m, "at": at, "value": v} for m, at, v in held.rows(dcu, day, by_time)] for dcu in range(UTILS_DCUS)]

        def run() -> None:
            for rows in batches:
                db["r"].insert_all(rows, pk=("meter", "at"))

        return run

    return ready


# ---- measuring ------------------------------------------------------------------------------------------------------


def cpu_s(run: Callable[[], object], server_url: str = "") -> float:
    gc.collect()
    server, mine = server_s(server_url) if server_url else 0.0, time.process_time()
    run()
    mine = time.process_time() - mine
    return mine + (server_s(server_url) - server if server_url else 0.0)


def disk_bytes(name: str = "write_bytes") -> int:
    """Sent to the disk for this process so far, as the kernel counts it; with "wchar" handed over in write calls."""
    return next(int(line.split()[1]) for line in Path("/proc/self/io").read_text().splitlines() if line.startswith(f"{name}:"))


def pages(path: Path, *names: str) -> int:
    with sqlite3.connect(path) as conn:
        return sum(conn.execute("SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = ?", (name,)).fetchone()[0] for name in names)


def rates(held: Set, methods: dict[str, Callable[[int], Callable[[], None]]], rounds: int, server_url: str) -> dict[str, float]:
    """Intervals per CPU-second, all methods in turn; the first day is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in methods}
    for day in range(rounds + 1):
        for name, ready in methods.items():
            if "rows" in name and day > PEER_DAYS:
                continue  # a peer's days are long: three and the first
            seconds = cpu_s(ready(day), server_url if "PostgreSQL" in name else "")
            taken[name] += [seconds] if day else []
    amounts = {name: held.per_batch * (UTILS_DCUS if "utils" in name else DCUS) for name in methods}
    for name, all_s in taken.items():
        print(f"  {name:44} {amounts[name] / median(all_s):>13,.0f} intervals per CPU-second "
              f"({amounts[name] / max(all_s):,.0f} to {amounts[name] / min(all_s):,.0f}), {len(all_s)} rounds")  # fmt: skip
    return {name: amounts[name] / median(all_s) for name, all_s in taken.items()}


def writing(folder: Path, held: Set, rounds: int) -> Iterator[Figure]:
    ours, lean = "gridtally, take_days", "gridtally, write_first (no order to VEE)"
    methods = {ours: writer(sqlite_store(folder, "take.db", held), held, take_days),
               lean: writer(sqlite_store(folder, "first.db", held), held, write_first)}  # fmt: skip
    for by_time, order in ((True, "by time"), (False, "by key")):
        methods[f"sqlite3 executemany rows, {order}"] = executemany(folder, held, by_time)
        try:
            methods[f"sqlite-utils insert_all rows, {order}"] = sqlite_utils_rows(folder, held, by_time)
        except ImportError:
            print("  sqlite-utils is not installed: left out")
    url = ""
    if postgres.is_here():
        db = _with_channels(postgres.fresh_database(), held)
        methods["gridtally on PostgreSQL, take_days"], url = writer(db, held, take_days), db.url
    else:
        print("  PostgreSQL is not installed: left out")
    rate = rates(held, methods, rounds, url)
    for name in (name for name in rate if "rows" in name):
        yield Figure(f"take_days, times {name}", rate[ours] / rate[name], "times", 100 if "utils" in name else 30, least=True)
        yield Figure("  the same without the order to VEE", rate[lean] / rate[name], "times")


def holding(folder: Path, held: Set, days: int, limits: Sequence[float | None]) -> Iterator[Figure]:
    """Bytes held and written of a store of its own: `days` of every concentrator."""
    each = [[encode_block(values) for values in meter] for meter in held.days]
    size = sum(len(block) for meter in each for block in meter) / sum(len(values) for meter in held.days for values in meter)
    bits = difference_entropy([values for meter in held.days for values in meter], len(held.days[0]))
    yield Figure("codec, bytes an interval", size, "B")
    yield Figure(f"codec, of the order-0 entropy of the differences ({bits / 8:.3f} B)", size * 8 / bits, "times", limits[0])
    for order, write in (("", write_first), (" and orders to VEE", take_days)):
        path = folder / f"held{len(order)}.db"
        db = sqlite_store(folder, path.name, held)
        gc.collect()  # what was measured before is closed, and its log written out, before this counts
        before, amount = (disk_bytes("wchar"), disk_bytes()), held.per_batch * DCUS * days
        for day in range(days):
            writer(db, held, write)(day)()
        db.close()
        given, counted = (disk_bytes("wchar") - before[0]) / amount, (disk_bytes() - before[1]) / amount
        if not order:
            blocks, totals = pages(path, "interval_block") / amount, pages(path, "usage_day", "usage_month") / amount
            yield Figure("block table, bytes an interval", blocks, "B", limits[1])
            yield Figure("with the totals of days and months", blocks + totals, "B", limits[2])
            yield Figure("written for blocks and totals, bytes an interval", given, "B", limits[3])
            yield Figure("  the same as the kernel counts it", counted, "B")
        else:
            yield Figure("orders to VEE, bytes an interval", pages(path, "vee_order") / amount, "B")
            yield Figure("written with the orders to VEE, bytes an interval", given, "B", limits[3])
            yield Figure("  the same as the kernel counts it", counted, "B")


def months(conn: Connection, channels: Sequence[int], start_ms: int) -> None:
    for number in channels:
        assert read_intervals(conn, number, start_ms, start_ms + DAYS * MS_PER_DAY).present == b"\x01" * (DAYS * 96)


def reading(folder: Path, held: Set) -> Iterator[Figure]:
    db = Database(folder / "held18.db")
    start, last = FIRST * MS_PER_DAY, DCUS * len(held.days)
    with db.read() as conn:
        month = median(cpu_s(partial(months, conn, range(n, last, last // 200), start)) for n in range(1, 6)) / 200
        yield Figure(f"a month of one meter, {DAYS * 96:,} intervals, mean of 200 meters", month * 1e3, "ms", 0.5)
        u, b = usage_day.c, interval_block.c
        totals = select(func.sum(u.total)).where(u.shard == 0, u.day == FIRST + 7)
        blobs = select(b.blob).where(b.shard == 0, b.day == FIRST + 7, APPROVED)
        expected = sum(sum(values) for dcu in range(DCUS) for values in held.of(dcu, 7))
        assert conn.execute(totals).scalar_one() == expected == sum(sum(decode_block(row.blob)[0]) for row in conn.execute(blobs))
        by_total = median(cpu_s(lambda: conn.execute(totals).scalar_one()) for _ in range(15))
        opened = median(cpu_s(lambda: sum(sum(decode_block(blob)[0]) for (blob,) in conn.execute(blobs))) for _ in range(15))
        yield Figure(f"a day of {last:,} meters, by the day totals", by_total * 1e3, "ms", 30)
        yield Figure(f"a day of {last:,} meters, every block opened and summed", opened * 1e3, "ms", 30)
    db.close()


def by_the_inbox(folder: Path, held: Set) -> Iterator[Figure]:
    """One concentrator's day: into the inbox in one transaction, then closed as the worker does it."""
    db = sqlite_store(folder, "inbox.db", held)
    blocks = []
    for n, values in enumerate(held.of(0, 0), 1):
        block = ChannelBlock(n, 11, FIRST * MS_PER_DAY, held.period_s, len(values), encode_block(values), b"")
        blocks.append((ChannelRef(n, "Wh", "UTC"), block))
    before = disk_bytes()

    def take() -> None:
        with db.write() as conn:
            store_blocks(conn, [unpack(ref, block) for ref, block in blocks], FIRST * MS_PER_DAY)

    def close() -> None:
        while close_days(db, NEVER_MS):
            pass

    took, closed = cpu_s(take), cpu_s(close)
    db.close()
    amount = held.per_batch
    yield Figure("inbox path: into the inbox, intervals per CPU-second", amount / took)
    yield Figure("inbox path: closing, intervals per CPU-second", amount / closed)
    yield Figure("inbox path: written to disk, bytes an interval", (disk_bytes() - before) / amount, "B")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="days that are timed (default 5; of the peers at most 3)")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRIDTALLY_DATA", "data")), help="where interval_data lies")
    options = parser.parse_args(argv)
    missed = False
    print(f"native module {BACKEND}, SQLite {sqlite3.sqlite_version}, load {os.getloadavg()[0]:.1f}; "
          f"{DCUS} concentrators of {METERS:,} meters, 15 minutes, 1 Wh")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder, held = Path(name), simbench_shaped()
        figures = (writing(folder, held, options.rounds), holding(folder, held, DAYS, (1.09, 1.45, 1.80, 4)), reading(folder, held),
                   by_the_inbox(folder, held))  # fmt: skip
        for figure in (figure for some in figures for figure in some):
            missed |= figure.missed
            print(figure, flush=True)
        real = households(options.data)
        if real is None:
            print(f"  no interval_data in {options.data}: the measured households are left out")
        else:
            print(f"five measured households, 30 minutes, {len(real.days[0])} days of each:")
            (folder / "real").mkdir()
            for figure in holding(folder / "real", real, len(real.days[0]) // 10, (None,) * 4):
                print(figure, flush=True)
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
