"""What was posted to an account since its last bill, beside its bills and money, as lines of the next one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from gridtally_cloud.billing.model import Line, LineKind
from gridtally_cloud.billing.names import assessment_name
from gridtally_cloud.billing.tables import assessment, late_charge, receivable
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.days import midnight_ms

ADDED = frozenset({"late", "assessment", "deposit_applied", "event", "event_back"})
"""Kinds of rows of the books without which there are no such lines."""


def lines_since(conn: Connection, account: Account, receivable_no: int) -> tuple[Line, ...]:
    """`receivable_no`: the newest row of the books the last bill knew."""
    c = late_charge.c
    query = select(late_charge).where(c.account_no == account.account_no, or_(c.receivable_no > receivable_no, c.back_no > receivable_no))
    rows = conn.execute(query.order_by(c.charge_no)).all()
    r = receivable.c
    applied = conn.execute(select(r.at_ms, r.amount_nano).where(r.account_no == account.account_no, r.kind == "deposit_applied",
                                                                r.receivable_no > receivable_no).order_by(r.receivable_no))  # fmt: skip
    deposits = tuple(Line(LineKind.DEPOSIT, -row.amount_nano, 0, row.at_ms, row.at_ms) for row in applied)
    charged = tuple(_late(row, account.zone) for row in rows if row.receivable_no > receivable_no)
    backs = tuple(_back(row, account.zone) for row in rows if (row.back_no or 0) > receivable_no)
    return (*deposits, *charged, *backs, *_assessments(conn, account, receivable_no), *_events(conn, account, receivable_no))


def _events(conn: Connection, account: Account, receivable_no: int) -> Iterator[Line]:
    r = receivable.c
    mine = (r.account_no == account.account_no, r.kind.in_(("event", "event_back")), r.receivable_no > receivable_no)
    for row in conn.execute(select(r.at_ms, r.kind, r.amount_nano, r.bill_no).where(*mine).order_by(r.receivable_no)):
        amount_nano = row.amount_nano if row.kind == "event" else -row.amount_nano
        yield Line(LineKind.EVENT, amount_nano, 0, row.at_ms, row.at_ms, reference=row.bill_no)


def _assessments(conn: Connection, account: Account, receivable_no: int) -> Iterator[Line]:
    a = assessment.c
    since = or_(a.receivable_no > receivable_no, a.back_no > receivable_no)
    for row in conn.execute(select(assessment).where(a.account_no == account.account_no, since).order_by(a.assessment_no)):
        from_ms, to_ms = (midnight_ms(day, account.zone) for day in (row.first_day, row.until_day))
        line = Line(LineKind.ASSESSMENT, row.amount_nano, 0, from_ms, to_ms, row.assessed_wh - row.measured_wh, "Wh",
                    reference=assessment_name(row.assessment_no), form=row.rule, rate=row.price_nano,
                    rate_ppm=row.times_permille * 1000)  # fmt: skip
        if row.receivable_no > receivable_no:
            yield line
        if (row.back_no or 0) > receivable_no:
            yield replace(line, kind=LineKind.ASSESSMENT_BACK, amount_nano=-row.amount_nano)


def _late(row: Row[Any], zone: str) -> Line:
    return Line(LineKind.LATE, row.amount_nano, 0, midnight_ms(row.first_day, zone), midnight_ms(row.until_day, zone),
                row.until_day - row.first_day, "day", reference=row.bill_no, form=row.bound, rate=row.percent, per=row.per,
                base_nano=row.base_nano)  # fmt: skip


def _back(row: Row[Any], zone: str) -> Line:
    return Line(LineKind.LATE_BACK, -row.amount_nano, 0, midnight_ms(row.first_day, zone), midnight_ms(row.until_day, zone),
                row.until_day - row.first_day, "day", reference=row.bill_no)  # fmt: skip
