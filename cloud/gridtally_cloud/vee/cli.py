"""`gridtally-mdm vee`: validate closed days again, and the commands below it. What they do is loaded when they run."""

from __future__ import annotations

import argparse
import json

from gridtally_cloud.customers.desk import OpenDesk, with_desk
from gridtally_cloud.vee import edit_cli, rules_cli, sibling_cli

Parsers = argparse._SubParsersAction  # what argparse gives has no public name


def add_parser(commands: Parsers[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `vee` to the commands of gridtally-mdm."""
    about = "validate closed days (again) and list what was found"
    said = "Validate closed days (again) and list what was found. Without a command below, that is all it does."
    vee = commands.add_parser("vee", help=about, description=said,
                              epilog="example: gridtally-mdm vee --from 2026-11-01 --to 2026-11-30 --json")  # fmt: skip
    vee.add_argument("--from", dest="from_day", help="first local day, YYYY-MM-DD (default: all)")
    vee.add_argument("--to", dest="to_day", help="last local day, YYYY-MM-DD")
    vee.add_argument("--channel", type=int, help="only this channel")
    vee.add_argument("--score", metavar="FOLDER", help="repair the damaged houses of a folder and hold them against their truth")
    vee.add_argument("--zone", default="", help="with --score: IANA zone of the house (default: the offset of its times)")
    vee.add_argument("--json", action="store_true", help="one JSON object a line")
    vee.set_defaults(run=lambda options: _vee(options, open_desk))
    below = vee.add_subparsers(metavar="checks|rules|edit|siblings")
    about = "the table of checks: what each needs and what follows"
    checks = below.add_parser("checks", help=about, description=about, epilog="example: gridtally-mdm vee checks")
    checks.add_argument("--json", action="store_true", help="one JSON object a line")
    checks.set_defaults(run=print_checks)
    rules_cli.add_parser(below, open_desk)
    edit_cli.add_parser(below, open_desk)
    sibling_cli.add_parser(below, open_desk)


def _vee(options: argparse.Namespace, open_desk: OpenDesk) -> int:
    from gridtally_cloud.vee.report import print_report
    from gridtally_cloud.vee.score import print_score

    return print_score(options) if options.score else with_desk(open_desk, print_report)(options)


def print_checks(options: argparse.Namespace) -> int:
    """The table of vee/checks.py, as docs/vee.md has it."""
    from gridtally_cloud.vee.checks import AFTER, TABLE

    if options.json:
        for c in (*TABLE, *AFTER):
            print(json.dumps({"no": c.no, "rule": c.rule, "finds": c.name, "needs": c.needs, "then": c.severity.value,
                              "units": sorted(c.units), "side": c.side}))  # fmt: skip
        return 0
    print("\n".join(table()))
    return 0


def table() -> list[str]:
    """The lines of the table, as Markdown."""
    from gridtally_cloud.vee.checks import AFTER, TABLE

    head = ["| no | rule | finds | needs | then | channels |", "| --- | --- | --- | --- | --- | --- |"]
    rows = (f"| {c.no} | `{c.rule}` | {c.name} | {c.needs} | {c.severity.value} | {_channels(c.units, c.side)} |" for c in (*TABLE, *AFTER))
    return [*head, *rows]


def _channels(units: frozenset[str], side: str) -> str:
    return " ".join(filter(None, (", ".join(sorted(units, key=("Wh", "VAh", "varh").index)) or "all", side)))
