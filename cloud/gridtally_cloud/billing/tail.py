"""The end of a bill's period when no reading reaches it: what VEE estimates for its days, else the meter's own daily average.

* Only where a person asks for an estimated bill. Days of which nothing came are closed and estimated as VEE does it (like days, average),
  with the same marks; what comes later wins, restates the bill and proposes to make it again (`rebill.py`).
* The register at the end is the last reading and the intervals after it. A meter without intervals moves on as it did in the weeks before
  its last reading (mdm.md B.3-7).
* Its limits are a dated rule (`rules.py`), that of the last day of its period: how many estimated bills may follow each other, where the
  last of them, and one with much estimated, is an order to a person (mdm.md B.3-8); how long one may be made again for more. Without
  a rule: three, a fifth, no limit.

Source: issue 5 line 4.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.billing.checks import BillReason
from gridtally_cloud.billing.counted import counted_on
from gridtally_cloud.billing.document import from_json
from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.model import BillView, Reading, Tail, Turn
from gridtally_cloud.billing.rules import HUNDRED, Rule, RuleKind, in_force, rules_for
from gridtally_cloud.billing.tables import bill as bill_table
from gridtally_cloud.billing.usage import channel_of, last_register, newest_register_ms
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.close import GRACE_MS, close_silent_day
from gridtally_cloud.store.days import date_of, day_of
from gridtally_cloud.store.intervals import hold_points
from gridtally_cloud.workorders.service import OrderKind, open_order
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.quantities import INTERVAL_IMPORT

INTERVALS, REGISTERS = "intervals", "registers"
_b = bill_table.c


def limits_of(conn: Connection, account: Account, to_ms: int) -> Rule:
    """What holds for an estimated bill whose period ends then."""
    rules = rules_for(conn, RuleKind.ESTIMATED, account.tariff_id, account.currency)
    found = in_force(rules, day_of(to_ms - 1, account.zone))
    return found.rule if found else Rule(RuleKind.ESTIMATED, account.currency)


def fill(conn: Connection, account: Account, from_ms: int, to_ms: int, at_ms: int) -> None:
    """Let VEE estimate the days behind the last reading of which nothing came. Raises RefusedCommand where they are too young, or where too
    many bills were estimated before."""
    most = limits_of(conn, account, to_ms).most_in_row
    if in_row_before(conn, account.account_no, from_ms, most) >= most:
        raise RefusedCommand(BillReason.ESTIMATED_TOO_OFTEN, f"{most} bills in a row are the most that may be estimated: have meter "
                             f"{account.meter_serial} read, or enter a reading")  # fmt: skip
    if at_ms < to_ms + GRACE_MS:
        raise RefusedCommand(BillReason.TOO_YOUNG, "readings of the last days may still come: estimate a day after the end of the period")
    number = channel_of(conn, account.usage_point_no)
    if number is None:
        return
    from gridtally_cloud.vee.run import run_again, status_of  # a process that makes no estimated bill starts without VEE

    hold_points(conn, [number])
    known_ms = max(from_ms, newest_register_ms(conn, account.meter_no))
    days = range(day_of(known_ms, account.zone), day_of(to_ms - 1, account.zone) + 1)
    closed = [day for day in days if status_of(conn, day, number) == "raw" and close_silent_day(conn, day, number, at_ms)]
    for day in closed:
        run_again(conn, number, range(day, day + 1), at_ms)
    waiting = [day for day in days if status_of(conn, day, number) in ("raw", "pending")]
    if waiting:
        raise RefusedCommand(BillReason.TOO_YOUNG, f"values of {date_of(waiting[0])} are being taken in: estimate when VEE has judged them")


def ending(held: Held, account: Account, begin_ms: int, opening: Reading, to_ms: int) -> tuple[Reading, Tail, tuple[Turn, ...]]:
    """The register at the end, what of it is estimated, and where it went back before. Raises RefusedCommand where nothing can be
    estimated from."""
    limits = limits_of(held.conn, account, to_ms)
    last = last_register(held.conn, account.meter_no, to_ms)
    known, turns = Reading(begin_ms, opening.register_wh, ahead_wh=opening.ahead_wh), tuple[Turn, ...]()
    if last is not None and last.at_ms > begin_ms:
        known, turns = counted_on(held, account, opening, last)
    used_wh, method = _by_intervals(held, account, known.at_ms, to_ms), INTERVALS
    if used_wh is None:
        used_wh, method = _by_registers(held, account, known.at_ms, to_ms, limits), REGISTERS
    if used_wh is None:
        raise RefusedCommand(BillReason.REGISTER_MISSING, f"nothing is known of meter {account.meter_serial} to estimate from: enter a "
                             "reading")  # fmt: skip
    tail = Tail(known.at_ms, used_wh, method, in_row_before(held.conn, account.account_no, begin_ms, limits.most_in_row) + 1)
    return Reading(to_ms, known.register_wh + used_wh, estimated=True, ahead_wh=known.ahead_wh), tail, turns


def _by_intervals(held: Held, account: Account, from_ms: int, to_ms: int) -> int | None:
    """The intervals after an instant, of the one that holds it its share; None where any is not there."""
    number = held.channel(account.usage_point_no, INTERVAL_IMPORT)
    if number is None:
        return None
    series = held.series(number, from_ms, to_ms)
    step = series.period_s * 1000
    begin_ms = from_ms // step * step
    if begin_ms < from_ms:
        series = held.series(number, begin_ms, to_ms)
    if len(series) * step != to_ms - begin_ms or series.start_ms != begin_ms or not all(series.present):
        return None
    passed = series.values[0] * (from_ms - begin_ms) // step if len(series) else 0
    return int(sum(series.values)) - passed


def _by_registers(held: Held, account: Account, from_ms: int, to_ms: int, limits: Rule) -> int | None:
    """As much a day as in the weeks before the last reading."""
    conn = held.conn
    last = last_register(conn, account.meter_no, to_ms)
    first = last_register(conn, account.meter_no, last.at_ms - limits.look_back_days * MS_PER_DAY) if last else None
    first = first or last_register(conn, account.meter_no, last.at_ms - limits.least_days * MS_PER_DAY) if last else None
    if last is None or first is None:
        return None
    last, _ = counted_on(held, account, first, last)
    return (last.register_wh - first.register_wh) * (to_ms - from_ms) // (last.at_ms - first.at_ms)


def in_row_before(conn: Connection, account_no: int, from_ms: int, most: int) -> int:
    """How many estimated bills end where the next one begins, one after the other; not more than `most`."""
    mine = (_b.account_no == account_no, _b.kind == "bill", _b.cancelled_ms.is_(None), _b.to_ms <= from_ms)
    rows = conn.execute(select(_b.from_ms, _b.to_ms, _b.document).where(*mine).order_by(_b.to_ms.desc()).limit(most))
    count = 0
    for row in rows:
        if row.to_ms != from_ms or from_json(row.document).tail is None:
            break
        count, from_ms = count + 1, row.from_ms
    return count


def flag(conn: Connection, view: BillView, at_ms: int, actor: str) -> None:
    """An order to a person where a bill is estimated for the last time, or much of it is."""
    tail, used_wh = view.bill.tail, view.bill.used_wh
    if tail is None:
        return
    limits = limits_of(conn, account_of(conn, view.bill.party.account_no), view.bill.to_ms)
    if tail.in_row < limits.most_in_row and tail.used_wh * HUNDRED <= limits.much_percent * used_wh:
        return
    detail = f"{view.bill_no}: {tail.permille(view.bill.used_wh) / 10:.1f} % is estimated, {tail.in_row} estimated bills in a row"
    open_order(conn, OrderKind.BILL_REVIEW, view.bill.party.account_no, f"estimated {view.bill_no}", "estimated_bill", at_ms, actor, detail)


def check_may_rise(conn: Connection, account: Account, view: BillView, more_nano: int, at_ms: int) -> None:
    """Whether an estimated bill may still be made again for more. Raises RefusedCommand (too_late_for_more)."""
    until_ms = view.bill.to_ms - 1
    days = limits_of(conn, account, view.bill.to_ms).correct_days
    if view.bill.tail is None or more_nano <= 0 or not days:
        return
    if day_of(at_ms, account.zone) - day_of(until_ms, account.zone) > days:
        text = (f"{view.bill_no} was estimated and would come to more, and its period is over for more than the {days} days its rule "
                f"allows: keep it by gridtally-mdm rebill leave {view.bill_no}")  # fmt: skip
        raise RefusedCommand(BillReason.TOO_LATE_FOR_MORE, text)
