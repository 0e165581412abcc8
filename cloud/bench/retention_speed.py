"""Deletion of what is old: seconds of a worker for 100,000 due rows of each large kind, on SQLite and PostgreSQL.

    python cloud/bench/retention_speed.py
    python cloud/bench/retention_speed.py --rows 20000

* As many rows that are young lie beside them. The way is the workers' own (retention/passes.py): lots of 1,000, each a durable transaction.
* Beside it, in the same run, the least there is: one DELETE by time of all rows at once, taken back. It holds the store all that time.
* CPU time is of the process; of PostgreSQL's server what it took is counted in. `longest lot` is real time, what may wait for it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("shared", "native", "edge", "cloud", "tests", "cloud/bench")]

from server_time import server_s  # noqa: E402
from sqlalchemy import Connection, Table, delete, insert, select  # noqa: E402

from gridtally_cloud.exchange.given_tables import data_given  # noqa: E402
from gridtally_cloud.exchange.recipient_tables import delivery, delivery_file, recipient, recipient_address  # noqa: E402
from gridtally_cloud.integrations.webhook_tables import webhook, webhook_notice  # noqa: E402
from gridtally_cloud.retention.due import SOURCES, Source  # noqa: E402
from gridtally_cloud.retention.passes import one_lot  # noqa: E402
from gridtally_cloud.retention.rules import BY_NAME, cut_ms  # noqa: E402
from gridtally_cloud.store.db import Database  # noqa: E402
from gridtally_cloud.store.tables import outbox_down, reading  # noqa: E402
from gridtally_cloud.store.work import Hand, work_item, work_run  # noqa: E402
from gridtally_shared.clock import MS_PER_DAY  # noqa: E402
from support import postgres  # noqa: E402
from support.stores import empty_store  # noqa: E402

NOW_MS = 1_760_000_000_000
AGES = (NOW_MS - 3_000 * MS_PER_DAY, NOW_MS - MS_PER_DAY)
HAND = Hand("bench:1", 60_000)
SERIES = 1_000
"""Rows of a meter and quantity, where there are readings."""

Row = dict[str, Any]


def _notice(i: int, at: int) -> Row:
    return {"webhook_no": 1, "topic": "usage.closed", "ref": f"{i}/1/0", "body": "x" * 250, "state": "taken", "next_ms": at,
            "created_ms": at, "taken_ms": at}  # fmt: skip


def _message(i: int, at: int) -> Row:
    return {"dcu": "d", "channel": "command", "ref": f"{i:032x}", "payload": b"x" * 300, "created_ms": at, "next_send_ms": at,
            "done_ms": at}  # fmt: skip


def _file(i: int, at: int) -> Row:
    return {"file_no": i + 1, "recipient": "market", "kind": "data", "name": "f.csv", "media": "text/csv", "body": b"", "size": 1,
            "digest": "d" * 64, "made_ms": at}  # fmt: skip


def _delivery(i: int, at: int) -> Row:
    return {"file_no": i + 1, "address_no": 1, "state": "taken", "next_ms": at, "made_ms": at, "taken_ms": at}


def _given(i: int, at: int) -> Row:
    return {"shard": 0, "usage_point_no": i, "taker": "token:app", "from_ms": 0, "to_ms": MS_PER_DAY, "last_ms": at}


def _value(i: int, at: int) -> Row:
    return {"shard": 0, "meter_no": i // SERIES, "quantity": 31, "at_ms": at + i % SERIES * 1_000, "value": i}


def _item(i: int, at: int) -> Row:
    return {"shard": 0, "kind": "bill", "run_no": 1 + (at == AGES[1]), "usage_point_no": i, "state": "done"}


@dataclass(frozen=True)
class Case:
    """A rule and what lies in its table; the rows of one rule may be in two."""

    name: str
    made: tuple[tuple[Table, Callable[[int, int], Row]], ...]


CASES = (
    Case("momentary_values", ((reading, _value),)),
    Case("webhook_notices", ((webhook_notice, _notice),)),
    Case("deliveries", ((delivery_file, _file), (delivery, _delivery))),
    Case("data_given", ((data_given, _given),)),
    Case("way_down", ((outbox_down, _message),)),
    Case("runs", ((work_item, _item),)),
)


def _fill(conn: Connection, rows: int) -> None:
    conn.execute(insert(webhook).values(name="a", url="u", topics="x", secret="s", created_by="b", created_ms=0))
    conn.execute(insert(recipient).values(name="market", made_ms=0, made_by="b"))
    conn.execute(insert(recipient_address).values(address_no=1, recipient="market", target="/out", secret="s"))
    for number, at in enumerate(AGES, 1):
        run = {"run_no": number, "kind": "bill", "arguments": "{}", "total": rows, "asked_by": "b", "asked_ms": at, "ended_ms": at}
        conn.execute(insert(work_run), [run])
        for case in CASES:
            for table, row in case.made:
                conn.execute(insert(table), [row(i, at) for i in range((number - 1) * rows, number * rows)])


def _at_once(db: Database, source: Source, days: int) -> None:
    """One DELETE by time, and its parts before it; taken back."""
    old = source.time < cut_ms(days, NOW_MS)
    with db.engine.connect() as conn, conn.begin() as transaction:
        for part in source.parts:
            conn.execute(delete(part.table).where(part.of.in_(select(part.key).where(old))))
        if source.series:
            old = old & source.key[1].in_(source.series)
        conn.execute(delete(source.table).where(old))
        transaction.rollback()


def _pass(db: Database, name: str, days: int) -> tuple[int, float]:
    """(rows, seconds of the longest lot)"""
    deleted, longest, more = 0, 0.0, True
    while more:
        began = time.perf_counter()
        step = one_lot(db, name, days, NOW_MS, HAND, "bench")
        longest = max(longest, time.perf_counter() - began)
        assert step is not None
        deleted, more = deleted + step.deleted, step.after is not None
    return deleted, longest


def _cpu(db: Database) -> float:
    return time.process_time() + (0.0 if db.is_sqlite else server_s(db.url))


def _measure(db: Database, rows: int) -> None:
    with db.write() as conn:
        _fill(conn, rows)
    print(f"\n{db.engine.dialect.name}: {rows:,} due and as many young of each")
    print(f"{'rule':18}{'rows gone':>10}{'CPU s':>8}{'real s':>8}{'longest lot':>13}   CPU s all at once   ratio")
    for case in CASES:
        days = BY_NAME[case.name].days
        began = _cpu(db)
        _at_once(db, SOURCES[case.name], days)
        bare, began, real = _cpu(db) - began, _cpu(db), time.perf_counter()
        deleted, longest = _pass(db, case.name, days)
        cpu, real = _cpu(db) - began, time.perf_counter() - real
        print(f"{case.name:18}{deleted:>10,}{cpu:>8.2f}{real:>8.2f}{longest * 1000:>10.0f} ms{bare:>20.2f}{cpu / bare:>8.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="due rows of each rule (100000)")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mdm.db"
        file.write_bytes(empty_store())
        db = Database(file)
        _measure(db, rows)
        db.close()
    if postgres.is_here():
        db = postgres.fresh_database()
        _measure(db, rows)
        db.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
