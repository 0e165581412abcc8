"""Balance inquiry: `ask` judges and opens an inquiry, `answer` gives what is known of it now.

* Asked in this order: is there such a supply, is it read at all, is the asker its retailer of record, is the range in bounds, is the day's
  number not used up. A refusal is a value, so that its row in the audit stays.
* `balance` answers from validated data at once. `read` adds raw data: at once where they are held, else when the meter was read on demand;
  the request's number and its command are one way through MDM, head end and meter. `power_status` asks the meter whether it has power.
  Above the rate of all retailers an inquiry waits (pace.py).
* The answer is made when it is looked at: validated data that came since take the place of raw ones.

Source: seed 003; SMT-A1, A2, N1-N3, 3-6, R1, R2.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, select

from gridtally_cloud.billing.model import Bill
from gridtally_cloud.billing.store import bill_inputs, billed_until, with_books
from gridtally_cloud.billing.stretches import stretch_at
from gridtally_cloud.billing.usage import channel_of
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.inquiry import pace, retailers
from gridtally_cloud.inquiry.consumption import LONGEST_RAW_MS, Consumption, Posting, consumption, last_posting, raw_range
from gridtally_cloud.inquiry.provisional import provisional_bill
from gridtally_cloud.inquiry.requests import KIND_COMMANDS, DataRequest, Kind, State, Wanted, lacking, open_request
from gridtally_cloud.prepay.estimate import cycle_day, plan_of
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import day_of, midnight_ms, utc_text
from gridtally_cloud.store.intervals import IntervalSeries, read_intervals
from gridtally_cloud.store.tables import meter, usage_point, vee_run
from gridtally_cloud.vee.run import EDITED, ESTIMATED, VALIDATED
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer
from gridtally_shared.tariff.daybook import starts_at

BILLABLE = (VALIDATED, ESTIMATED, EDITED)
LONGEST_MS = 400 * MS_PER_DAY


class Reason(StrEnum):
    UNKNOWN_POINT = "unknown_usage_point"
    NOT_OF_RECORD = "not_retailer_of_record"
    NOT_PROVISIONED = "not_provisioned"
    NOT_AVAILABLE = "not_available"
    BAD_SPAN = "bad_span"
    SPAN_TOO_LONG = "span_too_long"
    DAILY_LIMIT = "daily_limit"
    NOT_TAKEN = "not_taken"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the retailer's code ('' is the utility), and the name that stands in the audit."""

    retailer: str
    name: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """`opens_ms`: when it may be asked again, 0 where time changes nothing."""

    reason: Reason
    detail: str
    opens_ms: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """`from_ms`, `to_ms`: the range of raw data; 0 for what follows the last posting."""

    usage_point_no: int
    kind: Kind
    from_ms: int = 0
    to_ms: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """`bill` is provisional; None for a prepaid account, and where `bill_fault` says why. `used` is None for a power status."""

    request: DataRequest
    account: Account | None
    used: Consumption | None
    bill: Bill | None = None
    bill_fault: str = ""


@dataclass(frozen=True, slots=True)
class _Point:
    usage_point_no: int
    zone: str
    meter_no: int | None
    dcu: str | None
    period_s: int
    channel_no: int | None


def ask(conn: Connection, signer: Signer, asker: Asker, question: Question, now_ms: int) -> DataRequest | Refusal:
    """Open an inquiry, or say why not. Both stand in the audit."""
    found = _judged(conn, signer, asker, question, now_ms)
    subject = f"usage-point:{question.usage_point_no}"
    if isinstance(found, Refusal):
        told = f"{found.reason.value}: {asker.retailer or 'the utility'}, {question.kind.value}"
        record(conn, now_ms, asker.name, "inquiry.refused", subject, told)
    else:
        record(conn, now_ms, asker.name, "inquiry.asked", subject, f"request {found.request_no}, {question.kind.value}")
    return found


