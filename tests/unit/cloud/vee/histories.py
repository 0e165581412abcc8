"""Random histories of a small street with everything wrong that may be, taken in and judged in several turns: both ways of judging have to
leave the same store.

What may come, by table: `KINDS` of channels, `FAULTS` of intervals (with those of support/vee_days.py), `REGISTERS` that lie, `BESIDE` the
channel, `LATER` between two turns. Zones change their clocks within, periods are 5 to 60 minutes, days are missing wholly or in part.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from gridtally_cloud.billing.tables import bill
from gridtally_cloud.customers.tables import app_user
from gridtally_cloud.store.close import GRACE_MS, close_days, close_silent_day
from gridtally_cloud.store.days import date_of, midnight_ms
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.tables import channel, event, meter, reading, usage_point
from gridtally_cloud.store.totals import DaySum, save_days
from gridtally_cloud.vee.edit import Asked, Reason, make
from gridtally_cloud.vee.held import REGISTER_OF
from gridtally_cloud.vee.run import status_of
from gridtally_cloud.vee.said import TOLD
from gridtally_cloud.vee.tables import vee_point, vee_rule_set
from gridtally_cloud.vee.tools import Tool
from gridtally_native import encode_block
from gridtally_shared.contract.messages import ChannelBlock
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from support.cloud_store import DCU, Street, new_street
from support.vee_days import FAULTS as OF_INTERVALS
from support.vee_days import ZONES, Columns, clean

METERS, DAYS = 3, 6
FIRST_DAYS = (20_387, 20_477, 20_508, 20_537, 20_751)
"""The changes of clocks and the end of a month lie within the days that follow."""
FLAGS = (*(Quality(1 << bit) for bit in range(14)), Quality.POWER_FAIL | Quality.PARTIAL)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class House:
    """A channel and its use; its numbers are those of its meter and usage point."""

    no: int
    zone: str
    first_day: int
    quantity: int
    direction: str
    unit: str
    use: Columns

    @property
    def ref(self) -> ChannelRef:
        return ChannelRef(self.no, self.unit, self.zone)

    def span(self, day: int) -> slice:
        """The intervals of the `day`th day."""
        return slice(self.use.ends[day - 1] if day else 0, self.use.ends[day])


@dataclass(slots=True)
class History:
    street: Street
    rng: random.Random
    first_day: int
    houses: list[House]

    def after(self, days: int) -> int:
        """When those days are closed whatever is missing, in every zone."""
        return max(midnight_ms(self.first_day + days, house.zone) for house in self.houses) + GRACE_MS

    def close(self, days: int) -> int:
        now_ms = self.after(days)
        while close_days(self.street.db, now_ms):
            pass
        with self.street.db.write() as conn:
            for house in self.houses:
                for day in range(days):
                    if self.rng.random() < 0.9:
                        close_silent_day(conn, self.first_day + day, house.no, now_ms)
        return now_ms


# ---- channels ---------------------------------------------------------------------------------------------------

KINDS = (
    *(("interval_import_wh", "import", "Wh"),) * 5,
    ("interval_import_wh", "net", "Wh"),
    ("interval_export_wh", "export", "Wh"),
    ("interval_apparent_vah", "import", "VAh"),
    ("interval_voltage_mv", "", "V"),
)


def _house(conn: Connection, no: int, zone: str, first_day: int, rng: random.Random) -> House:
    name, direction, unit = rng.choice(KINDS)
    use = clean(rng, zone, first_day, DAYS, rng.choice((900, 900, 900, 1800, 3600, 300)))
    house = House(no, zone, first_day, BY_NAME[name].code, direction, unit, use)
    _add_channel(conn, no, no, house.quantity, direction, unit, use.period_s)
    _fill_registers(conn, house, rng)
    for _ in range(rng.choice((0, 0, 1, 2, 12))):
        rng.choice((*OF_INTERVALS, *FAULTS))(use, rng.randrange(len(use.values)), rng)
    return house


def _add_channel(conn: Connection, number: int, point: int, quantity: int, direction: str, unit: str, period_s: int) -> None:
    conn.execute(insert(channel).values(channel_no=number, usage_point_no=point, quantity=quantity, direction=direction, unit=unit,
                                        exponent=0, period_s=period_s))  # fmt: skip


# ---- faults of intervals ------------------------------------------------------------------------------------------


def _swapped(c: Columns, i: int, rng: random.Random) -> None:
    """Two intervals of a day stand in each other's place."""
    j = min(len(c.values) - 1, i + rng.randrange(1, 20))
    c.values[i], c.values[j] = c.values[j], c.values[i]


