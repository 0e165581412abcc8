"""What the core does beside money: the clock's trust, the start after a crash, the cloud's mirror, forgetting.

* A mirror that is ahead of the journal, or different from it, means an old disk image or a fork: metering, credit and
  restoring go on, cuts stop for that account (prepayment.md T27).
* The full replay is `gridtally-dcu ledger`; a start checks that the last entries are chained to the cached head.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gridtally_edge.prepay import actions, clocktrust, commands
from gridtally_edge.prepay.book import Book, state_from
from gridtally_edge.prepay.clocktrust import Trust
from gridtally_edge.prepay.events import ClockObserved, ClockSource, MeterRead, SwitchOutcome, WelcomeSeen
from gridtally_edge.prepay.rows import AccountRow, ActionRow, FactRow, JournalRow, one, some
from gridtally_edge.prepay.turn import LinkState, Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import AccountHead, ClockState
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import GENESIS, entry_from, hash_of

TAIL_ENTRIES = 200
FLOOR_STEP_MS = 600_000
WELCOME_ERROR_MS = 5_000
KEEP_MESSAGES_MS = 90 * MS_PER_DAY
MIRROR = "mirror"


# ---- clock --------------------------------------------------------------------------------------------------


def stored_trust(db: sqlite3.Connection) -> Trust:
    row = one(db, FactRow, "clock_floor_ms")
    return Trust(floor_ms=row.value if row else 0)


def pass_time(turn: Turn) -> None:
    turn.trust = clocktrust.pass_time(turn.trust, turn.now_ms, turn.mono_ms or None)


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
    observation = ClockObserved(ClockSource.CLOUD, welcome.at_ms, turn.now_ms, WELCOME_ERROR_MS)
    _adopt(turn, clocktrust.observe_signed(turn.trust, observation), observation)
    turn.link = LinkState(True, True, turn.link.offline_since_ms)
    _cloud_seen(turn)
    for head in welcome.accounts:
        account = turn.plan.accounts.get(head.account_no)
        if account is not None and account.account_epoch == head.epoch:
            _compare(turn, turn.book(account), head)


def _cloud_seen(turn: Turn) -> None:
    if turn.now_ms - turn.fact("cloud_seen_ms") >= FLOOR_STEP_MS:
        turn.remember("cloud_seen_ms", turn.now_ms)


def _compare(turn: Turn, book: Book, head: AccountHead) -> None:
    fault = ""
    if head.seq > book.state.seq:
        fault = f"{MIRROR}: holds {head.seq} entries, this journal {book.state.seq}"
    elif head.seq > 0 and _hash_at(turn, book, head.seq) != head.entry_hash:
        fault = f"{MIRROR}: entry {head.seq} differs"
    if fault and fault != book.row.ledger_fault:
        turn.report(book.state.meter_no, "ledger_fault", f"account={head.account_no} {fault}")
    if fault or book.row.ledger_fault.startswith(MIRROR):
        book.row.ledger_fault = fault


def _hash_at(turn: Turn, book: Book, seq: int) -> bytes:
    if seq == book.state.seq:
        return book.state.head
    row = one(turn.db, JournalRow, book.row.account_no, book.row.epoch, seq)
    return hash_of(row.body) if row else GENESIS


# ---- start and upkeep ---------------------------------------------------------------------------------------


def start(turn: Turn) -> None:
    turn.trust = clocktrust.restarted(turn.trust)
    for row in some(turn.db, AccountRow, "ORDER BY account_no, epoch"):
        _check_tail(turn, row)
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
    """Once a day."""
    if turn.now_ms - turn.fact("pruned_ms") < MS_PER_DAY:
        return
    turn.remember("pruned_ms", turn.now_ms)
    commands.prune(turn)
    turn.db.execute("DELETE FROM message WHERE at_ms < ?", (turn.now_ms - KEEP_MESSAGES_MS,))
    turn.outbox.prune(turn.now_ms)


def _check_tail(turn: Turn, row: AccountRow) -> None:
    fault = _tail_fault(turn, row)
    if fault:
        book = turn.book_of(row.account_no, row.epoch)
        book.row.ledger_fault = fault
        turn.report(0, "ledger_fault", f"account={row.account_no} {fault}")


def _tail_fault(turn: Turn, row: AccountRow) -> str:
    state = state_from(row)
    clause = "WHERE account_no = ? AND epoch = ? ORDER BY seq DESC LIMIT ?"
    tail = some(turn.db, JournalRow, clause, row.account_no, row.epoch, TAIL_ENTRIES)
    expected, seq = state.head, state.seq
    for entry_row in tail:
        if entry_row.seq != seq or hash_of(entry_row.body) != expected:
            return f"chain: entry {entry_row.seq} does not fit the one after it"
        try:
            expected, seq = entry_from(entry_row.body).previous, seq - 1
        except ContractError as error:
            return f"chain: {error}"
    return "" if tail or seq == 0 else "chain: the journal is empty"
