"""A store with a street that is billed by the month: meters with quarter hours and registers, postpaid accounts, a tariff by time and slab.

Days come in as the ingest stores them (`take_intervals`, `take_readings`); closing, VEE and bills are the MDM's own jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
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
    """`each`: a register is read at every so many quarter hours, 96 for the midnights only."""

    folder: Path
    meters: int
    each: int = QUARTERS
    street: Street = field(init=False)

    def __post_init__(self) -> None:
        self.street = new_street(self.folder, self.meters, ZONE, at_day(0))
        self._use = {number: month_of(number) for number in self.street.meters}
        with self.db.write() as conn:
            conn.execute(update(account).values(mode="postpaid", tariff_id="home_tou", currency="INR"))
            conn.execute(insert(tariff_version).values(tariff_id="home_tou", version=1, from_ms=0, document=json.dumps(TARIFF),
                                                       created_ms=0))  # fmt: skip
            take_readings(self._arrival(conn, 0), Readings(tuple(self._value(number, 0) for number in self.street.meters)))

    @property
    def db(self) -> Database:
        return self.street.db

    def take(self, day: int) -> None:
        """A day of every meter: its quarter hours and its registers, one transaction."""
        span = slice(day * QUARTERS, (day + 1) * QUARTERS)
        with self.db.write() as conn:
            arrival = self._arrival(conn, day + 1)
            take_intervals(arrival, Intervals(tuple(block(n, at_day(day), self._use[n][span]) for n in self.street.meters)))
            take_readings(arrival, Readings(tuple(self._values(day))))

    def close(self, day: int) -> None:
        """Close what can be closed when a day and its grace are over."""
        while close_days(self.db, at_day(day + 1) + GRACE_MS):
            pass

    def judge(self, day: int) -> None:
        while run_pending(self.db, at_day(day + 1) + GRACE_MS):
            pass

    def bill(self, number: int, until: int) -> BillView:
        """The bill of the days before `until`, in a transaction of its own as the worker makes it."""
        with self.db.write() as conn:
            return service.issue_bill(conn, number, at_day(0), at_day(until), at_day(until) + GRACE_MS, "bench")

    def _arrival(self, conn: Connection, seq: int) -> Arrival:
        return Arrival(conn, StreamKey(self.street.dcu, bytes(16), 1), seq, at_day(seq))

    def _values(self, day: int) -> Iterator[Value]:
        places = range(day * QUARTERS + self.each, (day + 1) * QUARTERS + 1, self.each)
        return (self._value(number, place) for number in self.street.meters for place in places)

    def _value(self, number: int, place: int) -> Value:
        return Value(number, ENERGY_IMPORT.code, at_day(0) + place * QUARTER_MS, OPENED_WH + sum(self._use[number][:place]))
