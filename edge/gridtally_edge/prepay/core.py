"""The prepay core: one event, one transaction, some effects. Owned by the core thread; no thread, socket or clock here.

    core = PrepayCore(open_store(path, MONEY_STORE), Identity("dcu-7", {key_id: public}, boot_id))
    effects = core.start(now_ms)            # once: check the journals, resolve what a crash left open
    effects = core.handle(event, now_ms)    # then carry out the effects

* When `handle` returns, everything it decided is durable: journal, action intents, receipts and outbox in one commit.
* An event that fails rolls back as a whole and changes nothing in memory either; it may be handed in again. Where one account fails,
  the event is gone through without that account, so that it takes no other home with it.
* After a crash at any point `start` goes on exactly: an intent without a result is resolved by reading the switch.

Source: prepayment.md 5; reliability-security.md 5; prepayment.md I20, I21.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gridtally_edge.drivers.model import Face, SwitchState
from gridtally_edge.journal.days import Household
from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.journal.sqlite import transaction
from gridtally_edge.prepay import (
    actions,
    charges,
    checkpoints,
    clocktrust,
    command_switch,
    commands,
    events,
    files,
    forecasting,
    hold_handover,
    instruments,
    keypad,
    leases,
    limiter,
    limiting,
    messages,
    meter_jobs,
    mode_checks,
    notices,
    price_changes,
    readings,
    recovery,
    schedules,
    site,
    tokens,
    upkeep,
)
from gridtally_edge.prepay.account_orders import with_orders
from gridtally_edge.prepay.book import OwnEntryRefused, head_of
from gridtally_edge.prepay.clocktrust import ClockVerdict, Trust
from gridtally_edge.prepay.events import Permit, PrepayEffect, PrepayEvent, ShowOnMeter, SwitchResult
from gridtally_edge.prepay.face import face_of
from gridtally_edge.prepay.instruments import Taken
from gridtally_edge.prepay.plan import rules_of, store_config, stored_plan
from gridtally_edge.prepay.rows import AccountRow, ActionRow, CounterRow, one, some
from gridtally_edge.prepay.supply import evaluate, withdraw_offline
from gridtally_edge.prepay.told import household_of
from gridtally_edge.prepay.turn import Identity, LinkState, Turn
from gridtally_shared.contract.messages import AccountConfig, AccountHead, ClockState, CounterHead
from gridtally_shared.prepay.facts import Happening

__all__ = ["Identity", "PrepayCore"]

log = logging.getLogger(__name__)

MANY = 8
"""Readings of one sweep from which on all accounts are asked for at once."""


class PrepayCore:
    """`outbox` is the money store's own; the agent's sync drains it like the one of readings.db. `near`: meters whose accounts
    are near their end, which are to be read each recording interval (forecasting.is_near). `aside`: accounts in which an entry of our own
    did not follow. Until the next start nothing is charged or switched there, the cloud is told, and all others go on."""

    def __init__(self, connection: sqlite3.Connection, identity: Identity) -> None:
        self._db = connection
        self._identity = identity
        self.outbox = Outbox(connection)
        self._plan = stored_plan(connection)
        self._trust = upkeep.stored_trust(connection)
        self._link = LinkState()
        self._permits: dict[bytes, Permit] = {}
        self.wake_ms: int | None = None
        self.near: frozenset[int] = frozenset()
        self.aside: frozenset[int] = frozenset()
        self._untold: tuple[OwnEntryRefused, ...] = ()
        self._witness: Mapping[int, tuple[int, int] | None] = {}

    def start(self, now_ms: int) -> tuple[PrepayEffect, ...]:
        """Once after opening: check journals against their caches, look at switches whose order has no result."""
        self._link = LinkState(offline_since_ms=now_ms)
        return self._turn(now_ms, 0, (_ordered, upkeep.start, forecasting.mark_all))

    def handle(self, event: PrepayEvent, now_ms: int, mono_ms: int = 0) -> tuple[PrepayEffect, ...]:
        """One event, one transaction. `mono_ms` is the monotonic clock where it runs at the speed of `now_ms`."""
        return self.handle_all((event,), now_ms, mono_ms)

    def handle_all(self, batch: Sequence[PrepayEvent], now_ms: int, mono_ms: int = 0) -> tuple[PrepayEffect, ...]:
        """Several events in one transaction: all of them or none."""
        return self._turn(now_ms, mono_ms, tuple(_step(event) for event in batch))

    def clock(self, now_ms: int) -> ClockVerdict:
        """How far our time may be believed, for hello and for the display."""
        return clocktrust.verdict(self._trust, now_ms)

    def face(self, show: ShowOnMeter, daily_wh: int | None) -> Face:
        """What the meter's own display is to show now."""
        return face_of(self._db, self._plan, show, daily_wh)

    def household(self, meter_no: int) -> Household | None:
        """Who is behind a meter; None for nobody, or before the account was opened."""
        account = self._plan.by_meter.get(meter_no)
        return household_of(self._db, account) if account is not None else None

    def heads(self) -> tuple[AccountHead, ...]:
        """The journals' heads of the accounts configured here, for hello."""
        rows = (one(self._db, AccountRow, a.account_no, a.account_epoch) for a in self._plan.config.accounts)
        return tuple(head_of(row) for row in rows if row is not None)

    def counters(self) -> tuple[CounterHead, ...]:
        """The highest command counter taken of each key, for hello."""
        return tuple(CounterHead(row.key_id, row.highest) for row in some(self._db, CounterRow, "ORDER BY key_id"))

    @property
    def config_version(self) -> int:
        return self._plan.config.version

    @property
    def trust(self) -> Trust:
        return self._trust

    def _turn(self, now_ms: int, mono_ms: int, steps: tuple[Callable[[Turn], None], ...]) -> tuple[PrepayEffect, ...]:
        """All steps in one transaction; where an account fails, once more without it."""
        try:
            return self._attempt(now_ms, mono_ms, steps)
        except OwnEntryRefused as refused:
            if refused.account_no in self.aside:
                raise
            log.exception("an account is set aside until the next start", extra={"account_no": refused.account_no})
            self.aside, self._untold = self.aside | {refused.account_no}, (*self._untold, refused)
        return self._turn(now_ms, mono_ms, steps)

    def _attempt(self, now_ms: int, mono_ms: int, steps: tuple[Callable[[Turn], None], ...]) -> tuple[PrepayEffect, ...]:
        with transaction(self._db):
            turn = Turn(
                self._db, self.outbox, self._identity, now_ms, mono_ms, self._plan.without(self.aside), self._trust, self._link,
                self._permits, near=set(self.near), aside=self.aside, witness=self._witness,
            )  # fmt: skip
            for refused in self._untold:
                turn.report(0, "ledger_fault", f"account={refused.account_no} set aside: {refused.text}")
            upkeep.pass_time(turn)
            for step in steps:
                step(turn)
            upkeep.store_floor(turn)
            turn.flush()
        self._plan, self._trust, self._link, self._witness, self._untold = turn.plan, turn.trust, turn.link, turn.witness, ()
        if turn.near != self.near:
            self.near = frozenset(turn.near)
        waits = [ms for ms in (self.wake_ms, turn.wake_ms) if ms is not None and (ms > now_ms or not turn.ticked)]
        self.wake_ms = min(waits, default=None)  # what is due stays so until a tick has come
        return tuple(turn.effects)


