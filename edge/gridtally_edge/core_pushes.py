"""The core's part in what nobody asked for: pushes, alarms, broadcasts, and the network's word of its nodes.

* A message of a line is given to the drivers of that line's meters that hear; whoever it names in its content gets it, not
  whoever sent it. The way a sender was read last is tried first, and one nobody could read is left alone for a while; the
  log tells of it once an hour.
* Whose it is, any driver of the line may tell. What is in it, the port of that meter tells, by its keys and with the layouts
  and counters it has learnt: what that port refuses, and what was replayed, counts for nothing.
* Registers that a polled meter pushes are stored; money is charged by what it was asked for, whose moments are ours.
* The key (meter, push setup, clock) makes repeats harmless, and their order is of no matter: values carry their own times.
* One message may speak of several meters (a P1 port with a gas channel): every meter that is only listened to reads it.
* An alert carries all that stands in the status word: what is new in it is an event now, and the log is read at once; its
  entry of the same alarm is then no second event.
* An event that is urgent is committed and sent at once. Broadcasts of a meter that tells no clock are thinned to one a
  minute: their registers only rise.
* A meter that is only listened to is silent when nothing came for `SILENT_INTERVALS`.
* A serial that no configuration knows becomes a proposal, like one found by asking.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from gridtally_edge.core_events import Effect, Moment
from gridtally_edge.drivers.model import Capability, MeterEvent, Pushed
from gridtally_edge.journal.readings import MeterState, MeterUpdate
from gridtally_edge.polling.plans import Content
from gridtally_edge.polling.poll import Fault, PollResult
from gridtally_edge.polling.street import Hears, StreetMeter
from gridtally_edge.polling.update import ANSWERS_AGAIN, SILENT, marked, meter_read_of, rows_of
from gridtally_edge.transports.heard import Heard, NodeChanged
from gridtally_edge.transports.nodes import report_of
from gridtally_shared.contract import messages as m
from gridtally_shared.errors import GridtallyError
from gridtally_shared.events import event_type
from gridtally_shared.records import dataclass

if TYPE_CHECKING:
    from gridtally_edge.core import EdgeCore

THIN_MS = 60_000
SILENT_INTERVALS = 4
UNREADABLE_FOR_S = 60.0
TOLD_EVERY_S = 3_600.0
MOST_SOURCES = 4_096

log = logging.getLogger("gridtally.pushes")


@dataclass(slots=True)
class Ears:
    """What was learnt of senders: who reads them (key of a meter), since when nobody could, and when the log told of it. Counts
    of messages: replayed ones, ones that the meter's port refused, and ones that nobody could read."""

    reader: dict[tuple[str, str], str] = field(default_factory=dict)
    unreadable_s: dict[tuple[str, str], float] = field(default_factory=dict)
    told_s: dict[tuple[str, str], float] = field(default_factory=dict)
    repeats: int = 0
    refused: int = 0
    unread: int = 0

    def note(self, source: tuple[str, str], key: str) -> None:
        _make_room(self.reader)
        self.reader[source] = key
        self.unreadable_s.pop(source, None)

    def give_up(self, source: tuple[str, str], mono_s: float) -> None:
        _make_room(self.unreadable_s)
        self.unreadable_s[source] = mono_s
        self.unread += 1

    def is_news(self, source: tuple[str, str], mono_s: float) -> bool:
        """Whether it is time to tell again of a sender that can not be used."""
        if mono_s - self.told_s.get(source, float("-inf")) < TOLD_EVERY_S:
            return False
        _make_room(self.told_s)
        self.told_s[source] = mono_s
        return True


def heard(core: EdgeCore, message: Heard, moment: Moment) -> tuple[Effect, ...]:
    source = (message.line, message.source)
    if moment.mono_s - core.ears.unreadable_s.get(source, float("-inf")) < UNREADABLE_FOR_S:
        return ()
    at_ms = moment.now_ms - int(max(0.0, moment.mono_s - message.mono_s) * 1_000 * moment.factor)
    effects: tuple[Effect, ...] = ()
    was_read = False
    for reader in _readers(core, message):
        pushed = _read(reader.on_line.hears, message.data, at_ms)
        if pushed is None:
            continue
        was_read = True
        core.ears.note(source, reader.key)
        meter = _sender(core, reader, pushed)
        own = pushed if meter is None else _of_own_port(core, meter, message, pushed, at_ms)
        effects += _take(core, reader, meter, message, own, moment) if own else ()
        if not reader.on_line.listens_only:
            break
    if not was_read and message.source:
        core.ears.give_up(source, moment.mono_s)
        told = logging.WARNING if core.ears.is_news(source, moment.mono_s) else logging.DEBUG
        log.log(told, "line %s: nobody can read what %s sends", message.line, message.source)
    return effects


def node_changed(core: EdgeCore, change: NodeChanged, moment: Moment) -> tuple[Effect, ...]:
    core.routes.note(change)
    report = report_of(change, moment.now_ms, _serial_behind(core, change))
    core.journal.report_node(report, core.lane(), moment.now_ms)
    return core.send(moment)


def _serial_behind(core: EdgeCore, change: NodeChanged) -> str:
    """The meter that is read through this node, once it told its serial."""
    on_line = (x for x in core.street.meters.values() if x.on_line.line == change.line)
    return next((x.serial for x in on_line if change.node and x.on_line.address == change.node), "")


