"""Which COSEM objects hold which setting: one row per kind with what to read, how to understand it and what to write.

* Objects in 0.0.96.50.x and the script table 0.0.10.0.128 are manufacturer space: no standard has self-test periods, socket
  form or local-port rules. A meter without them refuses, and the driver says so.
* A calendar is written passive, then its date; special days have no passive part and hold at once.
* A limit is in the unit of the monitored value.

Source: IS 15959 part 2; IEC 62056-6-2 classes 1, 5, 9, 11, 20, 22, 40 and 71.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from gridtally_edge.drivers import is15959_codec as codec
from gridtally_edge.drivers.dlms_table import to_exponent
from gridtally_edge.drivers.model import Diagnostic, DiagnosticState
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag, array, octet_string, structure
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_shared import meter_settings as ms
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.lifecycle import Reason
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

CALENDAR: Final = Obis.of("0.0.13.0.0.255")
SPECIAL_DAYS: Final = attribute(11, "0.0.11.0.0.255", 2)
DEMAND_PERIOD: Final = attribute(1, "1.0.0.8.0.255", 2)
DEMAND_WINDOWS: Final = attribute(5, "1.0.1.4.0.255", 9)
CAPTURE_PERIOD: Final = attribute(1, "1.0.0.8.4.255", 2)
BILLING_DATE: Final = attribute(22, "0.0.15.0.0.255", 4)
LIMIT_WATCHES: Final = attribute(71, "0.0.17.0.0.255", 2)
LIMIT_THRESHOLD: Final = attribute(71, "0.0.17.0.0.255", 4)
LIMIT_SECONDS: Final = attribute(71, "0.0.17.0.0.255", 6)
SELF_TEST_PERIOD: Final = attribute(1, "0.0.96.50.1.255", 2)
METROLOGY_PERIOD: Final = attribute(1, "0.0.96.50.2.255", 2)
PORT_RULE: Final = attribute(1, "0.0.96.50.3.255", 2)
PORT_SESSIONS: Final = attribute(1, "0.0.96.50.4.255", 2)
FORM: Final = attribute(1, "0.0.96.50.5.255", 2)
DIAGNOSTIC_RESULTS: Final = attribute(1, "0.0.96.50.6.255", 2)
DEMAND_RESET: Final = attribute(9, "0.0.10.0.1.255", 1)
OWN_SCRIPTS: Final = attribute(9, "0.0.10.0.128.255", 1)
TAMPER_SCRIPT, STATUS_SCRIPT, DIAGNOSTICS_SCRIPT = 1, 2, 3
INSTANT_PUSH: Final = Obis.of("0.0.25.9.0.255")
_CLOSED_WINDOW: Final = (bytes.fromhex("07d00101ff000000ff800000"), bytes.fromhex("07d00101ff000100ff800000"))
_TCP: Final = 0
_MODERN_YEAR: Final = 2_001


@dataclass(frozen=True, slots=True)
class Context:
    """What the codec must know of the meter: its clock rule, its time now, where its prepayment objects are, the power of ten of a
    watt its limit counts in, and what a unit of its balance is worth."""

    rule: ClockRule
    clock_ms: int = 0
    family: str = "0.0.94.96"
    limit_scaler: int = 0
    balance_unit_nano: int = 1


@dataclass(frozen=True, slots=True)
class Write:
    """One step of writing a setting: SET an attribute, or call a method where `acts`."""

    target: Attribute
    value: Data
    acts: bool = False


@dataclass(frozen=True, slots=True)
class SettingObjects:
    """`reads` may hold objects a meter can lack: those in `optional` then come as None."""

    reads: Callable[[Context], tuple[Attribute, ...]]
    record: Callable[[tuple[Data | None, ...], Context], ms.AnySetting]
    writes: Callable[[Any, Context], tuple[Write, ...]]
    optional: frozenset[Attribute] = frozenset()


def _fixed(*attributes: Attribute) -> Callable[[Context], tuple[Attribute, ...]]:
    return lambda context: attributes


def _integer(value: Data | None, default: int = 0) -> int:
    return default if value is None else axdr.integer_of(value)


def _calendar_attributes() -> tuple[Attribute, ...]:
    return (*(Attribute(20, CALENDAR, index) for index in range(2, 11)), SPECIAL_DAYS)


def _calendar_record(values: tuple[Data | None, ...], context: Context) -> ms.ActivityCalendar:
    """The passive calendar while it waits for its date, else the one in force with the date it began."""
    present = [value or array() for value in values]
    starts_ms = codec.moment_of(present[8], context.rule)
    waits = starts_ms > context.clock_ms
    name, seasons, weeks, days = present[4:8] if waits else present[:4]
    began = waits or present[0] == present[4]
    return ms.ActivityCalendar(
        codec.name_of(name),
        codec.seasons_of(seasons),
        codec.weeks_of(weeks),
        codec.days_of(days),
        starts_ms if began else 0,
        codec.special_days_of(present[9]),
    )


def _calendar_writes(calendar: ms.ActivityCalendar, context: Context) -> tuple[Write, ...]:
    parts = (
        (6, codec.name_data(calendar.name)),
        (7, codec.seasons_data(calendar.seasons)),
        (8, codec.weeks_data(calendar.weeks)),
        (9, codec.days_data(calendar.days)),
        (10, codec.moment_data(calendar.activate_at_ms, context.rule)),
    )
    passive = tuple(Write(Attribute(20, CALENDAR, index), value) for index, value in parts)
    at_once = () if calendar.activate_at_ms else (Write(Attribute(20, CALENDAR, 1), Data(Tag.INT8, 0), True),)
    return (Write(SPECIAL_DAYS, codec.special_days_data(calendar.special_days)), *passive, *at_once)


def _demand_writes(demand: ms.DemandPeriod, context: Context) -> tuple[Write, ...]:
    return Write(DEMAND_PERIOD, Data(Tag.UINT16, demand.period_s)), Write(DEMAND_WINDOWS, Data(Tag.UINT16, demand.windows))


def _limit_record(values: tuple[Data | None, ...], context: Context) -> ms.LoadLimit:
    return ms.LoadLimit(to_exponent(Decimal(_integer(values[0])).scaleb(context.limit_scaler), 0), _integer(values[1]))


def _limit_writes(limit: ms.LoadLimit, context: Context) -> tuple[Write, ...]:
    threshold = Decimal(limit.threshold_w).scaleb(-context.limit_scaler)
    if threshold != int(threshold):
        raise RefusedCommand(Reason.MALFORMED, f"the meter limits in steps of {10**context.limit_scaler} W")
    return Write(LIMIT_THRESHOLD, Data(Tag.UINT32, int(threshold))), Write(LIMIT_SECONDS, Data(Tag.UINT32, limit.over_s))


def watched_value(data: Data | None) -> Attribute:
    """The register a limiter watches. Raises MeterFault."""
    parts = axdr.items_of(data) if data else ()
    if len(parts) != 3 or len(axdr.octets_of(parts[1])) != 6:
        raise MeterFault("a limiter watches class, logical name and attribute")
    return Attribute(axdr.integer_of(parts[0]), Obis(axdr.octets_of(parts[1])), axdr.integer_of(parts[2]))


def push_attributes(obis: Obis) -> tuple[Attribute, ...]:
    """Destination, window, and the schedule of a push (0.0.15.0.4 for group B of the push)."""
    return Attribute(40, obis, 3), Attribute(40, obis, 4), Attribute(22, Obis(bytes((0, obis.value[1], 15, 0, 4, 255))), 4)


def push_record(obis: Obis, values: tuple[Data | None, ...], context: Context) -> ms.PushSetup:
    destination, windows, schedule = values
    address = codec.parts_of(destination, 3, "a push destination")[1] if destination else octet_string(b"")
    every_s = codec.every_of(schedule) if schedule else 0
    return ms.PushSetup(str(obis), axdr.text_of(address), every_s, not _is_closed(windows))


def _is_closed(windows: Data | None) -> bool:
    """The only window ended long ago: our way to switch a push off."""
    pairs = axdr.items_of(windows) if windows else ()
    if len(pairs) != 1:
        return False
    start = axdr.octets_of(codec.parts_of(pairs[0], 2, "a window")[0])
    return int.from_bytes(start[:2], "big") < _MODERN_YEAR


def _push_writes(push: ms.PushSetup, context: Context) -> tuple[Write, ...]:
    destination, window, schedule = push_attributes(Obis.of(push.obis))
    to = structure(Data(Tag.ENUM, _TCP), octet_string(push.destination.encode()), Data(Tag.ENUM, 0))
    closed = array(structure(*(octet_string(moment) for moment in _CLOSED_WINDOW)))
    try:
        times = Write(schedule, codec.every_data(push.every_s))
    except ValueError as error:
        raise RefusedCommand(Reason.MALFORMED, str(error)) from error
    return Write(destination, to), Write(window, array() if push.enabled else closed), times


def _billing_record(values: tuple[Data | None, ...], context: Context) -> ms.BillingDate:
    return ms.BillingDate(*codec.monthly_of(values[0] or array()))


def _form_record(values: tuple[Data | None, ...], context: Context) -> ms.Form:
    phases, wires = (axdr.integer_of(item) for item in codec.parts_of(values[0] or array(), 2, "a form"))
    return ms.Form(phases, wires)


def payment_mode(context: Context) -> Attribute:
    return attribute(1, f"{context.family}.20.255", 2)


def held_credit(context: Context) -> tuple[Attribute, ...]:
    """The balance the meter shows, and the moment it held."""
    return tuple(attribute(1, f"{context.family}.{number}.255", 2) for number in (24, 25))


def _held_record(values: tuple[Data | None, ...], context: Context) -> ms.HeldCredit:
    unit_nano, moment = context.balance_unit_nano, values[1]
    return ms.HeldCredit(_integer(values[0]) * unit_nano, codec.moment_of(moment, context.rule) if moment else 0, unit_nano)


def metering_mode(context: Context) -> Attribute:
    return attribute(1, f"{context.family}.19.255", 2)


_PUSH: Final = push_attributes(INSTANT_PUSH)
SETTINGS: Final[dict[ms.SettingKind, SettingObjects]] = {
    ms.SettingKind.ACTIVITY_CALENDAR: SettingObjects(
        _fixed(*_calendar_attributes()), _calendar_record, _calendar_writes, frozenset({SPECIAL_DAYS})
    ),
    ms.SettingKind.DEMAND_PERIOD: SettingObjects(
        _fixed(DEMAND_PERIOD, DEMAND_WINDOWS),
        lambda v, c: ms.DemandPeriod(_integer(v[0]), _integer(v[1], 1)),
        _demand_writes,
        frozenset({DEMAND_WINDOWS}),
    ),
    ms.SettingKind.CAPTURE_PERIOD: SettingObjects(
        _fixed(CAPTURE_PERIOD),
        lambda v, c: ms.CapturePeriod(_integer(v[0])),
        lambda s, c: (Write(CAPTURE_PERIOD, Data(Tag.UINT16, s.period_s)),),
    ),
    ms.SettingKind.BILLING_DATE: SettingObjects(
        _fixed(BILLING_DATE), _billing_record, lambda s, c: (Write(BILLING_DATE, codec.monthly_data(s.day, s.minute)),)
    ),
    ms.SettingKind.LOAD_LIMIT: SettingObjects(
        _fixed(LIMIT_THRESHOLD, LIMIT_SECONDS), _limit_record, _limit_writes
    ),
    ms.SettingKind.PUSH_SETUP: SettingObjects(
        _fixed(*_PUSH), lambda v, c: push_record(INSTANT_PUSH, v, c), _push_writes, frozenset({_PUSH[2]})
    ),
    ms.SettingKind.DIAGNOSTICS_PERIOD: SettingObjects(
        _fixed(SELF_TEST_PERIOD, METROLOGY_PERIOD),
        lambda v, c: ms.DiagnosticsPeriod(_integer(v[0]), _integer(v[1])),
        lambda s, c: (
            Write(SELF_TEST_PERIOD, Data(Tag.UINT32, s.self_test_s)),
            Write(METROLOGY_PERIOD, Data(Tag.UINT32, s.metrology_s)),
        ),
    ),
    ms.SettingKind.METERING_MODE: SettingObjects(
        lambda c: (metering_mode(c),),
        lambda v, c: ms.MeteringMode(_integer(v[0])),
        lambda s, c: (Write(metering_mode(c), Data(Tag.UINT8, s.mode)),),
    ),
    ms.SettingKind.PAYMENT_MODE: SettingObjects(
        lambda c: (payment_mode(c),),
        lambda v, c: ms.PaymentMode(_integer(v[0])),
        lambda s, c: (Write(payment_mode(c), Data(Tag.UINT8, s.mode)),),
    ),
    ms.SettingKind.LOCAL_PORT: SettingObjects(
        _fixed(PORT_RULE, PORT_SESSIONS),
        lambda v, c: ms.LocalPort(_integer(v[0]), _integer(v[1], 1)),
        lambda s, c: (Write(PORT_RULE, Data(Tag.ENUM, s.preemption)), Write(PORT_SESSIONS, Data(Tag.UINT8, s.sessions))),
    ),
    ms.SettingKind.FORM: SettingObjects(_fixed(FORM), _form_record, lambda s, c: ()),
    ms.SettingKind.HELD_CREDIT: SettingObjects(held_credit, _held_record, lambda s, c: ()),
}


def as_written(found: ms.AnySetting, written: ms.AnySetting | None, clock_ms: int) -> ms.AnySetting:
    """A calendar in force that is the one we wrote keeps the date we wrote: meters report that date in several ways."""
    if not isinstance(found, ms.ActivityCalendar) or not isinstance(written, ms.ActivityCalendar):
        return found
    same = replace(found, activate_at_ms=0) == replace(written, activate_at_ms=0)
    in_force = max(found.activate_at_ms, written.activate_at_ms) <= clock_ms
    return written if same and in_force else found


RESETS: Final[dict[ms.ResetKind, Write]] = {
    ms.ResetKind.MAXIMUM_DEMAND: Write(DEMAND_RESET, Data(Tag.UINT16, 1), True),
    ms.ResetKind.TAMPER: Write(OWN_SCRIPTS, Data(Tag.UINT16, TAMPER_SCRIPT), True),
    ms.ResetKind.STATUS: Write(OWN_SCRIPTS, Data(Tag.UINT16, STATUS_SCRIPT), True),
}
RUN_DIAGNOSTICS: Final = Write(OWN_SCRIPTS, Data(Tag.UINT16, DIAGNOSTICS_SCRIPT), True)


_STATES: Final = {state.value: state for state in DiagnosticState}


def diagnostics_of(data: Data, rule: ClockRule) -> tuple[Diagnostic, ...]:
    """Results as an array of name, state (0 passed, 1 failed, 2 not run), time and detail. Raises MeterFault."""
    found = []
    for item in axdr.items_of(data):
        parts = axdr.items_of(item)
        if len(parts) != 4 or axdr.integer_of(parts[1]) not in _STATES:
            raise MeterFault("a diagnostic result is name, state 0 to 2, time and detail")
        state = _STATES[axdr.integer_of(parts[1])]
        found.append(Diagnostic(axdr.text_of(parts[0]), state, codec.moment_of(parts[2], rule), axdr.text_of(parts[3])))
    return tuple(found)
