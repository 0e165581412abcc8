"""The prepay core: one event, one transaction, some effects. Owned by the core thread; no thread, socket or clock here.

    core = PrepayCore(open_store(path, MONEY_STORE), Identity("dcu-7", {key_id: public}, boot_id))
    effects = core.start(now_ms)            # once: check the journals, resolve what a crash left open
    effects = core.handle(event, now_ms)    # then carry out the effects

* When `handle` returns, everything it decided is durable: journal, action intents, receipts and outbox in one commit.
* An event that fails rolls back as a whole and changes nothing in memory either; it may be handed in again.
* After a crash at any point `start` goes on exactly: an intent without a result is resolved by reading the switch.

Source: prepayment.md 5; reliability-security.md 5; prepayment.md I20, I21.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.outbox import Outbox
from gridtally_edge.journal.sqlite import transaction
from gridtally_edge.prepay import actions, clocktrust, commands, events, instruments, readings, upkeep
from gridtally_edge.prepay.book import head_of
from gridtally_edge.prepay.clocktrust import ClockVerdict, Trust
from gridtally_edge.prepay.events import Permit, PrepayEffect, PrepayEvent, SwitchResult
from gridtally_edge.prepay.notices import watch_balance
from gridtally_edge.prepay.plan import plan_of, rules_of, store_config, stored_plan
from gridtally_edge.prepay.rows import AccountRow, ActionRow, one
from gridtally_edge.prepay.supply import evaluate
from gridtally_edge.prepay.turn import Identity, LinkState, Turn
from gridtally_shared.contract.messages import AccountConfig, AccountHead

__all__ = ["Identity", "PrepayCore"]


class PrepayCore:
    """`outbox` is the money store's own; the agent's sync drains it like the one of readings.db."""

    def __init__(self, connection: sqlite3.Connection, identity: Identity) -> None:
        self._db = connection
        self._identity = identity
        self.outbox = Outbox(connection)
        self._plan = stored_plan(connection)
        self._trust = upkeep.stored_trust(connection)
        self._link = LinkState()
        self._permits: dict[bytes, Permit] = {}

    def start(self, now_ms: int) -> tuple[PrepayEffect, ...]:
        """Once after opening: check journals against their caches, look at switches whose order has no result."""
        self._link = LinkState(offline_since_ms=now_ms)
        return self._turn(now_ms, 0, (upkeep.start,))

    def handle(self, event: PrepayEvent, now_ms: int, mono_ms: int = 0) -> tuple[PrepayEffect, ...]:
        """One event, one transaction. `mono_ms` is the monotonic clock where it runs at the speed of `now_ms`."""
        return self.handle_all((event,), now_ms, mono_ms)

    def handle_all(self, batch: Sequence[PrepayEvent], now_ms: int, mono_ms: int = 0) -> tuple[PrepayEffect, ...]:
        """Several events in one transaction: all of them or none."""
        return self._turn(now_ms, mono_ms, tuple(_step(event) for event in batch))

    def clock(self, now_ms: int) -> ClockVerdict:
        """How far our time may be believed, for hello and for the display."""
        return clocktrust.verdict(self._trust, now_ms)

    def heads(self) -> tuple[AccountHead, ...]:
        """The journals' heads of the accounts configured here, for hello."""
        rows = (one(self._db, AccountRow, a.account_no, a.account_epoch) for a in self._plan.config.accounts)
        return tuple(head_of(row) for row in rows if row is not None)

    @property
    def config_version(self) -> int:
        return self._plan.config.version

    @property
    def trust(self) -> Trust:
        return self._trust

    def _turn(self, now_ms: int, mono_ms: int, steps: tuple[Callable[[Turn], None], ...]) -> tuple[PrepayEffect, ...]:
        with transaction(self._db):
            turn = Turn(
                self._db, self.outbox, self._identity, now_ms, mono_ms, self._plan, self._trust, self._link, self._permits
            )
            upkeep.pass_time(turn)
            for step in steps:
                step(turn)
            upkeep.store_floor(turn)
            turn.flush()
        self._plan, self._trust, self._link = turn.plan, turn.trust, turn.link
        return tuple(turn.effects)