def _hole(c: Columns, i: int, rng: random.Random) -> None:
    for place in range(i, min(len(c.values), i + rng.choice((2, 8, 9, 60)))):
        c.present[place] = 0


def _hole_at_midnight(c: Columns, _i: int, rng: random.Random) -> None:
    edge = rng.choice((0, *c.ends[:-1]))
    for place in range(max(0, edge - rng.choice((0, 1, 3))), edge + rng.choice((1, 4))):
        c.present[place] = 0


def _any_mark(c: Columns, i: int, rng: random.Random) -> None:
    c.quality[i] |= int(rng.choice(FLAGS))


def _still_over_midnight(c: Columns, _i: int, rng: random.Random) -> None:
    edge, before, after = rng.choice((0, *c.ends[:-1])), rng.randrange(0, 14), rng.randrange(1, 14)
    value = rng.choice((0, 0, 77))
    for place in range(max(0, edge - before), min(len(c.values), edge + after)):
        c.values[place] = value


def _far_too_much(c: Columns, i: int, _rng: random.Random) -> None:
    c.values[i] = 10**12


FAULTS = (_swapped, _hole, _hole_at_midnight, _any_mark, _still_over_midnight, _far_too_much)


# ---- registers ----------------------------------------------------------------------------------------------------

Reads = dict[int, int]
"""Value by time."""


def _as_counted(reads: Reads, _house: House, _rng: random.Random) -> Reads:
    return reads


def _from_there(reads: Reads, rng: random.Random, change: Callable[[int], int]) -> Reads:
    """Another value from a midnight on, or from shortly after it."""
    since = rng.choice(sorted(reads)) + rng.choice((0, 0, 420_000))
    return {at: change(value) if at >= since else value for at, value in reads.items()}


def _reset(reads: Reads, _house: House, rng: random.Random) -> Reads:
    return _from_there(reads, rng, lambda value: value % 1_000)


def _jumped(reads: Reads, _house: House, rng: random.Random) -> Reads:
    by = rng.choice((-50_000, -2, 3, 900, 10**7))
    return _from_there(reads, rng, lambda value: value + by)


def _rolled_over(reads: Reads, _house: House, _rng: random.Random) -> Reads:
    return {at: value % 20_000 for at, value in reads.items()}


def _sparse(reads: Reads, _house: House, rng: random.Random) -> Reads:
    return {at: value for at, value in reads.items() if rng.random() < 0.6}


def _beside_midnight(reads: Reads, _house: House, rng: random.Random) -> Reads:
    away = rng.choice((7, -30, 600)) * 60_000
    return {at + away: value for at, value in reads.items()}


