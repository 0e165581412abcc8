"""Keypad codes: 24 digits typed at the page, the console or the command line become the instrument they stand for.

* A code counts once with the signed instrument of the same number, whichever comes first; a signed one that says otherwise
  than the code already taken is an alarm.
* The number's last ten bits are completed from the window of used numbers; the seal tells whether the guess was right.
* Nothing is looked at while the keypad is locked. What is no code at all (length, check digits) is no guess.
* The same entry handed in again (a page that lost its answer) gets its stored answer.

Source: prepayment.md 5.2, 5.9; I28.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum

from gridtally_edge.prepay import instruments, keypad_lock
from gridtally_edge.prepay.events import CodeAnswered, CodeEntered
from gridtally_edge.prepay.instruments import Taken
from gridtally_edge.prepay.keypad_lock import Lock
from gridtally_edge.prepay.rows import CodeEntryRow, KeypadRow, one, save
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.instruments.code_content import instrument_of
from gridtally_shared.instruments.keypad_code import GSEQ_SPAN, CodeContext, KeypadCode, Unreadable, is_sealed, read_code
from gridtally_shared.ledger.window import WIDTH

KEPT_MS = 7 * MS_PER_DAY
OLD_SPANS = 4


class CodeResult(StrEnum):
    """What became of a typed code. Values are stored, shown and reported: never renamed."""

    ACCEPTED = "accepted"
    WAITING = "waiting"
    USED = "used"
    OLD = "old"
    FORMAT = "format"
    CHECK_DIGIT = "check_digit"
    WRONG = "wrong"
    WRONG_METER = "wrong_meter"
    LOCKED = "locked"
    OVERFLOW = "overflow"
    REFUSED = "refused"
    NOT_OFFERED = "not_offered"


def entered(turn: Turn, event: CodeEntered) -> Taken | None:
    """Take in a typed code and answer; what it did, if its number is used now."""
    known = one(turn.db, CodeEntryRow, event.entry_id)
    if known is not None:
        _answer(turn, known)
        return None
    account = turn.plan.accounts.get(event.account_no)
    if account is None or not _keys(turn, account):
        _store(turn, event, CodeResult.NOT_OFFERED)
        return None
    lock = _lock(turn, account.account_no)
    if lock.left_ms:
        _store(turn, event, CodeResult.LOCKED, until_ms=turn.now_ms + lock.left_ms)
        return None
    code = read_code(event.text)
    if isinstance(code, Unreadable):
        _store(turn, event, CodeResult(code.value))
        return None
    return _checked(turn, event, account, code, lock)


def _checked(turn: Turn, event: CodeEntered, account: AccountConfig, code: KeypadCode, lock: Lock) -> Taken | None:
    gseq = _number(turn, account, code)
    if gseq is None:
        _unsealed(turn, event, account, code, lock)
        return None
    _keep(turn, account.account_no, Lock(0, 0, lock.seen_ms, lock.boot_id))
    if turn.book(account).state.used.is_used(gseq):
        _store(turn, event, CodeResult.USED, gseq)
        return None
    instrument = instrument_of(code, _context(turn, account), gseq)
    if instrument is None:
        _store(turn, event, CodeResult.FORMAT, gseq)
        return None
    outcome = instruments.take_code(turn, instrument, account)
    _store(turn, event, RESULTS.get(outcome, CodeResult.REFUSED), gseq, amount_nano=instrument.amount_nano)
    return Taken(account.account_no, instrument.amount_nano > 0) if outcome == "applied" else None


RESULTS = {"applied": CodeResult.ACCEPTED, "parked": CodeResult.WAITING, instruments.OVERFLOW: CodeResult.OVERFLOW}


def _unsealed(turn: Turn, event: CodeEntered, account: AccountConfig, code: KeypadCode, lock: Lock) -> None:
    """A code this account's key did not make for any number of now: old, of another meter here, or a guess."""
    if _is_old(turn, account, code):
        _store(turn, event, CodeResult.OLD)
    elif any(_number(turn, other, code) for other in turn.plan.config.accounts if other.account_no != account.account_no):
        _store(turn, event, CodeResult.WRONG_METER)
    else:
        after = keypad_lock.guessed_wrong(lock)
        _keep(turn, account.account_no, after)
        if after.left_ms:
            turn.report(account.meter_no, "keypad_locked", f"account={account.account_no} wrong={after.wrong}")
        _store(turn, event, CodeResult.WRONG, until_ms=turn.now_ms + after.left_ms if after.left_ms else 0)