def silent_listeners(core: EdgeCore, moment: Moment) -> None:
    """Meters that are only listened to, and were not heard for long."""
    for meter in core.street.meters.values():
        if not (meter.on_line.listens_only and meter.meter_no):
            continue
        state = core.state_of(meter.meter_no)
        if state.answering and moment.now_ms - state.contact_ms > SILENT_INTERVALS * meter.interval_ms:
            meter.last_fault, meter.trouble = Fault.SILENT, "nothing was heard of it for long"
            events = (MeterEvent(SILENT, moment.now_ms, meter.trouble),)
            core.gather(MeterUpdate(replace(state, answering=False), meter.interval_ms, events=events), state, moment)


def _readers(core: EdgeCore, message: Heard) -> Iterator[StreetMeter]:
    """Who may be able to read it, the likeliest first."""
    hearing = [x for x in core.street.meters.values() if x.on_line.line == message.line and x.on_line.hears is not None]
    known = core.ears.reader.get((message.line, message.source))
    host = message.source.rpartition(":")[0] or message.source
    hearing.sort(key=lambda x: (x.key != known, not host or not x.on_line.address.startswith(host)))
    return iter(hearing)


def _read(hears: Hears | None, data: bytes, at_ms: int) -> Pushed | None:
    try:
        return hears(data, at_ms) if hears else None
    except GridtallyError:
        return None


def _of_own_port(core: EdgeCore, meter: StreetMeter, message: Heard, pushed: Pushed, at_ms: int) -> Pushed | None:
    """What the meter's own port makes of a push that names it; None where that counts for nothing."""
    if meter.on_line.takes is None:
        return pushed
    own = _read(meter.on_line.takes, message.data, at_ms)
    if own is None:
        core.ears.refused += 1
        told = logging.WARNING if core.ears.is_news((message.line, meter.key), message.mono_s) else logging.DEBUG
        log.log(told, "meter %s: what %s sends in its name is not protected as agreed", meter.key, message.source)
    elif own.replayed:
        core.ears.repeats += 1
        return None
    return own


def _take(
    core: EdgeCore, reader: StreetMeter, meter: StreetMeter | None, message: Heard, pushed: Pushed, moment: Moment
) -> tuple[Effect, ...]:
    if meter is None:
        seen = m.MeterSeen(pushed.serial, message.line, reader.on_line.driver, message.source, moment.now_ms)
        core.journal.meter_seen(seen, core.lane(), moment.now_ms)
        return core.send(moment)
    if meter.on_line.listens_only:
        core.street.heard(meter, pushed.serial)
    core.propose(meter, pushed.serial, moment)
    if not meter.meter_no or meter.wrong_form:
        return core.send(moment)
    before, pushed = core.state_of(meter.meter_no), _only_new_alarms(meter, pushed)
    if pushed.clock_ms is None and not pushed.events and 0 <= moment.now_ms - before.contact_ms < THIN_MS:
        return ()
    core.gather(_update(meter, pushed, before, moment), before, moment)
    if meter.on_line.listens_only:
        core.gather_read(meter_read_of(meter.meter_no, _as_result(pushed, moment), limits=meter.on_line.limits))
    if any(event_type(event.code).urgent for event in pushed.events):
        return core.flush(moment) + core.send(moment)
    return ()


def _only_new_alarms(meter: StreetMeter, pushed: Pushed) -> Pushed:
    if not pushed.events:
        return pushed
    standing, known = frozenset(event.code for event in pushed.events), meter.standing or frozenset()
    new = tuple(event for event in pushed.events if event.code not in known)
    meter.standing = standing
    meter.alarm |= bool(new) and meter.on_line.can(Capability.EVENTS)
    meter.told.update({event.code: event.at_ms for event in new})
    return replace(pushed, events=new)


def _sender(core: EdgeCore, reader: StreetMeter, pushed: Pushed) -> StreetMeter | None:
    """The meter of that serial; the reader itself when it is the first to be heard at its place."""
    for meter in core.street.meters.values():
        if meter.serial == pushed.serial:
            return meter
    if reader.on_line.listens_only and not reader.serial:
        return reader
    return None


def _update(meter: StreetMeter, pushed: Pushed, before: MeterState, moment: Moment) -> MeterUpdate:
    state = replace(before, serial=pushed.serial, contact_ms=max(before.contact_ms, moment.now_ms), answering=True)
    back = not before.answering and before.contact_ms > 0
    events = (*pushed.events, *((MeterEvent(ANSWERS_AGAIN, moment.now_ms, ""),) if back else ()))
    key = None if pushed.clock_ms is None else (pushed.serial, pushed.setup, pushed.clock_ms)
    return MeterUpdate(
        state, meter.interval_ms, pushed.readings, marked(pushed.intervals, before, meter.interval_ms), events,
        forms_intervals=not (meter.on_line.can(Capability.LOAD_PROFILE) or pushed.intervals),
        limits=meter.on_line.limits, rows=rows_of(Content.DAILY, pushed.daily) + rows_of(Content.BILLING, pushed.billing), push_key=key,
    )  # fmt: skip


def _as_result(pushed: Pushed, moment: Moment) -> PollResult:
    return PollResult(moment.now_ms, serial=pushed.serial, readings=pushed.readings)


def _make_room(table: dict[tuple[str, str], Any]) -> None:
    """Forged senders must not fill the memory."""
    if len(table) >= MOST_SOURCES:
        table.pop(next(iter(table)))
