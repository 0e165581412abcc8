"""readings.db: what the meters said, and in the same commit the outbox rows that carry it to the cloud.

* One `commit_sweep` is one transaction whatever the number of meters: killed at any moment, a sweep is there with its
  outbox rows, or not at all.
* The first value of an interval stays. The same value again is nothing new; a different one is stored beside it as the
  next version, flagged REVISED, and goes up too. Samples and events that are known already are passed over.
* Meters without a load profile get their intervals from the register samples (polling/forming.py), in the same commit.

Source: architecture.md 5 (Journal); BYPL-1.3; seed 002 (store and forward).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from gridtally_edge.drivers.model import MeterEvent, Reading, SwitchState
from gridtally_edge.journal.blocks import blocks_of
from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.journal.sqlite import transaction
from gridtally_edge.polling.forming import (
    INTERVAL_OF_REGISTER,
    NO_LIMITS,
    RegisterLimits,
    Samples,
    closed_until,
    first_mark,
    form_intervals,
)
from gridtally_edge.polling.gaps import Span
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract import messages as m
from gridtally_shared.events import BY_NAME, event_type
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, Kind
from gridtally_shared.records import dataclass
from gridtally_shared.usage_days import daily_mean

if TYPE_CHECKING:
    from gridtally_edge.journal.days import Household

STATUS_EVERY_MS = MS_PER_HOUR
VALUES_PER_ENTRY = 500
KEEP_SAMPLES_MS = 60 * MS_PER_DAY
KEEP_INTERVALS_MS = 400 * MS_PER_DAY
KEEP_PUSHED_MS = 8 * MS_PER_DAY
KEEP_EVENTS_DAYS = 400
LEAST_EVENTS_DAYS = 45
"""Diagnostic events are kept at least so long (I2NFR5)."""
UNUSABLE = Quality.MISSING | Quality.COMM_ERROR | Quality.METER_INVALID
REGISTER_WENT_BACK = BY_NAME["register_went_back"].code


@dataclass(frozen=True, slots=True)
class MeterState:
    """What is remembered of a meter. `mark_ms`: all intervals before it were asked and answered, or formed.
    `clock_set_ms`: when this DCU last set its clock; `sync_failures` refusals since; `capture_s` the profile's period (0: not
    known)."""

    meter_no: int
    serial: str = ""
    contact_ms: int = 0
    answering: bool = False
    switch: SwitchState = SwitchState.UNKNOWN
    clock_offset_ms: int = 0
    clock_read_ms: int | None = None
    mark_ms: int | None = None
    events_ms: int | None = None
    reported_ms: int = 0
    samples: int = 0
    intervals: int = 0
    clock_set_ms: int | None = None
    sync_failures: int = 0
    capture_s: int = 0


@dataclass(frozen=True, slots=True)
class MeterUpdate:
    """What one poll means for the journal. `state` is the meter's new state but for the counts. `forms_intervals`: the
    meter keeps no load profile. `late`: the intervals fill a gap and travel in the backlog lane. `rows` are (kind, value) of
    daily and billing rows; `push_key` (serial, setup, clock) of what came unasked: stored once."""

    state: MeterState
    interval_ms: int
    readings: tuple[Reading, ...] = ()
    intervals: tuple[Reading, ...] = ()
    events: tuple[MeterEvent, ...] = ()
    forms_intervals: bool = False
    late: bool = False
    limits: RegisterLimits = NO_LIMITS
    rows: tuple[tuple[str, Reading], ...] = ()
    push_key: tuple[str, str, int] | None = None


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """What was new."""

    samples: int = 0
    intervals: int = 0
    revised: int = 0
    events: tuple[m.Event, ...] = ()


class ReadingsJournal:
    """Over the one writer connection of readings.db."""

    def __init__(self, connection: sqlite3.Connection, keep_events_days: int = KEEP_EVENTS_DAYS) -> None:
        self._db = connection
        self._keep_events_ms = keep_events_days * MS_PER_DAY
        self.outbox = Outbox(connection)
        self.states: dict[int, MeterState] = {s.meter_no: s for s in self._load_states()}

    def commit_sweep(self, updates: tuple[MeterUpdate, ...], lane: m.Lane, now_ms: int) -> SweepOutcome:
        """Store everything and queue it in `lane` (late intervals: backlog, urgent events: urgent). One commit."""
        with transaction(self._db):
            sweep = _Sweep(self._db, self.outbox, dict(self.states), lane, now_ms)
            for update in updates:
                sweep.store(update)
            outcome = sweep.queue()
        self.states = sweep.states
        return outcome

    def stored_starts(self, meter_no: int, quantity: int, span: Span) -> frozenset[int]:
        query = "SELECT start_ms FROM interval WHERE meter_no = ? AND quantity = ? AND start_ms >= ? AND start_ms < ?"
        rows = self._db.execute(query, (meter_no, quantity, span.from_ms, span.to_ms))
        return frozenset(row[0] for row in rows)

    def stored_rows(self, meter_no: int, kind: str) -> tuple[int, ...]:
        """Stamps of the daily or billing rows of a meter, ascending."""
        query = "SELECT at_ms FROM profile_row WHERE meter_no = ? AND kind = ? ORDER BY at_ms"
        return tuple(row[0] for row in self._db.execute(query, (meter_no, kind)))

    def meter_seen(self, seen: m.MeterSeen, lane: m.Lane, now_ms: int) -> bool:
        """Propose a meter to the cloud, once for each place it is at. True when it was news."""
        if self.place_of(seen.serial) == (seen.line, seen.address):
            return False
        with transaction(self._db):
            self._db.execute("DELETE FROM meter_seen WHERE serial = ?", (seen.serial,))
            self._db.execute("INSERT OR REPLACE INTO meter_seen VALUES (?, ?, ?)", (seen.line, seen.address, seen.serial))
            self.outbox.append(m.EntryKind.METER_SEEN, seen, lane, now_ms)
        return True

    def place_of(self, serial: str) -> tuple[str, str] | None:
        """Line and address at which this serial was seen last."""
        row = self._db.execute("SELECT line, address FROM meter_seen WHERE serial = ?", (serial,)).fetchone()
        return (row[0], row[1]) if row else None

    def change_is_known(self, change_id: str) -> bool:
        return self._db.execute("SELECT 1 FROM meter_change WHERE change_id = ?", (change_id,)).fetchone() is not None

    def record_change(self, change_id: str, updates: tuple[MeterUpdate, ...], events: tuple[m.Event, ...], now_ms: int) -> None:
        """Closing and opening registers and their events, once for each change, in one commit."""
        with transaction(self._db):
            self._db.execute("INSERT INTO meter_change VALUES (?, ?)", (change_id, now_ms))
            sweep = _Sweep(self._db, self.outbox, dict(self.states), m.Lane.LIVE, now_ms)
            for update in updates:
                sweep.store(update)
            for event in events:
                sweep.store_event(event)
            sweep.queue()
        self.states = sweep.states

    def last_registers(self, meter_no: int) -> tuple[Reading, ...]:
        """The newest stored value of each register of a meter."""
        query = "SELECT quantity, max(at_ms), value, quality FROM sample WHERE meter_no = ? GROUP BY quantity"
        rows = self._db.execute(query, (meter_no,)).fetchall()
        return tuple(Reading(*row) for row in rows if BY_CODE[row[0]].kind is Kind.REGISTER)

    def usual_day_wh(self, of: Household, now_ms: int) -> int | None:
        """What a day usually takes; None before the first whole one."""
        from gridtally_edge.journal.days import recent_days  # it brings the tariff's calendar, which no poll waits for

        return daily_mean(recent_days(self._db, of, now_ms), of.today(now_ms))

    def report_node(self, report: m.NodeReport, lane: m.Lane, now_ms: int) -> None:
        """A node's place has changed (BYPL-11.1)."""
        with transaction(self._db):
            self.outbox.append(m.EntryKind.NODE, report, lane, now_ms)

    def add_event(self, event: m.Event, lane: m.Lane, now_ms: int) -> None:
        """An event the DCU itself noticed."""
        with transaction(self._db):
            sweep = _Sweep(self._db, self.outbox, {}, lane, now_ms)
            sweep.store_event(event)
            sweep.queue()

    def config(self) -> bytes | None:
        """The envelope of the newest configuration."""
        row = self._db.execute("SELECT envelope FROM config").fetchone()
        return bytes(row[0]) if row else None

    def store_config(self, version: int, envelope: bytes) -> None:
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO config VALUES (1, ?, ?)", (version, envelope))

    def prune(self, now_ms: int) -> None:
        """Forget what is older than it must be kept. The outbox has copies of its own."""
        with transaction(self._db):
            self._db.execute("DELETE FROM sample WHERE at_ms < ?", (now_ms - KEEP_SAMPLES_MS,))
            self._db.execute("DELETE FROM interval WHERE start_ms < ?", (now_ms - KEEP_INTERVALS_MS,))
            self._db.execute("DELETE FROM event WHERE at_ms < ?", (now_ms - self._keep_events_ms,))
            self._db.execute("DELETE FROM profile_row WHERE at_ms < ?", (now_ms - KEEP_INTERVALS_MS,))
            self._db.execute("DELETE FROM pushed WHERE heard_ms < ?", (now_ms - KEEP_PUSHED_MS,))
            self.outbox.prune(now_ms)

    def _load_states(self) -> Iterable[MeterState]:
        for row in self._db.execute("SELECT * FROM meter_state ORDER BY meter_no"):
            no, serial, contact, answering, switch, *rest = row
            yield MeterState(no, serial, contact, bool(answering), SwitchState(switch), *rest)


