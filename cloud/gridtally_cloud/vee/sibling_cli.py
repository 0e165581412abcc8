"""`gridtally-mdm vee siblings`: which lot meters are of, and whether others of a lot show what one of them shows."""

from __future__ import annotations

import argparse
import json
import sys

from gridtally_cloud.customers.desk import Desk, OpenDesk, with_desk
from gridtally_cloud.exchange.progress import Bar
from gridtally_cloud.store.days import date_of
from gridtally_cloud.vee.documents import day_named
from gridtally_cloud.vee.siblings import Looked, Suspect


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `siblings` to the commands below `vee`."""
    about = "look at the other meters of a lot for what one of them shows"
    example = "example: gridtally-mdm vee siblings check GT0017 2026-11-01 2026-11-30"
    siblings = commands.add_parser("siblings", help=about, description=about, epilog=example)
    below = siblings.add_subparsers(required=True, metavar="lot|check")
    lot = below.add_parser("lot", help="say which lot meters are of", epilog="example: gridtally-mdm vee siblings lot PO-2291 GT17 GT18")
    lot.add_argument("lot", help="name of the lot, as the delivery note has it")
    lot.add_argument("serial", nargs="+")
    lot.add_argument("--by", default="system:cli", help="login of the person")
    lot.set_defaults(run=with_desk(open_desk, _lot))
    said = "Ask the rules that doubt a meter of every other meter of its lot. Nothing is changed. Exit code 1 where something was found."
    check = below.add_parser("check", help="ask the same rules of the others", description=said, epilog=example)
    check.add_argument("serial", help="the meter that was found wrong")
    check.add_argument("first", metavar="from", help="first local day, YYYY-MM-DD")
    check.add_argument("last", metavar="to", help="last local day")
    check.add_argument("--rule", default="", help="this rule instead of those that found something (gridtally-mdm vee checks)")
    check.add_argument("--json", action="store_true", help="one JSON object a line")
    check.set_defaults(run=with_desk(open_desk, _check))


def _lot(desk: Desk, options: argparse.Namespace) -> int:
    from gridtally_cloud.vee.siblings import put

    with desk.db.write() as conn:
        number = put(conn, options.lot, options.serial, options.by, desk.clock.now_ms())
    print(f"{number} meters are of lot {options.lot.strip()}")
    return 0


def _check(desk: Desk, options: argparse.Namespace) -> int:
    from gridtally_cloud.vee.siblings import check

    days, bar = (day_named("from", options.first), day_named("to", options.last)), Bar(sys.stderr, "days")
    try:
        with desk.db.read() as conn:
            looked = check(conn, options.serial, days, options.rule, bar.at)
    finally:
        bar.end()
    for suspect in looked.suspects:
        print(_object(suspect) if options.json else _line(suspect))
    if not options.json:
        print(_summary(looked))
    return 1 if looked.suspects else 0


def _line(s: Suspect) -> str:
    return f"{date_of(s.day).isoformat()}  {s.serial:16} channel {s.channel_no:<6} {s.finding.rule:9} {s.finding.text}"


def _object(s: Suspect) -> str:
    return json.dumps({"day": date_of(s.day).isoformat(), "serial": s.serial, "channel": s.channel_no, "rule": s.finding.rule,
                       "start_ms": s.finding.start_ms, "end_ms": s.finding.end_ms, "text": s.finding.text})  # fmt: skip


def _summary(looked: Looked) -> str:
    wrong = len({suspect.serial for suspect in looked.suspects})
    return (f"lot {looked.lot}, {', '.join(looked.rules)}: {wrong} of {looked.others} other meters show it, in {looked.days} channel-days "
            "that were looked at")  # fmt: skip
