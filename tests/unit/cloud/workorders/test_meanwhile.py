"""Orders for people at the same time, on PostgreSQL: one for one trouble, the first close stands, no report is swallowed by a close.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from gridtally_cloud.commands import states
from gridtally_cloud.grid.register import place_of
from gridtally_cloud.integrations import webhooks
from gridtally_cloud.integrations.webhooks import Topic
from gridtally_cloud.store.tables import command
from gridtally_cloud.workorders import no_power
from gridtally_cloud.workorders.service import OrderKind, WorkOrder, close_order, open_order, orders
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street
from support.meanwhile import beside, meanwhile
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

SIGNER = KeySigner.from_seed(b"\x05" * 32)
HOME = 1


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


def _report(conn: Connection) -> WorkOrder:
    return no_power.report(conn, SIGNER, HOME, START_MS, "consumer:ada")


def _orders(street: Street) -> list[tuple[OrderKind, bool]]:
    with street.db.read() as conn:
        return [(each.kind, each.is_open) for each in reversed(orders(conn, account_no=HOME))]


def test_two_who_say_there_is_no_power_have_one_case_and_one_test(street: Street) -> None:
    meanwhile(street.db, _report, _report).result()
    assert _orders(street) == [(OrderKind.NO_POWER, True)]
    with street.db.read() as conn:
        assert conn.execute(select(command.c.type)).scalars().all() == [CommandType.TEST_SUPPLY]


def test_who_reports_while_the_case_is_closed_gets_a_new_one(street: Street) -> None:
    """The home was dark again, and nobody would have come."""
    with street.db.write() as conn:
        case = _report(conn)
    again = meanwhile(street.db, lambda conn: close_order(conn, case.order_no, START_MS, "staff:dora"), _report).result()
    assert again.order_no != case.order_no
    assert _orders(street) == [(OrderKind.NO_POWER, False), (OrderKind.NO_POWER, True)]


def test_the_first_close_stands_with_its_report(street: Street) -> None:
    with street.db.write() as conn:
        webhooks.add(conn, "wfm", "https://wfm.example.org/in", (Topic.ORDER_CLOSED,), START_MS, "desk")
        number = open_order(conn, OrderKind.INSTALL_PREPAID, HOME, "migration 1", "no_switch", START_MS, "desk").order_no

    def close(conn: Connection, by: str, transformer: str) -> WorkOrder:
        told = {"meter_serial": "M-1", "transformer": transformer, "feeder": "F-1", "register_wh": 7}
        return close_order(conn, number, START_MS, by, result=told)

    second = meanwhile(street.db, lambda conn: close(conn, "staff:dora", "T-1"), lambda conn: close(conn, "staff:emil", "T-2"))
    with pytest.raises(RefusedCommand, match="closed by staff:dora already"):
        second.result()
    with street.db.read() as conn:
        (closed,), place = orders(conn, account_no=HOME), place_of(conn, HOME)
        assert len(webhooks.notices(conn, 1)) == 1
    assert (closed.closed_by, closed.result["transformer"], place and place.transformer) == ("staff:dora", "T-1", "T-1")


def test_the_same_trouble_seen_twice_is_ordered_once_and_ends_nobodys_transaction(street: Street) -> None:
    def seen(conn: Connection) -> int:
        return open_order(conn, OrderKind.BILL_REVIEW, HOME, "final bill 1", "final_bill", START_MS, "worker").order_no

    assert meanwhile(street.db, seen, seen).result() == 1


def test_nobody_is_sent_to_a_case_that_is_being_closed(street: Street) -> None:
    with street.db.write() as conn:
        case = _report(conn)
        states.advance(conn, conn.execute(select(command.c.cmd_id)).scalar_one(), CommandState.EXPIRED, START_MS, "worker")

    def close(conn: Connection) -> object:
        return close_order(conn, case.order_no, START_MS, "staff:dora", "the customer called: it is back")

    beside(street.db, close, lambda: no_power.judge(street.db, START_MS)).result()
    assert _orders(street) == [(OrderKind.NO_POWER, False)]
