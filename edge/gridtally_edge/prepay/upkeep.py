"""What the core does beside money: the clock's trust, the start after a crash, the cloud's word, forgetting.

A start replays each journal from its newest checkpoint (checkpoints.py); a journal that is not whole stops cuts for its account.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from gridtally_edge.prepay import actions, checkpoints, clocktrust, commands, pruning, recovery, witness
from gridtally_edge.prepay.account_orders import with_orders
from gridtally_edge.prepay.clocktrust import Trust
from gridtally_edge.prepay.events import ClockObserved, ClockSource, MeterRead, SwitchOutcome, WelcomeSeen
from gridtally_edge.prepay.rows import AccountRow, ActionRow, FactRow, one, some
from gridtally_edge.prepay.turn import CONFIG_NAMED, LinkState, Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import ClockState

FLOOR_STEP_MS = 600_000
START_PAUSE_MS = 600_000
KEEP_MESSAGES_MS = 90 * MS_PER_DAY


# ---- clock --------------------------------------------------------------------------------------------------


def stored_trust(db: sqlite3.Connection) -> Trust:
    row = one(db, FactRow, "clock_floor_ms")
    return Trust(floor_ms=row.value if row else 0)


def pass_time(turn: Turn) -> None:
    turn.link = _wait_on(turn)
    turn.trust = clocktrust.pass_time(turn.trust, turn.now_ms, turn.mono_ms or None)


def _wait_on(turn: Turn) -> LinkState:
    """A disk that was put in may be old: what it does not know comes with the first welcome. It is waited for, but not for ever; by the
    monotonic clock, or under virtual time, which has none, by the clock in use."""
    link = turn.link
    if link.waited_ms is None:
        return link
    seen_ms, here_ms = (link.seen_mono_ms, turn.mono_ms) if turn.mono_ms else (link.seen_ms, turn.now_ms)
    waited_ms = link.waited_ms + (max(0, here_ms - seen_ms) if seen_ms else 0)
    over = link.online or waited_ms >= START_PAUSE_MS
    return replace(link, waited_ms=None if over else waited_ms, seen_ms=turn.now_ms, seen_mono_ms=turn.mono_ms)


def store_floor(turn: Turn) -> None:
    """Persist the high-water mark in steps, so that an idle minute needs no write; a lowered one at once."""
    stored_ms = turn.fact("clock_floor_ms")
    if turn.trust.floor_ms >= stored_ms + FLOOR_STEP_MS or turn.trust.floor_ms < stored_ms - FLOOR_STEP_MS:
        turn.remember("clock_floor_ms", turn.trust.floor_ms)


def observe_clock(turn: Turn, observation: ClockObserved) -> None:
    _adopt(turn, clocktrust.observe(turn.trust, observation), observation)
    if observation.source is ClockSource.CLOUD and turn.link.up:
        _cloud_seen(turn)


def observe_meters(turn: Turn, reads: Sequence[MeterRead]) -> None:
    offsets_ms = [r.clock_offset_ms for r in reads if r.clock_offset_ms is not None]
    observation = clocktrust.meters_observation(offsets_ms, turn.now_ms)
    if observation is not None:
        _adopt(turn, clocktrust.observe(turn.trust, observation), observation)


def _adopt(turn: Turn, trust: Trust, observation: ClockObserved) -> None:
    before = clocktrust.verdict(turn.trust, turn.now_ms).state
    turn.trust = trust
    if trust.agreed_ms is None and before is not ClockState.UNTRUSTED:
        ahead_ms = observation.local_ms - observation.true_ms
        turn.report(0, "clock_skewed", f"source={observation.source.value} ahead_ms={ahead_ms}")
        turn.remember("changed_ms", turn.now_ms)


# ---- the cloud's word ---------------------------------------------------------------------------------------


def take_welcome(turn: Turn, welcome: WelcomeSeen) -> None:
    """Signed time, the session is answered, and the mirror's heads."""
    observation = clocktrust.welcome_observation(welcome, turn.now_ms)
    if observation is not None:
        _adopt(turn, clocktrust.observe_signed(turn.trust, observation), observation)
    turn.link = replace(turn.link, up=True, welcomed=True, waited_ms=None)
    if welcome.config_version and welcome.config_version != turn.fact(CONFIG_NAMED):
        turn.remember(CONFIG_NAMED, welcome.config_version)
    _cloud_seen(turn)
    witness.the_cloud_spoke(turn)
    turn.link = replace(turn.link, heads=welcome.accounts)
    compare_heads(turn)
    checkpoints.send_again(turn)


def compare_heads(turn: Turn) -> None:
    """The mirror's heads against the journals. Of an account whose configuration is still to come a head waits: on an empty disk nothing is
    written, and sent, before it is known what the mirror holds."""
    accounts = {(a.account_no, a.account_epoch) for a in turn.plan.accounts.values()}
    known = [h for h in turn.link.heads if (h.account_no, h.epoch) in accounts]
    turn.link = replace(turn.link, heads=tuple(h for h in turn.link.heads if (h.account_no, h.epoch) not in accounts))
    for head in known:
        recovery.compare(turn, turn.book_of(head.account_no, head.epoch), head)
    if known:
        recovery.send_again(turn, known)


def _cloud_seen(turn: Turn) -> None:
    if turn.since_ms("cloud_seen_ms") >= FLOOR_STEP_MS:
        turn.remember("cloud_seen_ms", turn.now_ms)


# ---- start and upkeep ---------------------------------------------------------------------------------------


def start(turn: Turn) -> None:
    turn.trust = clocktrust.restarted(turn.trust)
    turn.link = replace(turn.link, unseen=witness.stored(turn.db))
    turn.plan = with_orders(turn, turn.plan)
    for row in some(turn.db, AccountRow, "ORDER BY account_no, epoch"):
        _check_journal(turn, row)
    for action in some(turn.db, ActionRow, "WHERE state <> 'finished'"):
        actions.leave_unresolved(turn, action)
    commands.resume(turn)


def read_of(turn: Turn, action: ActionRow, outcome: SwitchOutcome) -> MeterRead:
    """The fresh register a cut read in its own association, as a reading of that moment."""
    return MeterRead(
        action.meter_no, outcome.serial, outcome.register_at_ms, outcome.register_wh,
        register_modulus_wh=turn.switch(action.meter_no).register_modulus_wh,
    )  # fmt: skip


def prune(turn: Turn) -> None:
    """Once a day, by a clock that is believed (by one years ahead everything would be old); of the journals a few entries each time."""
    pruning.prune(turn)
    if turn.clock.state is ClockState.UNTRUSTED or turn.since_ms("pruned_ms") < MS_PER_DAY:
        return
    turn.remember("pruned_ms", turn.now_ms)
    commands.prune(turn)
    turn.db.execute("DELETE FROM message WHERE at_ms < ? AND filed <> 'saved'", (turn.now_ms - KEEP_MESSAGES_MS,))
    turn.outbox.prune(turn.now_ms)


def _check_journal(turn: Turn, row: AccountRow) -> None:
    fault = checkpoints.check_start(turn, row)
    if fault and not row.ledger_fault.startswith(recovery.MIRROR):
        book = turn.book_of(row.account_no, row.epoch)
        book.row.ledger_fault = fault
        turn.report(0, "ledger_fault", f"account={row.account_no} {fault}")
