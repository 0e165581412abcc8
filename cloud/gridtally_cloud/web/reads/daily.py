"""The daily record of a meter, as a head end hands it on: registers of midnight, power then, and what the day brought.

* Registers are those of the meter's own row of midnight; a day without such a row has no record.
* A daily profile holds no power: it is that of the first poll after midnight, with its own time, or unknown.

Source: BYPL 1.1; IS 15959 part 2, daily load profile.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.days import day_of, midnight_ms
from gridtally_cloud.store.tables import event, reading
from gridtally_cloud.web.reads.events import URGENT_CODES
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.events import event_type
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

_MIDNIGHT = {BY_NAME[name].code: name for name in ("energy_import_wh", "apparent_import_vah")}
_THEN = {BY_NAME[name].code: name for name in ("power_w", "apparent_va", "power_factor_milli")}
_SOON_MS = MS_PER_HOUR
"""A poll later than this says nothing of midnight."""


@dataclass(frozen=True, slots=True)
class DailyRecord:
    """`events`: (code, name, at_ms) of the day that closed at `at_ms`; what is unknown is None."""

    meter_no: int
    at_ms: int
    energy_wh: int
    apparent_vah: int | None
    power_w: int | None
    apparent_va: int | None
    power_factor_milli: int | None
    momentary_ms: int | None
    events: tuple[tuple[int, str, int], ...]


def records(conn: Connection, meter_no: int, zone: str, from_ms: int, to_ms: int) -> tuple[DailyRecord, ...]:
    """Of the local midnights in [from_ms, to_ms) that have a row, oldest first."""
    days = range(day_of(from_ms, zone), day_of(to_ms, zone) + 1)
    midnights = {at_ms: midnight_ms(day - 1, zone) for day in days if from_ms <= (at_ms := midnight_ms(day, zone)) < to_ms}
    found = (_record(conn, meter_no, at_ms, before_ms) for at_ms, before_ms in midnights.items())
    return tuple(record for record in found if record is not None)


def _record(conn: Connection, meter_no: int, at_ms: int, before_ms: int) -> DailyRecord | None:
    r = reading.c
    rows = conn.execute(
        select(r.quantity, r.at_ms, r.value)
        .where(r.shard == SHARD, r.meter_no == meter_no, r.quantity.in_([*_MIDNIGHT, *_THEN]), r.at_ms >= at_ms, r.at_ms < at_ms + _SOON_MS)
        .order_by(r.at_ms)
    ).all()
    registers = {_MIDNIGHT[row.quantity]: row.value for row in rows if row.quantity in _MIDNIGHT and row.at_ms == at_ms}
    if "energy_import_wh" not in registers:
        return None
    then_ms = next((row.at_ms for row in rows if row.quantity in _THEN), None)
    then = {_THEN[row.quantity]: row.value for row in rows if row.quantity in _THEN and row.at_ms == then_ms}
    return DailyRecord(
        meter_no, at_ms, registers["energy_import_wh"], registers.get("apparent_import_vah"), then.get("power_w"),
        then.get("apparent_va"), then.get("power_factor_milli"), then_ms, _events(conn, meter_no, before_ms, at_ms),
    )  # fmt: skip


def _events(conn: Connection, meter_no: int, from_ms: int, to_ms: int) -> tuple[tuple[int, str, int], ...]:
    e = event.c
    where = (e.shard == SHARD, e.meter_no == meter_no, e.at_ms >= from_ms, e.at_ms < to_ms, e.code.not_in(URGENT_CODES))
    rows = conn.execute(select(e.code, e.at_ms).where(*where).order_by(e.at_ms, e.event_no))
    return tuple((row.code, event_type(row.code).name, row.at_ms) for row in rows)
