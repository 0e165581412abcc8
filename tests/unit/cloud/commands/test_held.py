"""A close of a supply that is known to be held off is refused here, in words, before anything is signed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gridtally_cloud.commands import service
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay import control
from gridtally_cloud.prepay.reissue import going_on
from gridtally_cloud.store.tables import command
from gridtally_edge.prepay.events import HoldAsked, PersonNamed
from gridtally_edge.prepay.site import Person, SiteOrder, packed, proof_of, verifier_of
from gridtally_shared.contract.messages import CommandType, InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import HoldOrder
from gridtally_shared.lifecycle import CommandState, Reason
from support.payday import DAY_MS, SIGNER, Payday

NAME, SALT = "R. Kumar 4711", b"s" * 16
ids = itertools.count(1)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, 5_000_000)
    town.round()
    town.tell(PersonNamed(b"n" * 16, packed(Person(NAME, SALT, verifier_of(proof_of("314159", SALT))))))
    yield town
    town.close()


def close(town: Payday, kind: CommandType = CommandType.SWITCH_CLOSE, later_ms: int = 0) -> CommandState:
    with town.db.write() as conn:
        meter_no = account_of(conn, town.account).meter_no
        request = CommandRequest(meter_no, kind, "staff:ana", "asked for", not_before_ms=town.now_ms + later_ms if later_ms else 0)
        return service.issue(conn, SIGNER, request, town.now_ms).state


def hold(town: Payday, reason: str, on: bool = True) -> None:
    with town.db.write() as conn:
        control.order(conn, SIGNER, town.account, HoldOrder(reason, on), town.now_ms, "desk")
    town.wait(60_000)
    town.round()


def on_site(town: Payday, reason: str, on: bool = False) -> None:
    order = SiteOrder(NAME, proof_of("314159", SALT), reason, on)
    town.tell(HoldAsked(next(ids).to_bytes(16, "big"), town.account, packed(order)))
    town.wait(60_000)
    town.round()


def refused(town: Payday) -> str:
    with pytest.raises(RefusedCommand) as raised:
        close(town)
    assert raised.value.reason == Reason.HELD
    with town.db.read() as conn:
        assert conn.execute(select(command.c.cmd_id).where(command.c.type == int(CommandType.SWITCH_CLOSE))).first() is None
    return str(raised.value)


def test_an_ordered_hold_refuses_a_close_until_it_is_lifted_where_it_was_set(town: Payday) -> None:
    hold(town, "customer")
    assert "customer: lifted where it was set" in refused(town)
    assert close(town, CommandType.READ_SWITCH) is CommandState.QUEUED
    hold(town, "customer", on=False)
    assert close(town) is CommandState.QUEUED


def test_a_safety_hold_is_refused_until_a_person_on_site_lifted_it(town: Payday) -> None:
    hold(town, "safety")
    assert "only a named person at the box lifts it" in refused(town)
    on_site(town, "safety")
    assert close(town) is CommandState.QUEUED


def test_a_hold_set_on_site_is_known_here_once_the_journal_came(town: Payday) -> None:
    on_site(town, "work", on=True)
    assert "work" in refused(town)
    on_site(town, "work")
    assert close(town) is CommandState.QUEUED


def test_a_hold_of_the_record_counts_and_one_for_later_is_left_to_the_concentrator(town: Payday) -> None:
    with town.db.write() as conn:
        conn.execute(update(account_table).where(account_table.c.account_no == town.account).values(holds="vacant,medical"))
    assert "vacant" in refused(town)
    assert close(town, later_ms=2 * DAY_MS) is CommandState.SCHEDULED
    with town.db.read() as conn:
        assert account_of(conn, town.account).policy.holds == ("vacant", "medical")


def test_at_another_concentrator_what_was_done_on_site_goes_on(town: Payday) -> None:
    hold(town, "safety")
    on_site(town, "safety")
    on_site(town, "work", on=True)
    with town.db.read() as conn:
        epoch = account_of(conn, town.account).account_epoch
        again = going_on(conn, town.account, epoch, load(conn, town.account, epoch).state)
    assert [(a.type, a.detail) for a in again if a.type is InstrumentType.HOLD] == [(InstrumentType.HOLD, HoldOrder("work"))]
