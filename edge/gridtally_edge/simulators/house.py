"""`HouseMeter`: a simulated electricity meter on a simulated home; what `SimMeter` asks for, apart from any protocol.

* Everything is a function of seed, time and the logged operations; nothing runs in the background, so virtual time may
  run a thousand times faster and a kill -9 cannot make a register go back.
* An open contactor really stops consumption. STUCK refuses its order; WELDED says "open" and lets current through; BUTTON arms
  when it is told to close, and closes by hand.
* A load-profile row is the difference of the register at its two ends, so the rows always add up to the register.
* The meter's own clock may be off; rows and events carry its time. Setting it moves later rows only and marks the open one.
* Settings act from the moment they are taken; a calendar from its date on (house_tariff.py), limits at the next look.
"""

from __future__ import annotations

import random
import threading
from enum import Enum
from pathlib import Path

from gridtally_edge.drivers.model import Diagnostic, MeterEvent, NamePlate, SwitchState
from gridtally_edge.simulators.house_checks import REFUSALS_LOGGED, Finding, HouseFault, SelfTest
from gridtally_edge.simulators.house_log import Act, HouseLog, Operation
from gridtally_edge.simulators.house_memory import SettingsMemory, event_name_of, from_text, to_text
from gridtally_edge.simulators.house_metering import Build, Metering
from gridtally_edge.simulators.house_status import counts_of, status_of
from gridtally_edge.simulators.house_supply import SwitchedLoad
from gridtally_edge.simulators.house_tariff import CalendarChange, RateRegisters
from gridtally_edge.simulators.house_time import MeterTime
from gridtally_edge.simulators.house_tokens import TokenGateway
from gridtally_edge.simulators.household import MS_PER_MINUTE, Home, LoadCurve
from gridtally_edge.simulators.meter import Counts, ProfileRow, RegisterRow, Snapshot
from gridtally_shared import meter_settings as ms
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, Clock
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.errors import MeterFault
from gridtally_shared.events import BY_CODE, BY_NAME
from gridtally_shared.instruments.token import TokenStatus
from gridtally_shared.records import dataclass

WMS_PER_WH = MS_PER_HOUR
DISCONNECTED = BY_NAME["supply_disconnected"].code
CONNECTED = BY_NAME["supply_connected"].code
POWER_FAILED = BY_NAME["power_failed"].code
POWER_RESTORED = BY_NAME["power_restored"].code
CLOCK_WAS_SET = BY_NAME["clock_set"].code
_OVERLOADED = BY_NAME["overloaded"].code
_RESET_EVENTS = {ms.ResetKind.MAXIMUM_DEMAND: "demand_reset", ms.ResetKind.TAMPER: "tamper_reset", ms.ResetKind.STATUS: "status_reset"}


class Contactor(Enum):
    WORKS = "works"
    STUCK = "stuck"
    WELDED = "welded"
    NONE = "none"
    BUTTON = "button"


MOVES = frozenset({Contactor.WORKS, Contactor.BUTTON})


@dataclass(frozen=True, slots=True)
class HouseSettings:
    """One simulated meter. It is born `history_days` before its first start, so a profile is there at once. Its clock is `skew_ms`
    ahead then and gains `drift_ppm` millionths from then on. `forgets`: another capture period empties its load profile."""

    serial: str
    seed: int
    size_percent: int = 100
    pv_w: int = 0
    utc_offset_min: int = 330
    skew_ms: int = 0
    drift_ppm: int = 0
    contactor: Contactor = Contactor.WORKS
    history_days: int = 60
    phases: int = 1
    firmware: str = "GT1.04"
    forgets: bool = False


