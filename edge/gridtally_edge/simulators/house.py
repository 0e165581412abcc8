"""`HouseMeter`: a simulated electricity meter on a simulated home; what `SimMeter` asks for, apart from any protocol.

* Everything is a function of seed, time and the logged operations; nothing runs in the background, so virtual time may
  run a thousand times faster and a kill -9 cannot make a register go back.
* An open contactor really stops consumption. STUCK refuses its order; WELDED says "open" and lets current through.
* A load-profile row is the difference of the register at its two ends, so the rows always add up to the register.
* The meter's own clock may be off; rows and events carry its time. Setting it moves later rows only.
"""

from __future__ import annotations

import math
import random
import threading
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import pairwise
from pathlib import Path

from gridtally_edge.drivers.model import MeterEvent, SwitchState
from gridtally_edge.simulators.house_log import Act, HouseLog, Operation
from gridtally_edge.simulators.household import MS_PER_MINUTE, Home, LoadCurve
from gridtally_edge.simulators.meter import ProfileRow, Snapshot
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, Clock
from gridtally_shared.events import BY_NAME

WMS_PER_WH = MS_PER_HOUR
INTERVAL_S = 900
LINE_MILLIOHM = 350
DISCONNECTED = BY_NAME["supply_disconnected"].code
CONNECTED = BY_NAME["supply_connected"].code
CLOCK_WAS_SET = BY_NAME["clock_set"].code


class Contactor(Enum):
    WORKS = "works"
    STUCK = "stuck"
    WELDED = "welded"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class HouseSettings:
    """One simulated meter. It is born `history_days` before its first start, so a profile is there at once."""

    serial: str
    seed: int
    size_percent: int = 100
    pv_w: int = 0
    utc_offset_min: int = 330
    skew_ms: int = 0
    contactor: Contactor = Contactor.WORKS
    history_days: int = 60


@dataclass(frozen=True, slots=True)
class Outage:
    """The contactor kept current off from `from_ms` on; `imported` and `exported` had been drawn by the curve then,
    `lost_*` is what earlier outages kept back (all in watt-milliseconds)."""

    from_ms: int
    is_open: bool
    imported: int
    exported: int
    lost_import: int
    lost_export: int


