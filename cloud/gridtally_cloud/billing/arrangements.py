"""Instalment arrangements of accounts: made over what is overdue, kept or broken by the books alone, cancelled by a person.

* What an arrangement covers, and whether it is kept, is read out of the books each time; `check` writes down how one ended, with its audit.
* A bill that is made again stands in the place of the arranged one, with no more than was arranged of it. What other bills claim more
  since then, older ones made again or late ones of an older time, is paid last: it takes nothing from an instalment that was paid.
* While it is kept no late payment charge accrues on the arranged bills, from the day on which it was made.
* One runs for an account at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from gridtally_cloud.billing.claims import Books, Claim, Rest, rests
from gridtally_cloud.billing.instalments import ArrangementState, Instalment, Plan, Standing, left_of, planned, standing
from gridtally_cloud.billing.late import Paused
from gridtally_cloud.billing.model import Arranged, ArrangedPart
from gridtally_cloud.billing.periods import late_from_ms
from gridtally_cloud.billing.receivables import books_of, hold_books
from gridtally_cloud.billing.tables import arrangement, arrangement_bill, instalment, receivable
from gridtally_cloud.billing.tables import bill as bill_table
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.days import date_of, day_of, midnight_ms
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text, minor_digits
from gridtally_shared.records import dataclass

_a, _b = arrangement.c, bill_table.c
_OF_ACCOUNT = select(arrangement).where(_a.account_no == bindparam("account")).order_by(_a.arrangement_no)
"""Built once: every bill asks."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """An arrangement and how it stands now."""

    arrangement_no: int
    account_no: int
    plan: Plan
    standing: Standing
    note: str


def make(
    conn: Connection, account_no: int, days: Sequence[int], weights: Sequence[int], grace_days: int, at_ms: int, actor: str, note: str
) -> Arrangement:
    """Arrange what is overdue now. Raises ConfigError for days and shares that can not be kept, RefusedCommand (unknown_account, arranged,
    no_arrears)."""
    account = account_of(conn, account_no)
    hold_books(conn, account_no)
    if any(each.standing.state is ArrangementState.RUNNING for each in arrangements_of(conn, account, at_ms)):
        raise RefusedCommand("arranged", f"an arrangement of account {account_no} runs: cancel it first")
    open_now = rests(books_of(conn, account_no))
    mine = (_b.account_no == account_no, _b.kind == "bill", _b.cancelled_ms.is_(None), _b.due_ms < at_ms)
    rows = conn.execute(select(_b.bill_no, _b.from_ms, _b.to_ms, _b.due_ms).where(*mine)).all()
    overdue = [(row, _open(open_now, row.bill_no)) for row in rows if late_from_ms(row.due_ms, account.zone) <= at_ms]
    arrears_nano = sum(open_nano for _, open_nano in overdue)
    if not arrears_nano:
        raise RefusedCommand("no_arrears", f"nothing of account {account_no} is overdue: there is nothing to arrange")
    parts = planned(arrears_nano, days, weights, 10 ** (9 - minor_digits(account.currency)), day_of(at_ms, account.zone))
    number = conn.execute(insert(arrangement).values(
        account_no=account_no, made_ms=at_ms, grace_days=grace_days, actor=actor, note=note,
    ).returning(_a.arrangement_no)).scalar_one()  # fmt: skip
    conn.execute(insert(instalment), [
        {"arrangement_no": number, "place": place, "due_day": part.due_day, "amount_nano": part.amount_nano}
        for place, part in enumerate(parts)
    ])  # fmt: skip
    conn.execute(insert(arrangement_bill), [
        {"arrangement_no": number, "from_ms": row.from_ms, "to_ms": row.to_ms,
         "claimed_nano": open_now[row.bill_no].amount_nano, "amount_nano": open_nano}
        for row, open_nano in overdue if open_nano
    ])  # fmt: skip
    said = f"{number}: {decimal_text(arrears_nano)} in {len(parts)} instalments to {date_of(parts[-1].due_day)}"
    record(conn, at_ms, actor, "arrangement.made", f"account:{account_no}", f"{said}; {note}")
    return next(each for each in arrangements_of(conn, account, at_ms) if each.arrangement_no == number)


def _open(found: Mapping[str, Rest], bill_no: str) -> int:
    rest = found.get(bill_no, Rest())
    return rest.own_nano + rest.late_nano


def _covered(conn: Connection, account_no: int, arrangement_no: int) -> dict[str, tuple[int, int]]:
    """The bills that stand for the arranged periods, with what they charged then and what was arranged of it."""
    c = arrangement_bill.c
    same = (_b.from_ms == c.from_ms) & (_b.to_ms == c.to_ms) & (_b.kind == "bill") & _b.cancelled_ms.is_(None)
    mine = (_b.account_no == account_no, c.arrangement_no == arrangement_no)
    query = select(_b.bill_no, c.claimed_nano, c.amount_nano).join(arrangement_bill, same).where(*mine)
    return {row.bill_no: (row.claimed_nano, row.amount_nano) for row in conn.execute(query)}


def _arranged_rest(found: Mapping[str, Rest], covered: Mapping[str, tuple[int, int]]) -> int:
    """What is open of the arranged amounts: what a bill charges more since, made again, is not arranged, and paid last."""
    rest_nano = 0
    for number, (claimed_nano, arranged_nano) in covered.items():
        more_nano = max(0, found.get(number, Rest()).amount_nano - claimed_nano)
        rest_nano += min(arranged_nano, max(0, _open(found, number) - more_nano))
    return rest_nano


def _claimed_then(conn: Connection, account_no: int, made_ms: int) -> dict[str, int]:
    """Of bills that were made again since the arrangement: what the bill of their period claimed when it was made."""
    before, r = bill_table.alias(), receivable.c
    old = before.c
    same = (old.account_no == _b.account_no) & (old.from_ms == _b.from_ms) & (old.to_ms == _b.to_ms) & (old.kind == _b.kind)
    mine = (_b.account_no == account_no, _b.kind == "bill", _b.cancelled_ms.is_(None), old.cancelled_ms >= made_ms)
    posted = (r.bill_no == old.bill_no) & (r.account_no == account_no) & (r.kind == "bill") & (r.at_ms <= made_ms)
    query = select(_b.bill_no, r.amount_nano).join(before, same).join(receivable, posted).where(*mine)
    return {row.bill_no: row.amount_nano for row in conn.execute(query)}


def _in_its_order(claims: Sequence[Claim], covered: Mapping[str, tuple[int, int]], then: Mapping[str, int], made_ms: int
                  ) -> tuple[Claim, ...]:  # fmt: skip
    """What was claimed when the arrangement was made, and the bills it covers, before what was claimed since."""
    first, since, left = [], [], dict(then)
    for claim in claims:
        if claim.at_ms <= made_ms or claim.bill_no in covered:
            first.append(claim)
            continue
        before_nano = min(max(0, claim.amount_nano), left.get(claim.bill_no, 0))
        left[claim.bill_no] = left.get(claim.bill_no, 0) - before_nano
        first.append(replace(claim, at_ms=made_ms, amount_nano=before_nano))
        since.append(replace(claim, amount_nano=claim.amount_nano - before_nano))
    return (*first, *since)


def arrangements_of(conn: Connection, account: Account, at_ms: int, books: Books | None = None) -> tuple[Arrangement, ...]:
    """Oldest first, as they stand."""
    rows = conn.execute(_OF_ACCOUNT, {"account": account.account_no}).all()
    held = books or (books_of(conn, account.account_no) if rows else Books(()))
    return tuple(_read(conn, account, row, held, at_ms) for row in rows)


def _read(conn: Connection, account: Account, row: Row[Any], books: Books, at_ms: int) -> Arrangement:
    parts = conn.execute(select(instalment).where(instalment.c.arrangement_no == row.arrangement_no).order_by(instalment.c.place))
    plan = Plan(day_of(row.made_ms, account.zone), row.grace_days, tuple(Instalment(p.due_day, p.amount_nano) for p in parts))
    covered = _covered(conn, account.account_no, row.arrangement_no)
    ordered = _in_its_order(books.claims, covered, _claimed_then(conn, account.account_no, row.made_ms), row.made_ms)
    mine = replace(books, claims=ordered)

    def open_before(day: int | None) -> int:
        return _arranged_rest(rests(mine, None if day is None else midnight_ms(day, account.zone)), covered)

    if row.ended:
        stands = Standing(ArrangementState(row.ended), open_before(None), row.ended_day)
    else:
        stands = standing(plan, open_before, open_before(None), day_of(at_ms, account.zone))
    return Arrangement(row.arrangement_no, account.account_no, plan, stands, row.note)


# ---- its end --------------------------------------------------------------------------------------------------


def cancel(conn: Connection, account_no: int, at_ms: int, actor: str, note: str) -> Arrangement:
    """A person ends what runs; the rest is due. Raises RefusedCommand (unknown_account, not_arranged)."""
    account = account_of(conn, account_no)
    hold_books(conn, account_no)
    running = [each for each in arrangements_of(conn, account, at_ms) if each.standing.state is ArrangementState.RUNNING]
    if not running:
        raise RefusedCommand("not_arranged", f"no arrangement of account {account_no} runs")
    today = day_of(at_ms, account.zone)
    _end(conn, running[0], Standing(ArrangementState.CANCELLED, running[0].standing.rest_nano, today), today, at_ms, actor, note)
    return next(each for each in arrangements_of(conn, account, at_ms) if each.arrangement_no == running[0].arrangement_no)


def check(db: Database, at_ms: int, actor: str) -> tuple[Arrangement, ...]:
    """Write down which arrangements ended since the last look: kept, or broken. Each account in a transaction of its own."""
    with db.read() as conn:
        numbers = conn.execute(select(_a.account_no).where(_a.ended == "").distinct().order_by(_a.account_no)).scalars().all()
    ended: list[Arrangement] = []
    for account_no in numbers:
        with db.write() as conn:
            ended += ended_of(conn, account_of(conn, account_no), at_ms, actor)
    return tuple(ended)


def ended_of(conn: Connection, account: Account, at_ms: int, actor: str) -> tuple[Arrangement, ...]:
    """The same for one account."""
    hold_books(conn, account.account_no)
    known = frozenset(conn.execute(select(_a.arrangement_no).where(_a.account_no == account.account_no, _a.ended == "")).scalars())
    found = arrangements_of(conn, account, at_ms) if known else ()
    over = tuple(each for each in found if each.arrangement_no in known and each.standing.state is not ArrangementState.RUNNING)
    for each in over:
        _end(conn, each, each.standing, day_of(at_ms, account.zone), at_ms, actor, f"{decimal_text(each.standing.rest_nano)} is open")
    return over


def _end(conn: Connection, each: Arrangement, stands: Standing, today: int, at_ms: int, actor: str, said: str) -> None:
    values = {"ended": stands.state.value, "ended_day": stands.ended_day if stands.ended_day is not None else today, "ended_ms": at_ms}
    conn.execute(update(arrangement).where(_a.arrangement_no == each.arrangement_no).values(**values))
    record(conn, at_ms, actor, f"arrangement.{stands.state}", f"account:{each.account_no}", f"{each.arrangement_no}: {said}")


# ---- what it changes ------------------------------------------------------------------------------------------


def running(conn: Connection, account: Account, books: Books, at_ms: int) -> tuple[Plan, dict[str, int]] | None:
    """The plan of the arrangement that runs, and what it covers of which bills that stand; None where none does."""
    for each in arrangements_of(conn, account, at_ms, books):
        if each.standing.state is ArrangementState.RUNNING:
            covered = _covered(conn, account.account_no, each.arrangement_no)
            return each.plan, {bill_no: arranged_nano for bill_no, (_, arranged_nano) in covered.items()}
    return None


def pauses(conn: Connection, account: Account, books: Books, at_ms: int) -> Paused:
    """On which bills nothing accrues on which days."""
    found = [(each, _covered(conn, account.account_no, each.arrangement_no)) for each in arrangements_of(conn, account, at_ms, books)]

    def paused(bill_no: str, day: int) -> bool:
        return any(bill_no in covered and each.plan.made_day <= day and (each.standing.ended_day is None or day < each.standing.ended_day)
                   for each, covered in found)  # fmt: skip

    return paused


def on_bill(conn: Connection, account: Account, at_ms: int) -> Arranged | None:
    """What a bill made now says of the newest arrangement: what is left of it, or since when it is broken with something open."""
    found = arrangements_of(conn, account, at_ms)
    stands = found[-1].standing if found else None
    if stands is None or stands.rest_nano <= 0 or stands.state not in (ArrangementState.RUNNING, ArrangementState.BROKEN):
        return None
    if stands.ended_day is not None:
        return Arranged(stands.rest_nano, (), midnight_ms(stands.ended_day, account.zone))
    parts = left_of(found[-1].plan, stands.rest_nano)
    return Arranged(stands.rest_nano, tuple(ArrangedPart(midnight_ms(part.due_day, account.zone), part.amount_nano) for part in parts))
