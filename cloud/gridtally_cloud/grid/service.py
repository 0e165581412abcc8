"""What an operator asks of a transformer or a feeder: readings, power quality, the load report, and a bulk export to a recipient.

* A question is about usage points times days; above `MOST_POINT_DAYS` it is refused, and asked in parts.
* The figures of completeness and quality go with every answer, and as a file of their own with every export, so that who gets the data can
  judge it. An export that is not taken is told and sent again like every delivery (exchange/deliveries.py).

Source: ETSI TR 102 691, 5.2.10.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, select

from gridtally_cloud.exchange import asking, deliveries
from gridtally_cloud.exchange.asking import Question, Queued, Refusal
from gridtally_cloud.grid import load, register
from gridtally_cloud.grid.load import Figures, LoadReport, Part
from gridtally_cloud.grid.register import Level, Member, Transformer
from gridtally_cloud.meters import power_quality
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import date_of, day_of, utc_text
from gridtally_cloud.store.intervals import IntervalSeries, read_intervals
from gridtally_cloud.store.tables import channel, meter, reading
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.quantities import BY_NAME, Kind
from gridtally_shared.records import dataclass

SIGNS = {BY_NAME["interval_import_wh"].code: 1, BY_NAME["interval_export_wh"].code: -1}
REGISTERS = tuple(q.code for q in BY_NAME.values() if q.kind is Kind.REGISTER)
MOST_POINT_DAYS = 3_100


class AskReason(StrEnum):
    TOO_MUCH = "too_much"
    BAD_SPAN = "bad_span"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that may be answered."""

    level: Level
    name: str
    transformers: tuple[Transformer, ...]
    members: tuple[Member, ...]
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Disturbed:
    """Power quality behind a transformer: one meter."""

    meter_no: int
    serial: str
    values: tuple[power_quality.Measured, ...]
    disturbances: tuple[power_quality.Disturbance, ...]


