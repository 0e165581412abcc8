"""`gridtally-mdm cut-share`: how many of its homes a concentrator may cut within an hour."""

from __future__ import annotations

import argparse

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.prepay.cut_share import set_share, shares


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `cut-share` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "cut-share", help="how many of its homes a concentrator may cut within an hour",
        description="Without a share: the table. A new share travels with the next configuration and counts as a change of rules: cuts "
        "that waited for a person go on.",
        epilog="example: gridtally-mdm cut-share dcu-7 50",
    )  # fmt: skip
    parser.add_argument("dcu", nargs="?", help="name of the concentrator")
    parser.add_argument("permille", nargs="?", type=int, help="thousandths of its homes, 1 to 1000; 100 is a tenth")
    parser.set_defaults(run=with_desk(open_desk, _share))


def _share(desk: Desk, options: argparse.Namespace) -> int:
    if options.dcu is None or options.permille is None:
        with desk.db.read() as conn:
            found = shares(conn)
        for name, permille in found.items():
            if options.dcu in (None, name):
                print(f"{_percent(permille):>7}  {name}")
        return 0
    with desk.db.write() as conn:
        before = set_share(conn, options.dcu, options.permille, desk.clock.now_ms(), ACTOR)
    print(f"{options.dcu} may cut {_percent(options.permille)} of its homes an hour (before: {_percent(before)}), one at least; it travels "
          "with the next configuration")  # fmt: skip
    return 0


def _percent(permille: int) -> str:
    return f"{permille // 10}.{permille % 10} %"
