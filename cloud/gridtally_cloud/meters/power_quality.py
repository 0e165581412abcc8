"""Power quality of one meter: the values it told with their moments, its sags and swells with start and end, and their counts.

* Values are the newest of each quantity within the span: voltages, currents, power factor, frequency, distortion, the meter's own
  counters. Sags, swells and interruptions are events of its log; one that has not ended has no end.

Source: ETSI TR 102 691 use case 5.2.6.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import event, reading
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.quantities import BY_CODE, QUANTITIES, Kind, Quantity
from gridtally_shared.records import dataclass

_NAMES = ("power_factor_milli", "frequency_mhz", "power_failures", "power_off_min", "neutral_current_ma")
MEASURES = frozenset(
    q.code for q in QUANTITIES
    if q.kind is not Kind.INTERVAL and (q.name.startswith(("voltage_", "current_")) or q.name in _NAMES)
)  # fmt: skip
DISTURBANCES = {"sag": ("low_voltage", "low_voltage_ended"), "swell": ("over_voltage", "over_voltage_ended"),
                "interruption": ("power_failed", "power_restored")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """An integer times 10^exponent of its quantity."""

    quantity: Quantity
    at_ms: int
    value: int
    quality: int


@dataclass(frozen=True, slots=True)
class Disturbance:
    """`kind` is a key of DISTURBANCES."""

    kind: str
    from_ms: int
    to_ms: int | None


def measured(conn: Connection, meter_no: int, from_ms: int, to_ms: int) -> tuple[Measured, ...]:
    """The newest value of each quantity within [from_ms, to_ms)."""
    r = reading.c
    where = (r.shard == SHARD, r.meter_no == meter_no, r.quantity.in_(MEASURES), r.at_ms >= from_ms, r.at_ms < to_ms)
    newest = select(r.quantity, func.max(r.at_ms).label("at_ms")).where(*where).group_by(r.quantity).subquery()
    joined = reading.join(newest, (newest.c.quantity == r.quantity) & (newest.c.at_ms == r.at_ms))
    rows = conn.execute(select(r.quantity, r.at_ms, r.value, r.quality).select_from(joined).where(*where).order_by(r.quantity))
    return tuple(Measured(BY_CODE[row.quantity], row.at_ms, row.value, row.quality) for row in rows)


def disturbances(conn: Connection, meter_no: int, from_ms: int, to_ms: int) -> tuple[Disturbance, ...]:
    """Those that began within [from_ms, to_ms), in their order."""
    e, begins, ends = event.c, {}, {}
    for kind, (begin, end) in DISTURBANCES.items():
        begins[EVENTS[begin].code], ends[EVENTS[end].code] = kind, kind
    query = select(e.code, e.at_ms).where(e.shard == SHARD, e.meter_no == meter_no, e.code.in_((*begins, *ends)), e.at_ms >= from_ms)
    open_since: dict[str, int] = {}
    found: list[Disturbance] = []
    for row in conn.execute(query.order_by(e.at_ms, e.event_no)):
        if row.code in begins:
            open_since.setdefault(begins[row.code], row.at_ms)
        elif (began := open_since.pop(ends[row.code], None)) is not None:
            found.append(Disturbance(ends[row.code], began, row.at_ms))
    found += [Disturbance(kind, began, None) for kind, began in open_since.items()]
    return tuple(sorted((d for d in found if d.from_ms < to_ms), key=lambda d: (d.from_ms, d.kind)))
