"""The meters of this concentrator as the core sees them: who is bound, who is being asked, who is due.

* A meter on a line (registry) becomes a meter of the installation when its serial is bound in the signed configuration.
  Before that it is only asked who it is.
* The serial decides, not the place: another meter answering at an address is found out, and served under its own number
  if it has one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gridtally_edge.journal.readings import MeterState
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.plan import Due, MeterView, audit_is_due, due_now, next_due_ms
from gridtally_edge.polling.poll import Fault, PollResult
from gridtally_shared.contract.messages import MeterConfig

DEFAULT_INTERVAL_MS = 900_000
SILENT_AFTER = 3

log = logging.getLogger("gridtally.street")

StoredStarts = Callable[[int, Span], frozenset[int]]
"""(meter_no, span) -> starts of stored intervals."""


@dataclass(frozen=True, slots=True)
class MeterOnLine:
    """What the registry and the driver say. `interval_ms` 0: the meter keeps no profile, the configuration decides."""

    key: str
    line: str
    driver: str
    address: str
    serial: str = ""
    interval_ms: int = 0
    has_profile: bool = False
    has_events: bool = False
    has_display: bool = False


@dataclass(slots=True)
class StreetMeter:
    """A meter's moving parts."""

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

    @property
    def key(self) -> str:
        return self.on_line.key

    @property
    def meter_no(self) -> int:
        return self.binding.meter_no if self.binding else 0

    @property
    def interval_ms(self) -> int:
        configured = self.binding.interval_s * 1000 if self.binding else DEFAULT_INTERVAL_MS
        return self.on_line.interval_ms or configured

    def view(self, places: int, state: MeterState) -> MeterView:
        on_line = self.on_line
        return MeterView(
            self.serial, self.interval_ms, on_line.has_profile, on_line.has_events, self.place, places, state.mark_ms,
            state.events_ms, state.clock_read_ms, self.polled_ms, self.audited_ms, self.failures, self.binding is not None,
        )  # fmt: skip


class Street:
    """`states` gives the journal's memory of a meter number."""

    def __init__(self, meters: Iterable[MeterOnLine], states: Callable[[int], MeterState], stored: StoredStarts) -> None:
        self.meters = {m.key: StreetMeter(m, place, m.serial) for place, m in enumerate(meters)}
        self._states, self._stored = states, stored
        self._bindings: dict[str, MeterConfig] = {}

    def bind(self, meters: Iterable[MeterConfig]) -> None:
        """The bindings of a new configuration, by serial."""
        self._bindings = {m.serial: m for m in meters}
        for meter in self.meters.values():
            self._rebind(meter)

    def by_number(self, meter_no: int) -> StreetMeter | None:
        return next((m for m in self.meters.values() if m.meter_no == meter_no and meter_no), None)

    def due(self, now_ms: int) -> tuple[tuple[StreetMeter, Due], ...]:
        """What is to be asked now; each of them counts as asked from here on."""
        found = []
        for meter in self.meters.values():
            view = meter.view(len(self.meters), self._states(meter.meter_no))
            if meter.asked:
                meter.overran |= meter.failures == 0 and now_ms - meter.asked_ms > meter.interval_ms
                continue
            due = due_now(view, now_ms, self._starts(meter.meter_no))
            if due is not None:
                meter.asked, meter.asked_ms = True, now_ms
                self._note_turn(meter, due, view, now_ms)
                found.append((meter, due))
        return tuple(found)

    def next_due_ms(self, now_ms: int) -> int:
        """When somebody is due next; an interval from now when there are no meters."""
        views = [m.view(len(self.meters), self._states(m.meter_no)) for m in self.meters.values() if not m.asked]
        return min((next_due_ms(v, now_ms) for v in views), default=now_ms + DEFAULT_INTERVAL_MS)

    def finished(self, meter: StreetMeter, result: PollResult) -> None:
        """A planned poll came back: learn who answered and whether all is well."""
        meter.asked = False
        meter.last_fault, meter.trouble = result.fault, result.trouble
        if result.fault is not Fault.NONE:
            log.info("meter %s: %s", meter.key, result.trouble, extra={"failures": meter.failures + 1})
        meter.failures = 0 if result.answered and result.fault is not Fault.WRONG_METER else meter.failures + 1
        if result.serial and result.serial != meter.serial:
            meter.serial, meter.failures, meter.polled_ms = result.serial, 0, None
            self._rebind(meter)

    def overrunning(self) -> int:
        """Meters that were being asked for longer than an interval, since the last call; silent ones do not count."""
        late = [m for m in self.meters.values() if m.overran]
        for meter in late:
            meter.overran = False
        return len(late)

    def _rebind(self, meter: StreetMeter) -> None:
        binding = self._bindings.get(meter.serial) if meter.serial else None
        if binding != meter.binding:
            meter.binding, meter.polled_ms, meter.audited_ms = binding, None, None

    def _note_turn(self, meter: StreetMeter, due: Due, view: MeterView, now_ms: int) -> None:
        if due.request.instant or not view.bound:
            meter.polled_ms = now_ms
        if due.request.instant and view.mark_ms is not None and audit_is_due(view, now_ms):
            meter.audited_ms = now_ms

    def _starts(self, meter_no: int) -> Callable[[Span], frozenset[int]]:
        return lambda span: self._stored(meter_no, span)
