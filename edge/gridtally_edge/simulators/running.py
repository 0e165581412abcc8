"""A street that runs: meters, lines and the commands that spoil them; see run.py for the command line.

The directory holds a pty link per line, `inventory.json` (lines, meters, driver names and settings, so that a DCU can be
configured from it), `control.sock`, and `state/` with what the meters must not forget.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.simulators.bus import SimBus, Station, Timing
from gridtally_edge.simulators.control import ControlSocket, parse_fault
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.faults import FaultKind
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.modbus_slave import ModbusSlave
from gridtally_edge.simulators.ports import PtyPort, SimPort, TcpPort
from gridtally_edge.simulators.street import DRIVERS, Street, StreetLine, StreetMeter, StreetProtocol
from gridtally_edge.transports.settings import Speed
from gridtally_edge.transports.tcp_line import SCHEME, host_and_port
from gridtally_shared.clock import Clock
from gridtally_shared.errors import ConfigError

CONTROL = "control.sock"
INVENTORY = "inventory.json"


@dataclass(frozen=True, slots=True)
class RunningStreet:
    """Meters by serial, lines by name; `obey` takes the commands of `control.py`."""

    street: Street
    meters: dict[str, HouseMeter]
    lines: dict[str, SimBus]

    def obey(self, command: str) -> str:
        """Carry out one command and say what was done. Raises ConfigError for one that is not understood."""
        words = command.split() or ["status"]
        if words[0] in {kind.value for kind in FaultKind}:
            return self._spoil(words)
        action = _ACTIONS.get(words[0])
        if action is None:
            known = [kind.value for kind in FaultKind] + sorted(_ACTIONS)
            raise ConfigError("command", words[0], f"write one of {', '.join(known)}")
        return action(self, words[1:])

    def meter(self, serial: str) -> HouseMeter:
        if serial not in self.meters:
            raise ConfigError("meter", serial, f"write one of {', '.join(self.meters)}")
        return self.meters[serial]

    def line(self, name: str) -> SimBus:
        name = name.removeprefix("line:")
        if name not in self.lines:
            raise ConfigError("line", name, f"write one of {', '.join(self.lines)}")
        return self.lines[name]

    def targets(self, target: str) -> tuple[tuple[SimBus, str], ...]:
        """The lines a target means, and the meter on them (`*`: every answer of the line)."""
        if target == "*":
            return tuple((bus, "*") for bus in self.lines.values())
        if target.startswith("line:"):
            return ((self.line(target), "*"),)
        self.meter(target)
        place = next(meter for meter in self.street.meters if meter.serial == target)
        return ((self.lines[place.line], target),)

    def _spoil(self, words: list[str]) -> str:
        if len(words) < 2:
            raise ConfigError(words[0], "", "name a serial, line:NAME or *")
        for bus, meter in self.targets(words[1]):
            bus.faults.add(parse_fault([words[0], *words[2:]], meter))
        return f"{words[0]} {words[1]}"


def _clear(running: RunningStreet, words: list[str]) -> str:
    for bus, meter in running.targets(words[0] if words else "*"):
        bus.faults.clear(meter)
    return "cleared"


def _plug(running: RunningStreet, words: list[str]) -> str:
    running.line(_first(words, "a line")).plug()
    return "plugged in"


def _unplug(running: RunningStreet, words: list[str]) -> str:
    running.line(_first(words, "a line")).unplug()
    return "unplugged"


def _jam(running: RunningStreet, words: list[str]) -> str:
    running.meter(_first(words, "a serial")).jam(True)
    return "the contactor is stuck"


def _free(running: RunningStreet, words: list[str]) -> str:
    running.meter(_first(words, "a serial")).jam(False)
    return "the contactor moves again"


def _event(running: RunningStreet, words: list[str]) -> str:
    meter = running.meter(_first(words, "a serial"))
    if len(words) < 2 or not words[1].isdecimal():
        raise ConfigError("event", " ".join(words[1:]), "write a serial and an event code, for example 251")
    meter.report_event(int(words[1]), " ".join(words[2:]))
    return f"event {words[1]} is in the log"


def _status(running: RunningStreet, words: list[str]) -> str:
    found = [f"{b.name}: {f.kind.value} {f.meter}" for b in running.lines.values() for f in b.faults.listed()]
    return "; ".join(found) or "no faults"


def _first(words: list[str], what: str) -> str:
    if not words:
        raise ConfigError("command", "", f"name {what}")
    return words[0]


_ACTIONS: dict[str, Callable[[RunningStreet, list[str]], str]] = {
    "clear": _clear,
    "plug": _plug,
    "unplug": _unplug,
    "jam": _jam,
    "free": _free,
    "event": _event,
    "status": _status,
}


@contextmanager
def open_street(street: Street, directory: Path, clock: Clock) -> Iterator[RunningStreet]:
    """A street that serves while the block runs. Raises ConfigError for what cannot be built."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        meters = {}
        for number, place in enumerate(street.meters, start=1):
            meters[place.serial] = _meter(street, place, number, directory, clock)
            stack.callback(meters[place.serial].close)
        lines = {line.name: _bus(street, line, meters, directory) for line in street.lines}
        for bus in lines.values():
            bus.start()
            stack.callback(bus.close)
        running = RunningStreet(street, meters, lines)
        control = ControlSocket(directory / CONTROL, running.obey)
        control.start()
        stack.callback(control.close)
        _write_inventory(running, directory / INVENTORY)
        yield running