def _judged(conn: Connection, signer: Signer, asker: Asker, question: Question, now_ms: int) -> DataRequest | Refusal:
    point = _point(conn, question.usage_point_no)
    refused = _may_ask(conn, point, asker, question, now_ms)
    if point is None or refused is not None:
        return refused or _unknown(question.usage_point_no)
    span = _span(conn, point, question, now_ms)
    if isinstance(span, Refusal):
        return span
    full = _used_up(conn, point, question.kind, now_ms)
    if full is not None:
        return full
    n = lacking(conn, point.usage_point_no, *span, now_ms) if question.kind is Kind.READ else 0
    needs_meter = question.kind is Kind.POWER_STATUS or n > 0
    wanted = Wanted(question.kind, point.usage_point_no, point.meter_no or 0, point.zone, *span, asker.name,
                    KIND_COMMANDS[question.kind] if needs_meter else None, n, asker.retailer)  # fmt: skip
    try:
        return open_request(conn, signer, wanted, now_ms, not needs_meter or pace.may_go(conn, now_ms))
    except RefusedCommand as refused_by:
        return Refusal(Reason.NOT_TAKEN, refused_by.detail)


def _may_ask(conn: Connection, point: _Point | None, asker: Asker, question: Question, now_ms: int) -> Refusal | None:
    if point is None:
        return _unknown(question.usage_point_no)
    if (wrong := not_of_record(conn, question.usage_point_no, asker, now_ms)) is not None:
        return wrong
    if point.meter_no is None or not point.dcu:
        return Refusal(Reason.NOT_PROVISIONED, "no meter is in service at this usage point: nothing can be told of it yet")
    if point.channel_no is None and question.kind is not Kind.POWER_STATUS:
        return Refusal(Reason.NOT_AVAILABLE, "the meter here gives no daily reading and intervals: this inquiry is not available for it")
    return None


def _unknown(usage_point_no: int) -> Refusal:
    return Refusal(Reason.UNKNOWN_POINT, f"There is no usage point {usage_point_no}.")


def not_of_record(conn: Connection, usage_point_no: int, asker: Asker, now_ms: int) -> Refusal | None:
    """Why this asker may not, None for the retailer of record of now."""
    if retailers.of_record(conn, usage_point_no, now_ms) == asker.retailer:
        return None
    return Refusal(Reason.NOT_OF_RECORD, "only the retailer of record may ask about this usage point, and you are not its retailer now")


def _used_up(conn: Connection, point: _Point, kind: Kind, now_ms: int) -> Refusal | None:
    day = day_of(now_ms, point.zone)
    most = retailers.per_day(conn, point.usage_point_no, kind)
    if retailers.taken(conn, point.usage_point_no, kind, day) < most:
        return None
    opens_ms = midnight_ms(day + 1, point.zone)
    times = "once" if most == 1 else f"{most} times"
    if not most:
        return Refusal(Reason.DAILY_LIMIT, f"this kind of inquiry ({kind.value}) is not open for this usage point", opens_ms)
    return Refusal(Reason.DAILY_LIMIT, f"{kind.value} is answered {times} a day for a usage point, and that is used up or under way; "
                   f"ask again from {utc_text(opens_ms)} on", opens_ms)  # fmt: skip


def _span(conn: Connection, point: _Point, question: Question, now_ms: int) -> tuple[int, int] | Refusal:
    """The range of raw data; of the others the moment."""
    if question.kind is not Kind.READ:
        return now_ms, now_ms
    step = point.period_s * 1000
    last = last_posting(postings(conn, point.channel_no or 0, point.zone, now_ms - LONGEST_MS, now_ms))
    posted_to_ms = last.to_ms if last else now_ms // step * step - LONGEST_RAW_MS
    default = raw_range(posted_to_ms, now_ms, step)
    from_ms, to_ms = question.from_ms or default[0], question.to_ms or default[1]
    if question.to_ms == 0 and question.from_ms:
        to_ms = now_ms // step * step
    if not from_ms <= to_ms <= now_ms or from_ms % step or to_ms % step:
        return Refusal(Reason.BAD_SPAN, f"name a range that is over, in whole intervals of {point.period_s // 60} minutes")
    if to_ms - from_ms > LONGEST_RAW_MS:
        return Refusal(Reason.SPAN_TOO_LONG, "raw intervals are given for 48 hours at most: name a shorter range, or none")
    return from_ms, to_ms


