"""The COSEM objects of a simulated IS 15959 single-phase smart meter, read from and acting on a `SimMeter`.

* Profiles (class 7) carry their columns (attribute 3), rows with range and entry access (2), period (4), entries (7).
* Buffers carry no scaler; the scaler profiles do, without clock and counters.
* Tables below are the meter's design: column, register scaler and unit, event log by code.

Source: IS 15959 part 2 (single-phase object lists), IEC 62056-6-2 classes 1, 3, 7, 8 and 70.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import ENTRIES, RANGE, AccessResult, Attribute, Result, Selector, attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag, array, octet_string, structure
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, datetime_octets, decode_datetime
from gridtally_edge.simulators.meter import ProfileRow, SimMeter, Snapshot
from gridtally_shared.errors import MeterFault

CLOCK: Final = attribute(8, "0.0.1.0.0.255", 2)
SERIAL: Final = attribute(1, "0.0.96.1.0.255", 2)
DEVICE_NAME: Final = attribute(1, "0.0.42.0.0.255", 2)
SWITCH: Final = attribute(70, "0.0.96.3.10.255", 2)
BALANCE: Final = attribute(1, "0.0.94.96.24.255", 2)
BALANCE_TIME: Final = attribute(1, "0.0.94.96.25.255", 2)
KEPT_MS: Final = 46 * 86_400_000
_WH, _VAH, _W, _VA, _V, _A, _HZ, _COUNT = 30, 31, 27, 28, 35, 33, 44, 255


@dataclass(frozen=True, slots=True)
class Register:
    """A register (class 3): its wire type, scaler and unit, and where its value comes from, in that scaling."""

    target: Attribute
    tag: Tag
    scaler: int
    unit: int
    value: Callable[[Snapshot], int]

    def scaler_unit(self) -> Data:
        return structure(Data(Tag.INT8, self.scaler), Data(Tag.ENUM, self.unit))


@dataclass(frozen=True, slots=True)
class BlockColumn:
    target: Attribute
    tag: Tag
    scaler: int
    unit: int
    value: Callable[[ProfileRow], int]

    def scaler_unit(self) -> Data:
        return structure(Data(Tag.INT8, self.scaler), Data(Tag.ENUM, self.unit))


def _register(obis: str, tag: Tag, scaler: int, unit: int, value: Callable[[Snapshot], int]) -> Register:
    return Register(attribute(3, obis, 2), tag, scaler, unit, value)


def _block(obis: str, tag: Tag, scaler: int, unit: int, value: Callable[[ProfileRow], int]) -> BlockColumn:
    return BlockColumn(attribute(3, obis, 2), tag, scaler, unit, value)


INSTANT: Final = (
    _register("1.0.12.7.0.255", Tag.UINT16, -2, _V, lambda s: s.voltage_mv // 10),
    _register("1.0.11.7.0.255", Tag.UINT16, -2, _A, lambda s: s.current_ma // 10),
    _register("1.0.91.7.0.255", Tag.UINT16, -2, _A, lambda s: s.current_ma // 10),
    _register("1.0.13.7.0.255", Tag.INT16, -3, _COUNT, lambda s: s.power_factor_milli),
    _register("1.0.14.7.0.255", Tag.UINT16, -3, _HZ, lambda s: s.frequency_mhz),
    _register("1.0.9.7.0.255", Tag.UINT32, 0, _VA, lambda s: s.voltage_mv * s.current_ma // 1_000_000),
    _register("1.0.1.7.0.255", Tag.INT32, 0, _W, lambda s: s.power_w),
    _register("1.0.1.8.0.255", Tag.UINT32, 0, _WH, lambda s: s.energy_import_wh),
    _register("1.0.9.8.0.255", Tag.UINT32, 0, _VAH, lambda s: s.apparent_import_vah),
    _register("1.0.1.6.0.255", Tag.UINT32, 0, _W, lambda s: s.demand_max_w),
    _register("1.0.2.8.0.255", Tag.UINT32, 0, _WH, lambda s: s.energy_export_wh),
)
BLOCK: Final = (
    _block("1.0.12.27.0.255", Tag.UINT16, -2, _V, lambda r: r.average_voltage_mv // 10),
    _block("1.0.1.29.0.255", Tag.UINT16, 0, _WH, lambda r: r.import_wh),
    _block("1.0.9.29.0.255", Tag.UINT16, 0, _VAH, lambda r: r.apparent_vah),
    _block("1.0.2.29.0.255", Tag.UINT16, 0, _WH, lambda r: r.export_wh),
    _block("1.0.11.27.0.255", Tag.UINT16, -2, _A, lambda r: r.average_current_ma // 10),
)
EVENT_LOGS: Final = ((0, 1, 50), (1, 51, 100), (2, 101, 150), (3, 151, 200), (4, 201, 250), (5, 251, 300), (6, 301, 350))
"""Log number, first and last event code."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a profile and its time for range access."""

    at_ms: int
    values: Data


