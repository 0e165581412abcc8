"""How long the balance of a managed account lasts: the forecast of a concentrator, made here from the readings that came up.

* Made anew with each hour, after money came, and with each reading near its end; at most `MOST_A_RUN` in one run, the others wait.
* The load history is that of the last weeks' readings, taken in anew each time: nothing of it has to be kept, restored or handed over.
* The result stands where a concentrator's own word stands (time_left.py), so portal and warnings say the same.
* Nothing here moves money or a switch.

Source: prepayment.md 6.2; safety.md 17.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gridtally_cloud.billing.usage import registers_since
from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.prepay.managed_pen import Pen
from gridtally_cloud.prepay.time_left import take_time_left, told_now
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.prepay_messages import TimeLeftTold
from gridtally_shared.forecast.history import LoadHistory
from gridtally_shared.forecast.hours import Stretch, hour_start, read
from gridtally_shared.forecast.timeleft import Basis, TimeLeft
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.prepay.lasting import debits_of, ends_soon, lasts, told_span_ms, with_hours
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.records import dataclass

MOST_A_RUN = 40
LOOK_BACK_MS = 28 * MS_PER_DAY
MOST_READINGS = 5_000


@dataclass(slots=True)
class Forecasts:
    """Those of one run. `made`: how many were made so far."""

    made: int = 0

    def follow(self, arrival: Arrival, pen: Pen, policy: Policy, near: bool) -> None:
        """Make the forecast anew where that is due. `near`: the last money is known to be near."""
        was = told_now(arrival.conn, pen.account.account_no, pen.account.account_epoch)
        near = near or ends_soon(was.cautious_ms if was else None, policy, arrival.now_ms)
        if self.made < MOST_A_RUN and _is_due(pen, was, near):
            self.made += 1
            take_time_left(arrival, _made(arrival.conn, pen, policy))


def span_to_tell(arrival: Arrival, pen: Pen, interval_ms: int) -> int | None:
    """The span a warning tells, from the newest forecast."""
    told = told_now(arrival.conn, pen.account.account_no, pen.account.account_epoch)
    return told_span_ms(_left_of(told), arrival.now_ms, pen.good_ms, interval_ms)


def _is_due(pen: Pen, was: TimeLeftTold | None, near: bool) -> bool:
    if pen.state.register_wh is None or not pen.good_ms:
        return False
    if was is None or pen.state.balance_nano > was.balance_nano:
        return True
    zone = pen.plan.zone
    is_newer = pen.good_ms > was.as_of_ms
    return is_newer and (near or hour_start(pen.good_ms, zone) > hour_start(was.as_of_ms, zone))


def _made(conn: Connection, pen: Pen, policy: Policy) -> TimeLeftTold:
    account, state = pen.account, pen.state
    history = history_before(conn, account.meter_no, pen.good_ms, pen.plan.zone)
    left = lasts(pen.plan, pen.running, pen.good_ms, state.balance_nano, history, debits_of(policy, owed(state, Pool.DEBT_TIME)))
    return TimeLeftTold(
        account.account_no, account.account_epoch, left.as_of_ms, state.balance_nano, left.central_ms, left.cautious_ms, left.basis.value
    )  # fmt: skip


def history_before(conn: Connection, meter_no: int, until_ms: int, zone: ZoneInfo) -> LoadHistory:
    """The hours of the last weeks, as the readings up to an instant tell them."""
    mark, hours = None, list[Stretch]()
    for at_ms, wh in registers_since(conn, meter_no, until_ms - LOOK_BACK_MS, MOST_READINGS):
        if at_ms <= until_ms:
            mark, over = read(mark, at_ms, wh, zone)
            hours.extend(over)
    return with_hours(LoadHistory(), zone, hours)


def _left_of(told: TimeLeftTold | None) -> TimeLeft | None:
    if told is None or told.basis == Basis.NONE.value:
        return None
    return TimeLeft(told.as_of_ms, told.central_ms, told.cautious_ms, Basis(told.basis))

