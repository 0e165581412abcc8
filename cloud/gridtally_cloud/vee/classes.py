"""Which rule set a usage point goes by on a day, and which usage point holds its check meter.

* A class has versions; the newest that has begun by the day is in force. A class without one goes by the class `default`, and that by what
  is built in, which counts as its version 1.
* A version begins after the one before it, and not in the past where there is one: what was judged stands.
* Use that is known to be irregular goes by the class `irregular` until a day, then by its own again (mdm.md B.2, last lines).
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, and_, insert, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import usage_point
from gridtally_cloud.vee.documents import BUILT_IN_CLASS, IRREGULAR_CLASS, RuleDocument, rule_document
from gridtally_cloud.vee.model import RuleSet
from gridtally_cloud.vee.tables import vee_point, vee_rule_set
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.records import dataclass

BUILT_IN = RuleSet()


class ClassReason(StrEnum):
    UNKNOWN_CLASS = "unknown_class"
    UNKNOWN_POINT = "unknown_usage_point"
    OWN_CHECK = "own_check_meter"


@dataclass(frozen=True, slots=True)
class Point:
    """What VEE keeps of a usage point."""

    class_name: str = ""
    check_point_no: int | None = None
    irregular_until_day: int | None = None


def add_rule_set(conn: Connection, text: str, today: int, at_ms: int, actor: str) -> RuleDocument:
    """Load the next version of a class. Raises ConfigError where the document is wrong or does not follow the one before."""
    read = rule_document(text)
    known = rule_sets(conn, read.class_name)
    next_version = (known[-1].version if known else int(read.class_name == BUILT_IN_CLASS)) + 1
    if read.version != next_version:
        raise ConfigError("version", read.version, f"the next version of class {read.class_name} is {next_version}")
    if known and read.from_day < max(today, known[-1].from_day + 1):
        raise ConfigError("from", read.first_day, f"choose a day to come, after {known[-1].first_day} of version {known[-1].version}")
    values = {"class_name": read.class_name, "version": read.version, "from_day": read.from_day, "document": read.text}
    conn.execute(insert(vee_rule_set).values(**values, created_by=actor, created_ms=at_ms))
    record(conn, at_ms, actor, "vee.rules_added", f"vee_class:{read.class_name}", f"version {read.version} from {read.first_day}")
    return read


def rule_sets(conn: Connection, class_name: str | None = None) -> tuple[RuleDocument, ...]:
    """Loaded versions, of one class or all, in order."""
    s = vee_rule_set.c
    query = select(s.document).order_by(s.class_name, s.version)
    texts = conn.execute(query if class_name is None else query.where(s.class_name == class_name)).scalars()
    return tuple(rule_document(text) for text in texts)


def point_of(conn: Connection, usage_point_no: int) -> Point:
    p = vee_point.c
    row = conn.execute(select(p.class_name, p.check_point_no, p.irregular_until_day).where(p.usage_point_no == usage_point_no)).first()
    return Point(row.class_name, row.check_point_no, row.irregular_until_day) if row else Point()


def rules_for(conn: Connection, point: Point, day: int) -> RuleSet:
    """The rule set in force for a usage point on a local day."""
    irregular = point.irregular_until_day is not None and day <= point.irregular_until_day
    for name in dict.fromkeys((IRREGULAR_CLASS if irregular else point.class_name, point.class_name, BUILT_IN_CLASS)):
        found = _in_force(conn, name, day) if name else None
        if found:
            return found
    return BUILT_IN


def _in_force(conn: Connection, class_name: str, day: int) -> RuleSet | None:
    s = vee_rule_set.c
    query = select(s.document).where(and_(s.class_name == class_name, s.from_day <= day)).order_by(s.version.desc()).limit(1)
    text = conn.execute(query).scalar_one_or_none()
    return rule_document(text).rules if text is not None else None


def set_point(conn: Connection, usage_point_no: int, point: Point, at_ms: int, actor: str) -> None:
    """Put a usage point into a class, name its check meter's. Raises RefusedCommand for what is not there."""
    if not _is_known(conn, usage_point_no) or (point.check_point_no is not None and not _is_known(conn, point.check_point_no)):
        raise RefusedCommand(ClassReason.UNKNOWN_POINT, f"there is no usage point {usage_point_no} or {point.check_point_no}")
    if point.check_point_no == usage_point_no:
        raise RefusedCommand(ClassReason.OWN_CHECK, "a check meter is at a usage point of its own")
    needed = {point.class_name, IRREGULAR_CLASS if point.irregular_until_day is not None else ""} - {"", BUILT_IN_CLASS}
    for name in sorted(needed):
        if not rule_sets(conn, name):
            raise RefusedCommand(ClassReason.UNKNOWN_CLASS, f"class {name!r} has no rule set; load it with gridtally-mdm vee rules load")
    upsert(conn, vee_point, {"usage_point_no": usage_point_no, "class_name": point.class_name, "check_point_no": point.check_point_no,
                             "irregular_until_day": point.irregular_until_day, "changed_by": actor, "changed_ms": at_ms})  # fmt: skip
    record(conn, at_ms, actor, "vee.point_set", f"usage_point:{usage_point_no}", f"{point}")


def _is_known(conn: Connection, usage_point_no: int) -> bool:
    return conn.execute(select(usage_point.c.usage_point_no).where(usage_point.c.usage_point_no == usage_point_no)).first() is not None
