"""Signed checkpoints: where an account's journal stands, countersigned by the cloud (prepayment.md 5.5).

* One is made daily and after a number of entries, signed with this box's journal key, and sent like any other fact. The last of
  each twelfth of the time for which entries are kept is sent again at a welcome until the cloud's signature over the same bytes is here;
  then the older ones are dropped, but for those.
* A start replays from the newest one whose signature holds: the cloud's, or this box's own behind it. Without one it replays
  from where the journal begins (opening.py), as `gridtally-dcu ledger` always does.
* A journal that ends before a countersigned checkpoint, or differs from it, is an old disk image or was written over: no cuts
  until the mirror has healed it (recovery.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from gridtally_edge.prepay.book import entries_from, hash_at, state_from, state_of, state_text
from gridtally_edge.prepay.charge_store import running_told
from gridtally_edge.prepay.opening import CHANNEL, FAULT, begin_of, first_kept, vouched
from gridtally_edge.prepay.recovery_rows import CheckpointRow
from gridtally_edge.prepay.rows import AccountRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import AccountConfig, EntryKind, Lane
from gridtally_shared.contract.prepay_messages import Checkpoint, SignedCheckpoint
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.replay import LedgerState, apply, problem_of
from gridtally_shared.ledger.seal import seal_of
from gridtally_shared.signing import sign1, verify1

STRETCHES = 12
_LAST_UNSIGNED = """WHERE cloud = x'' AND made_ms < ?1 AND NOT EXISTS (
    SELECT 1 FROM checkpoint AS later WHERE later.account_no = checkpoint.account_no AND later.epoch = checkpoint.epoch
    AND later.seq > checkpoint.seq AND later.made_ms / ?2 = checkpoint.made_ms / ?2) ORDER BY made_ms"""


def make_due(turn: Turn, accounts: Iterable[AccountConfig]) -> None:
    """Make the checkpoints that are due."""
    if turn.identity.signer is None:
        return
    for account in accounts:
        newest = _newest(turn, account.account_no, account.account_epoch)
        if _is_due(turn, account, newest):
            _make(turn, account)


def _is_due(turn: Turn, account: AccountConfig, newest: CheckpointRow | None) -> bool:
    book, cadence = turn.book(account), turn.identity.cadence
    fresh = book.state.seq - (newest.seq if newest else 0)
    if fresh <= 0 or book.row.ledger_fault:
        return False
    old = newest is None or turn.now_ms - newest.made_ms >= cadence.hours * MS_PER_HOUR
    return old or fresh >= cadence.entries


def _make(turn: Turn, account: AccountConfig) -> None:
    state, signer = turn.book(account).state, turn.identity.signer
    if signer is None:
        return
    payload = encode(Checkpoint(
        turn.identity.dcu, state.account_no, state.epoch, state.seq, state.head, state.balance_nano, state.meter_no,
        state.register_wh, turn.now_ms, seal_of(state),
    ))  # fmt: skip
    own, running = sign1(signer, CHANNEL, payload), running_told(turn.db, state)
    save(turn.db, CheckpointRow(state.account_no, state.epoch, state.seq, payload, own, b"", state_text(state), turn.now_ms, running))
    _send(turn, own)


def _send(turn: Turn, own: bytes) -> None:
    turn.outbox.append(EntryKind.CHECKPOINT, SignedCheckpoint(own), Lane.URGENT, turn.now_ms)


def send_again(turn: Turn) -> None:
    """What the cloud has not signed goes again: the answer may have been lost. Once an hour at most, and of each stretch of time only
    the last, as no other is kept once that is signed."""
    if turn.since_ms("checkpoints_sent_ms") < MS_PER_HOUR:
        return
    turn.remember("checkpoints_sent_ms", turn.now_ms)
    for row in some(turn.db, CheckpointRow, _LAST_UNSIGNED, turn.now_ms, _stretch_ms(turn)):
        _send(turn, row.own)


def _stretch_ms(turn: Turn) -> int:
    return max(1, turn.identity.keep_journal_ms // STRETCHES)


def countersigned(turn: Turn, envelope: bytes) -> None:
    """Take the cloud's signature. One that is not the cloud's, or not over our own bytes, changes nothing and is told."""
    try:
        payload = verify1(turn.identity.command_keys, CHANNEL, envelope)
        given = decode(Checkpoint, payload)
    except ContractError as error:
        turn.report_seldom("instrument_refused", f"checkpoint: {error}")
        return
    row = one(turn.db, CheckpointRow, given.account_no, given.epoch, given.seq)
    if row is None or row.payload != payload:
        return
    row.cloud = envelope
    save(turn.db, row)
    _forget_older(turn, row)


def _forget_older(turn: Turn, row: CheckpointRow) -> None:
    """Of the signed ones before it the last of each stretch of time stays: the journal may begin there some day (pruning.py)."""
    key, step_ms = (row.account_no, row.epoch), _stretch_ms(turn)
    older = "DELETE FROM checkpoint WHERE account_no = ? AND epoch = ? AND seq < ? AND seq <> ? AND (cloud = x'' OR made_ms / ? = ?)"
    turn.db.execute(older, (*key, row.seq, first_kept(turn.db, *key), step_ms, row.made_ms // step_ms))


def check_start(turn: Turn, row: AccountRow) -> str:
    """What is wrong with a journal at a start: replayed from its newest checkpoint, compared with the cached state."""
    try:
        base, fault = _base(turn, row)
    except ContractError as error:
        return str(error)
    if fault:
        return fault
    try:
        for entry in entries_from(turn.db, row.account_no, row.epoch, base.seq + 1):
            problem = problem_of(base, entry)
            if problem is not None:
                return f"chain: entry {problem.seq}: {problem.text}"
            base = apply(base, entry)
    except ContractError as error:
        return f"chain: {error}"
    return "" if base == state_from(row) else f"chain: the entries add up to another state than the kept one of entry {row.seq}"


def base_of(turn: Turn, account_no: int, epoch: int, upto_seq: int) -> LedgerState:
    """The state at the newest checkpoint up to an entry; the empty one where there is none."""
    where = "WHERE account_no = ? AND epoch = ? AND seq <= ? ORDER BY cloud = x'', seq DESC LIMIT 1"
    found = some(turn.db, CheckpointRow, where, account_no, epoch, upto_seq)
    return state_of(account_no, epoch, found[0].state) if found else LedgerState(account_no, epoch)


def _base(turn: Turn, row: AccountRow) -> tuple[LedgerState, str]:
    found, keys = _newest(turn, row.account_no, row.epoch), turn.identity.checkpoint_keys
    begin = begin_of(turn.db, row.account_no, row.epoch, keys)
    try:
        state = vouched(found, keys) if found is not None else begin
    except ContractError:
        return begin, ""
    if state.seq == begin.seq:
        return begin, ""
    if hash_at(turn.db, row.account_no, row.epoch, state.seq) != state.head:
        return state, f"{FAULT}: the journal is not the one of entry {state.seq}"
    return state, ""


def _newest(turn: Turn, account_no: int, epoch: int) -> CheckpointRow | None:
    """The newest one: of the cloud or, behind it, of our own."""
    where = "WHERE account_no = ? AND epoch = ? ORDER BY seq DESC LIMIT 1"
    found = some(turn.db, CheckpointRow, where, account_no, epoch)
    return found[0] if found else None
