"""`gridtally-mdm arrangement`: arrears paid by instalments: make, show, check, cancel."""

from __future__ import annotations

import argparse

from gridtally_cloud.billing import arrangements
from gridtally_cloud.billing.instalments import left_of, monthly
from gridtally_cloud.billing.rules_cli import day_asked
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.store.days import date_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import decimal_text


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `arrangement` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "arrangement", help="arrears paid by instalments",
        description="An arrangement parts what is overdue into dated amounts. While it is kept, no late payment charge accrues on it.",
        epilog="example: gridtally-mdm arrangement make 7 --first 2026-12-15 --instalments 6 --note 'agreed by telephone'",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="make|show|check|cancel")
    example = "gridtally-mdm arrangement make 7 --on 2026-12-15,2027-01-31 --shares 2,1 --note agreed"
    make = actions.add_parser("make", help="arrange what is overdue", epilog=f"example: {example}")
    make.add_argument("account", type=int)
    make.add_argument("--first", help="the first day, such as 2026-12-15; the others on the same day of each month")
    make.add_argument("--instalments", type=int, default=0, help="how many; with --first")
    make.add_argument("--on", dest="days", default="", help="the days one by one, with commas between them, instead of --first")
    make.add_argument("--shares", default="", help="whole numbers that part the arrears, such as 2,1,1 (equal)")
    make.add_argument("--grace", type=int, default=0, help="days after an instalment's day until it is not kept (0)")
    make.add_argument("--note", required=True, help="with whom and how it was agreed; it is kept")
    make.set_defaults(run=with_desk(open_desk, _make))
    show = actions.add_parser("show", help="the arrangements of an account", epilog="example: gridtally-mdm arrangement show 7")
    show.add_argument("account", type=int)
    show.set_defaults(run=with_desk(open_desk, _show))
    check = actions.add_parser("check", help="write down which ended: kept or broken", epilog="example: gridtally-mdm arrangement check")
    check.set_defaults(run=with_desk(open_desk, _check))
    cancel = actions.add_parser("cancel", help="end the one that runs", epilog="example: gridtally-mdm arrangement cancel 7 --note moved")
    cancel.add_argument("account", type=int)
    cancel.add_argument("--note", required=True, help="why; it is kept")
    cancel.set_defaults(run=with_desk(open_desk, _cancel))


def _make(desk: Desk, options: argparse.Namespace) -> int:
    days = _days(options)
    if not 0 <= options.grace <= 60:
        raise ConfigError("--grace", options.grace, "write 0 to 60 days")
    with desk.db.write() as conn:
        made = arrangements.make(conn, options.account, days, _shares(options.shares, len(days)), options.grace, desk.clock.now_ms(), ACTOR,
                                 options.note)  # fmt: skip
    print(_said(made))
    return 0


def _days(options: argparse.Namespace) -> tuple[int, ...]:
    if bool(options.first) == bool(options.days):
        raise ConfigError("--first", options.first, "write --first and --instalments, or --on, and not both")
    if options.days:
        return tuple(day_asked("--on", text.strip()) for text in options.days.split(","))
    return monthly(day_asked("--first", options.first), min(options.instalments, 1000))


def _shares(text: str, count: int) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else (1,) * count
    except ValueError:
        raise ConfigError("--shares", text, "write whole numbers with commas between them, such as 2,1,1") from None


def _show(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = arrangements.arrangements_of(conn, account_of(conn, options.account), desk.clock.now_ms())
    for each in found:
        print(_said(each))
    print(f"{len(found)} arrangements")
    return 0


def _check(desk: Desk, _options: argparse.Namespace) -> int:
    ended = arrangements.check(desk.db, desk.clock.now_ms(), ACTOR)
    for each in ended:
        print(_said(each))
    print(f"{len(ended)} arrangements ended")
    return 0


def _cancel(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        ended = arrangements.cancel(conn, options.account, desk.clock.now_ms(), ACTOR, options.note)
    print(_said(ended))
    return 0


def _said(each: arrangements.Arrangement) -> str:
    stands = each.standing
    since = f" since {date_of(stands.ended_day)}" if stands.ended_day is not None else ""
    left = left_of(each.plan, stands.rest_nano) if not since else ()
    parts = "".join(f"\n  {date_of(part.due_day)}  {decimal_text(part.amount_nano)}" for part in left)
    return (f"arrangement {each.arrangement_no}, account {each.account_no}: {stands.state}{since}, {decimal_text(stands.rest_nano)} of "
            f"{decimal_text(each.plan.arrears_nano)} is open{parts}")  # fmt: skip
