"""A real MDM store in a temporary folder with a small street in it: one DCU, some meters with accounts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert

from gridtally_cloud.customers.tables import account, customer, tariff_version
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import dcu, meter, usage_point
from support.stores import empty_store as empty_store
from support.stores import fresh_store

DCU = "dcu-test-1"
START_MS = 1_770_000_000_000 // 86_400_000 * 86_400_000
"""A midnight UTC."""

TARIFF = '{"kind": "flat", "currency": "EUR", "energy_per_kwh": "0.30", "fixed_per_day": "0.10", "tax_percent": "7.5"}'


@dataclass(frozen=True, slots=True)
class Street:
    db: Database
    dcu: str
    meters: tuple[int, ...]
    accounts: tuple[int, ...]


def new_street(folder: Path, meters: int = 3, zone: str = "UTC", installed_ms: int = START_MS - 86_400_000) -> Street:
    """Meters 1..n on one DCU, each with a usage point and a prepaid account of the same number."""
    db = fresh_store(folder)
    numbers = tuple(range(1, meters + 1))
    with db.write() as conn:
        conn.execute(insert(dcu).values(dcu=DCU, serial="S-1", state="enrolled", created_ms=installed_ms))
        conn.execute(insert(customer).values(customer_no=1, name="Ada Lovelace", created_ms=installed_ms))
        conn.execute(insert(tariff_version).values(tariff_id="home", version=1, from_ms=0, document=TARIFF, created_ms=0))
        for n in numbers:
            conn.execute(insert(usage_point).values(usage_point_no=n, zone=zone, created_ms=installed_ms))
            conn.execute(insert(meter).values(meter_no=n, serial=f"M-{n}", dcu=DCU, usage_point_no=n, installed_ms=installed_ms))
            conn.execute(
                insert(account).values(
                    account_no=n, customer_no=1, usage_point_no=n, meter_no=n, mode="prepaid", tariff_id="home", currency="EUR",
                    zone=zone, low_balance_nano=2_000_000_000, opened_ms=installed_ms,
                )
            )  # fmt: skip
    return Street(db, DCU, numbers, numbers)
