"""The lines of a street whose meters have addresses: a mesh on IP and a coordinator, with the commands that disturb them.

    leave SERIAL                     the node is gone (a mesh meter falls silent)
    join SERIAL [address=77]         it is back, at a new address if given
    route SERIAL parent=11 hops=2    it has another way to the coordinator
    loss LINE 5                      per cent of all datagrams or pieces are lost, each way
    slow LINE 200                    milliseconds for each hop, each way
    restart LINE                     the coordinator's modem starts anew

* Ports of a mesh are kept in `state/NAME.ports.json`, so that a street that starts again is where it was.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from gridtally_edge.registry import write_atomically
from gridtally_edge.simulators.coordinator import LlcSlave, Side, SimCoordinator, SimNode
from gridtally_edge.simulators.coordinator_sides import AtSide, FramedSide
from gridtally_edge.simulators.dlms_slave import DlmsSlave, SimulatedMeter, WrapperSlave
from gridtally_edge.simulators.dlms_street import dlms_settings
from gridtally_edge.simulators.faults import Fault, FaultKind
from gridtally_edge.simulators.mesh import MeshHabits, MeshMeter, SimMesh, Slave
from gridtally_edge.simulators.ports import PtyPort
from gridtally_edge.simulators.street import StreetLine, StreetMeter
from gridtally_shared.errors import ConfigError

NetworkLine = SimMesh | SimCoordinator
FIRST_ADDRESS = 10
_SLAVES: dict[str, Callable[[SimulatedMeter], Slave]] = {
    "hdlc": lambda meter: DlmsSlave([meter]),
    "wrapper": WrapperSlave,
    "4-32": LlcSlave,
}
_TRANSPORTS = {"hdlc": "hdlc", "wrapper": "wrapper-udp", "4-32": "4-32"}
_SIDES: dict[str, Callable[[SimCoordinator], Side]] = {"framed": FramedSide, "at": AtSide}


def node_of(serial: str) -> str:
    """The EUI-64 of a simulated meter's module: locally administered, made of the serial's digits."""
    return f"02{int(''.join(c for c in serial if c.isdecimal()) or '0') % (1 << 56):014x}"


def mesh_line(line: StreetLine, places: list[StreetMeter], meters: Mapping[str, SimulatedMeter], directory: Path) -> SimMesh:
    ports_file = directory / "state" / f"{line.name}.ports.json"
    ports = json.loads(ports_file.read_text()) if ports_file.exists() else {}
    slave = _SLAVES[_carry(line)]
    stations = [
        MeshMeter(p.serial, slave(meters[p.serial]), p.hops, ports.get(p.serial, 0) if _is_free(line, ports.get(p.serial, 0)) else 0)
        for p in places
    ]
    mesh = SimMesh(line.name, stations, MeshHabits(line.loss_percent, line.hop_ms, line.reorder_ms), _host(line))
    mesh.on_open = lambda: _keep_ports(mesh, places, ports_file)
    return mesh


def coordinator_line(line: StreetLine, places: list[StreetMeter], meters: Mapping[str, SimulatedMeter], directory: Path) -> SimCoordinator:
    slave = _SLAVES[_carry(line)]
    nodes = [
        SimNode(node_of(p.serial), p.serial, slave(meters[p.serial]), FIRST_ADDRESS + number, hops=p.hops)
        for number, p in enumerate(places, start=1)
    ]
    if line.codec not in _SIDES:
        raise ConfigError("lines.codec", line.codec, f"write one of {', '.join(_SIDES)}")
    habits = MeshHabits(line.loss_percent, line.hop_ms)
    return SimCoordinator(line.name, PtyPort(directory / (line.port or line.name)), nodes, _SIDES[line.codec], habits, line.mtu)


def mesh_settings(network: SimMesh, line: StreetLine, meter: StreetMeter) -> dict[str, int | str]:
    """What a DCU's registry must hold for one meter of a mesh."""
    host, port = network.address_of(meter.serial)
    where: dict[str, int | str] = {"host": host, "port": port, "hops": meter.hops}
    return {**where, **_dlms_settings(line, meter)}