def _number(turn: Turn, account: AccountConfig, code: KeypadCode) -> int | None:
    """The whole number of the code among the used ones and the window, or a little above it."""
    context, keys = _context(turn, account), _keys(turn, account)
    return next((n for n in _candidates(turn, account, code) for k in keys if is_sealed(k, context, n, code)), None)


def _candidates(turn: Turn, account: AccountConfig, code: KeypadCode) -> Iterator[int]:
    top = turn.book(account).state.used.prefix + WIDTH
    newest = top - (top - code.gseq_low) % GSEQ_SPAN
    return (n for n in (newest, newest + GSEQ_SPAN) if n >= 1)


def _is_old(turn: Turn, account: AccountConfig, code: KeypadCode) -> bool:
    """Made for a number long used, for the epoch before, or with the key before."""
    row = one(turn.db, KeypadRow, account.account_no)
    keys = (*_keys(turn, account), *((row.retired,) if row and row.retired else ()))
    context = _context(turn, account)
    before = replace(context, epoch=context.epoch - 1)
    newest = max(_candidates(turn, account, code), default=0)
    ours = [(context, n) for n in range(newest, 0, -GSEQ_SPAN)][:OLD_SPANS]
    earlier = [(before, n) for n in (code.gseq_low, code.gseq_low + GSEQ_SPAN)]
    return any(is_sealed(k, c, n, code) for k in keys for c, n in ours + earlier)


def _context(turn: Turn, account: AccountConfig) -> CodeContext:
    return CodeContext(turn.identity.dcu, account.account_no, account.account_epoch, account.currency)


def _keys(turn: Turn, account: AccountConfig) -> tuple[bytes, ...]:
    """The keys in force: the configuration's and the one a KEY_ROTATE brought, less the one it retired."""
    row = one(turn.db, KeypadRow, account.account_no)
    keys = {account.keypad_key, row.key if row else b""} - {b"", row.retired if row else b""}
    return tuple(sorted(keys)) if account.keypad_key else ()


# ---- the lock and the answers -------------------------------------------------------------------------------


def _lock(turn: Turn, account_no: int) -> Lock:
    row = one(turn.db, KeypadRow, account_no)
    stored = Lock(row.wrong, row.left_ms, row.seen_ms, row.boot_id) if row else Lock()
    lock = keypad_lock.passed(stored, turn.identity.boot_id, turn.mono_ms or turn.now_ms)
    if stored.left_ms:
        _keep(turn, account_no, lock)
    return lock


def _keep(turn: Turn, account_no: int, lock: Lock) -> None:
    row = one(turn.db, KeypadRow, account_no) or KeypadRow(account_no)
    row.wrong, row.left_ms, row.seen_ms, row.boot_id = lock.wrong, lock.left_ms, lock.seen_ms, lock.boot_id
    save(turn.db, row)


def _store(turn: Turn, event: CodeEntered, result: CodeResult, gseq: int = 0, amount_nano: int = 0, until_ms: int = 0) -> None:
    account = turn.plan.accounts.get(event.account_no)
    balance_nano = turn.book(account).state.balance_nano if account else 0
    row = CodeEntryRow(event.entry_id, event.account_no, result, gseq, amount_nano, balance_nano, until_ms, turn.now_ms)
    save(turn.db, row)
    turn.db.execute("DELETE FROM code_entry WHERE at_ms < ?", (turn.now_ms - KEPT_MS,))
    _answer(turn, row)


def _answer(turn: Turn, row: CodeEntryRow) -> None:
    turn.effects.append(CodeAnswered(row.entry_id, row.account_no, row.result, row.amount_nano, row.balance_nano, row.until_ms))
