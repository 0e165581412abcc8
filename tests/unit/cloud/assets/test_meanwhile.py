"""Configurations while others write, on PostgreSQL: one version a content, of one instant, and no change is left out for good.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text, update

from gridtally_cloud.assets.config_publisher import publish, publish_changes
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay.handover_tables import account_swap
from gridtally_cloud.store.tables import config_version, meter, outbox_down
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import DcuConfig
from gridtally_shared.signing import KeySigner, verify1
from support.cloud_store import START_MS, Street, new_street
from support.meanwhile import meanwhile
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

SIGNER = KeySigner.from_seed(b"\x05" * 32)


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


def _publish(street: Street, conn: Connection) -> int:
    return publish(conn, SIGNER, street.dcu, START_MS)


def _in_force(street: Street) -> DcuConfig:
    with street.db.read() as conn:
        query = select(outbox_down.c.payload).where(outbox_down.c.channel == "config", outbox_down.c.done_ms.is_(None))
        return decode(DcuConfig, verify1({SIGNER.key_id: SIGNER.public}, "config", conn.execute(query).scalar_one()))


def test_two_who_publish_the_same_make_one_version(street: Street) -> None:
    assert meanwhile(street.db, lambda conn: _publish(street, conn), lambda conn: _publish(street, conn)).result() == 0
    with street.db.read() as conn:
        assert conn.execute(select(config_version.c.version)).scalars().all() == [1]


def test_a_change_that_is_committed_after_the_tables_were_read_is_in_the_next_version(street: Street) -> None:
    def held(conn: Connection) -> None:
        conn.execute(update(account).where(account.c.account_no == 1).values(holds="medical"))

    meanwhile(street.db, held, lambda conn: _publish(street, conn)).result()
    assert publish_changes(street.db, SIGNER, START_MS) in ((), (street.dcu,))
    config = _in_force(street)
    assert config.accounts[0].holds == ("medical",)
    assert publish_changes(street.db, SIGNER, START_MS) == ()


def test_a_meter_that_is_changed_meanwhile_is_in_all_of_a_version_or_in_none(street: Street) -> None:
    """Else the old meter would be charged by the registers of the change, until the next version has come."""
    with street.db.write() as conn:
        conn.execute(update(account).where(account.c.account_no == 2).values(closed_ms=START_MS))

    def swapped(conn: Connection) -> None:
        conn.execute(text("LOCK TABLE tariff_version IN ACCESS EXCLUSIVE MODE"))  # the publisher waits in the middle of its reading
        conn.execute(update(account).where(account.c.account_no == 1).values(meter_no=2))
        conn.execute(update(meter).where(meter.c.meter_no == 1).values(removed_ms=START_MS))
        row = {"account_no": 1, "kind": "meter", "closing_wh": 9000, "opening_wh": 5, "swapped_ms": START_MS, "actor": "desk"}
        conn.execute(insert(account_swap).values(row))

    assert meanwhile(street.db, swapped, lambda conn: _publish(street, conn)).result() == 1
    config = _in_force(street)
    mine = config.accounts[0]
    assert (mine.meter_no, mine.closing_wh, mine.opening_wh, [m.meter_no for m in config.meters]) == (2, 9000, 5, [2, 3])
