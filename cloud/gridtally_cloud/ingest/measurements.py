"""Entries with measured values and findings: intervals, readings, events, meter status, meters seen.

* A value is taken only from the DCU that serves its meter; blocks and values that do not fit are set aside one by one,
  the rest of the entry is stored (mdm.md B.2 row 0: quarantine the whole block).
* Order-free: the newer of two statuses or latest readings wins by its own time, whatever arrives last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from gridtally_cloud.customers import price_notices
from gridtally_cloud.ingest import poison
from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.meters import topology
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import insert_new, upsert_all
from gridtally_cloud.store.inbox import Unpacked, check_block, store_blocks, unpack
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.tables import channel, event, meter, meter_seen, meter_status, reading, reading_latest, usage_point
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import (
    ChannelBlock,
    EntryKind,
    Event,
    Intervals,
    MeterSeen,
    MeterStatus,
    Readings,
    Value,
)
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import OF_THE_MDM
from gridtally_shared.quantities import BY_CODE, Kind
from gridtally_shared.records import dataclass

FUTURE_MS = 15 * 60_000
FROM_BELOW = bytes(high for high in range(256) if not high << 8 & OF_THE_MDM)
"""High octets of a quality word that a concentrator may send."""
"""A reading may be this far ahead of the cloud's clock."""


ChannelKey = tuple[int, int, int]
"""Usage point, quantity, period in seconds."""


@dataclass(frozen=True, slots=True)
class ServedMeter:
    meter_no: int
    dcu: str
    usage_point_no: int | None
    zone: str
    installed_ms: int


_m, _u, _c = meter.c, usage_point.c, channel.c
_SERVED = (select(_m.meter_no, _m.dcu, _m.usage_point_no, _u.zone, _m.installed_ms)
           .select_from(meter.outerjoin(usage_point, _m.usage_point_no == _u.usage_point_no))
           .where(_m.meter_no.in_(bindparam("numbers", expanding=True)), _m.dcu == bindparam("of_dcu")))  # fmt: skip
_CHANNELS = (select(_c.usage_point_no, _c.quantity, _c.period_s, _c.channel_no)
             .where(_c.usage_point_no.in_(bindparam("points", expanding=True))))  # fmt: skip


def served(arrival: Arrival, numbers: Iterable[int]) -> dict[int, ServedMeter]:
    """The meters among `numbers` that this DCU serves."""
    rows = arrival.conn.execute(_SERVED, {"numbers": sorted(set(numbers)), "of_dcu": arrival.dcu})
    return {r.meter_no: ServedMeter(r.meter_no, r.dcu, r.usage_point_no, r.zone or "UTC", r.installed_ms) for r in rows}


def _one(meters: dict[int, ServedMeter], meter_no: int, dcu: str) -> ServedMeter:
    if meter_no not in meters:
        raise _stranger(meter_no, dcu)
    return meters[meter_no]


def _stranger(meter_no: int, dcu: str) -> ContractError:
    return ContractError(f"meter {meter_no} is not served by {dcu}")


# ---- intervals ------------------------------------------------------------------------------------------------


def take_intervals(arrival: Arrival, message: Intervals) -> None:
    meters = served(arrival, (b.meter_no for b in message.blocks))
    channels = _channels(arrival.conn, meters)
    good: list[Unpacked] = []
    for block in message.blocks:
        try:
            known = _one(meters, block.meter_no, arrival.dcu)
            check_block(block, arrival.now_ms, known.installed_ms)
            _check_marks(block.meter_no, block.quality[1::2].translate(None, FROM_BELOW))
            good.append(unpack(_channel(arrival.conn, channels, known, block), block, known.installed_ms))
        except ContractError as error:
            poison.set_aside_entry(arrival, EntryKind.INTERVALS, encode(Intervals((block,))), str(error))
    store_blocks(arrival.conn, good, arrival.now_ms)


def _check_marks(meter_no: int, foreign: bytes | int) -> None:
    if foreign:
        raise ContractError(f"meter {meter_no}: a value is marked as edited, verified or untrustworthy, which only the MDM does")


def _channels(conn: Connection, meters: dict[int, ServedMeter]) -> dict[ChannelKey, int]:
    points = [known.usage_point_no for known in meters.values() if known.usage_point_no is not None]
    rows = conn.execute(_CHANNELS, {"points": points})
    return {(row.usage_point_no, row.quantity, row.period_s): row.channel_no for row in rows}


def _channel(conn: Connection, channels: dict[ChannelKey, int], known: ServedMeter, block: ChannelBlock) -> ChannelRef:
    """The channel of the block's usage point, made at its first value."""
    quantity = BY_CODE.get(block.quantity)
    if quantity is None or quantity.kind is not Kind.INTERVAL:
        raise ContractError(f"meter {block.meter_no}: {block.quantity} is not an interval quantity")
    if known.usage_point_no is None:
        raise ContractError(f"meter {block.meter_no} has no usage point")
    key = (known.usage_point_no, block.quantity, block.period_s)
    if key not in channels:
        row = {"usage_point_no": known.usage_point_no, "quantity": quantity.code, "unit": quantity.unit,
               "direction": "export" if "export" in quantity.name else "import", "exponent": quantity.exponent,
               "period_s": block.period_s}  # fmt: skip
        insert_new(conn, channel, [row])
        channels[key] = _channels(conn, {known.meter_no: known})[key]
    return ChannelRef(channels[key], quantity.unit, known.zone)


