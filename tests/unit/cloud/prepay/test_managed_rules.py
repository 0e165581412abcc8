"""Accounts the MDM runs under a policy of the operator's: emergency credit, debts, waiting charges and the daily charge are those of a
concentrator, to the nano and message for message (safety.md 17)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy import event as sqlalchemy_event

from gridtally_cloud.billing import receivables
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.ingest.measurements import take_status
from gridtally_cloud.prepay import arrears, control, managed_cli, managed_run, policies
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.managed_due import REST_MS, Rounds
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.time_left import time_left_of
from gridtally_cloud.prepay.wallet import ledger_state
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import MeterStatus
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.evidence import MessageEvidence, evidence_of
from gridtally_shared.money import nano
from gridtally_shared.prepay.facts import OffReason
from support.managed_street import LOCAL, QUARTER_MS, REMOTE, ManagedStreet, Snapshot
from support.payday import DAY_MS, DCU, HOUR_MS, SIGNER

TARIFF = {
    "kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
    "versions": [{"from": "2020-01-01", "items": [
        {"kind": "energy", "code": "energy", "rates": [{"slabs": [{"price": "10"}]}]},
        {"kind": "fixed", "code": "fixed", "price": "31"}]}],
}  # fmt: skip
POLICY = {
    "kind": "policy", "code": "ours", "name": "Ours", "currency": "INR", "zero_action": "disconnect", "low": {"money": ["50"]},
    "notice": {"min_count": 1}, "emergency": {"limit": "20", "threshold": "10", "uses_per_topup": 1},
    "debts": [{"kind": "payment", "period": "day", "percent": "25", "cap_per_period": "500"},
              {"kind": "time", "period": "day", "rate": "3"}],
    "fixed": {"cut": False}, "restore": {"min_balance": "1"}, "languages": ["en"],
}  # fmt: skip


def ruled(folder: Path, policy: dict[str, object]) -> ManagedStreet:
    street = ManagedStreet(folder, Plan(DCU, postpaid=1, tariff=json.dumps(TARIFF)))
    with street.db.write() as conn:
        policies.add_policy(conn, street.now_ms, json.dumps(policy), street.now_ms, "asha")
        for home in (LOCAL, REMOTE):
            policies.follow(conn, street.no(home), "ours", street.now_ms, "asha")
    street.begin(zero_action="none", notice_lead_s=0, protected_hours="")
    street.quarter()
    return street


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ManagedStreet, Snapshot]]:
    """Both homes have paid 100 and owe an old bill."""
    street = ruled(tmp_path_factory.mktemp("paid"), POLICY)
    street.pay_both("100")
    with street.db.write() as conn:
        for home in (LOCAL, REMOTE):
            for by, amount in (("payment", "60"), ("time", "7")):
                control.order(conn, SIGNER, street.no(home), d.DebtTaken(by, "old bill"), street.now_ms, "asha", nano(amount))
    street.carry_down()
    street.settle()
    yield street, street.snapshot()
    street.close()


@pytest.fixture
def street(paid: tuple[ManagedStreet, Snapshot]) -> ManagedStreet:
    street, moment = paid
    street.go_back(moment)
    return street


def pools(street: ManagedStreet, home: int) -> dict[int, int]:
    with street.db.read() as conn:
        account = account_of(conn, street.no(home))
        state = ledger_state(conn, account.account_no, account.account_epoch)
    assert state is not None
    return {pool: amount for pool, amount in state.pools.items() if amount}


def same(street: ManagedStreet) -> list[str]:
    """The story of both homes, and their money, are the same; and no check of the books finds a fault."""
    with street.db.read() as conn:
        assert [m.text for home in (LOCAL, REMOTE) for m in reconcile(conn, street.no(home))] == []
    assert street.story(REMOTE) == street.story(LOCAL)
    assert pools(street, REMOTE) == pools(street, LOCAL)
    return street.story(REMOTE)


def test_debts_emergency_credit_and_the_cut_after_it_are_the_same_in_both_modes(street: ManagedStreet) -> None:
    """A quarter of each payment and 3 a day go to the debts; the emergency credit is offered, taken up, used, and the supply cut; a
    payment pays it back first and closes."""
    street.quarter(9_000)
    street.tell(p.EmergencyAccepted(street.no(LOCAL)))
    street.sync()
    with street.db.write() as conn:
        assert managed_run.accept_emergency(conn, SIGNER, street.no(REMOTE), street.now_ms)
    assert same(street)[-2:] == ["EC_OFFER", "EC_ON"]
    street.quarter(1_500)
    assert pools(street, REMOTE)[Pool.EMERGENCY] < 0
    street.quarter(3_000)
    assert same(street)[-3:] == ["cut by T11: all hold", "open done", "CUT"]
    street.wait(DAY_MS)
    street.sweep()
    street.settle()
    street.pay_both("150")
    assert same(street)[-3:] == ["restore by T16: all hold", "close done", "ON"]
    assert set(street.switches.values()) == {SwitchState.CLOSED}


@pytest.mark.covers("BYPL-1.4")
def test_each_account_has_one_charge_a_day_and_a_second_run_posts_nothing(tmp_path: Path) -> None:
    """Three days, read once a day: in each prepaid journal, whoever runs it, one charge a day of kWh x tariff."""
    street = ruled(tmp_path, POLICY)
    street.pay_both("5000")
    day_wh = (7_000, 12_500, 1_234)
    for wh in day_wh:
        street.quarter(wh, DAY_MS)
        assert street.manage_on() == 0, "a second run posts nothing"
        street.sweep()
        street.settle()
    for home in (LOCAL, REMOTE):
        charged = [sum(post.amount_nano for post in e.postings if post.pool == Pool.ENERGY)
                   for e in street.journal(home) if e.kind == Kind.ENERGY]  # fmt: skip
        assert charged == [wh * nano("10") // 1_000 for wh in day_wh]
    assert pools(street, REMOTE) == pools(street, LOCAL)
    street.close()


def test_a_payment_reaches_a_home_that_its_lost_store_does_not_know_to_be_cut(street: ManagedStreet) -> None:
    """The MDM is put back from a copy of before the cut. It cuts nobody until its concentrator and the meter have spoken; the open switch
    counts as opened by money, and the payment closes it."""
    street.quarter(7_000)
    backup = street.snapshot()
    street.quarter(4_000, HOUR_MS)
    assert street.switches[REMOTE] is SwitchState.OPEN
    street.put_back(backup)
    street.manage_on()
    assert street.commands() == []
    street.wait(QUARTER_MS)
    street.greet()
    street.observe(REMOTE)
    street.settle()
    assert street.supply().off_reason == OffReason.BALANCE
    street.pay("200", street.no(REMOTE))
    street.reissue()
    assert street.switches[REMOTE] is SwitchState.CLOSED


def test_a_cut_its_concentrator_made_before_it_heard_of_the_change_comes_back_by_a_payment(street: ManagedStreet) -> None:
    """The change is made, the concentrator does not know yet, goes on by itself and cuts; what it writes of its epoch is set aside. The
    home is known to be off by money."""
    street.quarter(7_000)
    with street.db.write() as conn:
        manage(conn, SIGNER, street.no(LOCAL), Managed.CLOUD, street.now_ms, "asha")
    street.wait(HOUR_MS)
    street.use(4_000, LOCAL)
    street.observe(LOCAL)
    assert street.switches[LOCAL] is SwitchState.OPEN
    street.configure()
    street.observe(LOCAL)
    street.settle()
    street.wait(1_000)
    street.observe(LOCAL)
    street.settle()
    assert street.supply(LOCAL).off_reason == OffReason.BALANCE
    street.pay("200", street.no(LOCAL))
    street.reissue()
    assert street.switches[LOCAL] is SwitchState.CLOSED


def test_a_switch_nobody_ordered_open_is_left_alone(street: ManagedStreet) -> None:
    street.wait(8 * DAY_MS)
    street.sweep()
    street.settle()
    with street.db.write() as conn:
        meter = street.homes[REMOTE].meter_no
        take_status(street.arrival(conn), MeterStatus(meter, street.now_ms + 1, True, SwitchState.OPEN.value))
    street.pay("200", street.no(REMOTE))
    street.settle()
    assert street.supply().off_reason == OffReason.UNORDERED
    assert street.ordered == []


def test_a_close_only_arms_where_presence_is_asked_for(tmp_path: Path) -> None:
    street = ruled(tmp_path, POLICY | {"restore": {"min_balance": "1", "close": "arm"}})
    street.pay_both("100")
    street.quarter(7_000)
    street.quarter(4_000)
    street.wait(HOUR_MS)
    street.pay_both("200")
    assert set(street.switches.values()) == {SwitchState.ARMED}
    assert same(street)[-1] == "ARMED"
    street.close()


STEPS = {"limit": {"at_zero": 1, "steps": [{"code": "lifeline", "watts": 300}]}}
LEAN = POLICY | STEPS | {"code": "lean", "zero_action": "limit"}
LIMITING = {
    "at zero": {"zero_action": "limit"},
    "after a request": {"zero_action": "replenish", "then": "limit"},
    "in emergency": {"emergency": {"limit": "20", "step": 1}},
}


def quarter_after(at_ms: int) -> int:
    return at_ms + QUARTER_MS - at_ms % QUARTER_MS


@pytest.mark.parametrize("days", [0, 30])
def test_an_account_whose_rules_limit_its_load_stays_with_its_concentrator(street: ManagedStreet, days: int) -> None:
    """Also where the version that limits is still to come."""
    begins_ms = quarter_after(street.now_ms)
    with street.db.write() as conn:
        policies.add_policy(conn, begins_ms, json.dumps(LEAN | {"zero_action": "none"}), street.now_ms, "asha")
        policies.follow(conn, street.no(LOCAL), "lean", street.now_ms, "asha")
        policies.add_policy(conn, begins_ms + QUARTER_MS + days * DAY_MS, json.dumps(LEAN), street.now_ms, "asha")
        with pytest.raises(RefusedCommand, match="limit its load"):
            manage(conn, SIGNER, street.no(LOCAL), Managed.CLOUD, begins_ms + QUARTER_MS, "asha")


@pytest.mark.parametrize("how", LIMITING)
def test_one_that_is_managed_is_limited_by_no_policy(street: ManagedStreet, how: str) -> None:
    """Nobody would carry it out, so it is refused: neither followed, nor the next version of the policy that is."""
    begins_ms, document = quarter_after(street.now_ms), POLICY | STEPS | LIMITING[how]
    with street.db.write() as conn:
        policies.add_policy(conn, begins_ms, json.dumps(document | {"code": "lean"}), street.now_ms, "asha")
        with pytest.raises(RefusedCommand, match="limits the load"):
            policies.follow(conn, street.no(REMOTE), "lean", street.now_ms, "asha")
        with pytest.raises(RefusedCommand, match=rf"1 accounts managed from here \(the first is {street.no(REMOTE)}\)"):
            policies.add_policy(conn, begins_ms, json.dumps(document), street.now_ms, "asha")
        assert policies.followed(conn)[street.no(REMOTE)] == "ours"
        policies.follow(conn, street.no(LOCAL), "lean", street.now_ms, "asha")
        manage(conn, SIGNER, street.no(REMOTE), Managed.EDGE, street.now_ms, "asha")
        policies.follow(conn, street.no(REMOTE), "lean", street.now_ms, "asha")


def test_one_that_is_managed_takes_no_order_to_limit(street: ManagedStreet) -> None:
    with street.db.write() as conn:
        with pytest.raises(RefusedCommand, match="only a concentrator limits"):
            control.order(conn, SIGNER, street.no(REMOTE), d.LimitOrder(1_000), street.now_ms, "asha")
        with pytest.raises(RefusedCommand, match="only a concentrator limits"):
            arrears.tell(conn, street.no(REMOTE), 1_000, street.now_ms, "asha")
        control.order(conn, SIGNER, street.no(REMOTE), d.LimitOrder(0), street.now_ms, "asha")


def test_a_limit_for_what_is_owed_is_dropped_where_the_account_came_here_after_it_was_told(street: ManagedStreet) -> None:
    no = street.no(LOCAL)
    with street.db.write() as conn:
        receivables.post_bill(conn, account_of(conn, no), nano("500"), "B-1", street.now_ms)
        arrears.tell(conn, no, 1_000, street.now_ms, "asha", HOUR_MS)
        manage(conn, SIGNER, no, Managed.CLOUD, street.now_ms, "asha")
    street.wait(2 * HOUR_MS)
    arrears.carry_out(street.db, SIGNER, street.now_ms)
    with street.db.read() as conn:
        assert [(found.state.value, found.reason) for found in arrears.limits(conn, no)] == [("dropped", "managed")]


def test_soon_after_a_change_of_rules_the_share_of_an_hour_is_that_of_the_day(street: ManagedStreet) -> None:
    """Both homes are run from here and used up under a policy of today: one may be cut in an hour. The other waits for the hour and,
    because the rules are new, for somebody to look at them."""
    with street.db.write() as conn:
        manage(conn, SIGNER, street.no(LOCAL), Managed.CLOUD, street.now_ms, "asha")
    street.configure()
    street.carry_down()
    street.quarter(12_000)
    assert sorted(switch.name for switch in street.switches.values()) == ["CLOSED", "OPEN"]
    left = next(home for home, switch in street.switches.items() if switch is SwitchState.CLOSED)
    assert street.supply(left).decision == "held:hourly_share,breaker"
    street.quarter(100, HOUR_MS)
    assert street.supply(left).decision == "held:breaker"
    street.wait(DAY_MS)
    street.quarter()
    assert street.switches[left] is SwitchState.OPEN


def test_staff_see_where_managed_accounts_stand_and_take_up_emergency_credit(
    street: ManagedStreet, capsys: pytest.CaptureFixture[str]
) -> None:
    desk, no = Desk(street.db, street.payments, ManualClock(street.now_ms)), street.no(REMOTE)
    with pytest.raises(RefusedCommand, match="balance is not low enough"):
        managed_cli.emergency(desk, argparse.Namespace(account=no))
    with pytest.raises(RefusedCommand, match="run by its concentrator"):
        managed_cli.emergency(desk, argparse.Namespace(account=street.no(LOCAL)))
    street.quarter(9_000)
    assert managed_cli.emergency(desk, argparse.Namespace(account=no)) == 0
    assert managed_cli.show(desk, argparse.Namespace()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("the emergency credit is in use")
    assert lines[1].split() == ["account", "balance", "funds", "supply", "switch", "decision"]
    assert lines[2].split()[0] == str(no)
    assert lines[2].split()[-4:] == ["ec_in_use", "full", "closed", "-"]


# ---- time left ------------------------------------------------------------------------------------------------

HOURS = POLICY | {"low": {"money": ["5"], "hours": [24, 4]}, "emergency": {"limit": "0"}, "debts": []}


def test_time_left_warns_in_both_modes_alike_once_a_level_and_the_portal_shows_it(tmp_path: Path) -> None:
    """Two hours of 500 W are known; 100 last for less than a day, which is told once; then for less than four hours."""
    street = ruled(tmp_path, HOURS)
    street.pay_both("100")
    for _ in range(12):
        street.quarter(125)
    assert [said for said in same(street) if said == "LOW"] == ["LOW"]
    with street.db.read() as conn:
        local, remote = (time_left_of(conn, street.no(home)) for home in (LOCAL, REMOTE))
    assert local is not None
    assert remote == local
    texts = [evidence_of(e) for e in street.journal(REMOTE) if e.kind == Kind.NOTICE]
    warned = next(t for t in texts if isinstance(t, MessageEvidence) and t.code == "LOW")
    assert {q.name for q in warned.params} == {"b", "t"}
    for _ in range(3):
        street.wait(4 * HOUR_MS)
        street.settle()
    assert street.story(REMOTE).count("LOW") == 1, "a silence is not told as a new end"
    with street.db.write() as conn:
        manage(conn, SIGNER, street.no(REMOTE), Managed.EDGE, street.now_ms, "asha")
        manage(conn, SIGNER, street.no(REMOTE), Managed.CLOUD, street.now_ms, "asha")
    street.quarter(125)
    assert "LOW" not in street.story(REMOTE), "the level was told in the epoch before"
    street.close()


# ---- how often ------------------------------------------------------------------------------------------------


@contextmanager
def counted(street: ManagedStreet) -> Iterator[list[str]]:
    """The questions the store is asked meanwhile."""
    asked: list[str] = []

    def note(conn: object, cursor: object, statement: str, *rest: object) -> None:
        asked.append(statement)

    sqlalchemy_event.listen(Engine, "before_cursor_execute", note)
    yield asked
    sqlalchemy_event.remove(Engine, "before_cursor_execute", note)


def test_what_has_not_changed_is_asked_for_with_one_question_for_all(street: ManagedStreet) -> None:
    """Two accounts are run from here. At rest a round asks once; a reading, a payment or a minute has its accounts run at once."""
    with street.db.write() as conn:
        manage(conn, SIGNER, street.no(LOCAL), Managed.CLOUD, street.now_ms, "asha")
    street.configure()
    street.quarter(100)
    rounds, later = Rounds(), street.now_ms + 5_000
    managed_run.run(street.db, SIGNER, street.now_ms, rounds)
    managed_run.run(street.db, SIGNER, later, rounds)
    with counted(street) as asked:
        managed_run.run(street.db, SIGNER, later + 5_000, rounds)
    assert len([q for q in asked if q.startswith("SELECT")]) == 1
    with street.db.read() as conn:
        assert rounds.due(conn, later + 10_000) == ()
    street.wait(15_000)
    street.use(10, REMOTE)
    street.observe(REMOTE)
    with street.db.read() as conn:
        assert rounds.due(conn, street.now_ms) == (street.no(REMOTE),)
    street.pay("150", street.no(LOCAL))
    with street.db.read() as conn:
        assert rounds.due(conn, street.now_ms + 1) == (street.no(LOCAL),)
        assert set(rounds.due(conn, street.now_ms + REST_MS + 1)) == {street.no(LOCAL), street.no(REMOTE)}


def test_a_home_that_pays_is_closed_in_the_round_of_the_same_five_seconds(street: ManagedStreet) -> None:
    street.quarter(11_000)
    street.quarter(100, HOUR_MS)
    assert street.switches[REMOTE] is SwitchState.OPEN
    rounds = Rounds()
    for _ in range(3):
        street.wait(5_000)
        managed_run.run(street.db, SIGNER, street.now_ms, rounds)
    street.pay("200", street.no(REMOTE))
    street.wait(5_000)
    managed_run.run(street.db, SIGNER, street.now_ms, rounds)
    assert street.carry_commands() == 1
    assert street.switches[REMOTE] is SwitchState.CLOSED