class _Sweep:
    """One transaction in the making."""

    def __init__(
        self, db: sqlite3.Connection, outbox: Outbox, states: dict[int, MeterState], lane: m.Lane, now_ms: int
    ) -> None:
        self._db, self._outbox, self.states, self._lane, self._now_ms = db, outbox, states, lane, now_ms
        self._values: list[m.Value] = []
        self._blocks: dict[m.Lane, list[m.ChannelBlock]] = {lane: [], m.Lane.BACKLOG: []}
        self._events: list[m.Event] = []
        self._statuses: list[m.MeterStatus] = []
        self._intervals = self._revised = 0

    def store(self, update: MeterUpdate) -> None:
        if update.push_key is not None and not self._is_news(update.push_key):
            return
        before = self.states.get(update.state.meter_no, MeterState(update.state.meter_no))
        values = self._store_samples(update) + self._store_rows(update)
        intervals, mark_ms = self._intervals_of(update)
        fresh = self._store_intervals(update, intervals)
        for event in update.events:
            self.store_event(m.Event(before.meter_no, event.code, event.at_ms, event.detail))
        self._note_resets(before.meter_no, fresh if update.forms_intervals else ())
        state = replace(update.state, mark_ms=mark_ms, samples=before.samples + values, intervals=before.intervals + len(fresh))
        self._store_state(before, state)

    def _is_news(self, push_key: tuple[str, str, int]) -> bool:
        row = (*push_key, self._now_ms)
        return self._db.execute("INSERT OR IGNORE INTO pushed VALUES (?, ?, ?, ?)", row).rowcount == 1

    def store_event(self, event: m.Event) -> None:
        row = (event.meter_no, event.at_ms, event.code, event.detail)
        if self._db.execute("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", row).rowcount:
            self._events.append(event)

    def queue(self) -> SweepOutcome:
        put, now_ms = self._outbox.append, self._now_ms
        for first in range(0, len(self._values), VALUES_PER_ENTRY):
            chunk = tuple(self._values[first : first + VALUES_PER_ENTRY])
            put(m.EntryKind.READINGS, m.Readings(chunk), self._lane, now_ms)
        for lane, blocks in self._blocks.items():
            if blocks:
                put(m.EntryKind.INTERVALS, m.Intervals(tuple(blocks)), lane, now_ms)
        for event in sorted(self._events, key=lambda e: event_type(e.code).rank):
            lane = m.Lane.URGENT if event_type(event.code).urgent else self._lane
            put(m.EntryKind.EVENT, event, lane, now_ms)
        for status in self._statuses:
            put(m.EntryKind.METER_STATUS, status, self._lane, now_ms)
        return SweepOutcome(len(self._values), self._intervals, self._revised, tuple(self._events))

    def _store_rows(self, update: MeterUpdate) -> int:
        """Daily and billing values are samples at their own moments; their stamps tell which rows are there."""
        for stamp in {(update.state.meter_no, kind, r.at_ms) for kind, r in update.rows}:
            self._db.execute("INSERT OR IGNORE INTO profile_row VALUES (?, ?, ?)", stamp)
        return self._store_readings(update, tuple(r for _, r in update.rows))

    def _store_samples(self, update: MeterUpdate) -> int:
        return self._store_readings(update, update.readings)

    def _store_readings(self, update: MeterUpdate, readings: tuple[Reading, ...]) -> int:
        stored = 0
        for r in readings:
            row = (update.state.meter_no, r.quantity, r.at_ms, r.value, r.quality)
            if self._db.execute("INSERT OR IGNORE INTO sample VALUES (?, ?, ?, ?, ?)", row).rowcount:
                self._values.append(m.Value(*row))
                stored += 1
        return stored

    def _intervals_of(self, update: MeterUpdate) -> tuple[tuple[Reading, ...], int | None]:
        if not update.forms_intervals:
            return update.intervals, update.state.mark_ms
        mark_ms = update.state.mark_ms
        usable = [r for r in update.readings if r.quantity in INTERVAL_OF_REGISTER and not r.quality & UNUSABLE]
        last_ms = max((r.at_ms for r in usable), default=0)
        registers = sorted({r.quantity for r in usable})
        if not registers:
            return (), mark_ms
        if mark_ms is None:
            return (), first_mark(last_ms, update.interval_ms)
        until_ms = closed_until(mark_ms, last_ms, update.interval_ms)
        formed: list[Reading] = []
        for register in registers:
            samples = self._samples(update.state.meter_no, register, mark_ms)
            formed += form_intervals(samples, mark_ms, until_ms, update.interval_ms, update.limits)
        return tuple(formed), until_ms

    def _samples(self, meter_no: int, register: int, mark_ms: int) -> Samples:
        query = """WITH usable AS (
                SELECT at_ms, value FROM sample WHERE meter_no = ? AND quantity = ? AND quality & ? = 0)
            SELECT at_ms, value FROM usable
            WHERE at_ms >= coalesce((SELECT max(at_ms) FROM usable WHERE at_ms <= ?), ?) ORDER BY at_ms"""
        rows = self._db.execute(query, (meter_no, register, int(UNUSABLE), mark_ms, mark_ms)).fetchall()
        return Samples(register, [row[0] for row in rows], [row[1] for row in rows])

    def _store_intervals(self, update: MeterUpdate, intervals: tuple[Reading, ...]) -> tuple[Reading, ...]:
        fresh = tuple(r for r in (self._store_interval(update, reading) for reading in intervals) if r is not None)
        blocks = blocks_of(update.state.meter_no, fresh, update.interval_ms)
        self._blocks[m.Lane.BACKLOG if update.late else self._lane] += blocks
        self._intervals += len(fresh)
        return fresh

    def _store_interval(self, update: MeterUpdate, reading: Reading) -> Reading | None:
        """What was stored: the first value, or a new version of it; None for one that is known."""
        key = (update.state.meter_no, reading.quantity, reading.at_ms)
        query = "SELECT version, value, quality FROM interval WHERE meter_no = ? AND quantity = ? AND start_ms = ?"
        known = self._db.execute(query, key).fetchall()
        if any((value, quality & ~Quality.REVISED) == (reading.value, reading.quality) for _, value, quality in known):
            return None
        if known:
            reading = replace(reading, quality=reading.quality | Quality.REVISED)
            self._revised += 1
        row = (*key, len(known), update.interval_ms // 1000, reading.value, reading.quality, self._now_ms)
        self._db.execute("INSERT INTO interval VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return reading

    def _note_resets(self, meter_no: int, formed: tuple[Reading, ...]) -> None:
        for reading in formed:
            if reading.quality & Quality.RESET:
                self.store_event(m.Event(meter_no, REGISTER_WENT_BACK, reading.at_ms, f"quantity {reading.quantity}"))

    def _store_state(self, before: MeterState, state: MeterState) -> None:
        changed = (before.answering, before.switch) != (state.answering, state.switch)
        if changed or self._now_ms - before.reported_ms >= STATUS_EVERY_MS:
            state = replace(state, reported_ms=self._now_ms)
            self._statuses.append(
                m.MeterStatus(state.meter_no, state.contact_ms, state.answering, state.switch.value, state.clock_offset_ms)
            )
        self.states[state.meter_no] = state
        self._db.execute(_PUT_STATE, _row(state))


_PUT_STATE = f"INSERT OR REPLACE INTO meter_state VALUES ({', '.join('?' * 15)})"


def _row(s: MeterState) -> tuple[object, ...]:
    return (
        s.meter_no, s.serial, s.contact_ms, int(s.answering), s.switch.value, s.clock_offset_ms, s.clock_read_ms,
        s.mark_ms, s.events_ms, s.reported_ms, s.samples, s.intervals, s.clock_set_ms, s.sync_failures, s.capture_s,
    )  # fmt: skip
