"""The cloud's mirror against this journal, and how a journal that lost entries is healed (prepayment.md T27, 5.9).

* A mirror that is ahead of the journal, or different from it, means an old disk image, a cloned card or a fork. Metering, credit
  and restoring go on; cuts stop for that account; what is written meanwhile stays here.
* The mirror is asked for from our head on; where that does not fit, from the last checkpoint, then from the start. Its entries
  are taken only where they are signed by the cloud and chain on to ours; ours from there on are set aside as evidence.
* A journal that was found not whole at a start (checkpoints.py) is compared entry by entry and made anew the same way.
* A mirror that stands behind what was receipted lost entries (a damaged row, an older backup): they are sent again from there on.
* Entries below the checkpoint a pruned journal begins with (pruning.py) are the cloud's to keep: a mirror that lacks them is told so, and
  nothing is sent that could not follow. A healing never goes back behind it, unless the journal is made anew from the first entry.
* Instruments whose entries were set aside are applied again, and the register of the next reading charges the gap: once, from the
  last register the mirror knows. When the journal has reached the mirror's head, cuts may go on, and what it tells of the supply is
  told to the engine: why the switch is open, and where its load limit stands (retelling.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile

from gridtally_edge.prepay import checkpoints, leases, retelling
from gridtally_edge.prepay.book import Book, entries_from, hash_at
from gridtally_edge.prepay.opening import FAULT, begin_of, first_kept
from gridtally_edge.prepay.recovery_rows import RecoveryRow
from gridtally_edge.prepay.rows import JournalRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import AccountHead, EntryKind, JournalRange, Lane
from gridtally_shared.contract.prepay_messages import MirrorAsk
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import LedgerEntry, entry_from
from gridtally_shared.ledger.replay import LedgerState, apply, problem_of
from gridtally_shared.prepay.regions import Ledger
from gridtally_shared.signing import verify1

MIRROR = "mirror"
CHANNEL = "mirror"
ASK_AGAIN_MS = MS_PER_HOUR // 6
MUCH, AT_ONCE = 1_000, 50
NOT_WHOLE = ("chain", FAULT)


def region_of(fault: str) -> Ledger:
    """Where the journal stands against the mirror, by the fault that is kept with it."""
    if not fault:
        return Ledger.OK
    return Ledger.RECOVERING if fault.startswith(MIRROR) else Ledger.READ_ONLY


# ---- the mirror's word -----------------------------------------------------------------------------------------


def compare(turn: Turn, book: Book, head: AccountHead) -> None:
    """The head of the mirror, as a verified welcome says it, against this journal."""
    known = one(turn.db, RecoveryRow, head.account_no, head.epoch)
    rebuild = head.seq > 0 and (book.row.ledger_fault.startswith(NOT_WHOLE) or bool(known and known.rebuild))
    fault = f"{MIRROR}: made anew from it, ours is not whole" if rebuild else _difference(turn, book, head)
    if not fault:
        _agree(turn, book, head)
        return
    if fault != book.row.ledger_fault:
        turn.report(book.state.meter_no, "ledger_fault", f"account={head.account_no} {fault}")
    book.row.ledger_fault = fault
    _hold_back(turn, book)
    first = _rebuilt_from(turn, book) if rebuild else max(1, min(book.state.seq, head.seq))
    since_ms = known.since_ms if known else turn.now_ms
    _ask(turn, RecoveryRow(head.account_no, head.epoch, head.seq, head.entry_hash, first, since_ms, int(rebuild)))


def _difference(turn: Turn, book: Book, head: AccountHead) -> str:
    if head.seq > book.state.seq:
        return f"{MIRROR}: holds {head.seq} entries, this journal {book.state.seq}"
    if head.seq >= _first_kept(turn, book) and _own_hash(turn, book, head.seq) != head.entry_hash:
        return f"{MIRROR}: entry {head.seq} differs"
    return ""


def _first_kept(turn: Turn, book: Book) -> int:
    return first_kept(turn.db, book.row.account_no, book.row.epoch)


def _rebuilt_from(turn: Turn, book: Book) -> int:
    """Where a journal that is made anew begins: where it began, if that is good."""
    try:
        return max(1, begin_of(turn.db, book.row.account_no, book.row.epoch, turn.identity.checkpoint_keys).seq)
    except ContractError:
        return 1


def _own_hash(turn: Turn, book: Book, seq: int) -> bytes:
    return hash_at(turn.db, book.row.account_no, book.row.epoch, seq)


def _agree(turn: Turn, book: Book, head: AccountHead) -> None:
    """The mirror is a prefix of this journal. What was held back while it seemed otherwise is sent."""
    turn.db.execute("DELETE FROM recovery WHERE account_no = ? AND epoch = ?", (book.row.account_no, book.row.epoch))
    if not book.row.ledger_fault.startswith(MIRROR):
        return
    book.row.ledger_fault = ""
    if _is_pruned(turn, book, head):
        _tell_pruned(turn, [(book, head)])
    else:
        _upload(turn, book, head.seq + 1, book.state.seq)


def send_again(turn: Turn, heads: Sequence[AccountHead]) -> None:
    """What the cloud's mirrors lack although it was receipted, after a welcome. Not while much is still to be sent: it may be in that."""
    books = [(turn.book_of(head.account_no, head.epoch), head) for head in heads]
    behind = [(b, head) for b, head in books if not b.row.ledger_fault and head.seq < b.state.seq - len(b.fresh)]
    _tell_pruned(turn, [(b, head) for b, head in behind if _is_pruned(turn, b, head)])
    there = [(b, head) for b, head in behind if not _is_pruned(turn, b, head)]
    known = waiting(turn) if there else None
    if known is None:
        return
    for book, head in there:
        ends = book.state.seq - len(book.fresh)
        _upload(turn, book, head.seq + 1, min(ends, known.get((head.account_no, head.epoch), ends + 1) - 1))


