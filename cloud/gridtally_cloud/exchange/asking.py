"""Data for a recipient on request: judged, then queued like what goes out by itself.

* A request that is not valid is a value, not an exception: its error, with type and instant, stays in the recipient's record and a notice
  of it goes to every address. Only an unknown recipient has nobody to be told, and is refused.
* A request is for a month of a hundred usage points at most; more goes by a schedule.

Source: ETSI TR 102 691, 5.2.3 (basic flow 2, alternative flow 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from enum import StrEnum
from itertools import groupby

from sqlalchemy import Connection

from gridtally_cloud.customers.audit import record
from gridtally_cloud.exchange.contents import carried, files_of
from gridtally_cloud.exchange.deliveries import ErrorType, queue, report_error
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.given import Kind, note_days, taker
from gridtally_cloud.exchange.points import Point, point_of
from gridtally_cloud.exchange.recipients import known
from gridtally_cloud.exchange.wanted import KINDS, Wanted
from gridtally_cloud.store.days import EPOCH
from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.records import dataclass

MOST_POINT_DAYS = 3_100


class Invalid(StrEnum):
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_FORMAT = "unknown_format"
    UNKNOWN_POINT = "unknown_usage_point"
    BAD_SPAN = "bad_span"
    TOO_MUCH = "too_much"
    NOTHING_HELD = "nothing_held"


@dataclass(frozen=True, slots=True)
class Question:
    """Usage points by number or label; local days such as 2026-11-21, the last one included."""

    kind: str
    format: str
    points: tuple[str, ...]
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class _Made:
    files: dict[str, bytes]
    values: int
    points: Sequence[Point]
    days: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Queued:
    files: tuple[str, ...]
    values: int


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: Invalid
    detail: str


def ask(conn: Connection, to: str, question: Question, now_ms: int, actor: str) -> Queued | Refusal:
    """Raises RefusedCommand (unknown_recipient)."""
    known(conn, to)
    found = _judged(conn, question, now_ms)
    if isinstance(found, Refusal):
        detail = f"{found.reason.value}: {found.detail}"
        report_error(conn, to, ErrorType.NOT_VALID, f"request:{now_ms}:{found.reason.value}", detail, now_ms)
        record(conn, now_ms, actor, "request.refused", f"recipient:{to}", detail)
        return found
    note_days(conn, taker(Kind.RECIPIENT, to), found.points, found.days, now_ms)
    queue(conn, to, found.files, now_ms)
    record(conn, now_ms, actor, "request.queued", f"recipient:{to}", f"{len(found.files)} files, {found.values} values")
    return Queued(tuple(found.files), found.values)


def _judged(conn: Connection, question: Question, now_ms: int) -> _Made | Refusal:
    if question.kind not in KINDS:
        return Refusal(Invalid.UNKNOWN_KIND, f"kind is one of {', '.join(KINDS)}")
    if question.format not in FORMATS or not carried(Wanted(question.kind, question.format)):
        able = ", ".join(name for name in FORMATS if carried(Wanted(question.kind, name)))
        return Refusal(Invalid.UNKNOWN_FORMAT, f"format of {question.kind} is one of {able}")
    days = _days(question)
    if days is None:
        return Refusal(Invalid.BAD_SPAN, "from and to are local days such as 2026-11-21, to not before from")
    try:
        points = [point_of(conn, name) for name in dict.fromkeys(question.points)]
    except ConfigError as error:
        return Refusal(Invalid.UNKNOWN_POINT, f"{error.value}: {error.remedy}")
    amount = len(points) * (days[1] - days[0] + 1)
    if not 0 < amount <= MOST_POINT_DAYS:
        return Refusal(Invalid.TOO_MUCH, f"usage points times days are 1 to {MOST_POINT_DAYS}; more goes by a schedule")
    return _made(conn, question, points, days, now_ms)


def _days(question: Question) -> tuple[int, int] | None:
    try:
        first, last = ((date.fromisoformat(text) - EPOCH).days for text in (question.first, question.last))
    except ValueError:
        return None
    return (first, last) if first <= last else None


def _made(conn: Connection, question: Question, points: Sequence[Point], days: tuple[int, int], now_ms: int) -> _Made | Refusal:
    wanted, files, values = Wanted(question.kind, question.format), dict[str, bytes](), 0
    stem = f"request_{now_ms}_{question.first}_{question.last}"
    try:
        for number, group in enumerate(_groups(points, FORMATS[question.format].points), 1):
            made, held = files_of(conn, wanted, group, days, f"{stem}_{number:04}")
            files, values = files | made, values + held
    except (ConfigError, ContractError) as error:
        return Refusal(Invalid.UNKNOWN_FORMAT, str(error))
    return _Made(files, values, points, days) if files else Refusal(Invalid.NOTHING_HELD, "nothing of that kind is held of these days")


def _groups(points: Sequence[Point], most: int) -> Iterator[list[Point]]:
    """Usage points of one zone, `most` a file."""
    for _, same in groupby(sorted(points, key=lambda p: (p.zone, p.number)), key=lambda p: p.zone):
        here = list(same)
        yield from (here[at : at + most] for at in range(0, len(here), most))