def _step(event: PrepayEvent) -> Callable[[Turn], None]:
    return lambda turn: HANDLERS[type(event)](turn, event)


def _ordered(turn: Turn) -> None:
    """What control instruments set holds before anything is looked at."""
    turn.plan = with_orders(turn, turn.plan)


def _evaluate_all(turn: Turn) -> None:
    turn.plan = with_orders(turn, turn.plan)
    command_switch.withdraw_held(turn)
    for account in turn.plan.accounts.values():
        evaluate(turn, account)


def _evaluate_meter(turn: Turn, meter_no: int) -> None:
    account = turn.plan.by_meter.get(meter_no)
    if account is not None:
        evaluate(turn, account)


def _credited(turn: Turn, account: AccountConfig) -> None:
    command_switch.withdraw_held(turn)
    evaluate(turn, account, Happening.CREDITED)


def _on_config(turn: Turn, event: events.ConfigAccepted) -> None:
    if event.config.version <= turn.plan.config.version or event.config.dcu != turn.identity.dcu:
        return
    before, accounts = turn.plan.config, turn.plan.accounts
    planned = turn.plan
    taken, refused = store_config(turn.db, event.config, turn.now_ms, turn.clock.state is not ClockState.UNTRUSTED)
    turn.plan = taken.without(turn.aside)
    hold_handover.configured(turn, before, accounts)
    upkeep.compare_heads(turn)
    schedules.follow(turn)
    price_changes.taken(turn, planned, refused)
    if before.version and rules_of(before) != rules_of(event.config):
        turn.remember("changed_ms", turn.now_ms)
        turn.remember("breaker_tripped", 0)
    for account in instruments.unpark(turn):
        _credited(turn, account)
    turn.near.intersection_update(turn.plan.by_meter)
    mode_checks.watch_all(turn)
    _evaluate_all(turn)


