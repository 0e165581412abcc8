"""`gridtally-mdm programme`, `messages` and `disconnect`: what may be chosen at zero, what consumers were told, runs over zero wallets."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from gridtally_cloud.customers import outgoing
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.prepay import disconnect_run, offers
from gridtally_cloud.prepay.offers import Need
from gridtally_shared.clock import MS_PER_HOUR


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `programme` and `messages` to the commands of gridtally-mdm."""
    programme = commands.add_parser(
        "programme", help="options at zero that households may choose",
        description="Options at zero: each is what a policy does at zero, for accounts that fulfil what it needs.",
        epilog="example: gridtally-mdm programme offer home home_strict --needs switch,not_protected",
    )  # fmt: skip
    actions = programme.add_subparsers(required=True, metavar="action")
    offer = actions.add_parser("offer", help="offer what a policy does at zero; \"none\" comes first in every programme",
                               epilog="example: gridtally-mdm programme offer home home_mild")  # fmt: skip
    offer.add_argument("programme")
    offer.add_argument("policy", help="a policy of the catalogue, such as home_mild")
    offer.add_argument("--needs", default="", help=f"conditions with commas: {', '.join(Need)}")
    offer.set_defaults(run=with_desk(open_desk, _offer))
    seen = actions.add_parser("show", help="what an account may choose, and what it lacks",
                              epilog="example: gridtally-mdm programme show 7")  # fmt: skip
    seen.add_argument("account", type=int)
    seen.set_defaults(run=with_desk(open_desk, _show))
    messages = commands.add_parser("messages", help="messages to consumers by SMS and e-mail, newest first",
                                   epilog="example: gridtally-mdm messages --account 7 --json")  # fmt: skip
    messages.add_argument("--account", type=int, default=0, help="of one account (all)")
    messages.add_argument("--limit", type=int, default=50)
    messages.add_argument("--json", action="store_true", help="JSON instead of a table")
    messages.set_defaults(run=with_desk(open_desk, _messages))
    cut = commands.add_parser(
        "disconnect", help="tell everybody whose wallet is used up, and order the group's disconnect when the notice is over",
        description="Consumers are told at once; after the notice the worker orders the cut of those still at zero and in no grace.",
        epilog="example: gridtally-mdm disconnect --notice-hours 24",
    )  # fmt: skip
    cut.add_argument("--notice-hours", type=int, default=24, help="hours between the message and the order (24, at least 1)")
    cut.add_argument("--show", type=int, metavar="RUN", help="only show what became of a run")
    cut.set_defaults(run=with_desk(open_desk, _disconnect))


def _offer(desk: Desk, options: argparse.Namespace) -> int:
    needs = tuple(name.strip() for name in options.needs.split(",") if name.strip())
    with desk.db.write() as conn:
        option = offers.set_option(conn, options.programme, options.policy, needs, desk.clock.now_ms(), ACTOR)
    print(f"programme {options.programme} offers {option.value} by policy {options.policy}")
    return 0


def _show(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = offers.offers(conn, account_of(conn, options.account), desk.clock.now_ms())
    for o in found:
        fit = f"lacks {', '.join(o.missing)}" if o.missing else "may be chosen"
        print(f"{o.programme:12} {o.option.value:11} {o.policy_id} v{o.version}  {fit}")
    if not found:
        print("nothing is offered: see gridtally-mdm programme offer --help")
    return 0


def _messages(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = outgoing.messages_of(conn, options.account, options.limit)
    if options.json:
        print(json.dumps([{"message_no": m.message_no, "account_no": m.account_no, "code": m.code, "channel": m.channel, "to": m.address,
                           "text": m.text, "state": m.state, "via": m.via, "fault": m.fault, "created_ms": m.created_ms,
                           "sent_ms": m.sent_ms} for m in found], ensure_ascii=False))  # fmt: skip
        return 0
    for m in found:
        when = datetime.fromtimestamp(m.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        state = "in file" if m.via == "file" and m.state is outgoing.MessageState.SENT else m.state.value
        print(f"{when} account {m.account_no:6} {m.channel.value:5} {state:8} {m.text}{'  (' + m.fault + ')' if m.fault else ''}")
    return 0


def _disconnect(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        lead_ms = max(1, options.notice_hours) * MS_PER_HOUR
        run = disconnect_run.run(conn, options.show) if options.show else disconnect_run.announce(conn, desk.clock.now_ms(), ACTOR, lead_ms)
    due = datetime.fromtimestamp(run.due_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    print(f"run {run.run_no}: {run.state}, order {'since' if run.ordered_ms else 'due'} {due}, {len(run.items)} accounts at zero")
    for item in run.items:
        print(f"account {item.account_no:6} meter {item.meter_no:6} {item.state:9} {item.reason}")
    return 0
