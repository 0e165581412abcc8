"""Energy that was used and not measured, after tampering: assessed by a named rule, approved by a second person, a line of the next bill.

* `average`: as much a day as in weeks before or after that a person names; `load`: connected load x hours a day x a factor; `units`:
  what a check meter or a laboratory says. What the meter did measure in the time is taken off.
* One person proposes, another one approves; only then it is posted. What was measured stays as it is: an assessment is beside the
  intervals, never in them, and is taken back by a posting of its own.
* amount = Wh x price per kWh x the multiple the rules of the place name, once rounded, half-even to the coin.

Source: BYPL-5.6b; issue 5 line 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.billing import receivables
from gridtally_cloud.billing.counted import counted_on, register_near
from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.tables import assessment
from gridtally_cloud.billing.usage import measured
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import held as held_account
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account, Role
from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.store.days import date_of, day_of, midnight_ms
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.money import decimal_text, minor_digits
from gridtally_shared.records import dataclass

MOST_DAYS, LEAST_REFERENCE_DAYS = 732, 7
PERMILLE, WH_OF_KWH = 1000, 1000
MAY_ASSESS = (Role.OPERATIONS.value, Role.ADMIN.value)
_a = assessment.c


class Rule(StrEnum):
    AVERAGE = "average"
    LOAD = "load"
    UNITS = "units"


class AssessmentState(StrEnum):
    PROPOSED = "proposed"
    APPROVED = "approved"
    REFUSED = "refused"
    TAKEN_BACK = "taken_back"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be assessed: local days, the rule with its arguments (of `average` the first day and the day after the last one; of `load`
    W, minutes a day and permille; of `units` Wh), nano a kWh and the multiple in permille."""

    account_no: int
    first_day: int
    until_day: int
    rule: Rule
    arguments: tuple[int, ...]
    price_nano: int
    times_permille: int
    reason: str


@dataclass(frozen=True, slots=True)
class Assessment:
    assessment_no: int
    account_no: int
    first_day: int
    until_day: int
    rule: Rule
    arguments: tuple[int, ...]
    assessed_wh: int
    measured_wh: int
    price_nano: int
    times_permille: int
    amount_nano: int
    reason: str
    state: AssessmentState
    proposed_by: str
    decided_by: str


# ---- the rules ------------------------------------------------------------------------------------------------


def use_of(held: Held, account: Account, first_day: int, until_day: int) -> tuple[int, int]:
    """(Wh, days of which it is known), by the intervals, else by the register."""
    from_ms, to_ms = (midnight_ms(day, account.zone) for day in (first_day, until_day))
    days, _ = measured(held, account.usage_point_no, from_ms, to_ms, account.zone)
    known = [day.used_wh for day in days if day.used_wh is not None]
    if known:
        return sum(known), len(known)
    first, last = (register_near(held, account, at_ms, 0) for at_ms in (from_ms, to_ms))
    if first is None or last is None:
        return 0, 0
    return counted_on(held, account, first, last)[0].register_wh - first.register_wh, until_day - first_day


def _average(held: Held, account: Account, wish: Wish) -> int:
    first_day, until_day = wish.arguments
    if first_day < wish.until_day and until_day > wish.first_day:
        raise ConfigError("reference", f"{date_of(first_day)} to {date_of(until_day)}", "name days outside of those that are assessed")
    used_wh, known = use_of(held, account, first_day, until_day)
    if known < LEAST_REFERENCE_DAYS:
        raise ConfigError("reference", f"{date_of(first_day)} to {date_of(until_day)}",
                          f"use is known of {known} days of it: name {LEAST_REFERENCE_DAYS} at least")  # fmt: skip
    return round(Fraction(used_wh * (wish.until_day - wish.first_day), known))


def _load(_held: Held, _account: Account, wish: Wish) -> int:
    watts, minutes, permille = wish.arguments
    if not (0 < watts <= 10**9 and 0 < minutes <= 24 * 60 and 0 < permille <= PERMILLE):
        raise ConfigError("load", f"{watts} W, {minutes} min, {permille} permille",
                          "write watts above zero, up to 24 hours a day, a factor up to 1")  # fmt: skip
    return round(Fraction(watts * minutes * permille * (wish.until_day - wish.first_day), 60 * PERMILLE))


