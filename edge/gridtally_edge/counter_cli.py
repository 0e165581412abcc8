"""`gridtally-dcu keypad`, `emergency` and `instruments import`: what a person on the spot brings, handed to the running agent.

Exit codes: 0 taken (or taken before), 1 not taken, 4 the agent has not answered in time (the request waits for it).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gridtally_edge.config import load_config
from gridtally_edge.counter import Ask
from gridtally_edge.counter_command import asked, guarded, parser_of
from gridtally_edge.journal.sqlite import open_reader
from gridtally_edge.prepay.plan import stored_plan
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.errors import ConfigError
from gridtally_shared.instruments.carrier import envelope_of
from gridtally_shared.money import display

SAID: dict[str, str] = {
    "accepted": "accepted: {amount}; balance {balance}",
    "waiting": "taken in, and waits for an earlier code: enter the codes in the order they were issued",
    "used": "this code was used before; balance {balance}",
    "old": "this code is out of date: ask the supplier for a new one",
    "format": "a code has 24 digits: check what was typed",
    "check_digit": "a digit is wrong: compare with the paper and type it again",
    "wrong": "this code does not belong to this meter: check the account on the paper",
    "wrong_meter": "this code is for another meter",
    "locked": "too many wrong codes: try again in {wait}",
    "overflow": "the balance would be above what this account may hold: use some first, then type it again",
    "refused": "this code can not be used here: call the supplier",
    "not_offered": "this account takes no keypad codes",
}
"""What is said for each keypad.CodeResult."""

TAKEN = frozenset({"accepted", "waiting", "used"})


def keypad(arguments: Sequence[str]) -> int:
    """`gridtally-dcu keypad ACCOUNT CODE`."""
    parser = parser_of("keypad", "type a 24-digit code for an account", "gridtally-dcu keypad 101 '0400 0058 1958 3391 9013 2300'")
    parser.add_argument("account", type=int, help="number of the account")
    parser.add_argument("code", nargs="+", help="the digits; gaps and dashes do not matter")
    return guarded("keypad", _keypad, parser.parse_args(arguments))


def emergency(arguments: Sequence[str]) -> int:
    """`gridtally-dcu emergency ACCOUNT`."""
    about = "take the emergency credit offered to an account, as its household wishes"
    parser = parser_of("emergency", about, "gridtally-dcu emergency 101")
    parser.add_argument("account", type=int, help="number of the account")
    return guarded("emergency", _emergency, parser.parse_args(arguments))


def instruments(arguments: Sequence[str]) -> int:
    """`gridtally-dcu instruments import FILE`."""
    about = "bring in an instrument file of the MDM"
    parser = parser_of("instruments", about, "gridtally-dcu instruments import credits.txt")
    parser.add_argument("action", choices=("import",))
    parser.add_argument("file", help="text of the file or of scanned QR codes, one a line; - reads it from the terminal")
    return guarded("instruments", _import, parser.parse_args(arguments))


def _keypad(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    answer = asked(config.data_dir, Ask("code", options.account, " ".join(options.code)), options.wait)
    if options.json:
        print(json.dumps(asdict(answer)))
    else:
        currency = _currency(config.data_dir, options.account)
        amount, balance = display(answer.amount_nano, currency), display(answer.balance_nano, currency)
        seconds = max(1, (answer.until_ms - time.time_ns() // 1_000_000 + 999) // 1_000)
        wait = f"{seconds} s" if seconds < 120 else f"{-(-seconds // 60)} min"
        print(SAID.get(answer.result, answer.text or answer.result).format(amount=amount, balance=balance, wait=wait))
    return 0 if answer.result in TAKEN else 1


def _emergency(options: argparse.Namespace) -> int:
    answer = asked(load_config(options.config).data_dir, Ask("emergency", options.account, ""), options.wait)
    is_taken = answer.result == "accepted"
    if options.json:
        print(json.dumps(asdict(answer)))
    else:
        print("accepted: the emergency credit is in use" if is_taken else "nothing taken: none is on offer now, or it is in use already")
    return 0 if is_taken else 1


def _import(options: argparse.Namespace) -> int:
    text = sys.stdin.read() if options.file == "-" else _text_of(Path(options.file))
    envelope_of(text)  # a spoilt file is told here and now
    answer = asked(load_config(options.config).data_dir, Ask("instruments", 0, text), options.wait)
    if options.json:
        print(json.dumps(asdict(answer)))
    elif answer.result == "accepted":
        print(f"{answer.applied} applied, {answer.known} known before, {answer.waiting} waiting for others, {answer.refused} refused")
    else:
        print(f"refused whole, nothing was changed: {answer.text}")
    return 0 if answer.result == "accepted" and not answer.refused else 1


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError("FILE", str(path), f"can not be read ({error.strerror})") from None


def _currency(data_dir: Path, account_no: int) -> str:
    db = open_reader(data_dir / "money.db", MONEY_STORE)
    try:
        account = stored_plan(db).accounts.get(account_no)
    finally:
        db.close()
    return account.currency if account else "?"
