"""`gridtally-dcu scan`: opens a line, asks or listens who is there, prints what it found, and adds it where it is told to.

* The line is a name of the configuration or a word as `read --line` takes it. A line that a running agent holds is refused:
  two masters on one bus spoil each other's answers. For pushes of a mesh `udp://[::]:4059` is where we listen.
* `--add` enters what was found into the registry; a running agent takes it in and proposes it to the cloud.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from gridtally_edge.config import load_config
from gridtally_edge.meters import add_meter
from gridtally_edge.oneshot.managed import PROC, running_agents
from gridtally_edge.oneshot.where import where_of
from gridtally_edge.oneshot.who import driver_for
from gridtally_edge.scan.found import ADDRESSES, SCANNERS, FoundMeter, Progress, meters_heard
from gridtally_edge.transports import line_for
from gridtally_edge.transports.heard import Heard, NodeChanged
from gridtally_edge.transports.meter_line import MeterLine
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.clock import SystemClock
from gridtally_shared.errors import ConfigError, GridtallyError

BAR = 30
ONE_KIND = frozenset({"wmbus", "p1", "iec62056-21"})
"""Listened for by the drivers of this protocol alone: P1 and mode D look alike."""
USUAL_MODEL = {"modbus-rtu": "eastron-sdm230", "modbus-tcp": "eastron-sdm230"}
"""Whose line settings are taken where nothing else tells them."""


def scan(options: argparse.Namespace) -> int:
    """Print who was found. Raises ConfigError for a line that is none, or that an agent holds; LinkDown where it can not be
    opened."""
    settings, name = _line_of(options)
    refuse_held(settings.device)
    found: list[FoundMeter] = []
    with _opened(settings) as (line, heard):
        for meter in _who(options, line, heard):
            found.append(_as_told(meter, options.driver))
    print(json.dumps([{"line": name or options.line, **asdict(m)} for m in found], indent=1) if options.json else _text(found, name))
    if options.add:
        _add(options, name, found)
    return 0 if found else 1


def refuse_held(device: str) -> None:
    """Raises ConfigError where a running agent of this machine has this device among its lines."""
    for agent in running_agents():
        held: frozenset[str] = frozenset()
        with contextlib.suppress(GridtallyError, OSError):
            held = frozenset(line.device for line in load_config(agent.config_file).lines)
        if device in held or any(_is_one(device, other) and _has_open(agent.pid, device) for other in held):
            remedy = f"the agent of {agent.config_file} (process {agent.pid}) holds it; stop it for the time of the scan"
            raise ConfigError("--line", device, remedy)


def _is_one(device: str, other: str) -> bool:
    """Whether two names mean one device by different paths, or with different words behind it."""
    return bool(_path_of(device)) and _path_of(device) == _path_of(other)


def _path_of(device: str) -> str:
    path = (device.partition("://")[2] or device).partition("?")[0]
    return os.path.realpath(path) if path.startswith("/") else ""


def _has_open(pid: int, device: str) -> bool:
    """A link may have outlived its device, and lead to another's by now. An agent that can not be looked into holds it."""
    try:
        return any(os.path.realpath(link) == _path_of(device) for link in (PROC / str(pid) / "fd").iterdir())
    except OSError:
        return True


def _as_told(meter: FoundMeter, model: str) -> FoundMeter:
    """Several models answer alike; the person may know which one it is."""
    return replace(meter, driver=model, also=()) if model in meter.also or model == meter.driver else meter


