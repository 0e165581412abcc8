"""Profiles of an IS 15959 meter: their layout, read once, and rows of a time span as readings with quality.

* Columns are read from the meter (attribute 3) and matched by OBIS code; the buffer carries no scaler, the scaler
  profile does. A column missing there is asked for its own scaler once.
* Block load stamps are the END of a block; `Reading.at_ms` is its START. The meter's capture period overrides the
  setting, and is looked at again before each reading: after a change a row is as long as its distance to the row before
  where that is one of the two periods, else it is PARTIAL.
* Range access first; entries where the meter knows only those.
* Quality: doubtful time CLOCK_UNCERTAIN; the profile status gives METER_INVALID, POWER_FAIL and, where the clock was set
  within a block, CLOCK_UNCERTAIN. The same value twice is one reading; two values for one moment are both doubted:
  the later one stays, METER_INVALID. A null cell without a row above, and a row without a whole time, give no reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gridtally_edge.drivers.dlms_table import TableRow, columns_of, quantity_cells, scalers_of, table_rows
from gridtally_edge.drivers.is15959_config import Is15959Settings, StatusColumn
from gridtally_edge.drivers.is15959_session import Session
from gridtally_edge.drivers.model import Now, Reading
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, attribute, entry_selector, range_selector
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.client import AccessDenied
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, datetime_octets, decode_datetime
from gridtally_edge.protocols.dlms.scaling import ScalerUnit, scaler_unit_of
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_OBIS, Kind
from gridtally_shared.records import dataclass

CLOCK: Final = attribute(8, "0.0.1.0.0.255", 2)
MAX_ENTRIES: Final = 10_000
STATUS_COLUMN: Final = Obis.of("0.0.96.10.1.255")
_STATUS_QUALITY: Final = (
    (0x01, Quality.METER_INVALID),
    (0x02, Quality.CLOCK_UNCERTAIN),
    (0x04, Quality.METER_INVALID),
    (0x20, Quality.CLOCK_UNCERTAIN),
    (0x80, Quality.POWER_FAIL),
)
"""Bits of the profile status 0.0.96.10.1: fatal error, clock invalid, data invalid, clock adjusted, power down."""
_SHORTEST_S, _LONGEST_S = 60, 86_400


@dataclass(frozen=True, slots=True)
class ProfileObject:
    """A profile and the profile with its scalers."""

    name: str
    obis: Obis
    scalers: Obis

    def attribute(self, index: int) -> Attribute:
        return Attribute(7, self.obis, index)


def _profile(name: str, obis: str, scalers: str) -> ProfileObject:
    return ProfileObject(name, Obis.of(obis), Obis.of(scalers))


INSTANT: Final = _profile("instantaneous", "1.0.94.91.0.255", "1.0.94.91.3.255")
BLOCK_LOAD: Final = _profile("block load", "1.0.99.1.0.255", "1.0.94.91.4.255")
DAILY: Final = _profile("daily load", "1.0.99.2.0.255", "1.0.94.91.5.255")
LOG_SCALERS: Final = Obis.of("1.0.94.91.7.255")
BILLING: Final = _profile("billing", "1.0.98.1.0.255", "1.0.94.91.6.255")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a profile of this meter looks like."""

    columns: tuple[Attribute, ...]
    scalers: dict[Obis, ScalerUnit]


