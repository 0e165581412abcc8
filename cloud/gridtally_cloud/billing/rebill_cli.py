"""`gridtally-mdm rebill`: bills whose data were restated; make one again, or say that it stands."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from gridtally_cloud.billing import rebill
from gridtally_cloud.billing.periods import local
from gridtally_cloud.billing.store import load_bill
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_shared.money import display
from gridtally_shared.tariff.lines import thousandths


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `rebill` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "rebill", help="bills whose data were restated",
        description="VEE restated data of issued bills. Look which, cancel a bill and make it again, or leave it as it is.",
        epilog="example: gridtally-mdm rebill list; gridtally-mdm rebill make B-0000012 --note 'register read wrong on 5 November'",
    )  # fmt: skip
    below = parser.add_subparsers(required=True, metavar="list|make|leave")
    listed = below.add_parser("list", help="bills that wait for a decision", epilog="example: gridtally-mdm rebill list --account 7 --json")
    listed.add_argument("--account", type=int, help="only this account")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=with_desk(open_desk, _list))
    for name, run, text in (("make", _make, "cancel a bill and make it again from the data of now"),
                            ("leave", _leave, "the bill stands as it is")):  # fmt: skip
        one = below.add_parser(name, help=text, epilog=f"example: gridtally-mdm rebill {name} B-0000012 --note 'checked with the customer'")
        one.add_argument("bill", help="its number")
        one.add_argument("--note", required=True, help="why; it is kept, and stands on the new bill")
        one.set_defaults(run=with_desk(open_desk, run))


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = rebill.proposals(conn, options.account)
        zones = {p.account_no: account_of(conn, p.account_no).zone for p in found}
    if options.json:
        print(json.dumps([asdict(p) for p in found]))
        return 0
    for p in found:
        first, last = (local(at_ms, zones[p.account_no]).date().isoformat() for at_ms in (p.from_ms, p.to_ms - 1))
        sign = "+" if p.delta_wh > 0 else ""
        print(f"{p.bill_no}  account {p.account_no}  {first} to {last}  {p.days} days restated, {sign}{thousandths(p.delta_wh)} kWh")
    print(f"{len(found)} bills wait for rebill make or rebill leave")
    return 0


def _make(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        made = rebill.rebill(conn, options.bill, desk.clock.now_ms(), ACTOR, options.note)
        currency = load_bill(conn, options.bill).bill.party.currency
    for one in made:
        print(f"{one.old_no} is cancelled: {display(one.was_nano, currency)}. {one.new_no} stands in its place: "
              f"{display(one.now_nano, currency)}")  # fmt: skip
    return 0


def _leave(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        rebill.leave(conn, options.bill, desk.clock.now_ms(), ACTOR, options.note)
    print(f"{options.bill} stands as it is")
    return 0
