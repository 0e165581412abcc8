"""Indian smart meters, IS 15959 part 2 (IS 16444), single- and three-phase, over HDLC or the wrapper: the port.

* Columns are read from the meter, so one port serves both: profiles in is15959_profiles.py, event logs in
  is15959_events.py, settings in is15959_settings.py, associations in is15959_config.py and is15959_session.py.
* The switch is the disconnect control 0.0.96.3.10.255; prepayment values go to 0.0.94.96.19 to .25, whose base and unit
  are settings since utilities differ (rupee or paisa, .91 or .96).
* A setting that was written is read back and must be equal, else NOT_READ_BACK.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.dlms_table import columns_of, quantity_value
from gridtally_edge.drivers.driver import Driver, LineDefaults
from gridtally_edge.drivers.is15959_config import Auth, Is15959Settings, Is15959WrapperSettings, associations
from gridtally_edge.drivers.is15959_events import EventLogs
from gridtally_edge.drivers.is15959_keys import book_name, check_step, keys_of, neighbours, under
from gridtally_edge.drivers.is15959_plate import PLATE, PLATE_PROFILES, is_bare, name_plate_of, plate_of_profile
from gridtally_edge.drivers.is15959_prepaid import (
    Prepaid,
    balance_writes,
    difference,
    prepaid_objects,
    prepaid_of,
    recharge_writes,
    shows_recharge,
    text_write,
)
from gridtally_edge.drivers.is15959_profiles import BILLING, CLOCK, DAILY, Profiles
from gridtally_edge.drivers.is15959_push import hears
from gridtally_edge.drivers.is15959_pushed import PushedValues
from gridtally_edge.drivers.is15959_registers import RegisterMemory
from gridtally_edge.drivers.is15959_session import Session, refusal, value_of
from gridtally_edge.drivers.is15959_settings import (
    DIAGNOSTIC_RESULTS,
    LIMIT_WATCHES,
    RESETS,
    RUN_DIAGNOSTICS,
    SETTINGS,
    Context,
    Write,
    as_written,
    diagnostics_of,
    push_attributes,
    push_record,
    watched_value,
)
from gridtally_edge.drivers.is15959_values import check_values
from gridtally_edge.drivers.is15959_vectors import THREE_PHASE_VECTORS, VECTORS, read_vector
from gridtally_edge.drivers.model import (
    Capability,
    Diagnostic,
    Face,
    MeterEvent,
    NamePlate,
    Now,
    Pushed,
    Reading,
    SwitchState,
    TokenSeen,
)
from gridtally_edge.drivers.token_gateway import ENTER, LOOKS, seen_of, token_data
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, Result, attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.client import AccessDenied, DlmsClient
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, datetime_octets
from gridtally_edge.protocols.dlms.counters import Counters, MemoryCounters
from gridtally_edge.protocols.dlms.key_transfer import transfer_keys
from gridtally_edge.protocols.dlms.scaling import ScalerUnit, scaler_unit_of
from gridtally_shared import meter_settings as ms
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.lifecycle import Reason
from gridtally_shared.obis import Obis
from gridtally_shared.quantities import BY_NAME

__all__ = ["CLOCK", "DRIVER", "THREE_PHASE", "WRAPPER", "Auth", "DlmsPort", "Is15959Settings"]

SWITCH_OUTPUT: Final = attribute(70, "0.0.96.3.10.255", 2)
SWITCH_CONTROL: Final = attribute(70, "0.0.96.3.10.255", 3)
SWITCH_MODE: Final = attribute(70, "0.0.96.3.10.255", 4)
DISCONNECT: Final = attribute(70, "0.0.96.3.10.255", 1)
RECONNECT: Final = attribute(70, "0.0.96.3.10.255", 2)
LOAD_SIDE: Final = attribute(3, "1.0.12.7.128.255", 2)
LOAD_SIDE_SCALING: Final = attribute(3, "1.0.12.7.128.255", 3)
_ORDER: Final = Data(Tag.INT8, 0)
_READY: Final = 2
_ARMING: Final = frozenset({1, 3, 5, 6})
_LOAD_SIDE_VOLTAGE: Final = BY_NAME["load_side_voltage_mv"]


class DlmsPort(BasePort):
    """A `MeterPort` (drivers/model.py) for one IS 15959 meter. Layouts are read once and kept while the port lives.

    `counters` is where invocation counters are kept; without one they start from what the meter's public client tells."""

    capabilities = frozenset(Capability) - {Capability.FIRMWARE}

    def __init__(self, settings: Is15959Settings, counters: Counters | None = None) -> None:
        self._entered = self._settings = settings
        self._rule = ClockRule(settings.clock_policy, settings.utc_offset_min)
        self._written: dict[ms.SettingKind, ms.AnySetting] = {}
        self._behind: tuple[Data | Result, ...] = ()
        self._registers = RegisterMemory()
        self._has_text = True
        self.interval_s = settings.interval_s
        self.keep_counters(counters or MemoryCounters())

    def keep_counters(self, counters: Counters) -> None:
        """Use this book of invocation counters, and the keys it knows of, from the next session on."""
        self._counters = counters
        self._let_in = not self._entered.master_key
        self._take_up(0 if self._let_in else counters.generation_of(book_name(self._entered)))

    def _take_up(self, generation: int) -> None:
        """Keys of this generation from the next session on."""
        self._generation, self._settings = generation, under(self._entered, generation)
        self._session = Session(associations(self._settings, self._counters))
        self._profiles = Profiles(self._session, self._settings, self._rule)
        self._pushes = PushedValues(self._settings, self._rule, self._session, self._profiles, self._counters)
        self._logs = EventLogs(self._session, self._profiles, self._rule)

    def open(self) -> Conversation[None]:
        self._behind = ()
        self._profiles.session_opened()
        try:
            yield from self._session.open()
        except MeterFault:
            if self._let_in or not (yield from self._open_with_others()):
                raise
        if not self._let_in:
            self._let_in = True
            self._counters.keep_generation(book_name(self._entered), self._generation)

    def _open_with_others(self) -> Conversation[bool]:
        """Whether the meter lets us in under keys it may have instead: the answer to a change was lost, or our book is an old one."""
        first = self._generation
        for generation in neighbours(first):
            self._take_up(generation)
            try:
                yield from self._session.open()
            except MeterFault:
                continue
            return True
        self._take_up(first)
        return False

    def close(self) -> Conversation[None]:
        yield from self._session.close()

    def client(self) -> Conversation[DlmsClient]:
        """The open client, for what this driver has no words for (an object asked for from a shell)."""
        return (yield from self._session.read())

    def read_serial(self) -> Conversation[str]:
        return (yield from self._session.read_serial())

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        """One GET of the instantaneous profile; the moment is the DCU's when the answer is there."""
        found = yield from self._profiles.read_instant(now)
        yield from self._pushes.learn()
        return self._registers.judged(found)

    def hears_push(self, data: bytes, at_ms: int) -> Pushed | None:
        """What this meter sends unasked, with its values once their layouts are known; None for another message. Raises
        MeterFault."""
        return self._pushes.hears(data, at_ms)

    def read_intervals(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        """All blocks whose START lies in from_ms..to_ms, the end excluded, oldest first."""
        found = yield from self._profiles.read_blocks(from_ms, to_ms)
        self.interval_s = self._profiles.interval_s
        return found

    def read_daily(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        return (yield from self._profiles.read_registers(DAILY, from_ms, to_ms))

    def read_billing(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        return (yield from self._profiles.read_registers(BILLING, from_ms, to_ms))

    def read_events(self, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        """The entries of all logs the meter has, later than `after_ms` or new in their log, oldest first."""
        return (yield from self._logs.read(after_ms))

    def read_status_word(self, now: Now) -> Conversation[tuple[MeterEvent, ...]]:
        try:
            return (yield from self._logs.read_status(now()))
        except AccessDenied as denied:
            raise refusal(denied, "the status word") from denied

    def read_clock(self) -> Conversation[int]:
        return (yield from self._profiles.read_clock())

    def write_clock(self, utc_ms: int) -> Conversation[None]:
        yield from self._write(Write(CLOCK, axdr.octet_string(datetime_octets(utc_ms, self._rule))))

    def read_name_plate(self) -> Conversation[NamePlate]:
        """From single objects, else from the name plate profile."""
        plate = name_plate_of((yield from self._session.get_all(PLATE)))
        for profile in PLATE_PROFILES if is_bare(plate) else ():
            try:
                columns = columns_of((yield from self._session.get(Attribute(7, profile, 3))))
                return plate_of_profile(columns, (yield from self._session.get(Attribute(7, profile, 2))))
            except AccessDenied as denied:
                if not denied.undefined:
                    raise
        return plate

    def read_switch(self) -> Conversation[SwitchState]:
        output, control, *behind = yield from self._session.get_all((SWITCH_OUTPUT, SWITCH_CONTROL, LOAD_SIDE, LOAD_SIDE_SCALING))
        self._behind = tuple(behind)
        try:
            if axdr.integer_of(value_of(SWITCH_OUTPUT, output)):
                return SwitchState.CLOSED
            ready = axdr.integer_of(value_of(SWITCH_CONTROL, control)) == _READY
        except AccessDenied as denied:
            if denied.undefined:
                return SwitchState.NOT_FITTED
            raise
        return SwitchState.ARMED if ready else SwitchState.OPEN

    def open_switch(self) -> Conversation[None]:
        yield from self._write(Write(DISCONNECT, _ORDER, True))

    def close_switch(self) -> Conversation[None]:
        yield from self._write(Write(RECONNECT, _ORDER, True))

    def arms_on_close(self) -> Conversation[bool]:
        """By the control mode: in these a reconnect from afar leads to "ready for reconnection"."""
        (mode,) = yield from self._session.get_all((SWITCH_MODE,))
        return not isinstance(mode, Result) and axdr.integer_of(mode) in _ARMING

    def read_load_side(self) -> Conversation[int | None]:
        """Taken with the switch state, where that was read just before: nothing was written in between."""
        behind, self._behind = self._behind, ()
        value, scaling = behind or (yield from self._session.get_all((LOAD_SIDE, LOAD_SIDE_SCALING)))
        if isinstance(value, Result) or isinstance(scaling, Result) or value.tag is Tag.NULL:
            return None
        return quantity_value(_LOAD_SIDE_VOLTAGE, value, scaler_unit_of(scaling))

    def write_face(self, face: Face) -> Conversation[None]:
        """Amounts are rounded down to the meter's unit. What reads back otherwise is a fault: the display is wrong then, the money is
        not. The last top-up is written where the meter shows another one."""
        yield from self._write_text(face.text)
        for write in balance_writes(face.balance_nano, face.at_ms, self._settings, self._rule):
            yield from self._write(write)
        seen = yield from self.read_prepaid()
        fault = difference(seen if self._has_text else replace(seen, text=None), face, self._settings)
        if fault:
            raise MeterFault(fault)
        if face.recharge is not None and not shows_recharge(seen, face.recharge, self._settings):
            for write in recharge_writes(face.recharge, self._settings, self._rule):
                yield from self._write(write)

    def _write_text(self, text: str) -> Conversation[None]:
        """A meter that refuses it shows figures only, and is not asked again while this port lives."""
        if not self._has_text:
            return
        try:
            yield from self._write(text_write(text))
        except RefusedCommand:
            self._has_text = False

    def read_prepaid(self) -> Conversation[Prepaid]:
        """What the meter shows of its account."""
        outcomes = yield from self._session.get_all(prepaid_objects(self._settings))
        return prepaid_of(outcomes, self._settings, self._rule)

    def read_setting(self, kind: ms.SettingKind) -> Conversation[ms.AnySetting]:
        """What the meter holds. Of several pushes: the one this port wrote last, else the instant push."""
        written = self._written.get(kind)
        if kind is ms.SettingKind.KEYS:
            return self._keys()
        if isinstance(written, ms.PushSetup):
            return (yield from self._read_push(Obis.of(written.obis)))
        row = SETTINGS[kind]
        context = yield from self._context(kind)
        values = yield from self._values(row.reads(context), row.optional)
        return as_written(row.record(values, context), written, context.clock_ms)

    def write_setting(self, setting: ms.AnySetting) -> Conversation[None]:
        """Write, read back, compare. Raises RefusedCommand(NOT_READ_BACK) where the meter then holds something else."""
        kind = ms.KIND_OF[type(setting)]
        if kind in ms.READ_ONLY:
            raise RefusedCommand(Reason.MALFORMED, f"{kind.name.lower()} can only be read")
        check_values(setting)
        if isinstance(setting, ms.KeyGeneration):
            return (yield from self._change_keys(setting))
        context = yield from self._context(kind)
        yield from self._write_all(SETTINGS[kind].writes(setting, context), SETTINGS[kind].optional, setting)
        self._written[kind] = setting
        found = yield from self.read_setting(kind)
        if found != setting:
            raise RefusedCommand(Reason.NOT_READ_BACK, f"the meter holds {found}")

    def _keys(self) -> ms.KeyGeneration:
        """What the meter has let us in with. Raises RefusedCommand where it has no keys that could be changed."""
        if not self._entered.master_key:
            check_step(self._entered, 0, 1)
        return ms.KeyGeneration(self._generation)

    def _change_keys(self, wanted: ms.KeyGeneration) -> Conversation[None]:
        """Give the meter its next keys under its master key, and be let in with them. Raises RefusedCommand."""
        check_step(self._entered, self._generation, wanted.generation)
        serial = yield from self._session.read_serial()
        client = yield from self._session.change()
        self._let_in = False
        try:
            yield from transfer_keys(client, self._entered.master_key, keys_of(self._entered, wanted.generation))
        except AccessDenied as denied:
            self._let_in = True
            raise refusal(denied, "the new keys") from denied
        yield from self._session.close()
        self._take_up(wanted.generation)
        yield from self.open()
        if (yield from self._session.read_serial()) != serial or self._generation != wanted.generation:
            raise RefusedCommand(Reason.NOT_READ_BACK, f"the meter lets us in with keys of generation {self._generation}")

    def reset(self, kind: ms.ResetKind) -> Conversation[None]:
        yield from self._write(RESETS[kind])

    def read_diagnostics(self) -> Conversation[tuple[Diagnostic, ...]]:
        try:
            return diagnostics_of((yield from self._session.get(DIAGNOSTIC_RESULTS)), self._rule)
        except AccessDenied as denied:
            raise refusal(denied, "diagnostics") from denied

    def run_diagnostics(self) -> Conversation[None]:
        yield from self._write(RUN_DIAGNOSTICS)

    def read_token(self, digits: str) -> Conversation[TokenSeen]:
        """What the token gateway holds, compared with `digits`. Raises RefusedCommand where the meter has none."""
        outcomes = yield from self._session.get_all(LOOKS)
        try:
            values = tuple(value_of(target, outcome) for target, outcome in zip(LOOKS, outcomes, strict=True))
        except AccessDenied as denied:
            raise refusal(denied, "the token gateway") from denied
        return seen_of(values, digits, self._settings.token_form, self._rule)

    def enter_token(self, digits: str) -> Conversation[None]:
        """Hand 20 digits to the meter as they are."""
        yield from self._write(Write(ENTER, token_data(digits, self._settings.token_form), True))

    def _context(self, kind: ms.SettingKind) -> Conversation[Context]:
        context = Context(self._rule, family=self._settings.balance_family.value, balance_unit_nano=self._settings.balance_unit_nano)
        if kind is ms.SettingKind.ACTIVITY_CALENDAR:
            return replace(context, clock_ms=(yield from self.read_clock()))
        if kind is ms.SettingKind.LOAD_LIMIT:
            return replace(context, limit_scaler=(yield from self._limit_scaler()))
        return context

    def _limit_scaler(self) -> Conversation[int]:
        """The power of ten of a watt that the limit counts in. Raises RefusedCommand where the meter does not watch watts."""
        (watched,) = yield from self._values((LIMIT_WATCHES,), frozenset())
        target = watched_value(watched)
        (scaling,) = yield from self._values((Attribute(target.class_id, target.obis, 3),), frozenset())
        unit = scaler_unit_of(scaling) if scaling else ScalerUnit(0, 0)
        if unit.unit_text != "W":
            raise RefusedCommand(Reason.UNSUPPORTED, f"the meter limits {target.obis} in {unit.unit_text}, not watts")
        return unit.scaler

    def _values(self, targets: tuple[Attribute, ...], optional: frozenset[Attribute]) -> Conversation[tuple[Data | None, ...]]:
        values: list[Data | None] = []
        for target in targets:
            try:
                values.append((yield from self._session.get(target)))
            except AccessDenied as denied:
                if target not in optional or not denied.undefined:
                    raise refusal(denied, str(target)) from denied
                values.append(None)
        return tuple(values)

    def _write_all(self, writes: tuple[Write, ...], optional: frozenset[Attribute], setting: ms.AnySetting) -> Conversation[None]:
        for write in writes:
            try:
                yield from self._write(write)
            except RefusedCommand as refused:
                if write.target not in optional or refused.reason != Reason.UNSUPPORTED:
                    raise

    def _read_push(self, obis: Obis) -> Conversation[ms.PushSetup]:
        targets = push_attributes(obis)
        values = yield from self._values(targets, frozenset(targets[2:]))
        return push_record(obis, values, Context(self._rule))

    def _write(self, write: Write) -> Conversation[None]:
        self._behind = ()
        client = yield from self._session.change()
        try:
            if write.acts:
                yield from client.act(write.target, write.value)
            else:
                yield from client.set(write.target, write.value)
        except AccessDenied as denied:
            raise refusal(denied, str(write.target)) from denied


_DOCUMENT: Final = "IS 15959 part 2:2016, object lists; IEC 62056-46, -47, -5-3, -6-2"
DRIVER: Final = Driver(
    name="is15959",
    protocol="dlms-hdlc",
    title="Indian single-phase smart meter (IS 16444, IS 15959 part 2)",
    document=_DOCUMENT,
    settings_type=Is15959Settings,
    make_port=DlmsPort,
    counts=True,
    line=LineDefaults(baud=9600),
    vectors=VECTORS,
    read_vector=read_vector,
    hears=hears,
)
THREE_PHASE: Final = replace(
    DRIVER,
    name="is15959-3ph",
    title="Indian three-phase smart meter (IS 16444, IS 15959 part 2)",
    vectors=THREE_PHASE_VECTORS,
)
WRAPPER: Final = Driver(
    name="is15959-wrapper",
    protocol="dlms-wrapper",
    title="Indian smart meter (IS 16444, IS 15959 part 2) on an IP line",
    document=_DOCUMENT,
    settings_type=Is15959WrapperSettings,
    make_port=DlmsPort,
    counts=True,
    line=LineDefaults(baud=115_200),
    vectors=(*VECTORS, *THREE_PHASE_VECTORS),
    read_vector=read_vector,
    hears=hears,
)
