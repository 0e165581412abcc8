"""A street file becomes customers, meters, accounts and logins; the commands around it."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.billing import cli as billing_cli
from gridtally_cloud.customers import accounts, cli, seed, service
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.customers.model import LoginOutcome, Mode, Policy, Role
from gridtally_cloud.customers.street_file import read_street
from gridtally_cloud.prepay import cli as prepay_cli
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import payment
from gridtally_cloud.store.tables import meter
from gridtally_edge.simulators.street import load_street
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, GridtallyError, RefusedCommand
from gridtally_shared.money import nano
from gridtally_shared.pins import pin_matches
from gridtally_shared.signing import KeySigner
from support.stores import fresh_store

NOW = 1_793_471_400_000
PASSWORD = "correct river lantern 9"
STREET = {
    "seed": 7,
    "lines": [{"name": "dlms-1", "protocol": "dlms"}, {"name": "modbus-1", "protocol": "modbus"}],
    "meters": [
        {"line": "dlms-1", "serial": "10000001", "address": 17},
        {"line": "dlms-1", "serial": "10000002", "address": 18},
        {"line": "modbus-1", "serial": "20000001", "address": 1, "contactor": "none"},
        {"line": "modbus-1", "serial": "20000002", "address": 2, "contactor": "none"},
    ],
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    db = fresh_store(tmp_path)
    yield Desk(db, Payments(KeySigner.from_seed(b"s" * 32)), ManualClock(NOW))
    db.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "street.json"
    path.write_text(json.dumps(STREET))
    return path


def run(desk: Desk, *arguments: str) -> int:
    """The command line of the desk, as gridtally-mdm builds it."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)

    def open_desk(options: argparse.Namespace) -> AbstractContextManager[Desk]:
        return nullcontext(desk)

    for module in (cli, prepay_cli, billing_cli):
        module.add_parser(commands, open_desk)
    options = parser.parse_args(arguments)
    return int(options.run(options))


def imported(desk: Desk, file: Path, *more: str) -> int:
    return run(desk, "import-street", str(file), "--dcu", "dcu-1", "--cut", "10000001,20000001", "--postpaid", "1", *more)


def test_the_simulator_runs_from_the_same_file(file: Path) -> None:
    assert [m.serial for m in load_street(file).meters] == [m.serial for m in read_street(file)]


def test_every_meter_gets_a_customer_and_an_account(desk: Desk, file: Path) -> None:
    assert imported(desk, file, "--opening-credit", "300") == 0
    with desk.db.read() as conn:
        found = accounts.all_accounts(conn)
        drivers = conn.execute(select(meter.c.driver).order_by(meter.c.meter_no)).scalars().all()
    assert [a.meter_serial for a in found] == ["10000001", "10000002", "20000001", "20000002"]
    assert [a.mode for a in found] == [Mode.PREPAID] * 3 + [Mode.POSTPAID]
    assert [a.customer_name for a in found] == list(seed.PEOPLE[:4])
    assert drivers == ["is15959", "is15959", "eastron-sdm230", "eastron-sdm230"]
    assert {a.dcu for a in found} == {"dcu-1"}


def test_only_a_named_home_with_a_switch_may_be_cut(desk: Desk, file: Path) -> None:
    imported(desk, file)
    with desk.db.read() as conn:
        policies = [(a.policy.zero_action, a.policy.offline_cut) for a in accounts.all_accounts(conn)]
    assert policies == [("disconnect", "allowed"), ("none", "never"), ("none", "never"), ("none", "never")]


def test_the_opening_credit_is_a_payment_with_an_instrument(desk: Desk, file: Path) -> None:
    imported(desk, file, "--opening-credit", "300")
    with desk.db.read() as conn:
        assert [prepay.balance(conn, n).pending_nano for n in (1, 2, 3, 4)] == [nano("300")] * 3 + [0]
        assert prepay.reconcile(conn) == ()


