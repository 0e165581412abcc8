"""What is in the files of a recipient: by kind, the register reads of a day, intervals of energy, or the whole load profile.

* Pure of schedules: usage points, local days and a format in, files by name out. The same question has the same files.
* Register reads are the last of each register within the days asked for, with the meter's own stamp and quality.

Source: ETSI TR 102 691, 5.2.3.1 ("periodic readings, interval values or load profiles").
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields

from sqlalchemy import Connection, and_, func, select

from gridtally_cloud.exchange.exporting import series_of
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.points import Point, channels_of
from gridtally_cloud.exchange.record import Asked, Series
from gridtally_cloud.exchange.units import INTERVAL_QUANTITIES
from gridtally_cloud.exchange.wanted import INTERVALS, READS, Wanted
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import midnight_ms, utc_text
from gridtally_cloud.store.tables import meter, reading
from gridtally_shared.quantities import BY_CODE, BY_NAME, Kind
from gridtally_shared.records import dataclass

ENERGY = frozenset(name for name in INTERVAL_QUANTITIES if BY_NAME[name].unit in ("Wh", "VAh", "varh", "m3"))
REGISTERS = tuple(code for code, quantity in BY_CODE.items() if quantity.kind is Kind.REGISTER)


@dataclass(frozen=True, slots=True)
class Read:
    """One register at one instant; `value` in 10^exponent of `unit`."""

    usage_point: str
    meter: str
    quantity: str
    unit: str
    exponent: int
    at: str
    value: int
    quality: int


def carried(wanted: Wanted) -> frozenset[str]:
    """What a kind of data in a format can hold; empty where the format does not know the kind."""
    if wanted.kind == READS:
        return frozenset(BY_CODE[code].name for code in REGISTERS) if wanted.format in READ_FORMATS else frozenset()
    return FORMATS[wanted.format].carries & ENERGY if wanted.kind == INTERVALS else FORMATS[wanted.format].carries


def files_of(conn: Connection, wanted: Wanted, points: Sequence[Point], days: tuple[int, int], stem: str) -> tuple[dict[str, bytes], int]:
    """Files by name, and how many values they hold, of usage points of one zone on the local days [first, last]."""
    if wanted.kind == READS:
        reads = [each for point in points for each in _reads(conn, wanted, point, days)]
        return ({f"{stem}.{FORMATS[wanted.format].ending}": READ_FORMATS[wanted.format](reads)} if reads else {}), len(reads)
    series = [each for point in points for each in _series(conn, wanted, point, days)]
    known, files = FORMATS[wanted.format], {}
    lengths = sorted({each.period_s for each in series}) if known.one_length else [0]
    for length in lengths if series else ():
        mine = [each for each in series if length in (0, each.period_s)]
        name = f"{stem}_{length}s.{known.ending}" if length else f"{stem}.{known.ending}"
        files[name] = known.write(mine, Asked(points[0].zone))
    return files, sum(row.value is not None for each in series for row in each.rows)


def _name(wanted: Wanted, point: Point) -> str:
    return (point.label if wanted.by_label else "") or str(point.number)


def _series(conn: Connection, wanted: Wanted, point: Point, days: tuple[int, int]) -> tuple[Series, ...]:
    asked = carried(wanted).intersection(wanted.quantities or INTERVAL_QUANTITIES)
    held = tuple({c.quantity.name for c in channels_of(conn, point)} & asked)
    if not held:
        return ()
    from_ms, to_ms = midnight_ms(days[0], point.zone), midnight_ms(days[1] + 1, point.zone)
    return series_of(conn, point, _name(wanted, point), from_ms, to_ms, held, lambda *_: None)


def _reads(conn: Connection, wanted: Wanted, point: Point, days: tuple[int, int]) -> list[Read]:
    """Of each meter that hung there, in order of serial and quantity. A read on midnight closes the day before."""
    r, m = reading.c, meter.c
    from_ms, to_ms = midnight_ms(days[0], point.zone), midnight_ms(days[1] + 1, point.zone)
    codes = [BY_NAME[name].code for name in wanted.quantities] or list(REGISTERS)
    within = and_(r.shard == SHARD, r.meter_no == m.meter_no, r.quantity.in_(codes), r.at_ms > from_ms, r.at_ms <= to_ms)
    last = (select(m.meter_no, m.serial, r.quantity, func.max(r.at_ms).label("at_ms")).select_from(meter.join(reading, within))
            .where(m.usage_point_no == point.number).group_by(m.meter_no, m.serial, r.quantity).subquery())  # fmt: skip
    same = and_(r.shard == SHARD, r.meter_no == last.c.meter_no, r.quantity == last.c.quantity, r.at_ms == last.c.at_ms)
    query = select(last.c.serial, r.quantity, r.at_ms, r.value, r.quality).select_from(last.join(reading, same))
    rows = conn.execute(query.order_by(last.c.serial, r.quantity))
    return [Read(_name(wanted, point), x.serial, (kind := BY_CODE[x.quantity]).name, kind.unit, kind.exponent, utc_text(x.at_ms), x.value,
                 x.quality) for x in rows]  # fmt: skip


# ---- register reads as files ----------------------------------------------------------------------------------


def _as_lines(reads: Sequence[Read]) -> bytes:
    names = tuple(field.name for field in fields(Read))
    return "".join(json.dumps(dict(zip(names, astuple(each), strict=True)), ensure_ascii=False) + "\n" for each in reads).encode()


def _as_table(reads: Sequence[Read]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(Read))
    table.writerows(astuple(each) for each in reads)
    return text.getvalue().encode()


READ_FORMATS: dict[str, Callable[[Sequence[Read]], bytes]] = {"ndjson": _as_lines, "csv": _as_table}
