"""`gridtally-mdm user ...` and `gridtally-mdm import-street FILE`.

A password is never an argument: it is asked for, or read from the input with --password-stdin.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import Any

from gridtally_cloud.billing.periods import day_start
from gridtally_cloud.customers import service
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.seed import DEMO_TARIFF, Plan, SeedUser, seed_street
from gridtally_cloud.customers.street_file import read_street
from gridtally_shared.clock import SystemClock
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import nano


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `user` and `import-street` to the commands of gridtally-mdm."""
    user = commands.add_parser("user", help="add, list and change logins", description="Logins of the portal.",
                               epilog="example: gridtally-mdm user add asha --role desk --name 'Asha Rao'")  # fmt: skip
    actions = user.add_subparsers(required=True, metavar="action")
    _add_user(actions, open_desk)
    listing = actions.add_parser("list", help="all logins", epilog="example: gridtally-mdm user list --json")
    listing.add_argument("--json", action="store_true", help="JSON instead of a table")
    listing.set_defaults(run=with_desk(open_desk, _list))
    password = actions.add_parser("password", help="give a login a new password; its sessions end",
                                  epilog="example: gridtally-mdm user password asha")  # fmt: skip
    password.add_argument("login")
    _password_option(password)
    password.set_defaults(run=with_desk(open_desk, _password))
    for name, active in (("disable", False), ("enable", True)):
        switch = actions.add_parser(name, help=f"{name} a login", epilog=f"example: gridtally-mdm user {name} asha")
        switch.add_argument("login")
        switch.set_defaults(run=with_desk(open_desk, _set_active), active=active)
    _add_street(commands, open_desk)


