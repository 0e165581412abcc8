"""The meters of this concentrator as the core sees them: who is bound, who is being asked, who is due.

* A meter on a line (registry) becomes a meter of the installation when its serial is bound in the signed configuration.
  Before that it is only asked who it is.
* The serial decides, not the place: another meter answering at an address is found out, and served under its own number
  if it has one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field

from gridtally_edge.drivers.model import Capability, Pushed
from gridtally_edge.journal.readings import MeterState
from gridtally_edge.polling.forming import NO_LIMITS, RegisterLimits
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.plan import Due, MeterView, audit_is_due, due_now, next_due_ms
from gridtally_edge.polling.plans import DEFAULT_PLAN, JOBS, Content, PollPlan
from gridtally_edge.polling.poll import Fault, PollResult
from gridtally_edge.transports.arbiter import Priority
from gridtally_shared.contract.messages import MeterConfig
from gridtally_shared.records import dataclass

DEFAULT_INTERVAL_MS = 900_000
SILENT_AFTER = 3

log = logging.getLogger("gridtally.street")

StoredStarts = Callable[[int, Span], frozenset[int]]
"""(meter_no, span) -> starts of stored intervals."""

StoredRows = Callable[[int, Content], Sequence[int]]
"""(meter_no, content) -> stamps of stored daily or billing rows, ascending."""

Hears = Callable[[bytes, int], Pushed | None]
"""(message, heard at) -> what it says, when this meter's driver can read it."""


@dataclass(frozen=True, slots=True)
class MeterOnLine:
    """What the registry and the driver say. `interval_ms` 0: the meter keeps no profile, the configuration decides.
    `phases` 0: any form will do; `limits` are those of its registers. `hears` tells whose a message is, `takes` reads one of
    this meter's with what its port has learnt of it."""

    key: str
    line: str
    driver: str
    address: str
    serial: str = ""
    interval_ms: int = 0
    capabilities: frozenset[Capability] = frozenset()
    plan: PollPlan = DEFAULT_PLAN
    hears: Hears | None = None
    listens_only: bool = False
    phases: int = 0
    limits: RegisterLimits = NO_LIMITS
    takes: Hears | None = None

    def can(self, capability: Capability) -> bool:
        return capability in self.capabilities


@dataclass(slots=True)
class StreetMeter:
    """A meter's moving parts. `standing`: codes in its status word at the last look; `told`: when alarms came unasked;
    `failing`: checks of its own that failed; `untrusted`: the last answer's protection failed; `timeless`: it tells no time;
    `form_told`: under which number its wrong form was reported last;
    `swapped_in`: its next registers are its opening ones; `moved`: it answered elsewhere before, which is not told yet."""

    on_line: MeterOnLine
    place: int
    serial: str
    binding: MeterConfig | None = None
    polled_ms: int | None = None
    audited_ms: int | None = None
    asked: bool = False
    asked_ms: int = 0
    overran: bool = False
    failures: int = 0
    last_fault: Fault | None = None
    trouble: str = ""
    capture_ms: int = 0
    done: dict[Content, int] = field(default_factory=dict)
    tried: dict[Content, int] = field(default_factory=dict)
    failing: frozenset[str] = frozenset()
    standing: frozenset[int] | None = None
    told: dict[int, int] = field(default_factory=dict)
    watched_ms: int | None = None
    alarm: bool = False
    idle_until_ms: int = 0
    wrong_form: bool = False
    untrusted: bool = False
    timeless: bool = False
    form_told: int = -1
    sync_at_ms: int | None = None
    jump_flagged: bool = False
    swapped_in: bool = False
    moved: bool = False

    @property
    def key(self) -> str:
        return self.on_line.key

    @property
    def meter_no(self) -> int:
        return self.binding.meter_no if self.binding else 0

    @property
    def interval_ms(self) -> int:
        configured = self.binding.interval_s * 1000 if self.binding else DEFAULT_INTERVAL_MS
        return self.capture_ms or self.on_line.interval_ms or configured

    def view(self, places: int, state: MeterState, watch: bool = False, near: bool = False) -> MeterView:
        on_line, can = self.on_line, self.on_line.can
        return MeterView(
            self.serial, self.interval_ms, can(Capability.LOAD_PROFILE), can(Capability.EVENTS), self.place, places,
            state.mark_ms, state.events_ms, state.clock_read_ms, self.polled_ms, self.audited_ms, self.failures,
            self.is_active, self.key, on_line.plan, on_line.capabilities, self.done, self.tried, self.watched_ms,
            watch=watch, alarm=self.alarm, checks_form=self.checks_form, near=near,
        )  # fmt: skip

    def is_idle(self, now_ms: int) -> bool:
        """Nothing can be due before `idle_until_ms`, as it was worked out last; a clock that went back counts anew."""
        return not self.alarm and now_ms < self.idle_until_ms <= now_ms + self.on_line.plan.turn_ms(self.interval_ms)

    def rows_state(self, content: Content) -> str:
        """Of daily or billing rows: collected; late, where the meter did not answer when they were due; or not asked for yet."""
        tried_ms, done_ms = self.tried.get(content, 0), self.done.get(content, 0)
        if tried_ms > done_ms and not self.asked:
            return "late"
        return "collected" if done_ms else ""

    @property
    def checks_form(self) -> bool:
        return self.on_line.phases > 0 and self.on_line.can(Capability.SETTINGS)

    @property
    def is_active(self) -> bool:
        """Bound by the cloud, and fit for its socket: a wrong form blocks the activation (I2FR2)."""
        return self.binding is not None and not self.wrong_form