class HouseMeter:
    """Implements `SimMeter`. Safe for the line's thread and a control thread at once."""

    interval_s = INTERVAL_S

    def __init__(self, settings: HouseSettings, clock: Clock, state: Path | None = None) -> None:
        self.serial = settings.serial
        self.settings = settings
        self._clock = clock
        self._lock = threading.RLock()
        self._latest_ms = clock.now_ms()
        self._log = HouseLog(state, settings.serial, _birth_ms(settings, self._latest_ms))
        own = random.Random(f"meter {settings.seed}")
        self._start_wh, self._pf_milli = own.randrange(50_000, 9_000_000), own.randrange(880, 990)
        home = Home(settings.seed, settings.size_percent, settings.pv_w)
        self._curve = LoadCurve(home, self._log.born_ms, settings.utc_offset_min)
        self._switched: list[Outage] = []
        self._skews: list[tuple[int, int]] = [(0, settings.skew_ms)]
        self._demand = (-1, 0, 0)
        self._jammed = settings.contactor is Contactor.STUCK
        self._latest_ms = max(self._latest_ms, max(o.at_ms for o in self._log.operations if o.act is not Act.BALANCE))
        for operation in self._log.operations:
            self._apply(operation)

    def close(self) -> None:
        self._log.close()

    def snapshot(self) -> Snapshot:
        with self._lock:
            now_ms = self._now_ms()
            imported, exported = self._energy(now_ms)
            power_w = self._curve.watts(now_ms) if self._conducts() else 0
            voltage_mv, current_ma = self._supply(now_ms, power_w)
            return Snapshot(
                at_ms=now_ms + self._skews[-1][1],
                energy_import_wh=self._start_wh + imported // WMS_PER_WH,
                energy_export_wh=exported // WMS_PER_WH,
                apparent_import_vah=self._apparent(imported) + self._start_wh,
                voltage_mv=voltage_mv,
                current_ma=current_ma,
                power_w=power_w,
                power_factor_milli=self._pf_milli if power_w else 1_000,
                frequency_mhz=50_000 + int(30 * math.sin(now_ms / 97_000)) + _jitter(0, now_ms, 10),
                demand_max_w=self._demand_max(now_ms),
            )

    def registers_at(self, at_ms: int) -> tuple[int, int]:
        """Import and export register in Wh as they stood at a moment that is over."""
        with self._lock:
            imported, exported = self._energy(min(at_ms, self._now_ms()))
            return self._start_wh + imported // WMS_PER_WH, exported // WMS_PER_WH

    def profile(self, from_ms: int, to_ms: int) -> tuple[ProfileRow, ...]:
        with self._lock:
            step_ms = INTERVAL_S * 1_000
            first = max(-(-from_ms // step_ms), self._log.born_ms // step_ms + 1)
            last = min(to_ms, self._furthest_ms()) // step_ms
            marks = [(n * step_ms, self._crossing_ms(n * step_ms)) for n in range(first - 1, last + 1)]
            return tuple(self._row(end, t0, t1) for (_, t0), (end, t1) in pairwise(marks))

    def events(self) -> tuple[MeterEvent, ...]:
        with self._lock:
            found: list[MeterEvent] = []
            skew_ms = self.settings.skew_ms
            for operation in self._log.operations:
                skew_ms = operation.value if operation.act is Act.CLOCK_SET else skew_ms
                code = operation.value if operation.act is Act.EVENT else _EVENT_CODES.get(operation.act, 0)
                if code:
                    found.append(MeterEvent(code, operation.at_ms + skew_ms, operation.text))
            return tuple(found)

    def clock_ms(self) -> int:
        with self._lock:
            return self._now_ms() + self._skews[-1][1]

    def set_clock(self, utc_ms: int) -> None:
        with self._lock:
            now_ms = self._now_ms()
            self._do(Operation(Act.CLOCK_SET, now_ms, utc_ms - now_ms))

    def switch(self) -> SwitchState:
        with self._lock:
            if self.settings.contactor is Contactor.NONE:
                return SwitchState.NOT_FITTED
            return SwitchState.OPEN if self._says_open() else SwitchState.CLOSED

    def operate_switch(self, close: bool) -> bool:
        with self._lock:
            if self._jammed or self.settings.contactor is Contactor.NONE:
                return False
            if close is self._says_open():
                self._do(Operation(Act.CLOSED if close else Act.OPENED, self._now_ms()))
            return True

    def jam(self, stuck: bool) -> None:
        """Make the contactor refuse its orders from now on, or follow them again."""
        self._jammed = stuck

    def report_event(self, code: int, detail: str = "") -> None:
        """Put an event (cover opened, magnet, ...) into the meter's log, as an installer or a test asks for it."""
        with self._lock:
            self._do(Operation(Act.EVENT, self._now_ms(), code, detail))

    def show_balance(self, amount_minor: int, at_ms: int) -> None:
        with self._lock:
            self._do(Operation(Act.BALANCE, at_ms, amount_minor))

    def shown_balance(self) -> tuple[int, int] | None:
        with self._lock:
            shown = next((o for o in reversed(self._log.operations) if o.act is Act.BALANCE), None)
            return (shown.value, shown.at_ms) if shown else None

    def _now_ms(self) -> int:
        self._latest_ms = max(self._latest_ms, self._clock.now_ms())
        return self._latest_ms

    def _do(self, operation: Operation) -> None:
        """On disk first, then in force."""
        self._log.append(operation)
        self._apply(operation)

    def _apply(self, operation: Operation) -> None:
        if operation.act in (Act.OPENED, Act.CLOSED):
            self._switched.append(self._outage(operation.at_ms, operation.act is Act.OPENED))
        elif operation.act is Act.CLOCK_SET:
            self._skews.append((operation.at_ms, operation.value))

    def _outage(self, at_ms: int, is_open: bool) -> Outage:
        imported, exported = self._curve.energy(at_ms)
        used_import, used_export = self._energy(at_ms)
        return Outage(at_ms, is_open, imported, exported, imported - used_import, exported - used_export)

    def _says_open(self) -> bool:
        return bool(self._switched) and self._switched[-1].is_open

    def _conducts(self) -> bool:
        return not self._says_open() or self.settings.contactor is Contactor.WELDED

    def _energy(self, at_ms: int) -> tuple[int, int]:
        """Import and export that passed the contactor since birth, in watt-milliseconds."""
        imported, exported = self._curve.energy(at_ms)
        if self.settings.contactor is Contactor.WELDED:
            return imported, exported
        index = bisect_right(self._switched, at_ms, key=lambda o: o.from_ms) - 1
        if index < 0:
            return imported, exported
        change = self._switched[index]
        if change.is_open:
            return change.imported - change.lost_import, change.exported - change.lost_export
        return imported - change.lost_import, exported - change.lost_export

    def _apparent(self, imported_wms: int) -> int:
        return imported_wms * 1_000 // self._pf_milli // WMS_PER_WH

    def _supply(self, at_ms: int, power_w: int) -> tuple[int, int]:
        """Voltage (mV) and current (mA) under a load: the line's resistance pulls the voltage down."""
        day_part = (at_ms % MS_PER_DAY) / MS_PER_DAY
        free_mv = 231_000 + int(2_500 * math.sin(2 * math.pi * day_part + self.settings.seed))
        free_mv += _jitter(self.settings.seed, at_ms, 400)
        current_ma = power_w * 1_000_000_000 // (free_mv * self._pf_milli)
        voltage_mv = free_mv - current_ma * LINE_MILLIOHM // 1_000
        return voltage_mv, abs(power_w) * 1_000_000_000 // (voltage_mv * self._pf_milli)

    def _demand_max(self, now_ms: int) -> int:
        """Largest closed 15-minute block of the local month, in watts."""
        step_ms, offset_ms = INTERVAL_S * 1_000, self.settings.utc_offset_min * MS_PER_MINUTE
        month_ms = max(_month_start_ms(now_ms, offset_ms), self._log.born_ms)
        done_month_ms, done_ms, highest = self._demand
        if done_month_ms != month_ms:
            done_ms, highest = month_ms, 0
        used = self._energy(done_ms)[0]
        while done_ms + step_ms <= now_ms:
            before, used = used, self._energy(done_ms + step_ms)[0]
            highest, done_ms = max(highest, (used - before) // step_ms), done_ms + step_ms
        self._demand = (month_ms, done_ms, highest)
        return highest

    def _furthest_ms(self) -> int:
        """The latest time the meter's own clock ever showed."""
        ends = [start_ms for start_ms, _ in self._skews[1:]] + [self._now_ms()]
        return max(end_ms + skew_ms for end_ms, (_, skew_ms) in zip(ends, self._skews, strict=True))

    def _crossing_ms(self, mark_ms: int) -> int:
        """True time at which the meter's own clock first showed `mark_ms`."""
        for index, (start_ms, skew_ms) in enumerate(self._skews):
            after_ms = self._skews[index + 1][0] if index + 1 < len(self._skews) else None
            crossing_ms = max(mark_ms - skew_ms, start_ms)
            if after_ms is None or crossing_ms <= after_ms:
                return crossing_ms
        raise AssertionError("the last segment has no end")

    def _row(self, end_ms: int, from_true_ms: int, to_true_ms: int) -> ProfileRow:
        imported0, exported0 = self._energy(from_true_ms)
        imported1, exported1 = self._energy(to_true_ms)
        length_ms = max(1, to_true_ms - from_true_ms)
        mean_w = (imported1 - imported0 - exported1 + exported0) // length_ms
        voltage_mv, current_ma = self._supply((from_true_ms + to_true_ms) // 2, mean_w)
        return ProfileRow(
            end_ms=end_ms,
            import_wh=imported1 // WMS_PER_WH - imported0 // WMS_PER_WH,
            export_wh=exported1 // WMS_PER_WH - exported0 // WMS_PER_WH,
            apparent_vah=self._apparent(imported1) - self._apparent(imported0),
            average_voltage_mv=voltage_mv,
            average_current_ma=current_ma,
        )


_EVENT_CODES: dict[Act, int] = {Act.OPENED: DISCONNECTED, Act.CLOSED: CONNECTED, Act.CLOCK_SET: CLOCK_WAS_SET}


def _birth_ms(settings: HouseSettings, now_ms: int) -> int:
    """The local midnight `history_days` ago."""
    offset_ms = settings.utc_offset_min * MS_PER_MINUTE
    local_day = (now_ms + offset_ms) // MS_PER_DAY - settings.history_days
    return local_day * MS_PER_DAY - offset_ms


def _month_start_ms(at_ms: int, offset_ms: int) -> int:
    local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms + offset_ms)
    start = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(start.timestamp()) * 1_000 - offset_ms


def _jitter(seed: int, at_ms: int, width: int) -> int:
    """A small deterministic wobble of whole units in -width..width, another one every minute."""
    mixed = (at_ms // MS_PER_MINUTE * 2_654_435_761 + seed * 40_503) & 0xFFFFFFFF
    return (mixed >> 8) % (2 * width + 1) - width
