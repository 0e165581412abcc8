"""Who was given which data: kept where intervals leave the house, so that all who have a range can be told when it is doubted.

* One row a usage point, taker and stretch without a gap: what is fetched every day is one row that grows.
* It is noted in the transaction that queues the file or takes the run further; an answer of the API before it is sent. So there may be a
  row for what never arrived, and never data without a row.
* Of one taker one transaction notes at a time: two that fetch at once both find their row.

Source: I2-S6.11.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from sqlalchemy import Connection, and_, delete, insert, select

from gridtally_cloud.exchange.given_tables import data_given
from gridtally_cloud.exchange.points import Point
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.store.db import in_turn
from gridtally_shared.records import dataclass

AT_ONCE = 500
_g = data_given.c


class Kind(StrEnum):
    """Who takes data. Values are stored: never renamed."""

    RECIPIENT = "recipient"
    FOLDER = "folder"
    RETAILER = "retailer"
    TOKEN = "token"


def taker(kind: Kind, name: str) -> str:
    """Such as recipient:market; a folder goes by the name of its schedule."""
    return f"{kind.value}:{name}"


@dataclass(frozen=True, slots=True)
class Given:
    """A stretch that was given to a `taker`."""

    taker: str
    from_ms: int
    to_ms: int
    last_ms: int

    @property
    def kind(self) -> Kind:
        return Kind(self.taker.partition(":")[0])

    @property
    def name(self) -> str:
        return self.taker.partition(":")[2]


def note_days(conn: Connection, taker: str, points: Iterable[Point], days: tuple[int, int], at_ms: int) -> None:
    """The local days [first, last] of these usage points were given."""
    by_zone: dict[str, list[int]] = {}
    for point in points:
        by_zone.setdefault(point.zone, []).append(point.number)
    for zone, numbers in by_zone.items():
        note(conn, taker, numbers, midnight_ms(days[0], zone), midnight_ms(days[1] + 1, zone), at_ms)


def note(conn: Connection, taker: str, points: Iterable[int], from_ms: int, to_ms: int, at_ms: int) -> None:
    """[from_ms, to_ms) of these usage points was given; it grows together with what touches it."""
    in_turn(conn, f"given to {taker}")
    numbers = sorted(set(points))
    for first in range(0, len(numbers), AT_ONCE):
        _note(conn, taker, numbers[first : first + AT_ONCE], from_ms, to_ms, at_ms)


def _note(conn: Connection, taker: str, points: Sequence[int], from_ms: int, to_ms: int, at_ms: int) -> None:
    touching = and_(_g.shard == SHARD, _g.taker == taker, _g.usage_point_no.in_(points), _g.from_ms <= to_ms, _g.to_ms >= from_ms)
    spans = dict.fromkeys(points, (from_ms, to_ms))
    for row in conn.execute(select(_g.usage_point_no, _g.from_ms, _g.to_ms).where(touching)):
        before = spans[row.usage_point_no]
        spans[row.usage_point_no] = min(before[0], row.from_ms), max(before[1], row.to_ms)
    conn.execute(delete(data_given).where(touching))
    conn.execute(insert(data_given), [
        {"shard": SHARD, "usage_point_no": point, "taker": taker, "from_ms": span[0], "to_ms": span[1], "last_ms": at_ms}
        for point, span in spans.items()
    ])  # fmt: skip


def is_noted(conn: Connection, taker: str, point: int, from_ms: int, to_ms: int, since_ms: int = 0) -> bool:
    """Whether one row holds the whole span already, noted last at `since_ms` or later."""
    whole = and_(_g.shard == SHARD, _g.usage_point_no == point, _g.taker == taker, _g.from_ms <= from_ms, _g.to_ms >= to_ms,
                 _g.last_ms >= since_ms)  # fmt: skip
    return conn.execute(select(_g.from_ms).where(whole)).first() is not None


def takers(conn: Connection, point: int, from_ms: int, to_ms: int) -> tuple[Given, ...]:
    """Who was given any of a span, by name; a taker with two stretches of it once, with both ends."""
    where = and_(_g.shard == SHARD, _g.usage_point_no == point, _g.from_ms < to_ms, _g.to_ms > from_ms)
    found: dict[str, Given] = {}
    for row in conn.execute(select(data_given).where(where).order_by(_g.taker, _g.from_ms)):
        first = found.get(row.taker, Given(row.taker, row.from_ms, row.to_ms, row.last_ms))
        found[row.taker] = Given(row.taker, first.from_ms, row.to_ms, max(first.last_ms, row.last_ms))
    return tuple(found.values())
