"""A store with a street that is billed by the month: meters with quarter hours and registers, postpaid accounts, a tariff by time and slab.

Days come in as the ingest stores them (`take_intervals`, `take_readings`); closing, VEE and bills are the MDM's own jobs.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate
from pathlib import Path

from sqlalchemy import Connection, insert, update

from gridtally_cloud.billing import service
from gridtally_cloud.billing.model import BillView
from gridtally_cloud.customers.tables import account, tariff_version
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.measurements import take_intervals, take_readings
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import midnight_ms
from gridtally_cloud.store.db import Database
from gridtally_cloud.vee.run import run_pending
from gridtally_shared.contract.messages import Intervals, Readings, Value
from gridtally_shared.quantities import ENERGY_IMPORT
from support.cloud_store import Street, new_street
from support.edge_peer import block
from support.month_of_use import QUARTERS, TARIFF, ZONE, month_of

QUARTER_MS = 900_000
OPENED_WH = 1_000_000
_FIRST = (date(2026, 10, 1) - date(1970, 1, 1)).days


def at_day(day: int) -> int:
    """The instant a day of the street begins; day 0 is 1 October 2026."""
    return midnight_ms(_FIRST + day, ZONE)


@dataclass
class BilledStreet:
    """`each`: a register is read at every so many quarter hours, 96 for the midnights only. After 31 days the use begins anew."""

    folder: Path
    meters: int
    each: int = QUARTERS
    street: Street = field(init=False)

    def __post_init__(self) -> None:
        self.street = new_street(self.folder, self.meters, ZONE, at_day(0))
        self._use = {number: array("I", month_of(number)) for number in self.street.meters}
        self._registers = {number: array("I", accumulate(values, initial=0)) for number, values in self._use.items()}
        self._seq = 0
        with self.db.write() as conn:
            conn.execute(update(account).values(mode="postpaid", tariff_id="home_tou", currency="INR"))
            conn.execute(insert(tariff_version).values(tariff_id="home_tou", version=1, from_ms=0, document=json.dumps(TARIFF),
                                                       created_ms=0))  # fmt: skip
            take_readings(self._arrival(conn, 0, at_day(0)), Readings(tuple(self._register(n, 0) for n in self.street.meters)))

    @property
    def db(self) -> Database:
        return self.street.db

    def take(self, day: int, step: int = QUARTERS, together: int = 40) -> None:
        """A day of every meter, `step` quarter hours and `together` meters in a transaction, as concentrators send them; with a step of 1
        as meters bring it that are read every quarter."""
        numbers = self.street.meters
        for place in range(day * QUARTERS, (day + 1) * QUARTERS, step):
            for first in range(0, len(numbers), together):
                self._take(numbers[first : first + together], place, step)

    def _take(self, numbers: Sequence[int], place: int, count: int) -> None:
        start_ms, self._seq = at_day(0) + place * QUARTER_MS, self._seq + 1
        with self.db.write() as conn:
            arrival = self._arrival(conn, self._seq, start_ms + count * QUARTER_MS)
            take_intervals(arrival, Intervals(tuple(block(n, start_ms, self._values(n, place, count)) for n in numbers)))
            reads = [self._register(n, at) for n in numbers for at in range(place + 1, place + count + 1) if at % self.each == 0]
            take_readings(arrival, Readings(tuple(reads)))

    @property
    def own_bytes(self) -> int:
        """What the street itself holds of its meters' use."""
        return sum(column.itemsize * len(column) for table in (self._use, self._registers) for column in table.values())

    def close(self, day: int) -> None:
        """Close what can be closed when a day and its grace are over."""
        while close_days(self.db, at_day(day + 1) + GRACE_MS):
            pass

    def judge(self, day: int) -> None:
        while run_pending(self.db, at_day(day + 1) + GRACE_MS):
            pass

    def bill(self, number: int, until: int, first: int = 0) -> BillView:
        """The bill of the days [first, until), in a transaction of its own as the worker makes it."""
        with self.db.write() as conn:
            return service.issue_bill(conn, number, at_day(first), at_day(until), at_day(until) + GRACE_MS, "bench")

    def _arrival(self, conn: Connection, seq: int, now_ms: int) -> Arrival:
        return Arrival(conn, StreamKey(self.street.dcu, bytes(16), 1), seq, now_ms)

    def _values(self, number: int, place: int, count: int) -> list[int]:
        use = self._use[number]
        return [use[i % len(use)] for i in range(place, place + count)]

    def _register(self, number: int, place: int) -> Value:
        sums = self._registers[number]
        months, rest = divmod(place, len(sums) - 1)
        return Value(number, ENERGY_IMPORT.code, at_day(0) + place * QUARTER_MS, OPENED_WH + months * sums[-1] + sums[rest])