def test_a_second_import_changes_nothing(desk: Desk, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported(desk, file, "--opening-credit", "300")
    with desk.db.read() as conn:
        before = (accounts.all_accounts(conn), conn.execute(select(payment)).all())
    capsys.readouterr()
    imported(desk, file, "--opening-credit", "300", "--json")
    assert [h["new"] for h in json.loads(capsys.readouterr().out)] == [False] * 4
    with desk.db.read() as conn:
        assert (accounts.all_accounts(conn), conn.execute(select(payment)).all()) == before


def test_logins_of_the_street_see_what_is_theirs(desk: Desk, file: Path, tmp_path: Path) -> None:
    logins = [
        {"login": "asha", "name": "Asha Rao", "role": "consumer", "password": PASSWORD, "serial": "10000001"},
        {"login": "desk", "name": "Front Desk", "role": "desk", "password": PASSWORD},
    ]
    (tmp_path / "logins.json").write_text(json.dumps(logins))
    for _ in range(2):
        imported(desk, file, "--users", str(tmp_path / "logins.json"))
    asha = service.authenticate(desk.db, "asha", PASSWORD, "here", NOW).user
    front = service.authenticate(desk.db, "desk", PASSWORD, "here", NOW).user
    assert asha is not None
    assert front is not None
    with desk.db.read() as conn:
        assert [a.account_no for a in accounts.list_accounts_for(conn, asha)] == [1]
        assert [accounts.may_see(conn, asha, n) for n in (1, 2, 404)] == [True, False, False]
        assert len(accounts.list_accounts_for(conn, front)) == 4
        assert accounts.may_see(conn, front, 2)


def test_pins_and_languages_of_a_plan(desk: Desk, file: Path) -> None:
    asha = seed.SeedUser("asha", "Asha", Role.CONSUMER, PASSWORD, "10000001", display_pin="2468")
    plan = seed.Plan("dcu-1", languages=("en", "hi"), users=(asha,))
    seed.seed_street(desk.db, desk.payments, read_street(file), plan, NOW)
    with desk.db.read() as conn:
        found = accounts.all_accounts(conn)
    assert pin_matches("2468", found[0].pin_hash)
    assert found[1].pin_hash == ""
    assert [a.language for a in found] == ["en", "hi", "en", "hi"]


BROKEN = (
    ('{"lines": []}', "meters"), ("[]", "street"), ("{", "street"), ('{"lines": [{"name": "a"}], "meters": []}', "protocol"),
    ('{"lines": [], "meters": [{"line": "a", "serial": "1"}]}', "meters.line"),
)  # fmt: skip


@pytest.mark.parametrize(("content", "named"), BROKEN)
def test_a_street_file_that_is_wrong_says_where(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "street.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=named):
        read_street(path)
    with pytest.raises(ConfigError, match="readable"):
        read_street(tmp_path / "nowhere.json")


def test_the_desk_finds_accounts(desk: Desk, file: Path) -> None:
    imported(desk, file)
    with desk.db.read() as conn:
        for text, expected in (("asha", [1]), ("20000", [3, 4]), ("2 acacia", [2]), ("%", []), ("_", []), ("4", [4])):
            assert [a.account_no for a in accounts.find_accounts(conn, text)] == expected, text


def test_a_meter_serves_one_open_account(desk: Desk, file: Path) -> None:
    imported(desk, file)
    with desk.db.write() as conn:
        known = accounts.account(conn, 1)
        again = accounts.NewAccount(known.customer_no, known.usage_point_no, known.meter_no, Mode.PREPAID, "home", "INR",
                                    known.zone, "en", "", NOW)  # fmt: skip
        with pytest.raises(RefusedCommand, match="account 1"):
            accounts.open_account(conn, again, "test")


def test_a_policy_that_means_nothing_is_refused(desk: Desk, file: Path) -> None:
    imported(desk, file)
    with desk.db.write() as conn:
        with pytest.raises(RefusedCommand, match="zero_action"):
            accounts.set_policy(conn, 1, Policy(zero_action="explode"), NOW, "test")
        changed = accounts.set_policy(conn, 1, Policy(protected_hours=("22:00-06:00", "12:00-13:00"), holds=("medical",)), NOW, "x")
    assert changed.policy.protected_hours == ("22:00-06:00", "12:00-13:00")
    assert changed.policy.holds == ("medical",)


def test_user_commands(desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\nviolet-kettle-orbit\n"))
    assert run(desk, "user", "add", "ravi", "--role", "operations", "--password-stdin") == 0
    assert service.authenticate(desk.db, "ravi", PASSWORD, "x", NOW).outcome is LoginOutcome.OK
    assert run(desk, "user", "password", "ravi", "--password-stdin") == 0
    changed = service.authenticate(desk.db, "ravi", "violet-kettle-orbit", "x", NOW).user
    assert changed is not None
    assert changed.must_change
    assert run(desk, "user", "disable", "ravi") == 0
    capsys.readouterr()
    run(desk, "user", "list", "--json")
    assert json.loads(capsys.readouterr().out) == [
        {"login": "ravi", "name": "ravi", "role": Role.OPERATIONS.value, "active": False, "customer_no": None}
    ]


def test_credit_and_ledger_commands(desk: Desk, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported(desk, file)
    capsys.readouterr()
    assert run(desk, "credit", "1", "250.00", "--receipt", "A-1") == 0
    assert "₹ 250.00 for account 1, receipt A-1" in capsys.readouterr().out
    run(desk, "credit", "1", "250.00", "--receipt", "A-1", "--json")
    assert json.loads(capsys.readouterr().out) == {"payment_no": 1, "receipt": "A-1", "amount": "250", "gseq": 1}
    assert run(desk, "ledger") == 0
    assert "all books agree" in capsys.readouterr().out


WRONG = (
    (("credit", "404", "250"), "no account 404"), (("credit", "1", "2,50"), "amount"), (("credit", "1", "1"), "smallest"),
    (("bill", "404"), "no account 404"), (("bill", "1", "--month", "November"), "--month"),
    (("bill", "1", "--from", "2026-11-01"), "--to"), (("bill", "1", "--month", "2026-11"), "not over"),
    (("user", "disable", "nobody"), "no login"),
)  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[" ".join(w[0]) for w in WRONG])
def test_a_command_that_can_not_be_done_says_why(desk: Desk, file: Path, arguments: tuple[str, ...], said: str) -> None:
    imported(desk, file)
    with pytest.raises(GridtallyError, match=said):
        run(desk, *arguments)
