"""Run a street of simulated meters from the command line.

gridtally-dcu simulate --directory street
gridtally-dcu simulate --directory street --tell "mute 20000003 times=3"
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from gridtally_edge.simulators.control import tell
from gridtally_edge.simulators.running import CONTROL, RunningStreet, open_street
from gridtally_edge.simulators.street import Street, default_street, load_street
from gridtally_shared.clock import Clock, clock_from
from gridtally_shared.errors import ConfigError, GridtallyError

EPILOG = """example: gridtally-dcu simulate --directory street --dlms 3 --modbus 2

spoil it while it runs (from another shell):
  gridtally-dcu simulate --directory street --tell "mute 20000003 times=3"           the line: flip, late, echo, unplug and more
  gridtally-dcu simulate --directory street --tell "house 10000001 metrology on"     the meter itself: memory, form, push and more
  gridtally-dcu simulate --directory street --tell status                            what is in force
an unknown word is answered with all that are known: --tell help, or --tell "house 10000001 help" for the meter's own faults.
how it looks from outside: the meter's events and diagnostics, for example
  gridtally-dcu read --line street/dlms-1 --driver is15959 --set physical_address=17 --set password=ABCD0001 --what events
"""


def run_street(street: Street, directory: Path, clock: Clock, stop: threading.Event) -> None:
    """Serve until `stop` is set."""
    with open_street(street, directory, clock) as running:
        _tell_what_runs(running, directory)
        stop.wait()


def _tell_what_runs(running: RunningStreet, directory: Path) -> None:
    for line in running.street.lines:
        count = sum(meter.line == line.name for meter in running.street.meters)
        where = running.device(line.name)
        print(f"{line.name:12} {line.protocol.value:11} {count:3} meters at {where}, {line.baud} baud", flush=True)
    print(f"spoil it: gridtally-dcu simulate --directory {directory} --tell 'mute SERIAL'", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridtally-dcu simulate",
        description="Serve a street of simulated meters on serial lines (pty) or TCP.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--directory", type=Path, required=True, help="where lines, state and control socket live")
    parser.add_argument("--street", type=Path, help="a TOML or JSON file; without it a default street is made")
    parser.add_argument("--dlms", type=int, default=12, help="DLMS meters of the default street (12)")
    parser.add_argument("--modbus", type=int, default=12, help="Modbus meters of the default street (12)")
    parser.add_argument("--mesh", type=int, default=0, help="meters with IP addresses of their own (0)")
    parser.add_argument("--coordinator", type=int, default=0, help="meters behind a simulated coordinator modem (0)")
    parser.add_argument("--seed", type=int, default=2026, help="seed of the default street (2026)")
    parser.add_argument("--virtual-clock", metavar="FILE", help="clock file shared with the other processes")
    parser.add_argument("--tell", metavar="COMMAND", help="send one command to the street that runs in the directory")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes are those of the error tree; 0 after SIGINT or SIGTERM."""
    options = _parser().parse_args(argv)
    try:
        if options.tell is not None:
            answer = tell(options.directory / CONTROL, options.tell)
            print(answer)
            return 0 if answer.startswith("ok") else ConfigError.exit_code
        street = load_street(options.street) if options.street else None
        street = street or default_street(options.dlms, options.modbus, options.seed, options.mesh, options.coordinator)
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        run_street(street, options.directory, clock_from(options.virtual_clock), stop)
    except GridtallyError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0
