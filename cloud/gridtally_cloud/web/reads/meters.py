"""Meters as the staff sees them: the list, and what one meter page needs besides events and commands."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, and_, or_, select

from gridtally_cloud.customers.tables import account, customer
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import meter, meter_status, reading, reading_latest, usage_point
from gridtally_shared.quantities import BY_CODE, ENERGY_IMPORT, Quantity
from gridtally_shared.records import dataclass

SWITCH_NAMES = {0: "off", 1: "on", 2: "armed", 3: "not_fitted", 4: "unknown"}
PAGE = 50


@dataclass(frozen=True, slots=True)
class MeterRow:
    """`answering` is None when the meter was never reported; `switch` is a name of SWITCH_NAMES."""

    meter_no: int
    serial: str
    label: str
    driver: str
    dcu: str
    usage_point_no: int | None
    address: str
    zone: str
    interval_s: int
    installed_ms: int
    account_no: int | None
    customer_name: str
    mode: str
    answering: bool | None
    switch: str
    status_at_ms: int | None
    clock_offset_ms: int
    register_wh: int | None
    register_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest value of a quantity: an integer times 10^exponent in the quantity's unit."""

    quantity: Quantity
    value: int
    at_ms: int
    quality: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One stored register sample or momentary value."""

    code: int
    quantity: str
    unit: str
    exponent: int
    at_ms: int
    value: int
    quality: int


def _query() -> Select[Any]:
    s, r = meter_status, reading_latest
    joined = meter.outerjoin(usage_point, usage_point.c.usage_point_no == meter.c.usage_point_no)
    joined = joined.outerjoin(account, and_(account.c.meter_no == meter.c.meter_no, account.c.closed_ms.is_(None)))
    joined = joined.outerjoin(customer, customer.c.customer_no == account.c.customer_no)
    joined = joined.outerjoin(s, and_(s.c.shard == SHARD, s.c.meter_no == meter.c.meter_no))
    newest = and_(r.c.shard == SHARD, r.c.meter_no == meter.c.meter_no, r.c.quantity == ENERGY_IMPORT.code)
    columns = (*meter.c, usage_point.c.address, usage_point.c.zone, account.c.account_no, account.c.mode,
               customer.c.name.label("customer_name"), s.c.answering, s.c.switch, s.c.at_ms.label("status_at_ms"),
               s.c.clock_offset_ms, r.c.value.label("register_wh"), r.c.at_ms.label("register_at_ms"))  # fmt: skip
    return select(*columns).select_from(joined.outerjoin(r, newest))


def _row(r: Row[Any]) -> MeterRow:
    return MeterRow(
        r.meter_no, r.serial, r.label, r.driver, r.dcu or "", r.usage_point_no, r.address or "", r.zone or "UTC", r.interval_s,
        r.installed_ms, r.account_no, r.customer_name or "", r.mode or "", r.answering, SWITCH_NAMES.get(r.switch, "unknown"),
        r.status_at_ms, r.clock_offset_ms or 0, r.register_wh, r.register_at_ms,
    )  # fmt: skip


def meters(
    conn: Connection, text: str = "", dcu: str = "", state: str = "", after: int = 0, limit: int = PAGE
) -> tuple[MeterRow, ...]:
    """Meters by number above `after`; `text` finds serial, label, address or customer; `state`: answering, silent, off."""
    query = _query().where(meter.c.removed_ms.is_(None), meter.c.meter_no > after)
    if text.strip():
        pattern = "%" + text.strip().replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%"
        fields = (meter.c.serial, meter.c.label, usage_point.c.address, customer.c.name)
        query = query.where(or_(*(f.ilike(pattern, escape="\\") for f in fields)))
    if dcu:
        query = query.where(meter.c.dcu == dcu)
    states = {"answering": meter_status.c.answering.is_(True), "silent": meter_status.c.answering.is_(False),
              "off": meter_status.c.switch == 0, "never": meter_status.c.answering.is_(None)}  # fmt: skip
    if state in states:
        query = query.where(states[state])
    return tuple(_row(r) for r in conn.execute(query.order_by(meter.c.meter_no).limit(limit)))


def meter_row(conn: Connection, meter_no: int) -> MeterRow | None:
    row = conn.execute(_query().where(meter.c.meter_no == meter_no).order_by(account.c.account_no).limit(1)).one_or_none()
    return _row(row) if row else None


def latest_values(conn: Connection, meter_no: int) -> tuple[Latest, ...]:
    """The newest value of each quantity this version knows."""
    r = reading_latest.c
    rows = conn.execute(select(reading_latest).where(r.shard == SHARD, r.meter_no == meter_no).order_by(r.quantity))
    return tuple(Latest(BY_CODE[row.quantity], row.value, row.at_ms, row.quality) for row in rows if row.quantity in BY_CODE)


def samples(conn: Connection, meter_no: int, from_ms: int, to_ms: int, after: tuple[int, int] | None,
            limit: int) -> tuple[Sample, ...]:  # fmt: skip
    """Stored samples in [from_ms, to_ms) in the order (time, quantity), above `after`."""
    r = reading.c
    query = select(reading).where(r.shard == SHARD, r.meter_no == meter_no, r.at_ms >= from_ms, r.at_ms < to_ms)
    if after is not None:
        query = query.where(or_(r.at_ms > after[0], and_(r.at_ms == after[0], r.quantity > after[1])))
    return tuple(_sample(row) for row in conn.execute(query.order_by(r.at_ms, r.quantity).limit(limit)))


def _sample(row: Row[Any]) -> Sample:
    known = BY_CODE.get(row.quantity)
    name, unit, exponent = (known.name, known.unit, known.exponent) if known else (f"quantity_{row.quantity}", "", 0)
    return Sample(row.quantity, name, unit, exponent, row.at_ms, row.value, row.quality)