@dataclass(frozen=True, slots=True)
class Profile:
    """`rows` gives those of a time range, both ends included; `entry_access_only` refuses range access."""

    columns: tuple[Attribute, ...]
    rows: Callable[[int, int], tuple[Row, ...]]
    period_s: int = 0


class SimObjects:
    """The objects of one meter. `entry_access_only` makes its profiles refuse range access, as some meters do."""

    def __init__(self, meter: SimMeter, rule: ClockRule, entry_access_only: bool = False) -> None:
        self._meter, self._rule, self._entry_access_only = meter, rule, entry_access_only
        self._profiles = {attribute(7, obis, 2).obis: profile for obis, profile in self._profile_table().items()}
        self._registers = {register.target.obis: register for register in INSTANT}
        self._plain: dict[Attribute, Callable[[], Data]] = self._plain_table()

    def get(self, target: Attribute, selector: Selector | None) -> Data | Result:
        if target.class_id == 7 and target.obis in self._profiles:
            return self._read_profile(self._profiles[target.obis], target.index, selector)
        if target.class_id == 3 and target.obis in self._registers:
            return self._read_register(self._registers[target.obis], target.index)
        read = self._plain.get(target)
        if read:
            return read()
        known = any(other.obis == target.obis for other in self._plain)
        return Result(AccessResult.READ_WRITE_DENIED if known else AccessResult.OBJECT_UNDEFINED)

    def set(self, target: Attribute, value: Data) -> Result:
        write = {CLOCK: self._set_clock, BALANCE: self._set_balance, BALANCE_TIME: self._set_balance_time}.get(target)
        if write is None:
            return Result(AccessResult.READ_WRITE_DENIED if target in self._plain else AccessResult.OBJECT_UNDEFINED)
        try:
            write(value)
        except MeterFault:
            return Result(AccessResult.TYPE_UNMATCHED)
        return Result(AccessResult.SUCCESS)

    def act(self, method: Attribute, parameters: Data | None) -> Result:
        """1 disconnects, 2 reconnects. The meter confirms the order; whether the contactor follows shows in its state."""
        if (method.class_id, method.obis) != (SWITCH.class_id, SWITCH.obis) or method.index not in (1, 2):
            return Result(AccessResult.OBJECT_UNDEFINED)
        if self._meter.switch() is SwitchState.NOT_FITTED:
            return Result(AccessResult.OBJECT_UNDEFINED)
        self._meter.operate_switch(method.index == 2)
        return Result(AccessResult.SUCCESS)

    def _read_register(self, register: Register, index: int) -> Data | Result:
        if index == 2:
            return Data(register.tag, register.value(self._meter.snapshot()))
        return register.scaler_unit() if index == 3 else Result(AccessResult.READ_WRITE_DENIED)

    def _read_profile(self, profile: Profile, index: int, selector: Selector | None) -> Data | Result:
        if index == 2:
            return self._read_buffer(profile, selector)
        if index == 3:
            return array(*(_capture_object(column) for column in profile.columns))
        if index == 4:
            return Data(Tag.UINT32, profile.period_s)
        if index in (7, 8):
            return Data(Tag.UINT32, len(self._all_rows(profile)))
        return Result(AccessResult.READ_WRITE_DENIED)

    def _read_buffer(self, profile: Profile, selector: Selector | None) -> Data | Result:
        if selector is None:
            return _buffer(self._all_rows(profile))
        if selector.kind == RANGE and self._entry_access_only:
            return Result(AccessResult.OTHER_REASON)
        select = {RANGE: self._range, ENTRIES: self._entries}.get(selector.kind)
        try:
            return select(profile, selector.parameters) if select else Result(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
        except MeterFault:
            return Result(AccessResult.TYPE_UNMATCHED)

    def _all_rows(self, profile: Profile) -> tuple[Row, ...]:
        now_ms = self._meter.clock_ms()
        return profile.rows(now_ms - KEPT_MS, now_ms)

    def _range(self, profile: Profile, parameters: Data) -> Data:
        items = axdr.items_of(parameters)
        if len(items) != 4:
            raise MeterFault("a range has four parts")
        first, last = (self._moment(item) for item in items[1:3])
        return _buffer(profile.rows(first, last))

    def _entries(self, profile: Profile, parameters: Data) -> Data:
        items = axdr.items_of(parameters)
        if len(items) != 4:
            raise MeterFault("an entry span has four parts")
        first, last = axdr.integer_of(items[0]), axdr.integer_of(items[1])
        return _buffer(self._all_rows(profile)[max(first - 1, 0) : last or None])

    def _moment(self, data: Data) -> int:
        return decode_datetime(axdr.octets_of(data)).utc_ms(self._rule)

    def _time(self, at_ms: int) -> Data:
        return octet_string(datetime_octets(at_ms, self._rule))

    def _set_clock(self, value: Data) -> None:
        self._meter.set_clock(self._moment(value))

    def _set_balance(self, value: Data) -> None:
        self._meter.show_balance(axdr.integer_of(value), self._meter.clock_ms())

    def _set_balance_time(self, value: Data) -> None:
        self._meter.show_balance(self._balance()[0], self._moment(value))

    def _balance(self) -> tuple[int, int]:
        return self._meter.shown_balance() or (0, 0)

    def _plain_table(self) -> dict[Attribute, Callable[[], Data]]:
        serial = self._meter.serial.encode()
        clock = octet_string(CLOCK.obis.value)
        return {
            SERIAL: lambda: octet_string(serial),
            DEVICE_NAME: lambda: octet_string(b"GTY" + serial),
            attribute(8, "0.0.1.0.0.255", 1): lambda: clock,
            CLOCK: lambda: self._time(self._meter.clock_ms()),
            attribute(1, "1.0.0.8.4.255", 2): lambda: Data(Tag.UINT16, self._meter.interval_s),
            **self._switch_table(),
            BALANCE: lambda: Data(Tag.INT32, self._balance()[0]),
            BALANCE_TIME: lambda: self._time(self._balance()[1]),
        }

    def _switch_table(self) -> dict[Attribute, Callable[[], Data]]:
        if self._meter.switch() is SwitchState.NOT_FITTED:
            return {}
        return {
            SWITCH: lambda: Data(Tag.BOOLEAN, int(self._meter.switch() is SwitchState.CLOSED)),
            attribute(70, "0.0.96.3.10.255", 3): lambda: Data(Tag.ENUM, _CONTROL_STATES.get(self._meter.switch(), 0)),
            attribute(70, "0.0.96.3.10.255", 4): lambda: Data(Tag.ENUM, 4),
        }

    def _profile_table(self) -> dict[str, Profile]:
        logs = {f"0.0.99.98.{log}.255": self._event_log(log, first, last) for log, first, last in EVENT_LOGS}
        return {
            "1.0.94.91.0.255": Profile((CLOCK, *(r.target for r in INSTANT)), self._instant_rows),
            "1.0.94.91.3.255": _scaler_profile(INSTANT),
            "1.0.99.1.0.255": Profile((CLOCK, *(c.target for c in BLOCK)), self._block_rows, self._meter.interval_s),
            "1.0.94.91.4.255": _scaler_profile(BLOCK),
            **logs,
        }

    def _instant_rows(self, first_ms: int, last_ms: int) -> tuple[Row, ...]:
        now = self._meter.snapshot()
        values = (Data(register.tag, register.value(now)) for register in INSTANT)
        return (Row(now.at_ms, structure(self._time(self._meter.clock_ms()), *values)),)

    def _block_rows(self, first_ms: int, last_ms: int) -> tuple[Row, ...]:
        return tuple(self._block_row(row) for row in self._meter.profile(first_ms, last_ms))

    def _block_row(self, row: ProfileRow) -> Row:
        values = (Data(column.tag, column.value(row)) for column in BLOCK)
        return Row(row.end_ms, structure(self._time(row.end_ms), *values))

    def _event_log(self, log: int, first_code: int, last_code: int) -> Profile:
        def rows(first_ms: int, last_ms: int) -> tuple[Row, ...]:
            found = sorted(self._meter.events(), key=lambda event: event.at_ms)
            return tuple(
                Row(event.at_ms, structure(self._time(event.at_ms), Data(Tag.UINT16, event.code)))
                for event in found
                if first_code <= event.code <= last_code and first_ms <= event.at_ms <= last_ms
            )

        return Profile((CLOCK, attribute(1, f"0.0.96.11.{log}.255", 2)), rows)


_CONTROL_STATES: Final = {SwitchState.OPEN: 0, SwitchState.CLOSED: 1, SwitchState.ARMED: 2}


def _scaler_profile(columns: tuple[Register, ...] | tuple[BlockColumn, ...]) -> Profile:
    targets = tuple(Attribute(c.target.class_id, c.target.obis, 3) for c in columns)
    row = Row(0, structure(*(column.scaler_unit() for column in columns)))
    return Profile(targets, lambda first_ms, last_ms: (row,))


def _capture_object(column: Attribute) -> Data:
    return structure(
        Data(Tag.UINT16, column.class_id),
        octet_string(column.obis.value),
        Data(Tag.INT8, column.index),
        Data(Tag.UINT16, 0),
    )


def _buffer(rows: tuple[Row, ...]) -> Data:
    return array(*(row.values for row in rows))
