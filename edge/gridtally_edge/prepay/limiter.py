"""The limiter of the meter itself (DLMS class 71): written, read back, tried again; and asked why it opened.

* The meter comes first: only where it has no limiter, or does not answer, the demand is watched from here (limiting.py).
* What was written counts once it was read back. A step down is not written into protected hours. A meter whose account is run by others
  from now on is let go of its limit.
* A meter without a switch is asked first whether it has a limiter; one that has none is never limited, and its account is told.
* A switch that opened by itself behind a limiter is asked for its event log: only an overload told there is a trip, anything
  else is a local breaker, which is never fought (prepayment.md T21).

Source: prepayment.md 6.1; IEC 62056-6-2 class 71.
"""

from __future__ import annotations

import os

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.actions import latest_cut_ms
from gridtally_edge.prepay.events import ReadFinished, RunRead, RunTask
from gridtally_edge.prepay.limiter_rows import LimiterRow
from gridtally_edge.prepay.limiting import is_limited, limiter
from gridtally_edge.prepay.meter_jobs import REFUSALS
from gridtally_edge.prepay.rows import save, some
from gridtally_edge.prepay.rules import policy_of, standing_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared import cbor
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.events import BY_NAME
from gridtally_shared.meter_settings import LoadLimit, Setting, SettingKind, packed
from gridtally_shared.prepay.facts import OffReason

RETRY_FIRST_MS, RETRY_MOST_MS = 45_000, MS_PER_HOUR
LOST_MS = 600_000
LOOKING_W = -1
"""What a question for the limiter asks for, in place of watts."""
NOT_ASKED = "?"
"""Stands for the serial of a meter that has to be asked, whatever is wanted of it."""
LOOK_BACK_MS = MS_PER_HOUR
OVERLOADED = BY_NAME["overloaded"].code


def follow(turn: Turn, account: AccountConfig) -> None:
    """Let the meter hold the limit that is in force, or none."""
    wanted_w = standing_of(turn.book(account)).limit_w or 0
    row, meter = limiter(turn, account.meter_no), turn.plan.meters.get(account.meter_no)
    if meter is None or (not wanted_w and not row.serial):
        return
    if row.serial != meter.serial:
        row.serial, row.fit, row.set_w, row.asked_id, row.due_ms, row.tries = meter.serial, "", None, b"", 0, 0
    if turn.switch(account.meter_no).state == SwitchState.NOT_FITTED.value and not row.fit:
        return  # nothing is written into a meter whose limiter nobody has seen
    if row.fit == "none" or row.set_w == wanted_w or not _is_due(turn, row, wanted_w):
        return
    latest_ms = latest_cut_ms(turn, account) if wanted_w else turn.now_ms + MS_PER_HOUR
    _write(turn, row, LoadLimit(wanted_w, policy_of(turn, account).policy.limit.guard_s), latest_ms)


def let_go(turn: Turn) -> None:
    """A meter whose account is not run here any more (the MDM runs it, or it is closed) keeps no limit of ours: nobody would lift it, nor
    close behind it."""
    for row in some(turn.db, LimiterRow, "WHERE serial NOT IN ('', '?') AND fit <> 'none' AND (set_w IS NULL OR set_w > 0)"):
        meter = turn.plan.meters.get(row.meter_no)
        is_ours = meter is not None and meter.serial == row.serial and row.meter_no not in turn.plan.by_meter
        if is_ours and _is_due(turn, row, 0):
            _write(turn, row, LoadLimit(0), turn.now_ms + MS_PER_HOUR)


def look_again(turn: Turn, meter_no: int) -> None:
    """Another box may have left a limit in this meter: the one in force here is written once, or none."""
    row = limiter(turn, meter_no)
    if not row.serial:
        row.serial = NOT_ASKED
        save(turn.db, row)


def _write(turn: Turn, row: LimiterRow, limit: LoadLimit, latest_ms: int) -> None:
    row.asked_id, row.asked_w, row.asked_ms = os.urandom(16), limit.threshold_w, turn.now_ms
    save(turn.db, row)
    turn.effects.append(RunTask(
        row.asked_id, row.meter_no, row.serial, CommandType.WRITE_SETTINGS, turn.now_ms, latest_ms, (packed(limit),)
    ))  # fmt: skip


