"""The edge core: one event in, effects out. Owns the readings journal, the planner, the uplink and the prepay core.

* Called by one thread only. It does no I/O of its own but the two stores; lines, broker and clock are the agent's.
* Results of polls are gathered and committed together (`flush`); only then does the prepay core hear of them, and only
  what is committed can leave.
* A message from below or above that does not fit is counted, logged and dropped; it stops nothing.

Source: architecture.md 5 (Threads).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gridtally_edge import core_clock, core_link, core_meters, core_orders, core_pushes, core_tasks
from gridtally_edge.core_events import (
    Beat,
    ClockStepped,
    CoreEvent,
    Effect,
    MetersChanged,
    Moment,
    PollDone,
    Publish,
    ReadDone,
    RenewPort,
    SlowDown,
    StartPoll,
    SwitchDone,
    TaskDone,
)
from gridtally_edge.core_pushes import Ears
from gridtally_edge.core_tasks import Unplaced
from gridtally_edge.counter import Asked
from gridtally_edge.drivers.model import MeterEvent
from gridtally_edge.journal.readings import MeterState, MeterUpdate, ReadingsJournal
from gridtally_edge.journal.sqlite import transaction
from gridtally_edge.polling.forming import INTERVAL_OF_REGISTER
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.ondemand import answer_to, refused
from gridtally_edge.polling.poll import Fault, PollRequest, PollResult
from gridtally_edge.polling.street import MeterOnLine, Street, StreetMeter
from gridtally_edge.polling.update import CLOCK_TOLERANCE_MS, PERIOD_CHANGED, meter_read_of, state_after_switch, update_of
from gridtally_edge.polling.watching import adopt, condition_after, form_event, without_content, without_told
from gridtally_edge.prepay import events as p
from gridtally_edge.sync.downlink import Identity, SignedConfig, open_config
from gridtally_edge.sync.greetings import Greetings
from gridtally_edge.sync.mqtt import Arrived, LinkLost, LinkUp
from gridtally_edge.sync.uplink import State, Uplink
from gridtally_edge.transports.heard import Heard, NodeChanged
from gridtally_edge.transports.routes import Routes
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_LANE, BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.events import BY_NAME as EVENT_BY_NAME
from gridtally_shared.lifecycle import Reason

if TYPE_CHECKING:
    from gridtally_edge.prepay.core import PrepayCore
from gridtally_shared.quantities import ENERGY_IMPORT

AGENT_VERSION = "0.1.0"
FLUSH_AFTER_S = 5.0
FLUSH_AFTER_FAST_S = 0.2
TICK_MS = 60_000
STORE_RECEIPTS_S = 1.0
PRUNE_EVERY_MS = 6 * MS_PER_HOUR
SLOWER = 0.7
SLOWER_AT_MOST_EVERY_S = 5.0
OVERRUN_SHARE = 10
PERIOD_WRITTEN = EVENT_BY_NAME["capture_period_set"].code
INTERVAL_IMPORT = INTERVAL_OF_REGISTER[ENERGY_IMPORT.code]

log = logging.getLogger("gridtally.core")


class EdgeCore:
    """`begin`, then `start` with the money, then anything else; but polls may leave in between, so that the meters are asked while the
    prepay core is still being loaded. Their results wait for `start`."""

    prepay: PrepayCore
    uplink: Uplink

    def __init__(self, identity: Identity, journal: ReadingsJournal, meters: Iterable[MeterOnLine]) -> None:
        self.identity, self.journal = identity, journal
        self.street = Street(meters, self.state_of, self._stored, lambda no, kind: journal.stored_rows(no, kind.value))
        self.ears, self.routes = Ears(), Routes()
        self.unplaced: list[Unplaced] = []
        self.config_version = 0
        self.uplink_trouble = "not connected yet"
        self.refused_messages = 0
        self.slowed_to: float | None = None
        self._stored_config: SignedConfig | None = None
        self._updates: list[MeterUpdate] = []
        self._reads: list[p.MeterRead] = []
        self._newest: dict[int, MeterState] = {}
        self._first_update_s = 0.0
        self._tick_ms = self._prune_ms = 0
        self._receipts_s = self._slowed_s = float("-inf")
        self.greetings = Greetings()

    def begin(self) -> None:
        """The meters are bound as the stored configuration names them."""
        envelope = self.journal.config()
        self._stored_config = None if envelope is None else open_config(self.identity, envelope)
        if self._stored_config is not None:
            self.street.bind(self._stored_config.config.meters)

    def start(self, prepay: PrepayCore, moment: Moment) -> tuple[Effect, ...]:
        """What the prepay core wants to make good, and the stored configuration."""
        self.prepay, self.uplink = prepay, Uplink((prepay.outbox, self.journal.outbox))
        effects = self._prepay_effects(prepay.start(moment.now_ms), moment)
        if self._stored_config is not None:
            effects += self.accept_config(self._stored_config, moment)
            self._stored_config = None
        self._tick_ms = self._prune_ms = moment.now_ms
        return effects

    def handle(self, event: CoreEvent, moment: Moment) -> tuple[Effect, ...]:
        return _HANDLERS[type(event)](self, event, moment)

    def next_wake_ms(self, now_ms: int) -> int:
        """UTC at which the next beat is worth while."""
        return min(self.street.next_due_ms(now_ms), self._tick_due_ms())

    def _tick_due_ms(self) -> int:
        """A minute after the last one, or when the prepay core asked to be woken."""
        minute_ms, wake_ms = self._tick_ms + TICK_MS, self.prepay.wake_ms
        return minute_ms if wake_ms is None else min(minute_ms, wake_ms)

    def close(self, moment: Moment) -> tuple[Effect, ...]:
        """Commit what is gathered; the effects may be dropped, they are made good at the next start."""
        effects = self.flush(moment)
        self._store_receipts(moment)
        return effects

    # ---- time -----------------------------------------------------------------------------------------------

    def _beat(self, _: Beat, moment: Moment) -> tuple[Effect, ...]:
        effects = self.polls(moment) + core_tasks.due_syncs(self, moment) + core_tasks.placed(self, moment)
        effects += self._flush_if_due(moment) + self._tick(moment) + self._too_fast(moment)
        if moment.mono_s - self._receipts_s >= STORE_RECEIPTS_S:
            self._store_receipts(moment)
        if moment.now_ms - self._prune_ms >= PRUNE_EVERY_MS:
            self._prune(moment)
        return effects + self.send(moment)

    def _prune(self, moment: Moment) -> None:
        """What is old is said by a clock that is believed only: by one years ahead, all of it would be."""
        if self.prepay.clock(moment.now_ms).state is not m.ClockState.UNTRUSTED:
            self._prune_ms = moment.now_ms
            self.journal.prune(moment.now_ms)

    def polls(self, moment: Moment) -> tuple[Effect, ...]:
        return tuple(StartPoll(meter.key, due.request, due.priority) for meter, due in self.street.due(moment.now_ms, moment.factor <= 1))

    def _tick(self, moment: Moment) -> tuple[Effect, ...]:
        if moment.now_ms < self._tick_due_ms():
            return ()
        self._tick_ms = moment.now_ms
        core_pushes.silent_listeners(self, moment)
        return self.tell_prepay(p.Tick(), moment)

    def _too_fast(self, moment: Moment) -> tuple[Effect, ...]:
        late = self.street.overrunning() if moment.factor > 1 else 0
        if late * OVERRUN_SHARE <= len(self.street.meters) or moment.mono_s - self._slowed_s < SLOWER_AT_MOST_EVERY_S:
            return ()
        self._slowed_s, self.slowed_to = moment.mono_s, max(1.0, moment.factor * SLOWER)
        log.warning("virtual time slows down: %d meters could not be read in time", late, extra={"factor": self.slowed_to})
        return (SlowDown(self.slowed_to),)

    # ---- polls ----------------------------------------------------------------------------------------------

    def _poll_done(self, done: PollDone, moment: Moment) -> tuple[Effect, ...]:
        meter = self.street.meters.get(done.key)
        if meter is None:  # taken out of the registry while it was asked
            return ()
        number = meter.meter_no
        self.street.finished(meter, done.result)
        renewed = self._note(meter, number, done.request, done.result, moment)
        if not any(other.asked for other in self.street.meters.values()):
            return renewed + self.flush(moment) + self.send(moment)
        return renewed + self._flush_if_due(moment)

    def _read_done(self, done: ReadDone, moment: Moment) -> tuple[Effect, ...]:
        meter = self.street.meters.get(done.key)
        if meter is None:
            return self.tell_prepay(refused(done.run.cmd_id, Reason.UNKNOWN_METER, moment.now_ms), moment)
        effects = self._note(meter, done.run.meter_no, done.request, done.result, moment)
        effects += self.flush(moment)
        route = self.routes.route_to(self.identity.dcu, meter.on_line.line, meter.on_line.address)
        answer = answer_to(done.run, done.result, meter.interval_ms, route)
        return effects + self.tell_prepay(answer, moment) + self.send(moment)

    def _switch_done(self, done: SwitchDone, moment: Moment) -> tuple[Effect, ...]:
        effects = self.tell_prepay(p.SwitchFinished(done.order.action_id, done.outcome), moment)
        meter, before = self.street.by_number(done.order.meter_no), self.state_of(done.order.meter_no)
        if meter is not None:
            self.gather(MeterUpdate(state_after_switch(before, done.outcome), meter.interval_ms), before, moment)
        return effects + self.flush(moment) + self.send(moment)

    def _note(
        self, meter: StreetMeter, number: int, request: PollRequest, result: PollResult, moment: Moment
    ) -> tuple[Effect, ...]:
        """Gather a result under the number its meter had when it was asked."""
        if result.serial:
            self.propose(meter, result.serial, moment, result.fault is Fault.WRONG_METER)
        condition = condition_after(meter, result)
        adopt(meter, condition)
        form = form_event(meter, number, result)
        if meter.wrong_form:
            result = without_content(result)
        result = without_told(meter, result)
        if not number:
            self._report(form, moment)
            return ()
        before = self.state_of(number)
        tolerance_ms = max(CLOCK_TOLERANCE_MS, int(moment.factor * 1000))
        update = update_of(meter, request, result, before, tolerance_ms)
        self.gather(replace(update, events=(*update.events, *condition.events, *((form,) if form else ()))), before, moment)
        core_tasks.clock_was_read(self, meter, result, moment)
        clock_is_ours = update.state.clock_set_ms is not None
        self.gather_read(meter_read_of(number, result, tolerance_ms, meter.on_line.limits, clock_is_ours))
        meter.swapped_in &= not result.readings
        stale = any(event.code in (PERIOD_CHANGED, PERIOD_WRITTEN) for event in update.events)
        return (RenewPort(meter.key),) if stale else ()

    def _report(self, event: MeterEvent | None, moment: Moment) -> None:
        """An event of a meter that has no number yet: the DCU's own."""
        if event is not None:
            self.journal.add_event(m.Event(0, event.code, event.at_ms, event.detail), self.lane(), moment.now_ms)

    def propose(self, meter: StreetMeter, serial: str, moment: Moment, unexpected: bool = False) -> None:
        """Tell the cloud of a meter it does not know, and of one that answers elsewhere than it was seen."""
        on_line = meter.on_line
        here = (None, (on_line.line, on_line.address))
        if meter.meter_no and not (unexpected or meter.moved) and self.journal.place_of(serial) in here:
            return
        meter.moved = False
        seen = m.MeterSeen(serial, on_line.line, on_line.driver, on_line.address, moment.now_ms)
        self.journal.meter_seen(seen, self.lane(), moment.now_ms)

    def gather_read(self, read: p.MeterRead | None) -> None:
        """Keep what the prepay core is told at the next flush."""
        if read is not None:
            self._reads.append(read)

    def gather(self, update: MeterUpdate, before: MeterState, moment: Moment) -> None:
        """Keep what is new until the next flush."""
        if update.state == before and not (update.readings or update.intervals or update.events):
            return
        if not self._updates:
            self._first_update_s = moment.mono_s
        self._updates.append(update)
        self._newest[update.state.meter_no] = update.state

    def _flush_if_due(self, moment: Moment) -> tuple[Effect, ...]:
        patience_s = FLUSH_AFTER_S if moment.factor <= 1 else FLUSH_AFTER_FAST_S
        if not self._updates or moment.mono_s - self._first_update_s < patience_s:
            return ()
        return self.flush(moment)

    def flush(self, moment: Moment) -> tuple[Effect, ...]:
        if not self._updates:
            return ()
        updates, reads = tuple(self._updates), tuple(self._reads)
        self._updates, self._reads, self._newest = [], [], {}
        self.journal.commit_sweep(updates, self.lane(), moment.now_ms)
        return self.tell_prepay(p.SweepRead(reads), moment) if reads else ()

    def state_of(self, meter_no: int) -> MeterState:
        return self._newest.get(meter_no) or self.journal.states.get(meter_no) or MeterState(meter_no)

    def _stored(self, meter_no: int, span: Span) -> frozenset[int]:
        return self.journal.stored_starts(meter_no, INTERVAL_IMPORT, span)

    def lane(self) -> m.Lane:
        """What is made while the uplink is away is backlog, so that it never delays what is made afterwards."""
        return m.Lane.LIVE if self.uplink.state is State.OPEN else m.Lane.BACKLOG

    def order(self, effect: p.PrepayEffect, moment: Moment) -> tuple[Effect, ...]:
        """Carry out an effect of the prepay core."""
        return core_orders.ORDERS[type(effect)](self, effect, moment)

    # ---- prepay ---------------------------------------------------------------------------------------------

    def tell_prepay(self, event: p.PrepayEvent, moment: Moment) -> tuple[Effect, ...]:
        return self._prepay_effects(self.prepay.handle(event, moment.now_ms, moment.mono_ms), moment)

    def _prepay_effects(self, effects: Sequence[p.PrepayEffect], moment: Moment) -> tuple[Effect, ...]:
        self.street.hurry(self.prepay.near)
        return tuple(order for effect in effects for order in self.order(effect, moment))

    # ---- uplink ---------------------------------------------------------------------------------------------

    def accept_config(self, signed: SignedConfig, moment: Moment) -> tuple[Effect, ...]:
        config = signed.config
        self.config_version = config.version
        self.street.bind(config.meters)
        log.info("configuration %d: %d meters, %d accounts", config.version, len(config.meters), len(config.accounts))
        return self.tell_prepay(p.ConfigAccepted(config), moment)

    def send(self, moment: Moment) -> tuple[Effect, ...]:
        dcu = self.identity.dcu
        if self.uplink.hello_is_due(moment.mono_s):
            return self.greet(moment)
        batches = self.uplink.next_batches(moment.mono_s, moment.now_ms)
        return tuple(Publish(BY_LANE[m.Lane(b.lane)].topic(dcu), encode(b)) for b in batches)

    def greet(self, moment: Moment) -> tuple[Effect, ...]:
        self.greetings.sent(moment.now_ms, moment.mono_s)
        return (Publish(BY_NAME["hello"].topic(self.identity.dcu), encode(self._hello(moment))),)

    def _hello(self, moment: Moment) -> m.Hello:
        return m.Hello(
            m.CONTRACT_VERSION, self.identity.dcu, self.identity.boot_id, AGENT_VERSION, moment.now_ms,
            int(self.prepay.clock(moment.now_ms).state), self.config_version, self.uplink.heads(), self.prepay.heads(),
            self.prepay.counters(),
        )  # fmt: skip

    def _store_receipts(self, moment: Moment) -> None:
        self._receipts_s = moment.mono_s
        for outbox, lane, upto in self.uplink.unstored_receipts():
            with transaction(outbox.connection):
                outbox.receipt(outbox.stream_id, lane, upto, moment.now_ms)


_HANDLERS: dict[type, Callable[[EdgeCore, Any, Moment], tuple[Effect, ...]]] = {
    Asked: core_orders.asked,
    Beat: EdgeCore._beat,
    PollDone: EdgeCore._poll_done,
    ReadDone: EdgeCore._read_done,
    SwitchDone: EdgeCore._switch_done,
    TaskDone: core_tasks.task_done,
    MetersChanged: core_meters.meters_changed,
    ClockStepped: core_clock.stepped,
    Heard: core_pushes.heard,
    NodeChanged: core_pushes.node_changed,
    LinkUp: core_link.link_up,
    LinkLost: core_link.link_lost,
    Arrived: core_link.arrived,
    p.ClockObserved: core_link.hand_on,
}