def ask(conn: Connection, level: Level, name: str, from_ms: int, to_ms: int, token_no: int | None = None) -> Asked:
    """Judge a question; the time is widened to whole hours. Raises RefusedCommand (unknown_transformer, unknown_feeder, not_your_feeder,
    bad_span, too_much)."""
    named = register.asked(conn, level, name)
    if token_no is not None:
        register.check_scope(conn, token_no, named)
    from_ms, to_ms = from_ms // MS_PER_HOUR * MS_PER_HOUR, -(-to_ms // MS_PER_HOUR) * MS_PER_HOUR
    if from_ms >= to_ms:
        raise RefusedCommand(AskReason.BAD_SPAN, "from must lie before to")
    members = register.members(conn, named, from_ms, to_ms)
    amount = len({m.usage_point_no for m in members}) * -(-(to_ms - from_ms) // MS_PER_DAY)
    if amount > MOST_POINT_DAYS:
        raise RefusedCommand(AskReason.TOO_MUCH, f"{amount} days of usage points; one question has {MOST_POINT_DAYS} at most: ask in parts")
    return Asked(level, name, named, members, from_ms, to_ms)


# ---- load -----------------------------------------------------------------------------------------------------


def load_report(conn: Connection, asked: Asked) -> LoadReport:
    """Of one transformer with its rating and own meter; of a feeder the sum of its transformers' ratings, where all are known."""
    own, rating = None, _rating(asked.transformers)
    if asked.level is Level.TRANSFORMER and asked.transformers[0].meter_point_no is not None:
        own = next((part.series for part in _series(conn, asked.transformers[0].meter_point_no, asked.from_ms, asked.to_ms)
                    if part.sign > 0), None)  # fmt: skip
    return load.report(_parts(conn, asked), own, rating, asked.from_ms, asked.to_ms)


def figures(conn: Connection, asked: Asked) -> Figures:
    """Of the energy intervals behind it."""
    return load.figures([part.series for part in _parts(conn, asked)])


def _rating(named: Sequence[Transformer]) -> int | None:
    known = [t.rating_va for t in named if t.rating_va is not None]
    return sum(known) if len(known) == len(named) else None


def _parts(conn: Connection, asked: Asked) -> list[Part]:
    spans = ((m.usage_point_no, max(m.from_ms, asked.from_ms), min(m.to_ms, asked.to_ms)) for m in asked.members)
    return [part for span in spans for part in _series(conn, *span)]


def _series(conn: Connection, usage_point_no: int, from_ms: int, to_ms: int) -> Iterator[Part]:
    """Import and, where it holds any, export. A usage point without a channel lacks everything."""
    c = channel.c
    query = select(c.channel_no, c.quantity).where(c.usage_point_no == usage_point_no, c.quantity.in_(SIGNS)).order_by(c.channel_no)
    rows = conn.execute(query).all()
    for row in rows:
        series = read_intervals(conn, row.channel_no, from_ms, to_ms)
        if SIGNS[row.quantity] > 0 or any(series.present):
            yield Part(series, SIGNS[row.quantity])
    if not rows:
        yield Part(_nothing(from_ms, to_ms))


def _nothing(from_ms: int, to_ms: int) -> IntervalSeries:
    n = -(-(to_ms - from_ms) // 900_000)
    return IntervalSeries(from_ms, 900, array("q", bytes(8 * n)), array("H", bytes(2 * n)), bytes(n))


# ---- readings and power quality -----------------------------------------------------------------------------------


def readings(conn: Connection, asked: Asked, after: tuple[int, ...], limit: int) -> list[Any]:
    """Register readings of the meters behind it, in order of meter, quantity and time; `after` is where the page before ended."""
    r, numbers = reading.c, _meters(conn, asked)
    mine = and_(r.shard == SHARD, r.meter_no.in_(numbers), r.quantity.in_(REGISTERS), r.at_ms >= asked.from_ms, r.at_ms < asked.to_ms)
    key = (r.meter_no, r.quantity, r.at_ms)
    query = select(reading).where(mine).order_by(*key).limit(limit)
    if after:
        meter_no, quantity, at_ms = after
        same = and_(r.meter_no == meter_no, (r.quantity > quantity) | and_(r.quantity == quantity, r.at_ms > at_ms))
        query = query.where((r.meter_no > meter_no) | same)
    return list(conn.execute(query))


def quality(conn: Connection, asked: Asked) -> list[Disturbed]:
    within = asked.from_ms, asked.to_ms
    return [Disturbed(number, serial, power_quality.measured(conn, number, *within), power_quality.disturbances(conn, number, *within))
            for number, serial in _meters(conn, asked).items()]  # fmt: skip


def _meters(conn: Connection, asked: Asked) -> dict[int, str]:
    """Serial by number, of the meters that hang there now."""
    m, points = meter.c, {x.usage_point_no for x in asked.members}
    rows = conn.execute(select(m.meter_no, m.serial).where(m.usage_point_no.in_(points), m.removed_ms.is_(None)).order_by(m.meter_no))
    return {row.meter_no: row.serial for row in rows}


# ---- export ---------------------------------------------------------------------------------------------------


def export(conn: Connection, asked: Asked, to: str, kind: str, form: str, now_ms: int, actor: str) -> Queued | Refusal:
    """All of it to a recipient, with a file of figures. Raises RefusedCommand (unknown_recipient)."""
    zone = asked.members[0].zone if asked.members else "UTC"
    first, last = (date_of(day_of(at, zone)).isoformat() for at in (asked.from_ms, asked.to_ms - 1))
    points = tuple(str(no) for no in sorted({m.usage_point_no for m in asked.members}))
    found = asking.ask(conn, to, Question(kind, form, points, first, last), now_ms, actor)
    if isinstance(found, Refusal):
        return found
    said = {"asked": f"{asked.level.value}/{asked.name}", "from": utc_text(asked.from_ms), "to": utc_text(asked.to_ms),
            "usage_points": len(points), "files": list(found.files), "values": found.values,
            "intervals": figures_object(figures(conn, asked))}  # fmt: skip
    name = f"figures_{now_ms}_{first}_{last}.json"
    deliveries.queue(conn, to, {name: json.dumps(said).encode()}, now_ms)
    return Queued((*found.files, name), found.values)


def figures_object(found: Figures) -> dict[str, int]:
    """For programs, in answers and files alike."""
    return asdict(found) | {"completeness_permille": found.completeness_permille}
