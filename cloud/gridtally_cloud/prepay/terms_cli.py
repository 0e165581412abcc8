"""`gridtally-mdm terms`: what policies ask of an account's supply, listed and set."""

from __future__ import annotations

import argparse
from dataclasses import replace

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.prepay.terms import SupplyTerms, set_terms, terms_of, text_of


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `terms` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "terms", help="terms of a supply: feeder, contract demand, class, flags that protect",
        description="What policies ask of an account's supply. It travels with the next configuration of its concentrator.",
        epilog="example: gridtally-mdm terms set 7 --contract-w 5000 --feeder north-3 --flag medical_device",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    listing = actions.add_parser("list", help="list the accounts that have terms", epilog="example: gridtally-mdm terms list")
    listing.set_defaults(run=with_desk(open_desk, _list))
    setting = actions.add_parser("set", help="set terms of an account; what is not named stays",
                                 epilog="example: gridtally-mdm terms set 7 --contract-w 5000")  # fmt: skip
    setting.add_argument("account", type=int)
    setting.add_argument("--feeder", help="its feeder, for the share of cuts within an hour; '' for none")
    setting.add_argument("--contract-w", type=int, help="contract demand in watts, for limits in percent; 0 for not known")
    setting.add_argument("--class", dest="load_class", help="class of the load, such as home; '' for none")
    setting.add_argument("--flag", action="append", default=[], help="a flag that policies protect, such as medical_device; again for more")
    setting.add_argument("--no-flag", action="append", default=[], help="a flag that is taken away; again for more")
    setting.set_defaults(run=with_desk(open_desk, _set))


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = terms_of(conn)
    for number, terms in sorted(found.items()):
        print(f"account {number:>6}  {text_of(terms)}")
    if not found:
        print("no account has terms; limits in percent and shares of feeders do nothing yet")
    return 0


def _set(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        terms = _changed(terms_of(conn).get(options.account, SupplyTerms()), options)
        set_terms(conn, options.account, terms, desk.clock.now_ms(), ACTOR)
    print(f"account {options.account}: {text_of(terms)}; it travels with the next configuration")
    return 0


def _changed(before: SupplyTerms, options: argparse.Namespace) -> SupplyTerms:
    named = {name: value for name in ("feeder", "contract_w", "load_class") if (value := getattr(options, name)) is not None}
    flags = ({*before.flags} | {*options.flag}) - {*options.no_flag}
    return replace(before, flags=tuple(sorted(flags)), **named)
