"""`gridtally-mdm calendar`: load a version of a region's calendar, list what is there, let accounts go by one."""

from __future__ import annotations

import argparse

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, document_of, with_desk
from gridtally_cloud.prepay.calendars import add_calendar, go_by, is_aged, versions
from gridtally_cloud.prepay.policy_cli import moment_of, shown
from gridtally_shared.prepay.calendars import calendar_from

ABOUT = (
    "A calendar says the local time, the holidays and announced dangerous weather of a region, signed, for concentrators whose own "
    "time zone data ages. It is a JSON file with kind, code, zone, holidays and weather; the clock changes of the zone are added."
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `calendar` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "calendar", help="local time, holidays and weather of a region: load, list, follow", description=ABOUT,
        epilog="example: gridtally-mdm calendar load india.json && gridtally-mdm calendar follow india",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    load = actions.add_parser("load", help="add a file as the next version of its calendar",
                              epilog="example: gridtally-mdm calendar load india.json")  # fmt: skip
    load.add_argument("document", help="a JSON file")
    load.add_argument("--from", dest="begins", default="", help="when it begins, such as 2026-04-01T00:00Z (now)")
    load.set_defaults(run=with_desk(open_desk, _load))
    listing = actions.add_parser("list", help="list calendars and whether their zone rules are still right",
                                 epilog="example: gridtally-mdm calendar list")  # fmt: skip
    listing.set_defaults(run=with_desk(open_desk, _list))
    follow = actions.add_parser("follow", help="let an account, or all of the calendar's zone, go by it",
                                epilog="example: gridtally-mdm calendar follow india --account 7")  # fmt: skip
    follow.add_argument("calendar", help="code of a loaded calendar")
    follow.add_argument("--account", type=int, help="only this one (all accounts of its zone)")
    follow.set_defaults(run=with_desk(open_desk, _follow))


def _load(desk: Desk, options: argparse.Namespace) -> int:
    text = document_of(options.document)
    now_ms = desk.clock.now_ms()
    with desk.db.write() as conn:
        made = add_calendar(conn, moment_of(options.begins) if options.begins else now_ms, text, now_ms, ACTOR)
    read = calendar_from(made.document)
    changes = len(read.rules.changes) if read.rules else 0
    print(f"calendar {read.code} ({read.zone}): version {made.version} begins {shown(made.from_ms)}")
    print(f"{len(read.holidays)} holidays, {len(read.weather)} spans of weather, {changes} clock changes in the years ahead")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = versions(conn)
    for d in found:
        read = calendar_from(d.document)
        aged = "  zone rules have changed since: load it again" if is_aged(d, desk.clock.now_ms()) else ""
        print(f"{d.calendar_id:<20} version {d.version:>3} from {shown(d.from_ms)}  {read.zone}  {len(read.holidays)} holidays{aged}")
    if not found:
        print("no calendar is loaded; concentrators go by their own time zone data")
    return 0


def _follow(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        count = go_by(conn, options.calendar, options.account, desk.clock.now_ms(), ACTOR)
    print(f"{count} {'account goes' if count == 1 else 'accounts go'} by {options.calendar}; it travels with the next configuration")
    return 0
