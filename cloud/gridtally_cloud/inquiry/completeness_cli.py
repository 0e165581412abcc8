"""`gridtally-mdm completeness`: what came of each meter and day, what did not, and requests for what is missing."""

from __future__ import annotations

import argparse
import sys
from datetime import date

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.inquiry import completeness_text as text
from gridtally_cloud.inquiry.received import Line, report
from gridtally_cloud.inquiry.requests import Asked, Kind, ask_gaps, follow, recent
from gridtally_cloud.store.days import EPOCH
from gridtally_shared.errors import ConfigError

MOST_DAYS = 400
BY = f"staff:{ACTOR}"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `completeness` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "completeness", help="what came of each meter and day, and what is missing",
        description="Expected, received, estimated, missing and late intervals by day, meter and channel, with the exact missing ranges. "
        "Days of which everything came are only counted. Exit code 1 where something is missing.",
        epilog="example: gridtally-mdm completeness --from 2026-11-20 --to 2026-11-22; gridtally-mdm completeness --from 2026-11-20 --ask",
    )  # fmt: skip
    parser.add_argument("--from", dest="first", help="first local day, such as 2026-11-20 (yesterday)")
    parser.add_argument("--to", dest="last", help="last local day (the first)")
    parser.add_argument("--meter", type=int, help="only this meter")
    parser.add_argument("--all", action="store_true", help="also the rows of which everything came")
    parser.add_argument("--ask", action="store_true", help="ask the meters for their missing ranges, each at most three times")
    parser.add_argument("--requests", action="store_true", help="instead: the last requests for missing data and their states")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="a table for other programs, one row a day, meter and channel")
    parser.set_defaults(run=with_desk(open_desk, _run))


def _run(desk: Desk, options: argparse.Namespace) -> int:
    return _print_requests(desk, options) if options.requests else _print_report(desk, options)


def _print_report(desk: Desk, options: argparse.Namespace) -> int:
    now_ms = desk.clock.now_ms()
    first = _day("--from", options.first, now_ms // 86_400_000 - 1)
    last = _day("--to", options.last, first)
    if not first <= last <= first + MOST_DAYS:
        raise ConfigError("--to", options.last or "", f"name a day from --from on, at most {MOST_DAYS} days later")
    with desk.db.read() as conn:
        lines = report(conn, first, last, now_ms, options.meter)
    out = text.as_json(lines) if options.json else text.as_csv(lines) if options.csv else text.as_table(lines, options.all, _glyphs())
    for line in out:
        print(line)
    if options.ask:
        _say(options, _ask(desk, lines, now_ms))
    return int(any(line.counted.gaps for line in lines))


def _ask(desk: Desk, lines: tuple[Line, ...], now_ms: int) -> Asked:
    with desk.db.write() as conn:
        follow(conn, now_ms)
        asked = ask_gaps(conn, desk.payments.signer, lines, BY, now_ms)
        for request in asked.requests:
            record(conn, now_ms, BY, "data.asked", f"meter:{request.meter_no}", f"request {request.request_no}")
    return asked


def _say(options: argparse.Namespace, asked: Asked) -> None:
    """On the error stream where the report itself is for a program."""
    for line in text.asked_lines(asked):
        print(line, file=sys.stderr if options.json or options.csv else sys.stdout)


def _print_requests(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        follow(conn, desk.clock.now_ms())
        found = recent(conn, kind=Kind.GAP)
    for line in text.requests_json(found) if options.json else text.requests_table(found):
        print(line)
    return 0


def _glyphs() -> text.Glyphs:
    """Blocks where the terminal can show them."""
    return text.BLOCKS if "utf" in (sys.stdout.encoding or "").lower() else text.PLAIN


def _day(name: str, given: str | None, default: int) -> int:
    if given is None:
        return default
    try:
        return (date.fromisoformat(given) - EPOCH).days
    except ValueError:
        raise ConfigError(name, given, "write a date such as 2026-11-21") from None
