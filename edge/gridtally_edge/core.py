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
from typing import Any

from gridtally_edge.core_events import (
    Beat,
    CoreEvent,
    Effect,
    Moment,
    PollDone,
    Publish,
    ReadDone,
    SlowDown,
    StartPoll,
    StartRead,
    StartShow,
    StartSwitch,
    SwitchDone,
)
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.readings import MeterState, MeterUpdate, ReadingsJournal
from gridtally_edge.journal.sqlite import transaction
from gridtally_edge.polling.forming import INTERVAL_OF_REGISTER
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.ondemand import answer_to, refused, request_for
from gridtally_edge.polling.poll import Fault, PollRequest, PollResult
from gridtally_edge.polling.street import MeterOnLine, Street, StreetMeter
from gridtally_edge.polling.update import CLOCK_TOLERANCE_MS, meter_read_of, update_of
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.core import PrepayCore
from gridtally_edge.sync.downlink import Identity, SignedConfig, open_config, open_message
from gridtally_edge.sync.mqtt import Arrived, LinkLost, LinkUp
from gridtally_edge.sync.uplink import State, Uplink
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_LANE, BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.errors import ContractError
from gridtally_shared.lifecycle import Reason
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
INTERVAL_IMPORT = INTERVAL_OF_REGISTER[ENERGY_IMPORT.code]

log = logging.getLogger("gridtally.core")


