"""`gridtally-mdm handover`: another way of paying, another meter, another concentrator for an account.

What will happen is said first and asked for; `--yes` does it without asking. Nothing is changed by a refusal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from sqlalchemy import Connection

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import ACTOR, Desk, OpenDesk, with_desk
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.prepay import handover, managed_cli, replaced
from gridtally_cloud.prepay.managed import manage
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.errors import ConfigError
from gridtally_shared.money import display, nano


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], open_desk: OpenDesk) -> None:
    """Add `handover` with its actions to the commands of gridtally-mdm."""
    parser = commands.add_parser(
        "handover", help="change an account's way of paying, its meter or its concentrator",
        description="Money, debts and history stay with the account, and no switch is moved.",
        epilog="example: gridtally-mdm handover meter 7 10000042 --closing 1234.500 --opening 0",
    )  # fmt: skip
    actions = parser.add_subparsers(required=True, metavar="action")
    mode = _action(actions, "mode", "make an account prepaid or postpaid", "gridtally-mdm handover mode 7 prepaid --deposit 80.00")
    mode.add_argument("mode", choices=[m.value for m in Mode])
    mode.add_argument("--deposit", default="0", help="security deposit that is held; it is given back as credit")
    mode.set_defaults(run=with_desk(open_desk, _mode))
    meter = _action(actions, "meter", "let another meter serve an account", "gridtally-mdm handover meter 7 10000042 --closing 1234.5")
    meter.add_argument("serial", help="of the new meter")
    meter.add_argument("--closing", default="", help="kWh at which the old meter ended (not given: not read)")
    meter.add_argument("--opening", default="", help="kWh at which the new meter begins (not given: its first reading)")
    meter.set_defaults(run=with_desk(open_desk, _meter))
    edge = _action(actions, "account", "let another concentrator serve one account", "gridtally-mdm handover account 7 dcu-2")
    edge.add_argument("to", help="name of the concentrator that takes it over")
    edge.set_defaults(run=with_desk(open_desk, _edge))
    who = _action(actions, "manage", "let the cloud run an account's journal, or its concentrator", "gridtally-mdm handover manage 7 cloud")
    who.add_argument("by", choices=[by.name.lower() for by in Managed])
    who.set_defaults(run=with_desk(open_desk, _manage))
    credit = actions.add_parser("emergency", help="take up the emergency credit of an account the cloud runs",
                                description="For a household that asks by telephone. It is paid back by the next payments.",
                                epilog="example: gridtally-mdm handover emergency 7")  # fmt: skip
    credit.add_argument("account", type=int)
    credit.set_defaults(run=with_desk(open_desk, managed_cli.emergency))
    shown = actions.add_parser("managed", help="show the accounts the cloud runs, and where each stands",
                               description="Balance, regions, switch and newest decision of each account the cloud runs.",
                               epilog="example: gridtally-mdm handover managed")  # fmt: skip
    shown.set_defaults(run=with_desk(open_desk, managed_cli.show))
    whole = actions.add_parser("dcu", help="a concentrator is dead: another one takes all it served",
                               description="A concentrator is dead or goes: another one takes over all accounts and meters it served.",
                               epilog="example: gridtally-mdm handover dcu dcu-1 dcu-2")  # fmt: skip
    whole.add_argument("dcu", help="name of the dead concentrator")
    whole.add_argument("to", help="name of the one that comes in its place")
    _yes(whole).set_defaults(run=with_desk(open_desk, _whole))


def _action(actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str, example: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"example: {example}")
    parser.add_argument("account", type=int)
    return _yes(parser)


def _yes(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--yes", action="store_true", help="do it without asking")
    return parser


def _carry_out(desk: Desk, options: argparse.Namespace, says: str, work: Callable[[Connection], str]) -> int:
    """Say what will happen, ask, do it. Exit code 1: not wanted."""
    print(says)
    if not options.yes and input("Do it? [y/N] ").strip().lower() not in ("y", "yes"):
        print("nothing was changed")
        return 1
    with desk.db.write() as conn:
        print(work(conn))
    return 0


def _mode(desk: Desk, options: argparse.Namespace) -> int:
    mode, deposit_nano = Mode(options.mode), _amount(options.deposit)
    with desk.db.read() as conn:
        currency = account_of(conn, options.account).currency
    back = f" The deposit of {display(deposit_nano, currency)} is given back as credit." if deposit_nano else ""
    rest = "arrears become a debt" if mode is Mode.PREPAID else "what is left of the balance is a credit on the first bill"
    says = f"Account {options.account} becomes {mode.value} at the end of the present recording interval; {rest}.{back}"

    def work(conn: Connection) -> str:
        handover.convert(conn, desk.payments.signer, options.account, mode, desk.clock.now_ms(), ACTOR, deposit_nano)
        return "ordered; it is done with the next reading of the concentrator"

    return _carry_out(desk, options, says, work)


def _meter(desk: Desk, options: argparse.Namespace) -> int:
    closing_wh, opening_wh = _wh("--closing", options.closing), _wh("--opening", options.opening)
    ends = f"is charged up to {_kwh(closing_wh)}" if closing_wh is not None else "was not read: its use since its last charge is free"
    begins = "its first reading" if opening_wh is None else _kwh(opening_wh)
    says = f"Meter {options.serial} serves account {options.account}. The old one {ends}; the new one is charged from {begins} on."

    def work(conn: Connection) -> str:
        number = replaced.meter_called(conn, options.serial)
        replaced.swap_meter(conn, desk.payments.signer, options.account, number, closing_wh, opening_wh, desk.clock.now_ms(), ACTOR)
        return "done; the concentrator hears of it with its next configuration"

    return _carry_out(desk, options, says, work)


def _edge(desk: Desk, options: argparse.Namespace) -> int:
    gap = "What was used in between is charged at the lowest rate."
    says = f"{options.to} takes over account {options.account} with what its mirror holds. {gap}"

    def work(conn: Connection) -> str:
        epoch = replaced.replace_edge(conn, desk.payments.signer, options.account, options.to, desk.clock.now_ms(), ACTOR)
        return f"done; epoch {epoch}. What the old concentrator still sends is kept as evidence only"

    return _carry_out(desk, options, says, work)


def _manage(desk: Desk, options: argparse.Namespace) -> int:
    by = Managed[options.by.upper()]
    cloud = "The cloud charges it from the readings and decides about its supply; the concentrator only reads, and carries out orders."
    local = "The concentrator charges it on the spot, also without the cloud."
    says = f"Account {options.account} begins a new epoch with its balance. {cloud if by is Managed.CLOUD else local}"

    def work(conn: Connection) -> str:
        return f"done; epoch {manage(conn, desk.payments.signer, options.account, by, desk.clock.now_ms(), ACTOR)}"

    return _carry_out(desk, options, says, work)


def _whole(desk: Desk, options: argparse.Namespace) -> int:
    says = f"{options.to} takes over every account and meter of {options.dcu}, which can charge and switch nothing any more."

    def work(conn: Connection) -> str:
        numbers = replaced.replace_whole_edge(conn, desk.payments.signer, options.dcu, options.to, desk.clock.now_ms(), ACTOR)
        return f"done; {len(numbers)} accounts"

    return _carry_out(desk, options, says, work)


def _amount(text: str) -> int:
    try:
        return nano(text)
    except ValueError as error:
        raise ConfigError("--deposit", text, str(error)) from None


def _wh(name: str, text: str) -> int | None:
    try:
        return nano(text) // 10**6 if text else None
    except ValueError:
        raise ConfigError(name, text, "write kWh, such as 1234.500") from None


def _kwh(wh: int) -> str:
    return f"{wh / 1000:.3f} kWh"
