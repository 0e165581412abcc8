"""A load limit watched from here: the demand by polled registers, and how long a supply stands where it stands.

* The demand is the mean over a window of 30 s to an hour, told low: a register may have been a watt-hour ahead. A window in
  which the clock was set, the agent started, the switch moved or the limit changed is passed by.
* While a limit is in force and the meter does not keep it itself, the register is asked for each minute.
* The stopwatch behind the re-close and the clean period runs on the monotonic clock and is kept over a restart; only time seen
  to pass counts, so a clock that was set neither hastens a close nor keeps a supply off.

Source: prepayment.md 6.1, T22 to T25b; safety.md 5.
"""

from __future__ import annotations

import os

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.account_orders import order_of
from gridtally_edge.prepay.actions import open_action
from gridtally_edge.prepay.events import MeterRead, RunRead
from gridtally_edge.prepay.limiter_rows import LimiterRow
from gridtally_edge.prepay.rows import one, save
from gridtally_edge.prepay.rules import policy_of, standing_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, CommandType
from gridtally_shared.ledger.standing_orders import LIMIT_W
from gridtally_shared.prepay.facts import Limit
from gridtally_shared.prepay.regions import LoadLimit
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

SHORTEST_MS, LONGEST_MS = 30_000, MS_PER_HOUR
ASK_MS = 30_000
STEP_MS = 2_000
UNUSABLE = int(Quality.MISSING | Quality.COMM_ERROR | Quality.METER_INVALID | Quality.ESTIMATED)
ON = frozenset({SwitchState.CLOSED.value, SwitchState.ARMED.value})
WAITS = frozenset({LoadLimit.TRIPPED, LoadLimit.RECLOSED_ONCE})


@dataclass(frozen=True, slots=True)
class Watched:
    """What the engine is told of a supply's limit (facts.py)."""

    limits: tuple[Limit, ...] = ()
    demand_over: bool | None = None
    demand_w: int | None = None
    over_for_ms: int = 0
    limit_for_ms: int | None = None
    limiter: str = ""


def limiter(turn: Turn, meter_no: int) -> LimiterRow:
    return one(turn.db, LimiterRow, meter_no) or LimiterRow(meter_no)


def is_limited(turn: Turn, account: AccountConfig) -> bool:
    """Somebody beside the money asks for a limit here."""
    return bool(ordered(turn, account))


def ordered(turn: Turn, account: AccountConfig) -> tuple[Limit, ...]:
    """The limits of orders."""
    order = order_of(turn, account, LIMIT_W)
    return (Limit(order.value, "order"),) if order is not None and order.value > 0 else ()


# ---- demand -------------------------------------------------------------------------------------------------


def sample(turn: Turn, account: AccountConfig, read: MeterRead) -> None:
    """Take a reading into the averaging window; before the reading's switch state is taken in."""
    standing = standing_of(turn.book(account))
    if standing.limit_w is None:
        return
    row = limiter(turn, account.meter_no)
    if _is_off(turn, account, read) or read.register_wh is None or read.quality & UNUSABLE:
        _forget(row)
    elif not _is_whole(turn, row, read):
        _forget(row)
        _begin(turn, row, read)
    elif read.at_ms - row.base_ms >= SHORTEST_MS:
        _average(row, read, standing.limit_w)
        _begin(turn, row, read)
    save(turn.db, row)


def _is_off(turn: Turn, account: AccountConfig, read: MeterRead) -> bool:
    known = turn.switch(account.meter_no).state
    return known == SwitchState.OPEN.value or read.switch is SwitchState.OPEN


def _is_whole(turn: Turn, row: LimiterRow, read: MeterRead) -> bool:
    """One run of the agent, one run of the clock, not longer than an hour, and a register that rose."""
    if row.base_wh is None or row.boot_id != turn.identity.boot_id or turn.now_ms - row.base_seen_ms >= turn.since_ms("changed_ms"):
        return False
    passed_ms = turn.now_ms - row.base_seen_ms
    stepped = bool(turn.mono_ms) and abs(passed_ms - (turn.mono_ms - row.base_mono_ms)) > STEP_MS
    rose = read.register_wh is not None and read.register_wh >= row.base_wh
    return rose and not stepped and 0 <= read.at_ms - row.base_ms <= LONGEST_MS


def _average(row: LimiterRow, read: MeterRead, limit_w: int) -> None:
    window_ms, used_wh = read.at_ms - row.base_ms, (read.register_wh or 0) - (row.base_wh or 0)
    row.mean_w, row.mean_ms = max(0, used_wh - 1) * MS_PER_HOUR // window_ms, read.at_ms
    row.over_ms = row.over_ms + window_ms if row.mean_w > limit_w else 0