def _on_read(turn: Turn, event: events.MeterRead) -> None:
    action = readings.take_reading(turn, event)
    if action is not None:
        _resolve(turn, action, event.switch, event.serial, event.at_ms)
    _evaluate_meter(turn, event.meter_no)


def _on_sweep(turn: Turn, event: events.SweepRead) -> None:
    upkeep.observe_meters(turn, event.reads)
    if len(event.reads) >= MANY:
        turn.read_ahead()
    for read in event.reads:
        _on_read(turn, read)


def _on_instrument(turn: Turn, event: events.InstrumentArrived) -> None:
    _instrument_taken(turn, instruments.arrived(turn, event.envelope))


def _on_code(turn: Turn, event: events.CodeEntered) -> None:
    _instrument_taken(turn, keypad.entered(turn, event))


def _on_token(turn: Turn, event: events.TokenEntered) -> None:
    tokens.entered(turn, event)


def _on_file(turn: Turn, event: events.FileBrought) -> None:
    for taken in files.brought(turn, event):
        _instrument_taken(turn, taken)


def _instrument_taken(turn: Turn, taken: Taken | None) -> None:
    """What was taken in may have been waited for."""
    if taken is None:
        return
    further = instruments.unpark(turn)
    account = turn.plan.accounts[taken.account_no]
    if taken.credited:
        _credited(turn, account)
    elif account not in further and not taken.refused:
        evaluate(turn, account)
    for other in further:
        _credited(turn, other)


def _on_command(turn: Turn, event: events.CommandArrived) -> None:
    commands.arrived(turn, event.envelope)


def _on_message_seen(turn: Turn, event: events.MessageSeen) -> None:
    commands.message_seen(turn, event)


def _on_message_said(turn: Turn, event: events.MessageSaid) -> None:
    messages.said(turn, event)


def _on_emergency(turn: Turn, event: events.EmergencyAccepted) -> None:
    account = turn.plan.accounts.get(event.account_no)
    if account is not None:
        evaluate(turn, account, Happening.EMERGENCY_ACCEPTED)


def _on_reclose(turn: Turn, event: events.RecloseAsked) -> None:
    account = turn.plan.accounts.get(event.account_no)
    if account is not None:
        evaluate(turn, account, Happening.RECLOSED_BY_HAND)


def _on_hold(turn: Turn, event: events.HoldAsked) -> None:
    account = site.asked(turn, event)
    command_switch.withdraw_held(turn)
    if account is not None:
        evaluate(turn, account)


def _on_person(turn: Turn, event: events.PersonNamed) -> None:
    site.named(turn, event)


def _on_switch_finished(turn: Turn, event: events.SwitchFinished) -> None:
    action = one(turn.db, ActionRow, event.action_id)
    if action is None or action.state == "finished":
        return
    if event.outcome.result is SwitchResult.UNKNOWN:
        actions.leave_unresolved(turn, action)
        return
    account = turn.plan.accounts.get(action.account_no)
    if account is not None and event.outcome.register_wh is not None:
        readings.charge_supply(turn, account, upkeep.read_of(turn, action, event.outcome))
    _finish(turn, action, event.outcome)