def _step(event: PrepayEvent) -> Callable[[Turn], None]:
    return lambda turn: HANDLERS[type(event)](turn, event)


def _evaluate_all(turn: Turn) -> None:
    for account in turn.plan.config.accounts:
        evaluate(turn, account)


def _evaluate_meter(turn: Turn, meter_no: int) -> None:
    account = turn.plan.by_meter.get(meter_no)
    if account is not None:
        evaluate(turn, account)


def _credited(turn: Turn, account: AccountConfig) -> None:
    if turn.book(account).state.balance_nano > 0:
        actions.withdraw_cut(turn, account)
    evaluate(turn, account)


def _on_config(turn: Turn, event: events.ConfigAccepted) -> None:
    if event.config.version <= turn.plan.config.version or event.config.dcu != turn.identity.dcu:
        return
    store_config(turn.db, event.config, turn.now_ms)
    if turn.plan.config.version and rules_of(turn.plan.config) != rules_of(event.config):
        turn.remember("changed_ms", turn.now_ms)
        turn.remember("breaker_tripped", 0)
    turn.plan = plan_of(event.config)
    for account in instruments.unpark(turn):
        _credited(turn, account)
    _evaluate_all(turn)


def _on_read(turn: Turn, event: events.MeterRead) -> None:
    action = readings.take_reading(turn, event)
    if action is not None:
        _resolve(turn, action, event.switch, event.serial, event.at_ms)
    _evaluate_meter(turn, event.meter_no)


def _on_sweep(turn: Turn, event: events.SweepRead) -> None:
    upkeep.observe_meters(turn, event.reads)
    for read in event.reads:
        _on_read(turn, read)


def _on_instrument(turn: Turn, event: events.InstrumentArrived) -> None:
    account = instruments.arrived(turn, event.envelope)
    if account is None:
        return
    _credited(turn, account)
    for further in instruments.unpark(turn):
        _credited(turn, further)


def _on_command(turn: Turn, event: events.CommandArrived) -> None:
    commands.arrived(turn, event.envelope)


def _on_switch_finished(turn: Turn, event: events.SwitchFinished) -> None:
    action = one(turn.db, ActionRow, event.action_id)
    if action is None or action.state == "finished":
        return
    if event.outcome.result is SwitchResult.UNKNOWN:
        actions.leave_unresolved(turn, action)
        return
    account = turn.plan.accounts.get(action.account_no)
    if account is not None and event.outcome.register_wh is not None:
        readings.charge_register(turn, account, upkeep.read_of(turn, action, event.outcome))
        watch_balance(turn, account)
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
    if commands.read_finished(turn, event):
        return
    action = one(turn.db, ActionRow, event.cmd_id)
    if action is not None and action.state == "unresolved" and event.ok:
        _resolve(turn, action, event.switch, event.serial, event.at_ms)


def _on_welcome(turn: Turn, event: events.WelcomeSeen) -> None:
    upkeep.take_welcome(turn, event)
    _evaluate_all(turn)


def _on_link(turn: Turn, event: events.LinkChanged) -> None:
    if event.up != turn.link.up:
        turn.link = LinkState(event.up, False, turn.link.offline_since_ms if event.up else turn.now_ms)


def _on_clock(turn: Turn, event: events.ClockObserved) -> None:
    upkeep.observe_clock(turn, event)


def _on_tick(turn: Turn, event: events.Tick) -> None:
    for account in turn.plan.config.accounts:
        readings.charge_days(turn, account)
        watch_balance(turn, account)
    commands.run_due(turn)
    _evaluate_all(turn)
    upkeep.prune(turn)


HANDLERS: dict[type, Callable[[Turn, Any], None]] = {
    events.ConfigAccepted: _on_config,
    events.MeterRead: _on_read,
    events.SweepRead: _on_sweep,
    events.InstrumentArrived: _on_instrument,
    events.CommandArrived: _on_command,
    events.SwitchFinished: _on_switch_finished,
    events.ReadFinished: _on_read_finished,
    events.WelcomeSeen: _on_welcome,
    events.LinkChanged: _on_link,
    events.ClockObserved: _on_clock,
    events.Tick: _on_tick,
}
