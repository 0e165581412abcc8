"""`gridtally-mdm estimates`: the dated rules of estimated bills."""

from __future__ import annotations

import argparse

from gridtally_cloud.billing.rules import RuleKind
from gridtally_cloud.billing.rules_cli import add_rule_actions
from gridtally_cloud.customers.desk import OpenDesk


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `estimates` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "estimates", help="rules of estimated bills",
        description="Rules say how many estimated bills may follow each other, when a person looks at one, and how long it may be made "
        "again for more. A bill is judged by the rule of the last day of its period.",
        epilog="example: gridtally-mdm estimates rule estimated.json --from 2026-04-01",
    )  # fmt: skip
    add_rule_actions(parser.add_subparsers(required=True, metavar="rule|rules"), open_desk, "estimates", RuleKind.ESTIMATED)
