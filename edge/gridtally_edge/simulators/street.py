"""A street of simulated meters as data: which meters hang on which line. Read from TOML or JSON, or made by default.

    seed = 2026

    [[lines]]
    name = "dlms-1"                # pty in the run directory; port = "tcp://127.0.0.1:5021" for TCP
    protocol = "dlms"              # or "modbus", "mesh" (each meter its own IP address), "coordinator" (a modem on a pty)
    baud = 9600
    paced = true                   # bytes take the time they take on a real wire

    [[meters]]
    line = "dlms-1"
    serial = "10000001"
    address = 17                   # HDLC physical address, or Modbus unit
    contactor = "works"            # or stuck, welded, none
    [meters.dlms]                  # logins, keys, frames and oddities of a DLMS meter: see dlms_street.py
    scheme = "is15959"

    [[lines]]
    name = "mesh-1"
    protocol = "mesh"              # with carry = "wrapper" or "hdlc"; a coordinator also "4-32", codec = "framed" or "at"
    loss_percent = 2
    hop_ms = 20

A wrong key or value is a ConfigError that says what to write instead.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from gridtally_edge.simulators.dlms_street import DlmsHabits
from gridtally_edge.simulators.house import Contactor
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

T = TypeVar("T")

DEFAULT_SEED = 2026
DLMS_SERIAL, MODBUS_SERIAL, MESH_SERIAL, COORDINATOR_SERIAL = 10_000_000, 20_000_000, 30_000_000, 40_000_000
DLMS_ADDRESS = 16
MOST_HOPS = 4
DRIVERS = {
    "dlms": "is15959", "modbus": "eastron-sdm230", "modbus-tcp": "eastron-sdm230", "mesh": "is15959", "coordinator": "is15959",
    "iec62056-21": "iec62056-21", "mbus": "mbus", "wmbus": "wmbus", "p1": "p1",
    "mode-d": "iec62056-21",
}  # fmt: skip


class StreetProtocol(Enum):
    DLMS = "dlms"
    MODBUS = "modbus"
    MODBUS_TCP = "modbus-tcp"
    MESH = "mesh"
    COORDINATOR = "coordinator"
    IEC62056_21 = "iec62056-21"
    MBUS = "mbus"
    WMBUS = "wmbus"
    P1 = "p1"
    MODE_D = "mode-d"


MODBUS = frozenset({StreetProtocol.MODBUS, StreetProtocol.MODBUS_TCP})


@dataclass(frozen=True, slots=True)
class StreetLine:
    """`port` is empty for a pty named after the line, or `tcp://host:port` (port 0: any free one); for a mesh it is the
    address of its meters, loopback where empty. The fields from `carry` on are for meshes and coordinators, see
    network_street.py; `receiver` and `every_ms` for meters that send by themselves, see metering_street.py."""

    name: str
    protocol: StreetProtocol
    port: str = ""
    baud: int = 9_600
    paced: bool = False
    turnaround_ms: int = 10
    carry: str = "wrapper"
    codec: str = "framed"
    mtu: int = 120
    loss_percent: int = 0
    hop_ms: int = 0
    reorder_ms: int = 0
    receiver: str = "im871a"
    every_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class StreetMeter:
    """`seed` 0 takes one from the street's seed and the meter's place; `password` is for DLMS; `profile` (a
    Modbus model) and `switch` (a relay board beside the meter) are for Modbus, see modbus_street.py; `hops` for networks;
    `medium` and `cipher` for M-Bus, see metering_street.py."""

    line: str
    serial: str
    address: int
    seed: int = 0
    size_percent: int = 100
    pv_w: int = 0
    skew_ms: int = 0
    contactor: Contactor = Contactor.WORKS
    password: str = "ABCD0001"
    profile: str = ""
    switch: str = ""
    hops: int = 1
    dlms: DlmsHabits = field(default_factory=DlmsHabits)
    medium: str = "electricity"
    cipher: str = "mode5"


@dataclass(frozen=True, slots=True)
class Street:
    lines: tuple[StreetLine, ...]
    meters: tuple[StreetMeter, ...]
    seed: int = DEFAULT_SEED
    utc_offset_min: int = 330

    def line(self, name: str) -> StreetLine:
        return next(line for line in self.lines if line.name == name)


def default_street(dlms: int = 12, modbus: int = 12, seed: int = DEFAULT_SEED, mesh: int = 0, coordinator: int = 0) -> Street:
    """One line of each kind that has meters; homes of different sizes, every sixth DLMS home with a solar roof."""
    lines: list[StreetLine] = []
    if dlms:
        lines.append(StreetLine("dlms-1", StreetProtocol.DLMS))
    if modbus:
        lines.append(StreetLine("modbus-1", StreetProtocol.MODBUS))
    if mesh:
        lines.append(StreetLine("mesh-1", StreetProtocol.MESH, loss_percent=2, hop_ms=10, reorder_ms=10))
    if coordinator:
        lines.append(StreetLine("coordinator-1", StreetProtocol.COORDINATOR, baud=115_200, carry="hdlc", hop_ms=10))
    meters = [_dlms_meter(n) for n in range(1, dlms + 1)] + [_modbus_meter(n) for n in range(1, modbus + 1)]
    meters += [_network_meter("mesh-1", MESH_SERIAL, n) for n in range(1, mesh + 1)]
    meters += [_network_meter("coordinator-1", COORDINATOR_SERIAL, n) for n in range(1, coordinator + 1)]
    return checked(Street(tuple(lines), tuple(meters), seed))


def _dlms_meter(number: int) -> StreetMeter:
    pv_w = 3_000 if number % 6 == 0 else 0
    return StreetMeter("dlms-1", str(DLMS_SERIAL + number), DLMS_ADDRESS + number, 0, _size(number), pv_w)


def _modbus_meter(number: int) -> StreetMeter:
    serial = str(MODBUS_SERIAL + number)
    return StreetMeter("modbus-1", serial, number, 0, _size(number), contactor=Contactor.NONE)


def _network_meter(line: str, first_serial: int, number: int) -> StreetMeter:
    """Meters of a network all have the usual HDLC address: their place tells them apart."""
    hops = 1 + (number - 1) % MOST_HOPS
    return StreetMeter(line, str(first_serial + number), DLMS_ADDRESS + number, 0, _size(number), hops=hops)


def _size(number: int) -> int:
    return 60 + 37 * number % 120


def load_street(path: Path) -> Street:
    """A street from a .toml or .json file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        content: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError("street", str(path), f"{error.strerror}: name a readable file") from error
    except ValueError as error:
        raise ConfigError("street", str(path), f"not valid {path.suffix.lstrip('.') or 'TOML'}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError("street", str(path), "needs the tables lines and meters")
    top = {key: value for key, value in content.items() if key not in ("lines", "meters")}
    lines = tuple(_record(StreetLine, "lines", row) for row in _rows(content, "lines"))
    meters = tuple(_record(StreetMeter, "meters", row) for row in _rows(content, "meters"))
    return checked(_record(Street, "street", {**top, "lines": lines, "meters": meters}))


def checked(street: Street) -> Street:
    """The street, or a ConfigError naming the line or meter that cannot be."""
    names = {line.name for line in street.lines}
    for meter in street.meters:
        if meter.line not in names:
            raise ConfigError("meters.line", meter.line, f"write one of the lines: {', '.join(sorted(names))}")
        if (meter.profile or meter.switch) and street.line(meter.line).protocol not in MODBUS:
            raise ConfigError("meters.profile", meter.profile or meter.switch, f"{meter.line} is no Modbus line")
    _refuse_twins("lines.name", (line.name for line in street.lines))
    _refuse_twins("meters.serial", (meter.serial for meter in street.meters))
    _refuse_twins("meters.address", (f"{meter.address} on {meter.line}" for meter in street.meters))
    return street


def _refuse_twins(key: str, values: Iterable[str]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise ConfigError(key, value, "is there twice: every one needs its own")


def _rows(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    rows = content.get(key)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError("street", key, f"needs at least one [[{key}]] table")
    return rows


def _record(kind: type[T], where: str, row: Mapping[str, Any]) -> T:
    hints = get_type_hints(kind)
    for key in row:
        if key not in hints:
            raise ConfigError(f"{where}.{key}", row[key], f"no such key; there are {', '.join(hints)}")
    for one in fields(kind):  # type: ignore[arg-type]
        if one.default is MISSING and one.default_factory is MISSING and one.name not in row:
            raise ConfigError(f"{where}.{one.name}", None, "is needed")
    return kind(**{key: _value(f"{where}.{key}", value, hints[key]) for key, value in row.items()})


def _value(key: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise ConfigError(key, value, f"write one of {', '.join(str(m.value) for m in hint)}") from None
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, dict):
        return _record(hint, key, value)
    if isinstance(hint, type) and type(value) is not hint:
        raise ConfigError(key, value, f"write a value of type {hint.__name__}")
    return value
