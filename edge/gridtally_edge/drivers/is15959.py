"""Indian single-phase smart meter, IS 15959 part 2 (IS 16444), over HDLC: the driver as a table.

* Columns are read from the meter (attribute 3) and matched by OBIS code; the buffer carries no scaler, the scaler
  profile does. A column missing there is asked for its own scaler once.
* Block load stamps are the END of a block; `Reading.at_ms` is its START. The meter's capture period overrides the
  setting, once the profile has been read; a row without a whole time stamp has no place and is left out.
* The switch is the disconnect control 0.0.96.3.10.255; the balance goes to 0.0.94.96.24 and .25, whose base and unit
  are settings since utilities differ (rupee or paisa, .91 or .96).
* Range access first; entries where the meter knows only those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from gridtally_edge.drivers.dlms_table import TableRow, columns_of, quantity_cells, scalers_of, table_rows
from gridtally_edge.drivers.driver import Driver, LineDefaults
from gridtally_edge.drivers.is15959_vectors import VECTORS, read_vector
from gridtally_edge.drivers.model import Capability, MeterEvent, Now, Reading, SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, attribute, entry_selector, range_selector
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.client import AccessDenied, DlmsClient, Login
from gridtally_edge.protocols.dlms.cosem_time import ClockPolicy, ClockRule, datetime_octets, decode_datetime
from gridtally_edge.protocols.dlms.hdlc import Address
from gridtally_edge.protocols.dlms.link import HdlcLink, Timing
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.protocols.dlms.scaling import ScalerUnit, scaler_unit_of
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.lifecycle import Reason
from gridtally_shared.obis import Obis
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_OBIS, Kind

CLOCK: Final = attribute(8, "0.0.1.0.0.255", 2)
SERIAL: Final = attribute(1, "0.0.96.1.0.255", 2)
SWITCH_OUTPUT: Final = attribute(70, "0.0.96.3.10.255", 2)
SWITCH_CONTROL: Final = attribute(70, "0.0.96.3.10.255", 3)
DISCONNECT: Final = attribute(70, "0.0.96.3.10.255", 1)
RECONNECT: Final = attribute(70, "0.0.96.3.10.255", 2)
EVENT_LOGS: Final = tuple(f"0.0.99.98.{log}.255" for log in range(7))
_ORDER: Final = Data(Tag.INT8, 0)
_READY: Final = 2
_EVENT_CODE_GROUP: Final = (0, 0, 96, 11)
_LAST_MS: Final = 4_102_444_799_000
MAX_ENTRIES: Final = 10_000


class Auth(Enum):
    NONE = "none"
    LLS = "lls"


class BalanceFamily(Enum):
    """Where the prepayment objects live: C and D of 0.0.C.D.24."""

    STANDARD = "0.0.94.96"
    OLD = "0.0.94.91"


@dataclass(frozen=True, slots=True)
class Is15959Settings:
    """One meter's settings. `balance_unit_nano` is what one unit of the balance object is worth (10^7: the paisa)."""

    physical_address: int
    logical_address: int = 1
    address_octets: int = 2
    client_address: int = 32
    auth: Auth = Auth.LLS
    password: str = field(default="", repr=False)
    clock_policy: ClockPolicy = ClockPolicy.BLUE_BOOK
    utc_offset_min: int = 330
    interval_s: int = 900
    frame_size: int = 512
    max_pdu: int = 1024
    answer_ms: int = 1_500
    retries: int = 2
    balance_family: BalanceFamily = BalanceFamily.STANDARD
    balance_unit_nano: int = 10_000_000


@dataclass(frozen=True, slots=True)
class ProfileObject:
    """A profile and the profile with its scalers."""

    name: str
    obis: Obis
    scalers: Obis

    def attribute(self, index: int) -> Attribute:
        return Attribute(7, self.obis, index)

    def scaler_attribute(self, index: int) -> Attribute:
        return Attribute(7, self.scalers, index)


INSTANT: Final = ProfileObject("instantaneous", Obis.of("1.0.94.91.0.255"), Obis.of("1.0.94.91.3.255"))
BLOCK_LOAD: Final = ProfileObject("block load", Obis.of("1.0.99.1.0.255"), Obis.of("1.0.94.91.4.255"))


@dataclass(frozen=True, slots=True)
class Layout:
    """What a profile of this meter looks like."""

    columns: tuple[Attribute, ...]
    scalers: dict[Obis, ScalerUnit]


