"""`gridtally-mdm tariff`: add a version, list what is there, say who has not confirmed or viewed new prices."""

from __future__ import annotations

import argparse

from gridtally_cloud.customers import price_notices
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, document_of, with_desk
from gridtally_cloud.customers.tariffs import add_tariff, versions_of
from gridtally_cloud.prepay.policy_cli import moment_of, shown

ABOUT = (
    "A tariff is priced by its versions, each from its beginning on. Prices change by a further version, never by another text. It travels "
    "with the next configuration, every consumer is told, and each meter confirms when it is in force."
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `tariff` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser("tariff", help="prices: add a version, list, who has not confirmed", description=ABOUT,
                                 epilog="example: gridtally-mdm tariff add home home.json --from 2026-12-01T00:00Z")  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    add = actions.add_parser("add", help="add a document as the next version of a tariff",
                             epilog="example: gridtally-mdm tariff add home home.json --from 2026-12-01T00:00Z")  # fmt: skip
    add.add_argument("tariff", help="name of the tariff, as accounts have it")
    add.add_argument("document", help="a JSON file (docs/tariff.md)")
    add.add_argument("--from", dest="begins", default="", help="when it begins, such as 2026-12-01T00:00Z (now)")
    add.set_defaults(run=with_desk(open_desk, _add))
    listing = actions.add_parser("list", help="list the versions of a tariff", epilog="example: gridtally-mdm tariff list home")
    listing.add_argument("tariff")
    listing.set_defaults(run=with_desk(open_desk, _list))
    missing = actions.add_parser("missing", help="list meters that have not confirmed a version, or whose consumer has not viewed it",
                                 epilog="example: gridtally-mdm tariff missing home --version 3")  # fmt: skip
    missing.add_argument("tariff")
    missing.add_argument("--version", type=int, default=0, help="which (the newest)")
    missing.set_defaults(run=with_desk(open_desk, _missing))


def _add(desk: Desk, options: argparse.Namespace) -> int:
    text = document_of(options.document)
    now_ms = desk.clock.now_ms()
    with desk.db.write() as conn:
        made = add_tariff(conn, options.tariff, moment_of(options.begins) if options.begins else now_ms, text, now_ms, ACTOR)
    print(f"tariff {made.tariff_id}: version {made.version} begins {shown(made.from_ms)}; it travels with the next configuration")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        counted = {v.version: v for v in price_notices.versions(conn) if v.tariff_id == options.tariff}
        for d in versions_of(conn, options.tariff):
            print(f"version {d.version:>3} from {shown(d.from_ms)}{_counts(counted.get(d.version))}")
    return 0


def _counts(version: price_notices.PriceVersion | None) -> str:
    if version is None:
        return ""
    v = version
    return f"  of {v.accounts} accounts told {v.told}, in force {v.in_force}, viewed {v.viewed}, refused {v.refused}"


def _missing(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        number = options.version or versions_of(conn, options.tariff)[-1].version
        missing = [c for c in price_notices.confirmations(conn, options.tariff, number) if c.is_missing]
    for c in missing:
        facts = (("told", c.told_ms), ("in force", c.in_force_ms), ("viewed", c.viewed_ms))
        said = ", ".join(f"{name} {shown(at_ms)}" if at_ms is not None else f"not {name}" for name, at_ms in facts)
        print(f"{c.meter_serial:<16} account {c.account_no:>6}  {said}{f'; refused: {c.fault}' if c.fault else ''}")
    if not missing:
        print(f"version {number} of {options.tariff}: nobody is missing; it is in force and viewed wherever an account has this tariff")
    return 0
