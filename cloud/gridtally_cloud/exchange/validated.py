"""Which days of a usage point may go out as validated, and what lacks: the alarm of a missing day.

* A day stands when VEE has judged it, on every channel of the wanted kind of which it is closed, as validated, estimated or edited. A usage
  point whose meter was in place and whose day does not stand lacks; it is noted with the run that passed it, and the alarm is raised once a
  run.
* What lacked goes out by itself as soon as it stands (`make_good`), and the alarm ends when nothing lacks any more.

Source: seed 003 (the utility provides validated usage every day); SMT-ACT2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Join, and_, case, func, or_, select, update

from gridtally_cloud.exchange.contents import carried
from gridtally_cloud.exchange.deliveries import ErrorType, report_error
from gridtally_cloud.exchange.points import Point, point_of
from gridtally_cloud.exchange.schedules import Schedule
from gridtally_cloud.exchange.tables import missing_day
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import date_of, midnight_ms
from gridtally_cloud.store.db import insert_new
from gridtally_cloud.store.orders import PENDING
from gridtally_cloud.store.tables import channel, interval_block, meter, usage_point, vee_run
from gridtally_cloud.vee.run import EDITED, ESTIMATED, VALIDATED
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

STANDS = (VALIDATED, ESTIMATED, EDITED)
NAMED = 20


@dataclass(frozen=True, slots=True)
class Missing:
    """A day of a schedule that some usage points lack."""

    schedule: str
    day: int
    points: int
    since_ms: int


def split(conn: Connection, schedule: Schedule, points: Sequence[Point], day: int) -> tuple[list[Point], list[Point]]:
    """The usage points whose day stands, and those that lack it. Without a meter on that day and without data: neither."""
    numbers = [point.number for point in points]
    judged = _judged(conn, schedule, numbers, day)
    ready = {number for number, statuses in judged.items() if set(statuses) <= set(STANDS)}
    expected = _with_meter(conn, points, day) | set(judged)
    return [p for p in points if p.number in ready], [p for p in points if p.number in expected - ready]


def _judged(conn: Connection, schedule: Schedule, numbers: list[int], day: int) -> dict[int, list[str]]:
    """What VEE says of the closed day, by usage point, of the channels the schedule wants."""
    c, b = channel.c, interval_block.c
    join = _with_verdict(channel.join(interval_block, and_(b.shard == SHARD, b.day == day, b.channel_no == c.channel_no, b.version == 0)))
    query = select(c.usage_point_no, vee_run.c.status).select_from(join)
    found: dict[int, list[str]] = {}
    for row in conn.execute(query.where(c.usage_point_no.in_(numbers), c.quantity.in_(_codes(schedule)))):
        found.setdefault(row.usage_point_no, []).append(row.status or PENDING)
    return found


def _with_verdict(blocks: Join) -> Join:
    """First versions of days, with what VEE said of them; nothing where they wait for it."""
    b, v = interval_block.c, vee_run.c
    return blocks.outerjoin(vee_run, and_(v.shard == b.shard, v.day == b.day, v.channel_no == b.channel_no))


def _codes(schedule: Schedule) -> list[int]:
    return [BY_NAME[name].code for name in schedule.quantities or carried(schedule.wanted)]


def _with_meter(conn: Connection, points: Sequence[Point], day: int) -> set[int]:
    """Usage points of one zone at which a meter was in place all day."""
    m, zone = meter.c, points[0].zone if points else "UTC"
    there = and_(m.installed_ms <= midnight_ms(day, zone), or_(m.removed_ms.is_(None), m.removed_ms >= midnight_ms(day + 1, zone)))
    return set(conn.execute(select(m.usage_point_no).where(m.usage_point_no.in_([p.number for p in points]), there)).scalars())


# ---- what lacks -----------------------------------------------------------------------------------------------


def note(conn: Connection, name: str, day: int, points: Iterable[int], now_ms: int) -> None:
    """`day` is that of the data."""
    insert_new(conn, missing_day, [{"schedule": name, "day": day, "usage_point_no": number, "noted_ms": now_ms} for number in points])


def raise_alarm(conn: Connection, schedule: Schedule, day: int, now_ms: int) -> str:
    """What lacks of a day when its run is at its end, '' for nothing. A recipient is told of it once."""
    d = missing_day.c
    rows = select(d.usage_point_no).where(d.schedule == schedule.name, d.day == day, d.sent_ms.is_(None)).order_by(d.usage_point_no)
    numbers = list(conn.execute(rows).scalars())
    if not numbers:
        return ""
    named = ", ".join(map(str, numbers[:NAMED])) + (" and more" if len(numbers) > NAMED else "")
    told = f"no validated data of {date_of(day).isoformat()} at {len(numbers)} usage points: {named}"
    if schedule.recipient:
        report_error(conn, schedule.recipient, ErrorType.MISSING_DAY, f"schedule:{schedule.name}:{day}", told, now_ms)
    return told


def missing(conn: Connection) -> tuple[Missing, ...]:
    """Every day that still lacks something, the oldest first."""
    d = missing_day.c
    query = select(d.schedule, d.day, func.count(), func.min(d.noted_ms)).where(d.sent_ms.is_(None)).group_by(d.schedule, d.day)
    return tuple(Missing(*row) for row in conn.execute(query.order_by(d.day, d.schedule)))


def came(conn: Connection, schedule: Schedule, day: int, most: int) -> list[Point]:
    """Usage points of one zone that lacked a day which stands now."""
    d, c, b, u = missing_day.c, channel.c, interval_block.c, usage_point.c
    join = (missing_day.join(usage_point, u.usage_point_no == d.usage_point_no)
            .join(channel, and_(c.usage_point_no == d.usage_point_no, c.quantity.in_(_codes(schedule))))
            .join(interval_block, and_(b.shard == SHARD, b.day == d.day, b.channel_no == c.channel_no, b.version == 0)))  # fmt: skip
    mine = and_(d.schedule == schedule.name, d.day == day, d.sent_ms.is_(None))
    all_stand = func.sum(case((vee_run.c.status.in_(STANDS), 0), else_=1)) == 0
    query = select(u.usage_point_no, u.zone).select_from(_with_verdict(join)).where(mine).group_by(u.zone, u.usage_point_no)
    rows = conn.execute(query.having(all_stand).order_by(u.zone, u.usage_point_no).limit(most)).all()
    return [point_of(conn, str(row.usage_point_no)) for row in rows if row.zone == rows[0].zone]


def note_sent(conn: Connection, name: str, day: int, points: Iterable[int], now_ms: int) -> None:
    d = missing_day.c
    mine = and_(d.schedule == name, d.day == day, d.usage_point_no.in_(list(points)))
    conn.execute(update(missing_day).where(mine).values(sent_ms=now_ms))


def forget(conn: Connection, name: str) -> None:
    """The schedule was ended: nobody waits any more."""
    conn.execute(missing_day.delete().where(missing_day.c.schedule == name))
