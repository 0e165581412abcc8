"""`gridtally-mdm retention`: how long what is kept, how much of it is due, and deleting that now."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gridtally_cloud.config import load_config
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.exchange.progress import Bar
from gridtally_cloud.retention.deleting import Count, counted
from gridtally_cloud.retention.due import SOURCES
from gridtally_cloud.retention.passes import NONE, Pass, known_passes, one_lot
from gridtally_cloud.retention.rules import NEVER, RULES, Rule, cut_ms
from gridtally_cloud.store.work import this_process
from gridtally_shared.records import dataclass

HEADING = f"{'rule':18}{'days':>8}{'rows':>13}{'due':>12}  {'oldest':10}  last pass"


@dataclass(frozen=True, slots=True)
class Line:
    rule: Rule
    days: int
    count: Count
    state: Pass


def add_parser(commands: Any, open_desk: OpenDesk) -> None:
    parser = commands.add_parser(
        "retention", help="how long what is kept, and how much of it is due to be deleted",
        description="One row a rule: days kept (setting retention.RULE), rows now, rows that are due, the oldest, and what the last pass "
        "of the workers deleted. They make a pass a day by themselves. Counting reads the whole of each table.",
        epilog="example: gridtally-mdm retention; gridtally-mdm retention --apply",
    )  # fmt: skip
    parser.add_argument("--apply", action="store_true", help="delete what is due now, without waiting for the workers")
    parser.add_argument("--why", action="store_true", help="also what each rule is of, and what asks for the least days")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=with_desk(open_desk, _run))


def _run(desk: Desk, options: argparse.Namespace) -> int:
    """Exit code 1 where another worker had a rule."""
    days = load_config(options.config).retention
    if options.apply:
        return _apply(desk, days, options.json)
    if not options.json:
        print(HEADING)
    for line in _lines(desk, days):
        print(_as_json(line) if options.json else _as_text(line, options.why), flush=True)
    if not options.json:
        print("\nnever deleted: " + "; ".join(NEVER) + "; and all that no rule names")
    return 0


def _lines(desk: Desk, days: Mapping[str, int]) -> Iterator[Line]:
    now_ms = desk.clock.now_ms()
    for rule in RULES:
        kept = days[rule.name]
        with desk.db.read() as conn:
            count = counted(conn, SOURCES[rule.name], cut_ms(kept, now_ms) if kept else None)
            state = known_passes(conn).get(rule.name, NONE)
        yield Line(rule, kept, count, state)


def _apply(desk: Desk, days: Mapping[str, int], as_json: bool) -> int:
    lines = [line for line in _lines(desk, days) if line.days]
    total, done, left = sum(line.count.with_parts for line in lines), 0, 0
    bar = Bar(sys.stderr, "deleting")
    try:
        for line in lines:
            deleted, holder = _delete(desk, line, lambda n, before=done: bar.at(before + n, total))  # type: ignore[misc]
            done, left = done + deleted, left + bool(holder)
            if as_json:
                print(json.dumps({"rule": line.rule.name, "deleted": deleted, "held_by": holder or None}))
            elif deleted or holder:
                bar.end()
                print(f"{line.rule.name:18}{deleted:>13,} rows deleted" + (f"; {holder} is at it, try again later" if holder else ""))
    finally:
        bar.end()
    if not as_json:
        print(f"{'in all':18}{done:>13,} rows deleted")
    return int(left > 0)


def _delete(desk: Desk, line: Line, progress: Any) -> tuple[int, str]:
    """(rows deleted, who else is at it or '')"""
    deleted, hand = 0, this_process(desk.clock.factor())
    while True:
        step = one_lot(desk.db, line.rule.name, line.days, desk.clock.now_ms(), hand, ACTOR, anew=True)
        if step is None:
            with desk.db.read() as conn:
                return deleted, known_passes(conn).get(line.rule.name, NONE).owner or "another worker"
        deleted += step.deleted
        progress(deleted)
        if step.after is None:
            return deleted, ""


# ---- as text --------------------------------------------------------------------------------------------------


def _as_text(line: Line, why: bool) -> str:
    count, kept = line.count, f"{line.days}" if line.days else "ever"
    text = f"{line.rule.name:18}{kept:>8}{count.rows:>13,}{count.due:>12,}  {_date(count.oldest_ms):10}  {_last(line.state)}"
    if why:
        text += f"\n    {line.rule.what} ({line.rule.time}); {line.rule.least} days at least:\n    {line.rule.why}"
    return text


def _last(state: Pass) -> str:
    if state.after is not None:
        return f"under way, {state.deleted:,} deleted"
    return "none yet" if state.done_ms is None else f"{_date(state.done_ms)}, {state.deleted:,} deleted"


def _as_json(line: Line) -> str:
    rule, count, state = line.rule, line.count, line.state
    return json.dumps({
        "rule": rule.name, "what": rule.what, "time": rule.time, "days": line.days, "default_days": rule.days, "least_days": rule.least,
        "why": rule.why, "rows": count.rows, "due": count.due, "oldest_ms": count.oldest_ms, "last_pass_ms": state.done_ms,
        "last_deleted": state.deleted,
    })  # fmt: skip


def _date(at_ms: int | None) -> str:
    return "-" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