def _meter(street: Street, place: StreetMeter, number: int, directory: Path, clock: Clock) -> HouseMeter:
    settings = HouseSettings(
        serial=place.serial,
        seed=place.seed or street.seed * 1_000 + number,
        size_percent=place.size_percent,
        pv_w=place.pv_w,
        utc_offset_min=street.utc_offset_min,
        skew_ms=place.skew_ms,
        contactor=place.contactor,
    )
    meter = HouseMeter(settings, clock, directory / "state" / f"{place.serial}.log")
    meter.snapshot()  # works out the history now, so that the first answer is not late
    return meter


def _bus(street: Street, line: StreetLine, meters: dict[str, HouseMeter], directory: Path) -> SimBus:
    places = [place for place in street.meters if place.line == line.name]
    stations = _STATIONS[line.protocol](street, places, meters)
    timing = Timing(Speed(line.baud), line.paced, line.turnaround_ms)
    return SimBus(line.name, _port(line, directory), stations, timing)


def _port(line: StreetLine, directory: Path) -> SimPort:
    if not line.port.startswith(SCHEME):
        return PtyPort(directory / (line.port or line.name))
    if line.port.endswith(":0"):
        return TcpPort(line.port.removeprefix(SCHEME).rpartition(":")[0], 0)
    return TcpPort(*host_and_port(line.port))


def _modbus_stations(street: Street, places: list[StreetMeter], meters: dict[str, HouseMeter]) -> list[Station]:
    return [_modbus_station(place, meters[place.serial]) for place in places]


def _modbus_station(place: StreetMeter, meter: HouseMeter) -> Station:
    return Station(ModbusSlave(place.address, meter), lambda answer: place.serial)


def _dlms_stations(street: Street, places: list[StreetMeter], meters: dict[str, HouseMeter]) -> list[Station]:
    serials = {place.address: place.serial for place in places}
    units = [DlmsUnit(meters[p.serial], p.address, password=p.password.encode()) for p in places]

    def whose(answer: bytes) -> str:
        source = next(hdlc.scan(answer)).frame.source
        return serials.get(source.upper if source.lower is None else source.lower, "")

    return [Station(DlmsSlave(units), whose)]


_STATIONS: dict[StreetProtocol, Callable[[Street, list[StreetMeter], dict[str, HouseMeter]], list[Station]]] = {
    StreetProtocol.DLMS: _dlms_stations,
    StreetProtocol.MODBUS: _modbus_stations,
}


def _driver_settings(line: StreetLine, meter: StreetMeter) -> dict[str, int | str]:
    if line.protocol is StreetProtocol.MODBUS:
        return {"unit": meter.address}
    return {"physical_address": meter.address, "password": meter.password}


def _write_inventory(running: RunningStreet, path: Path) -> None:
    """What a DCU must know to read this street, for whoever configures one."""
    street = running.street
    lines = [{"name": line.name, "device": running.lines[line.name].port.address(), "baud": line.baud} for line in street.lines]
    meters = [
        {
            "serial": meter.serial,
            "line": meter.line,
            "driver": DRIVERS[street.line(meter.line).protocol.value],
            "settings": _driver_settings(street.line(meter.line), meter),
        }
        for meter in street.meters
    ]
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps({"lines": lines, "meters": meters}, indent=1), encoding="utf-8")
    os.replace(fresh, path)
