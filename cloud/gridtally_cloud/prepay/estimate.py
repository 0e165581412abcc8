"""What a time ahead will cost: the usual use of each hour of the week, walked through the account's real tariff.

* A prepaid account's walk begins where its journal stands (charging.py): slabs, remainders and terms are those its concentrator
  charges on with. Any other walk begins with the tariff's cycle, in which what was measured counts as measured.
* From there to now, where nothing was measured, and from now on the profile is used. The estimate is what [from, to) adds, line by
  line; what is charged already is not estimated again.
* `pay_nano` is what to pay now for a balance that lasts to the end: by the account's own money rules, with what a top-up pays off
  first, the debt by time of those days, and what is used until `from`.
* The profile is the mean of the same hour of the week over the last eight weeks; an hour never seen takes that hour of the day,
  else the mean of all. A profile can also be given, such as that of an event.
* The basis is told with the amount: the days looked at and how much of them was known. Without a whole known day there is no
  estimate, and it says so.

Source: seed 002 C3-S1.3, C3-S2.4, C3-S3.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection

from gridtally_cloud.billing.usage import channel_of
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.model import Account as Agreement
from gridtally_cloud.customers.tariffs import versions_of
from gridtally_cloud.prepay.charging import charging_of
from gridtally_cloud.prepay.minimum import whole_coins
from gridtally_cloud.prepay.policies import rules_at
from gridtally_cloud.prepay.wallet import ledger_state, pending_nano
from gridtally_cloud.store.intervals import IntervalSeries, read_intervals
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import MoneyRules, owed
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.ledger.way_back import brings_back
from gridtally_shared.prepay.money import money_rules
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.prepay.zones import zone_of
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.cycles import cycle_of
from gridtally_shared.tariff.daybook import day_of, starts_at
from gridtally_shared.tariff.engine import State, advance, opened
from gridtally_shared.tariff.lines import Line
from gridtally_shared.tariff.pinned import pinned_plan
from gridtally_shared.tariff.terms import Account, Plan
from gridtally_shared.tariff.use import Series

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SLOT_MS = 900_000
WEEK_HOURS = 168
LOOK_BACK_MS = 56 * DAY_MS
LONGEST_MS = 400 * DAY_MS
LEAST_KNOWN_HOURS = 24


class EstimateReason(StrEnum):
    BAD_SPAN = "bad_span"
    NO_HISTORY = "no_history"
    NOT_FOR_THIS_TARIFF = "not_for_this_tariff"


@dataclass(frozen=True, slots=True)
class Profile:
    """mWh of each hour of the week, Monday first, local time. `from_ms`, `to_ms`: the history behind it (0: it was given);
    `known_hours` of it were measured; `filled_hours` of the week were never seen."""

    mwh: tuple[int, ...]
    from_ms: int = 0
    to_ms: int = 0
    known_hours: int = 0
    filled_hours: int = 0

    @property
    def is_given(self) -> bool:
        return self.to_ms == 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What [from, to) is expected to use and cost. `lines` say how the amount comes about. `pay_nano`: None where nothing is prepaid."""

    account_no: int
    currency: str
    from_ms: int
    to_ms: int
    wh: int
    amount_nano: int
    lines: tuple[Line, ...]
    basis: Profile
    pay_nano: int | None = None


def estimate(conn: Connection, account_no: int, from_ms: int, to_ms: int, now_ms: int, given: Profile | None = None) -> Estimate:
    """The cost of a time ahead for an account. Raises RefusedCommand (bad_span, no_history, not_for_this_tariff)."""
    if not now_ms - SLOT_MS <= from_ms < to_ms <= now_ms + LONGEST_MS:
        raise RefusedCommand(EstimateReason.BAD_SPAN, "ask for a time from now on, at most 400 days ahead")
    account = account_of(conn, account_no)
    begin = _begin(conn, account, now_ms)
    past = _measured(conn, account.usage_point_no, now_ms - LOOK_BACK_MS, now_ms)
    profile = given or profile_of(past, begin.plan)
    if not profile.is_given and profile.known_hours < LEAST_KNOWN_HOURS:
        raise RefusedCommand(EstimateReason.NO_HISTORY, "less than a day of use is known: there is nothing to estimate from yet")
    try:
        walked = walk(begin, Use(begin.plan, profile, past, now_ms), from_ms, to_ms)
    except ConfigError as error:
        raise RefusedCommand(EstimateReason.NOT_FOR_THIS_TARIFF, str(error)) from None
    pay_nano = _to_pay(conn, account, walked.before_nano + walked.amount_nano, to_ms, now_ms)
    return Estimate(account_no, account.currency, from_ms, to_ms, walked.wh, walked.amount_nano, walked.lines, profile, pay_nano)


