"""The command `gridtally-dcu`. Each subcommand imports what it needs when it is called, so that `run` stays small.

Exit codes: 0 fine, 1 a check failed, 2 wrong usage, 3 wrong setting (the message names key, value and remedy), 4 a line or
broker does not answer, 5 a meter sent nonsense.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridtally_edge.config import DEFAULT_CONFIG
from gridtally_shared.errors import GridtallyError

Commands = Any  # argparse's own subparsers action, which has no public type


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in _DELEGATED:
        return _DELEGATED[words[0]](words[1:])
    options = _parser().parse_args(words)
    try:
        return int(options.run(options))
    except GridtallyError as error:
        print(f"gridtally-dcu: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridtally-dcu",
        description="The concentrator: reads meters, keeps every reading, runs prepayment on the spot, syncs with the cloud.",
        epilog="example: gridtally-dcu run --config /etc/gridtally/dcu.toml. More: ledger, simulate and display --help.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in (_add_run, _add_read, _add_status, _add_init, _add_meter, _add_nodes, _add_drivers, _add_scan):
        add(commands)
    for name, about in _DELEGATED_ABOUT.items():
        commands.add_parser(name, help=about, add_help=False)
    return parser


def _command(commands: Commands, name: str, about: str, example: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=f"example: {example}"
    )
    parser.set_defaults(run=run)
    return parser


def _with_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=f"bootstrap file ({DEFAULT_CONFIG})")


def _add_run(commands: Commands) -> None:
    parser = _command(commands, "run", "run the agent until it is stopped", "gridtally-dcu run --config dcu.toml", _run)
    _with_config(parser)
    parser.add_argument("--show-config", action="store_true", help="print every setting with its value and meaning, and stop")


def _add_read(commands: Commands) -> None:
    example = "gridtally-dcu read --line serial:///dev/ttyUSB0?baud=9600 --driver eastron-sdm230 --server 1 --what instant"
    parser = _command(commands, "read", "read one meter once, without the agent", example, _read)
    parser.add_argument("--line", required=True, metavar="URI",
                        help="serial:///dev/...?baud=9600&parity=N, tcp://HOST:PORT, udp://HOST:PORT or modem:///dev/...#NODE")  # fmt: skip
    parser.add_argument("--protocol", help="dlms-hdlc, dlms-wrapper, modbus-rtu, modbus-tcp, iec62056-21, p1, mbus or wmbus")
    parser.add_argument("--driver", help="meter model ('gridtally-dcu drivers' lists them); needed for Modbus")
    parser.add_argument("--what", default="instant", metavar="WHAT",
                        help="identity, instant, profile, daily, billing, events, diagnostics or object:OBIS (instant)")  # fmt: skip
    parser.add_argument("--from", dest="since", metavar="TIME", help="start of what is read, as 2026-11-01 or 2026-11-01T06:00:00Z")
    parser.add_argument("--to", metavar="TIME", help="its end (now)")
    parser.add_argument("--client", metavar="N", help="client address (DLMS: 16 public, 32 reading, 48 settings)")
    parser.add_argument("--server", metavar="N", help="the meter's address: HDLC physical address, Modbus unit, M-Bus or device address")
    parser.add_argument("--auth", choices=("none", "low", "hls2", "md5", "sha1", "gmac", "sha256"), help="how to log in")
    parser.add_argument("--password", help="password or secret")
    parser.add_argument("--system-title", metavar="HEX", help="our system title, 8 octets")
    parser.add_argument("--key", metavar="HEX", help="encryption key")
    parser.add_argument("--auth-key", metavar="HEX", help="authentication key")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting of the driver, repeatable")
    parser.add_argument("--wait", type=float, default=120.0, metavar="SECONDS", help="how long to listen to meters that only send (120)")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--disconnect", action="store_true", help="open the supply switch; refused for a meter of a running agent")
    act.add_argument("--reconnect", action="store_true", help="close the supply switch; refused for a meter of a running agent")
    parser.add_argument("--yes", action="store_true", help="do not ask before switching")
    parser.add_argument("--virtual-clock", default="", metavar="FILE", help="clock file of a simulated street")
    parser.add_argument("--json", action="store_true", help="one JSON object (docs/read.md) instead of a table")


def _add_status(commands: Commands) -> None:
    parser = _command(commands, "status", "say how the agent is doing", "gridtally-dcu status --config dcu.toml --json", _status)
    _with_config(parser)
    parser.add_argument("--json", action="store_true", help="the whole status as JSON")


def _add_init(commands: Commands) -> None:
    example = "gridtally-dcu init --config dcu.toml --dcu dcu-1"
    about = "make the configuration file, data folder and stores, or update the stores"
    parser = _command(commands, "init", about, example, _init)
    _with_config(parser)
    parser.add_argument("--dcu", help="name of a new concentrator: a configuration file is made if there is none")


def _add_meter(commands: Commands) -> None:
    parser = _command(commands, "meter", "list, add, remove or replace meters on the lines", "gridtally-dcu meter list", _meter_list)
    actions = parser.add_subparsers(metavar="action", required=True)
    listing = _command(actions, "list", "list the meters", "gridtally-dcu meter list --json", _meter_list)
    listing.add_argument("--json", action="store_true", help="as JSON")
    example = "gridtally-dcu meter add --line rs485 --driver eastron-sdm230 --set unit=3"
    adding = _command(actions, "add", "add a meter, or change the one at the same address", example, _meter_add)
    adding.add_argument("--line", required=True, help="name of the line in the configuration")
    adding.add_argument("--driver", required=True, help="meter model")
    adding.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the driver, repeatable")
    about = "a switch beside a meter without contactor, for example modbus-coil:unit=40,coil=2,feedback=2"
    adding.add_argument("--switch", default="", metavar="WORDS", help=about)
    adding.add_argument("--serial", default="", help="serial number, if known; otherwise the meter is asked")
    removing = _command(actions, "remove", "remove a meter", "gridtally-dcu meter remove rs485/3", _meter_remove)
    example = "gridtally-dcu meter replace rs485/3 --serial 20000099 --closing energy_import_wh=1200345"
    replacing = _command(actions, "replace", "put another meter of the same model at a place", example, _meter_replace)
    replacing.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting that is another now")
    replacing.add_argument("--serial", default="", help="serial number of the new meter; otherwise it is asked")
    for sub in (removing, replacing):
        sub.add_argument("key", help="line/address as 'meter list' shows it")
        about = "register of the meter that goes, read off by hand; otherwise its last one counts"
        sub.add_argument("--closing", action="append", default=[], metavar="REGISTER=VALUE", help=about)
    for sub in (adding, replacing):
        about = "register of the meter that comes, read off by hand; otherwise its first one counts"
        sub.add_argument("--opening", action="append", default=[], metavar="REGISTER=VALUE", help=about)
    for sub in (listing, adding, removing, replacing):
        _with_config(sub)


def _add_scan(commands: Commands) -> None:
    example = "gridtally-dcu scan --line rs485 --protocol modbus-rtu --addresses 1-32 --add"
    parser = _command(commands, "scan", "say who is on a line", example, _scan)
    parser.add_argument("--line", required=True, help="name of a line of the configuration, or a word as 'read --line' takes it")
    protocols = ("modbus-rtu", "modbus-tcp", "dlms-hdlc", "mbus", "dlms-wrapper", "wmbus", "p1", "iec62056-21", "modem")
    parser.add_argument("--protocol", required=True, choices=protocols, help="asked: the first four; listened for: the others")
    parser.add_argument("--addresses", metavar="FIRST-LAST", default="", help="Modbus 1-247, DLMS 1-32, unless told otherwise")
    parser.add_argument("--driver", default="", help="which model it is where several fit")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to listen (60)")
    parser.add_argument("--add", action="store_true", help="enter what was found into the registry of the configuration")
    parser.add_argument("--json", action="store_true", help="as JSON")
    _with_config(parser)


def _scan(options: argparse.Namespace) -> int:
    from gridtally_edge.scan.command import scan

    return scan(options)


def _add_drivers(commands: Commands) -> None:
    example = "gridtally-dcu drivers --check drivers/acme-em1.toml"
    parser = _command(commands, "drivers", "list the meter models, or check a profile file", example, _drivers)
    parser.add_argument("--check", type=Path, metavar="FILE", help="check a Modbus profile and print what a poll of it asks")
    parser.add_argument("--config", type=Path, help="bootstrap file, to list the models of its drivers_dir too")
    parser.add_argument("--json", action="store_true", help="the list as JSON")


def _run(options: argparse.Namespace) -> int:
    gc.disable()  # what a start makes is kept: looking for garbage in it takes a sixth of the time
    from gridtally_edge.config import describe, load_config

    if options.show_config:
        for name, value, unit, origin, sentence in describe(options.config):
            print(f"{name} = {value!r}{' ' + unit if unit else ''}  ({origin})\n    {sentence}")
        return 0
    config = load_config(options.config)
    from gridtally_edge.logs import start_logging

    start_logging(config.log_level)
    from gridtally_edge.agent import Agent

    agent = Agent(config)
    gc.freeze()
    gc.enable()
    agent.run()
    return 0


def _read(options: argparse.Namespace) -> int:
    from gridtally_edge.oneshot.command import read_once

    return read_once(options)


def _status(options: argparse.Namespace) -> int:
    from gridtally_edge.status_text import print_status

    return print_status(options.config, options.json)


def _init(options: argparse.Namespace) -> int:
    from gridtally_edge.setup import initialise

    return initialise(options.config, options.dcu)


def _add_nodes(commands: Commands) -> None:
    about = "list, allow or forget nodes of meshes and powerline networks"
    parser = _command(commands, "nodes", about, "gridtally-dcu nodes list --config dcu.toml", _nodes_list)
    actions = parser.add_subparsers(metavar="action", required=True)
    listing = _command(actions, "list", "list the nodes", "gridtally-dcu nodes list --json", _nodes_list)
    listing.add_argument("--json", action="store_true", help="as JSON")
    example = "gridtally-dcu nodes allow plc/00124b0000000001"
    allowing = _command(actions, "allow", "put a node on the white list", example, _nodes_allow)
    example = "gridtally-dcu nodes forget plc/00124b0000000001"
    forgetting = _command(actions, "forget", "take a node off the white list", example, _nodes_forget)
    for sub in (allowing, forgetting):
        sub.add_argument("node", help="LINE/NODE as 'nodes list' shows it")
    for sub in (listing, allowing, forgetting):
        _with_config(sub)


def _nodes_list(options: argparse.Namespace) -> int:
    from gridtally_edge.nodes import list_nodes

    return list_nodes(options.config, options.json)


def _nodes_allow(options: argparse.Namespace) -> int:
    from gridtally_edge.nodes import allow_node

    return allow_node(options.config, options.node)


def _nodes_forget(options: argparse.Namespace) -> int:
    from gridtally_edge.nodes import forget_node

    return forget_node(options.config, options.node)


def _meter_list(options: argparse.Namespace) -> int:
    from gridtally_edge.meters import list_meters

    return list_meters(options.config, options.json)


def _meter_add(options: argparse.Namespace) -> int:
    from gridtally_edge.meters import add_meter

    return add_meter(
        options.config, options.line, options.driver, options.set, options.serial, options.switch, options.opening
    )


def _meter_remove(options: argparse.Namespace) -> int:
    from gridtally_edge.meters import remove_meter

    return remove_meter(options.config, options.key, options.closing)


def _meter_replace(options: argparse.Namespace) -> int:
    from gridtally_edge.meters import replace_meter

    return replace_meter(options.config, options.key, options.serial, options.closing, options.opening, options.set)


def _drivers(options: argparse.Namespace) -> int:
    from gridtally_edge.drivers.check import check_profile, list_drivers

    if options.check:
        return check_profile(options.check)
    if not options.config:
        return list_drivers(None, options.json)
    from gridtally_edge.config import load_config

    return list_drivers(load_config(options.config).drivers_dir, options.json)


def _simulate(words: list[str]) -> int:
    from gridtally_edge.simulators.run import main as simulate

    return simulate(words)


def _ledger(words: list[str]) -> int:
    from gridtally_edge.prepay.cli import main as ledger

    return ledger(words)


def _display(words: list[str]) -> int:
    from gridtally_edge.display.cli import main as display

    return display(words)


def _keypad(words: list[str]) -> int:
    from gridtally_edge.counter_cli import keypad

    return keypad(words)


def _emergency(words: list[str]) -> int:
    from gridtally_edge.counter_cli import emergency

    return emergency(words)


def _instruments(words: list[str]) -> int:
    from gridtally_edge.counter_cli import instruments

    return instruments(words)


def _token(words: list[str]) -> int:
    from gridtally_edge.token_cli import token

    return token(words)


def _hold(words: list[str]) -> int:
    from gridtally_edge.site_cli import hold

    return hold(words)


def _limit(words: list[str]) -> int:
    from gridtally_edge.site_cli import limit

    return limit(words)


def _people(words: list[str]) -> int:
    from gridtally_edge.site_cli import people

    return people(words)


def _enrol(words: list[str]) -> int:
    from gridtally_edge.provisioning.link import main as enrol

    return enrol(words)


_DELEGATED = {"enrol": _enrol, "simulate": _simulate, "ledger": _ledger, "display": _display, "keypad": _keypad,
              "instruments": _instruments, "emergency": _emergency, "token": _token, "hold": _hold, "limit": _limit,
              "people": _people}  # fmt: skip
_DELEGATED_ABOUT = {
    "enrol": "ask the MDM for a name and a certificate",
    "simulate": "serve a street of simulated meters",
    "ledger": "check and print the journal of an account",
    "token": "hand a 20-digit token of another system to the meter of an account",
    "display": "serve the local page with balance and messages",
    "keypad": "type a 24-digit code for an account",
    "emergency": "take the emergency credit offered to an account",
    "instruments": "bring in an instrument file of the MDM",
    "hold": "set or lift a safety or work hold, standing at the box; open or close the switch with it",
    "limit": "set or lift the load limit of a supply, standing at the box",
    "people": "who may set and lift holds at this box",
}

if __name__ == "__main__":
    sys.exit(main())
