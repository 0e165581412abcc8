"""A simulated meter of any Modbus profile: the house's values put into the profile's own registers.

* Serves the cells of the profile, its serial number and its model number, and zeros in the holes a request may span;
  everything else gets exception 2, a request that is too long exception 3, another function exception 1.
* A value the house does not have is served as the meter's mark for "not available" (NaN for floats).
* Three-phase models share the house's load over the phases, so that the phases add up to the total.
* A pulse module counts whole pulses of the house's consumption, as a gas, water or heat meter would give them.

Source: the profile; MODBUS Application Protocol 1.1b3.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import field
from fractions import Fraction

from gridtally_edge.drivers.modbus_profile import Profile
from gridtally_edge.drivers.modbus_table import UNITS, Register, SerialCell, SerialForm
from gridtally_edge.protocols.modbus import Function, encode_value
from gridtally_edge.simulators.meter import SimMeter, Snapshot
from gridtally_edge.simulators.rtu_ear import RtuEar, answer_of, exception_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.quantities import Kind as QuantityKind
from gridtally_shared.records import dataclass

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
MILLI_PER_PULSE = 10
WH_PER_LITRE = 20
PHASE_STEP_MV = 700


def _apparent_va(s: Snapshot) -> float:
    return s.voltage_mv * s.current_ma / 1e6


def _reactive_var(s: Snapshot) -> float:
    return math.sqrt(max(0.0, _apparent_va(s) ** 2 - s.power_w**2))


def _reactive_varh(s: Snapshot) -> float:
    return math.sqrt(max(0, s.apparent_import_vah**2 - s.energy_import_wh**2))


def _share(total: int, phase: int) -> int:
    """A third of the total; the first phase carries what does not divide."""
    third = total // 3
    return total - 2 * third if phase == 0 else third


VALUES: dict[str, Callable[[Snapshot], float]] = {
    "energy_import_wh": lambda s: s.energy_import_wh,
    "energy_export_wh": lambda s: s.energy_export_wh,
    "apparent_import_vah": lambda s: s.apparent_import_vah,
    "reactive_import_varh": _reactive_varh,
    "reactive_export_varh": lambda s: 0,
    "voltage_mv": lambda s: s.voltage_mv,
    "current_ma": lambda s: s.current_ma,
    "power_w": lambda s: s.power_w,
    "apparent_va": _apparent_va,
    "reactive_var": _reactive_var,
    "power_factor_milli": lambda s: s.power_factor_milli,
    "frequency_mhz": lambda s: s.frequency_mhz,
    "demand_max_w": lambda s: s.demand_max_w,
    "voltage_thd_permille": lambda s: 10 + s.voltage_mv % 17,
    "voltage_l1_mv": lambda s: s.voltage_mv,
    "voltage_l2_mv": lambda s: s.voltage_mv - PHASE_STEP_MV,
    "voltage_l3_mv": lambda s: s.voltage_mv + PHASE_STEP_MV,
    "current_l1_ma": lambda s: _share(s.current_ma, 0),
    "current_l2_ma": lambda s: _share(s.current_ma, 1),
    "current_l3_ma": lambda s: _share(s.current_ma, 2),
    "power_l1_w": lambda s: _share(s.power_w, 0),
    "power_l2_w": lambda s: _share(s.power_w, 1),
    "power_l3_w": lambda s: _share(s.power_w, 2),
    "water_volume_l": lambda s: s.energy_import_wh // WH_PER_LITRE,
    "gas_volume_l": lambda s: s.energy_import_wh // WH_PER_LITRE,
    "heat_energy_wh": lambda s: s.energy_import_wh,
}
"""What the house says of a quantity, in the quantity's own integer."""