def _is_pruned(turn: Turn, book: Book, head: AccountHead) -> bool:
    """Whether what follows the mirror's head is no longer kept here."""
    return head.seq + 1 < _first_kept(turn, book)


def _tell_pruned(turn: Turn, lacking: Sequence[tuple[Book, AccountHead]]) -> None:
    for book, head in lacking[:1]:
        values = f"account={head.account_no} mirror={head.seq} kept_from={_first_kept(turn, book)} accounts={len(lacking)}"
        turn.report_seldom("journal_pruned", f"{values} restore a newer backup of the cloud")


def waiting(turn: Turn) -> dict[tuple[int, int], int] | None:
    """The first entry of each account that still waits to be sent or receipted; None where much waits."""
    query = """SELECT body FROM outbox_entry WHERE stream_id = ? AND lane = ? AND kind = ?
        AND seq > (SELECT receipted FROM outbox_lane WHERE lane = ?) LIMIT ?"""
    lane = int(Lane.URGENT)
    rows = turn.db.execute(query, (turn.outbox.stream_id, lane, int(EntryKind.JOURNAL), lane, MUCH)).fetchall()
    found: dict[tuple[int, int], int] = {}
    for part in (decode(JournalRange, body) for (body,) in rows):
        account = (part.account_no, part.epoch)
        found[account] = min(part.first_seq, found.get(account, part.first_seq))
    return found if len(rows) < MUCH else None


def _upload(turn: Turn, book: Book, first: int, until: int) -> None:
    key = (book.row.account_no, book.row.epoch)
    rest = [e.to_bytes() for e in entries_from(turn.db, *key, first, until)] if first <= until else []
    for at in range(0, len(rest), AT_ONCE):
        part = JournalRange(*key, first + at, tuple(rest[at : at + AT_ONCE]))
        turn.outbox.append(EntryKind.JOURNAL, part, Lane.URGENT, turn.now_ms)


def _ask(turn: Turn, row: RecoveryRow) -> None:
    save(turn.db, row)
    ask = MirrorAsk(row.account_no, row.epoch, row.asked_from)
    turn.outbox.append(EntryKind.MIRROR_ASK, ask, Lane.URGENT, turn.now_ms)


def ask_again(turn: Turn) -> None:
    """What was asked may have been lost on its way: again every few minutes while the link is up."""
    rows = some(turn.db, RecoveryRow, "ORDER BY account_no, epoch") if turn.link.online else []
    if rows and turn.since_ms("mirror_asked_ms") >= ASK_AGAIN_MS:
        turn.remember("mirror_asked_ms", turn.now_ms)
        for row in rows:
            _ask(turn, row)


def _hold_back(turn: Turn, book: Book) -> None:
    """Entries of a fork must not reach the mirror: their places in the queue stay, with nothing in them."""
    query = """SELECT seq, body FROM outbox_entry WHERE stream_id = ? AND lane = ? AND kind = ?
        AND seq > (SELECT receipted FROM outbox_lane WHERE lane = ?)"""
    lane = int(Lane.URGENT)
    rows = turn.db.execute(query, (turn.outbox.stream_id, lane, int(EntryKind.JOURNAL), lane)).fetchall()
    for seq, body in rows:
        part = decode(JournalRange, body)
        if (part.account_no, part.epoch) == (book.row.account_no, book.row.epoch):
            empty = encode(JournalRange(part.account_no, part.epoch, part.first_seq, ()))
            change = "UPDATE outbox_entry SET body = ? WHERE stream_id = ? AND lane = ? AND seq = ?"
            turn.db.execute(change, (empty, turn.outbox.stream_id, lane, seq))


# ---- healing -----------------------------------------------------------------------------------------------------


def mirrored(turn: Turn, envelope: bytes) -> None:
    """Entries of the mirror, signed by the cloud. What does not belong to an account that is being healed changes nothing."""
    try:
        part = decode(JournalRange, verify1(turn.identity.command_keys, CHANNEL, envelope))
        entries = [entry_from(body) for body in part.entries]
    except ContractError as error:
        turn.report_seldom("ledger_fault", f"mirror: {error}")
        return
    row = one(turn.db, RecoveryRow, part.account_no, part.epoch)
    if row is not None:
        _take(turn, turn.book_of(part.account_no, part.epoch), row, [e for e in entries if e.seq <= row.target_seq])


