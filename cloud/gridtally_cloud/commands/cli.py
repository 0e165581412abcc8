"""`gridtally-mdm token` hands a 20-digit token of another system to a meter; `gridtally-mdm priority` says what goes down first."""

from __future__ import annotations

import argparse
import json

from gridtally_cloud.commands import priorities, service, states
from gridtally_cloud.commands.model import CommandRequest, CommandView
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import ConfigError
from gridtally_shared.instruments.token import TokenOutcome, TokenStatus

BY = f"staff:{ACTOR}"
TYPES = {kind.name.lower().replace("_", "-"): kind for kind in CommandType}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `token` with its actions and `priority` to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "token", help="hand a 20-digit token of another system to a meter",
        description="Tokens go to the meter's token gateway as they are; only the meter knows what they bring.",
        epilog="example: gridtally-mdm token send 12 '1234 5678 9012 3456 7890'",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    send = actions.add_parser("send", help="send a token to a meter; the same one twice is delivered once",
                              epilog="example: gridtally-mdm token send 12 '1234 5678 9012 3456 7890'")  # fmt: skip
    send.add_argument("meter", type=int, help="number of the meter")
    send.add_argument("digits", nargs="+", help="the digits; gaps do not matter")
    send.set_defaults(run=with_desk(open_desk, _send))
    show = actions.add_parser("show", help="what the meter said of a token",
                              epilog="example: gridtally-mdm token show 0195f0c2a1b07c3d8e4f5a6b7c8d9e0f")  # fmt: skip
    show.add_argument("command", help="the number 'token send' printed")
    show.add_argument("--json", action="store_true", help="JSON instead of a sentence")
    show.set_defaults(run=with_desk(open_desk, _show))
    order = commands.add_parser("priority", help="how urgent each type of command is; lower goes first",
                                description="Without a type: the whole table. A change holds for commands issued from then on.",
                                epilog="example: gridtally-mdm priority message 15")  # fmt: skip
    order.add_argument("type", nargs="?", choices=sorted(TYPES), metavar="TYPE", help=", ".join(sorted(TYPES)))
    order.add_argument("priority", nargs="?", type=int, help="1 to 10 for switches and what is as urgent, 11 to 99 for the rest")
    order.set_defaults(run=with_desk(open_desk, _priority))


def _send(desk: Desk, options: argparse.Namespace) -> int:
    detail = service.token_detail(" ".join(options.digits))
    request = CommandRequest(options.meter, CommandType.TOKEN, BY, "token relay", detail=detail)
    with desk.db.write() as conn:
        issued = service.issue(conn, desk.payments.signer, request, desk.clock.now_ms())
    print(f"{issued.cmd_id.hex()}")
    print(f"on its way to meter {options.meter}; see what becomes of it with: gridtally-mdm token show {issued.cmd_id.hex()}")
    return 0


def _show(desk: Desk, options: argparse.Namespace) -> int:
    try:
        cmd_id = bytes.fromhex(options.command)
    except ValueError:
        raise ConfigError("command", options.command, "write the number that 'token send' printed") from None
    with desk.db.read() as conn:
        view = states.find(conn, cmd_id)
    if view is None or view.type is not CommandType.TOKEN:
        raise ConfigError("command", options.command, "no token was sent under this number")
    told = decode(TokenOutcome, view.result) if view.result else None
    if options.json:
        print(json.dumps({"meter": view.meter_no, "state": view.state.name.lower(), "reason": view.reason,
                          "status": told.status if told else None, "data": told.data if told else None}))  # fmt: skip
    else:
        print(_sentence(view, told))
    return 0


def _sentence(view: CommandView, told: TokenOutcome | None) -> str:
    said = f": {TokenStatus(told.status).name.lower().replace('_', ' ')} (status {told.status}, data {told.data or 'none'})" if told else ""
    return f"meter {view.meter_no}: {view.state.name.lower()}{' ' + view.reason if view.reason else ''}{said}"


def _priority(desk: Desk, options: argparse.Namespace) -> int:
    if options.type is None or options.priority is None:
        with desk.db.read() as conn:
            table = priorities.table(conn)
        for name, kind in TYPES.items():
            if options.type in (None, name):
                print(f"{table[kind]:3}  {name}")
        return 0
    kind, at_ms = TYPES[options.type], desk.clock.now_ms()
    with desk.db.write() as conn:
        priorities.set_priority(conn, kind, options.priority, BY, at_ms)
        record(conn, at_ms, BY, "command.priority", f"type:{options.type}", str(options.priority))
    print(f"{options.type} goes down with priority {options.priority} from now on")
    return 0