# ---- readings -------------------------------------------------------------------------------------------------


def take_readings(arrival: Arrival, message: Readings) -> None:
    meters = served(arrival, (v.meter_no for v in message.values))
    good: list[Value] = []
    for value in message.values:
        try:
            _check_value(meters, value, arrival)
            good.append(value)
        except ContractError as error:
            poison.set_aside_entry(arrival, EntryKind.READINGS, encode(Readings((value,))), str(error))
    _store_values(arrival.conn, good)


def _check_value(meters: dict[int, ServedMeter], value: Value, arrival: Arrival) -> None:
    _one(meters, value.meter_no, arrival.dcu)
    if value.quantity not in BY_CODE:
        raise ContractError(f"meter {value.meter_no}: unknown quantity {value.quantity}")
    _check_marks(value.meter_no, value.quality & OF_THE_MDM)
    if value.at_ms > arrival.now_ms + FUTURE_MS:
        raise ContractError(f"meter {value.meter_no}: the reading lies in the future")


def _store_values(conn: Connection, values: list[Value]) -> None:
    rows = [{"shard": SHARD, "meter_no": v.meter_no, "quantity": v.quantity, "at_ms": v.at_ms, "value": v.value,
             "quality": v.quality} for v in values]  # fmt: skip
    insert_new(conn, reading, rows)
    held = _latest(conn, {v.meter_no for v in values})
    newest = {(row["meter_no"], row["quantity"]): row for row in sorted(rows, key=lambda r: r["at_ms"])}
    upsert_all(conn, reading_latest, [row for key, row in newest.items() if row["at_ms"] >= held.get(key, 0)])


def _latest(conn: Connection, meters: set[int]) -> dict[tuple[int, int], int]:
    r = reading_latest.c
    query = select(r.meter_no, r.quantity, r.at_ms).where(r.shard == SHARD, r.meter_no.in_(sorted(meters)))
    return {(row.meter_no, row.quantity): row.at_ms for row in conn.execute(query)}


# ---- events, status, meters seen ------------------------------------------------------------------------------


def take_event(arrival: Arrival, message: Event) -> None:
    """Meter number 0 is the DCU itself. The same event again, also in a renewed stream, is one row."""
    if message.meter_no:
        _one(served(arrival, (message.meter_no,)), message.meter_no, arrival.dcu)
    e = event.c
    row: dict[str, Any] = {"shard": SHARD, "dcu": arrival.dcu, "meter_no": message.meter_no, "code": message.code,
                           "at_ms": message.at_ms, "detail": message.detail}  # fmt: skip
    known = select(e.event_no).where(*(e[name] == value for name, value in row.items()))
    if arrival.conn.execute(known).first() is None:
        arrival.conn.execute(insert(event).values(row | {"received_ms": arrival.now_ms}))
        price_notices.take_event(arrival.conn, arrival.dcu, message)


def take_status(arrival: Arrival, message: MeterStatus) -> None:
    """Keep a status unless a newer one is here. Raises ContractError for a meter of another concentrator."""
    for refusal in take_statuses(arrival, (message,)).values():
        raise refusal


def take_statuses(arrival: Arrival, messages: Sequence[MeterStatus]) -> Mapping[int, ContractError]:
    """Several at once; those of other concentrators' meters are left out, why by their place in `messages`."""
    meters = served(arrival, (message.meter_no for message in messages))
    refused = {place: _stranger(message.meter_no, arrival.dcu) for place, message in enumerate(messages) if message.meter_no not in meters}
    s = meter_status.c
    held = arrival.conn.execute(select(s.meter_no, s.at_ms).where(s.shard == SHARD, s.meter_no.in_(sorted(meters))))
    newest = {row.meter_no: row.at_ms for row in held}
    rows: dict[int, dict[str, Any]] = {}
    for message in messages:
        if message.meter_no in meters and newest.get(message.meter_no, 0) <= message.at_ms:
            newest[message.meter_no] = message.at_ms
            rows[message.meter_no] = {
                "shard": SHARD, "meter_no": message.meter_no, "at_ms": message.at_ms, "answering": message.answering,
                "switch": message.switch, "clock_offset_ms": message.clock_offset_ms, "received_ms": arrival.now_ms,
            }  # fmt: skip
    upsert_all(arrival.conn, meter_status, list(rows.values()))
    return refused


def take_seen(arrival: Arrival, message: MeterSeen) -> None:
    """A proposal for a person: this serial answers on that line."""
    row = {"dcu": arrival.dcu, "serial": message.serial, "line": message.line, "driver": message.driver,
           "address": message.address, "last_seen_ms": message.at_ms}  # fmt: skip
    insert_new(arrival.conn, meter_seen, [row | {"first_seen_ms": message.at_ms, "state": "proposed"}])
    s = meter_seen.c
    where = and_(s.dcu == arrival.dcu, s.serial == message.serial, s.last_seen_ms < message.at_ms)
    arrival.conn.execute(update(meter_seen).where(where).values(row))
    topology.take_seen(arrival, message)
