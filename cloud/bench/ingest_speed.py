"""How fast the MDM takes intervals in: from the bytes of an MQTT message to the commit and the bytes of its receipt.

    python cloud/bench/ingest_speed.py --rounds 5

* One message is a day of 42 meters of one concentrator, 4,032 intervals of 15 minutes and 1 Wh. Every message is one durable transaction
  (SQLite: WAL, synchronous FULL; PostgreSQL: synchronous_commit on). The broker's part is not in it; the network part of a worker
  costs under 0.2 ms a message (performance.md 3).
* Time is CPU time of the process, all methods in turn in each round, median of the rounds. On PostgreSQL the server works beside it: the
  CPU of all its processes, from /proc, is told apart and counted in.
* Peers take the same intervals as rows in the same run, for a yardstick: `sqlite3.executemany` into an integer key WITHOUT ROWID, and
  sqlite-utils' `insert_all`, one durable transaction for each concentrator and day. They check nothing; the store by itself is held against
  them in store_speed.py.
* Two workers, each with half of the concentrators, on one store: CPU of both (and of PostgreSQL's server) for an interval over that of one
  worker with all of them, in turn.
* Bytes on the wire: topic, packet head and payload of the message, and of its receipt, over the intervals; TLS and TCP add about 2 per
  cent at this size and are not counted.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "cloud", "tests", "cloud/bench")]

from server_time import server_s  # noqa: E402
from sqlalchemy import insert  # noqa: E402

from gridtally_cloud.ingest.service import Ingest  # noqa: E402
from gridtally_cloud.store.db import Database  # noqa: E402
from gridtally_cloud.store.tables import dcu, meter, usage_point  # noqa: E402
from gridtally_native import BACKEND  # noqa: E402
from gridtally_shared.contract.channels import BY_NAME  # noqa: E402
from gridtally_shared.contract.codec import encode  # noqa: E402
from gridtally_shared.contract.messages import Batch  # noqa: E402
from gridtally_shared.signing import KeySigner  # noqa: E402
from support import postgres  # noqa: E402
from support.edge_peer import block, intervals_entry  # noqa: E402
from support.stores import empty_store  # noqa: E402

LIVE = BY_NAME["live"]
METERS, DCUS, SLOTS, QUARTER_MS = 42, 10, 96, 900_000
START_MS = 1_770_000_000_000 // 86_400_000 * 86_400_000
NEVER_MS = START_MS + 4_000 * 86_400_000
PER_MESSAGE = METERS * SLOTS
TARGET_PER_S, TARGET_TWO, TARGET_WAN = 300_000, 1.15, 3.0
HEAD_BYTES = 7  # fixed head, length, topic length, packet number


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, and the rows a peer has of it: (meter, start, value)."""

    topic: str
    payload: bytes
    rows: tuple[tuple[int, int, int], ...]


def _day(rng: random.Random) -> list[int]:
    """A household of the shape of SimBench: a base load, a morning and an evening, and noise; about 9 kWh."""
    size = rng.uniform(0.6, 1.6)
    return [int(size * (45 + 60 * (26 <= q < 36) + 140 * (68 <= q < 90) + rng.expovariate(1 / 35))) for q in range(SLOTS)]


def messages(day: int) -> list[Sent]:
    """One day of every concentrator."""
    rng, at_ms = random.Random(day), START_MS + day * 86_400_000
    made = []
    for d in range(DCUS):
        values = {d * METERS + m + 1: _day(rng) for m in range(METERS)}
        entry = intervals_entry(day + 1, *(block(no, at_ms, column) for no, column in values.items()))
        assert LIVE.lane is not None
        payload = encode(Batch(b"\x01" * 16, LIVE.lane, (entry,), at_ms))
        rows = tuple((no, at_ms + q * QUARTER_MS, v) for no, column in values.items() for q, v in enumerate(column))
        made.append(Sent(LIVE.topic(f"dcu-{d}"), payload, rows))
    return made


