"""One poll of one meter as one conversation, whatever its protocol.

* The serial is read first and compared with the bound one: nothing is booked to the wrong meter.
* What fails midway costs only what follows: a silence ends the poll, nonsense in one object only skips that object. The
  result holds what was read until then.
* The session is released in any case, except when the line takes the conversation away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from gridtally_edge.drivers.model import Capability, MeterEvent, MeterPort, Now, Reading, SwitchState
from gridtally_edge.polling.gaps import Span
from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared.errors import GridtallyError, LinkDown


class Fault(Enum):
    """How a poll went: what the edge can say about the meter afterwards."""

    NONE = "answered"
    SILENT = "silent"
    NONSENSE = "nonsense"
    WRONG_METER = "wrong meter"


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


@dataclass(frozen=True, slots=True)
class PollResult:
    """What a poll brought. `answered_spans` are those the meter answered, also with fewer rows than intervals."""

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
    fault: Fault = Fault.NONE
    trouble: str = ""

    def blame(self, fault: Fault, trouble: str) -> None:
        if self.fault is Fault.NONE:
            self.fault, self.trouble = fault, trouble

    def result(self) -> PollResult:
        return PollResult(
            self.now(), self.fault, self.trouble, self.serial, self.readings, self.switch,
            tuple(self.intervals), tuple(self.answered_spans), self.events, self.clock_offset_ms,
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
        gathered.blame(Fault.SILENT, str(error))


@contextmanager
def _nonsense_noted(gathered: _Gathered) -> Iterator[None]:
    try:
        yield
    except LinkDown:
        raise
    except GridtallyError as error:
        gathered.blame(Fault.NONSENSE, str(error))


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


def _read_clock(g: _Gathered) -> Conversation[None]:
    meter_ms = yield from g.port.read_clock()
    g.clock_offset_ms = meter_ms - g.now()


def _can(capability: Capability, asked: Callable[[PollRequest], bool]) -> Callable[[_Gathered], bool]:
    return lambda g: capability in g.port.capabilities and asked(g.request)


_STEPS: tuple[tuple[Callable[[_Gathered], bool], Callable[[_Gathered], Conversation[None]]], ...] = (
    (lambda g: g.request.instant, _read_instant),
    (lambda g: g.request.switch, _read_switch),  # a meter without one says so
    (_can(Capability.CLOCK, lambda r: r.clock), _read_clock),
    (_can(Capability.EVENTS, lambda r: r.events_after_ms is not None), _read_events),
    (_can(Capability.LOAD_PROFILE, lambda r: bool(r.spans)), _read_spans),
)
