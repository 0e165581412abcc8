"""One poll of one meter as one conversation, whatever its protocol.

* The serial is read first and compared with the bound one: nothing is booked to the wrong meter.
* What fails midway costs only what follows: a silence ends the poll, nonsense in one object only skips that object. The
  result holds what was read until then.
* A load violation in the log asks for the demand register at once, where the poll has not read it anyway (BYPL 9.1).
* The session is released in any case, except when the line takes the conversation away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from enum import Enum

from gridtally_edge.drivers.model import (
    Capability,
    Diagnostic,
    MeterEvent,
    MeterPort,
    NamePlate,
    Now,
    Reading,
    SwitchState,
)
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.plans import Content
from gridtally_edge.protocols.conversation import Conversation, GaveWay
from gridtally_shared.errors import GridtallyError, LinkDown, MeterBusy, MeterFault, RefusedCommand, SecurityFault
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.meter_settings import AnySetting, CapturePeriod, Form, SettingKind
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

LOAD_SIDE_VOLTAGE = BY_NAME["load_side_voltage_mv"].code
OVERLOADED = EVENTS["overloaded"].code


class Fault(Enum):
    """How a poll went: what the edge can say about the meter afterwards. GAVE_WAY says nothing of it: a command came first."""

    NONE = "answered"
    SILENT = "silent"
    GAVE_WAY = "gave way"
    BUSY = "busy"
    NONSENSE = "nonsense"
    WRONG_METER = "wrong meter"


def fault_of(error: BaseException) -> Fault:
    """What an error that ended a poll says of the meter."""
    if isinstance(error, GaveWay):
        return Fault.GAVE_WAY
    if isinstance(error, MeterBusy):
        return Fault.BUSY
    return Fault.SILENT if isinstance(error, LinkDown) else Fault.NONSENSE


@dataclass(frozen=True, slots=True)
class PollRequest:
    """What to ask. An empty `serial` accepts whoever answers (the meter is not bound yet). `spans` are the ranges of the load
    profile to read; once all are answered, everything in `covers` is known. `events_after_ms` None leaves the log alone."""

    serial: str = ""
    instant: bool = True
    switch: bool = True
    spans: tuple[Span, ...] = ()
    covers: Span | None = None
    events_after_ms: int | None = None
    clock: bool = False
    daily: tuple[Span, ...] = ()
    billing: tuple[Span, ...] = ()
    contents: frozenset[Content] = frozenset()


@dataclass(frozen=True, slots=True)
class PollResult:
    """What a poll brought. `answered_spans` are those the meter answered, also with fewer rows than intervals; `done` the
    further contents it answered. `status` is what stands in its status word; `period_s` its load profile's period, 0 where
    this poll did not tell; `untrusted` says what was wrong with the protection of an answer, `clock_trouble` with the meter's time."""

    finished_ms: int
    fault: Fault = Fault.NONE
    trouble: str = ""
    serial: str = ""
    readings: tuple[Reading, ...] = ()
    switch: SwitchState | None = None
    intervals: tuple[Reading, ...] = ()
    answered_spans: tuple[Span, ...] = ()
    events: tuple[MeterEvent, ...] | None = None
    clock_offset_ms: int | None = None
    daily: tuple[Reading, ...] = ()
    billing: tuple[Reading, ...] = ()
    status: tuple[MeterEvent, ...] | None = None
    name_plate: NamePlate | None = None
    diagnostics: tuple[Diagnostic, ...] | None = None
    form: Form | None = None
    period_s: int = 0
    done: frozenset[Content] = frozenset()
    untrusted: str = ""
    clock_trouble: str = ""

    @property
    def answered(self) -> bool:
        return bool(self.serial)


@dataclass(slots=True)
class _Gathered:
    port: MeterPort
    request: PollRequest
    now: Now
    serial: str = ""
    readings: tuple[Reading, ...] = ()
    switch: SwitchState | None = None
    intervals: list[Reading] = field(default_factory=list)
    answered_spans: list[Span] = field(default_factory=list)
    events: tuple[MeterEvent, ...] | None = None
    clock_offset_ms: int | None = None
    daily: list[Reading] = field(default_factory=list)
    billing: list[Reading] = field(default_factory=list)
    status: tuple[MeterEvent, ...] | None = None
    name_plate: NamePlate | None = None
    diagnostics: tuple[Diagnostic, ...] | None = None
    form: Form | None = None
    period_s: int = 0
    done: set[Content] = field(default_factory=set)
    untrusted: str = ""
    clock_trouble: str = ""
    fault: Fault = Fault.NONE
    trouble: str = ""

    def blame(self, fault: Fault, trouble: str) -> None:
        if self.fault is Fault.NONE:
            self.fault, self.trouble = fault, trouble

    def result(self) -> PollResult:
        return PollResult(
            self.now(), self.fault, self.trouble, self.serial, self.readings, self.switch,
            tuple(self.intervals), tuple(self.answered_spans), self.events, self.clock_offset_ms, tuple(self.daily),
            tuple(self.billing), self.status, self.name_plate, self.diagnostics, self.form,
            self.period_s or (self.port.interval_s if self.answered_spans else 0), frozenset(self.done), self.untrusted, self.clock_trouble,
        )  # fmt: skip


def poll(port: MeterPort, request: PollRequest, now: Now) -> Conversation[PollResult]:
    """Ask the meter for everything in `request`. Raises nothing a meter or a line can cause."""
    gathered = _Gathered(port, request, now)
    with _silence_noted(gathered):
        yield from _ask(gathered)
    with _silence_noted(gathered), _nonsense_noted(gathered):
        yield from port.close()
    return gathered.result()