class EdgeCore:
    def __init__(
        self, identity: Identity, journal: ReadingsJournal, prepay: PrepayCore, meters: Iterable[MeterOnLine]
    ) -> None:
        self.identity, self.journal, self.prepay = identity, journal, prepay
        self.street = Street(meters, self._state, self._stored)
        self.uplink = Uplink((prepay.outbox, journal.outbox))
        self.config_version = 0
        self.uplink_trouble = "not connected yet"
        self.refused_messages = 0
        self.slowed_to: float | None = None
        self._updates: list[MeterUpdate] = []
        self._reads: list[p.MeterRead] = []
        self._newest: dict[int, MeterState] = {}
        self._first_update_s = 0.0
        self._tick_ms = self._prune_ms = 0
        self._receipts_s = self._slowed_s = float("-inf")

    def start(self, moment: Moment) -> tuple[Effect, ...]:
        """After a start: the stored configuration, and what the prepay core wants to make good."""
        effects = self._prepay_effects(self.prepay.start(moment.now_ms), moment)
        envelope = self.journal.config()
        if envelope is not None:
            effects += self._accept_config(open_config(self.identity, envelope), moment)
        self._tick_ms = self._prune_ms = moment.now_ms
        return effects

    def handle(self, event: CoreEvent, moment: Moment) -> tuple[Effect, ...]:
        return _HANDLERS[type(event)](self, event, moment)

    def next_wake_ms(self, now_ms: int) -> int:
        """UTC at which the next beat is worth while."""
        return min(self.street.next_due_ms(now_ms), self._tick_ms + TICK_MS)

    def close(self, moment: Moment) -> tuple[Effect, ...]:
        """Commit what is gathered; the effects may be dropped, they are made good at the next start."""
        effects = self._flush(moment)
        self._store_receipts(moment)
        return effects

    # ---- time -----------------------------------------------------------------------------------------------

    def _beat(self, _: Beat, moment: Moment) -> tuple[Effect, ...]:
        effects = self._polls(moment) + self._flush_if_due(moment) + self._tick(moment) + self._too_fast(moment)
        if moment.mono_s - self._receipts_s >= STORE_RECEIPTS_S:
            self._store_receipts(moment)
        if moment.now_ms - self._prune_ms >= PRUNE_EVERY_MS:
            self._prune_ms = moment.now_ms
            self.journal.prune(moment.now_ms)
        return effects + self._send(moment)

    def _polls(self, moment: Moment) -> tuple[Effect, ...]:
        return tuple(StartPoll(meter.key, due.request, due.priority) for meter, due in self.street.due(moment.now_ms))

    def _tick(self, moment: Moment) -> tuple[Effect, ...]:
        if moment.now_ms - self._tick_ms < TICK_MS:
            return ()
        self._tick_ms = moment.now_ms
        return self._tell_prepay(p.Tick(), moment)

    def _too_fast(self, moment: Moment) -> tuple[Effect, ...]:
        late = self.street.overrunning() if moment.factor > 1 else 0
        if late * OVERRUN_SHARE <= len(self.street.meters) or moment.mono_s - self._slowed_s < SLOWER_AT_MOST_EVERY_S:
            return ()
        self._slowed_s, self.slowed_to = moment.mono_s, max(1.0, moment.factor * SLOWER)
        log.warning("virtual time slows down: %d meters could not be read in time", late, extra={"factor": self.slowed_to})
        return (SlowDown(self.slowed_to),)

    # ---- polls ----------------------------------------------------------------------------------------------

    def _poll_done(self, done: PollDone, moment: Moment) -> tuple[Effect, ...]:
        meter = self.street.meters[done.key]
        number = meter.meter_no
        self.street.finished(meter, done.result)
        self._note(meter, number, done.request, done.result, moment)
        if not any(other.asked for other in self.street.meters.values()):
            return self._flush(moment) + self._send(moment)
        return self._flush_if_due(moment)

    def _read_done(self, done: ReadDone, moment: Moment) -> tuple[Effect, ...]:
        meter = self.street.meters[done.key]
        self._note(meter, done.run.meter_no, done.request, done.result, moment)
        effects = self._flush(moment)
        answer = answer_to(done.run, done.result, meter.interval_ms)
        return effects + self._tell_prepay(answer, moment) + self._send(moment)

    def _switch_done(self, done: SwitchDone, moment: Moment) -> tuple[Effect, ...]:
        return self._tell_prepay(p.SwitchFinished(done.order.action_id, done.outcome), moment) + self._send(moment)

    def _note(self, meter: StreetMeter, number: int, request: PollRequest, result: PollResult, moment: Moment) -> None:
        """Gather a result under the number its meter had when it was asked."""
        if result.serial and (not meter.meter_no or result.fault is Fault.WRONG_METER):
            on_line = meter.on_line
            seen = m.MeterSeen(result.serial, on_line.line, on_line.driver, on_line.address, moment.now_ms)
            self.journal.meter_seen(seen, self._lane(), moment.now_ms)
        if not number:
            return
        before = self._state(number)
        tolerance_ms = max(CLOCK_TOLERANCE_MS, int(moment.factor * 1000))
        update = update_of(meter, request, result, before, tolerance_ms)
        if update.state == before and not (update.readings or update.intervals or update.events):
            return
        if not self._updates:
            self._first_update_s = moment.mono_s
        self._updates.append(update)
        self._newest[number] = update.state
        read = meter_read_of(number, result, tolerance_ms)
        if read is not None:
            self._reads.append(read)

    def _flush_if_due(self, moment: Moment) -> tuple[Effect, ...]:
        patience_s = FLUSH_AFTER_S if moment.factor <= 1 else FLUSH_AFTER_FAST_S
        if not self._updates or moment.mono_s - self._first_update_s < patience_s:
            return ()
        return self._flush(moment)

    def _flush(self, moment: Moment) -> tuple[Effect, ...]:
        if not self._updates:
            return ()
        updates, reads = tuple(self._updates), tuple(self._reads)
        self._updates, self._reads, self._newest = [], [], {}
        self.journal.commit_sweep(updates, self._lane(), moment.now_ms)
        return self._tell_prepay(p.SweepRead(reads), moment) if reads else ()

    def _state(self, meter_no: int) -> MeterState:
        return self._newest.get(meter_no) or self.journal.states.get(meter_no) or MeterState(meter_no)

    def _stored(self, meter_no: int, span: Span) -> frozenset[int]:
        return self.journal.stored_starts(meter_no, INTERVAL_IMPORT, span)

    def _lane(self) -> m.Lane:
        """What is made while the uplink is away is backlog, so that it never delays what is made afterwards."""
        return m.Lane.LIVE if self.uplink.state is State.OPEN else m.Lane.BACKLOG

    # ---- prepay ---------------------------------------------------------------------------------------------

    def _tell_prepay(self, event: p.PrepayEvent, moment: Moment) -> tuple[Effect, ...]:
        return self._prepay_effects(self.prepay.handle(event, moment.now_ms, moment.mono_ms), moment)

    def _prepay_effects(self, effects: Sequence[p.PrepayEffect], moment: Moment) -> tuple[Effect, ...]:
        return tuple(order for effect in effects for order in _PREPAY_ORDERS[type(effect)](self, effect, moment))

    def _order_switch(self, order: p.RunSwitch, moment: Moment) -> tuple[Effect, ...]:
        meter = self.street.by_number(order.meter_no)
        if meter is not None:
            return (StartSwitch(meter.key, order),)
        unknown = SwitchState.UNKNOWN
        fault = f"meter {order.meter_no} is on no line of this concentrator"
        outcome = p.SwitchOutcome(p.SwitchResult.NO_ANSWER, "", unknown, unknown, False, moment.now_ms, fault=fault)
        return self._tell_prepay(p.SwitchFinished(order.action_id, outcome), moment)

    def _order_read(self, run: p.RunRead, moment: Moment) -> tuple[Effect, ...]:
        meter = self.street.by_number(run.meter_no)
        if meter is None:
            return self._tell_prepay(refused(run, Reason.UNKNOWN_METER, moment.now_ms), moment)
        request = request_for(run, meter.interval_ms)
        if request is None or (request.spans and not meter.on_line.has_profile):
            return self._tell_prepay(refused(run, Reason.UNSUPPORTED, moment.now_ms), moment)
        return (StartRead(meter.key, request, run),)

    def _order_show(self, show: p.ShowOnMeter, _: Moment) -> tuple[Effect, ...]:
        meter = self.street.by_number(show.meter_no)
        return (StartShow(meter.key, show),) if meter is not None and meter.on_line.has_display else ()

    def _announce(self, announce: p.Announce, _: Moment) -> tuple[Effect, ...]:
        log.info("message for account %d: %s", announce.account_no, announce.code)
        return ()

    # ---- uplink ---------------------------------------------------------------------------------------------

    def _link_up(self, _: LinkUp, moment: Moment) -> tuple[Effect, ...]:
        self.uplink.connected()
        self.uplink_trouble = "waiting for the cloud's welcome"
        return self._tell_prepay(p.LinkChanged(True), moment) + self._send(moment)

    def _link_lost(self, lost: LinkLost, moment: Moment) -> tuple[Effect, ...]:
        was_up = self.uplink.state is not State.OFFLINE
        self.uplink.disconnected()
        if lost.why != self.uplink_trouble:
            log.warning("uplink lost: %s", lost.why)
        self.uplink_trouble = lost.why
        return self._tell_prepay(p.LinkChanged(False), moment) if was_up else ()

    def _arrived(self, message: Arrived, moment: Moment) -> tuple[Effect, ...]:
        try:
            down = open_message(self.identity, message.topic, message.payload)
            return _DOWN[type(down)](self, down, moment)
        except ContractError as error:
            self.refused_messages += 1
            log.warning("message on %s dropped: %s", message.topic, error)
            return ()

    def _welcomed(self, welcome: m.Welcome, moment: Moment) -> tuple[Effect, ...]:
        older = self.uplink.to_renew(welcome)
        for outbox in older:
            log.warning("the cloud has more of stream %s than this store: starting a new stream", outbox.stream_id.hex())
            with transaction(outbox.connection):
                outbox.renew_stream()
        if older:
            self.uplink.renewed()
        else:
            self.uplink.welcomed(welcome)
            self.uplink_trouble = ""
        return self._tell_prepay(p.WelcomeSeen(welcome.at_ms, welcome.accounts), moment) + self._send(moment)

    def _receipt(self, receipt: m.Receipt, moment: Moment) -> tuple[Effect, ...]:
        if not self.uplink.receipt(receipt, moment.mono_s):
            log.warning("receipt of another cloud store: greeting again")
        return self._send(moment)

    def _config(self, signed: SignedConfig, moment: Moment) -> tuple[Effect, ...]:
        if signed.config.version <= self.config_version:
            return ()
        self.journal.store_config(signed.config.version, signed.envelope)
        return self._accept_config(signed, moment) + self._polls(moment)

    def _accept_config(self, signed: SignedConfig, moment: Moment) -> tuple[Effect, ...]:
        config = signed.config
        self.config_version = config.version
        self.street.bind(config.meters)
        log.info("configuration %d: %d meters, %d accounts", config.version, len(config.meters), len(config.accounts))
        return self._tell_prepay(p.ConfigAccepted(config), moment)

    def _hand_on(self, event: p.PrepayEvent, moment: Moment) -> tuple[Effect, ...]:
        return self._tell_prepay(event, moment) + self._send(moment)

    def _send(self, moment: Moment) -> tuple[Effect, ...]:
        dcu = self.identity.dcu
        if self.uplink.hello_is_due(moment.mono_s):
            return (Publish(BY_NAME["hello"].topic(dcu), encode(self._hello(moment))),)
        batches = self.uplink.next_batches(moment.mono_s, moment.now_ms)
        return tuple(Publish(BY_LANE[m.Lane(b.lane)].topic(dcu), encode(b)) for b in batches)

    def _hello(self, moment: Moment) -> m.Hello:
        return m.Hello(
            m.CONTRACT_VERSION, self.identity.dcu, self.identity.boot_id, AGENT_VERSION, moment.now_ms,
            int(self.prepay.clock(moment.now_ms).state), self.config_version, self.uplink.heads(), self.prepay.heads(),
        )  # fmt: skip

    def _store_receipts(self, moment: Moment) -> None:
        self._receipts_s = moment.mono_s
        for outbox, lane, upto in self.uplink.unstored_receipts():
            with transaction(outbox.connection):
                outbox.receipt(outbox.stream_id, lane, upto, moment.now_ms)


_HANDLERS: dict[type, Callable[[EdgeCore, Any, Moment], tuple[Effect, ...]]] = {
    Beat: EdgeCore._beat,
    PollDone: EdgeCore._poll_done,
    ReadDone: EdgeCore._read_done,
    SwitchDone: EdgeCore._switch_done,
    LinkUp: EdgeCore._link_up,
    LinkLost: EdgeCore._link_lost,
    Arrived: EdgeCore._arrived,
    p.ClockObserved: EdgeCore._hand_on,
}

_DOWN: dict[type, Callable[[EdgeCore, Any, Moment], tuple[Effect, ...]]] = {
    m.Welcome: EdgeCore._welcomed,
    m.Receipt: EdgeCore._receipt,
    SignedConfig: EdgeCore._config,
    p.InstrumentArrived: EdgeCore._hand_on,
    p.CommandArrived: EdgeCore._hand_on,
}

_PREPAY_ORDERS: dict[type, Callable[[EdgeCore, Any, Moment], tuple[Effect, ...]]] = {
    p.RunSwitch: EdgeCore._order_switch,
    p.RunRead: EdgeCore._order_read,
    p.ShowOnMeter: EdgeCore._order_show,
    p.Announce: EdgeCore._announce,
}