def look_for(turn: Turn, account: AccountConfig) -> None:
    """Where no switch is fitted and a limit may be asked for: has the meter a limiter of its own? It is read, nothing is written."""
    meter = turn.plan.meters.get(account.meter_no)
    if meter is None or turn.switch(account.meter_no).state != SwitchState.NOT_FITTED.value:
        return
    if not (policy_of(turn, account).policy.limit.steps or is_limited(turn, account)):
        return
    row = limiter(turn, account.meter_no)
    if row.serial != meter.serial:
        row.serial, row.fit, row.set_w, row.asked_id, row.due_ms, row.tries = meter.serial, "", 0, b"", 0, 0
    if row.fit or not _is_due(turn, row, LOOKING_W):
        return
    row.asked_id, row.asked_w, row.asked_ms = os.urandom(16), LOOKING_W, turn.now_ms
    save(turn.db, row)
    turn.effects.append(RunTask(
        row.asked_id, account.meter_no, meter.serial, CommandType.READ_SETTINGS, turn.now_ms, turn.now_ms + MS_PER_HOUR,
        (Setting(SettingKind.LOAD_LIMIT),),
    ))  # fmt: skip


def _is_due(turn: Turn, row: LimiterRow, wanted_w: int) -> bool:
    if row.asked_id and row.asked_w == wanted_w:
        return turn.now_ms - row.asked_ms >= LOST_MS
    return row.asked_w != wanted_w or turn.now_ms >= row.due_ms


def finished(turn: Turn, done: ReadFinished) -> int:
    """The answer to a task or a question of ours; the meter it is of, 0 where the id is none's."""
    rows = some(turn.db, LimiterRow, "WHERE asked_id = ? OR events_id = ?", done.cmd_id, done.cmd_id)
    if not done.cmd_id or not rows:
        return 0
    row = rows[0]
    if done.cmd_id == row.asked_id:
        _written(turn, row, done)
    else:
        _told_why(turn, row, done)
    save(turn.db, row)
    return row.meter_no


def _written(turn: Turn, row: LimiterRow, done: ReadFinished) -> None:
    row.asked_id = b""
    if row.asked_w == LOOKING_W and (done.ok or done.reason in REFUSALS):
        row.fit, row.set_w, row.tries = "meter" if done.ok else "none", 0, 0
    elif done.ok:
        row.fit, row.set_w, row.tries, row.due_ms = "meter", row.asked_w, 0, 0
    elif done.reason in REFUSALS:
        row.fit = "none"
    else:
        row.set_w = None
        row.due_ms = turn.now_ms + min(RETRY_MOST_MS, RETRY_FIRST_MS << min(row.tries, 10))
        row.tries += 1


# ---- why did it open? ---------------------------------------------------------------------------------------


def ask_why(turn: Turn, meter_no: int) -> bool:
    """A switch opened that nobody ordered. True where the meter itself keeps a limit and is asked."""
    row, meter = limiter(turn, meter_no), turn.plan.meters.get(meter_no)
    if meter is None or row.fit != "meter" or not row.set_w:
        return False
    row.events_id, row.events_ms = os.urandom(16), max(row.events_ms, turn.now_ms - LOOK_BACK_MS)
    save(turn.db, row)
    run = RunRead(row.events_id, meter_no, meter.serial, CommandType.READ_EVENTS, row.events_ms, turn.now_ms + LOOK_BACK_MS)
    turn.effects.append(run)
    return True


def _told_why(turn: Turn, row: LimiterRow, done: ReadFinished) -> None:
    row.events_id = b""
    switch = turn.switch(row.meter_no)
    if switch.off_reason != OffReason.UNORDERED.value:
        return
    newest_ms = _newest_overload_ms(done.result) if done.ok else 0
    if newest_ms >= row.events_ms > 0:
        row.events_ms = newest_ms + 1
        switch.off_reason = OffReason.LIMIT.value
        turn.report(row.meter_no, "load_limit_exceeded", f"limit_w={row.set_w} by=meter")
    else:
        turn.report(row.meter_no, "switch_unordered", "open, and the meter tells of no overload")


def _newest_overload_ms(result: bytes) -> int:
    """By the events of a READ_EVENTS result; 0 where there is none."""
    try:
        return max((int(at_ms) for code, at_ms, *_ in cbor.loads(result)[0] if code == OVERLOADED), default=0)
    except (ContractError, KeyError, TypeError, ValueError, IndexError):
        return 0