@dataclass(slots=True)
class ProfileSlave:
    """One meter at one unit address (1..247)."""

    unit: int
    meter: SimMeter
    profile: Profile
    _ear: RtuEar = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.unit <= 247:
            raise ConfigError("meter.address", self.unit, "a Modbus unit is 1..247")
        cell = self.profile.table.serial
        if cell:
            serial_words(cell, self.meter.serial)
        self._ear = RtuEar(self.unit)

    def receive(self, data: bytes) -> bytes:
        """Whatever the line carried; the answer to the last request for this unit, or nothing."""
        answer = b""
        for frame in self._ear.requests(data):
            answer = self._answer(frame)
        return answer

    def _answer(self, frame: bytes) -> bytes:
        function, address, count = struct.unpack(">xBHH", frame[:6])
        cells = self._cells(function) if function in set(Function) else {}
        if not cells:
            return exception_of(self.unit, function, ILLEGAL_FUNCTION)
        if not 1 <= count <= self.profile.table.max_registers:
            return exception_of(self.unit, function, ILLEGAL_VALUE)
        if not self._serves(cells, address, count):
            return exception_of(self.unit, function, ILLEGAL_ADDRESS)
        words = [cells.get(at, 0) for at in range(address, address + count)]
        return answer_of(self.unit, struct.pack(f">BB{count}H", function, 2 * count, *words))

    def _serves(self, cells: dict[int, int], address: int, count: int) -> bool:
        """A request may begin and end at a cell, and span holes as the profile does."""
        hole = 0
        for at in range(address, address + count):
            hole = 0 if at in cells else hole + 1
            if hole > self.profile.table.max_hole:
                return False
        return address in cells and address + count - 1 in cells

    def _cells(self, function: int) -> dict[int, int]:
        cells: dict[int, int] = {}
        table, snapshot = self.profile.table, self.meter.snapshot()
        probe, serial = table.probe, table.serial
        if probe and probe.values and probe.function == function:
            _put(cells, probe.address, encode_value(min(probe.values), probe.kind, probe.order))
        if serial and serial.function == function:
            _put(cells, serial.address, serial_words(serial, self.meter.serial))
        for row in table.registers:
            if row.function == function:
                _put(cells, row.address, self._words(row, snapshot))
        return cells

    def _words(self, row: Register, snapshot: Snapshot) -> tuple[int, ...]:
        value = VALUES.get(row.quantity)
        raw: float | None = None if value is None else self._raw(row, Fraction(value(snapshot)))
        try:
            return encode_value(_absent(row) if raw is None else raw, row.kind, row.order)
        except struct.error:
            return encode_value(_absent(row), row.kind, row.order)

    def _raw(self, row: Register, value: Fraction) -> float:
        in_unit = value * Fraction(10) ** BY_NAME[row.quantity].exponent / UNITS[row.unit][1]
        weight = Fraction(MILLI_PER_PULSE, 1_000) if self.profile.pulse else 1
        raw = (in_unit - row.offset) / (row.scale * weight)
        if row.kind.is_float:
            return float(raw)
        counts = BY_NAME[row.quantity].kind is QuantityKind.REGISTER
        return math.floor(raw) if counts else round(raw)


def serial_words(cell: SerialCell, serial: str) -> tuple[int, ...]:
    """A serial number in the form of its cell. Raises ConfigError when the cell can not hold it."""
    room = 2 * cell.words
    try:
        octets = _SERIAL_OCTETS[cell.form](serial, room)
    except (ValueError, OverflowError):
        raise ConfigError("meter.serial", serial, f"this model keeps a {cell.form.value} of {room} octets") from None
    if len(octets) != room:
        raise ConfigError("meter.serial", serial, f"this model keeps a {cell.form.value} of {room} octets")
    ordered = bytearray(room)
    for place, octet in zip(cell.order.places(cell.words), octets, strict=True):
        ordered[place] = octet
    return struct.unpack(f">{cell.words}H", ordered)


_SERIAL_OCTETS: dict[SerialForm, Callable[[str, int], bytes]] = {
    SerialForm.NUMBER: lambda serial, room: int(serial).to_bytes(room, "big"),
    SerialForm.TEXT: lambda serial, room: serial.encode("ascii").ljust(room, b"\0"),
    SerialForm.HEX: lambda serial, room: bytes.fromhex(serial).rjust(room, b"\0"),
}


def _absent(row: Register) -> float:
    if row.kind.is_float:
        return math.nan
    return max(row.absent_marks, default=0)


def _put(cells: dict[int, int], address: int, words: tuple[int, ...]) -> None:
    cells.update(zip(range(address, address + len(words)), words, strict=True))
