"""The load limit for arrears as staff order it, with bills and arrangements as they are made: who keeps to his days is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.billing import arrangement_cli, service
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.prepay import arrears, arrears_cli
from gridtally_cloud.prepay.offers import HOLDS, Need
from gridtally_shared.errors import RefusedCommand
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, SIGNER, START_MS, Payday
from support.typed import typed


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """A bill of 813.75 for November, to be paid by 15 December; time stands at noon of that day."""
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    town.now_ms += 30 * DAY_MS
    town.read(2, OPENED_WH + 100_000)
    with town.db.write() as conn:
        service.issue_bill(conn, town.postpaid_account, START_MS, START_MS + 30 * DAY_MS, town.now_ms, "desk")
    at(town, 44)
    yield town
    town.close()


def at(town: Payday, day: int) -> None:
    town.now_ms = START_MS + day * DAY_MS + 12 * HOUR_MS


def limit(town: Payday, watts: str = "900", hours: str = "1", account: int = 0) -> int:
    return typed(town, arrears_cli, "arrears", "limit", str(account or town.postpaid_account), watts, "--hours", hours)


def refused(town: Payday, *given: str, account: int = 0) -> str:
    with pytest.raises(RefusedCommand) as found:
        limit(town, *given, account=account)
    return str(found.value)


def turn(town: Payday) -> tuple[str, str]:
    arrears.carry_out(town.db, SIGNER, town.now_ms)
    with town.db.read() as conn:
        newest = arrears.limits(conn, town.postpaid_account)[0]
    return newest.state.value, newest.reason


def has_no_arrears(town: Payday) -> bool:
    with town.db.read() as conn:
        return HOLDS[Need.NO_ARREARS](conn, account_of(conn, town.postpaid_account), town.now_ms)


@pytest.mark.covers_part("C3-N5")
def test_who_keeps_an_arrangement_is_not_limited_and_who_breaks_it_is(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    no = str(town.postpaid_account)
    assert "2026-12-16: order again" in refused(town)
    assert has_no_arrears(town)
    at(town, 45)
    assert not has_no_arrears(town)
    assert limit(town) == 0
    typed(town, arrangement_cli, "arrangement", "make", no, "--first", "2026-12-25", "--instalments", "3", "--note", "agreed")
    assert has_no_arrears(town)
    at(town, 46)
    assert turn(town) == ("dropped", "arranged")
    assert f"arrangement show {no}" in refused(town)
    at(town, 54)
    town.pay("271.25", town.postpaid_account)
    at(town, 85)
    assert "arranged" in refused(town), "25 January is not over"
    at(town, 86)
    capsys.readouterr()
    assert limit(town) == 0
    assert "542.50 by 2027-01-26" in capsys.readouterr().out.replace("\xa0", " ")
    at(town, 87)
    assert turn(town) == ("ordered", "")
    typed(town, arrangement_cli, "arrangement", "make", no, "--first", "2027-02-10", "--instalments", "2", "--note", "again")
    assert turn(town) == ("lifted", "arranged")
    assert typed(town, arrears_cli, "arrears", "show", no) == 0
    assert [line.split()[3:5] for line in capsys.readouterr().out.splitlines()[-2:]] == [["lifted", "arranged"], ["dropped", "arranged"]]


def test_orders_that_can_not_be_meant_are_refused_and_nothing_is_told(town: Payday) -> None:
    at(town, 45)
    for given, said in ((("99",), "bad_watts"), (("100001",), "bad_watts"), (("-5",), "bad_watts")):
        assert said in refused(town, *given)
    assert "unknown_account" in refused(town, account=4711)
    assert "nothing_owed" in refused(town, account=town.account)
    with town.db.read() as conn:
        assert arrears.limits(conn, town.postpaid_account) == ()
    assert limit(town) == 0
    assert "limited_already" in refused(town)