class Street:
    """`states` gives the journal's memory of a meter number."""

    def __init__(
        self, meters: Iterable[MeterOnLine], states: Callable[[int], MeterState], stored: StoredStarts, rows: StoredRows
    ) -> None:
        self.meters = {m.key: StreetMeter(m, place, m.serial) for place, m in enumerate(meters)}
        self._states, self._stored, self._rows = states, stored, rows
        self._bindings: dict[str, MeterConfig] = {}
        self._near: frozenset[int] = frozenset()

    def hurry(self, near: frozenset[int]) -> None:
        """The numbers of all meters whose accounts are near their end: from now on these are read each recording interval."""
        for number in self._near ^ near:
            meter = self.by_number(number)
            if meter is not None:
                meter.idle_until_ms = 0
        self._near = near

    def bind(self, meters: Iterable[MeterConfig]) -> None:
        """The bindings of a new configuration, by serial."""
        self._bindings = {m.serial: m for m in meters}
        for meter in self.meters.values():
            self._rebind(meter)

    def by_number(self, meter_no: int) -> StreetMeter | None:
        return next((m for m in self.meters.values() if m.meter_no == meter_no and meter_no), None)

    def add(self, on_line: MeterOnLine) -> None:
        """A meter that came while the street is served, or one whose entry changed."""
        known = self.meters.get(on_line.key)
        place = known.place if known else max((m.place for m in self.meters.values()), default=-1) + 1
        meter = self.meters[on_line.key] = StreetMeter(on_line, place, on_line.serial)
        if meter.serial:
            self._leave_other_places(meter)
        self._rebind(meter)

    def remove(self, key: str) -> StreetMeter | None:
        return self.meters.pop(key, None)

    def number_of(self, serial: str) -> int:
        """The number the cloud gave to this serial; 0 for none."""
        return self._bindings[serial].meter_no if serial in self._bindings else 0

    def expects(self, meter_no: int) -> bool:
        """Whether the cloud has this meter here, though it has not answered anywhere yet."""
        return any(binding.meter_no == meter_no for binding in self._bindings.values())

    def due(self, now_ms: int, watch: bool = False) -> tuple[tuple[StreetMeter, Due], ...]:
        """What is to be asked now; each of them counts as asked from here on. `watch`: also between the turns."""
        found = []
        for meter in self.meters.values():
            if meter.on_line.listens_only or meter.is_idle(now_ms):
                continue
            if meter.asked:
                meter.overran |= meter.failures == 0 and now_ms - meter.asked_ms > meter.interval_ms
                continue
            view = self._view(meter, watch)
            due = due_now(view, now_ms, self._starts(meter.meter_no), self._rows_of(meter.meter_no))
            meter.idle_until_ms = next_due_ms(view, now_ms) if due is None else 0
            if due is not None:
                meter.asked, meter.asked_ms = True, now_ms
                self._note_turn(meter, due, view, now_ms)
                found.append((meter, due))
        return tuple(found)

    def next_due_ms(self, now_ms: int) -> int:
        """When somebody is due next; an interval from now when there are no meters."""
        waiting = [m for m in self.meters.values() if not (m.asked or m.on_line.listens_only)]
        known = (m.idle_until_ms for m in waiting if m.is_idle(now_ms))
        views = (self._view(m) for m in waiting if not m.is_idle(now_ms))
        found = (*known, *(next_due_ms(v, now_ms) for v in views))
        return min(found, default=now_ms + DEFAULT_INTERVAL_MS)

    def _view(self, meter: StreetMeter, watch: bool = False) -> MeterView:
        return meter.view(len(self.meters), self._states(meter.meter_no), watch, meter.meter_no in self._near)

    def finished(self, meter: StreetMeter, result: PollResult) -> None:
        """A planned poll came back: learn who answered and whether all is well."""
        meter.asked, meter.idle_until_ms = False, 0
        meter.last_fault, meter.trouble = result.fault, result.trouble
        if result.fault is not Fault.NONE:
            log.info("meter %s: %s", meter.key, result.trouble, extra={"failures": meter.failures + 1})
        if result.fault is Fault.GAVE_WAY:
            meter.polled_ms = None  # a command came first: its turn is made up for at once
        else:
            meter.failures = 0 if result.answered and result.fault is not Fault.WRONG_METER else meter.failures + 1
        meter.done.update(dict.fromkeys(result.done, result.finished_ms))
        if result.serial and result.serial != meter.serial:
            meter.serial, meter.failures, meter.polled_ms = result.serial, 0, None
            self._leave_other_places(meter)
            self._rebind(meter)
        if result.answered and result.fault is not Fault.WRONG_METER:
            learnt = result.period_s if meter.on_line.can(Capability.LOAD_PROFILE) else 0
            meter.capture_ms = learnt * 1_000 or meter.capture_ms

    def heard(self, meter: StreetMeter, serial: str) -> None:
        """Who sends at a place that is only listened to."""
        meter.failures, meter.last_fault, meter.trouble = 0, Fault.NONE, ""
        if serial != meter.serial:
            meter.serial = serial
            self._leave_other_places(meter)
            self._rebind(meter)

    def overrunning(self) -> int:
        """Meters that were being asked for longer than an interval, since the last call; silent ones do not count."""
        late = [m for m in self.meters.values() if m.overran]
        for meter in late:
            meter.overran = False
        return len(late)

    def _leave_other_places(self, meter: StreetMeter) -> None:
        """A meter that answers here has left where it answered before: it keeps its number, the old place loses it."""
        for other in self.meters.values():
            if other is not meter and other.serial == meter.serial:
                meter.moved = True
                other.serial, other.binding, other.trouble = "", None, f"meter {meter.serial} answers at {meter.key} now"

    def _rebind(self, meter: StreetMeter) -> None:
        binding = self._bindings.get(meter.serial) if meter.serial else None
        meter.idle_until_ms = 0
        if binding != meter.binding:
            meter.binding, meter.polled_ms, meter.audited_ms = binding, None, None

    def _note_turn(self, meter: StreetMeter, due: Due, view: MeterView, now_ms: int) -> None:
        request = due.request
        if request.instant or not view.bound:
            meter.polled_ms = now_ms
        elif due.priority is Priority.EVENTS:
            meter.watched_ms, meter.alarm = now_ms, False
        asked = {Content.DAILY: request.daily, Content.BILLING: request.billing, Content.CLOCK: request.clock}
        tried = {job.content for job in JOBS if job.content in request.contents or asked.get(job.content)}
        meter.tried.update(dict.fromkeys(tried, now_ms))
        if due.request.instant and view.mark_ms is not None and audit_is_due(view, now_ms):
            meter.audited_ms = now_ms

    def _rows_of(self, meter_no: int) -> Callable[[Content], Sequence[int]]:
        return lambda content: self._rows(meter_no, content)

    def _starts(self, meter_no: int) -> Callable[[Span], frozenset[int]]:
        return lambda span: self._stored(meter_no, span)
