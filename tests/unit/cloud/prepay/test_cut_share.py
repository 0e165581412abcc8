"""The share of cuts within an hour: set by staff, audited, carried to the edge, where it lets a breaker go."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.customers.tables import audit_row as audit
from gridtally_cloud.prepay import cut_share_cli
from gridtally_edge.prepay.plan import stored_plan
from gridtally_shared.errors import RefusedCommand
from support.payday import DCU, Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    yield town
    town.close()


def say(town: Payday, *words: str) -> int:
    parser = argparse.ArgumentParser()

    @contextlib.contextmanager
    def desk(_: argparse.Namespace) -> Iterator[Desk]:
        yield Desk(town.db, None, Clock(town))  # type: ignore[arg-type]

    cut_share_cli.add_parser(parser.add_subparsers(), desk)
    options = parser.parse_args(["cut-share", *words])
    return int(options.run(options))


class Clock:
    def __init__(self, town: Payday) -> None:
        self._town = town

    def now_ms(self) -> int:
        return self._town.now_ms


def test_a_share_is_set_written_down_and_reaches_the_edge(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(town) == 0
    assert capsys.readouterr().out == f" 10.0 %  {DCU}\n"
    assert say(town, DCU, "500") == 0
    assert "may cut 50.0 % of its homes an hour (before: 10.0 %)" in capsys.readouterr().out
    town.configure()
    assert stored_plan(town.money).config.cut_share_per_hour_permille == 500
    with town.db.read() as conn:
        lines = conn.execute(select(audit.c.detail).where(audit.c.action == "dcu.cut_share")).scalars().all()
    assert lines == ["100 to 500 thousandths an hour"]


@pytest.mark.parametrize(("words", "reason"), [((DCU, "0"), "bad_share"), ((DCU, "1001"), "bad_share"), (("none", "5"), "unknown_dcu")])
def test_a_share_that_makes_no_sense_is_refused(town: Payday, words: tuple[str, str], reason: str) -> None:
    with pytest.raises(RefusedCommand) as raised:
        say(town, *words)
    assert raised.value.reason == reason
