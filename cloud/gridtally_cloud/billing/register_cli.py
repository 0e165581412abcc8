"""`gridtally-mdm register`: where a meter's register ends, where it went back, and what was used meanwhile."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from gridtally_cloud.billing import register_desk
from gridtally_cloud.billing.register_desk import Fall
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.store.days import utc_text
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import NANO, nano

ABOUT = "A register that went back stops bills where nothing tells whether it rolled over. A person says what it was, and they go on."
SETTLE = "gridtally-mdm register settle 10000003 2026-11-14T06:30:00Z --used 1.250 --reason 'set back by the maker'"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `register` to the commands of gridtally-mdm."""
    parser = commands.add_parser("register", help="registers that rolled over or were set back", description=ABOUT,
                                 epilog="example: gridtally-mdm register ends 10000003 1000000")  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="ends|show|settle")
    ends = actions.add_parser("ends", help="at which number the register of a meter begins at 0 again",
                              epilog="example: gridtally-mdm register ends 10000003 1000000")  # fmt: skip
    ends.add_argument("serial", help="of the meter")
    ends.add_argument("kwh", help="the first number it can not show, such as 1000000 behind 999999.9; 0: not known")
    ends.set_defaults(run=with_desk(open_desk, _ends))
    show = actions.add_parser("show", help="where it went back", epilog="example: gridtally-mdm register show 10000003")
    show.add_argument("serial", help="of the meter")
    show.set_defaults(run=with_desk(open_desk, _show))
    settle = actions.add_parser("settle", help="it was set back: what was used between the two reads", epilog=f"example: {SETTLE}")
    settle.add_argument("serial", help="of the meter")
    settle.add_argument("at", help="the later of the two reads, as `register show` writes it")
    settle.add_argument("--used", required=True, help="kWh used between the two reads, such as 1.250")
    settle.add_argument("--reason", required=True, help="what was found; it is kept")
    settle.set_defaults(run=with_desk(open_desk, _settle))


def _ends(desk: Desk, options: argparse.Namespace) -> int:
    end_wh = _wh("kwh", options.kwh)
    with desk.db.write() as conn:
        register_desk.ends(conn, options.serial, end_wh, desk.clock.now_ms(), ACTOR)
    print(f"the register of meter {options.serial} begins at 0 again at {options.kwh} kWh; issue bills that wait for it again" if end_wh
          else f"where the register of meter {options.serial} ends is not known")  # fmt: skip
    return 0


def _show(desk: Desk, options: argparse.Namespace) -> int:
    with desk.db.read() as conn:
        found = register_desk.falls_of(conn, options.serial)
    for each in found:
        print(_said(each))
    print(f"it went back {len(found)} times, {sum(not f.how for f in found)} to be settled")
    return 0


def _settle(desk: Desk, options: argparse.Namespace) -> int:
    try:
        moment = datetime.fromisoformat(options.at)
    except ValueError:
        raise ConfigError("at", options.at, "write a moment such as 2026-11-14T06:30:00Z") from None
    at_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * 1000
    used_wh = _wh("--used", options.used)
    with desk.db.write() as conn:
        print(_said(register_desk.settle(conn, options.serial, at_ms, used_wh, options.reason, desk.clock.now_ms(), ACTOR)))
    return 0


def _said(fall: Fall) -> str:
    reads = f"{fall.before.value} Wh at {utc_text(fall.before.at_ms)} to {fall.now.value} Wh at {utc_text(fall.now.at_ms)}"
    if not fall.how:
        return f"{reads}: nothing explains it, bills over it wait"
    return f"{reads}: {f'rolled over at {fall.end_wh} Wh' if fall.end_wh else 'set back'}, {fall.used_wh} Wh used (by {fall.how})"


def _wh(name: str, word: str) -> int:
    try:
        wh, rest = divmod(nano(word) * 1000, NANO)
    except ValueError as error:
        raise ConfigError(name, word, str(error)) from None
    if wh < 0 or rest:
        raise ConfigError(name, word, "write kWh of 0 or more, to the watt-hour")
    return wh
