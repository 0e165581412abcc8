"""`gridtally-mdm sql`: a question to the store, answered as CSV or JSON lines."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from typing import Any

from gridtally_cloud.customers.desk import Desk, OpenDesk, with_desk
from gridtally_cloud.store.sql import Row, ask

EXAMPLE = 'gridtally-mdm sql "SELECT channel_no, sum(value) FROM interval_value WHERE stands AND day = 20760 GROUP BY channel_no"'


def add_parser(commands: Any, open_desk: OpenDesk) -> None:
    parser = commands.add_parser(
        "sql", help="ask the store in SQL, read-only; the view interval_value has a row an interval",
        description="A question in SQL, on SQLite and PostgreSQL alike; nothing can be written. interval_value unpacks the blocks: day, "
        "channel_no, version, source, stands, start_ms, period_s, value, quality.",
        epilog=f"example: {EXAMPLE}",
    )  # fmt: skip
    parser.add_argument("question", metavar="SQL", help="one SELECT")
    parser.add_argument("--json", action="store_true", help="one JSON object a line (default CSV with a header)")
    parser.set_defaults(run=with_desk(open_desk, _answer))


def _answer(desk: Desk, options: argparse.Namespace) -> int:
    rows = ask(desk.db, options.question)
    names = list(next(rows))
    if options.json:
        for row in rows:
            print(json.dumps(dict(zip(names, map(_plain, row), strict=True))))
        return 0
    _write_csv(names, rows)
    return 0


def _write_csv(names: list[str], rows: Iterator[Row]) -> None:
    out = csv.writer(sys.stdout)
    out.writerow(names)
    out.writerows([_plain(value) for value in row] for row in rows)


def _plain(value: Any) -> Any:
    """Bytes as hex; what JSON has no word for as text."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return value if value is None or isinstance(value, int | float | str) else str(value)