def _units(_held: Held, _account: Account, wish: Wish) -> int:
    return wish.arguments[0]


RULES: Mapping[Rule, Callable[[Held, Account, Wish], int]] = {Rule.AVERAGE: _average, Rule.LOAD: _load, Rule.UNITS: _units}


def amount_of(wh: int, price_nano: int, times_permille: int, currency: str) -> int:
    """Once rounded, half-even to the coin."""
    coin = int(10 ** (9 - minor_digits(currency)))
    return round(Fraction(wh * price_nano * times_permille, WH_OF_KWH * PERMILLE * coin)) * coin


# ---- its life -------------------------------------------------------------------------------------------------


def propose(conn: Connection, wish: Wish, at_ms: int, person: str) -> Assessment:
    """Raises ConfigError for what can not be read, RefusedCommand (unknown_account, unknown_person, overlaps, nothing_to_assess,
    closed, prepaid)."""
    _check_person(conn, person)
    account = held_account(conn, wish.account_no)
    receivables.hold_books(conn, wish.account_no)
    _check(conn, account, wish, at_ms)
    held = Held(conn)
    assessed_wh = RULES[wish.rule](held, account, wish)
    measured_wh, _ = use_of(held, account, wish.first_day, wish.until_day)
    amount_nano = amount_of(assessed_wh - measured_wh, wish.price_nano, wish.times_permille, account.currency)
    if amount_nano <= 0:
        raise RefusedCommand("nothing_to_assess", f"{measured_wh} Wh were measured then and {assessed_wh} Wh are assessed: nothing is owed")
    row = conn.execute(insert(assessment).values(
        account_no=wish.account_no, first_day=wish.first_day, until_day=wish.until_day, rule=wish.rule.value,
        arguments=" ".join(map(str, wish.arguments)), assessed_wh=assessed_wh, measured_wh=measured_wh, price_nano=wish.price_nano,
        times_permille=wish.times_permille, amount_nano=amount_nano, reason=wish.reason.strip(), state=AssessmentState.PROPOSED.value,
        proposed_by=person, proposed_ms=at_ms,
    ).returning(assessment)).one()  # fmt: skip
    return _told(conn, row, at_ms, person)


def _check(conn: Connection, account: Account, wish: Wish, at_ms: int) -> None:
    days = f"{date_of(wish.first_day)} to {date_of(wish.until_day)}"
    if not 0 < wish.until_day - wish.first_day <= MOST_DAYS or wish.until_day > day_of(at_ms, account.zone):
        raise ConfigError("period", days, f"name days that are over, {MOST_DAYS} at most, the last one after the first")
    if min(wish.price_nano, wish.times_permille) <= 0 or not wish.reason.strip():
        raise ConfigError("price", decimal_text(wish.price_nano), "write a price and a multiple above zero, and a reason")
    if account.closed_at_ms is not None:
        raise RefusedCommand("closed", f"account {account.account_no} is closed and has had its last bill: no other one would ask for "
                             "it; claim it by a letter")  # fmt: skip
    if account.is_prepaid:
        raise RefusedCommand("prepaid", f"account {account.account_no} is prepaid: its journal is corrected by gridtally-mdm correct")
    for other in assessments_of(conn, account.account_no):
        if other.state in OPEN and other.first_day < wish.until_day and wish.first_day < other.until_day:
            raise RefusedCommand("overlaps", f"assessment {other.assessment_no} covers part of {days}: no day is assessed twice")


OPEN = frozenset({AssessmentState.PROPOSED, AssessmentState.APPROVED})


def approve(conn: Connection, assessment_no: int, at_ms: int, person: str) -> Assessment:
    """A second person stands for it: it is owed, and the next bill shows it; of an account that pays ahead by now it becomes a debt
    (prepay/settling.py). Raises RefusedCommand (unknown_assessment, unknown_person,
    decided, same_person)."""
    row = _proposed(conn, assessment_no, person)
    if row.proposed_by == person:
        raise RefusedCommand("same_person", f"{person} proposed it: another person has to approve")
    account = account_of(conn, row.account_no)
    number = receivables.post_assessment(conn, account, row.amount_nano, at_ms)
    return _decided(conn, assessment_no, AssessmentState.APPROVED, at_ms, person, receivable_no=number)


