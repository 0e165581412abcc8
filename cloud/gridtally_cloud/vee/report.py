"""`gridtally-mdm vee`: validate closed days again and print the findings."""

from __future__ import annotations

import argparse
import json

from sqlalchemy import Connection, and_, select

from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import date_of
from gridtally_cloud.store.tables import interval_block
from gridtally_cloud.vee.documents import day_named
from gridtally_cloud.vee.run import Outcome, run_day

FIRST_DAY, LAST_DAY = 0, 100_000


def print_report(desk: Desk, options: argparse.Namespace) -> int:
    """Exit code 1 when something was found."""
    from_day, to_day = _day("--from", options.from_day, FIRST_DAY), _day("--to", options.to_day, LAST_DAY)
    with desk.db.read() as conn:
        closed = _closed(conn, from_day, to_day, options.channel)
    outcomes = []
    for day, channel_no in closed:
        with desk.db.write() as conn:
            outcomes.append(run_day(conn, day, channel_no, desk.clock.now_ms()))
    for outcome in outcomes:
        print_outcome(outcome, options.json)
    failed = sum(bool(outcome.findings) for outcome in outcomes)
    if not options.json:
        estimates = sum(outcome.estimates for outcome in outcomes)
        print(f"{len(outcomes)} channel-days validated, {failed} with findings, {estimates} intervals estimated")
    return 1 if failed else 0


def print_outcome(outcome: Outcome, as_json: bool) -> None:
    for finding in outcome.findings:
        day = date_of(outcome.day).isoformat()
        if as_json:
            print(json.dumps({"day": day, "channel": outcome.channel_no, "rule": finding.rule, "version": finding.rule_version,
                              "start_ms": finding.start_ms, "end_ms": finding.end_ms, "text": finding.text}))  # fmt: skip
        else:
            print(f"{day}  channel {outcome.channel_no:<6} {finding.rule:9} {finding.text}")


def _day(name: str, text: str | None, default: int) -> int:
    return default if text is None else day_named(name, text)


def _closed(conn: Connection, from_day: int, to_day: int, channel_no: int | None) -> list[tuple[int, int]]:
    b = interval_block.c
    where = and_(b.shard == SHARD, b.day.between(from_day, to_day), b.version == 0)
    if channel_no is not None:
        where = and_(where, b.channel_no == channel_no)
    rows = conn.execute(select(b.day, b.channel_no).where(where).order_by(b.day, b.channel_no))
    return [(row.day, row.channel_no) for row in rows]