class DlmsPort:
    """A `MeterPort` (drivers/model.py) for one IS 15959 meter. Layouts are read once and kept while the port lives."""

    capabilities = frozenset(Capability)

    def __init__(self, settings: Is15959Settings) -> None:
        self._settings = settings
        self._client = _client(settings)
        self._rule = ClockRule(settings.clock_policy, settings.utc_offset_min)
        self._layouts: dict[Obis, Layout] = {}
        self._no_range: set[Obis] = set()
        self._absent: set[Obis] = set()
        self.interval_s = settings.interval_s

    def open(self) -> Conversation[None]:
        yield from self._client.open()

    def close(self) -> Conversation[None]:
        yield from self._client.close()

    def read_serial(self) -> Conversation[str]:
        return axdr.text_of((yield from self._client.get(SERIAL)))

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        """One GET of the instantaneous profile; the moment is the DCU's when the answer is there."""
        layout = yield from self._layout(INSTANT)
        buffer = yield from self._client.get(INSTANT.attribute(2))
        at_ms = now()
        rows = tuple(self._rows(INSTANT, layout, buffer))
        if len(rows) != 1:
            raise MeterFault(f"the instantaneous profile has {len(rows)} rows")
        return tuple(Reading(quantity.code, at_ms, value) for quantity, value in quantity_cells(rows[0], layout.scalers))

    def read_intervals(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        """All blocks whose START lies in from_ms..to_ms, the end excluded, oldest first."""
        layout = yield from self._block_layout()
        period_ms = self.interval_s * 1_000
        buffer = yield from self._span(BLOCK_LOAD.obis, from_ms + period_ms, to_ms + period_ms, self.interval_s)
        readings = []
        for row in self._rows(BLOCK_LOAD, layout, buffer):
            if row.at_ms is not None and from_ms <= row.at_ms - period_ms < to_ms:
                readings.extend(self._block_readings(row, layout))
        return tuple(sorted(readings, key=lambda reading: reading.at_ms))

    def read_events(self, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        """The entries of all logs the meter has, later than `after_ms`, oldest first."""
        events: list[MeterEvent] = []
        for name in EVENT_LOGS:
            log = Obis.of(name)
            if log not in self._absent:
                events += yield from self._read_log(log, after_ms)
        return tuple(sorted(events, key=lambda event: event.at_ms))

    def read_clock(self) -> Conversation[int]:
        data = yield from self._client.get(CLOCK)
        return decode_datetime(axdr.octets_of(data)).utc_ms(self._rule)

    def write_clock(self, utc_ms: int) -> Conversation[None]:
        yield from self._client.set(CLOCK, axdr.octet_string(datetime_octets(utc_ms, self._rule)))

    def read_switch(self) -> Conversation[SwitchState]:
        try:
            output = yield from self._client.get(SWITCH_OUTPUT)
            control = yield from self._client.get(SWITCH_CONTROL)
        except AccessDenied as denied:
            if denied.undefined:
                return SwitchState.NOT_FITTED
            raise
        if axdr.integer_of(output):
            return SwitchState.CLOSED
        return SwitchState.ARMED if axdr.integer_of(control) == _READY else SwitchState.OPEN

    def open_switch(self) -> Conversation[None]:
        yield from self._operate(DISCONNECT)

    def close_switch(self) -> Conversation[None]:
        yield from self._operate(RECONNECT)

    def write_balance(self, amount_nano: int, at_ms: int) -> Conversation[None]:
        """Show a balance, rounded down to the meter's unit, and the moment it held."""
        amount = amount_nano // self._settings.balance_unit_nano
        if not -(1 << 31) <= amount < 1 << 31:
            raise RefusedCommand(Reason.MALFORMED, f"a balance of {amount} does not fit the meter's display")
        base = self._settings.balance_family.value
        yield from self._client.set(attribute(1, f"{base}.24.255", 2), Data(Tag.INT32, amount))
        moment = axdr.octet_string(datetime_octets(at_ms, self._rule))
        yield from self._client.set(attribute(1, f"{base}.25.255", 2), moment)

    def _operate(self, method: Attribute) -> Conversation[None]:
        try:
            yield from self._client.act(method, _ORDER)
        except AccessDenied as denied:
            reason = Reason.UNSUPPORTED if denied.undefined else Reason.METER_FAULT
            raise RefusedCommand(reason, f"the meter refuses: {denied.result}") from denied

    def _layout(self, profile: ProfileObject) -> Conversation[Layout]:
        known = self._layouts.get(profile.obis)
        if known is None:
            known = yield from self._read_layout(profile)
            self._layouts[profile.obis] = known
        return known

    def _block_layout(self) -> Conversation[Layout]:
        """The block load layout. The meter's own capture period overrides the setting: stamps depend on it."""
        if BLOCK_LOAD.obis not in self._layouts:
            try:
                period_s = axdr.integer_of((yield from self._client.get(BLOCK_LOAD.attribute(4))))
            except AccessDenied:
                period_s = 0
            self.interval_s = period_s if 60 <= period_s <= 86_400 else self.interval_s
        return (yield from self._layout(BLOCK_LOAD))

    def _read_layout(self, profile: ProfileObject) -> Conversation[Layout]:
        columns = columns_of((yield from self._client.get(profile.attribute(3))))
        scalers = yield from self._read_scalers(profile)
        for column in columns:
            if column.class_id == 3 and column.obis in BY_OBIS and column.obis not in scalers:
                own = yield from self._client.get(Attribute(3, column.obis, 3))
                scalers[column.obis] = scaler_unit_of(own)
        return Layout(columns, scalers)

    def _read_scalers(self, profile: ProfileObject) -> Conversation[dict[Obis, ScalerUnit]]:
        try:
            columns = columns_of((yield from self._client.get(profile.scaler_attribute(3))))
            buffer = yield from self._client.get(profile.scaler_attribute(2))
        except AccessDenied as denied:
            if denied.undefined:
                return {}
            raise
        return scalers_of(columns, buffer)

    def _rows(self, profile: ProfileObject, layout: Layout, buffer: Data) -> tuple[TableRow, ...]:
        try:
            return tuple(table_rows(layout.columns, buffer, self._rule, self.interval_s))
        except MeterFault:
            self._layouts.pop(profile.obis, None)
            raise

    def _block_readings(self, row: TableRow, layout: Layout) -> list[Reading]:
        start_ms = (row.at_ms or 0) - self.interval_s * 1_000
        quality = Quality.CLOCK_UNCERTAIN if row.doubtful else Quality.OK
        return [
            Reading(quantity.code, start_ms, value, int(quality))
            for quantity, value in quantity_cells(row, layout.scalers)
            if quantity.kind is Kind.INTERVAL
        ]

    def _span(self, obis: Obis, first_ms: int, last_ms: int, period_s: int) -> Conversation[Data]:
        """The rows of a time span, or more: by range, or by entries where the meter knows only those."""
        buffer = Attribute(7, obis, 2)
        if obis not in self._no_range:
            moments = (axdr.octet_string(datetime_octets(at_ms, self._rule)) for at_ms in (first_ms, last_ms))
            try:
                return (yield from self._client.get(buffer, range_selector(CLOCK, *moments)))
            except AccessDenied as denied:
                if not denied.no_range_access:
                    raise
                self._no_range.add(obis)
        return (yield from self._entries(obis, first_ms, period_s))

    def _entries(self, obis: Obis, first_ms: int, period_s: int) -> Conversation[Data]:
        in_use = axdr.integer_of((yield from self._client.get(Attribute(7, obis, 7))))
        if not in_use:
            return axdr.array()
        wanted = MAX_ENTRIES
        if period_s:
            clock_ms = yield from self.read_clock()
            wanted = max((clock_ms - first_ms) // (period_s * 1_000) + 2, 1)
        first = max(in_use - min(wanted, MAX_ENTRIES) + 1, 1)
        return (yield from self._client.get(Attribute(7, obis, 2), entry_selector(first, in_use)))

    def _read_log(self, log: Obis, after_ms: int) -> Conversation[list[MeterEvent]]:
        try:
            columns = yield from self._log_columns(log)
            buffer = yield from self._span(log, after_ms, _LAST_MS, 0)
        except AccessDenied as denied:
            if not denied.undefined:
                raise
            self._absent.add(log)
            return []
        rows = table_rows(columns, buffer, self._rule, 0)
        return [event for row in rows if (event := _event(row)) and event.at_ms > after_ms]

    def _log_columns(self, log: Obis) -> Conversation[tuple[Attribute, ...]]:
        if log not in self._layouts:
            self._layouts[log] = Layout(columns_of((yield from self._client.get(Attribute(7, log, 3)))), {})
        return self._layouts[log].columns


def _event(row: TableRow) -> MeterEvent | None:
    for cell in row.cells:
        if tuple(cell.column.obis.value[:4]) == _EVENT_CODE_GROUP and row.at_ms is not None:
            return MeterEvent(axdr.integer_of(cell.data), row.at_ms)
    return None


def _client(settings: Is15959Settings) -> DlmsClient:
    server = Address(settings.logical_address, settings.physical_address, settings.address_octets)
    if settings.address_octets == 1:
        server = Address(settings.physical_address)
    sizes = LinkParameters(settings.frame_size, settings.frame_size)
    link = HdlcLink(Address(settings.client_address), server, sizes, Timing(settings.answer_ms, settings.retries))
    mechanism = Mechanism.LLS if settings.auth is Auth.LLS else Mechanism.NONE
    return DlmsClient(link, Login(mechanism, settings.password.encode()), settings.max_pdu)


DRIVER: Final = Driver(
    name="is15959",
    protocol="dlms-hdlc",
    title="Indian single-phase smart meter (IS 16444, IS 15959 part 2)",
    document="IS 15959 part 2:2016, single-phase object lists; IEC 62056-46, -5-3, -6-2",
    settings_type=Is15959Settings,
    make_port=DlmsPort,
    line=LineDefaults(baud=9600),
    vectors=VECTORS,
    read_vector=read_vector,
)
