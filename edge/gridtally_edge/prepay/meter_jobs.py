"""What a control instrument has done at the meter: begun at once, tried again until it is done or the meter says no.

A job is an order (account_orders.py) whose value is 1 until it is done; its id comes from the instrument, so a restart goes on
with the same job. The rim carries it out as it does a command's task (polling/tasks.py): it looks before it repeats.

Source: prepayment.md 1.2 (TAMPER_CLEAR); safety.md 4.
"""

from __future__ import annotations

import hashlib

from gridtally_edge.prepay.events import ReadFinished, RunTask
from gridtally_edge.prepay.rows import OrderRow, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import AccountConfig, CommandType
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import ResetKind

TAMPER_CLEAR = "job:tamper_clear"
RETRY_MS = 600_000
REFUSALS = frozenset({Reason.UNSUPPORTED, Reason.MALFORMED, Reason.WRONG_FORM, Reason.NO_FLOW_LIMIT})


def begin(turn: Turn, account: AccountConfig, gseq: int) -> None:
    """Clear the tamper counters of the meter behind an account."""
    row = OrderRow(account.account_no, account.account_epoch, TAMPER_CLEAR, 1, 0, gseq, turn.now_ms)
    _run(turn, row, account, again=False)


def run_due(turn: Turn) -> None:
    """Try again what has no answer."""
    for row in _open(turn):
        account = turn.plan.accounts.get(row.account_no)
        if account is not None and account.account_epoch == row.epoch and abs(turn.now_ms - row.at_ms) >= RETRY_MS:
            _run(turn, row, account, again=True)


def finished(turn: Turn, done: ReadFinished) -> bool:
    """The answer to a job; False when the id is none's. The meter's own event tells the cloud of a reset."""
    row = next((r for r in _open(turn) if _job_id(r) == done.cmd_id), None)
    if row is None:
        return False
    if done.ok or done.reason in REFUSALS:
        row.value = 0
        save(turn.db, row)
    if done.reason in REFUSALS:
        turn.report(0, "instrument_refused", f"account={row.account_no} epoch={row.epoch} gseq={row.gseq} reason={done.reason}")
    return True


def _run(turn: Turn, row: OrderRow, account: AccountConfig, again: bool) -> None:
    row.at_ms = turn.now_ms
    save(turn.db, row)
    meter = turn.plan.meters.get(account.meter_no)
    if meter is not None:
        task = RunTask(_job_id(row), account.meter_no, meter.serial, CommandType.RESET, turn.now_ms, turn.now_ms + MS_PER_DAY,
                       reset=int(ResetKind.TAMPER), again=again)  # fmt: skip
        turn.effects.append(task)


def _open(turn: Turn) -> list[OrderRow]:
    return some(turn.db, OrderRow, "WHERE name = ? AND value = 1", TAMPER_CLEAR)


def _job_id(row: OrderRow) -> bytes:
    return hashlib.sha256(f"{row.name}|{row.account_no}|{row.epoch}|{row.gseq}".encode()).digest()[:16]
