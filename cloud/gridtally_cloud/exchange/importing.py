"""Takes the content of a file into the store: all of it or nothing, in one transaction.

* Days of which nothing is held and the file has every interval are closed at once (`take_days` of store/close.py); the rest is an append to
  the inbox.
* One problem in the file and nothing is taken. What is held already changes nothing; a value that contradicts a held one waits beside it
  for a person, once however often the file comes, and is told with its line (store/inbox.py).
* History from before the meter's installation is taken; what lies in the future is not: such a file is in another time zone.
* A file that names another usage point of ours is refused; so is one of several usage points until one is chosen.

Source: mdm.md B.2 row 0, B.4.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from statistics import median

from sqlalchemy import Connection

from gridtally_cloud.exchange.points import Point, channel_for, channels_of, named
from gridtally_cloud.exchange.record import Content, Problem, Row, Series
from gridtally_cloud.store.blocks import CONTRADICTING, blocks
from gridtally_cloud.store.bulk import ClosedDays
from gridtally_cloud.store.close import take_days
from gridtally_cloud.store.days import DaySlots, day_of, slots_of, utc_text
from gridtally_cloud.store.inbox import PERIODS_S, REPLACEABLE, SUMMED_UNITS, check_block, store_blocks, unpack
from gridtally_cloud.store.intervals import ChannelRef, Slot, Slots, days_slots, hold_point, inbox_slots, pack, slots_of_block
from gridtally_shared.contract.messages import ChannelBlock
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

PART = 2880
"""Intervals taken at once: a month of 15 minutes."""
LIMIT_TIMES = 20
"""A median interval so far above the connection's limit is a wrong unit."""
LIKE_REGISTER, REGISTER_TIMES = 20, 1000
"""So many rows, and values so many times what they rise by, are a register."""
FEW = 10
"""So many contradictions may be, whatever their share."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A value that contradicts the one held."""

    quantity: str
    row: Row
    held: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What became, or would become, of one series. `waiting`: contradictions that wait for a person since before."""

    series: Series
    new: int = 0
    unchanged: int = 0
    replaced: int = 0
    waiting: int = 0
    conflicts: tuple[Conflict, ...] = ()

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.series, self.new + other.new, self.unchanged + other.unchanged, self.replaced + other.replaced,
                     self.waiting + other.waiting, self.conflicts + other.conflicts)  # fmt: skip


def chosen(conn: Connection, content: Content, point: Point, file_id: str) -> tuple[Series, ...]:
    """The series of the one usage point in the file that is meant. Raises ConfigError where that is not clear."""
    names = list(dict.fromkeys(each.point for each in content.series))
    if file_id and file_id not in names:
        raise ConfigError("--file-id", file_id, f"the file holds {', '.join(names) or 'no usage point'}")
    if not file_id and len(names) > 1:
        raise ConfigError("--file-id", "", f"the file holds {len(names)} usage points: choose one of {', '.join(map(repr, names[:20]))}")
    if not file_id and names and names[0] not in ("", str(point.number), point.label) and named(conn, names[0]):
        raise ConfigError("--usage-point", point.number, f"the file is of usage point {names[0]}; say --file-id {names[0]} if it is meant")
    return tuple(each for each in content.series if each.point == (file_id or names[0]))


def checked(series: Sequence[Series], point: Point, now_ms: int) -> list[Problem]:
    """What forbids these series at this point."""
    return [problem for each in series for problem in _checked(each, point, now_ms)]


def _checked(series: Series, point: Point, now_ms: int) -> Iterator[Problem]:
    first, period_ms = series.rows[0], series.period_s * 1000
    if series.period_s not in PERIODS_S:
        lengths = ", ".join(str(seconds // 60) for seconds in sorted(PERIODS_S))
        yield Problem(first.line, "interval", str(series.period_s), f"intervals of {series.period_s} s are not kept; use {lengths} minutes")
        return
    for row in series.rows:
        if row.start_ms % period_ms:
            yield Problem(row.line, "start", _utc(row), f"this is not on the grid of {series.period_s // 60} minutes of UTC")
        if row.start_ms + period_ms > now_ms + period_ms:
            yield Problem(row.line, "start", _utc(row), f"this lies in the future; is the file of another time zone than {point.zone}?")
    yield from _implausible(series, point)


def _implausible(series: Series, point: Point) -> Iterator[Problem]:
    """Another unit, or a register instead of energy."""
    first, values = series.rows[0], [row.value for row in series.rows if row.value]
    limit = point.limit_w * series.period_s // 3600
    if values and series.kind.unit == "Wh" and limit and median(values) > LIMIT_TIMES * limit:
        text = f"half the intervals are above {LIMIT_TIMES} times the limit of this connection ({limit} Wh); is the unit right? see --unit"
        yield Problem(first.line, series.quantity, f"{median(values):.0f} Wh", text)
    turned = _register_turns(series) if series.kind.unit in SUMMED_UNITS else None
    if turned is not None:
        back = f"; it goes back at line {turned[0].line}" if turned else ""
        text = f"these values rise by little from row to row, as a register does{back}. Bring the energy of each interval"
        yield Problem((*turned, first)[0].line, series.quantity, str((*turned, first)[0].value), text)


def _register_turns(series: Series) -> list[Row] | None:
    """Rows at which a register goes back, where the values look like those of one: far above what they rise by. None otherwise."""
    pairs = [(a, b) for a, b in pairwise(row for row in series.rows if row.value is not None)]
    if len(pairs) < LIKE_REGISTER:
        return None
    steps = [(b.value or 0) - (a.value or 0) for a, b in pairs]
    down = [b for (_, b), step in zip(pairs, steps, strict=True) if step < 0]
    rise = median(steps)
    is_one = rise > 0 and len(down) * 50 <= len(steps) + 49 and median(a.value or 0 for a, _ in pairs) >= REGISTER_TIMES * rise
    return down if is_one else None


def _utc(row: Row) -> str:
    return utc_text(row.start_ms)


def compare(conn: Connection, series: Sequence[Series], point: Point, progress: Progress) -> list[Taken]:
    """What an import would do, without doing it."""
    return _each(conn, series, point, progress, None)


def take(conn: Connection, series: Sequence[Series], point: Point, now_ms: int, progress: Progress) -> list[Taken]:
    """Store the series, within the caller's transaction."""
    hold(conn, [(point, series)])
    return _each(conn, series, point, progress, now_ms)


