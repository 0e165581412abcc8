"""Terms of a supply as stored, set on the command line and published; what an edge does with them."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

import pytest

from gridtally_cloud.assets.config_publisher import build
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.prepay import terms_cli
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.terms import SupplyTerms, set_terms
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import GridtallyError, RefusedCommand
from gridtally_shared.signing import KeySigner
from support.cloud_store import DCU, START_MS, Street, new_street


@pytest.fixture
def street(tmp_path: Path) -> Street:
    return new_street(tmp_path)


def published(street: Street, account_no: int = 1) -> AccountConfig:
    with street.db.read() as conn:
        return next(a for a in build(conn, DCU, START_MS).accounts if a.account_no == account_no)


def run(street: Street, *words: str) -> int:
    desk = Desk(street.db, Payments(KeySigner.from_seed(b"t" * 32)), ManualClock(START_MS))
    parser = argparse.ArgumentParser()
    terms_cli.add_parser(parser.add_subparsers(required=True), lambda _: nullcontext(desk))
    options = parser.parse_args(["terms", *words])
    return int(options.run(options))


def test_terms_travel_in_the_configuration_and_no_one_else_s_changes(street: Street) -> None:
    before = published(street)
    assert (before.feeder, before.contract_w, before.load_class, before.flags) == ("", 0, "", ())
    with street.db.write() as conn:
        set_terms(conn, 1, SupplyTerms("north-3", 5_000, "home", ("medical_device",)), START_MS, "desk")
    after = published(street)
    assert (after.feeder, after.contract_w, after.load_class, after.flags) == ("north-3", 5_000, "home", ("medical_device",))
    assert published(street, 2).feeder == ""
    with street.db.read() as conn:
        assert audit_rows(conn, subject="account:1")[0].action == "account.terms"


def test_the_command_line_changes_what_is_named_and_lists_it(street: Street, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(street, "list") == 0
    assert run(street, "set", "1", "--contract-w", "5000", "--flag", "winter", "--flag", "medical_device") == 0
    assert run(street, "set", "1", "--feeder", "north-3", "--class", "home", "--no-flag", "winter") == 0
    assert run(street, "list") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "no account has terms; limits in percent and shares of feeders do nothing yet"
    assert said[-1] == "account      1  feeder north-3, contract 5000 W, class home, flags medical_device"
    assert published(street).flags == ("medical_device",)


@pytest.mark.parametrize("terms", [
    SupplyTerms(feeder="north;3"), SupplyTerms(contract_w=-1), SupplyTerms(contract_w=10**9), SupplyTerms(load_class="My Home"),
    SupplyTerms(flags=("a,b",)),
])  # fmt: skip
def test_what_can_be_no_such_term_is_refused(street: Street, terms: SupplyTerms) -> None:
    with street.db.write() as conn, pytest.raises(RefusedCommand):
        set_terms(conn, 1, terms, START_MS, "desk")
    assert published(street).contract_w == 0


def test_an_account_that_is_not_there_has_no_terms(street: Street) -> None:
    with street.db.write() as conn, pytest.raises(GridtallyError):
        set_terms(conn, 999, SupplyTerms(), START_MS, "desk")
