"""Whether a meter is in order by its own word: the checks of its own that failed and have not passed since (I2-N9)."""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import event
from gridtally_shared.checks import CHECK_EVENTS, FAILED, PASSED
from gridtally_shared.events import BY_NAME, EventType, event_type
from gridtally_shared.records import dataclass

_FAILS = {BY_NAME[failed].code: check for check, (failed, _) in CHECK_EVENTS.items()}
_PASSES = {BY_NAME[passed].code: check for check, (_, passed) in CHECK_EVENTS.items() if passed != PASSED}
_FAILED, _PASSED = BY_NAME[FAILED].code, BY_NAME[PASSED].code


@dataclass(frozen=True, slots=True)
class Fault:
    """A check that fails since `since_ms`; `type` is the event that told of it."""

    check: str
    type: EventType
    since_ms: int


def faults(conn: Connection, meter_no: int) -> tuple[Fault, ...]:
    """Oldest first; empty: the meter says that it is in order, or has said nothing."""
    e = event.c
    query = select(e.code, e.at_ms, e.detail).where(e.shard == SHARD, e.meter_no == meter_no)
    standing: dict[str, Fault] = {}
    for row in conn.execute(query.where(e.code.in_((*_FAILS, *_PASSES, _FAILED, _PASSED))).order_by(e.at_ms, e.event_no)):
        check = _FAILS.get(row.code) or _PASSES.get(row.code) or row.detail.partition(" ")[0]
        if row.code in _FAILS or row.code == _FAILED:
            standing.setdefault(check, Fault(check, event_type(row.code), row.at_ms))
        else:
            standing.pop(check, None)
    return tuple(sorted(standing.values(), key=lambda fault: fault.since_ms))