def refuse(conn: Connection, assessment_no: int, at_ms: int, person: str) -> Assessment:
    """Nothing is owed of it. Raises RefusedCommand (unknown_assessment, unknown_person, decided)."""
    _proposed(conn, assessment_no, person)
    return _decided(conn, assessment_no, AssessmentState.REFUSED, at_ms, person)


def take_back(conn: Connection, assessment_no: int, at_ms: int, person: str) -> Assessment:
    """An approved one is owed no more. Raises RefusedCommand (unknown_assessment, unknown_person, not_approved)."""
    _check_person(conn, person)
    row = _held(conn, assessment_no)
    if row.state != AssessmentState.APPROVED.value:
        raise RefusedCommand("not_approved", f"assessment {assessment_no} is {row.state}: there is nothing to take back")
    number = receivables.post_assessment(conn, account_of(conn, row.account_no), row.amount_nano, at_ms, back=True)
    return _decided(conn, assessment_no, AssessmentState.TAKEN_BACK, at_ms, person, back_no=number)


def _proposed(conn: Connection, assessment_no: int, person: str) -> Row[Any]:
    _check_person(conn, person)
    row = _held(conn, assessment_no)
    if row.state != AssessmentState.PROPOSED.value:
        raise RefusedCommand("decided", f"assessment {assessment_no} is {row.state} already")
    return row


def _held(conn: Connection, assessment_no: int) -> Row[Any]:
    """As it stands once nobody else decides."""
    receivables.hold_books(conn, _row(conn, assessment_no).account_no)
    return _row(conn, assessment_no)


def _row(conn: Connection, assessment_no: int) -> Row[Any]:
    row = conn.execute(select(assessment).where(_a.assessment_no == assessment_no)).one_or_none()
    if row is None:
        raise RefusedCommand("unknown_assessment", f"there is no assessment {assessment_no}")
    return row


def _check_person(conn: Connection, person: str) -> None:
    u = app_user.c
    if conn.execute(select(u.login).where(u.login == person, u.active, u.role.in_(MAY_ASSESS))).first() is None:
        raise RefusedCommand("unknown_person", f"{person!r} is nobody of operations or administration; name the login of the person who "
                             "answers for it")  # fmt: skip


def _decided(conn: Connection, assessment_no: int, state: AssessmentState, at_ms: int, person: str, **more: int) -> Assessment:
    values = {"state": state.value, "decided_by": person, "decided_ms": at_ms, **more}
    conn.execute(update(assessment).where(_a.assessment_no == assessment_no).values(**values))
    return _told(conn, _row(conn, assessment_no), at_ms, person)


def _told(conn: Connection, row: Row[Any], at_ms: int, person: str) -> Assessment:
    said = f"{row.assessment_no}, {row.rule}, {date_of(row.first_day)} to {date_of(row.until_day)}: {decimal_text(row.amount_nano)}"
    record(conn, at_ms, person, f"assessment.{row.state}", f"account:{row.account_no}", f"{said}; {row.reason}")
    return _read(row)


def assessments_of(conn: Connection, account_no: int) -> tuple[Assessment, ...]:
    """Oldest first. Raises RefusedCommand (unknown_account)."""
    account_of(conn, account_no)
    return tuple(_read(row) for row in conn.execute(select(assessment).where(_a.account_no == account_no).order_by(_a.assessment_no)))


def _read(row: Row[Any]) -> Assessment:
    return Assessment(
        row.assessment_no, row.account_no, row.first_day, row.until_day, Rule(row.rule), tuple(map(int, row.arguments.split())),
        row.assessed_wh, row.measured_wh, row.price_nano, row.times_permille, row.amount_nano, row.reason, AssessmentState(row.state),
        row.proposed_by, row.decided_by or "",
    )  # fmt: skip
