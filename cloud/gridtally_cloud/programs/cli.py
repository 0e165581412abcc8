"""`gridtally-mdm schedules`: what is planned at a supply, and whether others may hold prepaid events there."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.programs import money, reads
from gridtally_cloud.programs.model import ScheduleView

ANSWERS = {"yes": True, "no": False}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `schedules` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "schedules", help="what is planned at a supply, and who may plan there",
        description="Schedules are booked on the desk's page and through the API.", epilog="example: gridtally-mdm schedules show 7",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    shown = actions.add_parser("show", help="an account's schedules, the next one first", epilog="example: gridtally-mdm schedules show 7")
    shown.add_argument("account", type=int)
    shown.set_defaults(run=with_desk(open_desk, _show))
    site = actions.add_parser("site", help="whether others may hold prepaid events at a supply",
                              description="The owner of a supply lets others pay for events there, or no longer does.",
                              epilog="example: gridtally-mdm schedules site 7 yes")  # fmt: skip
    site.add_argument("account", type=int)
    site.add_argument("allowed", choices=ANSWERS)
    site.set_defaults(run=with_desk(open_desk, _site))


def _show(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        account = account_of(conn, options.account)
        allowed, found = money.takes_events(conn, account.account_no), reads.of_account(conn, account.account_no)
    print(f"others may{'' if allowed else ' not'} hold events at account {account.account_no}")
    for schedule in sorted(found, key=lambda s: s.start_ms):
        print(_line(schedule))
    return 0


def _line(schedule: ScheduleView) -> str:
    begins, ends = (datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") for ms in (schedule.start_ms, schedule.end_ms))
    payer = f", paid by account {schedule.requester_no}" if schedule.requester_no not in (0, schedule.account_no) else ""
    title = f"  {schedule.title}" if schedule.title else ""
    return f"{schedule.schedule_no:6}  {begins} to {ends} UTC  {schedule.state.value}{payer}{title}"


def _site(desk: Desk, options: argparse.Namespace) -> int:
    allowed, at_ms = ANSWERS[options.allowed], desk.clock.now_ms()
    with desk.db.write() as conn:
        account = account_of(conn, options.account)
        money.allow_events(conn, account.account_no, allowed, ACTOR, at_ms)
        record(conn, at_ms, ACTOR, "schedules.site", f"account:{account.account_no}", options.allowed)
    print(f"others may {'now' if allowed else 'no longer'} hold events at account {account.account_no}")
    return 0
