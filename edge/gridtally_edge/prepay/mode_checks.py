"""Before the way of paying changes the meter is asked: its own payment mode is written and read back. A refusal withdraws the change.

* It is asked as soon as the change is wanted, so that the answer is there when the interval ends, and again while nobody answers.
  Without an answer nothing changes: the account stays in its present mode.
* A meter that has no such object takes no part: the change goes on without it.
* One that refuses, or shows something else afterwards: the wanted mode is the present one again, an entry of the journal says which
  order ended and why (the cloud follows it), and an event tells it with its time. A configuration that still wants it asks again in a day.
* A change that is taken back before its interval ends is taken back at the meter too.

Source: prepayment.md T3; ETSI TR 102 691 5.2.5, alternative 2.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from gridtally_edge.prepay.account_orders import order_of, set_order
from gridtally_edge.prepay.events import ReadFinished, RunTask
from gridtally_edge.prepay.rows import OrderRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import AccountConfig, CommandType, InstrumentType
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.instruments.details import ModeOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import InstrumentEvidence, detail
from gridtally_shared.ledger.standing_orders import MODE, standing
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import Payment, PaymentMode, packed

ASK = "ask_mode:"
RETRY_MS = 120_000
AGAIN_MS = MS_PER_DAY
REFUSALS = frozenset({Reason.NOT_READ_BACK, Reason.MALFORMED, Reason.WRONG_FORM})
"""Beside an answer that says no. Anything else is no answer: the meter is silent, garbled, busy or another one, and is asked again."""
SHOWN = {AccountMode.PREPAID: Payment.PREPAID, AccountMode.POSTPAID: Payment.POSTPAID}


class Answer(IntEnum):
    """The value of a question's row; its `gseq` is that of the order behind it, 0 for a configuration."""

    OVER = 0
    WAITED_FOR = 1
    TAKEN = 2
    REFUSED = 3


LIVE = (Answer.WAITED_FOR, Answer.TAKEN)


def is_taken(turn: Turn, account: AccountConfig) -> bool:
    """Whether the meter takes the mode that is wanted now."""
    row = _row(turn, account, account.mode)
    return row is not None and row.value == Answer.TAKEN and row.gseq == _wanted_by(turn, account)


def changed(turn: Turn, account: AccountConfig) -> None:
    """The change is done; another one is asked for anew."""
    _end(turn, account)


def watch_all(turn: Turn) -> None:
    """Ask for every account whose mode is to change, and again where no answer came."""
    live = {row.account_no for row in _live(turn)}
    for account in turn.plan.accounts.values():
        if account.account_no in live or account.mode != _present(turn, account):
            watch(turn, account)


def watch(turn: Turn, account: AccountConfig) -> None:
    """Ask the meter of one account where that is due."""
    if account.mode not in tuple(AccountMode):
        return
    row, gseq = _row(turn, account, account.mode), _wanted_by(turn, account)
    if account.mode == _present(turn, account):
        strayed = any(r.account_no == account.account_no and r.name != ASK + str(account.mode) for r in _live(turn))
        if strayed:
            _ask(turn, account, gseq)
        elif row is not None and row.value == Answer.WAITED_FOR:
            _ask_again(turn, account, row)
    elif row is None or row.gseq != gseq or row.value == Answer.OVER:
        _ask(turn, account, gseq)
    elif row.value == Answer.WAITED_FOR:
        _ask_again(turn, account, row)
    elif row.value == Answer.REFUSED and abs(turn.now_ms - row.at_ms) >= AGAIN_MS:
        _ask(turn, account, gseq)


def finished(turn: Turn, done: ReadFinished) -> int:
    """The meter's answer; the number of its meter, 0 when the id is none's."""
    row = next((r for r in _live(turn) if r.value == Answer.WAITED_FOR and _job_id(r) == done.cmd_id), None)
    account = turn.plan.accounts.get(row.account_no) if row is not None else None
    if row is None or account is None or account.account_epoch != row.epoch:
        return 0
    if done.ok or done.reason == Reason.UNSUPPORTED:
        row.value = Answer.TAKEN if account.mode != _present(turn, account) else Answer.OVER
        save(turn.db, row)
    elif done.reason in REFUSALS or (done.reason == Reason.METER_FAULT and done.refused):
        _refused(turn, account, row, done.reason)
    return account.meter_no


def _refused(turn: Turn, account: AccountConfig, row: OrderRow, reason: str) -> None:
    """Back to the present mode; told in the journal and as an event."""
    row.value, row.at_ms = Answer.REFUSED, turn.now_ms
    save(turn.db, row)
    present = _present(turn, account)
    named = f"account={account.account_no} epoch={row.epoch} gseq={row.gseq} mode={AccountMode(account.mode).name.lower()}"
    turn.report(account.meter_no, "instrument_refused", f"{named} reason={reason}")
    if account.mode == present:
        return
    back = ModeOrder(present)
    said = InstrumentEvidence(
        InstrumentType.MODE_SET, reason, seen=f"mode {account.mode} withdrawn", gseq=row.gseq, order=encode(back) if row.gseq else b"",
    )  # fmt: skip
    turn.book(account).add(Kind.CONTROL, turn.stamp(), (), meter_no=account.meter_no, detail=detail(said))
    if row.gseq:
        set_order(turn, account, standing(InstrumentType.MODE_SET, back, row.gseq))


def _ask(turn: Turn, account: AccountConfig, gseq: int) -> None:
    _end(turn, account)
    _run(turn, account, OrderRow(account.account_no, account.account_epoch, ASK + str(account.mode), Answer.WAITED_FOR, 0, gseq, 0), False)


def _ask_again(turn: Turn, account: AccountConfig, row: OrderRow) -> None:
    if abs(turn.now_ms - row.at_ms) >= RETRY_MS:
        _run(turn, account, row, True)


def _run(turn: Turn, account: AccountConfig, row: OrderRow, again: bool) -> None:
    row.at_ms = turn.now_ms
    save(turn.db, row)
    meter = turn.plan.meters.get(account.meter_no)
    if meter is not None:
        turn.effects.append(RunTask(
            _job_id(row), account.meter_no, meter.serial, CommandType.WRITE_SETTINGS, turn.now_ms, turn.now_ms + RETRY_MS,
            (packed(PaymentMode(SHOWN[AccountMode(account.mode)])),), again=again,
        ))  # fmt: skip


def _end(turn: Turn, account: AccountConfig) -> None:
    for row in _live(turn):
        if row.account_no == account.account_no:
            row.value = Answer.OVER
            save(turn.db, row)


def _live(turn: Turn) -> list[OrderRow]:
    return some(turn.db, OrderRow, "WHERE name LIKE 'ask_mode:%' AND value IN (?, ?)", *LIVE)


def _row(turn: Turn, account: AccountConfig, mode: int) -> OrderRow | None:
    return one(turn.db, OrderRow, account.account_no, account.account_epoch, ASK + str(mode))


def _wanted_by(turn: Turn, account: AccountConfig) -> int:
    order = order_of(turn, account, MODE)
    return order.gseq if order is not None else 0


def _present(turn: Turn, account: AccountConfig) -> int:
    """The mode of the journal; before it is opened that of the configuration, with which it will open."""
    state = turn.book(account).state
    if state.opened_wh is not None:
        return state.mode
    return next((a.mode for a in turn.plan.config.accounts if a.account_no == account.account_no), account.mode)


def _job_id(row: OrderRow) -> bytes:
    return hashlib.sha256(f"{row.name}|{row.account_no}|{row.epoch}|{row.gseq}".encode()).digest()[:16]