def _begin(conn: Connection, account: Agreement, now_ms: int) -> Begin:
    """Where the walk begins: where the journal stands, else with the cycle."""
    charging = charging_of(conn, account)
    if charging is not None:
        return Begin(charging.plan, charging.running.terms.account, charging.running.state)
    plan = plan_of(conn, account)
    try:
        first_ms = starts_at(cycle_day(plan, max(now_ms, account.opened_at_ms)), plan.zone)
    except ConfigError as error:
        raise RefusedCommand(EstimateReason.NOT_FOR_THIS_TARIFF, str(error)) from None
    return Begin(plan, Account(), opened(plan, Account(), max(min(first_ms, now_ms), account.opened_at_ms)))


def _to_pay(conn: Connection, account: Agreement, cost_nano: int, to_ms: int, now_ms: int) -> int | None:
    """What to pay now, so that all that is charged until `to_ms` is there."""
    state = ledger_state(conn, account.account_no, account.account_epoch) if account.is_prepaid else None
    if state is None:
        return None
    policy, zone = rules_at(conn, account, now_ms), zone_of(account.zone)
    now, then = (money_rules(policy, Standing(), zone, at_ms) for at_ms in (now_ms, to_ms - 1))
    need_nano = cost_nano + min(owed(state, Pool.DEBT_TIME), now.time_rate_nano * _periods(state, now, then))
    return whole_coins(brings_back(state, now, need_nano, pending_nano(conn, account.account_no)), account.currency)


def _periods(state: LedgerState, now: MoneyRules, then: MoneyRules) -> int:
    """Periods in which the debt by time is still collected."""
    return max(0, then.period - max(state.time_period, now.period - 1)) if now.period else 0


def cycle_end_ms(conn: Connection, account_no: int, now_ms: int) -> int:
    """Where the account's bill cycle of now ends. Raises RefusedCommand (not_for_this_tariff)."""
    plan = plan_of(conn, account_of(conn, account_no))
    try:
        return starts_at(cycle_of(plan, Account(), day_of(now_ms, plan.zone)).until, plan.zone)
    except ConfigError as error:
        raise RefusedCommand(EstimateReason.NOT_FOR_THIS_TARIFF, str(error)) from None


def plan_of(conn: Connection, account: Agreement) -> Plan:
    """The tariff of an account with all its versions, as it is charged."""
    return pinned_plan(versions_of(conn, account.tariff_id), account.zone)


def cycle_day(plan: Plan, at_ms: int) -> int:
    """First day of the cycle; the day itself where a bill makes the cycle."""
    day = day_of(at_ms, plan.zone)
    return cycle_of(plan, Account(), day).first if plan.cycle.months else day


def _measured(conn: Connection, usage_point_no: int, from_ms: int, to_ms: int) -> IntervalSeries | None:
    number = channel_of(conn, usage_point_no)
    return read_intervals(conn, number, from_ms, to_ms) if number is not None else None


# ---- pure -----------------------------------------------------------------------------------------------------


def hour_of_week(at_ms: int, plan: Plan) -> int:
    local = datetime.fromtimestamp(at_ms / 1000, plan.zone)
    return local.weekday() * 24 + local.hour


