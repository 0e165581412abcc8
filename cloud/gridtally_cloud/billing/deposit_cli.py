"""`gridtally-mdm deposit`: deposits taken, shown, applied to what is owed, refunded; their interest and its rules."""

from __future__ import annotations

import argparse

from gridtally_cloud.billing import deposits
from gridtally_cloud.billing.periods import local
from gridtally_cloud.billing.rules import RuleKind
from gridtally_cloud.billing.rules_cli import add_rule_actions
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import decimal_text, nano

WORDS = {"deposit": "taken", "deposit_interest": "interest", "deposit_applied": "applied to what was owed", "deposit_refund": "refunded",
         "deposit_credit": "given as credit of prepayment"}  # fmt: skip


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `deposit` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "deposit", help="deposits: take, show, apply, refund, interest",
        description="A deposit is held apart from what an account owes. `bill --final` pays the last bill out of it.",
        epilog="example: gridtally-mdm deposit take 7 1500 --receipt R-118; gridtally-mdm deposit show 7",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="rule|rules|take|show|apply|refund|interest")
    add_rule_actions(actions, open_desk, "deposit", RuleKind.DEPOSIT)
    table = (("take", _take, "take a deposit; the same receipt again is the same money", "7 1500 --receipt R-118"),
             ("show", _show, "the statement of a deposit", "7"), ("apply", _apply, "pay what is owed now out of the deposit", "7"),
             ("refund", _refund, "give back a deposit with its interest, or an amount of it", "7 --receipt R-205"))  # fmt: skip
    for name, run, about, example in table:
        one = actions.add_parser(name, help=about, epilog=f"example: gridtally-mdm deposit {name} {example}")
        one.add_argument("account", type=int)
        if name in ("take", "refund"):
            one.add_argument("amount", nargs=None if name == "take" else "?", help="such as 1500 or 99.50; a refund without it gives all")
            one.add_argument("--receipt", required=True, help="its number at the cash desk")
        one.set_defaults(run=with_desk(open_desk, run))
    interest = actions.add_parser("interest", help="post the interest of all months that are over, each day once",
                                  epilog="example: gridtally-mdm deposit interest")  # fmt: skip
    interest.set_defaults(run=with_desk(open_desk, _interest))


def _amount(text: str) -> int:
    try:
        return nano(text)
    except ValueError as error:
        raise ConfigError("amount", text, str(error)) from None


def _take(desk: Desk, options: argparse.Namespace) -> int:
    amount_nano = _amount(options.amount)
    with desk.db.write() as conn:
        held_nano = deposits.take(conn, options.account, amount_nano, options.receipt, desk.clock.now_ms(), ACTOR)
    print(f"account {options.account}: {decimal_text(held_nano)} is held")
    return 0


def _refund(desk: Desk, options: argparse.Namespace) -> int:
    amount_nano = _amount(options.amount) if options.amount else None
    with desk.db.write() as conn:
        given_nano = deposits.refund(conn, options.account, amount_nano, options.receipt, desk.clock.now_ms(), ACTOR)
    print(f"account {options.account}: {decimal_text(given_nano)} is given back")
    return 0


def _apply(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        paid_nano = deposits.apply(conn, options.account, desk.clock.now_ms(), ACTOR)
    print(f"account {options.account}: {decimal_text(paid_nano)} is paid out of the deposit; the next bill shows it")
    return 0


def _show(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        zone, moves = account_of(conn, options.account).zone, deposits.moves_of(conn, options.account)
    for move in moves:
        receipt = f", receipt {move.reference}" if move.reference else ""
        print(f"{local(move.at_ms, zone):%Y-%m-%d}  {decimal_text(move.amount_nano):>14}  {decimal_text(move.held_nano):>14}  "
              f"{WORDS[move.kind]}{receipt}")  # fmt: skip
    print(f"account {options.account}: {decimal_text(moves[-1].held_nano if moves else 0)} is held")
    return 0


def _interest(desk: Desk, _options: argparse.Namespace) -> int:
    made = deposits.run_interest(desk.db, desk.clock.now_ms(), ACTOR)
    for account_no, amount_nano in made.items():
        print(f"account {account_no}: {decimal_text(amount_nano)}")
    print(f"{len(made)} deposits bore interest that was not posted before")
    return 0