def _ask(gathered: _Gathered) -> Conversation[None]:
    with _nonsense_noted(gathered):
        yield from gathered.port.open()
        gathered.serial = yield from gathered.port.read_serial()
    if not gathered.serial:
        return
    expected = gathered.request.serial
    if expected and gathered.serial != expected:
        gathered.blame(Fault.WRONG_METER, f"meter {gathered.serial} answered where {expected} is bound")
        return
    for wanted, step in _STEPS:
        if wanted(gathered):
            with _nonsense_noted(gathered):
                yield from step(gathered)


@contextmanager
def _silence_noted(gathered: _Gathered) -> Iterator[None]:
    try:
        yield
    except LinkDown as error:
        gathered.blame(fault_of(error), str(error))


@contextmanager
def _nonsense_noted(gathered: _Gathered) -> Iterator[None]:
    try:
        yield
    except LinkDown:
        raise
    except GridtallyError as error:
        gathered.blame(Fault.NONSENSE, str(error))
        if isinstance(error, SecurityFault):
            gathered.untrusted = str(error)


def _read_instant(g: _Gathered) -> Conversation[None]:
    g.readings = yield from g.port.read_instant(g.now)


def _read_switch(g: _Gathered) -> Conversation[None]:
    g.switch = yield from g.port.read_switch()


def _read_spans(g: _Gathered) -> Conversation[None]:
    for span in g.request.spans:
        rows = yield from g.port.read_intervals(span.from_ms, span.to_ms)
        g.intervals.extend(r for r in rows if span.from_ms <= r.at_ms < span.to_ms)
        g.answered_spans.append(span)


def _read_events(g: _Gathered) -> Conversation[None]:
    g.events = yield from g.port.read_events(g.request.events_after_ms or 0)
    if not g.request.instant and any(event.code == OVERLOADED for event in g.events):
        yield from _read_instant(g)


def _read_clock(g: _Gathered) -> Conversation[None]:
    try:
        meter_ms = yield from g.port.read_clock()
    except MeterFault as error:
        g.clock_trouble = str(error)
        raise
    g.clock_offset_ms = meter_ms - g.now()


def _read_load_side(g: _Gathered) -> Conversation[None]:
    voltage_mv = yield from g.port.read_load_side()
    if voltage_mv is not None:
        g.readings += (Reading(LOAD_SIDE_VOLTAGE, g.now(), voltage_mv),)


def _read_daily(g: _Gathered) -> Conversation[None]:
    for span in g.request.daily:
        g.daily += yield from g.port.read_daily(span.from_ms, span.to_ms)
    g.done.add(Content.DAILY)


def _read_billing(g: _Gathered) -> Conversation[None]:
    for span in g.request.billing:
        g.billing += yield from g.port.read_billing(span.from_ms, span.to_ms)
    g.done.add(Content.BILLING)


def _read_status(g: _Gathered) -> Conversation[None]:
    g.status = yield from g.port.read_status_word(g.now)
    g.done.add(Content.STATUS)


def _read_name_plate(g: _Gathered) -> Conversation[None]:
    g.name_plate = yield from g.port.read_name_plate()
    g.done.add(Content.NAME_PLATE)


def _read_diagnostics(g: _Gathered) -> Conversation[None]:
    g.diagnostics = yield from g.port.read_diagnostics()
    g.done.add(Content.DIAGNOSTICS)


def _read_settings(g: _Gathered) -> Conversation[None]:
    """What decides how the meter is read: its form, and its capture period. A meter may know neither."""
    form = yield from _setting_or_none(g.port, SettingKind.FORM)
    period = yield from _setting_or_none(g.port, SettingKind.CAPTURE_PERIOD)
    g.form = form if isinstance(form, Form) else None
    g.period_s = period.period_s if isinstance(period, CapturePeriod) else 0
    g.done.add(Content.SETTINGS)


def _setting_or_none(port: MeterPort, kind: SettingKind) -> Conversation[AnySetting | None]:
    try:
        return (yield from port.read_setting(kind))
    except RefusedCommand:
        return None


def _can(capability: Capability, asked: Callable[[PollRequest], bool]) -> Callable[[_Gathered], bool]:
    return lambda g: capability in g.port.capabilities and asked(g.request)


_STEPS: tuple[tuple[Callable[[_Gathered], bool], Callable[[_Gathered], Conversation[None]]], ...] = (
    (lambda g: g.request.instant, _read_instant),
    (lambda g: g.request.switch, _read_switch),  # a meter without one says so
    (_can(Capability.LOAD_SIDE, lambda r: r.switch), _read_load_side),
    (_can(Capability.CLOCK, lambda r: r.clock), _read_clock),
    (_can(Capability.SETTINGS, lambda r: Content.SETTINGS in r.contents), _read_settings),
    (_can(Capability.STATUS_WORD, lambda r: Content.STATUS in r.contents), _read_status),
    (_can(Capability.EVENTS, lambda r: r.events_after_ms is not None), _read_events),
    (_can(Capability.LOAD_PROFILE, lambda r: bool(r.spans)), _read_spans),
    (_can(Capability.DAILY, lambda r: bool(r.daily)), _read_daily),
    (_can(Capability.BILLING, lambda r: bool(r.billing)), _read_billing),
    (_can(Capability.NAME_PLATE, lambda r: Content.NAME_PLATE in r.contents), _read_name_plate),
    (_can(Capability.DIAGNOSTICS, lambda r: Content.DIAGNOSTICS in r.contents), _read_diagnostics),
)