def _add_user(actions: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    example = "example: gridtally-mdm user add asha --role desk --name 'Asha Rao'"
    add = actions.add_parser("add", help="add a login", epilog=example)
    add.add_argument("login")
    add.add_argument("--role", choices=[r.value for r in Role], default=Role.CONSUMER.value, help="what it may do (consumer)")
    add.add_argument("--name", default="", help="the person's name")
    add.add_argument("--customer", type=int, help="number of the customer whose accounts a consumer sees")
    add.add_argument("--language", choices=service.LANGUAGES, default="en")
    add.add_argument("--must-change", action="store_true", help="ask for a new password at the first login")
    _password_option(add)
    add.set_defaults(run=with_desk(open_desk, _add))


def _password_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--password-stdin", action="store_true", help="read the password from the input instead of asking")


def _add_street(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    street = commands.add_parser(
        "import-street", help="customers, meters and accounts for a street file",
        description="Put the meters of a street file into the MDM, each with a customer and an account. Safe to repeat.",
        epilog="example: gridtally-mdm import-street street.json --dcu dcu-1 --opening-credit 100 --users logins.json",
    )  # fmt: skip
    street.add_argument("file", type=Path, help="the file the simulated street runs from (TOML or JSON)")
    street.add_argument("--dcu", required=True, help="name of the concentrator that serves the street")
    street.add_argument("--zone", default="Asia/Kolkata", help="time zone of the homes (Asia/Kolkata)")
    street.add_argument("--currency", default="INR", help="ISO currency of the accounts (INR)")
    street.add_argument("--tariff", type=Path, help="JSON file of the tariff (a flat demo tariff)")
    street.add_argument("--postpaid", type=int, default=2, help="how many homes at the end of the street get bills (2)")
    street.add_argument("--cut", default="", help="serials, with commas, of homes whose supply may be cut at zero, also offline")
    street.add_argument("--opening-credit", default="0", help="cash paid into every prepaid account at the start (0)")
    street.add_argument("--low-balance", default="50", help="balance below which the home is warned (50)")
    street.add_argument("--installed", metavar="YYYY-MM-DD", help="day of installation (today); earlier intervals are not taken in")
    street.add_argument("--users", type=Path, help="JSON list of logins: login, name, role, password; serial and display_pin for a home")
    street.add_argument("--json", action="store_true", help="JSON instead of a table")
    street.set_defaults(run=with_desk(open_desk, _import_street))


def _real_ms() -> int:
    return SystemClock().now_ms()


def _read_password(options: argparse.Namespace) -> str:
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\n")
    return getpass.getpass("New password (at least 12 characters): ")


def _add(desk: Desk, options: argparse.Namespace) -> int:
    user = service.create_user(
        desk.db, options.login, options.name or options.login, Role(options.role), _read_password(options), _real_ms(), ACTOR,
        language=options.language, customer_no=options.customer, must_change=options.must_change,
    )  # fmt: skip
    print(f"added {user.login} ({user.role.value})")
    return 0


def _list(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        users = service.list_users(conn)
    if options.json:
        print(json.dumps([{"login": u.login, "name": u.name, "role": u.role.value, "active": u.active,
                           "customer_no": u.customer_no} for u in users]))  # fmt: skip
        return 0
    for u in users:
        print(f"{u.login:24} {u.role.value:11} {'active' if u.active else 'disabled':9} {u.name}")
    return 0


def _password(desk: Desk, options: argparse.Namespace) -> int:
    service.set_password(desk.db, options.login, _read_password(options), _real_ms(), ACTOR)
    print(f"{options.login} has a new password and must change it at the next login")
    return 0


def _set_active(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.write() as conn:
        service.set_active(conn, options.login, options.active, _real_ms(), ACTOR)
    print(f"{options.login} is {'enabled' if options.active else 'disabled'}")
    return 0


def _import_street(desk: Desk, options: argparse.Namespace) -> int:
    homes = seed_street(desk.db, desk.payments, read_street(options.file), plan_from(options), desk.clock.now_ms(),
                        real_ms=_real_ms())  # fmt: skip
    if options.json:
        print(json.dumps([{"serial": h.serial, "meter_no": h.meter_no, "account_no": h.account_no, "mode": h.mode.value,
                           "new": h.is_new} for h in homes]))  # fmt: skip
        return 0
    for h in homes:
        print(f"meter {h.serial:12} account {h.account_no:6} {h.mode.value:9} {'new' if h.is_new else 'there already'}")
    return 0


def plan_from(options: argparse.Namespace) -> Plan:
    """Raises ConfigError for an amount, tariff file or list of logins that can not be read."""
    return Plan(
        options.dcu, options.zone, options.currency, tariff=_text(options.tariff) if options.tariff else DEMO_TARIFF,
        postpaid=options.postpaid, cut_serials=frozenset(s.strip() for s in options.cut.split(",") if s.strip()),
        opening_credit_nano=_amount("--opening-credit", options.opening_credit),
        low_balance_nano=_amount("--low-balance", options.low_balance), users=_users(options.users) if options.users else (),
        installed_ms=_day(options.installed, options.zone) if options.installed else None,
    )  # fmt: skip


def _day(text: str, zone: str) -> int:
    try:
        return day_start(text, zone)
    except ValueError:
        raise ConfigError("--installed", text, "write a day such as 2026-11-21") from None


def _amount(name: str, text: str) -> int:
    try:
        return nano(text)
    except ValueError as error:
        raise ConfigError(name, text, str(error)) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("file", str(path), f"{error.strerror}: name a readable file") from None


def _users(path: Path) -> tuple[SeedUser, ...]:
    try:
        return tuple(_user(row) for row in json.loads(_text(path)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError("--users", str(path), f"write a JSON list with login, name, role and password ({error!r})") from None


def _user(row: dict[str, Any]) -> SeedUser:
    return SeedUser(str(row["login"]), str(row["name"]), Role(row["role"]), str(row["password"]), str(row.get("serial", "")),
                    str(row.get("language", "en")), bool(row.get("must_change", False)), str(row.get("display_pin", "")))  # fmt: skip
