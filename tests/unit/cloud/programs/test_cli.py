"""What staff type: schedules and who may hold events, the order of commands, a lease taken back; wrong input is refused in words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import select

from gridtally_cloud.commands import cli as commands_cli
from gridtally_cloud.commands import priorities
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.prepay import shared_wallets, wallet_cli
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.programs import cli as programs_cli
from gridtally_cloud.programs import money
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import CommandType, InstrumentType
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.money import nano
from support.payday import Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    yield town
    town.close()


def typed(town: Payday, area: ModuleType, *words: str) -> int:
    parser = argparse.ArgumentParser()
    desk = Desk(town.db, town.payments, ManualClock(town.now_ms))
    area.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
    options = parser.parse_args(words)
    code: int = options.run(options)
    return code


def test_a_supply_is_opened_to_the_events_of_others_and_closed_again(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    number = str(town.account)
    for answer, allowed in (("yes", True), ("no", False)):
        assert typed(town, programs_cli, "schedules", "site", number, answer) == 0
        assert typed(town, programs_cli, "schedules", "show", number) == 0
        with town.db.read() as conn:
            assert money.takes_events(conn, town.account) is allowed
            assert audit_rows(conn)[0].action == "schedules.site"
        assert f"others may{'' if allowed else ' not'} hold events at account {number}" in capsys.readouterr().out
    with pytest.raises(RefusedCommand, match="unknown_account"):
        typed(town, programs_cli, "schedules", "site", "4711", "yes")


def test_the_order_of_commands_is_shown_and_changed_within_its_range(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(town, commands_cli, "priority", "message", "15") == 0
    with town.db.read() as conn:
        assert priorities.of(conn, CommandType.MESSAGE) == 15
    capsys.readouterr()
    assert typed(town, commands_cli, "priority") == 0
    assert " 15  message" in capsys.readouterr().out
    with pytest.raises(RefusedCommand, match="from 1 to 10"):
        typed(town, commands_cli, "priority", "switch-open", "50")


def test_a_lease_is_asked_back_of_an_account_that_lives_on_a_wallet(town: Payday) -> None:
    with pytest.raises(ConfigError, match="lives on no wallet"):
        typed(town, wallet_cli, "wallet", "take-back", str(town.account))
    with town.db.write() as conn:
        wallet_no = shared_wallets.open_wallet(conn, "Flats", "INR", town.now_ms, "desk", nano("0"))
        shared_wallets.join(conn, wallet_no, town.account, town.now_ms, "desk")
    assert typed(town, wallet_cli, "wallet", "take-back", str(town.account)) == 0
    with town.db.read() as conn:
        newest = select(instrument.c.type).order_by(instrument.c.gseq.desc()).limit(1)
        assert conn.execute(newest).scalar_one() == InstrumentType.LEASE_RETURN
