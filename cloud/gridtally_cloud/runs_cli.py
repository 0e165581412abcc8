"""`gridtally-mdm runs`: how far the shared work is, and to start some."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gridtally_cloud import runs
from gridtally_cloud.billing.late_run import FIRST_ZONE
from gridtally_cloud.billing.periods import month
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.desk import Desk, OpenDesk, with_desk
from gridtally_cloud.exchange.exporting import span
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.progress import drawn
from gridtally_cloud.store import work
from gridtally_shared.errors import ConfigError

ACTOR = "system:command-line"
SHOWN = 5


def add_parser(commands: Any, open_desk: OpenDesk) -> None:
    parser = commands.add_parser(
        "runs", help="bills and files over all usage points: start one, see how far they are",
        description="Work split by usage point and shared by all workers. Without more words: the last runs and how far they are.",
        epilog="example: gridtally-mdm runs start-bills --from 2026-10-01 --to 2026-10-31",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--retry", action="store_true", help="try what failed again, after the cause was mended")
    parser.set_defaults(run=with_desk(open_desk, _list))
    actions = parser.add_subparsers(metavar="action")
    bills = actions.add_parser("start-bills", help="bills and statements of a period for every account",
                               epilog="example: gridtally-mdm runs start-bills --from 2026-10-01 --to 2026-10-31")  # fmt: skip
    files = actions.add_parser("start-export", help="a file of intervals a usage point",
                               epilog="example: gridtally-mdm runs start-export --from 2026-10-01 --to 2026-10-31 --folder f")  # fmt: skip
    ends = actions.add_parser("start-month-end", help="late payment, interest of deposits and instalments of a month, for every account",
                              epilog="example: gridtally-mdm runs start-month-end --month 2026-10")  # fmt: skip
    ends.add_argument("--month", required=True, metavar="YYYY-MM", help="a month that is over")
    ends.set_defaults(run=with_desk(open_desk, _start_month_end))
    for each in (bills, files):
        each.add_argument("--from", dest="from_text", required=True, metavar="DAY", help="first local day")
        each.add_argument("--to", dest="to_text", required=True, metavar="DAY", help="last local day")
    files.add_argument("--folder", type=Path, required=True, help="where the files go; every worker must reach it")
    files.add_argument("--format", choices=tuple(FORMATS), default="csv", help="default csv")
    bills.set_defaults(run=with_desk(open_desk, _start_bills))
    files.set_defaults(run=with_desk(open_desk, _start_export))


def _start_bills(desk: Desk, options: argparse.Namespace) -> int:
    return _start(desk, "bill", _period(options) | {"at_ms": desk.clock.now_ms()})


def _start_month_end(desk: Desk, options: argparse.Namespace) -> int:
    now_ms = desk.clock.now_ms()
    try:
        ends_ms = month(options.month, FIRST_ZONE)[1]
    except ValueError:
        raise ConfigError("--month", options.month, "write a month such as 2026-10") from None
    if ends_ms > now_ms:
        raise ConfigError("--month", options.month, "this month is not over yet: start it after its last day")
    return _start(desk, "month_end", {"month": options.month, "at_ms": now_ms})


def _start_export(desk: Desk, options: argparse.Namespace) -> int:
    return _start(desk, "export", _period(options) | {"folder": str(options.folder.resolve()), "format": options.format})


def _period(options: argparse.Namespace) -> dict[str, Any]:
    """Read once, so that a day nobody can read is refused before anything starts."""
    span(options.from_text, options.to_text, "UTC")
    return {"from": options.from_text, "to": options.to_text}


def _start(desk: Desk, kind: str, arguments: dict[str, Any]) -> int:
    now_ms = desk.clock.now_ms()
    with desk.db.write() as conn:
        points = runs.points_for(conn, kind)
        run_no = work.start_run(conn, kind, points, arguments, ACTOR, now_ms)
        record(conn, now_ms, ACTOR, "run.started", f"run:{run_no}", f"{kind}, {len(points)} usage points")
    print(f"run {run_no}: {len(points)} usage points; the workers do it, see: gridtally-mdm runs")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    """Exit code 1 where something failed."""
    if options.retry:
        with desk.db.write() as conn:
            print(f"{work.retry_failed(conn, desk.clock.now_ms())} usage points are tried again")
    with desk.db.read() as conn:
        known = work.runs(conn)
        lines = [line for run in known for line in _told(run, work.notes(conn, run.run_no), options.json)]
        lines += [] if options.json else _set_aside(work.notes(conn, work.IN_THE_DATA))
    print("\n".join(lines) or "no run yet; start one: gridtally-mdm runs start-bills --from DAY --to DAY")
    return int(any(run.failed for run in known))


def _told(run: work.Run, notes: list[tuple[int, str, str]], as_json: bool) -> Iterator[str]:
    if as_json:
        yield json.dumps(asdict(run) | {"notes": [{"usage_point": p, "state": s, "note": n} for p, s, n in notes]})
        return
    period = run.arguments.get("month") or f"{run.arguments.get('from', '')} to {run.arguments.get('to', '')}"
    aside = "".join(f", {n} {name}" for n, name in ((run.refused, "refused"), (run.failed, "failed")) if n)
    yield f"{run.run_no:5} {run.kind:8} {period:24} {drawn(run.settled, run.total)}{aside}"
    for point, state, note in notes[:SHOWN]:
        yield f"        usage point {point}, {state}: {note}"
    if len(notes) > SHOWN:
        yield f"        and {len(notes) - SHOWN} more; all of them: gridtally-mdm runs --json"


def _set_aside(notes: list[tuple[int, str, str]]) -> list[str]:
    """Days that could not be closed or judged."""
    return [f"daily work at usage point {point}, {state}: {note}" for point, state, note in notes]
