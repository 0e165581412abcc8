"""`gridtally-dcu hold`, `limit` and `people`: a named person on site disables, enables or limits a supply.

Exit codes: 0 done, 1 not done, 4 the agent has not answered in time (nothing waits: whoever asks must be there).
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from gridtally_edge.config import load_config
from gridtally_edge.counter import Answer, Ask
from gridtally_edge.counter_command import asked, guarded, parser_of
from gridtally_edge.journal.sqlite import open_reader
from gridtally_edge.prepay.rows import one, some
from gridtally_edge.prepay.site import Person, SiteOrder, packed, proof_of, verifier_of
from gridtally_edge.prepay.site_rows import FieldPersonRow
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.errors import ConfigError
from gridtally_shared.instruments.details import LIFTED_ON_SITE

SHORTEST_PIN = 6
MOST_W = 10_000_000
SAID: dict[str, str] = {
    "lifted": "the {reason} hold is lifted, in the name of {person}{left}",
    "set": "the {reason} hold is set, in the name of {person}: the supply stays off until it is lifted here",
    "closing": "no {reason} hold is left and the switch is being closed, in the name of {person}; see 'gridtally-dcu status'",
    "opening": "the {reason} hold is set and the switch is being opened, in the name of {person}; see 'gridtally-dcu status', and measure "
    "before anybody touches anything",
    "not_opened": "the {reason} hold is set, and the switch is not moved: {text}",
    "limited": "the load limit is {text} W now (0: none), in the name of {person}; the MDM is told",
    "not_limited": "the flow of gas is not limited: disable the supply instead",
    "not_here": "the MDM runs this account, and only a concentrator that runs it limits its load: disable the supply instead",
    "not_held": "there is no {reason} hold on this account{left}",
    "not_closed": "no {reason} hold is left, and the switch is not closed: {text}",
    "wrong_pin": "this is not the PIN of {person}",
    "locked": "too many wrong PINs for {person}: wait a few minutes, then try again",
    "unknown_person": "{person} is not known here: whoever runs this box adds people with 'gridtally-dcu people add'",
    "unknown_account": "this concentrator serves no such account or meter: see 'gridtally-dcu ledger' and 'gridtally-dcu status'",
    "other_reason": "only safety and work holds are lifted on site; others where they were set",
    "malformed": "the agent does not understand the request: agent and command are of different versions",
    "known": "{person} may set and lift holds here from now on; the MDM is told",
    "forgotten": "{person} may no longer set or lift holds here; the MDM is told",
}
"""What is said for each site.SiteResult."""
DONE = frozenset({"lifted", "set", "closing", "opening", "limited", "known", "forgotten"})


def hold(arguments: Sequence[str]) -> int:
    """`gridtally-dcu hold lift|set ACCOUNT REASON --person NAME`."""
    parser = parser_of(
        "hold", "set or lift a safety or work hold, standing at the box. The person is written into the account's journal; the PIN is "
        "asked for, or read from standard input", "gridtally-dcu hold lift 101 safety --person 'R. Kumar 4711' --close",
    )  # fmt: skip
    parser.add_argument("action", choices=("lift", "set"))
    parser.add_argument("account", type=int, help="number of the account; with --meter of the meter")
    parser.add_argument("reason", choices=sorted(LIFTED_ON_SITE))
    parser.add_argument("--meter", action="store_true", help="the number is that of a meter: for a supply that nobody pays in advance")
    parser.add_argument("--person", required=True, metavar="NAME", help="who is here, as added with 'gridtally-dcu people add'")
    moves = parser.add_mutually_exclusive_group()
    moves.add_argument("--close", action="store_true", help="with lift: close what an order opened, once no hold is left")
    moves.add_argument("--open", action="store_true", help="with set: open the switch")
    return guarded("hold", _hold, parser.parse_args(arguments))


def limit(arguments: Sequence[str]) -> int:
    """`gridtally-dcu limit ACCOUNT WATTS --person NAME`."""
    parser = parser_of(
        "limit", "set the load limit of a supply, or lift it, standing at the box. The person is written into the account's journal; the "
        "PIN is asked for, or read from standard input", "gridtally-dcu limit 101 900 --person 'R. Kumar 4711'",
    )  # fmt: skip
    parser.add_argument("account", type=int, help="number of the account")
    parser.add_argument("watts", type=int, help="the most that may be taken; 0 lifts the limit")
    parser.add_argument("--reason", choices=sorted(LIFTED_ON_SITE), default="work")
    parser.add_argument("--person", required=True, metavar="NAME", help="who is here, as added with 'gridtally-dcu people add'")
    return guarded("limit", _limit, parser.parse_args(arguments))


def people(arguments: Sequence[str]) -> int:
    """`gridtally-dcu people add|remove|list`."""
    parser = parser_of("people", "who may set and lift holds at this box", "gridtally-dcu people add 'R. Kumar 4711'")
    parser.add_argument("action", choices=("add", "remove", "list"))
    parser.add_argument("person", nargs="?", default="", metavar="NAME", help="name and staff number; the PIN is asked for")
    return guarded("people", _people, parser.parse_args(arguments))


def _hold(options: argparse.Namespace) -> int:
    if (options.close and options.action == "set") or (options.open and options.action == "lift"):
        raise ConfigError("--close" if options.close else "--open", options.action, "a switch is opened with set and closed with lift")
    is_set, meter_no = options.action == "set", options.account if options.meter else 0
    order = SiteOrder(options.person, b"", options.reason, is_set, options.close, options.open, meter_no=meter_no)
    return _ask(options, lambda proof: replace(order, proof=proof), 0 if options.meter else options.account)


def _limit(options: argparse.Namespace) -> int:
    if not 0 <= options.watts <= MOST_W:
        raise ConfigError("WATTS", options.watts, f"write 0 to {MOST_W}")
    return _ask(options, lambda proof: SiteOrder(options.person, proof, options.reason, limit_w=options.watts), options.account)


def _ask(options: argparse.Namespace, order: Callable[[bytes], SiteOrder], account_no: int) -> int:
    """The order of a person who proves by his PIN to be the one."""
    data_dir = load_config(options.config).data_dir
    person = _person(data_dir, options.person)
    proof = proof_of(_pin(f"PIN of {options.person}: "), person.salt) if person else b""
    return _told(asked(data_dir, Ask("hold", account_no, packed(order(proof))), options.wait), options, options.reason)


def _people(options: argparse.Namespace) -> int:
    data_dir = load_config(options.config).data_dir
    if options.action == "list":
        return _list(data_dir, options.json)
    if not options.person.strip():
        raise ConfigError("NAME", options.person, "write the name and staff number of the person")
    person = Person(options.person)
    if options.action == "add":
        pin, salt = _pin(f"New PIN of {options.person}, {SHORTEST_PIN} characters or more: "), os.urandom(16)
        if len(pin) < SHORTEST_PIN:
            raise ConfigError("PIN", "*" * len(pin), f"is shorter than {SHORTEST_PIN} characters")
        person = Person(options.person, salt, verifier_of(proof_of(pin, salt)))
    return _told(asked(data_dir, Ask("person", 0, packed(person)), options.wait), options, "")


def _list(data_dir: Path, as_json: bool) -> int:
    db = open_reader(data_dir / "money.db", MONEY_STORE)
    try:
        names = [row.name for row in some(db, FieldPersonRow, "ORDER BY name")]
    finally:
        db.close()
    if as_json:
        print(json.dumps(names))
    else:
        print("\n".join(names) or "nobody may lift holds at this box: add somebody with 'gridtally-dcu people add NAME'")
    return 0


def _told(answer: Answer, options: argparse.Namespace, reason: str) -> int:
    if options.json:
        print(json.dumps(asdict(answer)))
    else:
        left = f"; still held: {answer.text}" if answer.text else ""
        print(SAID.get(answer.result, answer.result).format(reason=reason, person=options.person, text=answer.text, left=left))
    return 0 if answer.result in DONE else 1


def _person(data_dir: Path, name: str) -> FieldPersonRow | None:
    db = open_reader(data_dir / "money.db", MONEY_STORE)
    try:
        return one(db, FieldPersonRow, name)
    finally:
        db.close()


def _pin(prompt: str) -> str:
    return (getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()).strip()
