"""Calendars in the cloud: versions as stored, which account goes by which, what of them travels in a DCU's configuration.

* A version carries the zone's changes as this machine knows them on the day it is added; `is_aged` says when that is no longer so.
* A version begins after the one before it and not in the past, as with policies. An account goes by a calendar of its own zone.
* To the edge travel the version in force and all that are still to come, in the signed configuration.

Source: prepayment.md 3.6, 5.5; safety.md 12.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, func, insert, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay.calendar_tables import account_calendar, calendar_version
from gridtally_cloud.store.db import in_turn, upsert_all
from gridtally_shared.contract.prepay_messages import CalendarDocument
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.prepay.calendars import active, calendar_from, canonical
from gridtally_shared.prepay.zones import rules_of


class CalendarReason(StrEnum):
    UNKNOWN_CALENDAR = "unknown_calendar"
    CALENDAR_IN_THE_PAST = "calendar_in_the_past"
    OTHER_ZONE = "other_zone"


def add_calendar(conn: Connection, from_ms: int, document: str, at_ms: int, actor: str) -> CalendarDocument:
    """Add the next version of the calendar that the document names. Raises ConfigError for one that is not understood,
    RefusedCommand for a time at which it can not begin, or for another zone than before."""
    text = canonical(document, at_ms)
    read, c = calendar_from(text), calendar_version.c
    in_turn(conn, f"calendar {read.code}")
    known = versions(conn, read.code)
    if known and calendar_from(known[-1].document).zone != read.zone:
        raise RefusedCommand(CalendarReason.OTHER_ZONE, f"calendar {read.code} is of another zone; choose another code")
    begun_ms = conn.execute(select(func.max(c.from_ms)).where(c.calendar_id == read.code)).scalar_one()
    if from_ms < at_ms or (begun_ms is not None and from_ms <= begun_ms):
        raise RefusedCommand(CalendarReason.CALENDAR_IN_THE_PAST, f"{read.code}: choose a later time than now and than the last version")
    made = CalendarDocument(read.code, len(known) + 1, from_ms, text)
    values = {"calendar_id": read.code, "version": made.version, "from_ms": from_ms, "document": text, "created_ms": at_ms}
    conn.execute(insert(calendar_version).values(values))
    record(conn, at_ms, actor, "calendar.added", f"calendar:{read.code}", f"version {made.version} from {from_ms}")
    return made


def go_by(conn: Connection, calendar_id: str, account_no: int | None, at_ms: int, actor: str) -> int:
    """Let an account, or every account of the calendar's zone, go by it. How many do now. Raises RefusedCommand."""
    newest = versions(conn, calendar_id)
    if not newest:
        raise RefusedCommand(CalendarReason.UNKNOWN_CALENDAR, f"there is no calendar {calendar_id!r}; load it first")
    zone, a = calendar_from(newest[-1].document).zone, account.c
    query = select(a.account_no).where(a.zone == zone)
    numbers = conn.execute(query if account_no is None else query.where(a.account_no == account_no)).scalars().all()
    if account_no is not None and not numbers:
        raise RefusedCommand(CalendarReason.OTHER_ZONE, f"account {account_no} is not of the zone {zone}")
    upsert_all(conn, account_calendar, [{"account_no": no, "calendar_id": calendar_id, "since_ms": at_ms} for no in sorted(numbers)])
    record(conn, at_ms, actor, "calendar.followed", f"calendar:{calendar_id}", f"{len(numbers)} accounts")
    return len(numbers)


def gone_by(conn: Connection) -> dict[int, str]:
    """The calendar of each account that goes by one."""
    return {row.account_no: row.calendar_id for row in conn.execute(select(account_calendar))}


def versions(conn: Connection, calendar_id: str = "") -> tuple[CalendarDocument, ...]:
    """Versions of one calendar or of all, oldest first."""
    c = calendar_version.c
    query = select(calendar_version).order_by(c.calendar_id, c.version)
    rows = conn.execute(query.where(c.calendar_id == calendar_id) if calendar_id else query)
    return tuple(CalendarDocument(row.calendar_id, row.version, row.from_ms, row.document) for row in rows)


def travelling(conn: Connection, calendar_ids: set[str], at_ms: int) -> tuple[CalendarDocument, ...]:
    """What a DCU needs of these calendars: the version in force and those to come."""
    return tuple(document for calendar_id in sorted(calendar_ids - {""}) for document in _needed(conn, calendar_id, at_ms))


def is_aged(document: CalendarDocument, at_ms: int) -> bool:
    """Whether this machine by now knows other changes of the zone in the year ahead than the document says."""
    read = calendar_from(document.document)
    now, until_s = rules_of(read.zone, at_ms), at_ms // 1000 + 366 * 86_400
    written = read.rules.changes if read.rules else ()
    ahead = [tuple(c for c in changes if at_ms // 1000 < c[0] < until_s) for changes in (now.changes, written)]
    return ahead[0] != ahead[1]


def _needed(conn: Connection, calendar_id: str, at_ms: int) -> tuple[CalendarDocument, ...]:
    documents = versions(conn, calendar_id)
    now = active(calendar_id, documents, at_ms)
    return tuple(d for d in documents if now is None or d.version >= now.version)
