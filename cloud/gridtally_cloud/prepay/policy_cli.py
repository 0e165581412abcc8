"""`gridtally-mdm policy`: check a document, load a version, list what is there, let an account follow one."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, document_of, with_desk
from gridtally_cloud.prepay.policies import BOUNDARY_MS, add_policy, follow, versions
from gridtally_shared.errors import ConfigError
from gridtally_shared.prepay.document import policy_of
from gridtally_shared.prepay.packs import names, pack
from gridtally_shared.prepay.policy import Policy


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `policy` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "policy", help="rules of prepayment: check, load, list, follow",
        description="Policies say what may happen at low and at zero. They come as documents, or as a pack that comes along.",
        epilog=f"example: gridtally-mdm policy load gb_like --from 2026-04-01T00:00Z; packs: {', '.join(names())}",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    check = _action(actions, "check", "say whether a document is understood, and what it does", "gridtally-mdm policy check mine.json")
    check.set_defaults(run=_check)
    load = _action(actions, "load", "add a document as the next version of its policy", "gridtally-mdm policy load gb_like")
    load.add_argument("--from", dest="begins", default="", help="when it begins, such as 2026-04-01T00:00Z (the next quarter of an hour)")
    load.set_defaults(run=with_desk(open_desk, _load))
    listing = actions.add_parser("list", help="list policies and their versions", epilog="example: gridtally-mdm policy list")
    listing.set_defaults(run=with_desk(open_desk, _list))
    follows = actions.add_parser("follow", help="let an account follow a policy", epilog="example: gridtally-mdm policy follow 7 gb_like")
    follows.add_argument("account", type=int)
    follows.add_argument("policy", help="code of a loaded policy; '-' lets the account go back to its own rules")
    follows.set_defaults(run=with_desk(open_desk, _follow))


def _action(actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str, example: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"example: {example}")
    parser.add_argument("document", help="a JSON file, or the name of a pack")
    return parser


def _text(name: str) -> str:
    return pack(name) if name in names() else document_of(name, f", or one of {', '.join(names())}")


def _check(options: argparse.Namespace) -> int:
    print(_said(policy_of(_text(options.document))))
    return 0


def _said(policy: Policy) -> str:
    offline = f"{policy.offline_cut.value} while offline"
    sample = f"\nThis is a sample: {policy.source}." if policy.sample else ""
    return f"{policy.code}: understood. At zero: {policy.zero_action.value}; {offline}; currency {policy.currency}.{sample}"


def _load(desk: Desk, options: argparse.Namespace) -> int:
    text, now_ms = _text(options.document), desk.clock.now_ms()
    from_ms = moment_of(options.begins) if options.begins else (now_ms // BOUNDARY_MS + 1) * BOUNDARY_MS
    with desk.db.write() as conn:
        made = add_policy(conn, from_ms, text, now_ms, ACTOR)
    print(_said(policy_of(made.document)))
    print(f"version {made.version} begins {shown(made.from_ms)}")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = versions(conn)
    for d in found:
        policy = policy_of(d.document)
        sample = "  sample" if policy.sample else ""
        print(f"{d.policy_id:<24} version {d.version:>3} from {shown(d.from_ms)}  {policy.zero_action.value}{sample}")
    if not found:
        print("no policy is loaded; accounts follow the rules of their own record")
    return 0


def _follow(desk: Desk, options: argparse.Namespace) -> int:
    code = "" if options.policy == "-" else options.policy
    with desk.db.write() as conn:
        follow(conn, options.account, code, desk.clock.now_ms(), ACTOR)
    print(f"account {options.account} follows {code or 'its own rules'}; it travels with the next configuration")
    return 0


def moment_of(text: str) -> int:
    """UTC of what a person wrote. Raises ConfigError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError("--from", text, "write date and time, such as 2026-04-01T00:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def shown(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