def _line_of(options: argparse.Namespace) -> tuple[LineSettings, str]:
    config = None
    with contextlib.suppress(ConfigError):
        config = load_config(options.config)
    named = {line.name: line for line in config.lines} if config else {}
    if options.line in named:
        return named[options.line], options.line
    if options.add:
        known = ", ".join(sorted(named)) or "none"
        raise ConfigError("--add", options.line, f"meters are added to a line of the configuration; those are: {known}")
    protocol = "dlms-hdlc" if options.protocol == "modem" else options.protocol
    coding = driver_for(protocol, USUAL_MODEL.get(options.protocol)).line
    word = options.line if "#" in options.line or not options.line.startswith("modem:") else f"{options.line}#all"
    where = where_of(word, protocol, coding)
    listens = protocol == "dlms-wrapper" and "host" in where.place
    network = where.settings.network
    if listens:
        network = replace(network, push_host=where.place["host"], push_port=where.place["port"])
    return replace(where.settings, name="scan", network=network), ""


@contextlib.contextmanager
def _opened(settings: LineSettings) -> Iterator[tuple[MeterLine, list[Heard]]]:
    heard: list[Heard] = []

    def listen(message: Heard | NodeChanged) -> None:
        if isinstance(message, Heard):
            heard.append(message)

    line = line_for(settings, listen)
    line.start()
    try:
        yield line, heard
    finally:
        line.close()


def _who(options: argparse.Namespace, line: MeterLine, heard: list[Heard]) -> Iterator[FoundMeter]:
    scanner = SCANNERS.get(options.protocol)
    if scanner is not None:
        yield from scanner(line, _range(options), _progress())
        return
    _listen(options.seconds)
    nodes = getattr(line, "nodes", None)
    for node in nodes() if nodes is not None else ():
        yield FoundMeter(node.node, "", "", {"node": node.node}, note=f"{node.state.name.lower()}, {node.hops} hops")
    yield from meters_heard(tuple(heard), SystemClock().now_ms(), options.protocol if options.protocol in ONE_KIND else "")


def _range(options: argparse.Namespace) -> range:
    if not options.addresses:
        return ADDRESSES[options.protocol]
    first, dash, last = options.addresses.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()) or (dash and not last):
        raise ConfigError("--addresses", options.addresses, "write FIRST-LAST, for example 1-32")
    return range(int(first), int(last or first) + 1)


def _progress() -> Progress:
    shown = sys.stderr.isatty()

    def progress(asked: int, of: int, found: int) -> None:
        if shown:
            done = BAR * asked // max(1, of)
            end = "\n" if asked >= of else ""
            print(f"\r[{'#' * done}{'.' * (BAR - done)}] {asked}/{of}, {found} found ", end=end, file=sys.stderr, flush=True)

    return progress


def _listen(seconds: float) -> None:
    for second in range(int(seconds)):
        if sys.stderr.isatty():
            print(f"\rlistening, {int(seconds) - second} s left ", end="", file=sys.stderr, flush=True)
        threading.Event().wait(1.0)
    if sys.stderr.isatty():
        print("\r" + " " * BAR + "\r", end="", file=sys.stderr, flush=True)


def _text(found: list[FoundMeter], name: str) -> str:
    rows = []
    for meter in found:
        words = " ".join(f"--set {key}={value}" for key, value in meter.settings.items())
        rows.append(f"{meter.address:22} {meter.serial or '-':18} {meter.driver or '-':18} {meter.note}".rstrip())
        if meter.driver and words:
            rows.append(f"    gridtally-dcu meter add --line {name or 'NAME'} --driver {meter.driver} {words} --serial {meter.serial}")
        if meter.also:
            rows.append(f"    fits as well: {', '.join(meter.also)}")
    return "\n".join(rows) or "nobody answered; check wiring (A and B swapped?), speed, parity and the range of addresses"


def _add(options: argparse.Namespace, name: str, found: list[FoundMeter]) -> None:
    config: Path = options.config
    for meter in found:
        if meter.also:
            models = ", ".join((meter.driver, *meter.also))
            print(f"{meter.address} not added: it may be any of {models}; say which with --driver", file=sys.stderr)
        elif meter.driver and meter.settings:
            words = [f"{key}={value}" for key, value in meter.settings.items()]
            add_meter(config, name, meter.driver, words, meter.serial)
