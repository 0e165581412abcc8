"""The COSEM objects of a simulated IS 15959 smart meter, read from and acting on a `SimMeter`.

* Profiles (class 7) carry their columns (attribute 3), rows with range and entry access (2), period (4), entries (7).
* Buffers carry no scaler; the scaler profiles do, without clock and counters. Single- and three-phase meters differ in columns.
* Columns: house_columns.py; settings, states and scripts: house_cosem.py; rows and selectors: house_profiles.py.

Source: IS 15959 part 2 (object lists), IEC 62056-6-2 classes 1, 3, 4, 7, 8, 70 and 115.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from gridtally_edge.drivers.is15959_codec import moment_data
from gridtally_edge.drivers.model import MeterEvent, NamePlate, SwitchState
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import RANGE, AccessResult, Attribute, Result, Selector, attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag, octet_string, structure
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, datetime_octets, decode_datetime
from gridtally_edge.simulators import house_columns as columns
from gridtally_edge.simulators.dlms_tokens import TokenObjects
from gridtally_edge.simulators.house_columns import Column, Moment
from gridtally_edge.simulators.house_cosem import SettingObjects
from gridtally_edge.simulators.house_profiles import Profile, Row, scaler_profile
from gridtally_edge.simulators.meter import RegisterRow, SimMeter
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis

T = TypeVar("T")

CLOCK: Final = attribute(8, "0.0.1.0.0.255", 2)
SERIAL: Final = attribute(1, "0.0.96.1.0.255", 2)
DEVICE_NAME: Final = attribute(1, "0.0.42.0.0.255", 2)
SWITCH: Final = attribute(70, "0.0.96.3.10.255", 2)
BALANCE: Final = attribute(1, "0.0.94.96.24.255", 2)
BALANCE_TIME: Final = attribute(1, "0.0.94.96.25.255", 2)
LOAD_SIDE: Final = attribute(3, "1.0.12.7.128.255", 2)
BILLING_STAMP: Final = attribute(3, "0.0.0.1.2.255", 2)
DEMAND_TIME: Final = Attribute(4, columns.DEMAND.target.obis, 5)
KEPT_MS: Final = 46 * 86_400_000
EVENT_LOGS: Final = ((0, 1, 50), (1, 51, 100), (2, 101, 150), (3, 151, 200), (4, 201, 250), (5, 251, 300), (6, 301, 350))
"""Log number, first and last event code; codes of the maker (from 1000 on) are in `OWN_LOG`."""
OWN_LOG: Final = 4
SNAPSHOT_LOGS: Final = (0, 1, 4)
_OWN_CODES: Final = 1_000
_SEQUENCE_WRAP: Final = 1 << 16
_BY_BUTTON, _DIRECTLY = 3, 4
"""Control modes: what a reconnect from afar does."""
_CONTROL_STATES: Final = {SwitchState.OPEN: 0, SwitchState.CLOSED: 1, SwitchState.ARMED: 2}
_PLATE: Final[tuple[tuple[str, Callable[[NamePlate], str]], ...]] = (
    ("0.0.96.1.1.255", lambda plate: plate.maker),
    ("0.0.96.1.2.255", lambda plate: plate.device_id),
    ("0.0.96.1.4.255", lambda plate: plate.year),
    ("1.0.0.2.0.255", lambda plate: plate.firmware),
    ("0.0.94.91.9.255", lambda plate: plate.model),
    ("0.0.94.91.11.255", lambda plate: plate.category),
    ("0.0.94.91.12.255", lambda plate: plate.current_rating),
)
NO_TIME: Final = b"\xff" * 11 + b"\x01"
"""What the clock says that has lost the time: every field a wildcard, and invalid."""


class SimObjects:
    """The objects of one meter. `entry_access_only` makes its profiles refuse range access, as some meters do."""

    def __init__(self, meter: SimMeter, rule: ClockRule, entry_access_only: bool = False) -> None:
        self._meter, self._rule, self._entry_access_only = meter, rule, entry_access_only
        three = meter.phases == 3
        self._instant = columns.INSTANT_THREE if three else columns.INSTANT_SINGLE
        self._block = columns.BLOCK_THREE if three else columns.BLOCK_SINGLE
        self._snapshot = columns.SNAPSHOT_THREE if three else columns.SNAPSHOT_SINGLE
        self._settings = SettingObjects(meter, rule)
        self._tokens = TokenObjects(meter, rule)
        self._profiles = {Obis.of(obis): profile for obis, profile in self._profile_table().items()}
        self._registers = self._register_table()
        self._plain: dict[Attribute, Callable[[], Data]] = {**self._plain_table(), **self._settings.get, **self._tokens.get}

    def targets(self) -> tuple[tuple[int, Obis], ...]:
        """Class and name of every object, for the association's object list."""
        found = [(7, obis) for obis in self._profiles]
        found += [(target.class_id, target.obis) for target in (*self._registers, *self._plain, *self._settings.call, *self._tokens.call)]
        return tuple(sorted(set(found), key=str))

    def get(self, target: Attribute, selector: Selector | None) -> Data | Result:
        if target.class_id == 7 and target.obis in self._profiles:
            return self._read_profile(self._profiles[target.obis], target.index, selector)
        read = self._plain.get(target) or self._registers.get(target)
        if read:
            return read()
        return Result(AccessResult.READ_WRITE_DENIED if self._knows(target) else AccessResult.OBJECT_UNDEFINED)

    def set(self, target: Attribute, value: Data) -> Result:
        own = {CLOCK: self._set_clock, BALANCE: self._set_balance, BALANCE_TIME: self._set_balance_time}
        write = own.get(target) or self._settings.take.get(target)
        if write is None:
            return Result(AccessResult.READ_WRITE_DENIED if self._knows(target) else AccessResult.OBJECT_UNDEFINED)
        return _done(write, value)

    def act(self, method: Attribute, parameters: Data | None) -> Result:
        """Of the switch 1 disconnects, 2 reconnects. The meter confirms the order; whether the contactor follows shows in its
        state."""
        call = self._settings.call.get(method) or self._tokens.call.get(method)
        if call:
            return _done(call, parameters or axdr.NULL)
        if (method.class_id, method.obis) != (SWITCH.class_id, SWITCH.obis) or method.index not in (1, 2):
            return Result(AccessResult.OBJECT_UNDEFINED)
        if self._meter.switch() is SwitchState.NOT_FITTED:
            return Result(AccessResult.OBJECT_UNDEFINED)
        self._meter.operate_switch(method.index == 2)
        return Result(AccessResult.SUCCESS)

    def _knows(self, target: Attribute) -> bool:
        return (target.class_id, target.obis) in self.targets()

    def _read_profile(self, profile: Profile, index: int, selector: Selector | None) -> Data | Result:
        if selector and selector.kind == RANGE and self._entry_access_only:
            return Result(AccessResult.OTHER_REASON)
        return profile.read(index, selector, self._rule)

    def _moment(self, data: Data) -> int:
        return decode_datetime(axdr.octets_of(data)).utc_ms(self._rule)

    def _time(self, at_ms: int) -> Data:
        return octet_string(NO_TIME if self._meter.time_lost else datetime_octets(at_ms, self._rule))

    def _set_clock(self, value: Data) -> Result | None:
        taken = self._meter.set_clock(self._moment(value))
        return None if taken else Result(AccessResult.TEMPORARY_FAILURE)

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
            **self._switch_table(),
            **{attribute(1, obis, 2): self._plate_getter(part) for obis, part in _PLATE},
            **{attribute(1, f"0.0.96.15.{log}.255", 2): self._sequence_getter(log) for log, _, _ in EVENT_LOGS},
            BALANCE: lambda: Data(Tag.INT32, self._balance()[0]),
            BALANCE_TIME: lambda: self._time(self._balance()[1]),
        }

    def _plate_getter(self, part: Callable[[NamePlate], str]) -> Callable[[], Data]:
        return lambda: octet_string(part(self._meter.name_plate()).encode())

    def _sequence_getter(self, log: int) -> Callable[[], Data]:
        return lambda: Data(Tag.UINT16, len(self._logged(log)) % _SEQUENCE_WRAP)

    def _switch_table(self) -> dict[Attribute, Callable[[], Data]]:
        if self._meter.switch() is SwitchState.NOT_FITTED:
            return {}
        return {
            SWITCH: lambda: Data(Tag.BOOLEAN, int(self._meter.switch() is SwitchState.CLOSED)),
            attribute(70, "0.0.96.3.10.255", 3): lambda: Data(Tag.ENUM, _CONTROL_STATES.get(self._meter.switch(), 0)),
            attribute(70, "0.0.96.3.10.255", 4): lambda: Data(Tag.ENUM, _BY_BUTTON if self._meter.arms_on_close() else _DIRECTLY),
            LOAD_SIDE: lambda: Data(Tag.UINT16, self._meter.load_side_mv() // 10),
            Attribute(3, LOAD_SIDE.obis, 3): lambda: structure(Data(Tag.INT8, -2), Data(Tag.ENUM, 35)),
        }

    def _register_table(self) -> dict[Attribute, Callable[[], Data]]:
        table: dict[Attribute, Callable[[], Data]] = {}
        for rate in (*columns.REGISTERS, *columns.RATES):
            table |= _readable(rate, self._meter.registers)
        for column in self._instant:
            table |= _readable(column, self._now)
        table[DEMAND_TIME] = lambda: moment_data(self._meter.registers().demand_at_ms, self._rule)
        return table

    def _now(self) -> Moment:
        return Moment(self._meter.snapshot(), self._meter.counts())

    def _profile_table(self) -> dict[str, Profile]:
        daily, billing = columns.REGISTERS, columns.BILLING
        logs = {f"0.0.99.98.{log}.255": self._event_log(log) for log, _, _ in EVENT_LOGS}
        return {
            "1.0.94.91.0.255": Profile((CLOCK, *(c.target for c in self._instant)), self._instant_rows),
            "1.0.94.91.3.255": scaler_profile(self._instant),
            "1.0.99.1.0.255": Profile(
                (CLOCK, *(c.target for c in self._block)), self._block_rows, lambda: self._meter.interval_s
            ),
            "1.0.94.91.4.255": scaler_profile(self._block),
            "1.0.99.2.0.255": Profile((CLOCK, *(c.target for c in daily)), self._daily_rows, lambda: 86_400),
            "1.0.94.91.5.255": scaler_profile(daily),
            "1.0.98.1.0.255": Profile((BILLING_STAMP, *(c.target for c in billing), DEMAND_TIME), self._billing_rows),
            "1.0.94.91.6.255": scaler_profile(billing),
            "1.0.94.91.7.255": scaler_profile(self._snapshot),
            "0.0.94.91.10.255": Profile((SERIAL, *(attribute(1, obis, 2) for obis, _ in _PLATE)), self._plate_rows),
            **logs,
        }

    def _plate_rows(self, first_ms: int, last_ms: int) -> tuple[Row, ...]:
        plate = self._meter.name_plate()
        parts = (octet_string(text.encode()) for text in (plate.serial, *(part(plate) for _, part in _PLATE)))
        return (Row(0, structure(*parts)),)

    def _kept(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        """A time range within what the meter still holds."""
        now_ms = self._meter.clock_ms()
        return max(first_ms, now_ms - KEPT_MS), min(last_ms, now_ms)

    def _instant_rows(self, first_ms: int, last_ms: int) -> tuple[Row, ...]:
        now = self._now()
        values = (column.data(now) for column in self._instant)
        return (Row(now.now.at_ms, structure(self._time(self._meter.clock_ms()), *values)),)

    def _block_rows(self, first_ms: int, last_ms: int) -> tuple[Row, ...]:
        rows = self._meter.profile(*self._kept(first_ms, last_ms))
        return tuple(Row(r.end_ms, structure(self._time(r.end_ms), *(c.data(r) for c in self._block))) for r in rows)

    def _daily_rows(self, first_ms: int, last_ms: int) -> tuple[Row, ...]:
        return tuple(self._register_row(row, columns.REGISTERS) for row in self._meter.daily(*self._kept(first_ms, last_ms)))

    def _billing_rows(self, first_ms: int, last_ms: int) -> tuple[Row, ...]:
        rows = self._meter.billing(max(first_ms, 0), min(last_ms, self._meter.clock_ms()))
        return tuple(self._register_row(row, columns.BILLING, moment_data(row.demand_at_ms, self._rule)) for row in rows)

    def _register_row(self, row: RegisterRow, parts: tuple[Column[RegisterRow], ...], *more: Data) -> Row:
        return Row(row.at_ms, structure(self._time(row.at_ms), *(column.data(row) for column in parts), *more))

    def _logged(self, log: int) -> tuple[MeterEvent, ...]:
        """Everything the meter ever wrote into a log, in the order of writing."""
        _, first_code, last_code = EVENT_LOGS[log]
        return tuple(
            event
            for event in self._meter.events()
            if first_code <= event.code <= last_code or (log == OWN_LOG and event.code >= _OWN_CODES)
        )

    def _event_log(self, log: int) -> Profile:
        taken = self._snapshot if log in SNAPSHOT_LOGS else ()

        def held() -> list[MeterEvent]:
            first_ms = self._meter.clock_ms() - KEPT_MS
            return [event for event in self._logged(log) if event.at_ms >= first_ms]

        def rows(first_ms: int, last_ms: int) -> tuple[Row, ...]:
            return tuple(self._event_row(event, taken) for event in held() if first_ms <= event.at_ms <= last_ms)

        code = attribute(1, f"0.0.96.11.{log}.255", 2)
        return Profile((CLOCK, code, *(c.target for c in taken)), rows, count=lambda: len(held()))

    def _event_row(self, event: MeterEvent, taken: tuple[Column[Moment], ...]) -> Row:
        values: tuple[Data, ...] = ()
        if taken:
            then = Moment(self._meter.conditions_at(event.at_ms), self._meter.counts())
            values = tuple(column.data(then) for column in taken)
        return Row(event.at_ms, structure(self._time(event.at_ms), Data(Tag.UINT16, event.code), *values))


def _readable(column: Column[T], source: Callable[[], T]) -> dict[Attribute, Callable[[], Data]]:
    """Value and, where it has a unit, scaler of one register."""
    scaling = Attribute(column.target.class_id, column.target.obis, 3)
    value: dict[Attribute, Callable[[], Data]] = {column.target: lambda: column.data(source())}
    return value | ({scaling: column.scaler_unit} if column.unit else {})


def _done(work: Callable[[Data], Any], value: Data) -> Result:
    try:
        refused = work(value)
    except MeterFault:
        return Result(AccessResult.TYPE_UNMATCHED)
    return refused if isinstance(refused, Result) else Result(AccessResult.SUCCESS)
