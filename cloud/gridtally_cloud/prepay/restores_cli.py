"""`gridtally-mdm restores`: from payment to closed relay, measured."""

from __future__ import annotations

import argparse
import json

from gridtally_cloud.customers.desk import Desk, OpenDesk, with_desk
from gridtally_cloud.prepay.restores import restores
from gridtally_shared.clock import MS_PER_DAY

WITHIN_MS = 60_000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `restores` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "restores", help="how long payments took to bring supplies back",
        description="From the capture of a payment to the relay that was read back closed.",
        epilog="example: gridtally-mdm restores --days 7",
    )  # fmt: skip
    parser.add_argument("--days", type=int, default=30, help="how far back (default 30)")
    parser.add_argument("--json", action="store_true", help="JSON, one row a supply")
    parser.set_defaults(run=with_desk(open_desk, _run))


def _run(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = restores(conn, desk.clock.now_ms() - max(1, options.days) * MS_PER_DAY)
    if options.json:
        print(json.dumps([{"account_no": x.account_no, "payment_no": x.payment_no, "took_ms": x.took_ms} for x in found]))
        return 0
    took = sorted(x.took_ms for x in found)
    if not took:
        print(f"no payment brought a supply back in {options.days} days")
        return 0
    within = sum(x <= WITHIN_MS for x in took)
    print(f"{within} of {len(took)} supplies were back within 60 s of the payment; "
          f"half of them within {took[len(took) // 2] / 1000:.0f} s, the slowest after {took[-1] / 1000:.0f} s")  # fmt: skip
    return 0
