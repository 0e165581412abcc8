"""The usage point a file is for, and its channels."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, or_, select

from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.tables import channel, meter, usage_point
from gridtally_shared.errors import ConfigError
from gridtally_shared.quantities import BY_CODE, Kind, Quantity
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """`meter_no` is 0 where no meter hangs there."""

    number: int
    label: str
    zone: str
    limit_w: int
    meter_no: int


@dataclass(frozen=True, slots=True)
class PointChannel:
    ref: ChannelRef
    quantity: Quantity
    period_s: int


def point_of(conn: Connection, name: str) -> Point:
    """By its number or its label. Raises ConfigError where there is none, or two of that label."""
    rows = named(conn, name)
    if len(rows) != 1:
        text = f"{len(rows)} usage points have this label: give the number" if rows else "no usage point has this number or label"
        raise ConfigError("--usage-point", name, text)
    row = rows[0]
    m = meter.c
    meters = conn.execute(select(m.meter_no).where(m.usage_point_no == row.usage_point_no, m.removed_ms.is_(None)).order_by(m.meter_no))
    return Point(row.usage_point_no, row.label, row.zone, row.limit_w, meters.scalar() or 0)


def named(conn: Connection, name: str) -> list[Any]:
    """Rows of the usage points of that number, or else of that label."""
    u = usage_point.c
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else -1
    columns = (u.usage_point_no, u.label, u.zone, u.limit_w)
    rows = conn.execute(select(*columns).where(or_(u.usage_point_no == number, (u.label == name) & (u.label != "")))).all()
    exact = [row for row in rows if row.usage_point_no == number]
    return list(exact or rows)


def channels_of(conn: Connection, point: Point) -> list[PointChannel]:
    """The interval channels of a usage point."""
    c = channel.c
    query = select(c.channel_no, c.quantity, c.unit, c.period_s).where(c.usage_point_no == point.number).order_by(c.quantity, c.period_s)
    rows = [row for row in conn.execute(query) if row.quantity in BY_CODE and BY_CODE[row.quantity].kind is Kind.INTERVAL]
    return [PointChannel(ChannelRef(r.channel_no, r.unit, point.zone), BY_CODE[r.quantity], r.period_s) for r in rows]


def channel_for(conn: Connection, point: Point, quantity: Quantity, period_s: int) -> ChannelRef:
    """The channel of that quantity and length, made at its first value."""
    for known in channels_of(conn, point):
        if (known.quantity, known.period_s) == (quantity, period_s):
            return known.ref
    row = {"usage_point_no": point.number, "quantity": quantity.code, "unit": quantity.unit, "exponent": quantity.exponent,
           "direction": "export" if "export" in quantity.name else "import", "period_s": period_s}  # fmt: skip
    insert_new(conn, channel, [row])  # another may make it meanwhile
    c = channel.c
    mine = (c.usage_point_no == point.number, c.quantity == quantity.code, c.period_s == period_s)
    return ChannelRef(conn.execute(select(c.channel_no).where(*mine)).scalar_one(), quantity.unit, point.zone)