class HouseMeter:
    """Implements `SimMeter`. Safe for the line's thread and a control thread at once."""

    def __init__(self, settings: HouseSettings, clock: Clock, state: Path | None = None) -> None:
        self.serial = settings.serial
        self.settings = settings
        self.phases = settings.phases
        self._clock = clock
        self._lock = threading.RLock()
        self._latest_ms = clock.now_ms()
        self._log = HouseLog(state, settings.serial, _birth_ms(settings, self._latest_ms))
        own = random.Random(f"meter {settings.seed}")
        start_wh, pf_milli = own.randrange(50_000, 9_000_000), own.randrange(880, 990)
        offset_ms = settings.utc_offset_min * MS_PER_MINUTE
        build = Build(settings.seed, settings.phases, self._log.born_ms, offset_ms, start_wh, pf_milli, settings.forgets)
        home = Home(settings.seed, settings.size_percent, settings.pv_w)
        curve = LoadCurve(home, self._log.born_ms, settings.utc_offset_min)
        self._load = SwitchedLoad(curve, settings.contactor is Contactor.WELDED)
        self._time = self._clock_at_birth()
        self._memory = SettingsMemory()
        self._rates = RateRegisters(self._log.born_ms, offset_ms, self._load.imported, self._time.crossing_ms)
        self._tests = SelfTest(self._log.born_ms, checked_ms=self._log.born_ms - 1)
        self._metering = Metering(build, self._load, self._time, self._memory, self._rates, missing_wh=self._tests.missing_wh)
        self._special_days: tuple[ms.SpecialDay, ...] = ()
        self._prepaid: dict[int, int] = {}
        self.read_only: frozenset[int] = frozenset()
        self.tokens = TokenGateway()
        self._dark_ms: int | None = None
        self._jammed = settings.contactor is Contactor.STUCK
        self._armed = False
        self._refusals, self._limit_seen_ms = 0, 0
        self._latest_ms = max(self._latest_ms, max(o.at_ms for o in self._log.operations if o.act is not Act.BALANCE))
        for operation in self._log.operations:
            self._apply(operation)

    @property
    def interval_s(self) -> int:
        return self._memory.now(ms.CapturePeriod).period_s

    def close(self) -> None:
        self._log.close()

    def name_plate(self) -> NamePlate:
        category, rating = ("D2", "10-60 A") if self.phases == 3 else ("D1", "5-30 A")
        model, firmware, device = f"GT{self.phases}", self.settings.firmware, f"GTY{self.serial}"
        return NamePlate(self.serial, "Gridtally", model, firmware, category, rating, "2025", device)

    def snapshot(self) -> Snapshot:
        with self._lock:
            return self._metering.measured(self._catch_up())

    def conditions_at(self, meter_ms: int) -> Snapshot:
        with self._lock:
            return self._metering.measured(min(self._time.crossing_ms(meter_ms), self._catch_up()), with_demand=False)

    def registers_at(self, at_ms: int) -> tuple[int, int]:
        """Import and export register in Wh as they stood at a moment that is over."""
        with self._lock:
            return self._metering.registers_at(min(at_ms, self._catch_up()))

    def registers(self) -> RegisterRow:
        with self._lock:
            return self._metering.registers(self._catch_up())

    def profile(self, from_ms: int, to_ms: int) -> tuple[ProfileRow, ...]:
        with self._lock:
            return self._metering.profile(from_ms, to_ms, self._catch_up())

    def daily(self, from_ms: int, to_ms: int) -> tuple[RegisterRow, ...]:
        with self._lock:
            return self._metering.daily(from_ms, to_ms, self._catch_up())

    def billing(self, from_ms: int, to_ms: int) -> tuple[RegisterRow, ...]:
        with self._lock:
            return self._metering.billing(from_ms, to_ms, self._catch_up())

    def events(self) -> tuple[MeterEvent, ...]:
        with self._lock:
            self._catch_up()
            found: list[MeterEvent] = []
            time = self._clock_at_birth()
            for operation in self._log.operations:
                if operation.act is Act.CLOCK_SET:
                    time.set(operation.at_ms, operation.value)
                code = _event_code(operation)
                if code:
                    found.append(MeterEvent(code, time.shows(operation.at_ms), _event_text(operation)))
            return tuple(found)

    def status_bits(self) -> frozenset[int]:
        return status_of(self.events())

    def counts(self) -> Counts:
        with self._lock:
            now_ms = self._now_ms()
            closed = len(self._metering.billing_moments(self._log.born_ms, self._time.furthest_ms(now_ms), now_ms))
            return counts_of(self.events(), closed, self._log.born_ms, now_ms)

    def clock_ms(self) -> int:
        with self._lock:
            return self._time.shows(self._now_ms())

    def set_clock(self, utc_ms: int) -> bool:
        """False while a TIME_SYNC fault refuses; the third refusal in a row is logged."""
        with self._lock:
            now_ms = self._catch_up()
            left = self._tests.injected.get(HouseFault.TIME_SYNC, 0)
            if left:
                self._do(Operation(Act.FAULT, now_ms, left - 1, HouseFault.TIME_SYNC.value))
                self._refusals += 1
                if self._refusals == REFUSALS_LOGGED:
                    self._note(self._tests.in_use(HouseFault.TIME_SYNC, now_ms, True))
                return False
            self._refusals = 0
            self._do(Operation(Act.CLOCK_SET, now_ms, utc_ms - now_ms, f"old={self._time.shows(now_ms)} new={utc_ms}"))
            self._note(self._tests.in_use(HouseFault.TIME_SYNC, now_ms, False))
            return True

    def switch(self) -> SwitchState:
        with self._lock:
            if self.settings.contactor is Contactor.NONE:
                return SwitchState.NOT_FITTED
            self._catch_up()
            if not self._load.says_open:
                return SwitchState.CLOSED
            return SwitchState.ARMED if self._armed else SwitchState.OPEN

    def arms_on_close(self) -> bool:
        return self.settings.contactor is Contactor.BUTTON

    def press_button(self) -> bool:
        """The consumer's hand at the meter: closes what is armed, and nothing else."""
        with self._lock:
            now_ms = self._catch_up()
            if self._armed and self._load.says_open and not self._jammed:
                self._do(Operation(Act.CLOSED, now_ms))
                return True
            return False

    def operate_switch(self, close: bool) -> bool:
        with self._lock:
            now_ms = self._catch_up()
            if self._jammed or self.settings.contactor is Contactor.NONE:
                return False
            if close and self.arms_on_close() and self._load.says_open:
                self._do(Operation(Act.ARMED, now_ms))
            elif close is self._load.says_open or (self._armed and not close):
                self._do(Operation(Act.CLOSED if close else Act.OPENED, now_ms))
            return True

    def load_side_mv(self) -> int:
        """Voltage behind the contactor: the supply's while it conducts, also where a welded one says "open"."""
        with self._lock:
            fed = self._load.conducts or HouseFault.BACKFEED in self._tests.injected
            return self._metering.measured(self._catch_up(), with_demand=False).voltage_mv if fed else 0

    @property
    def time_lost(self) -> bool:
        """Its clock says so itself; what it counts and when it closes its intervals goes on."""
        return HouseFault.CLOCK in self._tests.injected

    def jam(self, stuck: bool) -> None:
        """Make the contactor refuse its orders from now on, or follow them again."""
        self._jammed = stuck

    def report_event(self, code: int, detail: str = "") -> None:
        """Put an event (cover opened, magnet, ...) into the meter's log, as an installer or a test asks for it."""
        with self._lock:
            self._do(Operation(Act.EVENT, self._catch_up(), code, detail))

    def inject(self, fault: HouseFault, size: int = 1) -> None:
        """Put a fault into the meter, 0 lifts it. `size`: refusals for TIME_SYNC, Wh missing in each row for CONSISTENCY."""
        with self._lock:
            self._do(Operation(Act.FAULT, self._catch_up(), size, fault.value))
            self._catch_up()

    def faults(self) -> tuple[HouseFault, ...]:
        """The faults in force, in the order in which they came."""
        with self._lock:
            self._catch_up()
            return tuple(self._tests.injected)

    def push_gets_through(self) -> bool:
        """The meter tries to send something by itself; a blocked path is logged once."""
        with self._lock:
            now_ms, blocked = self._catch_up(), HouseFault.PUSH in self._tests.injected
            self._note(self._tests.in_use(HouseFault.PUSH, now_ms, blocked))
            return not blocked

    def show_balance(self, amount_minor: int, at_ms: int) -> None:
        with self._lock:
            self._do(Operation(Act.BALANCE, at_ms, amount_minor))

    def shown_balance(self) -> tuple[int, int] | None:
        with self._lock:
            shown = next((o for o in reversed(self._log.operations) if o.act is Act.BALANCE), None)
            return (shown.value, shown.at_ms) if shown else None

    def show_text(self, text: str) -> None:
        with self._lock:
            self._do(Operation(Act.TEXT, self._catch_up(), text=text))

    def shown_text(self) -> str:
        """What stands in its line of text."""
        with self._lock:
            return next((o.text for o in reversed(self._log.operations) if o.act is Act.TEXT), "")

    def prepaid(self, number: int) -> int:
        return self._prepaid.get(number, 0)

    def set_prepaid(self, number: int, value: int) -> None:
        """Raises MeterFault for an object that can only be read here."""
        if number in self.read_only:
            raise MeterFault(f"object {number} can only be read")
        with self._lock:
            self._do(Operation(Act.PREPAID, self._catch_up(), number, str(value)))

    def enter_token(self, token: bytes) -> None:
        with self._lock:
            self._do(Operation(Act.TOKEN, self._catch_up(), self.tokens.judge(token), token.hex()))

    def setting(self, kind: ms.SettingKind) -> ms.AnySetting:
        with self._lock:
            if kind is ms.SettingKind.FORM:
                return self.form()
            if kind is ms.SettingKind.ACTIVITY_CALENDAR:
                return self._rates.in_force(self.clock_ms()).calendar
            return self._memory.now(ms.SETTING_TYPES[kind])

    def take_setting(self, setting: ms.AnySetting) -> None:
        """A calendar waits for its date (0: at once); everything else holds from now on."""
        with self._lock:
            self._do(Operation(Act.SETTING, self._catch_up(), int(ms.KIND_OF[type(setting)]), to_text(setting)))

    def waiting_calendar(self) -> ms.ActivityCalendar | None:
        with self._lock:
            latest = self._memory.now(ms.ActivityCalendar)
            return latest if latest.activate_at_ms > self.clock_ms() else None

    def special_days(self) -> tuple[ms.SpecialDay, ...]:
        return self._special_days

    def take_special_days(self, days: tuple[ms.SpecialDay, ...]) -> None:
        with self._lock:
            record = ms.ActivityCalendar("", (), (), (), 0, days)
            self._do(Operation(Act.SPECIAL_DAYS, self._catch_up(), 0, encode(record).hex()))

    def form(self) -> ms.Form:
        """What the meter finds in its socket; a FORM fault is a socket of the other kind."""
        found = self.phases if HouseFault.FORM not in self._tests.injected else 4 - self.phases
        return ms.Form(found, 2 if found == 1 else 4)

    def reset(self, kind: ms.ResetKind) -> None:
        with self._lock:
            self._do(Operation(Act.RESET, self._catch_up(), int(kind)))

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        with self._lock:
            now_ms = self._catch_up()
            return self._tests.results(*self._test_periods(), now_ms)

    def run_diagnostics(self) -> None:
        with self._lock:
            self._do(Operation(Act.TESTED, self._catch_up()))
            self._catch_up()

    def _clock_at_birth(self) -> MeterTime:
        drifts_from_ms = self._log.born_ms + self.settings.history_days * MS_PER_DAY
        return MeterTime(self.settings.skew_ms, self.settings.drift_ppm, drifts_from_ms)

    def _now_ms(self) -> int:
        self._latest_ms = max(self._latest_ms, self._clock.now_ms())
        return self._latest_ms

    def _catch_up(self) -> int:
        """What has happened by itself since the last look: checks that ran, a limit that was exceeded."""
        now_ms = self._now_ms()
        for finding in self._tests.due(*self._test_periods(), now_ms, self._fails):
            self._note(finding)
        self._watch_limit(now_ms)
        return now_ms

    def _test_periods(self) -> tuple[ms.DiagnosticsPeriod, int]:
        since_ms, periods = self._memory.changes(ms.DiagnosticsPeriod)[-1]
        return periods, since_ms

    def _note(self, finding: Finding | None) -> None:
        if finding:
            self._do(Operation(Act.EVENT, finding.at_ms, BY_NAME[finding.event].code, finding.detail))

    def _fails(self, fault: HouseFault) -> bool:
        if fault is HouseFault.CONSISTENCY:
            return self._metering.rows_disagree(self._now_ms())
        return fault in self._tests.injected

    def _watch_limit(self, now_ms: int) -> None:
        """Open above the load limit, at the moment it has been exceeded for long enough."""
        since_ms, limit = self._memory.changes(ms.LoadLimit)[-1]
        if not limit.threshold_w or self.settings.contactor not in MOVES or self._jammed:
            return
        minute_ms = max(since_ms, self._limit_seen_ms) // MS_PER_MINUTE * MS_PER_MINUTE
        over_ms = 0
        while minute_ms + MS_PER_MINUTE <= now_ms and not self._load.says_open:
            over_ms = over_ms + MS_PER_MINUTE if self._load.watts(minute_ms) > limit.threshold_w else 0
            minute_ms += MS_PER_MINUTE
            if over_ms >= limit.over_s * 1_000:
                self._do(Operation(Act.EVENT, minute_ms, _OVERLOADED, f"limit={limit.threshold_w}W"))
                self._do(Operation(Act.OPENED, minute_ms))
        self._limit_seen_ms = minute_ms - over_ms

    def _do(self, operation: Operation) -> None:
        """On disk first, then in force."""
        self._log.append(operation)
        self._apply(operation)

    def _apply(self, operation: Operation) -> None:
        apply = _APPLY.get(operation.act)
        if apply:
            apply(self, operation)

    def _apply_armed(self, operation: Operation) -> None:
        self._armed = True

    def _apply_switch(self, operation: Operation) -> None:
        self._armed = False
        self._load.switch(operation.at_ms, operation.act is Act.OPENED)
        self._limit_seen_ms = operation.at_ms

    def _apply_clock(self, operation: Operation) -> None:
        self._time.set(operation.at_ms, operation.value)

    def _apply_setting(self, operation: Operation) -> None:
        setting = from_text(operation.value, operation.text)
        self._memory.take(operation.at_ms, setting)
        if isinstance(setting, ms.ActivityCalendar):
            now_ms = self._time.shows(operation.at_ms)
            self._rates.change(CalendarChange(max(setting.activate_at_ms, now_ms), setting, self._special_days))

    def _apply_special_days(self, operation: Operation) -> None:
        self._special_days = decode(ms.ActivityCalendar, bytes.fromhex(operation.text)).special_days
        now_ms = self._time.shows(operation.at_ms)
        self._rates.change(CalendarChange(now_ms, self._rates.in_force(now_ms).calendar, self._special_days))
        waiting = self._memory.now(ms.ActivityCalendar)
        if waiting.activate_at_ms > now_ms:
            self._rates.change(CalendarChange(waiting.activate_at_ms, waiting, self._special_days))

    def _apply_fault(self, operation: Operation) -> None:
        fault = HouseFault(operation.text)
        if operation.value:
            self._tests.injected[fault] = operation.value
        else:
            self._tests.injected.pop(fault, None)
        self._tests.checked_ms = operation.at_ms

    def _apply_test(self, operation: Operation) -> None:
        self._tests.asked_ms, self._tests.checked_ms = operation.at_ms, operation.at_ms - 1

    def _apply_event(self, operation: Operation) -> None:
        known = BY_CODE.get(operation.value)
        self._tests.learn(known.name if known else "", operation.text)
        if operation.value == POWER_FAILED:
            self._dark_ms = operation.at_ms
        elif operation.value == POWER_RESTORED and self._dark_ms is not None:
            self._metering.power_cuts.append((self._dark_ms, operation.at_ms))
            self._dark_ms = None

    def _apply_reset(self, operation: Operation) -> None:
        if operation.value == ms.ResetKind.MAXIMUM_DEMAND:
            self._metering.demand_resets.append(operation.at_ms)

    def _apply_prepaid(self, operation: Operation) -> None:
        self._prepaid[operation.value] = int(operation.text)

    def _apply_token(self, operation: Operation) -> None:
        at_ms = self._time.shows(operation.at_ms)
        self.tokens.take(bytes.fromhex(operation.text), TokenStatus(operation.value), at_ms)