def _finish(turn: Turn, action: ActionRow, outcome: events.SwitchOutcome) -> None:
    actions.finish(turn, action, outcome)
    if action.cmd_id:
        commands.switch_finished(turn, action, outcome)
    commands.run_due(turn)
    if outcome.result in (SwitchResult.DONE, SwitchResult.ALREADY, SwitchResult.WITHDRAWN):
        _evaluate_meter(turn, action.meter_no)


def _resolve(turn: Turn, action: ActionRow, state: SwitchState, serial: str, at_ms: int) -> None:
    meter = turn.plan.meters.get(action.meter_no)
    if meter is not None and serial == meter.serial and state is not SwitchState.UNKNOWN:
        _finish(turn, action, actions.outcome_as_read(action, state, serial, at_ms))


def _on_read_finished(turn: Turn, event: events.ReadFinished) -> None:
    if commands.read_finished(turn, event) or meter_jobs.finished(turn, event) or tokens.finished(turn, event):
        return
    concerned = mode_checks.finished(turn, event) or limiter.finished(turn, event)
    if concerned:
        _evaluate_meter(turn, concerned)
        return
    action = one(turn.db, ActionRow, event.cmd_id)
    if action is not None and action.state == "unresolved" and event.ok:
        _resolve(turn, action, event.switch, event.serial, event.at_ms)


def _on_welcome(turn: Turn, event: events.WelcomeSeen) -> None:
    upkeep.take_welcome(turn, event)
    commands.run_due(turn)
    _evaluate_all(turn)


def _on_mirror(turn: Turn, event: events.MirrorArrived) -> None:
    recovery.mirrored(turn, event.envelope)
    for account in instruments.unpark(turn):
        _credited(turn, account)
    _evaluate_all(turn)


def _on_checkpoint(turn: Turn, event: events.CheckpointSigned) -> None:
    checkpoints.countersigned(turn, event.envelope)


def _on_link(turn: Turn, event: events.LinkChanged) -> None:
    if event.up != turn.link.up:
        since_ms = turn.link.offline_since_ms if event.up else turn.now_ms
        turn.link = replace(turn.link, up=event.up, welcomed=False, offline_since_ms=since_ms)
        if not event.up:
            withdraw_offline(turn)


def _on_clock(turn: Turn, event: events.ClockObserved) -> None:
    upkeep.observe_clock(turn, event)
    commands.run_due(turn)


def _on_tick(turn: Turn, event: events.Tick) -> None:
    turn.ticked = True
    for account in turn.plan.config.accounts:
        charges.charge_days(turn, account)
    commands.run_due(turn)
    _evaluate_all(turn)
    for account in turn.plan.accounts.values():
        leases.watch(turn, account)
        limiting.ask_demand(turn, account)
        actions.look_behind(turn, account)
        notices.show_at_its_time(turn, account)
    limiter.let_go(turn)
    meter_jobs.run_due(turn)
    mode_checks.watch_all(turn)
    messages.expire(turn)
    price_changes.come_into_force(turn)
    checkpoints.make_due(turn, turn.plan.config.accounts)
    recovery.ask_again(turn)
    upkeep.prune(turn)


HANDLERS: dict[type, Callable[[Turn, Any], None]] = {
    events.ConfigAccepted: _on_config,
    events.MeterRead: _on_read,
    events.SweepRead: _on_sweep,
    events.InstrumentArrived: _on_instrument,
    events.CodeEntered: _on_code,
    events.TokenEntered: _on_token,
    events.FileBrought: _on_file,
    events.CommandArrived: _on_command,
    events.MessageSeen: _on_message_seen,
    events.MessageSaid: _on_message_said,
    events.EmergencyAccepted: _on_emergency,
    events.RecloseAsked: _on_reclose,
    events.HoldAsked: _on_hold,
    events.PersonNamed: _on_person,
    events.SwitchFinished: _on_switch_finished,
    events.ReadFinished: _on_read_finished,
    events.WelcomeSeen: _on_welcome,
    events.LinkChanged: _on_link,
    events.ClockObserved: _on_clock,
    events.Tick: _on_tick,
    events.MirrorArrived: _on_mirror,
    events.CheckpointSigned: _on_checkpoint,
}
