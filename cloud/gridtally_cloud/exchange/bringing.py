"""One file of somebody else into the store, without a person beside it: it says itself which usage points it is of.

* A usage point is found by number or label. All series of all points are taken in one transaction, or none.
* The result is kept in that same transaction (`keep`), so that it is never told of a file that was not taken.

Source: mdm.md B.2 row 0 and D (drop folder).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import Connection

from gridtally_cloud.customers.audit import record
from gridtally_cloud.exchange import importing
from gridtally_cloud.exchange.formats import read
from gridtally_cloud.exchange.importing import Taken
from gridtally_cloud.exchange.points import Point, named, point_of
from gridtally_cloud.exchange.record import Asked, Clock, Content, Problem, Series
from gridtally_cloud.store.db import Database
from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.records import dataclass

ACTOR = "watched folder"


@dataclass(frozen=True, slots=True)
class Habit:
    """What a source's files do not say themselves. `usage_point` empty: the file names it."""

    format: str = "auto"
    usage_point: str = ""
    clock: str = ""
    unit: str = ""
    quantity: str = ""
    column: str = ""
    dates: str = ""

    def asked(self, zone: str) -> Asked:
        return Asked(zone, Clock(self.clock) if self.clock else None, self.unit, self.quantity, self.column, self.dates)


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of a file: all of it taken, or nothing."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    taken: tuple[tuple[Point, Taken], ...] = ()

    @property
    def is_taken(self) -> bool:
        return not self.problems


Keep = Callable[[Connection, Brought], None]
Placed = tuple[tuple[Point, tuple[Series, ...]], ...]


def bring(db: Database, data: bytes, name: str, habit: Habit, zone: str, now_ms: int, keep: Keep) -> Brought:
    """Take the file, or say why not. `zone` is that of files whose usage points are not known yet."""
    result = _refusal(db, data, habit, zone)
    if isinstance(result, Brought):
        return _kept(db, result, keep)
    content, placed = result
    faults = [p for point, series in placed for p in importing.checked(series, point, now_ms)]
    if faults:
        return _kept(db, Brought(tuple(faults), content.notes), keep)
    try:
        with db.write() as conn:
            brought = Brought((), content.notes, tuple(_take(conn, placed, name, now_ms)))
            keep(conn, brought)
            return brought
    except (ConfigError, ContractError) as error:
        return _kept(db, Brought((_fault(error),), content.notes), keep)


def _kept(db: Database, brought: Brought, keep: Keep) -> Brought:
    with db.write() as conn:
        keep(conn, brought)
    return brought


def _take(conn: Connection, placed: Placed, name: str, now_ms: int) -> Iterator[tuple[Point, Taken]]:
    importing.hold(conn, placed)
    for point, series in placed:
        taken = importing.take(conn, series, point, now_ms, lambda *_: None)
        importing.check_contradictions(taken, point)
        new, other = sum(t.new for t in taken), sum(len(t.conflicts) for t in taken)
        record(conn, now_ms, ACTOR, "intervals.import", f"usage_point:{point.number}", f"{name}: {new} new, {other} contradict")
        yield from ((point, each) for each in taken)


def _refusal(db: Database, data: bytes, habit: Habit, zone: str) -> Brought | tuple[Content, Placed]:
    """Why nothing of it can be taken; or what it holds and for whom."""
    try:
        with db.read() as conn:
            meant = point_of(conn, habit.usage_point) if habit.usage_point else None
        content = read(data, habit.asked(meant.zone if meant else zone), habit.format)
        with db.read() as conn:
            placed, unknown = _placed(conn, content, meant)
        zones = {point.zone for point, _ in placed}
        if len(zones) == 1 and meant is None and zones != {zone}:
            content = read(data, habit.asked(zones.pop()), habit.format)
            with db.read() as conn:
                placed, unknown = _placed(conn, content, meant)
    except (ConfigError, ContractError) as error:
        return Brought((_fault(error),))
    problems = (*content.problems, *unknown)
    if not problems and len({point.zone for point, _ in placed}) > 1:
        problems = (Problem(0, "usage point", "", "they are in several time zones: bring one file a zone"),)
    return Brought(problems, content.notes) if problems else (content, placed)


def _placed(conn: Connection, content: Content, meant: Point | None) -> tuple[Placed, tuple[Problem, ...]]:
    """(series by usage point, names that are none of ours)."""
    placed: dict[str, tuple[Point, tuple[Series, ...]]] = {}
    unknown: dict[str, Problem] = {}
    for each in content.series:
        point = _point(conn, each.point, meant)
        if isinstance(point, str):
            unknown.setdefault(each.point, Problem(each.rows[0].line, "usage point", each.point, point))
        else:
            placed[each.point] = (point, (*placed.get(each.point, (point, ()))[1], each))
    if meant is not None and len(placed) > 1:
        return (), (Problem(0, "usage point", ", ".join(placed)[:60], "the file holds several, and this folder is of one"),)
    return tuple(placed.values()), tuple(unknown.values())


def _point(conn: Connection, name: str, meant: Point | None) -> Point | str:
    """The usage point of that name, or what is wrong with it."""
    rows = named(conn, name) if name else []
    if meant is not None:
        other = [row.usage_point_no for row in rows if row.usage_point_no != meant.number]
        return f"this is another usage point than {meant.number}, which this folder is of" if other else meant
    if not name:
        return "the file does not say whose it is: write usage_point into folder.toml, or a column usage_point into the file"
    if len(rows) != 1:
        return "several usage points have this label: write the number" if rows else "no usage point has this number or label"
    return point_of(conn, str(rows[0].usage_point_no))


def _fault(error: Exception) -> Problem:
    if isinstance(error, ConfigError):
        return Problem(0, error.key.removeprefix("--").replace("-", " "), str(error.value), error.remedy)
    return Problem(0, "file", "", str(error))
