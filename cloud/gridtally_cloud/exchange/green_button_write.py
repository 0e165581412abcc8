"""Writes Green Button (ESPI 4.0, Atom XML): one usage point, a meter reading for each series, a block for each local day.

* Missing intervals are left out. Identities and times follow from the content: the same data is the same file.
* The rules of summer time stand in LocalTimeParameters as the zone has them in the year of the first interval.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from gridtally_cloud.exchange.record import Asked, Row, Series, refused
from gridtally_cloud.exchange.times import local, standard_offset
from gridtally_cloud.exchange.units import QUANTITY_OF
from gridtally_cloud.store.days import day_of, utc_text, zone_of
from gridtally_shared.quality import Quality

ATOM, ESPI = "http://www.w3.org/2005/Atom", "http://naesb.org/espi"
NAMES = uuid.UUID("c0f1de00-5a5a-5a5a-8a5a-6e7164746c79")
FLOW = {"interval_reactive_q1_varh": "15", "interval_reactive_q2_varh": "16", "interval_reactive_q3_varh": "17",
        "interval_reactive_q4_varh": "18"}  # fmt: skip
UOM = {"Wh": ("72", "0", "12"), "VAh": ("71", "0", "12"), "varh": ("73", "0", "12"), "m3": ("134", "0", "58"), "V": ("29", "-3", "54"),
       "A": ("5", "-3", "4")}  # fmt: skip
"""Unit, power of ten and kind of measurement; litres for volumes."""
SERVICE = {"interval_gas_l": ("1", "7"), "interval_water_l": ("2", "9")}
WRITTEN = frozenset({*FLOW, *SERVICE, *QUANTITY_OF.values()})
ELECTRICITY = ("0", "1")
BY_HAND = Quality.REVISED | Quality.EDITED
QUALITY = ((Quality.UNTRUSTWORTHY, "16"), (Quality.ESTIMATED, "8"), (BY_HAND, "7"),
           (~(Quality.ESTIMATED | BY_HAND | Quality.VERIFIED), "10"), (Quality.VERIFIED, "18"))  # fmt: skip
WITHOUT_WORD = frozenset({"V", "A"})


def write(series: Sequence[Series], asked: Asked) -> bytes:
    """Raises ContractError for what ESPI has no unit for, or for several usage points."""
    points = {each.point for each in series}
    other = [each.quantity for each in series if each.quantity not in WRITTEN]
    if other:
        raise refused(0, "quantity", ", ".join(other), "Green Button has no place for this as we keep it: choose others with --quantity")
    if len(points) != 1 or not points.isdisjoint({""}):
        raise refused(0, "usage point", ", ".join(sorted(points)), "one named usage point goes into one feed")
    point = points.pop()
    ends = [row.start_ms + each.period_s * 1000 for each in series for row in each.rows[::-1] if row.value is not None]
    if not ends:
        raise refused(0, "intervals", "", "there is nothing to write")
    updated, zone = utc_text(max(ends)), zone_of(asked.zone)
    body = [_point_entries(point, series[0], zone)]
    for number, each in enumerate(series, 1):
        body.append("".join(_reading_entries(point, number, each, asked.zone)))
    stamped = "".join(body).replace("@updated@", updated)
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="{ATOM}">\n<id>{_urn(point, updated)}</id>\n'
    return f"{head}<title>{escape(point)}</title>\n<updated>{updated}</updated>\n{stamped}</feed>\n".encode()


def _urn(*parts: str) -> str:
    return f"urn:uuid:{uuid.uuid5(NAMES, '/'.join(parts))}"


def _entry(path: str, title: str, related: Sequence[str], content: str) -> str:
    up = path.rsplit("/", 1)[0]
    places = [("self", path), ("up", up), *(("related", to) for to in related)]
    links = [f'<link rel="{rel}" href="{href}"/>' for rel, href in places]
    return (f"<entry>\n<id>{_urn(path)}</id>\n{chr(10).join(links)}\n<title>{escape(title)}</title>\n<content>\n{content}\n</content>\n"
            "<published>@updated@</published>\n<updated>@updated@</updated>\n</entry>\n")  # fmt: skip


def _espi(name: str, *fields: tuple[str, str]) -> str:
    return f'<{name} xmlns="{ESPI}">{"".join(f"<{key}>{value}</{key}>" for key, value in fields)}</{name}>'


def _root(point: str) -> str:
    return f"UsagePoint/{quote(point, safe='')}"


def _point_entries(point: str, first: Series, zone: ZoneInfo) -> str:
    service = SERVICE.get(first.quantity, ELECTRICITY)[0]
    usage = _espi("UsagePoint", ("ServiceCategory", f"<kind>{service}</kind>"))
    year = local(first.rows[0].start_ms, zone).year if first.rows else 2000
    times = _espi("LocalTimeParameters", *_summer(zone, year))
    root = _root(point)
    return _entry(root, point, (f"{root}/MeterReading", "LocalTimeParameters/1"), usage) + _entry(
        "LocalTimeParameters/1", str(zone.key), (), times)  # fmt: skip


def _reading_entries(point: str, number: int, series: Series, zone: str) -> Iterator[str]:
    path = f"{_root(point)}/MeterReading/{number}"
    title = series.quantity
    yield _entry(path, title, (f"{path}/IntervalBlock", f"ReadingType/{number}"), _espi("MeterReading"))
    yield _entry(f"ReadingType/{number}", title, (), _espi("ReadingType", *_type(series)))
    days: dict[int, list[Row]] = {}
    for row in series.rows:
        if row.value is not None:
            days.setdefault(day_of(row.start_ms, zone), []).append(row)
    for block, rows in enumerate(days.values(), 1):
        yield _entry(f"{path}/IntervalBlock/{block}", "", (), _block(series, rows))


def _type(series: Series) -> Iterator[tuple[str, str]]:
    uom, power, kind = UOM[series.kind.unit]
    yield "accumulationBehaviour", "6" if series.kind.unit in WITHOUT_WORD else "4"
    yield "commodity", SERVICE.get(series.quantity, ELECTRICITY)[1]
    yield "flowDirection", FLOW.get(series.quantity, "19" if "export" in series.quantity else "1")
    yield "intervalLength", str(series.period_s)
    yield "kind", kind
    yield "powerOfTenMultiplier", power
    yield "uom", uom


def _block(series: Series, rows: Sequence[Row]) -> str:
    start_s, end_s = rows[0].start_ms // 1000, rows[-1].start_ms // 1000 + series.period_s
    readings = "\n".join(_reading(row, series.period_s) for row in rows)
    return _espi("IntervalBlock", ("interval", f"<duration>{end_s - start_s}</duration><start>{start_s}</start>")).replace(
        "</IntervalBlock>", f"\n{readings}\n</IntervalBlock>")  # fmt: skip


def _reading(row: Row, period_s: int) -> str:
    word = next((code for flags, code in QUALITY if row.quality & flags), "")
    quality = f"<ReadingQuality><quality>{word}</quality></ReadingQuality>" if word else ""
    period = f"<timePeriod><duration>{period_s}</duration><start>{row.start_ms // 1000}</start></timePeriod>"
    return f"<IntervalReading>{quality}{period}<value>{row.value}</value></IntervalReading>"


# ---- the rules of summer time ---------------------------------------------------------------------------------


def _summer(zone: ZoneInfo, year: int) -> Iterator[tuple[str, str]]:
    """End, offset, start, zone: all zero where the clock never changes."""
    changes = _changes(zone, year)
    start = next((at for at, step in changes if step > 0), None)
    end = next((at for at, step in changes if step < 0), None)
    step = max((step for _, step in changes), default=0)
    both = start is not None and end is not None
    # Rules name the wall clock as it shows just before the change.
    yield "dstEndRule", _rule(end) if both and end else "00000000"
    yield "dstOffset", str(step if both else 0)
    yield "dstStartRule", _rule(start) if both and start else "00000000"
    yield "tzOffset", str(int(standard_offset(datetime(year, 1, 1), zone).total_seconds()))  # noqa: DTZ001


@lru_cache(maxsize=256)
def _changes(zone: ZoneInfo, year: int) -> tuple[tuple[datetime, int], ...]:
    """(wall clock just before the change, how far it went in seconds) of a year, in whole hours of UTC."""
    first = datetime(year, 1, 1, tzinfo=UTC)
    days = (first + timedelta(days=day) for day in range((datetime(year + 1, 1, 1, tzinfo=UTC) - first).days))
    hours = (day + timedelta(hours=hour) for day in days if _step(zone, day, 24) for hour in range(24))
    return tuple((at.astimezone(zone).replace(tzinfo=None) + timedelta(hours=1), step) for at in hours if (step := _step(zone, at, 1)))


def _step(zone: ZoneInfo, at: datetime, hours: int) -> int:
    """How far the clock goes within the hours after an instant, in seconds."""
    before, after = (there.astimezone(zone).utcoffset() or timedelta() for there in (at, at + timedelta(hours=hours)))
    return int((after - before).total_seconds())


def _rule(at: datetime) -> str:
    """Month 4 bits, operator 3 (2 the first such weekday .. 5 the fourth, 7 the last), 0, weekday 3, hour 5, seconds 12."""
    last = (at + timedelta(days=7)).month != at.month
    operator = 7 if last else 2 + (at.day - 1) // 7
    word = at.month << 28 | operator << 25 | at.isoweekday() << 17 | at.hour << 12 | (at.minute * 60 + at.second)
    return f"{word:08X}"
