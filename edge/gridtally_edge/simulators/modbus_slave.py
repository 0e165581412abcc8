"""A simulated Eastron meter on Modbus RTU: bytes in, bytes out, no I/O.

* Serves the input registers (function 4) and the few holding registers (function 3) an SDM meter has; a cell inside
  the map that this meter does not measure reads 0.0, one outside it gets exception 2.
* At most 80 registers a request, from an even address, as the maker's documents ask; otherwise exceptions 3 and 2.
* Hears everything on the line, answers only what carries its own unit and a valid CRC, and finds a request again after
  noise, half a request or other meters' answers. A broadcast gets no answer.

Source: Eastron SDM120, SDM230 and SDM630 Modbus protocol documents; MODBUS over Serial Line 1.02.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import field

from gridtally_edge.protocols.modbus import EXCEPTION_BIT, with_crc
from gridtally_edge.simulators.meter import SimMeter, Snapshot
from gridtally_edge.simulators.rtu_ear import RtuEar
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

MAX_REGISTERS = 80
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
SERIAL_ADDRESS = 0xFC00
METER_CODE = 0x0002_0000
INPUT_RANGES = ((0x0000, 0x010A), (0x0156, 0x017E))
HOLDING_RANGES = ((0x0000, 0x0058), (SERIAL_ADDRESS, SERIAL_ADDRESS + 4))


def _apparent_va(s: Snapshot) -> float:
    return s.voltage_mv * s.current_ma / 1e6


def _reactive_var(s: Snapshot) -> float:
    return math.sqrt(max(0.0, _apparent_va(s) ** 2 - s.power_w**2))


def _reactive_kvarh(s: Snapshot) -> float:
    return math.sqrt(max(0, s.apparent_import_vah**2 - s.energy_import_wh**2)) / 1e3


INPUT_CELLS: dict[int, Callable[[Snapshot], float]] = {
    0x0000: lambda s: s.voltage_mv / 1e3,
    0x0006: lambda s: s.current_ma / 1e3,
    0x000C: lambda s: float(s.power_w),
    0x0012: _apparent_va,
    0x0018: _reactive_var,
    0x001E: lambda s: s.power_factor_milli / 1e3,
    0x002A: lambda s: s.voltage_mv / 1e3,
    0x0030: lambda s: s.current_ma / 1e3,
    0x0034: lambda s: float(s.power_w),
    0x0038: _apparent_va,
    0x003C: _reactive_var,
    0x003E: lambda s: s.power_factor_milli / 1e3,
    0x0046: lambda s: s.frequency_mhz / 1e3,
    0x0048: lambda s: s.energy_import_wh / 1e3,
    0x004A: lambda s: s.energy_export_wh / 1e3,
    0x004C: _reactive_kvarh,
    0x0050: lambda s: s.apparent_import_vah / 1e3,
    0x0054: lambda s: float(s.power_w),
    0x0056: lambda s: float(s.demand_max_w),
    0x0156: lambda s: (s.energy_import_wh + s.energy_export_wh) / 1e3,
    0x0158: _reactive_kvarh,
    0x015A: lambda s: s.energy_import_wh / 1e3,
    0x0160: lambda s: s.energy_export_wh / 1e3,
}


@dataclass(slots=True)
class ModbusSlave:
    """One meter at one unit address (1..247). Its serial must be a number below 2**32, as the real register holds."""

    unit: int
    meter: SimMeter
    _ear: RtuEar = field(init=False)

    def __post_init__(self) -> None:
        self._ear = RtuEar(self.unit)
        if not 1 <= self.unit <= 247:
            raise ConfigError("meter.address", self.unit, "a Modbus unit is 1..247")
        if not self.meter.serial.isdecimal() or int(self.meter.serial) >= 1 << 32:
            raise ConfigError("meter.serial", self.meter.serial, "an Eastron serial is a number below 4294967296")

    def receive(self, data: bytes) -> bytes:
        """Whatever the line carried; the answer to the last request for this unit, or nothing."""
        answer = b""
        for frame in self._ear.requests(data):
            answer = self._answer(frame)
        return answer

    def _answer(self, frame: bytes) -> bytes:
        function, address, count = struct.unpack(">xBHH", frame[:6])
        if function not in (3, 4):
            return self._exception(function, ILLEGAL_FUNCTION)
        if not 1 <= count <= MAX_REGISTERS:
            return self._exception(function, ILLEGAL_VALUE)
        ranges = INPUT_RANGES if function == 4 else HOLDING_RANGES
        if address % 2 or not any(low <= address and address + count <= high for low, high in ranges):
            return self._exception(function, ILLEGAL_ADDRESS)
        image = self._input(address, count) if function == 4 else self._holding(address, count)
        return with_crc(struct.pack(">BBB", self.unit, function, 2 * count) + image)

    def _exception(self, function: int, code: int) -> bytes:
        return with_crc(bytes((self.unit, function | EXCEPTION_BIT, code)))

    def _input(self, address: int, count: int) -> bytes:
        snapshot = self.meter.snapshot()
        cells = (INPUT_CELLS.get(a, _nothing)(snapshot) for a in range(address, address + count, 2))
        return b"".join(struct.pack(">f", value) for value in cells)[: 2 * count]

    def _holding(self, address: int, count: int) -> bytes:
        image = {
            0x0014: struct.pack(">f", self.unit),
            0x001C: struct.pack(">f", 2.0),
            SERIAL_ADDRESS: struct.pack(">I", int(self.meter.serial)),
            SERIAL_ADDRESS + 2: struct.pack(">I", METER_CODE),
        }
        return b"".join(image.get(a, bytes(4)) for a in range(address, address + count, 2))[: 2 * count]


def _nothing(_snapshot: Snapshot) -> float:
    return 0.0
