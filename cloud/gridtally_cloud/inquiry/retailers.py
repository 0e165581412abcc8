"""Who may ask about a usage point: its retailer of record, and for how many answers a day.

* The retailer of record of a moment is the newest row that began by then; without a row it is the utility itself ('').
* A token belongs to one retailer, or to the utility. A former retailer has no more right than any other.
* A limit counts by local day, usage point and kind: what was answered or is under way counts, what was given up does not. The usage point's
  own limit comes before that for all (number 0), and that before the table below.

Source: seed 003, 1.4 and FR CR016.1; SMT-N1, SMT-R1, SMT-R2.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, func, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.inquiry.requests import Kind, State
from gridtally_cloud.inquiry.tables import data_request, inquiry_limit, retailer, retailer_of_record, retailer_token
from gridtally_cloud.store.db import insert_new, upsert
from gridtally_cloud.store.tables import usage_point
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

UTILITY = ""
EVERYWHERE = 0
PER_DAY: dict[Kind, int] = {Kind.BALANCE: 24, Kind.READ: 1, Kind.POWER_STATUS: 1}
"""Answers a day for one usage point; seed 003 names the two ones."""


class RetailerReason(StrEnum):
    UNKNOWN_RETAILER = "unknown_retailer"
    UNKNOWN_POINT = "unknown_usage_point"
    BAD_CODE = "bad_code"


@dataclass(frozen=True, slots=True)
class Limit:
    usage_point_no: int
    kind: Kind
    per_day: int


def add(conn: Connection, code: str, name: str, by: str, now_ms: int) -> None:
    """Raises RefusedCommand (bad_code)."""
    if not code.strip() or code != code.strip() or not name.strip():
        raise RefusedCommand(RetailerReason.BAD_CODE, "a retailer has a code and a name, both without blanks around them")
    if insert_new(conn, retailer, [{"code": code, "name": name, "created_ms": now_ms}]):
        record(conn, now_ms, by, "retailer.added", f"retailer:{code}", name)


def names(conn: Connection) -> dict[str, str]:
    """Name by code."""
    return {row.code: row.name for row in conn.execute(select(retailer).order_by(retailer.c.code))}


def assign(conn: Connection, usage_point_no: int, code: str, from_ms: int, by: str, now_ms: int) -> None:
    """From `from_ms` on `code` is the retailer of record. Raises RefusedCommand (unknown_retailer, unknown_usage_point)."""
    check_known(conn, code)
    if conn.execute(select(usage_point.c.label).where(usage_point.c.usage_point_no == usage_point_no)).first() is None:
        raise RefusedCommand(RetailerReason.UNKNOWN_POINT, f"there is no usage point {usage_point_no}")
    upsert(conn, retailer_of_record, {"usage_point_no": usage_point_no, "from_ms": from_ms, "retailer": code, "noted_by": by})
    record(conn, now_ms, by, "retailer.assigned", f"usage-point:{usage_point_no}", code or "the utility")


def check_known(conn: Connection, code: str) -> None:
    """Raises RefusedCommand (unknown_retailer)."""
    if code != UTILITY and code not in names(conn):
        raise RefusedCommand(RetailerReason.UNKNOWN_RETAILER, f"there is no retailer {code!r}: gridtally-mdm retailer add {code} NAME")


def of_record(conn: Connection, usage_point_no: int, at_ms: int) -> str:
    """Code of the retailer of record of a moment; '' is the utility."""
    r = retailer_of_record.c
    query = select(r.retailer).where(r.usage_point_no == usage_point_no, r.from_ms <= at_ms)
    return conn.execute(query.order_by(r.from_ms.desc()).limit(1)).scalar_one_or_none() or UTILITY


def bind_token(conn: Connection, token_no: int, code: str) -> None:
    upsert(conn, retailer_token, {"token_no": token_no, "retailer": code})


def of_token(conn: Connection, token_no: int) -> str:
    """Whose token it is; '' is the utility."""
    t = retailer_token.c
    return conn.execute(select(t.retailer).where(t.token_no == token_no)).scalar_one_or_none() or UTILITY


# ---- limits ---------------------------------------------------------------------------------------------------


def set_limit(conn: Connection, limit: Limit, by: str, now_ms: int) -> None:
    row = {"usage_point_no": limit.usage_point_no, "kind": limit.kind.value, "per_day": limit.per_day}
    upsert(conn, inquiry_limit, row)
    place = f"usage-point:{limit.usage_point_no}" if limit.usage_point_no else "usage-point:all"
    record(conn, now_ms, by, "inquiry.limit", place, f"{limit.kind.value} {limit.per_day} a day")


def limits(conn: Connection) -> tuple[Limit, ...]:
    """Every limit that was set, those for all first."""
    query = select(inquiry_limit).order_by(inquiry_limit.c.usage_point_no, inquiry_limit.c.kind)
    return tuple(Limit(row.usage_point_no, Kind(row.kind), row.per_day) for row in conn.execute(query))


def per_day(conn: Connection, usage_point_no: int, kind: Kind) -> int:
    t = inquiry_limit.c
    query = select(t.per_day).where(t.usage_point_no.in_((usage_point_no, EVERYWHERE)), t.kind == kind.value)
    found = conn.execute(query.order_by(t.usage_point_no.desc()).limit(1)).scalar_one_or_none()
    return PER_DAY[kind] if found is None else int(found)


def taken(conn: Connection, usage_point_no: int, kind: Kind, day: int) -> int:
    """How many of the day count. The usage point's row is locked: of two at once one is first."""
    conn.execute(select(usage_point.c.usage_point_no).where(usage_point.c.usage_point_no == usage_point_no).with_for_update())
    r = data_request.c
    mine = (r.usage_point_no == usage_point_no, r.day == day, r.kind == kind.value, r.state != State.GAVE_UP.value)
    return int(conn.execute(select(func.count()).select_from(data_request).where(*mine)).scalar_one())
