"""The world behind a simulated meter, apart from any protocol: what both simulated slaves serve.

`SimMeter` is the seam: `HouseMeter` in house.py implements it; dlms_objects.py and modbus_slave.py serve it.
"""

from __future__ import annotations

from typing import Protocol

from gridtally_edge.drivers.model import Diagnostic, MeterEvent, NamePlate, SwitchState
from gridtally_edge.simulators.house_tokens import TokenGateway
from gridtally_shared.meter_settings import ActivityCalendar, AnySetting, Form, ResetKind, SettingKind, SpecialDay
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class PhaseValues:
    """One phase; power and current are its share of the whole."""

    voltage_mv: int
    current_ma: int
    power_w: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Momentary values at `at_ms`. Registers are exact integers and never fall. `phases` has one entry for each phase."""

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
    phases: tuple[PhaseValues, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One closed block of the load profile; `end_ms` is the capture time (IS 15959 stamps the END of a block). `status` has the
    bits of the profile status: 0x20 when the clock was set within the block, 0x80 when the power was off."""

    end_ms: int
    import_wh: int
    export_wh: int
    apparent_vah: int
    average_voltage_mv: int
    average_current_ma: int
    status: int = 0
    phases: tuple[PhaseValues, ...] = ()


CLOCK_ADJUSTED = 0x20
POWER_DOWN = 0x80


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """Registers as they stood at `at_ms`; `rates_wh` are the eight time-of-use registers, demand and power factor those of the
    period."""

    at_ms: int
    import_wh: int
    export_wh: int
    apparent_vah: int
    rates_wh: tuple[int, ...] = ()
    demand_w: int = 0
    demand_at_ms: int = 0
    power_factor_milli: int = 1_000


class SimMeter(Protocol):
    serial: str

    tokens: TokenGateway

    @property
    def interval_s(self) -> int: ...

    @property
    def phases(self) -> int: ...

    @property
    def time_lost(self) -> bool: ...

    def name_plate(self) -> NamePlate: ...

    def snapshot(self) -> Snapshot: ...

    def conditions_at(self, meter_ms: int) -> Snapshot:
        """What was measured at a moment of the meter's own clock."""
        ...

    def profile(self, from_ms: int, to_ms: int) -> tuple[ProfileRow, ...]:
        """Rows whose end lies in from_ms..to_ms, both included, oldest first."""
        ...

    def daily(self, from_ms: int, to_ms: int) -> tuple[RegisterRow, ...]:
        """Registers at the meter's midnights within from_ms..to_ms, both included."""
        ...

    def billing(self, from_ms: int, to_ms: int) -> tuple[RegisterRow, ...]:
        """Registers at the meter's billing moments within from_ms..to_ms, both included."""
        ...

    def registers(self) -> RegisterRow: ...

    def events(self) -> tuple[MeterEvent, ...]: ...

    def report_event(self, code: int, detail: str = "") -> None:
        """Put an event into the meter's log."""
        ...

    def status_bits(self) -> frozenset[int]: ...

    def counts(self) -> Counts: ...

    def clock_ms(self) -> int: ...

    def set_clock(self, utc_ms: int) -> bool:
        """False where the meter refuses."""
        ...

    def switch(self) -> SwitchState: ...

    def arms_on_close(self) -> bool:
        """Whether an order to close only arms the switch, and the meter's button closes it."""
        ...

    def operate_switch(self, close: bool) -> bool:
        """Order the contactor; False when it is stuck or not fitted. Consumption really stops while it is open."""
        ...

    def load_side_mv(self) -> int: ...

    def show_balance(self, amount_minor: int, at_ms: int) -> None: ...

    def shown_balance(self) -> tuple[int, int] | None: ...

    def show_text(self, text: str) -> None: ...

    def shown_text(self) -> str: ...

    def prepaid(self, number: int) -> int: ...

    def set_prepaid(self, number: int, value: int) -> None: ...

    def setting(self, kind: SettingKind) -> AnySetting: ...

    def take_setting(self, setting: AnySetting) -> None: ...

    def waiting_calendar(self) -> ActivityCalendar | None: ...

    def special_days(self) -> tuple[SpecialDay, ...]: ...

    def take_special_days(self, days: tuple[SpecialDay, ...]) -> None: ...

    def form(self) -> Form: ...

    def reset(self, kind: ResetKind) -> None: ...

    def diagnostics(self) -> tuple[Diagnostic, ...]: ...

    def run_diagnostics(self) -> None: ...

    def enter_token(self, token: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters of the meter."""

    power_failures: int
    tampers: int
    billings: int
    programmings: int
    power_off_min: int = 0
    power_on_min: int = 0
    sags: int = 0
    swells: int = 0