_APPLY = {
    Act.OPENED: HouseMeter._apply_switch,
    Act.CLOSED: HouseMeter._apply_switch,
    Act.ARMED: HouseMeter._apply_armed,
    Act.CLOCK_SET: HouseMeter._apply_clock,
    Act.SETTING: HouseMeter._apply_setting,
    Act.SPECIAL_DAYS: HouseMeter._apply_special_days,
    Act.FAULT: HouseMeter._apply_fault,
    Act.TESTED: HouseMeter._apply_test,
    Act.EVENT: HouseMeter._apply_event,
    Act.PREPAID: HouseMeter._apply_prepaid,
    Act.TOKEN: HouseMeter._apply_token,
    Act.RESET: HouseMeter._apply_reset,
}
_EVENT_CODES: dict[Act, int] = {Act.OPENED: DISCONNECTED, Act.CLOSED: CONNECTED, Act.CLOCK_SET: CLOCK_WAS_SET}


def _event_code(operation: Operation) -> int:
    """The event an operation leaves in the log, 0 for none."""
    if operation.act is Act.EVENT:
        return operation.value
    if operation.act is Act.RESET:
        return BY_NAME[_RESET_EVENTS[ms.ResetKind(operation.value)]].code
    if operation.act is Act.SETTING:
        name = event_name_of(from_text(operation.value, operation.text))
        return BY_NAME[name].code if name else 0
    return _EVENT_CODES.get(operation.act, 0)


def _event_text(operation: Operation) -> str:
    return "" if operation.act is Act.SETTING else operation.text


def _birth_ms(settings: HouseSettings, now_ms: int) -> int:
    """The local midnight `history_days` ago."""
    offset_ms = settings.utc_offset_min * MS_PER_MINUTE
    local_day = (now_ms + offset_ms) // MS_PER_DAY - settings.history_days
    return local_day * MS_PER_DAY - offset_ms
