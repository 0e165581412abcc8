"""An account is handed to the MDM while its supply is off by a load trip: none is limited from here, so what a limit opened is closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.commands.receipts import reissue_overtaken
from gridtally_cloud.ingest.measurements import take_readings, take_status
from gridtally_cloud.prepay import managed_run
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.store.tables import outbox_down
from gridtally_edge.prepay import events as p
from gridtally_shared.contract.messages import MeterStatus, Readings, Value
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.prepay.standing import standing_from
from gridtally_shared.quantities import ENERGY_IMPORT
from support.dark_home import ABOVE_W, BELOW_W, LIMIT_W, DarkHome, dark_home
from support.payday import SIGNER


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DarkHome]:
    with dark_home(tmp_path) as home:
        yield home


def given_over(home: DarkHome) -> None:
    home.sync()
    with home.db.write() as conn:
        manage(conn, SIGNER, home.account, Managed.CLOUD, home.now_ms, "asha")
    home.configure()


def run(home: DarkHome, minutes: int) -> None:
    """The meter is read and the MDM runs each minute, until something is ordered."""
    meter_no = home.homes[0].meter_no
    for _ in range(minutes):
        home.minutes(1, 0)
        with home.db.write() as conn:
            take_readings(home.arrival(conn), Readings((Value(meter_no, ENERGY_IMPORT.code, home.now_ms, home.wh),)))
            take_status(home.arrival(conn), MeterStatus(meter_no, home.now_ms, True, home.switch.value))
        for _ in range(2):  # an order overtaken by the box's own number goes again
            managed_run.run(home.db, SIGNER, home.now_ms)
            with home.db.write() as conn:
                reissue_overtaken(conn, SIGNER, home.now_ms)
                o = outbox_down.c
                orders = conn.execute(select(o.payload).where(o.channel == "command", o.done_ms.is_(None)))
                envelopes = [bytes(x) for x in orders.scalars()]
            for envelope in envelopes:
                home.tell(p.CommandArrived(envelope))
            home.sync()
        if home.ordered:
            return


@pytest.mark.parametrize("locked", [False, True])
def test_a_trip_is_closed_from_here(home: DarkHome, locked: bool) -> None:
    home.limit()
    assert home.trip() == "open"
    if locked:
        home.minutes(4, 0)
        assert home.act() == "close"
        assert home.trip() == "open"
    given_over(home)
    run(home, 5)
    assert home.act() == "close"
    run(home, 5)
    home.minutes(5, ABOVE_W)
    assert home.ordered == [], "and nothing trips"


def test_the_order_to_limit_holds_again_when_the_account_is_given_back(home: DarkHome) -> None:
    home.limit()
    given_over(home)
    run(home, 1)
    with home.db.write() as conn:
        manage(conn, SIGNER, home.account, Managed.EDGE, home.now_ms, "asha")
    home.configure()
    home.carry_down()
    home.minutes(2, BELOW_W)
    (text,) = home.money.execute("SELECT standing FROM account WHERE account_no = ? AND epoch = 3", (home.account,)).fetchone()
    assert standing_from(text).limit_w == LIMIT_W
