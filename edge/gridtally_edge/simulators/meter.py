"""The world behind a simulated meter, apart from any protocol: what both simulated slaves serve.

`SimMeter` is the seam: `HouseMeter` in house.py implements it; dlms_slave.py and modbus_slave.py serve it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gridtally_edge.drivers.model import MeterEvent, SwitchState


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Momentary values at `at_ms`. Registers are exact integers and never fall."""

    at_ms: int
    energy_import_wh: int
    energy_export_wh: int
    apparent_import_vah: int
    voltage_mv: int
    current_ma: int
    power_w: int
    power_factor_milli: int
    frequency_mhz: int
    demand_max_w: int


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One closed 15-minute block; `end_ms` is the capture time (IS 15959 stamps the END of a block)."""

    end_ms: int
    import_wh: int
    export_wh: int
    apparent_vah: int
    average_voltage_mv: int
    average_current_ma: int


class SimMeter(Protocol):
    serial: str
    interval_s: int

    def snapshot(self) -> Snapshot: ...

    def profile(self, from_ms: int, to_ms: int) -> tuple[ProfileRow, ...]:
        """Rows whose end lies in from_ms..to_ms, both included, oldest first."""
        ...

    def events(self) -> tuple[MeterEvent, ...]: ...

    def clock_ms(self) -> int: ...

    def set_clock(self, utc_ms: int) -> None: ...

    def switch(self) -> SwitchState: ...

    def operate_switch(self, close: bool) -> bool:
        """Order the contactor; False when it is stuck or not fitted. Consumption really stops while it is open."""
        ...

    def show_balance(self, amount_minor: int, at_ms: int) -> None: ...

    def shown_balance(self) -> tuple[int, int] | None: ...