class Profiles:
    """Profiles of one meter. Layouts are kept while the port lives, and thrown away when rows do not fit them."""

    def __init__(self, session: Session, settings: Is15959Settings, rule: ClockRule) -> None:
        self._session, self._rule = session, rule
        self._reads_status = settings.status_column is StatusColumn.AMR
        self._layouts: dict[Obis, Layout] = {}
        self._no_range: set[Obis] = set()
        self._log_scalers: dict[Obis, ScalerUnit] | None = None
        self.interval_s = settings.interval_s
        self._old_interval_s = 0
        self._period_known = False

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        """One GET of the instantaneous profile. The moment is the DCU's when the answer is there, so the meter's clock is of no
        matter."""
        layout = yield from self._layout(INSTANT)
        buffer = yield from self._session.get(INSTANT.attribute(2))
        at_ms = now()
        return self._instant_of(layout, self._rows(INSTANT, layout, buffer), at_ms)

    def read_blocks(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        """All blocks whose START lies in from_ms..to_ms, the end excluded, oldest first."""
        yield from self._look_at_period()
        layout = yield from self._layout(BLOCK_LOAD)
        longest_ms = max(self.interval_s, self._old_interval_s) * 1_000
        buffer = yield from self.span(BLOCK_LOAD.obis, from_ms, to_ms + longest_ms, self.interval_s)
        found = self._blocks_of(layout, self._rows(BLOCK_LOAD, layout, buffer))
        return tuple(reading for reading in found if from_ms <= reading.at_ms < to_ms)

    def read_registers(self, profile: ProfileObject, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        """Registers at the row stamps of a daily or billing profile within from_ms..to_ms, the end excluded."""
        layout = yield from self._layout(profile)
        buffer = yield from self.span(profile.obis, from_ms, to_ms, 0)
        found = self._registers_of(layout, self._rows(profile, layout, buffer))
        return tuple(reading for reading in found if from_ms <= reading.at_ms < to_ms)

    def learn(self, profile: ProfileObject) -> Conversation[None]:
        """Read the layout, and the period that stamps of blocks depend on, where they are not known."""
        if profile is BLOCK_LOAD:
            yield from self._look_at_period()
        yield from self._layout(profile)

    def known(self, profile: ProfileObject) -> Layout | None:
        """The layout, once it was read."""
        return self._layouts.get(profile.obis)

    def pushed(self, profile: ProfileObject, layout: Layout, buffer: Data, at_ms: int) -> tuple[Reading, ...]:
        """Rows that came unasked, as if they had been asked for; `at_ms` is the moment of instantaneous values. Raises
        MeterFault where they do not fit the layout, which is kept: anybody may send such rows."""
        rows = tuple(table_rows(layout.columns, buffer, self._rule, self.interval_s))
        if profile is INSTANT:
            return self._instant_of(layout, rows, at_ms)
        return self._blocks_of(layout, rows) if profile is BLOCK_LOAD else self._registers_of(layout, rows)

    def take_period(self, period_s: int) -> None:
        """The meter's own capture period, once it is known; stamps depend on it."""
        self._period_known = True
        if not _SHORTEST_S <= period_s <= _LONGEST_S or period_s == self.interval_s:
            return
        if BLOCK_LOAD.obis in self._layouts:
            self._old_interval_s = self.interval_s
        self.interval_s = period_s

    def session_opened(self) -> None:
        """The capture period may have been changed since the last session."""
        self._period_known = False

    def log_layout(self, obis: Obis) -> Conversation[Layout]:
        """Columns of an event log, and the scalers all logs share."""
        if obis not in self._layouts:
            columns = columns_of((yield from self._session.get(Attribute(7, obis, 3))))
            if self._log_scalers is None and len(columns) > 2:
                self._log_scalers = yield from self._read_scalers(LOG_SCALERS)
            self._layouts[obis] = Layout(columns, self._log_scalers or {})
        return self._layouts[obis]

    def span(self, obis: Obis, first_ms: int, last_ms: int, period_s: int) -> Conversation[Data]:
        """The rows of a time span, or more: by range, or by entries where the meter knows only those."""
        buffer = Attribute(7, obis, 2)
        client = yield from self._session.read()
        if obis not in self._no_range:
            moments = (axdr.octet_string(datetime_octets(at_ms, self._rule)) for at_ms in (first_ms, last_ms))
            try:
                return (yield from client.get(buffer, range_selector(CLOCK, *moments)))
            except AccessDenied as denied:
                if not denied.no_range_access:
                    raise
                self._no_range.add(obis)
        return (yield from self._entries(obis, first_ms, period_s))

    def read_clock(self) -> Conversation[int]:
        data = yield from self._session.get(CLOCK)
        return decode_datetime(axdr.octets_of(data)).utc_ms(self._rule)

    def _entries(self, obis: Obis, first_ms: int, period_s: int) -> Conversation[Data]:
        in_use = axdr.integer_of((yield from self._session.get(Attribute(7, obis, 7))))
        if not in_use:
            return axdr.array()
        wanted = MAX_ENTRIES
        if period_s:
            clock_ms = yield from self.read_clock()
            wanted = max((clock_ms - first_ms) // (period_s * 1_000) + 2, 1)
        first = max(in_use - min(wanted, MAX_ENTRIES) + 1, 1)
        client = yield from self._session.read()
        return (yield from client.get(Attribute(7, obis, 2), entry_selector(first, in_use)))

    def _look_at_period(self) -> Conversation[None]:
        if self._period_known:
            return
        try:
            self.take_period(axdr.integer_of((yield from self._session.get(BLOCK_LOAD.attribute(4)))))
        except AccessDenied:
            self._period_known = True

    def _layout(self, profile: ProfileObject) -> Conversation[Layout]:
        known = self._layouts.get(profile.obis)
        if known is None:
            known = yield from self._read_layout(profile)
            self._layouts[profile.obis] = known
        return known

    def _read_layout(self, profile: ProfileObject) -> Conversation[Layout]:
        columns = columns_of((yield from self._session.get(profile.attribute(3))))
        scalers = yield from self._read_scalers(profile.scalers)
        for column in columns:
            if column.class_id in (3, 4) and column.obis in BY_OBIS and column.obis not in scalers:
                own = yield from self._session.get(Attribute(column.class_id, column.obis, 3))
                scalers[column.obis] = scaler_unit_of(own)
        return Layout(columns, scalers)

    def _read_scalers(self, profile: Obis) -> Conversation[dict[Obis, ScalerUnit]]:
        try:
            columns = columns_of((yield from self._session.get(Attribute(7, profile, 3))))
            buffer = yield from self._session.get(Attribute(7, profile, 2))
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

    def _instant_of(self, layout: Layout, rows: tuple[TableRow, ...], at_ms: int) -> tuple[Reading, ...]:
        if len(rows) != 1:
            raise MeterFault(f"the instantaneous profile has {len(rows)} rows")
        quality = int(self._quality(rows[0]) & ~Quality.CLOCK_UNCERTAIN)
        return tuple(Reading(q.code, at_ms, value, quality) for q, value in quantity_cells(rows[0], layout.scalers))

    def _blocks_of(self, layout: Layout, rows: tuple[TableRow, ...]) -> tuple[Reading, ...]:
        placed = self._placed(_in_order(rows))
        return _once_each(r for row, start_ms, partial in placed for r in self._block_readings(row, start_ms, partial, layout))

    def _registers_of(self, layout: Layout, rows: tuple[TableRow, ...]) -> tuple[Reading, ...]:
        return _once_each(
            Reading(quantity.code, row.at_ms, value, int(self._quality(row)))
            for row in rows
            if row.at_ms is not None
            for quantity, value in quantity_cells(row, layout.scalers)
        )

    def _placed(self, rows: tuple[TableRow, ...]) -> Iterator[tuple[TableRow, int, bool]]:
        """Each row with its start and whether it is shorter or longer than a period."""
        periods = {self.interval_s * 1_000, self._old_interval_s * 1_000} - {0}
        above_ms: int | None = None
        for row in rows:
            end_ms = row.at_ms or 0
            gap_ms = end_ms - above_ms if above_ms is not None else 0
            changed = len(periods) > 1 and 0 < gap_ms <= max(periods)
            short = 0 < gap_ms < self.interval_s * 1_000
            length_ms = gap_ms if changed or short else self.interval_s * 1_000
            yield row, end_ms - length_ms, length_ms not in periods
            above_ms = end_ms if gap_ms or above_ms is None else above_ms

    def _block_readings(self, row: TableRow, start_ms: int, partial: bool, layout: Layout) -> Iterator[Reading]:
        quality = self._quality(row) | (Quality.PARTIAL if partial else Quality.OK)
        for quantity, value in quantity_cells(row, layout.scalers):
            if quantity.kind is Kind.INTERVAL:
                yield Reading(quantity.code, start_ms, value, int(quality))

    def _quality(self, row: TableRow) -> Quality:
        quality = Quality.CLOCK_UNCERTAIN if row.doubtful else Quality.OK
        return quality | _status_quality(row) if self._reads_status else quality


def _status_quality(row: TableRow) -> Quality:
    quality = Quality.OK
    for cell in row.cells:
        if cell.column.obis == STATUS_COLUMN and cell.data.tag is not Tag.NULL:
            status = axdr.integer_of(cell.data)
            for bit, flag in _STATUS_QUALITY:
                quality |= flag if status & bit else Quality.OK
    return quality


def _in_order(rows: Iterable[TableRow]) -> tuple[TableRow, ...]:
    """Rows that were never used have neither time nor value. Raises MeterFault for a value without a time: it would be lost."""
    rows = tuple(rows)
    if any(row.at_ms is None and _has_value(row) for row in rows):
        raise MeterFault("a row of a profile holds values and tells no time")
    return tuple(sorted((row for row in rows if row.at_ms is not None), key=lambda row: row.at_ms or 0))


def _has_value(row: TableRow) -> bool:
    return any(isinstance(cell.data.value, int) and cell.data.value for cell in row.cells)


def _once_each(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Oldest first, one reading for a quantity and moment."""
    kept: dict[tuple[int, int], Reading] = {}
    for reading in readings:
        before = kept.get((reading.at_ms, reading.quantity))
        if before is not None and before.value != reading.value:
            reading = Reading(reading.quantity, reading.at_ms, reading.value, reading.quality | int(Quality.METER_INVALID))
        kept[reading.at_ms, reading.quantity] = reading
    return tuple(sorted(kept.values(), key=lambda reading: reading.at_ms))