def _point(conn: Connection, usage_point_no: int) -> _Point | None:
    u, m = usage_point.c, meter.c
    join = usage_point.outerjoin(meter, and_(m.usage_point_no == u.usage_point_no, m.removed_ms.is_(None)))
    query = select(u.zone, m.meter_no, m.dcu, m.interval_s).select_from(join).where(u.usage_point_no == usage_point_no)
    row = conn.execute(query.order_by(m.installed_ms.desc()).limit(1)).first()
    if row is None:
        return None
    return _Point(usage_point_no, row.zone, row.meter_no, row.dcu, row.interval_s or 900, channel_of(conn, usage_point_no))


# ---- the answer -----------------------------------------------------------------------------------------------


def postings(conn: Connection, channel_no: int, zone: str, from_ms: int, to_ms: int) -> tuple[Posting, ...]:
    """What was judged of a channel in a time, by day; days that still wait for their judgement are left out."""
    r = vee_run.c
    days = r.day.between(day_of(from_ms, zone), day_of(to_ms, zone))
    query = select(r.day, r.status, r.at_ms).where(r.shard == SHARD, r.channel_no == channel_no, days, r.status != "pending")
    return tuple(Posting(midnight_ms(row.day, zone), midnight_ms(row.day + 1, zone), row.status in BILLABLE, row.at_ms)
                 for row in conn.execute(query.order_by(r.day)))  # fmt: skip


def answer(conn: Connection, request: DataRequest) -> Answer:
    """What is known of an inquiry now. It ends with the moment it was asked."""
    account = _account(conn, request.usage_point_no)
    point = _point(conn, request.usage_point_no)
    if request.kind is Kind.POWER_STATUS or point is None or point.channel_no is None:
        return Answer(request, account, None)
    from_ms = _period_from(conn, account, point.zone, request.asked_ms)
    over_ms = request.asked_ms // (point.period_s * 1000) * point.period_s * 1000
    series = read_intervals(conn, point.channel_no, from_ms, max(from_ms, over_ms))
    told = postings(conn, point.channel_no, point.zone, from_ms, request.asked_ms)
    used = consumption(series, told, request.asked_ms, _still_raw(request, told, series.start_ms))
    if account is None or account.is_prepaid or used.to_ms <= used.from_ms:
        return Answer(request, account, used)
    try:
        return Answer(request, account, used, _bill(conn, account, from_ms, series, used))
    except (RefusedCommand, ConfigError) as error:
        return Answer(request, account, used, None, error.detail if isinstance(error, RefusedCommand) else str(error))


def _still_raw(request: DataRequest, told: tuple[Posting, ...], from_ms: int) -> tuple[int, int] | None:
    """The part of an answered range that was not posted since."""
    if request.kind is not Kind.READ or request.state is not State.MERGED:
        return None
    last = last_posting(told)
    return max(request.from_ms, last.to_ms if last else from_ms, from_ms), request.to_ms


def _bill(conn: Connection, account: Account, from_ms: int, series: IntervalSeries, used: Consumption) -> Bill:
    """The account's bill of the time that is known."""
    inputs = bill_inputs(conn, account, from_ms, used.to_ms, used.wh)
    return provisional_bill(with_books(conn, account, inputs, used.to_ms), series)


def _account(conn: Connection, usage_point_no: int) -> Account | None:
    a = account_table.c
    query = select(a.account_no).where(a.usage_point_no == usage_point_no, a.closed_ms.is_(None)).order_by(a.account_no.desc()).limit(1)
    number: Any = conn.execute(query).scalar_one_or_none()
    return account_of(conn, number) if number is not None else None


def _period_from(conn: Connection, account: Account | None, zone: str, now_ms: int) -> int:
    """Where the open period began: the end of the last bill; of a prepaid account its tariff's cycle; else the day."""
    if account is None:
        return midnight_ms(day_of(now_ms, zone), zone)
    stretch = None if account.is_prepaid else stretch_at(conn, account, now_ms)
    if stretch is not None:
        return max(stretch.from_ms, billed_until(conn, account.account_no))
    try:
        plan = plan_of(conn, account)
        return max(starts_at(cycle_day(plan, now_ms), plan.zone), account.opened_at_ms)
    except ConfigError:
        return max(midnight_ms(day_of(now_ms, zone), zone), account.opened_at_ms)
