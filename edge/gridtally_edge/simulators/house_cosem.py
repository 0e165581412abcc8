"""The settings, states and scripts of a simulated IS 15959 meter as COSEM attributes and methods.

* Reading gives what is in force; the passive calendar is a draft until its activation time is written, or method 1 called.
* What a meter cannot hold is refused as a wrong type, and nothing changes.

Source: protocols.md 6.3; IEC 62056-6-2 classes 1, 5, 9, 11, 20, 22, 70 and 71.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gridtally_edge.drivers import is15959_codec as codec
from gridtally_edge.drivers import is15959_settings as objects
from gridtally_edge.drivers.is15959_prepaid import MESSAGE
from gridtally_edge.drivers.is15959_values import check_values
from gridtally_edge.drivers.model import DiagnosticState
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, attribute
from gridtally_edge.protocols.dlms.axdr import Bits, Data, Tag, array, octet_string, structure
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.simulators.meter import SimMeter
from gridtally_shared import meter_settings as ms
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.obis import Obis

Get = Callable[[], Data]
Take = Callable[[Data], None]

STATUS_WORD: Final = attribute(1, "0.0.94.91.18.255", 2)
STATUS_BITS: Final = 128
_POWER: Final = attribute(3, "1.0.1.7.0.255", 2)
_SCHEDULES: Final = tuple(Obis.of(f"0.{group}.15.0.4.255") for group in (0, 4))
_FAMILY: Final = "0.0.94.96"
_PREPAID_AMOUNTS: Final = (20, 21, 23)
_PREPAID_TIMES: Final = (22,)
_OWN_SCRIPTS: Final = {objects.TAMPER_SCRIPT: ms.ResetKind.TAMPER, objects.STATUS_SCRIPT: ms.ResetKind.STATUS}


class SettingObjects:
    """`get`, `take` and `call` by attribute or method; `take` and `call` raise MeterFault for what does not fit."""

    def __init__(self, meter: SimMeter, rule: ClockRule) -> None:
        self._meter, self._rule = meter, rule
        self._draft: dict[int, Data] = {}
        self._schedules: dict[Attribute, Data] = {}
        self.get: dict[Attribute, Get] = {}
        self.take: dict[Attribute, Take] = {}
        self.call: dict[Attribute, Take] = {}
        self._add_calendar()
        self._add_numbers()
        self._add_states()
        self._add_prepaid()
        self._add_scripts()

    def _add_calendar(self) -> None:
        for index in range(2, 6):
            self.get[Attribute(20, objects.CALENDAR, index)] = lambda index=index: self._active_part(index)  # type: ignore[misc]
            self._both(Attribute(20, objects.CALENDAR, index + 4), self._passive_getter(index), self._passive_taker(index))
        self._both(Attribute(20, objects.CALENDAR, 10), self._activation, self._activate_at)
        self.call[Attribute(20, objects.CALENDAR, 1)] = lambda data: self._activate(0)
        self._both(
            objects.SPECIAL_DAYS,
            lambda: codec.special_days_data(self._meter.special_days()),
            lambda data: self._meter.take_special_days(codec.special_days_of(data)),
        )

    def _add_numbers(self) -> None:
        self._number(objects.DEMAND_PERIOD, Tag.UINT16, ms.SettingKind.DEMAND_PERIOD, "period_s")
        self._number(objects.DEMAND_WINDOWS, Tag.UINT16, ms.SettingKind.DEMAND_PERIOD, "windows")
        self._number(objects.CAPTURE_PERIOD, Tag.UINT16, ms.SettingKind.CAPTURE_PERIOD, "period_s")
        self._number(objects.LIMIT_THRESHOLD, Tag.UINT32, ms.SettingKind.LOAD_LIMIT, "threshold_w")
        self._number(objects.LIMIT_SECONDS, Tag.UINT32, ms.SettingKind.LOAD_LIMIT, "over_s")
        self._number(objects.SELF_TEST_PERIOD, Tag.UINT32, ms.SettingKind.DIAGNOSTICS_PERIOD, "self_test_s")
        self._number(objects.METROLOGY_PERIOD, Tag.UINT32, ms.SettingKind.DIAGNOSTICS_PERIOD, "metrology_s")
        self._number(attribute(1, f"{_FAMILY}.19.255", 2), Tag.UINT8, ms.SettingKind.METERING_MODE, "mode")
        self._number(objects.PORT_RULE, Tag.ENUM, ms.SettingKind.LOCAL_PORT, "preemption")
        self._number(objects.PORT_SESSIONS, Tag.UINT8, ms.SettingKind.LOCAL_PORT, "sessions")
        self._both(objects.BILLING_DATE, self._billing_date, self._take_billing_date)
        for obis in _SCHEDULES:
            target = Attribute(22, obis, 4)
            self._both(target, lambda target=target: self._schedules.get(target, array()), self._schedule_taker(target))  # type: ignore[misc]

    def _add_states(self) -> None:
        self.get[objects.LIMIT_WATCHES] = lambda: structure(
            Data(Tag.UINT16, _POWER.class_id), octet_string(_POWER.obis.value), Data(Tag.INT8, _POWER.index)
        )
        self.get[objects.FORM] = self._form
        self.get[objects.DIAGNOSTIC_RESULTS] = self._results
        self.get[STATUS_WORD] = self._status_word

    def _add_prepaid(self) -> None:
        for number in _PREPAID_AMOUNTS:
            target = attribute(1, f"{_FAMILY}.{number}.255", 2)
            tag = Tag.UINT8 if number == _PREPAID_AMOUNTS[0] else Tag.INT32
            self._both(target, self._amount_getter(number, tag), self._amount_taker(number))
        for number in _PREPAID_TIMES:
            target = attribute(1, f"{_FAMILY}.{number}.255", 2)
            self._both(target, self._time_getter(number), self._time_taker(number))

        self._both(MESSAGE, lambda: octet_string(self._meter.shown_text().encode("ascii")), self._take_text)

    def _add_scripts(self) -> None:
        self.call[objects.DEMAND_RESET] = lambda data: self._meter.reset(ms.ResetKind.MAXIMUM_DEMAND)
        self.call[objects.OWN_SCRIPTS] = self._run_script

    def _both(self, target: Attribute, get: Get, take: Take) -> None:
        self.get[target], self.take[target] = get, take

    def _number(self, target: Attribute, tag: Tag, kind: ms.SettingKind, name: str) -> None:
        """One number of a setting record."""

        def get() -> Data:
            return Data(tag, int(getattr(self._meter.setting(kind), name)))

        def take(data: Data) -> None:
            now = self._meter.setting(kind)
            changed = replace(now, **{name: axdr.integer_of(data)})  # type: ignore[arg-type]
            self._take(changed, now)

        self._both(target, get, take)

    def _take(self, changed: ms.AnySetting, now: ms.AnySetting) -> None:
        try:
            check_values(changed)
        except RefusedCommand as refused:
            raise MeterFault(str(refused)) from refused
        if changed != now:
            self._meter.take_setting(changed)

    def _active_part(self, index: int) -> Data:
        calendar = self._meter.setting(ms.SettingKind.ACTIVITY_CALENDAR)
        return _calendar_part(calendar, index)

    def _passive_getter(self, index: int) -> Get:
        return lambda: self._draft.get(index) or _calendar_part(self._latest(), index)

    def _passive_taker(self, index: int) -> Take:
        def take(data: Data) -> None:
            _READ_PART[index](data)
            self._draft[index] = data

        return take

    def _latest(self) -> ms.AnySetting:
        return self._meter.waiting_calendar() or self._meter.setting(ms.SettingKind.ACTIVITY_CALENDAR)

    def _activation(self) -> Data:
        waiting = self._meter.waiting_calendar() or self._meter.setting(ms.SettingKind.ACTIVITY_CALENDAR)
        at_ms = waiting.activate_at_ms if isinstance(waiting, ms.ActivityCalendar) else 0
        return codec.moment_data(at_ms, self._rule)

    def _activate_at(self, data: Data) -> None:
        at_ms = codec.moment_of(data, self._rule)
        if at_ms:
            self._activate(at_ms)

    def _activate(self, at_ms: int) -> None:
        values = [self._passive_getter(index)() for index in range(2, 6)]
        calendar = ms.ActivityCalendar(
            codec.name_of(values[0]), codec.seasons_of(values[1]), codec.weeks_of(values[2]), codec.days_of(values[3]), at_ms
        )
        try:
            check_values(calendar)
        except RefusedCommand as refused:
            raise MeterFault(str(refused)) from refused
        self._meter.take_setting(calendar)
        self._draft.clear()

    def _billing_date(self) -> Data:
        setting = self._meter.setting(ms.SettingKind.BILLING_DATE)
        assert isinstance(setting, ms.BillingDate)
        return codec.monthly_data(setting.day, setting.minute)

    def _take_billing_date(self, data: Data) -> None:
        self._take(ms.BillingDate(*codec.monthly_of(data)), self._meter.setting(ms.SettingKind.BILLING_DATE))

    def _schedule_taker(self, target: Attribute) -> Take:
        def take(data: Data) -> None:
            codec.every_of(data)
            self._schedules[target] = data

        return take

    def _form(self) -> Data:
        form = self._meter.form()
        return structure(Data(Tag.UINT8, form.phases), Data(Tag.UINT8, form.wires))

    def _results(self) -> Data:
        return array(
            *(
                structure(
                    Data(Tag.VISIBLE_STRING, found.check.encode()),
                    Data(Tag.ENUM, found.state.value),
                    codec.moment_data(0 if found.state is DiagnosticState.NOT_RUN else found.at_ms, self._rule),
                    Data(Tag.VISIBLE_STRING, found.detail.encode()),
                )
                for found in self._meter.diagnostics()
            )
        )

    def _status_word(self) -> Data:
        word = sum(1 << (STATUS_BITS - 1 - bit) for bit in self._meter.status_bits())
        return Data(Tag.BIT_STRING, Bits(STATUS_BITS, word.to_bytes(STATUS_BITS // 8, "big")))

    def _amount_getter(self, number: int, tag: Tag) -> Get:
        return lambda: Data(tag, self._meter.prepaid(number))

    def _amount_taker(self, number: int) -> Take:
        return lambda data: self._meter.set_prepaid(number, axdr.integer_of(data))

    def _time_getter(self, number: int) -> Get:
        return lambda: codec.moment_data(self._meter.prepaid(number), self._rule)

    def _time_taker(self, number: int) -> Take:
        return lambda data: self._meter.set_prepaid(number, codec.moment_of(data, self._rule))

    def _take_text(self, data: Data) -> None:
        try:
            text = axdr.octets_of(data).decode("ascii")
        except UnicodeDecodeError:
            raise MeterFault("this display has ASCII letters only") from None
        self._meter.show_text(text)

    def _run_script(self, data: Data) -> None:
        script = axdr.integer_of(data)
        if script == objects.DIAGNOSTICS_SCRIPT:
            self._meter.run_diagnostics()
        elif script in _OWN_SCRIPTS:
            self._meter.reset(_OWN_SCRIPTS[script])
        else:
            raise MeterFault(f"no script {script}")


_READ_PART: Final[dict[int, Callable[[Data], object]]] = {
    2: codec.name_of,
    3: codec.seasons_of,
    4: codec.weeks_of,
    5: codec.days_of,
}


def _calendar_part(calendar: ms.AnySetting, index: int) -> Data:
    assert isinstance(calendar, ms.ActivityCalendar)
    parts: dict[int, Callable[[], Data]] = {
        2: lambda: codec.name_data(calendar.name),
        3: lambda: codec.seasons_data(calendar.seasons),
        4: lambda: codec.weeks_data(calendar.weeks),
        5: lambda: codec.days_data(calendar.days),
    }
    return parts[index]()
