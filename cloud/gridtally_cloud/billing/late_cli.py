"""`gridtally-mdm late`: charges for late payment: their rules, the run of a month, a list, and one waived."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from gridtally_cloud.billing import late_run
from gridtally_cloud.billing.rules import RuleKind
from gridtally_cloud.billing.rules_cli import add_rule_actions
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.store.days import date_of
from gridtally_shared.money import decimal_text


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `late` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "late", help="charges for late payment",
        description="Rules say what a late payment costs. A run charges a month that is over, each account once; the next bill shows it.",
        epilog="example: gridtally-mdm late rule late.json --from 2026-04-01; gridtally-mdm late run --month 2026-11",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="rule|rules|run|list|waive")
    add_rule_actions(actions, open_desk, "late", RuleKind.LATE)
    run = actions.add_parser("run", help="charge a month that is over; again, it charges nothing twice",
                             epilog="example: gridtally-mdm late run --month 2026-11")  # fmt: skip
    run.add_argument("--month", default="", help="such as 2026-11 (the last month that is over)")
    run.add_argument("--account", type=int, help="only this account (all)")
    run.set_defaults(run=with_desk(open_desk, _run))
    listed = actions.add_parser("list", help="the charges of an account", epilog="example: gridtally-mdm late list 7 --json")
    listed.add_argument("account", type=int)
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=with_desk(open_desk, _list))
    waive = actions.add_parser("waive", help="take one charge back",
                               epilog="example: gridtally-mdm late waive 12 --note 'the bill came late'")  # fmt: skip
    waive.add_argument("charge", type=int, help="its number")
    waive.add_argument("--note", required=True, help="why; it is kept")
    waive.set_defaults(run=with_desk(open_desk, _waive))


def _run(desk: Desk, options: argparse.Namespace) -> int:
    made = late_run.run(desk.db, desk.clock.now_ms(), ACTOR, options.month, options.account)
    for charge in made:
        print(_said(charge))
    print(f"{len(made)} charges; the next bills show them")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = late_run.charges_of(conn, options.account)
    if options.json:
        print(json.dumps([asdict(charge) for charge in found]))
        return 0
    for charge in found:
        print(_said(charge))
    print(f"{len(found)} charges")
    return 0


def _waive(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        charge = late_run.waive(conn, options.charge, desk.clock.now_ms(), ACTOR, options.note)
    print(f"charge {charge.charge_no} is taken back: {decimal_text(charge.amount_nano)}")
    return 0


def _said(charge: late_run.Charge) -> str:
    days = f"{date_of(charge.first_day)} to {date_of(charge.until_day - 1)}"
    rate = f"{decimal_text(charge.percent)} % a {charge.per} of {decimal_text(charge.base_nano)}"
    state = "  taken back" if charge.is_back else f"  ({charge.bound})" if charge.bound else ""
    whose = f"{charge.charge_no:>6}  account {charge.account_no}  {charge.bill_no}"
    return f"{whose}  {days}  {rate}: {decimal_text(charge.amount_nano)}{state}"