def hold(conn: Connection, placed: Collection[tuple[Point, Sequence[Series]]]) -> None:
    """Until the end of the transaction nobody else puts values in there: what is told of a file is what becomes of it. Channels are made
    before, and points taken by their numbers, so that two who do this never wait for each other."""
    for point, series in placed:
        for each in series:
            channel_for(conn, point, each.kind, each.period_s)
    for number in sorted({point.number for point, _ in placed}):
        hold_point(conn, number)


def check_contradictions(taken: Sequence[Taken], point: Point) -> None:
    """Raises ConfigError where most of what is held there is contradicted: that is another meter's file."""
    other = sum(len(each.conflicts) for each in taken)
    held = other + sum(each.unchanged + each.replaced + each.waiting for each in taken)
    if other >= FEW and other * 2 > held:
        text = f"{other} of the {held} intervals held there contradict this file: is it of another usage point, unit or clock?"
        told = f"{text} nothing was taken; 'gridtally-mdm import intervals --contradict' takes it nevertheless"
        raise ConfigError("--usage-point", point.number, told)


def _each(conn: Connection, series: Sequence[Series], point: Point, progress: Progress, now_ms: int | None) -> list[Taken]:
    total, done = sum(len(each.rows) for each in series), 0
    results = []
    for each in series:
        ref = _ref(conn, each, point, make=now_ms is not None)
        result = Taken(each)
        for part in _parts(each):
            fresh, taken = _sorted_out(conn, ref, each, part)
            if now_ms is not None and ref is not None:
                _store(conn, ref, point, Series(each.point, each.quantity, each.period_s, fresh), now_ms)
            result, done = result + taken, done + len(part)
            progress(done, total)
        results.append(result)
    return results


def _ref(conn: Connection, series: Series, point: Point, make: bool) -> ChannelRef | None:
    if make:
        return channel_for(conn, point, series.kind, series.period_s)
    known = (c.ref for c in channels_of(conn, point) if (c.quantity, c.period_s) == (series.kind, series.period_s))
    return next(known, None)


def _parts(series: Series) -> Iterator[tuple[Row, ...]]:
    rows = tuple(row for row in series.rows if row.value is not None)
    for first in range(0, len(rows), PART):
        yield rows[first : first + PART]


