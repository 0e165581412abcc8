"""`gridtally-mdm retailer`: retailers, whose usage point is whose, their tokens, and how often they may ask."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.inquiry import pace, retailers
from gridtally_cloud.inquiry.requests import Kind
from gridtally_cloud.inquiry.tables import retailer_of_record
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.tokens import create_token, list_tokens
from gridtally_shared.clock import SystemClock
from gridtally_shared.errors import ConfigError

BY = f"staff:{ACTOR}"
SCOPE = "inquiries:write"
INQUIRIES = tuple(kind.value for kind in Kind if kind is not Kind.GAP)
Work = Callable[[Connection, argparse.Namespace, int], None]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `retailer` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "retailer", help="retailers of record, their tokens and daily limits",
        description="A usage point without a retailer belongs to the utility itself. Only the retailer of record may inquire about it.",
        epilog="example: gridtally-mdm retailer add ACME 'Acme Energy' && gridtally-mdm retailer assign 7 ACME",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    add = _action(actions, "add", "a new retailer", "retailer add ACME 'Acme Energy'", open_desk, _add)
    add.add_argument("code", help="short name, as in tokens and answers")
    add.add_argument("name", help="name for people")
    assign = _action(actions, "assign", "make it the retailer of record", "retailer assign 7 ACME --from 2026-12-01T00:00+05:30",
                     open_desk, _assign)  # fmt: skip
    assign.add_argument("usage_point", type=int)
    assign.add_argument("code", help="the retailer; '-' for the utility itself")
    assign.add_argument("--from", dest="since", help="from when on, with zone (now)")
    token = _action(actions, "token", "a token for a retailer, shown once", "retailer token ACME", open_desk, _token)
    token.add_argument("code")
    limit = _action(actions, "limit", "how many answers a day a usage point gives", "retailer limit read 2 --usage-point 7", open_desk,
                    _limit)  # fmt: skip
    limit.add_argument("kind", choices=INQUIRIES)
    limit.add_argument("per_day", type=int, help="0 closes this kind")
    limit.add_argument("--usage-point", type=int, default=retailers.EVERYWHERE, help="only this one (all)")
    rate = _action(actions, "rate", "how many inquiries a minute go to the meters, of all retailers", "retailer rate 120", open_desk, _rate)
    rate.add_argument("per_minute", type=int, help="what is asked above it waits in its order")
    _action(actions, "show", "retailers, usage points and limits", "retailer show", open_desk, _show)


def _action(actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str, example: str, open_desk: OpenDesk,
            work: Work) -> argparse.ArgumentParser:  # fmt: skip
    def run(desk: Desk, options: argparse.Namespace) -> int:
        with desk.db.write() as conn:
            work(conn, options, desk.clock.now_ms())
        return 0

    parser = actions.add_parser(name, help=about, description=about.capitalize() + ".", epilog=f"example: gridtally-mdm {example}")
    parser.set_defaults(run=with_desk(open_desk, run))
    return parser


def _add(conn: Connection, options: argparse.Namespace, now_ms: int) -> None:
    retailers.add(conn, options.code, options.name, BY, now_ms)
    print(f"retailer {options.code} ({retailers.names(conn)[options.code]}) is known")


def _assign(conn: Connection, options: argparse.Namespace, now_ms: int) -> None:
    code = retailers.UTILITY if options.code == "-" else options.code
    from_ms = _moment(options.since) if options.since else now_ms
    retailers.assign(conn, options.usage_point, code, from_ms, BY, now_ms)
    print(f"usage point {options.usage_point} belongs to {code or 'the utility'} from {utc_text(from_ms)} on")


def _moment(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ConfigError("--from", text, "write a time with its zone, such as 2026-12-01T00:00+05:30")
    return int(found.astimezone(UTC).timestamp() * 1000)


def _token(conn: Connection, options: argparse.Namespace, _now_ms: int) -> None:
    """Tokens live by the machine's own time, as logins do."""
    retailers.check_known(conn, options.code)
    text = create_token(conn, f"retailer {options.code}", (SCOPE,), SystemClock().now_ms(), BY)
    retailers.bind_token(conn, list_tokens(conn)[0].token_no, options.code)
    print(text)
    print(f"this token speaks for {options.code}; it is shown this once")


def _limit(conn: Connection, options: argparse.Namespace, now_ms: int) -> None:
    if options.per_day < 0:
        raise ConfigError("per_day", options.per_day, "write how many answers a day, 0 for none")
    retailers.set_limit(conn, retailers.Limit(options.usage_point, Kind(options.kind), options.per_day), BY, now_ms)
    print(f"{options.kind}: {options.per_day} a day for {_place(options.usage_point)}")


def _rate(conn: Connection, options: argparse.Namespace, now_ms: int) -> None:
    if options.per_minute < 1:
        raise ConfigError("per_minute", options.per_minute, "write 1 or more: with none every inquiry would wait for ever")
    pace.set_per_minute(conn, options.per_minute, BY, now_ms)
    print(f"{options.per_minute} inquiries a minute go to the meters; {pace.queued(conn)} wait now")


def _place(usage_point_no: int) -> str:
    return f"usage point {usage_point_no}" if usage_point_no else "every usage point without a limit of its own"


def _show(conn: Connection, _options: argparse.Namespace, _now_ms: int) -> None:
    for code, name in retailers.names(conn).items():
        print(f"{code:12} {name}")
    r = retailer_of_record.c
    for row in conn.execute(select(retailer_of_record).order_by(r.usage_point_no, r.from_ms)):
        print(f"usage point {row.usage_point_no:<8} {row.retailer or 'the utility':12} from {utc_text(row.from_ms)}")
    shown = {limit.kind for limit in retailers.limits(conn) if not limit.usage_point_no}
    for kind, most in retailers.PER_DAY.items():
        if kind not in shown:
            print(f"{kind.value:12} {most} a day (default)")
    for limit in retailers.limits(conn):
        print(f"{limit.kind.value:12} {limit.per_day} a day for {_place(limit.usage_point_no)}")
    print(f"{pace.per_minute(conn)} inquiries a minute go to the meters; {pace.queued(conn)} wait now")
