"""`gridtally-mdm arrears`: limit the load of who is overdue with bills, after a notice; it is lifted by payment or an arrangement."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.prepay import arrears
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.money import display


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `arrears` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "arrears", help="limit the load of who is overdue with bills, instead of a cut",
        description="Only what is overdue counts. The household is told first; its payment, or an arrangement, lifts the limit by itself.",
        epilog="example: gridtally-mdm arrears limit 7 900",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    limit = actions.add_parser("limit", help="tell a household that its load is limited unless it pays",
                               epilog="example: gridtally-mdm arrears limit 7 900 --hours 72")  # fmt: skip
    limit.add_argument("account", type=int)
    limit.add_argument("watts", type=int)
    limit.add_argument("--hours", type=int, default=arrears.LEAD_MS // MS_PER_HOUR, help="from the notice to the limit (default 72)")
    limit.set_defaults(run=with_desk(open_desk, _limit))
    show = actions.add_parser("show", help="what an account was told and limited to", epilog="example: gridtally-mdm arrears show 7")
    show.add_argument("account", type=int)
    show.set_defaults(run=with_desk(open_desk, _show))


def _limit(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        lead_ms = max(0, options.hours) * MS_PER_HOUR
        made = arrears.tell(conn, options.account, options.watts, desk.clock.now_ms(), ACTOR, lead_ms)
        currency = account_of(conn, options.account).currency
    print(f"account {made.account_no} is told: {display(made.owed_nano, currency)} by {_when(made.due_ms)}, or {made.watts} W from then on")
    return 0


def _show(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        account_of(conn, options.account)
        found = arrears.limits(conn, options.account)
    for each in found:
        print(f"{each.limit_no:5}  {each.watts:6} W  {each.state.value:8} {each.reason:8} due {_when(each.due_ms)}")
    return 0


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