def profile_of(past: IntervalSeries | None, plan: Plan) -> Profile:
    """The mean of each hour of the week. Hours never seen take the same hour of other days, else the mean of all."""
    energy, known_ms = [0] * WEEK_HOURS, [0] * WEEK_HOURS
    if past is None:
        return Profile((0,) * WEEK_HOURS, 0, 1)
    step_ms = past.period_s * 1000
    for i, wh in enumerate(past.values):
        if past.present[i]:
            hour = hour_of_week(past.start_ms + i * step_ms, plan)
            energy[hour] += wh
            known_ms[hour] += step_ms
    day = [(sum(energy[h::24]), sum(known_ms[h::24])) for h in range(24)]
    whole = (sum(energy), sum(known_ms))
    found = tuple(_mean(((energy[h], known_ms[h]), day[h % 24], whole)) for h in range(WEEK_HOURS))
    end_ms = past.start_ms + len(past) * step_ms
    return Profile(found, past.start_ms, end_ms, sum(known_ms) // HOUR_MS, known_ms.count(0))


def _mean(choices: Sequence[tuple[int, int]]) -> int:
    """mWh an hour of the first choice that is known at all."""
    return next((wh * 1000 * HOUR_MS // ms for wh, ms in choices if ms), 0)


@dataclass(frozen=True, slots=True)
class Use:
    """What is used in each quarter of an hour: as measured before `now_ms`, else as the profile says."""

    plan: Plan
    profile: Profile
    past: IntervalSeries | None
    now_ms: int

    def series(self, from_ms: int, to_ms: int) -> Iterator[Series]:
        """Whole Wh whose running sum never strays from the profile's by one. Quarters lie on the clock; the ends may be shorter."""
        first_ms, last_ms = min(-(-from_ms // SLOT_MS) * SLOT_MS, to_ms), max(to_ms // SLOT_MS * SLOT_MS, from_ms)
        rest = 0
        for start_ms, end_ms in ((from_ms, first_ms), (first_ms, last_ms), (max(first_ms, last_ms), to_ms)):
            step_ms = min(SLOT_MS, end_ms - start_ms)
            values = []
            for at_ms in range(start_ms, end_ms, max(1, step_ms)):
                wh, rest = divmod(self._umwh(at_ms, step_ms) + rest, 1000 * HOUR_MS)
                values.append(wh)
            if values:
                yield Series(start_ms, step_ms, values)

    def _umwh(self, at_ms: int, length_ms: int) -> int:
        """mWh times ms of an hour: what `length_ms` from `at_ms` on holds."""
        measured = self._of_past(at_ms)
        if measured is not None:
            wh, period_ms = measured
            return wh * 1000 * length_ms * HOUR_MS // period_ms
        return self.profile.mwh[hour_of_week(at_ms, self.plan)] * length_ms

    def _of_past(self, at_ms: int) -> tuple[int, int] | None:
        if self.past is None or at_ms >= self.now_ms or at_ms < self.past.start_ms:
            return None
        step_ms = self.past.period_s * 1000
        i = (at_ms - self.past.start_ms) // step_ms
        return (self.past.values[i], step_ms) if i < len(self.past) and self.past.present[i] else None


@dataclass(frozen=True, slots=True)
class Begin:
    """An account as its charging stands when a walk begins."""

    plan: Plan
    terms: Account
    state: State


@dataclass(frozen=True, slots=True)
class Walked:
    """What [from, to) adds; `before_nano` is what is charged until then."""

    wh: int
    amount_nano: int
    lines: tuple[Line, ...]
    before_nano: int


def walk(begin: Begin, use: Use, from_ms: int, to_ms: int) -> Walked:
    """What [from, to) adds. Raises ConfigError where the tariff needs what is not known."""
    counted_ms = max(from_ms, begin.state.counted_ms)
    waiting = use.series(begin.state.counted_ms, counted_ms)
    before = advance(begin.plan, begin.terms, begin.state, waiting, max(counted_ms, begin.state.until_ms), counted_ms)
    end_ms = max(to_ms, counted_ms)
    asked = tuple(use.series(counted_ms, end_ms))
    step = advance(begin.plan, begin.terms, before.state, asked, max(end_ms, before.state.until_ms), end_ms)
    return Walked(sum(sum(s.import_wh) for s in asked), step.amount_nano, step.lines, before.amount_nano)