def _begin(turn: Turn, row: LimiterRow, read: MeterRead) -> None:
    row.base_wh, row.base_ms, row.base_seen_ms = read.register_wh, read.at_ms, turn.now_ms
    row.base_mono_ms, row.boot_id = turn.mono_ms, turn.identity.boot_id


def _forget(row: LimiterRow) -> None:
    row.base_wh, row.mean_w, row.over_ms = None, None, 0


# ---- what the engine is told --------------------------------------------------------------------------------


def watched(turn: Turn, account: AccountConfig, moving: bool) -> Watched:
    """The limits asked for, the demand, and the stopwatch brought up to now."""
    standing, limits = standing_of(turn.book(account)), ordered(turn, account)
    if standing.limit_w is None and standing.recloses == 0 and standing.regions.limit is LoadLimit.IDLE:
        return Watched(limits, limiter=_fit(turn, account))
    row = limiter(turn, account.meter_no)
    _run_stopwatch(turn, row, standing, moving)
    save(turn.db, row)
    _wake(turn, account, row, standing, moving)
    if row.mean_w is None or standing.limit_w is None or _meter_keeps(row, standing) or turn.now_ms - row.mean_ms > LONGEST_MS:
        return Watched(limits, limit_for_ms=row.stood_ms, limiter=_fit(turn, account))
    return Watched(limits, row.over_ms > 0, row.mean_w, row.over_ms, row.stood_ms, _fit(turn, account))


def _fit(turn: Turn, account: AccountConfig) -> str:
    """Whether this very meter keeps a limit, as it was seen."""
    row, meter = limiter(turn, account.meter_no), turn.plan.meters.get(account.meter_no)
    return row.fit if meter is not None and row.serial == meter.serial else ""


def _run_stopwatch(turn: Turn, row: LimiterRow, standing: Standing, moving: bool) -> None:
    """How long it has stood so; what was waited in the dark is no time behind the close that ends it."""
    dark = turn.switch(row.meter_no).state == SwitchState.OPEN.value
    signs = ("moving" if moving else "", "over" if row.over_ms else "", "dark" if dark else "")
    stands = ":".join((standing.regions.limit.value, *signs))
    same_start = row.boot_id == turn.identity.boot_id
    if row.stands != stands:
        row.stood_ms = 0
    elif same_start:
        row.stood_ms += _passed(turn, row)
    row.stands, row.seen_ms, row.seen_mono_ms = stands, turn.now_ms, turn.mono_ms
    if not same_start:
        _forget(row)
        row.boot_id = turn.identity.boot_id


def _passed(turn: Turn, row: LimiterRow) -> int:
    """By the monotonic clock; under virtual time, which has none, by the clock in use."""
    by_mono = turn.mono_ms and row.seen_mono_ms
    return max(0, turn.mono_ms - row.seen_mono_ms if by_mono else turn.now_ms - row.seen_ms)


def _wake(turn: Turn, account: AccountConfig, row: LimiterRow, standing: Standing, moving: bool) -> None:
    """Be asked again when the waiting time is over, not at the next full minute."""
    if standing.regions.limit is LoadLimit.TRIPPED and not moving:
        left_ms = policy_of(turn, account).policy.reclose.delay_s * 1000 - row.stood_ms
        if left_ms > 0:
            turn.wake_at(turn.now_ms + left_ms)


def _meter_keeps(row: LimiterRow, standing: Standing) -> bool:
    """The meter itself watches exactly this limit."""
    return row.fit == "meter" and row.set_w == standing.limit_w


# ---- after a step of the engine -----------------------------------------------------------------------------


def noted(turn: Turn, account: AccountConfig, before: Standing, after: Standing) -> None:
    """Another limit, or another place of the watch: the demand is measured anew, the stopwatch begins; and once more when the switch
    has come to rest, so that two minutes in the dark are two minutes however long the order was on its way."""
    if (before.limit_w, before.regions.limit) == (after.limit_w, after.regions.limit):
        return
    row = limiter(turn, account.meter_no)
    if before.limit_w != after.limit_w or after.regions.limit is not LoadLimit.OVER:
        _forget(row)
    moving = open_action(turn, account.meter_no) is not None
    _run_stopwatch(turn, row, after, moving)
    save(turn.db, row)
    _wake(turn, account, row, after, moving)


def ask_demand(turn: Turn, account: AccountConfig) -> None:
    """Each minute, where a limit is watched from here."""
    standing = standing_of(turn.book(account))
    if standing.limit_w is None or turn.switch(account.meter_no).state not in ON:
        return
    row, meter = limiter(turn, account.meter_no), turn.plan.meters.get(account.meter_no)
    if meter is not None and not _meter_keeps(row, standing) and turn.now_ms - row.base_ms >= ASK_MS:
        turn.effects.append(RunRead(os.urandom(16), account.meter_no, meter.serial, CommandType.READ_INSTANT))
