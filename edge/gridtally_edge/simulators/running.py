"""A street that runs: meters, lines and the commands that spoil them; see run.py for the command line.

The directory holds a pty link per line, `inventory.json` (lines, meters, driver names and settings, so that a DCU can be
configured from it), `control.sock`, and `state/` with what the meters must not forget.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.simulators.bus import SimBus, Station, Timing
from gridtally_edge.simulators.control import ControlSocket, parse_fault
from gridtally_edge.simulators.coordinator import SimCoordinator
from gridtally_edge.simulators.dlms_slave import DlmsSlave, SimulatedMeter
from gridtally_edge.simulators.dlms_street import QUIRK_WORDS, check_dlms, dlms_settings, odd, parse_push, unit_of
from gridtally_edge.simulators.faults import FaultKind
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.house_checks import FAULT_WORDS, REFUSALS_LOGGED, HouseFault
from gridtally_edge.simulators.mesh import SimMesh
from gridtally_edge.simulators.metering_street import (
    SENDING,
    SendingBus,
    check_metering,
    iec_stations,
    mbus_stations,
    metering_settings,
    tellers,
)
from gridtally_edge.simulators.modbus_gateway import Gateway
from gridtally_edge.simulators.modbus_street import BOARD, check_place, modbus_settings, modbus_stations
from gridtally_edge.simulators.network_street import (
    LINE_COMMANDS,
    METER_COMMANDS,
    coordinator_line,
    coordinator_settings,
    line_settings,
    mesh_line,
    mesh_settings,
)
from gridtally_edge.simulators.ports import PtyPort, SimPort, TcpPort
from gridtally_edge.simulators.street import DRIVERS, Street, StreetLine, StreetMeter, StreetProtocol
from gridtally_edge.transports.settings import Speed
from gridtally_edge.transports.tcp_line import SCHEME, host_and_port
from gridtally_shared.clock import Clock
from gridtally_shared.errors import ConfigError
from gridtally_shared.instruments.token import TokenStatus
from gridtally_shared.records import dataclass

CONTROL = "control.sock"
INVENTORY = "inventory.json"
USUAL_SIZES = {HouseFault.TIME_SYNC: REFUSALS_LOGGED, HouseFault.CONSISTENCY: 20}


SimLine = SimBus | SimMesh | SimCoordinator


@dataclass(frozen=True, slots=True)
class RunningStreet:
    """Meters by serial, lines by name; `obey` takes the commands of `control.py`."""

    street: Street
    meters: dict[str, HouseMeter]
    lines: dict[str, SimLine]
    simulated: dict[str, SimulatedMeter]

    def obey(self, command: str) -> str:
        """Carry out one command and say what was done. Raises ConfigError for one that is not understood."""
        words = command.split() or ["status"]
        if words[0] in {kind.value for kind in FaultKind}:
            return self._spoil(words)
        if words[0] in QUIRK_WORDS:
            return odd(self.dlms(_first(words[1:], "a serial")), [words[0], *words[2:]])
        if words[0] in METER_COMMANDS:
            serial = _first(words[1:], "a serial")
            return METER_COMMANDS[words[0]](self.network(self.targets(serial)[0][0]), serial, words[2:])
        if words[0] in LINE_COMMANDS:
            return LINE_COMMANDS[words[0]](self.network(self.line(_first(words[1:], "a line"))), words[2:])
        action = _ACTIONS.get(words[0])
        if action is None:
            known = [kind.value for kind in FaultKind] + sorted({*_ACTIONS, *METER_COMMANDS, *LINE_COMMANDS, *QUIRK_WORDS})
            raise ConfigError("command", words[0], f"write one of {', '.join(known)}")
        return action(self, words[1:])

    def meter(self, serial: str) -> HouseMeter:
        if serial not in self.meters:
            raise ConfigError("meter", serial, f"write one of {', '.join(self.meters)}")
        return self.meters[serial]

    def dlms(self, serial: str) -> SimulatedMeter:
        self.meter(serial)
        if serial not in self.simulated:
            raise ConfigError("meter", serial, f"it does not speak DLMS: write one of {', '.join(self.simulated)}")
        return self.simulated[serial]

    def line(self, name: str) -> SimLine:
        name = name.removeprefix("line:")
        if name not in self.lines:
            raise ConfigError("line", name, f"write one of {', '.join(self.lines)}")
        return self.lines[name]

    def network(self, line: SimLine) -> SimMesh | SimCoordinator:
        if isinstance(line, SimBus):
            raise ConfigError("line", line.name, "this is a bus: write a mesh or coordinator line, or a meter on one")
        return line

    def device(self, name: str) -> str:
        """The device by which a DCU opens the line."""
        line = self.lines[name]
        if isinstance(line, SendingBus):
            return line.device()
        address = line.port.address() if isinstance(line, SimBus) else line.address()
        is_gateway = self.street.line(name).protocol is StreetProtocol.MODBUS_TCP
        return address.replace(SCHEME, "modbus-tcp://", 1) if is_gateway else address

    def targets(self, target: str) -> tuple[tuple[SimLine, str], ...]:
        """The lines a target means, and the meter on them (`*`: every answer of the line)."""
        if target == "*":
            return tuple((bus, "*") for bus in self.lines.values())
        if target.startswith("line:"):
            return ((self.line(target), "*"),)
        if target.startswith(BOARD):
            return tuple((bus, target) for bus in self.lines.values())
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
        for place in running.street.meters:
            if meter in ("*", place.serial) and place.line == bus.name:
                _make_well(running, place.serial)
    return "cleared"


def _make_well(running: RunningStreet, serial: str) -> None:
    if serial in running.simulated:
        running.simulated[serial].device.quirks.clear()
    for fault in running.meters[serial].faults():
        running.meters[serial].inject(fault, 0)


def _push(running: RunningStreet, words: list[str]) -> str:
    """What a meter says unasked, on its line; `to=HOST:PORT` sends it there from a meter of a mesh."""
    serial = _first(words, "a serial")
    meter, (line, _) = running.dlms(serial), running.targets(serial)[0]
    ways = [word for word in words[1:] if word == "tcp" or word.startswith("to=")]
    push = parse_push([word for word in words[1:] if word not in ways])
    place = next(place for place in running.street.meters if place.serial == serial)
    carry = "hdlc" if isinstance(line, SimBus) else running.street.line(place.line).carry
    for data in meter.push(push, carry):
        _say(line, serial, data, ways)
    return f"{serial} has said it"


def _say(line: SimLine, serial: str, data: bytes, ways: list[str]) -> None:
    if isinstance(line, SimBus):
        line.say(data)
    elif isinstance(line, SimCoordinator):
        line.push(serial, data)
    elif target := next((way[3:] for way in ways if way.startswith("to=")), ""):
        line.push(serial, data, host_and_port(SCHEME + target), "tcp" in ways)
    else:
        line.say_on_connection(serial, data)


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


def _house(running: RunningStreet, words: list[str]) -> str:
    """`house SERIAL FAULT on|off [size=N]`."""
    meter, known = running.meter(_first(words, "a serial, a fault, and on or off")), {fault.value: fault for fault in HouseFault}
    rest = words[1:]
    if not rest or rest[0] not in known:
        raise ConfigError("house", " ".join(rest), f"write one of {', '.join(known)}")
    if rest[1:2] not in (["on"], ["off"]) or len(rest) > 3:
        raise ConfigError("house", " ".join(rest), "write on or off behind the fault, for example 'house 10000001 metrology on'")
    fault, on = known[rest[0]], rest[1] == "on"
    size = _size(rest[2]) if rest[2:] else USUAL_SIZES.get(fault, 1)
    meter.inject(fault, size if on else 0)
    return f"{words[0]}: {FAULT_WORDS[fault]}" if on else f"{words[0]}: {fault.value} is well again"


def _size(word: str) -> int:
    key, _, value = word.partition("=")
    if key != "size" or not value.isdecimal() or not int(value):
        raise ConfigError("house", word, "write size=N: refusals for time_sync, Wh missing in each row for consistency")
    return int(value)


def _token(running: RunningStreet, words: list[str]) -> str:
    """`token SERIAL [STATUS]`: what the meter has taken, or what it says of the next token."""
    held = running.meter(_first(words, "a serial")).tokens
    if words[1:]:
        if words[1] not in {str(int(status)) for status in TokenStatus}:
            raise ConfigError("token", words[1], "write a status from 0 to 8; 3 is taken, 4 to 7 are refused")
        held.answers.append(TokenStatus(int(words[1])))
        return f"the next token gets {TokenStatus(int(words[1])).name.lower()}"
    return f"{len(held.entered)} entered, {held.taken} taken"


def _status(running: RunningStreet, words: list[str]) -> str:
    found = [f"{b.name}: {f.kind.value} {f.meter}" for b in running.lines.values() for f in b.faults.listed()]
    found += [f"{serial}: {quirk.value}" for serial, m in running.simulated.items() for quirk in m.device.quirks.listed()]
    found += [f"{serial}: {FAULT_WORDS[fault]}" for serial, meter in running.meters.items() for fault in meter.faults()]
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
    "house": _house,
    "push": _push,
    "token": _token,
    "status": _status,
}


@contextmanager
def open_street(street: Street, directory: Path, clock: Clock) -> Iterator[RunningStreet]:
    """A street that serves while the block runs. Raises ConfigError for what cannot be built."""
    for place in street.meters:
        check_place(place)
        check_dlms(place)
        check_metering(street.line(place.line), place)
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        meters = {}
        for number, place in enumerate(street.meters, start=1):
            meters[place.serial] = _meter(street, place, number, directory, clock)
            stack.callback(meters[place.serial].close)
        simulated = {p.serial: _simulated(p, meters) for p in street.meters if street.line(p.line).protocol in _DLMS}
        lines = {line.name: _line(line, street, Houses(meters, simulated), directory) for line in street.lines}
        for bus in lines.values():
            bus.start()
            stack.callback(bus.close)
        running = RunningStreet(street, meters, lines, simulated)
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


def _simulated(place: StreetMeter, meters: dict[str, HouseMeter]) -> SimulatedMeter:
    return SimulatedMeter(unit_of(place, meters[place.serial]))


@dataclass(frozen=True, slots=True)
class Houses:
    """All meters by serial, and those that speak DLMS."""

    meters: dict[str, HouseMeter]
    simulated: dict[str, SimulatedMeter]


def _line(line: StreetLine, street: Street, houses: Houses, directory: Path) -> SimLine:
    places = [place for place in street.meters if place.line == line.name]
    network = _NETWORKS.get(line.protocol)
    return network(line, places, houses.simulated, directory) if network else _bus(line, places, houses, directory)


def _bus(line: StreetLine, places: list[StreetMeter], houses: Houses, directory: Path) -> SimBus:
    if line.protocol in SENDING:
        return SendingBus(line, _port(line, directory), tellers(line, places, houses.meters))
    stations = _STATIONS[line.protocol](places, houses)
    timing = Timing(Speed(line.baud), line.paced, line.turnaround_ms)
    return SimBus(line.name, _port(line, directory), stations, timing)


def _port(line: StreetLine, directory: Path) -> SimPort:
    if line.protocol is StreetProtocol.MODBUS_TCP and not line.port:
        return TcpPort("127.0.0.1", 0)
    if not line.port.startswith(SCHEME):
        return PtyPort(directory / (line.port or line.name))
    if line.port.endswith(":0"):
        return TcpPort(line.port.removeprefix(SCHEME).rpartition(":")[0], 0)
    return TcpPort(*host_and_port(line.port))


def _modbus_stations(places: list[StreetMeter], houses: Houses) -> list[Station]:
    return modbus_stations(places, houses.meters)


def _gateway(places: list[StreetMeter], houses: Houses) -> list[Station]:
    gateway = Gateway(_modbus_stations(places, houses))
    return [Station(gateway, gateway.whose)]


def _dlms_stations(places: list[StreetMeter], houses: Houses) -> list[Station]:
    serials = {place.address: place.serial for place in places}
    units = [houses.simulated[place.serial] for place in places]

    def whose(answer: bytes) -> str:
        source = next(hdlc.scan(answer)).frame.source
        return serials.get(source.upper if source.lower is None else source.lower, "")

    return [Station(DlmsSlave(units), whose)]


_STATIONS: dict[StreetProtocol, Callable[[list[StreetMeter], Houses], list[Station]]] = {
    StreetProtocol.DLMS: _dlms_stations,
    StreetProtocol.MODBUS: _modbus_stations,
    StreetProtocol.MODBUS_TCP: _gateway,
    StreetProtocol.IEC62056_21: lambda places, houses: iec_stations(places, houses.meters),
    StreetProtocol.MBUS: lambda places, houses: mbus_stations(places, houses.meters),
}


_DLMS = frozenset({StreetProtocol.DLMS, StreetProtocol.MESH, StreetProtocol.COORDINATOR})
_NETWORKS: dict[StreetProtocol, Callable[[StreetLine, list[StreetMeter], dict[str, SimulatedMeter], Path], SimLine]] = {
    StreetProtocol.MESH: mesh_line,
    StreetProtocol.COORDINATOR: coordinator_line,
}


def _driver_settings(running: RunningStreet, line: StreetLine, meter: StreetMeter) -> dict[str, int | str]:
    network = running.lines[line.name]
    if isinstance(network, SimMesh):
        return mesh_settings(network, line, meter)
    if isinstance(network, SimCoordinator):
        return coordinator_settings(line, meter)
    if line.protocol in (StreetProtocol.MODBUS, StreetProtocol.MODBUS_TCP):
        return modbus_settings(meter)
    if line.protocol is StreetProtocol.DLMS:
        return dlms_settings(meter)
    return metering_settings(line, meter, running.street.utc_offset_min)


def _write_inventory(running: RunningStreet, path: Path) -> None:
    """What a DCU must know to read this street, for whoever configures one."""
    street = running.street
    lines = [
        {
            "name": line.name,
            "device": running.device(line.name),
            "baud": line.baud,
            **(line_settings(line) if line.protocol in _NETWORKS else {}),
        }
        for line in street.lines
    ]
    meters = [
        {
            "serial": meter.serial,
            "line": meter.line,
            "driver": meter.profile or DRIVERS[street.line(meter.line).protocol.value],
            "settings": _driver_settings(running, street.line(meter.line), meter),
            **({"switch": meter.switch} if meter.switch else {}),
        }
        for meter in street.meters
    ]
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps({"lines": lines, "meters": meters}, indent=1), encoding="utf-8")
    os.replace(fresh, path)
