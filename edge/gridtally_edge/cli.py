"""The command `gridtally-dcu`. Each subcommand imports what it needs when it is called, so that `run` stays small.

Exit codes: 0 fine, 1 a check failed, 2 wrong usage, 3 wrong setting (the message names key, value and remedy), 4 a line or
broker does not answer, 5 a meter sent nonsense.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridtally_shared.errors import GridtallyError

DEFAULT_CONFIG = Path("/etc/gridtally/dcu.toml")
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
    for add in (_add_run, _add_read, _add_status, _add_init, _add_meter):
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
    example = "gridtally-dcu read --device /dev/ttyUSB0 --driver eastron-sdm230 --set unit=1"
    parser = _command(commands, "read", "read one meter once, without the agent", example, _read)
    parser.add_argument("--device", required=True, help="serial device, tcp://host:port or modbus-tcp://host:port")
    parser.add_argument("--driver", required=True, help="meter model, for example is15959 or eastron-sdm230")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the driver, repeatable")
    parser.add_argument("--baud", type=int, help="speed of the line (the driver's own)")
    parser.add_argument("--parity", choices=("N", "E", "O"), help="parity of the line (the driver's own)")
    parser.add_argument("--intervals", type=int, default=0, metavar="HOURS", help="also read the load profile of the last hours")
    parser.add_argument("--virtual-clock", default="", metavar="FILE", help="clock file of a simulated street")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


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
    parser = _command(commands, "meter", "list, add or remove meters on the lines", "gridtally-dcu meter list", _meter_list)
    actions = parser.add_subparsers(metavar="action", required=True)
    listing = _command(actions, "list", "list the meters", "gridtally-dcu meter list --json", _meter_list)
    listing.add_argument("--json", action="store_true", help="as JSON")
    example = "gridtally-dcu meter add --line rs485 --driver eastron-sdm230 --set unit=3"
    adding = _command(actions, "add", "add a meter, or change the one at the same address", example, _meter_add)
    adding.add_argument("--line", required=True, help="name of the line in the configuration")
    adding.add_argument("--driver", required=True, help="meter model")
    adding.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the driver, repeatable")
    adding.add_argument("--serial", default="", help="serial number, if known; otherwise the meter is asked")
    removing = _command(actions, "remove", "remove a meter", "gridtally-dcu meter remove rs485/3", _meter_remove)
    removing.add_argument("key", help="line/address as 'meter list' shows it")
    for sub in (listing, adding, removing):
        _with_config(sub)


def _run(options: argparse.Namespace) -> int:
    from gridtally_edge.config import describe, load_config

    if options.show_config:
        for name, value, unit, origin, sentence in describe(options.config):
            print(f"{name} = {value!r}{' ' + unit if unit else ''}  ({origin})\n    {sentence}")
        return 0
    config = load_config(options.config)
    from gridtally_edge.logs import start_logging

    start_logging(config.log_level)
    from gridtally_edge.agent import Agent

    Agent(config).run()
    return 0


def _read(options: argparse.Namespace) -> int:
    from gridtally_edge.oneshot import read_once

    return read_once(options)


def _status(options: argparse.Namespace) -> int:
    from gridtally_edge.status_text import print_status

    return print_status(options.config, options.json)


def _init(options: argparse.Namespace) -> int:
    from gridtally_edge.setup import initialise

    return initialise(options.config, options.dcu)


def _meter_list(options: argparse.Namespace) -> int:
    from gridtally_edge.meters import list_meters

    return list_meters(options.config, options.json)


def _meter_add(options: argparse.Namespace) -> int:
    from gridtally_edge.meters import add_meter

    return add_meter(options.config, options.line, options.driver, options.set, options.serial)


def _meter_remove(options: argparse.Namespace) -> int:
    from gridtally_edge.meters import remove_meter

    return remove_meter(options.config, options.key)


def _simulate(words: list[str]) -> int:
    from gridtally_edge.simulators.run import main as simulate

    return simulate(words)


def _ledger(words: list[str]) -> int:
    from gridtally_edge.prepay.cli import main as ledger

    return ledger(words)


def _display(words: list[str]) -> int:
    from gridtally_edge.display.cli import main as display

    return display(words)


def _enrol(words: list[str]) -> int:
    from gridtally_edge.provisioning.link import main as enrol

    return enrol(words)


_DELEGATED = {"enrol": _enrol, "simulate": _simulate, "ledger": _ledger, "display": _display}
_DELEGATED_ABOUT = {
    "enrol": "ask the MDM for a name and a certificate",
    "simulate": "serve a street of simulated meters",
    "ledger": "check and print the journal of an account",
    "display": "serve the local page with balance and messages",
}

if __name__ == "__main__":
    sys.exit(main())
