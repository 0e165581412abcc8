"""`gridtally-mdm correct`: sign the difference of past charges of a prepaid account (safety.md 16)."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.prepay import control
from gridtally_shared.errors import ConfigError
from gridtally_shared.instruments.details import CORRECTED, ChargeCorrection
from gridtally_shared.money import display, nano


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `correct` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "correct", help="correct past charges of a prepaid account",
        description="Sign the difference as an instrument. What is given back raises the balance; what was charged too little becomes a "
        "debt, collected out of payments, and never cuts a supply.",
        epilog="example: gridtally-mdm correct 7 -12.50 --why reading --from 2026-03-01 --to 2026-03-08 --note 'restated week'",
    )  # fmt: skip
    parser.add_argument("account", type=int)
    parser.add_argument("amount", help="above zero: given back to the consumer; below zero: charged too little before")
    parser.add_argument("--why", choices=CORRECTED, required=True, help="what was wrong")
    parser.add_argument("--from", dest="begins", required=True, help="first day that is corrected, such as 2026-03-01 (UTC)")
    parser.add_argument("--to", dest="ends", required=True, help="the day after the last one")
    parser.add_argument("--note", default="", help="a sentence for the people who look at it")
    parser.set_defaults(run=with_desk(open_desk, _correct))


def _correct(desk: Desk, options: argparse.Namespace) -> int:
    try:
        amount_nano = nano(options.amount)
    except ValueError as error:
        raise ConfigError("amount", options.amount, str(error)) from None
    from_ms, to_ms = _day("--from", options.begins), _day("--to", options.ends)
    detail = ChargeCorrection(options.why, from_ms, to_ms, options.note)
    with desk.db.write() as conn:
        currency = account_of(conn, options.account).currency
        number = control.correct(conn, desk.payments.signer, options.account, amount_nano, detail, desk.clock.now_ms(), ACTOR)
    what = "is given back" if amount_nano > 0 else "becomes a debt that is collected out of payments"
    print(f"correction {number} of account {options.account} is signed: {display(abs(amount_nano), currency)} {what}")
    return 0


def _day(name: str, text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        raise ConfigError(name, text, "write a day, such as 2026-03-01") from None