def coordinator_settings(line: StreetLine, meter: StreetMeter) -> dict[str, int | str]:
    return {"node": node_of(meter.serial), **_dlms_settings(line, meter)}


def line_settings(line: StreetLine) -> dict[str, int | str | bool]:
    """What a DCU's line must be told beyond its device."""
    return {"hop_ms": 2 * line.hop_ms + 100, "codec": line.codec, "white_list": False}


def _dlms_settings(line: StreetLine, meter: StreetMeter) -> dict[str, int | str]:
    return {**dlms_settings(meter), "transport": _TRANSPORTS[_carry(line)]}


def _carry(line: StreetLine) -> str:
    if line.carry not in _SLAVES:
        raise ConfigError("lines.carry", line.carry, f"write one of {', '.join(_SLAVES)}")
    return line.carry


def _host(line: StreetLine) -> str:
    """The address in the line's `port`, or loopback: IPv6 where there is one."""
    if line.port:
        return line.port.strip("[]")
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind(("::1", 0))
        except OSError:
            return "127.0.0.1"
    return "::1"


def _is_free(line: StreetLine, port: int) -> bool:
    host = _host(line)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True


def _keep_ports(mesh: SimMesh, places: list[StreetMeter], ports_file: Path) -> None:
    ports_file.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({p.serial: mesh.address_of(p.serial)[1] for p in places})
    write_atomically(ports_file, content.encode(), durable=False)  # whoever waits for the file finds it whole


# ---- commands of the control socket --------------------------------------------------------------------------------


def leave(network: NetworkLine, serial: str, words: list[str]) -> str:
    if isinstance(network, SimMesh):
        network.faults.add(Fault(FaultKind.MUTE, serial))
    else:
        network.leave(serial)
    return f"{serial} has left"


def join(network: NetworkLine, serial: str, words: list[str]) -> str:
    values = _numbers("join", words, ("address",))
    if isinstance(network, SimMesh):
        network.faults.clear(serial)
    else:
        network.join(serial, values.get("address"))
    return f"{serial} is there"


def route(network: NetworkLine, serial: str, words: list[str]) -> str:
    values = _numbers("route", words, ("parent", "hops"))
    if isinstance(network, SimMesh) or len(values) < 2:
        raise ConfigError("route", " ".join(words), "write a meter of a coordinator, parent= and hops=")
    network.route(serial, values["parent"], values["hops"])
    return f"{serial} is {values['hops']} hops away"


def loss(network: NetworkLine, words: list[str]) -> str:
    network.habits = replace(network.habits, loss_percent=_number("loss", words))
    return f"{network.habits.loss_percent:g} % are lost"


def slow(network: NetworkLine, words: list[str]) -> str:
    network.habits = replace(network.habits, hop_ms=_number("slow", words))
    return f"a hop takes {network.habits.hop_ms:g} ms"


def restart(network: NetworkLine, words: list[str]) -> str:
    if isinstance(network, SimMesh):
        raise ConfigError("restart", network.name, "write the name of a coordinator line")
    network.restart()
    return "the modem has started anew"


METER_COMMANDS: dict[str, Callable[[NetworkLine, str, list[str]], str]] = {"leave": leave, "join": join, "route": route}
LINE_COMMANDS: dict[str, Callable[[NetworkLine, list[str]], str]] = {"loss": loss, "slow": slow, "restart": restart}


def _numbers(command: str, words: list[str], known: tuple[str, ...]) -> dict[str, int]:
    values: dict[str, int] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known or not value.isdecimal():
            raise ConfigError(command, word, f"write {' and '.join(f'{name}=NUMBER' for name in known)}")
        values[key] = int(value)
    return values


def _number(command: str, words: list[str]) -> float:
    try:
        return float(words[0])
    except (IndexError, ValueError):
        raise ConfigError(command, " ".join(words), "write a line and a number") from None