def _often(reads: Reads, house: House, rng: random.Random) -> Reads:
    """On the grid, and some by hand between; one of them may be of another meter."""
    counted, step = min(reads.values()), house.use.period_s * 1000
    found = dict(reads)
    for i, value in enumerate(house.use.values):
        if rng.random() < 0.3:
            found.setdefault(house.use.at(i), counted)
        if rng.random() < 0.03:
            found[house.use.at(i) + rng.randrange(1, step)] = counted + rng.choice((0, value // 2, value, -4_000))
        counted += value
    return found


def _after_midnight(reads: Reads, _house: House, rng: random.Random) -> Reads:
    """Once more some minutes later, when it was reset in between."""
    since = rng.choice(sorted(reads))
    return reads | {since + 420_000: reads[since] + rng.choice((-8_000, 5, 40, 7_000))}


REGISTERS: tuple[Callable[[Reads, House, random.Random], Reads], ...] = (
    *(_as_counted,) * 4, _reset, _jumped, _rolled_over, _sparse, _beside_midnight, _often, _after_midnight)  # fmt: skip


def _fill_registers(conn: Connection, house: House, rng: random.Random) -> None:
    quantity = REGISTER_OF.get(house.quantity)
    if quantity is None or rng.random() < 0.1:
        return
    use = house.use
    reads = {use.at(end): 10_000 + sum(use.values[:end]) for end in (0, *use.ends)}
    for _ in range(rng.choice((1, 1, 2))):
        reads = rng.choice(REGISTERS)(reads, house, rng)
        if not reads:
            return
    rows = [{"shard": 0, "meter_no": house.no, "quantity": quantity, "at_ms": at, "value": value,
             "quality": rng.choice((0,) * 20 + (8,))} for at, value in reads.items()]  # fmt: skip
    conn.execute(insert(reading), rows)
    conn.execute(update(meter).where(meter.c.meter_no == house.no).values(register_step_wh=rng.choice((1, 1, 10, 500))))


# ---- beside the channel ---------------------------------------------------------------------------------------------


def _nothing(_conn: Connection, _house: House, _rng: random.Random) -> None:
    pass


def _events(conn: Connection, house: House, rng: random.Random) -> None:
    codes, use = sorted(TOLD), house.use
    near = (use.at(-200), use.at(len(use.values)))
    for _ in range(rng.choice((1, 3, 8))):
        _happens(conn, house.no, rng.choice(codes), rng.choice((rng.randrange(*near), use.at(rng.randrange(len(use.values))))))


def _outages(conn: Connection, house: House, rng: random.Random) -> None:
    """Short ones, some on both sides of a hole."""
    use = house.use
    for _ in range(rng.choice((1, 2, 3))):
        i, long = rng.randrange(2, len(use.values) - 12), rng.choice((1, 2, 4))
        for edge in (use.at(i), use.at(i + long + 1)):
            _happens(conn, house.no, EVENTS["power_failed"].code, edge + 60_000)
            _happens(conn, house.no, EVENTS["power_restored"].code, edge + rng.choice((0, 60_000, 120_000, 2_000_000)))
        for place in range(i + 1, i + 1 + long):
            use.present[place] = 0


def _happens(conn: Connection, no: int, code: int, at_ms: int) -> None:
    row = {"shard": 0, "dcu": DCU, "meter_no": no, "code": code, "at_ms": at_ms, "received_ms": at_ms}
    if conn.execute(select(event.c.event_no).where(event.c.meter_no == no, event.c.code == code, event.c.at_ms == at_ms)).first() is None:
        conn.execute(insert(event).values(row))


def _second_meter(conn: Connection, house: House, rng: random.Random) -> None:
    """It hung there before; both told something."""
    conn.execute(insert(meter).values(meter_no=100 - house.no, serial=f"B-{house.no}", dcu=DCU, usage_point_no=house.no, installed_ms=0))
    codes = [EVENTS[name].code for name in ("power_failed", "power_restored", "metrology_failed", "memory_failed", "battery_low")]
    for no in (house.no, 100 - house.no) * 3:
        _happens(conn, no, rng.choice(codes), house.use.at(rng.randrange(40)) + rng.choice((0, 1000, 2000)))


def _other_channels(conn: Connection, house: House, rng: random.Random) -> None:
    """Reactive and apparent energy, some of another period, some with holes."""
    use, scale = house.use, [rng.choice((0, 30, 30, 200)) for _ in range(DAYS)]
    day_of = [day for day in range(DAYS) for _ in range(house.span(day).start, house.span(day).stop)]
    varh = [abs(value) * scale[day] // 100 for value, day in zip(use.values, day_of, strict=True)]
    vah = [isqrt(v * v + w * w) % 2**40 + rng.choice((0, 0, 40)) for v, w in zip(use.values, varh, strict=True)]
    for step, unit, name, values in ((10, "varh", "interval_reactive_q1_varh", varh), (20, "VAh", "interval_apparent_vah", vah)):
        code = BY_NAME[name].code
        if code == house.quantity:
            continue
        period_s = use.period_s if rng.random() < 0.8 else 3600
        _add_channel(conn, house.no + step, house.no, code, "import", unit, period_s)
        other = Columns(use.start_ms, use.period_s, use.ends, values, [0] * len(values), bytearray([1]) * len(values))
        for _ in range(rng.choice((0, 0, 1, 4))):
            rng.choice(OF_INTERVALS)(other, rng.randrange(len(values)), rng)
        if period_s == use.period_s:
            for day in range(DAYS):
                _arrives(conn, House(house.no + step, house.zone, house.first_day, code, "import", unit, other), house.span(day))
    if rng.random() < 0.7:
        save_days(conn, [DaySum(house.first_day - 3, house.no + 10, 50, 96, 96)])


def _rates_and_demand(conn: Connection, house: House, rng: random.Random) -> None:
    total = conn.execute(reading.select().where(reading.c.meter_no == house.no, reading.c.quantity == 1)).all()
    rows = [{"shard": 0, "meter_no": house.no, "quantity": BY_NAME[f"energy_import_rate{part}_wh"].code, "at_ms": row.at_ms,
             "value": row.value // 2 + rng.choice((0, 0, 900))} for row in total for part in (1, 2) if rng.random() < 0.95]  # fmt: skip
    if rows:
        conn.execute(insert(reading), rows)
    for end in house.use.ends:
        row = {"shard": 0, "meter_no": house.no, "quantity": BY_NAME["demand_max_w"].code, "at_ms": house.use.at(end) - 60_000}
        conn.execute(insert(reading).values(row | {"value": rng.choice((4_000, 4_000, 100, 90_000))}))


def _months(conn: Connection, house: House, rng: random.Random) -> None:
    daily = rng.choice((5_000, 20_000, 60_000))
    save_days(conn, [DaySum(house.first_day - i, house.no, daily if i > 25 else 20_000, rng.choice((96, 90)), 96) for i in range(1, 57)])


def _own_class(conn: Connection, house: House, rng: random.Random) -> None:
    """A rule set of its own, and a second version from a day on."""
    name, may_be_off = f"c{house.no}", ("stuck", "spike", "zero", "sum", "limit", "meter", "register", "demand")
    for version, since in ((1, 0), (2, house.first_day + rng.randrange(DAYS))):
        checks = {"stuck": {"run": rng.choice((3, 12))}, "zero": {"run": rng.choice((3, 90))},
                  "spike": {"permille": rng.choice((300, 1800))}, "sum": {"permille": rng.choice((0, 2, 100))}}  # fmt: skip
        document = {"class": name, "version": version, "from": date_of(since).isoformat(), "note": "", "estimation": {"like_days": 2},
                    "off": rng.sample(may_be_off, rng.choice((0, 1, 3))), "checks": checks}  # fmt: skip
        conn.execute(insert(vee_rule_set).values(class_name=name, version=version, from_day=since, document=json.dumps(document),
                                                 created_by="t", created_ms=0))  # fmt: skip
    _at_point(conn, house.no, class_name=name)


def _at_point(conn: Connection, no: int, **values: Any) -> None:
    conn.execute(insert(vee_point).values({"class_name": "", "changed_by": "t", "changed_ms": 0} | {"usage_point_no": no} | values))


def _check_meter(conn: Connection, house: House, _rng: random.Random) -> None:
    _at_point(conn, house.no, check_point_no=house.no % METERS + 1)


def _small_service(conn: Connection, house: House, rng: random.Random) -> None:
    conn.execute(update(usage_point).where(usage_point.c.usage_point_no == house.no).values(limit_w=rng.choice((400, 1_500, 2_000))))


def _billed(conn: Connection, house: House, rng: random.Random) -> None:
    use, first = house.use, rng.randrange(DAYS)
    facts = {"bill_no": f"B-{house.no}", "account_no": house.no, "kind": "bill", "from_ms": use.at(house.span(first).start),
             "to_ms": use.at(house.span(rng.randrange(first, DAYS)).stop)}  # fmt: skip
    conn.execute(insert(bill).values(**facts, currency="EUR", charged_nano=0, closing_nano=0, document='{"days": []}', issued_ms=0))


BESIDE: tuple[Callable[[Connection, House, random.Random], None], ...] = (
    _nothing, _nothing, _events, _outages, _second_meter, _other_channels, _rates_and_demand, _months, _own_class, _check_meter,
    _small_service, _billed)  # fmt: skip


# ---- arriving -----------------------------------------------------------------------------------------------------


def _arrives(conn: Connection, house: House, span: slice) -> None:
    use, values = house.use, [v if there else 0 for v, there in zip(house.use.values[span], house.use.present[span], strict=True)]
    if any(use.present[span]):
        packed = encode_block(array("q", values), bytes(use.present[span]))
        words = array("H", use.quality[span]).tobytes() if any(use.quality[span]) else b""
        message = ChannelBlock(house.no, house.quantity, use.at(span.start), use.period_s, len(values), packed, words)
        store_block(conn, house.ref, message, use.at(span.stop))


def begin(folder: Path, rng: random.Random) -> History:
    """A street of which nothing came yet."""
    street, first_day = new_street(folder, METERS), rng.choice(FIRST_DAYS)
    zones = rng.choice(((rng.choice(ZONES),) * METERS, rng.choices(ZONES, k=METERS)))
    with street.db.write() as conn:
        conn.execute(insert(app_user).values(login="asha", name="asha", role="operations", password_hash="", created_ms=0))
        houses = []
        for no, zone in zip(street.meters, zones, strict=True):
            conn.execute(update(usage_point).where(usage_point.c.usage_point_no == no).values(zone=zone))
            houses.append(_house(conn, no, zone, first_day, rng))
        for house in houses:
            for beside in dict.fromkeys(rng.sample(BESIDE, 2)):
                if not (beside is _check_meter and rng.random() < 0.5):
                    _once(conn, beside, house, rng)
    return History(street, rng, first_day, houses)


def _once(conn: Connection, beside: Callable[[Connection, House, random.Random], None], house: House, rng: random.Random) -> None:
    known = conn.execute(select(vee_point.c.usage_point_no).where(vee_point.c.usage_point_no == house.no)).first()
    if not (known and beside in (_own_class, _check_meter)):
        beside(conn, house, rng)


def take(history: History, days: range) -> None:
    """What came of some days: some of it in parts, some not at all."""
    rng = history.rng
    with history.street.db.write() as conn:
        for house in history.houses:
            for day in days:
                span, way = house.span(day), rng.random()
                if way < 0.08:
                    continue
                middle = rng.randrange(span.start + 1, span.stop) if way < 0.3 else span.stop
                _arrives(conn, house, slice(span.start, middle))
                if middle < span.stop and rng.random() < 0.7:
                    _arrives(conn, house, slice(middle, span.stop))


# ---- between two turns ----------------------------------------------------------------------------------------------


def _late(conn: Connection, house: House, known: range, rng: random.Random) -> None:
    """What was missing comes, or something else than came before."""
    span = house.span(rng.choice(known))
    first = rng.randrange(span.start, span.stop)
    part = slice(first, min(span.stop, first + rng.choice((1, 5, 200))))
    n, shift = part.stop - part.start, rng.choice((0, 0, 1, 700))
    use = house.use
    values = [value + shift for value in use.values[part]]
    packed = encode_block(array("q", values), None)
    store_block(conn, house.ref, ChannelBlock(house.no, house.quantity, use.at(first), use.period_s, n, packed, b""), use.at(part.stop))


def _edited(conn: Connection, house: House, known: range, rng: random.Random) -> None:
    day = rng.choice(known)
    span, period_ms = house.span(day), house.use.period_s * 1000
    if status_of(conn, house.first_day + day, house.no) in ("raw", "pending"):
        return
    first = rng.randrange(span.start, span.stop)
    after = min(span.stop, first + rng.choice((1, 6)))
    tool, argument = rng.choice(((Tool.SET, "5"), (Tool.UNTRUST, ""), (Tool.SPREAD, "1000")))
    start_ms = house.use.at(first)
    with suppress(ConfigError, RefusedCommand):  # no value to be marked, or the end of the last hour lies in a day that is open
        make(conn, Asked(house.no, start_ms, start_ms + (after - first) * period_ms, tool, argument, Reason.SITE_VISIT, "asha"), 1)


def _class_changed(conn: Connection, house: House, _known: range, rng: random.Random) -> None:
    conn.execute(update(vee_point).where(vee_point.c.usage_point_no == house.no).values(class_name=rng.choice(("", "nobody", "c1", "c2"))))


def _service_changed(conn: Connection, house: House, _known: range, rng: random.Random) -> None:
    _small_service(conn, house, rng)


LATER: tuple[Callable[[Connection, House, range, random.Random], None], ...] = (_late, _late, _edited, _class_changed, _service_changed)


def happen(history: History, known: range) -> None:
    """Some of it happens to some houses."""
    with history.street.db.write() as conn:
        for house in history.houses:
            if history.rng.random() < 0.6:
                history.rng.choice(LATER)(conn, house, known, history.rng)
