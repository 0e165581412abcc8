"""Orders to VEE: which closed days wait to be judged.

* Closing many days leaves one row for a span of channels of a local day (`vee_order`): a row a day was a fifth of all that closing wrote.
  Which days of a span wait, the blocks say: those that have a first version and no row in `vee_run`. So a span may reach over days that
  are judged, or that others ordered.
* A day that closed by itself, or has a further version, waits by its own row in `vee_run`, with status pending.
* Orders are claimed in the transaction that writes what became of them: other workers pass over them (SKIP LOCKED; on SQLite there is
  one writer), and one that is killed leaves them as they were. What was claimed and not judged gets a row of its own. An order goes when
  no day of its span waits; the blocks it was left for were committed with it, so that whoever sees it sees them.

Source: architecture.md section 6 (jobs).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import groupby

from sqlalchemy import Connection, Integer, and_, bindparam, delete, literal_column, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import insert_new, put_rows, upsert
from gridtally_cloud.store.tables import STATUS, channel, interval_block, vee_order, vee_run
from gridtally_shared.records import dataclass

Name = tuple[int, int]
"""(day, channel)."""
Span = tuple[int, int, int]
"""(day, first channel, last channel)."""

PENDING = "pending"
DAYS_A_SPAN, APART = 500, 10
"""A span ends after so many days, so that workers can share, and before a channel so far off: what lies between is looked at."""

_COLUMNS = ("shard", "day", "first_no", "last_no")
_o, _b, _r, _c = vee_order.c, interval_block.c, vee_run.c, channel.c
_IS_ROW = and_(_r.shard == SHARD, _r.status == literal_column(str(STATUS.code(PENDING)), Integer))  # literal: its index is partial
_IN_SPAN = and_(_b.shard == _o.shard, _b.day == _o.day, _b.channel_no.between(_o.first_no, _o.last_no), _b.version == 0)
_SAID = select(_r.day).where(_r.shard == _b.shard, _r.day == _b.day, _r.channel_no == _b.channel_no).exists()
_SPANS = select(_o.day, _o.first_no, _o.last_no).where(_o.shard == SHARD)
_WAITING = (select(_o.day, _o.first_no, _o.last_no, _b.channel_no, _c.usage_point_no)
            .select_from(vee_order.join(interval_block, _IN_SPAN).join(channel, _c.channel_no == _b.channel_no))
            .where(_o.shard == SHARD, ~_SAID))  # fmt: skip
_CLAIMED = (_WAITING.order_by(_o.day, _o.first_no, _o.last_no).limit(bindparam("most"))
            .with_for_update(of=vee_order, skip_locked=True))  # fmt: skip
_OF_DAYS = _SPANS.where(_o.day.between(bindparam("from_day"), bindparam("to_day")))
_THIS = and_(_o.shard == SHARD, _o.day == bindparam("of_day"), _o.first_no == bindparam("of_first"), _o.last_no == bindparam("of_last"))
_ROWS = (select(_r.day, _r.channel_no, _c.usage_point_no).join(channel, _c.channel_no == _r.channel_no)
         .where(_IS_ROW, _c.usage_point_no.not_in(bindparam("held", expanding=True)))
         .order_by(_r.day, _r.channel_no).limit(bindparam("most")))  # fmt: skip
_OF_SPAN = _WAITING.where(_THIS)
_DONE = delete(vee_order).where(_THIS, ~select(_b.day).where(_IN_SPAN, ~_SAID).correlate(vee_order).exists())


# ---- ordering -------------------------------------------------------------------------------------------------


def order_days(conn: Connection, names: Iterable[Name]) -> None:
    """Days whose first version was written in this transaction wait."""
    put_rows(conn, vee_order, _COLUMNS, [(SHARD, *span) for span in spans(names)])


def spans(names: Iterable[Name]) -> Iterator[Span]:
    """Those that cover some days, in order, and few others."""
    for day, of_day in groupby(sorted(names), key=lambda name: name[0]):
        numbers = [number for _, number in of_day]
        first = 0
        for i in range(1, len(numbers) + 1):
            if i == len(numbers) or i - first == DAYS_A_SPAN or numbers[i] - numbers[i - 1] > APART:
                yield day, numbers[first], numbers[i - 1]
                first = i


def order_day(conn: Connection, day: int, channel_no: int, version: int) -> None:
    """A day was closed by itself or has a new version: judge it (again)."""
    upsert(conn, vee_run, _row(day, channel_no, version))


def _row(day: int, channel_no: int, version: int) -> dict[str, object]:
    return {"shard": SHARD, "day": day, "channel_no": channel_no, "version": version, "rule_set": "", "status": PENDING, "findings": 0,
            "at_ms": 0}  # fmt: skip


# ---- claiming -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """`points` are days and their usage points, in order of time; of these `ordered` have no row of their own. Theirs are the `spans`, or
    these are orders of which nothing waits."""

    points: dict[Name, int]
    ordered: frozenset[Name]
    spans: tuple[Span, ...]

    def left(self, judged: Container[Name]) -> list[Name]:
        return [name for name in self.points if name in self.ordered and name not in judged]


def anything_waits(conn: Connection, held: Iterable[int]) -> bool:
    """Whether there is an order, or a day with a row of its own of a usage point that is not held."""
    return any(conn.execute(query, {"held": list(held), "most": 1}).first() is not None for query in (_SPANS.limit(1), _ROWS))


def claim(conn: Connection, most: int, held: Iterable[int]) -> Claim:
    """The oldest days that wait, and that nobody else has claimed; days with a row of their own only of usage points that are not held.
    It ends with `settle`, in the same transaction."""
    found = conn.execute(_CLAIMED, {"most": most}).all()
    ordered = {(day, number): point for day, _, _, number, point in found}
    rows = {(day, number): point for day, number, point in conn.execute(_ROWS, {"held": list(held), "most": most})}
    oldest = dict(sorted((ordered | rows).items())[:most])
    theirs = {(day, first, last) for day, first, last, *_ in found or conn.execute(_SPANS)}
    return Claim(oldest, frozenset(ordered), tuple(theirs))


def settle(conn: Connection, claimed: Claim, judged: Container[Name]) -> None:
    """What was not judged waits by a row of its own; orders of which nothing waits any more go."""
    insert_new(conn, vee_run, [_row(*name, 0) for name in claimed.left(judged)])
    if claimed.spans:
        conn.execute(_DONE, [_this(span) for span in claimed.spans])


def _this(span: Sequence[int]) -> dict[str, int]:
    return dict(zip(("of_day", "of_first", "of_last"), span, strict=True))


# ---- reading --------------------------------------------------------------------------------------------------


def ordered_days(conn: Connection, days: Sequence[int]) -> set[Name]:
    """Days between the first and the last of these that wait and have no row of their own."""
    found = conn.execute(_OF_DAYS, {"from_day": days[0], "to_day": days[-1]}).all()
    return {(row.day, row.channel_no) for span in found for row in conn.execute(_OF_SPAN, _this(span))}


def is_closed(conn: Connection, day: int, channel_no: int) -> bool:
    """Whether the day has a first version: where VEE has said nothing of it, it waits."""
    query = select(_b.day).where(_b.shard == SHARD, _b.day == day, _b.channel_no == channel_no, _b.version == 0)
    return conn.execute(query).first() is not None