def _sorted_out(conn: Connection, ref: ChannelRef | None, series: Series, rows: tuple[Row, ...]) -> tuple[tuple[Row, ...], Taken]:
    """(what is to be stored, what becomes of each)."""
    if ref is None:
        return rows, Taken(series, new=len(rows))
    days = sorted({day_of(row.start_ms, ref.zone) for row in rows})
    held, waiting = days_slots(conn, ref.channel_no, days), _waiting(conn, ref.channel_no, days)
    kinds = [_kind(row, held.get(row.start_ms), waiting.get(row.start_ms, frozenset())) for row in rows]
    fresh = tuple(row for row, kind in zip(rows, kinds, strict=True) if kind not in ("unchanged", "waiting"))
    conflicts = tuple(Conflict(series.quantity, row, held[row.start_ms].value or 0)
                      for row, kind in zip(rows, kinds, strict=True) if kind == "conflict")  # fmt: skip
    return fresh, Taken(series, kinds.count("new"), kinds.count("unchanged"), kinds.count("replaced"), kinds.count("waiting"), conflicts)


def _kind(row: Row, held: Slot | None, waiting: frozenset[int | None]) -> str:
    """As store/inbox.py sorts them in."""
    if held is None or held.value is None:
        return "new"
    if held.quality & REPLACEABLE and not row.quality & REPLACEABLE:
        return "replaced"
    if held.value == row.value:
        return "unchanged"
    return "waiting" if row.value in waiting else "conflict"


def _waiting(conn: Connection, channel_no: int, days: list[int]) -> dict[int, frozenset[int | None]]:
    """Contradictions that wait for a person: in the inbox, and in days that closed with them."""
    found: dict[int, frozenset[int | None]] = {}
    for slots in _waiting_slots(conn, channel_no, days):
        for at, slot in slots.items():
            found[at] = found.get(at, frozenset()) | {slot.value}
    return found


def _waiting_slots(conn: Connection, channel_no: int, days: list[int]) -> Iterator[Slots]:
    for day in days:
        yield from inbox_slots(conn, channel_no, day, conflict=True)
    yield from map(slots_of_block, blocks(conn, [channel_no], days, CONTRADICTING))


def _store(conn: Connection, ref: ChannelRef, point: Point, series: Series, now_ms: int) -> None:
    whole = list(_whole_days(ref, series, now_ms))
    left = set(take_days(conn, _closed(ref, series, whole), now_ms)) if whole else set()
    closed = {row.start_ms for i, (_, rows) in enumerate(whole) if i not in left for row in rows}
    _append(conn, ref, point, replace(series, rows=tuple(row for row in series.rows if row.start_ms not in closed)), now_ms)


def _whole_days(ref: ChannelRef, series: Series, now_ms: int) -> Iterator[tuple[DaySlots, list[Row]]]:
    """Local days that are over and of which every interval is there with a value, on the grid of the day."""
    for day, some in groupby(series.rows, lambda row: day_of(row.start_ms, ref.zone)):
        grid, rows = slots_of(day, ref.zone, series.period_s), list(some)
        starts = range(grid.start_ms, grid.end_ms, series.period_s * 1000)
        if grid.end_ms <= now_ms and [row.start_ms for row in rows] == list(starts) and all(row.value is not None for row in rows):
            yield grid, rows


def _closed(ref: ChannelRef, series: Series, whole: Sequence[tuple[DaySlots, list[Row]]]) -> ClosedDays:
    words = [b"".join(row.quality.to_bytes(2, "little") for row in rows) for _, rows in whole]
    values = array("q", (row.value for _, rows in whole for row in rows if row.value is not None))
    return ClosedDays([ref] * len(whole), [grid for grid, _ in whole], values, [each if any(each) else b"" for each in words])


def _append(conn: Connection, ref: ChannelRef, point: Point, series: Series, now_ms: int) -> None:
    blocks = []
    for run in series.runs():
        slots = {row.start_ms: Slot(row.value, row.quality) for row in run}
        values, quality = pack(slots, run[0].start_ms, series.period_s, len(run))
        block = ChannelBlock(point.meter_no, series.kind.code, run[0].start_ms, series.period_s, len(run), values, quality)
        check_block(block, now_ms, 0)
        blocks.append(unpack(ref, block))
    store_blocks(conn, blocks, now_ms)
