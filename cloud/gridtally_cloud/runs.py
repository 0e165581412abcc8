"""Runs over many usage points, shared by the workers: bills of a period, the end of a month in the books, files of intervals. What each
kind does is a table.

* A run is started by a person or a timetable (`gridtally-mdm runs start`); every worker takes some usage points of it at a time,
  between the messages that arrive. Killed at any point, the rest goes on with the next worker.
* The same run again changes nothing: a bill of the same period is the one that was issued, a month is charged once, a file is written
  whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, select

from gridtally_cloud.billing.periods import month
from gridtally_cloud.customers.tables import account
from gridtally_cloud.store import work
from gridtally_cloud.store.days import day_of
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import usage_point
from gridtally_cloud.store.work import Hand, Result, Run
from gridtally_shared.errors import ConfigError, RefusedCommand

BY_WHOM = "system:worker"


def take_up(db: Database, now_ms: int, hand: Hand) -> bool:
    """Do some of the oldest open run of each kind. True while there is more."""
    with db.read() as conn:
        waiting = {run.kind: run for run in reversed(work.open_runs(conn)) if run.kind in KINDS}
    return sum(work.carry_on(db, run, KINDS[run.kind], now_ms, hand) for run in waiting.values()) > 0


def _bill(conn: Connection, run: Run, point: int) -> Result:
    """Bills and statements of the accounts there; a refusal is written down and stops nothing."""
    from gridtally_cloud.billing.service import issue_bill  # a worker that has no bills to make starts without it
    from gridtally_cloud.exchange.exporting import span

    a, said = account.c, []
    for row in conn.execute(select(a.account_no, a.zone).where(a.usage_point_no == point).order_by(a.account_no)).all():
        from_ms, to_ms = span(run.arguments["from"], run.arguments["to"], row.zone)
        try:
            issue_bill(conn, row.account_no, from_ms, to_ms, int(run.arguments["at_ms"]), BY_WHOM)
        except RefusedCommand as refusal:
            said.append(f"account {row.account_no}: {refusal}")
    return Result("refused" if said else "done", "; ".join(said))


def _end_month(conn: Connection, run: Run, point: int) -> Result:
    """Arrangements that ended, late payment of the month, interest of deposits: in this order, each once (billing/)."""
    from gridtally_cloud.billing.arrangements import ended_of
    from gridtally_cloud.billing.deposits import post_interest
    from gridtally_cloud.billing.late_run import charge_month
    from gridtally_cloud.customers.accounts import account as account_of

    a, at_ms = account.c, int(run.arguments["at_ms"])
    for number in conn.execute(select(a.account_no).where(a.usage_point_no == point).order_by(a.account_no)).scalars().all():
        known = account_of(conn, number)
        _, to_ms = month(run.arguments["month"], known.zone)
        if to_ms > at_ms:
            return Result("refused", f"account {number}: {run.arguments['month']} is not over there; start the run again after that")
        ended_of(conn, known, at_ms, BY_WHOM)
        charge_month(conn, number, at_ms, BY_WHOM, run.arguments["month"])
        post_interest(conn, known, day_of(to_ms, known.zone), at_ms, BY_WHOM)
    return Result()


def _export(conn: Connection, run: Run, point: int) -> Result:
    """One file a usage point. Where nothing is held there is none, and the reason stands in the run."""
    from gridtally_cloud.exchange.exporting import series_of, span
    from gridtally_cloud.exchange.formats import FORMATS
    from gridtally_cloud.exchange.points import point_of
    from gridtally_cloud.exchange.record import Asked

    known = point_of(conn, str(point))
    try:
        from_ms, to_ms = span(run.arguments["from"], run.arguments["to"], known.zone)
        series = series_of(conn, known, str(point), from_ms, to_ms, (), lambda _done, _total: None)
    except ConfigError as error:
        return Result("refused", str(error))
    if not series:
        return Result("refused", "no interval is held in that time")
    name = run.arguments["format"]
    _write(Path(run.arguments["folder"]), f"{point}.{name}", FORMATS[name].write(series, Asked(known.zone)))
    return Result()


def _write(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{name}.part"
    beside.write_bytes(data)
    beside.replace(folder / name)


KINDS: Mapping[str, work.Do] = {"bill": _bill, "month_end": _end_month, "export": _export}


def points_for(conn: Connection, kind: str) -> list[int]:
    """Usage points a run of that kind goes over: those with an account, or all."""
    column = usage_point.c.usage_point_no if kind == "export" else account.c.usage_point_no
    return [point for point in conn.execute(select(column).distinct().order_by(column)).scalars() if point is not None]