def _populate(db: Database) -> Ingest:
    points = range(1, DCUS * METERS + 1)
    with db.write() as conn:
        conn.execute(insert(dcu), [{"dcu": f"dcu-{d}", "state": "active", "created_ms": 0} for d in range(DCUS)])
        conn.execute(insert(usage_point), [{"usage_point_no": n, "zone": "UTC", "created_ms": 0} for n in points])
        conn.execute(insert(meter), [{"meter_no": n, "serial": f"M-{n}", "dcu": f"dcu-{(n - 1) // METERS}", "usage_point_no": n,
                                      "installed_ms": 0} for n in points])  # fmt: skip
    return Ingest(db, KeySigner.from_seed(b"\x05" * 32))


# ---- methods: each takes the messages of a day and makes them durable ------------------------------------------------

Method = Callable[[list[Sent]], None]


def _ours(ingest: Ingest) -> Method:
    def take(sent: list[Sent]) -> None:
        for message in sent:
            (receipt,) = ingest.handle(message.topic, message.payload, NEVER_MS)
            assert receipt.channel == "receipt"

    return take


def _executemany(folder: Path) -> Method:
    conn = sqlite3.connect(folder / "rows.db", isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        conn.execute(f"PRAGMA {pragma}")
    conn.execute("CREATE TABLE r (meter INTEGER, at INTEGER, value INTEGER, PRIMARY KEY (meter, at)) WITHOUT ROWID")

    def take(sent: list[Sent]) -> None:
        for message in sent:
            conn.execute("BEGIN IMMEDIATE")
            conn.executemany("INSERT INTO r VALUES (?, ?, ?)", message.rows)
            conn.execute("COMMIT")

    return take


def _sqlite_utils(folder: Path) -> Method:
    import sqlite_utils

    db = sqlite_utils.Database(folder / "utils.db")
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        db.execute(f"PRAGMA {pragma}")

    def take(sent: list[Sent]) -> None:
        for message in sent:
            rows = ({"meter": m, "at": at, "value": v} for m, at, v in message.rows)
            db["r"].insert_all(rows, pk=("meter", "at"))

    return take


# ---- time -------------------------------------------------------------------------------------------------------------


# ---- two workers ------------------------------------------------------------------------------------------------------


def _worker(url: str, of: range, days: int, start: Any, spent: Any) -> None:
    """A process: takes the messages of some concentrators; the first day is not counted."""
    sent = [[messages(day)[d] for d in of] for day in range(days + 1)]
    take = _ours(Ingest(Database(url), KeySigner.from_seed(b"\x05" * 32)))
    take(sent[0])
    start.wait()
    before = time.process_time()
    for day in sent[1:]:
        take(day)
    spent.put(time.process_time() - before)


def _cpu_of_workers(url: str, count: int, days: int) -> float:
    """CPU seconds of all workers and of PostgreSQL's server from the moment all are ready."""
    context = multiprocessing.get_context("spawn")
    start, spent = context.Barrier(count + 1), context.Queue()
    parts = [range(DCUS * n // count, DCUS * (n + 1) // count) for n in range(count)]
    workers = [context.Process(target=_worker, args=(url, part, days, start, spent)) for part in parts]
    for worker in workers:
        worker.start()
    start.wait()
    server = 0.0 if url.startswith("sqlite") else server_s(url)
    total = sum(spent.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    return total + (0.0 if url.startswith("sqlite") else server_s(url) - server)


def two_workers(fresh: Callable[[], Database], rounds: int, days: int = 6) -> list[float]:
    """In each round: CPU of two over that of one, each on a store of its own."""
    times = []
    for _ in range(rounds):
        one, two = (_cpu_on(fresh(), count, days) for count in (1, 2))
        times.append(two / one)
    return times


def _cpu_on(db: Database, count: int, days: int) -> float:
    _populate(db)
    db.close()
    return _cpu_of_workers(db.url, count, days)


def _report_two(name: str, times: list[float]) -> bool:
    ratio = median(times)
    print(f"  {'CPU per interval, two workers over one, ' + name:56} {ratio:>4.2f} ({min(times):.2f} to {max(times):.2f})   "
          f"at most {TARGET_TWO}: {'met' if ratio <= TARGET_TWO else 'MISSED'}")  # fmt: skip
    return ratio > TARGET_TWO


def measure(methods: dict[str, Method], rounds: int, server_url: str) -> dict[str, list[tuple[float, float]]]:
    """(CPU seconds of this process, of the PostgreSQL server) of every round of a day. The first day is not counted."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for day in range(rounds + 1):
        sent = messages(day)
        for name, method in methods.items():
            url = server_url if "PostgreSQL" in name else ""
            server, mine = server_s(url) if url else 0.0, time.process_time()
            method(sent)
            mine = time.process_time() - mine
            if day:
                taken[name].append((mine, server_s(url) - server if url else 0.0))
    return taken


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="days that are timed (default 5)")
    rounds = parser.parse_args(argv).rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mdm.db").write_bytes(empty_store())
        methods = {"gridtally on SQLite": _ours(_populate(Database(folder / "mdm.db"))), "sqlite3 executemany rows": _executemany(folder)}
        try:
            methods["sqlite-utils insert_all rows"] = _sqlite_utils(folder)
        except ImportError:
            print("sqlite-utils is not installed: left out")
        url = ""
        if postgres.is_here():
            db = postgres.fresh_database()
            methods["gridtally on PostgreSQL"], url = _ours(_populate(db)), db.url
        else:
            print("PostgreSQL is not installed: left out")
        missed = report(measure(methods, rounds, url))
        numbers = itertools.count()

        def fresh() -> Database:
            path = folder / f"two{next(numbers)}.db"
            path.write_bytes(empty_store())
            return Database(path)

        stores = {"SQLite": fresh} | ({"PostgreSQL": postgres.fresh_database} if postgres.is_here() else {})
        return int(any([missed, *[_report_two(name, two_workers(make, 3)) for name, make in stores.items()]]))


def report(taken: dict[str, list[tuple[float, float]]]) -> int:
    """Exit code 1 where a limit is missed."""
    amount = DCUS * PER_MESSAGE
    print(f"{DCUS} messages of {PER_MESSAGE:,} intervals a round, native module {BACKEND}, load {os.getloadavg()[0]:.1f}")
    rates = {}
    for name, rounds in taken.items():
        totals = [mine + server for mine, server in rounds]
        rates[name] = amount / median(totals)
        server = f", of which the server {median(s for _, s in rounds) / median(totals):.0%}" if "PostgreSQL" in name else ""
        print(f"  {name:30} {rates[name]:>10,.0f} intervals and {rates[name] / PER_MESSAGE:>6,.1f} messages per CPU-second "
              f"({amount / max(totals):,.0f} to {amount / min(totals):,.0f}){server}")  # fmt: skip
    ours = rates["gridtally on SQLite"]
    missed = ours < TARGET_PER_S
    verdict = "MISSED" if missed else "met"
    print(f"  {'intervals per CPU-second, one worker, SQLite':48} {ours:>12,.0f}   at least {TARGET_PER_S:,}: {verdict}")
    for name in ("sqlite3 executemany rows", "sqlite-utils insert_all rows"):
        if name in rates:
            print(f"  {'times ' + name:48} {ours / rates[name]:>12,.1f}")
    wan = _wan_bytes()
    print(f"  {'bytes on the wire per interval':48} {wan:>12,.2f}   at most {TARGET_WAN}: {'met' if wan <= TARGET_WAN else 'MISSED'}")
    return int(missed or wan > TARGET_WAN)


def _wan_bytes() -> float:
    sent = messages(0)
    receipt = len(BY_NAME["receipt"].topic("dcu-0")) + 60 + HEAD_BYTES
    return sum(len(m.topic) + len(m.payload) + HEAD_BYTES + receipt for m in sent) / (DCUS * PER_MESSAGE)


if __name__ == "__main__":
    raise SystemExit(main())