def _take(turn: Turn, book: Book, row: RecoveryRow, entries: Sequence[LedgerEntry]) -> None:
    new = tuple(dropwhile(lambda e: _own_hash(turn, book, e.seq) == e.entry_hash, entries))
    if not entries or (not new and not row.rebuild):
        return
    joint = new[0].seq - 1 if new else entries[-1].seq
    if new and _own_hash(turn, book, joint) != new[0].previous:
        _ask_earlier(turn, book, row)
        return
    state = _folded(_state_at(turn, book, row, joint), new)
    if isinstance(state, str):
        book.row.ledger_fault = f"{MIRROR}: {state}"
        return
    reached = (state.seq, state.head) == (row.target_seq, row.target_hash)
    if new or reached:
        _adopt(turn, book, joint + 1, new, state)
    if reached:
        _healed(turn, book, row)


def _ask_earlier(turn: Turn, book: Book, row: RecoveryRow) -> None:
    """Ours does not meet the mirror's there: go back to the last checkpoint, then to the start."""
    base = checkpoints.base_of(turn, row.account_no, row.epoch, row.asked_from - 1).seq
    earlier = max(1, min(base + 1, row.asked_from - 1))
    if earlier < row.asked_from:
        row.asked_from = earlier
        _ask(turn, row)


def _state_at(turn: Turn, book: Book, row: RecoveryRow, seq: int) -> LedgerState:
    """The replay of our own entries up to one of them; from the first one where ours was not whole."""
    if seq == book.state.seq and not row.rebuild:
        return book.state
    key = (row.account_no, row.epoch)
    state = _rebuilt_on(turn, book, row) if row.rebuild else checkpoints.base_of(turn, *key, seq)
    for entry in entries_from(turn.db, *key, state.seq + 1, seq):
        state = apply(state, entry)
    return state


def _rebuilt_on(turn: Turn, book: Book, row: RecoveryRow) -> LedgerState:
    key = (row.account_no, row.epoch)
    return LedgerState(*key) if row.asked_from == 1 else begin_of(turn.db, *key, turn.identity.checkpoint_keys)


def _folded(state: LedgerState, entries: Sequence[LedgerEntry]) -> LedgerState | str:
    for entry in entries:
        problem = problem_of(state, entry)
        if problem is not None:
            return f"entry {problem.seq}: {problem.text}"
        state = apply(state, entry)
    return state


def _adopt(turn: Turn, book: Book, first: int, entries: Sequence[LedgerEntry], state: LedgerState) -> None:
    """The mirror's entries take the place of ours from `first` on; ours are kept aside. When the register was last good stands in the
    entries now: what we read and charged in ours is charged again, and must not look as if it had moved since."""
    key = (book.row.account_no, book.row.epoch)
    aside = """INSERT OR REPLACE INTO journal_aside SELECT account_no, epoch, seq, body, ? FROM journal
        WHERE account_no = ? AND epoch = ? AND seq >= ?"""
    turn.db.execute(aside, (turn.now_ms, *key, first))
    for table in ("journal", "checkpoint", "journal_opening"):
        turn.db.execute(f"DELETE FROM {table} WHERE account_no = ? AND epoch = ? AND seq >= ?", (*key, first))
    for e in entries:
        save(turn.db, JournalRow(e.account_no, e.epoch, e.seq, e.kind, e.at_ms, e.register_after_wh, e.to_bytes()))
    leases.retold(turn.db, entries)
    turn.forget_running(*key)
    book.adopt(state)
    turn.switch(state.meter_no).register_ms = 0
    _free_instruments(turn, state)


def _free_instruments(turn: Turn, state: LedgerState) -> None:
    """What was applied in entries that are aside now waits to be applied again."""
    query = "SELECT gseq FROM instrument WHERE account_no = ? AND epoch = ? AND state = 'applied'"
    for (gseq,) in turn.db.execute(query, (state.account_no, state.epoch)).fetchall():
        if not state.used.is_used(gseq):
            again = "UPDATE instrument SET state = 'parked', reason = 'its entry is aside' WHERE account_no = ? AND epoch = ? AND gseq = ?"
            turn.db.execute(again, (state.account_no, state.epoch, gseq))


def _healed(turn: Turn, book: Book, row: RecoveryRow) -> None:
    turn.db.execute("DELETE FROM recovery WHERE account_no = ? AND epoch = ?", (row.account_no, row.epoch))
    book.row.ledger_fault = ""
    retelling.healed(turn, book, row.since_ms)
    seconds = (turn.now_ms - row.since_ms) // 1000
    turn.report(book.state.meter_no, "ledger_healed", f"account={row.account_no} entries={row.target_seq} after_s={seconds}")
