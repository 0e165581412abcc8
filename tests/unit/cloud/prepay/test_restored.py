"""The MDM's store is put back from an older copy: no number an edge has used is issued again, no payment is credited twice."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.prepay import cli, control
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.instruments import issue_waiting
from gridtally_cloud.store.tables import command_counter
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.events import InstrumentArrived
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract import channels
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import HoldOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.money import nano
from support.payday import DCU, OPENED_WH, SIGNER, Payday
from support.stores import Kept, keep
from support.stores import put_back as back

USED_COUNTER = 500


@dataclass
class Backed(Payday):
    """`copy`: the store as it was once."""

    copy: Kept | None = None


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Backed]:
    """One credit is applied and mirrored; then comes the copy."""
    town = Backed(tmp_path)
    town.read(0, OPENED_WH)
    desk_pays(town, "1000", "r-1")
    town.round()
    town.copy = keep(town.db)
    yield town
    town.close()


def desk_pays(town: Backed, amount: str, receipt: str) -> None:
    with town.db.write() as conn:
        prepay.pay_at_desk(conn, town.payments, town.account, nano(amount), receipt, town.now_ms, "dora")


def put_back(town: Backed, say_so: bool = True) -> None:
    """What a person does: the copy in place of the store, and the word for it."""
    assert town.copy
    back(town.db, town.copy)
    town.now_ms += 60_000
    if say_so:
        parser = argparse.ArgumentParser()
        cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(Desk(town.db, town.payments, ManualClock(town.now_ms))))
        options = parser.parse_args(["restored"])
        assert options.run(options) == 0


def greet(town: Backed) -> None:
    """The hello the agent would say, a moment later."""
    town.now_ms += 1_000
    counters = (m.CounterHead(SIGNER.key_id, USED_COUNTER),)
    said = m.Hello(1, DCU, bytes(16), "0.1.0", town.now_ms, 0, 1, (), town.edge.heads(), counters)
    Ingest(town.db, SIGNER).handle(channels.BY_NAME["hello"].topic(DCU), encode(said), town.now_ms)


def work(town: Backed) -> None:
    with town.db.write() as conn:
        issue_waiting(conn, SIGNER, town.now_ms)


def numbers(town: Backed) -> list[int]:
    with town.db.read() as conn:
        return sorted(i.gseq for i in prepay.instruments(conn, town.account))


def books(town: Backed) -> list[str]:
    with town.db.read() as conn:
        return [f"{found.check}: {found.text}" for found in prepay.reconcile(conn, town.account)]


def test_money_waits_until_the_edge_has_said_and_brought_what_it_has_then_goes_above_every_number_used(town: Backed) -> None:
    """Credits 2 and 3 were lost with the store; the edge has 3, and 2 never reached it."""
    desk_pays(town, "500", "r-2")
    desk_pays(town, "250", "r-3")
    town.tell(InstrumentArrived(town.instruments()[-1]))
    put_back(town)
    assert (numbers(town), town.balance().balance_nano) == ([1], nano("1000"))
    desk_pays(town, "400", "r-4")
    work(town)
    with town.db.write() as conn, pytest.raises(RefusedCommand, match="waits_for_edge"):
        control.order(conn, SIGNER, town.account, HoldOrder("customer"), town.now_ms, "dora")
    greet(town)
    work(town)
    assert numbers(town) == [1, 2], "the journal is not here yet; number 2, which nobody used, is a test by now"
    town.carry_up()
    work(town)
    assert numbers(town) == [1, 2, 4]
    town.round()
    assert town.balance().balance_nano == nano("1650")
    with town.db.write() as conn:
        control.order(conn, SIGNER, town.account, HoldOrder("customer"), town.now_ms, "dora")
    town.round()
    assert [e.gseq for e in entries_of(town.money, town.account, 1) if e.gseq] == [1, 3, 2, 4, 5], "nothing holds the order up"
    assert books(town)[0].startswith("instrument"), "credit 3 is known from the journal only: somebody is told"


def test_a_payment_that_is_captured_again_is_tied_to_its_entry_and_credited_once(town: Backed) -> None:
    desk_pays(town, "500", "r-2")
    town.carry_down()
    put_back(town)
    greet(town)
    desk_pays(town, "500", "r-2")
    town.carry_up()
    work(town)
    town.round()
    assert [e.gseq for e in entries_of(town.money, town.account, 1) if e.kind == Kind.CREDIT] == [1, 2]
    assert (town.balance().balance_nano, town.balance().pending_nano, numbers(town)) == (nano("1500"), 0, [1, 2])
    assert books(town) == []
    desk_pays(town, "100", "r-3")
    town.round()
    assert (town.balance().balance_nano, books(town)) == (nano("1600"), [])


def test_commands_count_on_above_what_the_edge_took_even_if_nobody_said_that_the_store_is_older(town: Backed) -> None:
    desk_pays(town, "500", "r-2")
    town.carry_down()
    put_back(town, say_so=False)
    greet(town)
    with town.db.read() as conn:
        c = command_counter.c
        assert conn.execute(select(c.value).where(c.dcu == DCU, c.key_id == SIGNER.key_id)).scalar_one() == USED_COUNTER
    town.carry_up()
    desk_pays(town, "400", "r-4")
    town.round()
    assert (numbers(town), town.balance().balance_nano) == ([1, 3], nano("1900"))


def test_a_store_that_was_never_put_back_waits_for_nobody_and_keeps_its_numbers(town: Backed) -> None:
    desk_pays(town, "500", "r-2")
    greet(town)
    desk_pays(town, "200", "r-3")
    town.round()
    assert (numbers(town), books(town)) == ([1, 2, 3], [])
