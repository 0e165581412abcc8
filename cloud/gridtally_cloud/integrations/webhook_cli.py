"""`gridtally-mdm webhook`: which other systems are told what, and what became of it."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.integrations import webhooks
from gridtally_cloud.integrations.webhooks import Topic


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `webhook` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "webhook", help="which other systems are told what",
        description="Notices are signed, sent until they are taken, and kept; each names the path of the API where the whole stands.",
        epilog="example: gridtally-mdm webhook add billing https://billing.example.org/gridtally mode.changed migration.changed",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    add = actions.add_parser("add", help="tell a receiver; prints the secret its notices are signed with, this once",
                             epilog="example: gridtally-mdm webhook add wfm https://wfm.example.org/in order.opened")  # fmt: skip
    add.add_argument("name", help="whose receiver it is")
    add.add_argument("url", help="its address")
    add.add_argument("topics", nargs="+", metavar="TOPIC", help=", ".join(t.value for t in Topic))
    add.set_defaults(run=with_desk(open_desk, _add))
    listed = actions.add_parser("list", help="receivers", epilog="example: gridtally-mdm webhook list")
    listed.set_defaults(run=with_desk(open_desk, _list))
    for name, about, run in (("end", "tell a receiver no more", _end), ("notices", "the last notices to a receiver", _notices)):
        one = actions.add_parser(name, help=about, epilog=f"example: gridtally-mdm webhook {name} 2")
        one.add_argument("webhook", type=int, help="number of the receiver")
        one.set_defaults(run=with_desk(open_desk, run))
    again = actions.add_parser("again", help="send a notice once more", epilog="example: gridtally-mdm webhook again 117")
    again.add_argument("notice", type=int, help="number of the notice")
    again.set_defaults(run=with_desk(open_desk, _again))


def _add(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        made, secret = webhooks.add(conn, options.name, options.url, tuple(options.topics), desk.clock.now_ms(), ACTOR)
    print(f"receiver {made.webhook_no} ({made.name}) is told of {', '.join(made.topics)}")
    print(f"its secret, shown this once: {secret}")
    return 0


def _list(desk: Desk, _options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = webhooks.webhooks(conn)
    for each in found:
        print(f"{each.webhook_no:4}  {'ended ' if each.ended_ms else ''}{each.name}  {each.url}  {' '.join(each.topics)}")
    return 0


def _end(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        ended = webhooks.end(conn, options.webhook, desk.clock.now_ms(), ACTOR)
    print(f"receiver {ended.webhook_no} ({ended.name}) is told no more")
    return 0


def _notices(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        webhooks.find(conn, options.webhook)
        found = webhooks.notices(conn, options.webhook)
    for each in found:
        at = datetime.fromtimestamp(each.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        print(f"{each.notice_no:6}  {at} UTC  {each.state.value:7}  {each.topic:18}  {each.ref}{'  ' + each.fault if each.fault else ''}")
    return 0


def _again(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        webhooks.send_again(conn, options.notice, desk.clock.now_ms(), ACTOR)
    print(f"notice {options.notice} goes out again")
    return 0
