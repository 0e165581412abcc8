"""`gridtally-mdm recipient`: who gets data, where to, what became of it, and data for one of them now."""

from __future__ import annotations

import argparse
import json
from typing import Any

from gridtally_cloud.config import load_config
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.exchange import asking, deliveries, recipients
from gridtally_cloud.exchange.deliveries import Delivery
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.recipients import DeliveryState, Recipient
from gridtally_cloud.exchange.schedules import all_schedules
from gridtally_cloud.exchange.wanted import INTERVALS, KINDS
from gridtally_cloud.store.days import utc_text


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `recipient` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "recipient", help="who gets data, and at which addresses",
        description="Each file goes to every address of its recipient; schedules are made with 'export schedule --to NAME'.",
        epilog="example: gridtally-mdm recipient add market --to https://market.example.org/in --to /srv/market",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    add = actions.add_parser("add", help="a new recipient; prints the secret of each https address, this once",
                             epilog="example: gridtally-mdm recipient add market --to https://market.example.org/in")  # fmt: skip
    add.add_argument("name", metavar="NAME", help="letters, digits, - and _")
    add.add_argument("--to", action="append", required=True, metavar="ADDRESS", help="https://..., or a folder; may be given again")
    add.set_defaults(run=with_desk(open_desk, _add))
    _plain(actions, open_desk, "list", "recipients, their addresses and schedules", _list, named=False)
    _plain(actions, open_desk, "end", "send a recipient nothing more", _end)
    _plain(actions, open_desk, "errors", "what went wrong for a recipient, newest first", _errors)
    sent = _plain(actions, open_desk, "deliveries", "what went to a recipient, newest first", _deliveries)
    sent.add_argument("--state", choices=[state.value for state in DeliveryState], help="only these")
    again = actions.add_parser("again", help="send a dead or waiting delivery again", epilog="example: gridtally-mdm recipient again 12")
    again.add_argument("delivery", type=int, help="its number")
    again.set_defaults(run=with_desk(open_desk, _again))
    _add_send(actions, open_desk)


def _plain(actions: Any, open_desk: OpenDesk, name: str, about: str, work: Any, named: bool = True) -> argparse.ArgumentParser:
    example = f"example: gridtally-mdm recipient {name}{' market' if named else ''}"
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=example)
    if named:
        parser.add_argument("name", metavar="NAME", help="the recipient")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(run=with_desk(open_desk, work))
    return parser


def _add_send(actions: Any, open_desk: OpenDesk) -> None:
    send = actions.add_parser(
        "send", help="data to a recipient now", description="Data of some usage points and days to a recipient, once.",
        epilog="example: gridtally-mdm recipient send market --usage-point 7 --from 2026-11-20 --to 2026-11-21",
    )  # fmt: skip
    send.add_argument("name", metavar="NAME", help="the recipient")
    send.add_argument("--kind", choices=KINDS, default=INTERVALS, help="default intervals")
    send.add_argument("--format", choices=tuple(FORMATS), default="csv", help="default csv")
    send.add_argument("--usage-point", action="append", required=True, metavar="ID", help="number or label; may be given again")
    send.add_argument("--from", dest="first", required=True, metavar="DAY", help="first local day")
    send.add_argument("--to", dest="last", required=True, metavar="DAY", help="last local day")
    send.set_defaults(run=with_desk(open_desk, _send))


def _add(desk: Desk, options: argparse.Namespace) -> int:
    config = load_config(options.config)
    with desk.db.write() as conn:
        made, given = recipients.add(conn, options.name, options.to, config.exchange.in_dir, desk.clock.now_ms(), ACTOR)
    print(f"{made.name} gets data at {', '.join(address.target for address in made.addresses)}")
    for target, secret in given.items():
        print(f"secret of {target}, shown this once: {secret}")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        schedules = all_schedules(conn)
        found = recipients.recipients(conn)
    for each in found:
        mine = [schedule.name for schedule in schedules if schedule.recipient == each.name]
        print(json.dumps(as_object(each) | {"schedules": mine}) if options.json else _line(each, mine))
    if not found and not options.json:
        print("nobody gets data by itself; see 'gridtally-mdm recipient add --help'")
    return 0


def as_object(r: Recipient) -> dict[str, Any]:
    """For programs, here and in the API."""
    addresses = [{"to": a.target, "away_since": utc_text(a.away_ms) if a.away_ms else None} for a in r.addresses]
    return {"name": r.name, "addresses": addresses, "made_at": utc_text(r.made_ms), "made_by": r.made_by,
            "ended_at": utc_text(r.ended_ms) if r.ended_ms else None}  # fmt: skip


def _line(r: Recipient, schedules: list[str]) -> str:
    places = ", ".join(a.target + (f" (away since {utc_text(a.away_ms)})" if a.away_ms else "") for a in r.addresses)
    return f"{r.name}{' (ended)' if r.ended_ms else ''}: {places}; schedules: {', '.join(schedules) or 'none'}"


def _end(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        recipients.end(conn, options.name, desk.clock.now_ms(), ACTOR)
    print(f"{options.name}: ended")
    return 0


def _deliveries(desk: Desk, options: argparse.Namespace) -> int:
    """1 where one of them is dead."""
    with desk.db.read() as conn:
        found = deliveries.deliveries(conn, options.name, DeliveryState(options.state) if options.state else None)
    for d in found:
        print(json.dumps(delivery_object(d)) if options.json else _delivery_line(d))
    return 1 if any(d.state is DeliveryState.DEAD for d in found) else 0


def delivery_object(d: Delivery) -> dict[str, Any]:
    """For programs, here and in the API."""
    return {"delivery_no": d.delivery_no, "recipient": d.recipient, "to": d.target, "kind": d.kind.value, "name": d.name, "size": d.size,
            "sha256": d.digest, "state": d.state.value, "fault": d.fault, "attempts": d.attempts, "made_at": utc_text(d.made_ms),
            "next_at": utc_text(d.next_ms) if d.state is DeliveryState.WAITING else None,
            "taken_at": utc_text(d.taken_ms) if d.taken_ms else None}  # fmt: skip


def _delivery_line(d: Delivery) -> str:
    tail = f"  {d.fault}" if d.fault else ""
    return f"{d.delivery_no:6}  {utc_text(d.made_ms)}  {d.state.value:7}  {d.name} ({d.size} bytes) to {d.target}{tail}"


def _again(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        found = deliveries.send_again(conn, options.delivery, desk.clock.now_ms(), ACTOR)
    print(f"{found.name} goes to {found.target} again")
    return 0


def _errors(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = deliveries.errors(conn, options.name)
    for e in found:
        row = {"error_no": e.error_no, "type": e.type.value, "at": utc_text(e.at_ms), "ref": e.ref, "detail": e.detail}
        print(json.dumps(row) if options.json else f"{e.error_no:6}  {row['at']}  {e.type.value:14}  {e.detail}")
    return 0


def _send(desk: Desk, options: argparse.Namespace) -> int:
    """1 where the request was not valid."""
    question = asking.Question(options.kind, options.format, tuple(options.usage_point), options.first, options.last)
    with desk.db.write() as conn:
        found = asking.ask(conn, options.name, question, desk.clock.now_ms(), ACTOR)
    if isinstance(found, asking.Refusal):
        print(f"{found.reason.value}: {found.detail}")
        return 1
    print(f"{', '.join(found.files)} with {found.values} values on the way to {options.name}")
    return 0
