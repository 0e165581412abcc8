"""What the simulation found where the MDM runs a home: a clock that was ahead at the hand-over, emergency credit that goes along, and
protections that its concentrator knows nothing of."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from gridtally_cloud.commands import service as commands
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay import control, managed_run, policies
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.store.tables import command
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.money import nano
from gridtally_shared.prepay.facts import OffReason
from support.managed_street import LOCAL, REMOTE, ManagedStreet, Snapshot
from support.payday import DAY_MS, DCU, HOUR_MS, SIGNER

TARIFF = '{"kind": "flat", "currency": "INR", "energy_per_kwh": "10", "fixed_per_day": "2", "tax_percent": "0"}'
CARE = {
    "kind": "policy", "code": "care", "currency": "INR", "zero_action": "disconnect", "low": {"money": ["10"]},
    "emergency": {"limit": "20", "threshold": "5", "auto": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ManagedStreet, Snapshot]]:
    street = ManagedStreet(tmp_path_factory.mktemp("found"), Plan(DCU, postpaid=1, tariff=TARIFF))
    with street.db.write() as conn:
        policies.add_policy(conn, street.now_ms, json.dumps(CARE), street.now_ms, "asha")
        for home in (LOCAL, REMOTE):
            policies.follow(conn, street.no(home), "care", street.now_ms, "asha")
    street.begin(zero_action="disconnect", notice_lead_s=0, protected_hours="")
    street.quarter()
    street.pay_both("100")
    yield street, street.snapshot()
    street.close()


@pytest.fixture
def street(paid: tuple[ManagedStreet, Snapshot]) -> ManagedStreet:
    paid[0].go_back(paid[1])
    return paid[0]


def hand_over(street: ManagedStreet, home: int, by: Managed) -> None:
    with street.db.write() as conn:
        manage(conn, SIGNER, street.no(home), by, street.now_ms, "asha")
    street.configure()
    street.greet()
    street.carry_down()
    street.settle()


def pools(street: ManagedStreet, home: int) -> dict[int, int]:
    with street.db.read() as conn:
        account = account_of(conn, street.no(home))
        return dict(load(conn, account.account_no, account.account_epoch).state.pools)


def charged(street: ManagedStreet, home: int) -> int:
    return pools(street, home).get(Pool.ENERGY, 0)


def test_taken_over_from_a_box_whose_clock_was_ahead_it_is_charged_at_once_and_goes_on(street: ManagedStreet) -> None:
    """The last register of the epoch before stands a day ahead: nothing waits for that time, and no day is charged before it began."""
    street.use(100)
    meter = street.homes[LOCAL]
    street.now_ms += DAY_MS
    street.tell(p.MeterRead(meter.meter_no, meter.serial, street.now_ms, street.registers[LOCAL], switch=street.switches[LOCAL]))
    street.sync()
    street.now_ms -= DAY_MS
    hand_over(street, LOCAL, Managed.CLOUD)
    street.quarter(1_000)
    street.quarter(1_000)
    assert charged(street, LOCAL) >= nano("10")
    for _ in range(3):
        street.quarter(10, DAY_MS)
    with street.db.read() as conn:
        account = account_of(conn, street.no(LOCAL))
        assert not load(conn, account.account_no, account.account_epoch).stopped
        assert [m.text for m in reconcile(conn, street.no(LOCAL))] == []


@pytest.mark.parametrize(("home", "by"), [(LOCAL, Managed.CLOUD), (REMOTE, Managed.EDGE)])
def test_emergency_credit_that_is_in_use_goes_along_and_is_not_granted_twice(street: ManagedStreet, home: int, by: Managed) -> None:
    street.quarter(9_000)
    street.quarter(2_300)
    before = pools(street, home)
    in_use = before[Pool.EMERGENCY]
    assert nano("-20") < in_use < 0
    hand_over(street, home, by)
    assert pools(street, home)[Pool.EMERGENCY] == in_use
    street.quarter(100)
    street.quarter(800)
    after = pools(street, home)
    assert after[Pool.EMERGENCY] == nano("-20")
    assert nano("-5") < after[Pool.PAID] < 0
    assert any(" by T11" in said for said in street.story(home)), "what it may have is used up"


def test_a_home_that_is_protected_is_not_switched_off_by_the_desk(street: ManagedStreet) -> None:
    """Its concentrator knows nothing of the protection, so the MDM refuses; for safety it may be ordered."""
    meter_no = street.homes[REMOTE].meter_no
    with street.db.write() as conn:
        control.order(conn, SIGNER, street.no(REMOTE), d.ProtectOrder("medical"), street.now_ms, "asha")
        with pytest.raises(RefusedCommand) as refused:
            commands.issue(conn, SIGNER, CommandRequest(meter_no, CommandType.SWITCH_OPEN, "staff:dora", "nonpayment"), street.now_ms)
        assert refused.value.reason == Reason.PROTECTED
        safe = CommandRequest(meter_no, CommandType.SWITCH_OPEN, "staff:dora", "safety")
        assert commands.issue(conn, SIGNER, safe, street.now_ms).state is CommandState.QUEUED


@pytest.mark.parametrize(("kind", "reason"), [(CommandType.SWITCH_CLOSE, "safety"), (CommandType.SWITCH_OPEN, "regulator")])
def test_an_order_for_later_is_taken_back_by_a_hold_that_comes(street: ManagedStreet, kind: CommandType, reason: str) -> None:
    meter_no, later_ms = street.homes[REMOTE].meter_no, street.now_ms + HOUR_MS
    with street.db.write() as conn:
        request = CommandRequest(meter_no, kind, "staff:dora", "works", not_before_ms=later_ms)
        issued = commands.issue(conn, SIGNER, request, street.now_ms)
    street.carry_commands()
    with street.db.write() as conn:
        control.order(conn, SIGNER, street.no(REMOTE), d.HoldOrder(reason), street.now_ms, "asha")
    managed_run.run(street.db, SIGNER, street.now_ms)
    street.settle()
    with street.db.read() as conn:
        state = conn.execute(select(command.c.state).where(command.c.cmd_id == issued.cmd_id)).scalar_one()
    assert state == int(CommandState.CANCELLED)


def test_who_is_cut_by_the_desk_while_a_cut_for_money_is_on_its_way_is_not_switched_on_by_a_payment(street: ManagedStreet) -> None:
    """Ours gets lost; the meter says that it is off before the desk's receipt is here, and it looked as if ours had done it."""
    street.quarter(9_700)
    street.wait(HOUR_MS)
    street.use(2_500, REMOTE)
    street.observe(REMOTE)
    street.manage_on()
    (ours,) = street.hand_over()
    with street.db.write() as conn:
        desk = CommandRequest(street.homes[REMOTE].meter_no, CommandType.SWITCH_OPEN, "staff:dora", "safety")
        commands.issue(conn, SIGNER, desk, street.now_ms)
    street.tell(p.CommandArrived(next(envelope for envelope in street.hand_over() if envelope != ours)))
    assert street.switches[REMOTE] is SwitchState.OPEN
    for _ in range(3):
        street.wait(HOUR_MS)
        street.observe(REMOTE)
        street.manage_on()
    assert street.supply().off_reason == OffReason.BALANCE
    street.sync()
    street.pay("200", street.no(REMOTE))
    street.reissue()
    assert street.supply().off_reason == OffReason.ORDER
    assert street.switches[REMOTE] is SwitchState.OPEN
