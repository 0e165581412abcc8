"""The end of a month in the books begins by itself, a set day of the month after: each month once, whatever the number of workers.

* The last month that was begun stands in the store and moves with the run in one transaction; months that came due while no worker was
  there are begun together, the oldest first, and the workers share each run as any other (runs.py).
* A month is due when it is over in every zone there is, so that no account is refused.
* It begins with the first month that comes due after it was switched on: what was before is a person's to start. Switched off it forgets,
  and a month in which no late payment, deposit or arrangement is to be looked after is passed over.

Source: issue 5 line 4; architecture.md 6 (jobs).
"""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import Connection, delete, select

from gridtally_cloud import runs
from gridtally_cloud.billing.periods import day_start, local, month
from gridtally_cloud.billing.rules import RuleKind
from gridtally_cloud.billing.tables import arrangement, billing_rule
from gridtally_cloud.customers.audit import record
from gridtally_cloud.store import work
from gridtally_cloud.store.db import Database, in_turn, upsert
from gridtally_cloud.store.tables import store_meta

NOTED = "month_end"
MONTHLY = (RuleKind.LATE.value, RuleKind.DEPOSIT.value)
LAST_ZONE = "Etc/GMT+12"
"""Where a month is over last."""


def newest_due(now_ms: int, zone: str, on_day: int) -> str:
    """The latest month whose end is due, such as '2026-10': on the `on_day`-th of the next one."""
    first = local(now_ms, zone).date().replace(day=1)
    before = _before(first)
    due_ms = max(day_start(first.replace(day=on_day).isoformat(), zone), month(_text(before), LAST_ZONE)[1])
    return _text(before if now_ms >= due_ms else _before(before))


def months_after(noted: str, newest: str) -> tuple[str, ...]:
    """Oldest first."""
    found, each = [], date.fromisoformat(f"{newest}-01")
    while _text(each) > noted:
        found.append(_text(each))
        each = _before(each)
    return tuple(reversed(found))


def _before(first: date) -> date:
    return (first - timedelta(days=1)).replace(day=1)


def _text(day: date) -> str:
    return f"{day:%Y-%m}"


def start_due(db: Database, now_ms: int, zone: str, on_day: int) -> tuple[str, ...]:
    """The worker's part; the months that were begun. `on_day` 0: it is switched off."""
    newest = newest_due(now_ms, zone, on_day) if on_day else None
    with db.read() as conn:
        if _noted(conn) == newest:
            return ()
    with db.write() as conn:
        in_turn(conn, NOTED)
        return _begun(conn, newest, now_ms)


def _noted(conn: Connection) -> str | None:
    found = conn.execute(select(store_meta.c.value).where(store_meta.c.name == NOTED)).scalar_one_or_none()
    return None if found is None else bytes(found).decode()


def _begun(conn: Connection, newest: str | None, now_ms: int) -> tuple[str, ...]:
    if newest is None:
        conn.execute(delete(store_meta).where(store_meta.c.name == NOTED))
        return ()
    noted = _noted(conn)
    if noted is not None and newest <= noted:
        return ()
    upsert(conn, store_meta, {"name": NOTED, "value": newest.encode()})
    points = runs.points_for(conn, "month_end") if noted is not None and _is_needed(conn) else []
    if noted is None or not points:
        return ()
    months = months_after(noted, newest)
    for each in months:
        run_no = work.start_run(conn, "month_end", points, {"month": each, "at_ms": now_ms}, runs.BY_WHOM, now_ms)
        record(conn, now_ms, runs.BY_WHOM, "run.started", f"run:{run_no}", f"month_end {each}, {len(points)} usage points")
    return months


def _is_needed(conn: Connection) -> bool:
    """Whether there is a rule for late payment or deposits, or an arrangement that has not ended."""
    a = arrangement.c
    rule = select(billing_rule.c.rule_no).where(billing_rule.c.kind.in_(MONTHLY))
    return any(conn.execute(query.limit(1)).first() for query in (rule, select(a.arrangement_no).where(a.ended == "")))
