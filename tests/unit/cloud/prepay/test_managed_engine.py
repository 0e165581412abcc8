"""The engine of an account the MDM runs: the same day, the same decisions; and nobody is cut by what is not known (safety.md 17)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import func, select, update

from gridtally_cloud.commands import receipts
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.ingest.measurements import take_event, take_readings, take_status
from gridtally_cloud.prepay import control
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.store import meta
from gridtally_cloud.store.tables import command, dcu, event
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.rows import SwitchRow, one
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Command, CommandType, Event, MeterStatus, Readings, Value
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.events import BY_NAME
from gridtally_shared.instruments import details as d
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import DecisionEvidence, evidence_of
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.ordered import PREPAY, prepay_order
from gridtally_shared.prepay.regions import Entitlement
from gridtally_shared.prepay.standing import standing_from
from gridtally_shared.quantities import ENERGY_IMPORT
from gridtally_shared.signing import verify1
from support.linked_pair import KEYS
from support.managed_street import LOCAL, QUARTER_MS, REMOTE, ManagedStreet, Snapshot
from support.payday import DAY_MS, DCU, HOUR_MS, SIGNER

TARIFF = '{"kind": "flat", "currency": "INR", "energy_per_kwh": "10", "fixed_per_day": "0", "tax_percent": "0"}'


@dataclass(frozen=True, slots=True)
class Town:
    """`warned`: both homes have paid 100 and have just been told that less than 50 is left. `worn`: an hour later, when a cut is allowed,
    both have used it up; nobody has read it yet."""

    street: ManagedStreet
    warned: Snapshot
    worn: Snapshot


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    street = ManagedStreet(tmp_path_factory.mktemp("town"), Plan(DCU, postpaid=1, tariff=TARIFF))
    street.begin(zero_action="disconnect", notice_lead_s=3_600, protected_hours="")
    street.quarter()
    street.pay_both("100")
    street.quarter(6_000)
    warned = street.snapshot()
    for _ in range(3):
        street.quarter()
    street.wait(QUARTER_MS)
    street.use(4_500)
    yield Town(street, warned, street.snapshot())
    street.close()


@pytest.fixture
def street(town: Town) -> ManagedStreet:
    """All that is known would allow a cut, once the meters are read."""
    town.street.go_back(town.worn)
    return town.street


@pytest.fixture
def warned(town: Town) -> ManagedStreet:
    town.street.go_back(town.warned)
    return town.street


def order_of(street: ManagedStreet) -> Command:
    """The newest order of the MDM."""
    (envelope,) = street.commands()
    return decode(Command, verify1(KEYS, "command", envelope))


def states_of(street: ManagedStreet, kind: CommandType = CommandType.SWITCH_OPEN) -> list[tuple[str, str]]:
    c = command.c
    query = select(c.state, c.reason).where(c.meter_no == street.homes[REMOTE].meter_no, c.type == int(kind)).order_by(c.issued_at_ms)
    with street.db.read() as conn:
        return [(CommandState(row.state).name, row.reason) for row in conn.execute(query)]


def held_by(street: ManagedStreet) -> str:
    return street.supply().decision


def events_named(street: ManagedStreet, name: str) -> int:
    mine = (event.c.code == BY_NAME[name].code, event.c.meter_no == street.homes[REMOTE].meter_no)
    query = select(func.count()).select_from(event).where(*mine)
    with street.db.read() as conn:
        return int(conn.execute(query).scalar_one())


# ---- the same day ---------------------------------------------------------------------------------------------


@pytest.mark.covers_part("ETSI-5.2.5-0")
def test_the_same_day_gives_the_same_decisions_and_the_same_balance_in_both_modes(street: ManagedStreet) -> None:
    """Warned, at zero, cut, paid and closed: message for message, decision for decision, with the same tests behind each."""
    street.sweep()
    street.settle()
    assert set(street.switches.values()) == {SwitchState.OPEN}
    street.wait(HOUR_MS)
    street.pay_both("200")
    assert set(street.switches.values()) == {SwitchState.CLOSED}
    street.quarter(3_000)
    assert street.story(REMOTE) == street.story(LOCAL)
    assert [said.partition(":")[0] for said in street.story(REMOTE)] == [
        "CREDIT", "LOW", "ZERO", "cut by T11", "open done", "CUT", "CREDIT", "restore by T16", "close done", "ON"]  # fmt: skip
    assert street.balance(street.no(REMOTE)).balance_nano == street.balance(street.no(LOCAL)).balance_nano
    assert street.manage_on() == 0, "a second run writes nothing and orders nothing"
    assert street.commands() == []


def test_a_cut_is_an_ordinary_signed_command_with_its_evidence_and_lives_for_minutes(street: ManagedStreet) -> None:
    street.sweep()
    street.manage_on()
    order, (decided,) = order_of(street), [e for e in street.journal(REMOTE) if e.kind == Kind.DECISION]
    asked = prepay_order(order)
    assert (order.type, order.cause, order.expires_ms - order.issued_at_ms) == (CommandType.SWITCH_OPEN, PREPAY, 600_000)
    assert order.switch_counter > 0
    assert asked is not None
    assert asked.evidence == decided.detail
    assert asked.min_register_wh == street.registers[REMOTE]
    assert decided.cause == order.cmd_id, "the journal names the order that carries it out"
    evidence = evidence_of(decided)
    assert isinstance(evidence, DecisionEvidence)
    assert {"reading", "clock", "notice", "holds", "serial", "ledger", "offline"} <= {t.name for t in evidence.tests}


# ---- unknown means: stay on -----------------------------------------------------------------------------------


def _no_reading(street: ManagedStreet) -> None:
    """What was read is older than two intervals."""
    street.observe(REMOTE)
    street.wait(2 * QUARTER_MS + 1)
    with street.db.write() as conn:
        take_status(street.arrival(conn), MeterStatus(street.homes[REMOTE].meter_no, street.now_ms, True, SwitchState.CLOSED.value))


def _no_status(street: ManagedStreet) -> None:
    street.observe(REMOTE)
    with street.db.write() as conn:
        take_status(street.arrival(conn), MeterStatus(street.homes[REMOTE].meter_no, street.now_ms, False, SwitchState.UNKNOWN.value))


def _offline(street: ManagedStreet) -> None:
    street.observe(REMOTE)
    with street.db.write() as conn:
        conn.execute(update(dcu).values(online=False))


def _clock(street: ManagedStreet) -> None:
    street.observe(REMOTE)
    with street.db.write() as conn:
        conn.execute(update(dcu).values(clock_state=2))


def _restored(street: ManagedStreet) -> None:
    street.observe(REMOTE)
    with street.db.write() as conn:
        meta.note_restore(conn, street.now_ms)


def _jumped(street: ManagedStreet) -> None:
    street.observe(REMOTE)
    street.wait(1_000)
    street.registers[REMOTE] += 10_000_000
    street.observe(REMOTE)


def _other_house(street: ManagedStreet) -> None:
    street.observe(REMOTE)
    with street.db.write() as conn:
        take_event(street.arrival(conn), Event(street.homes[REMOTE].meter_no, BY_NAME["serial_mismatch"].code, street.now_ms, "serial=9"))


def _paid_and_not_issued(street: ManagedStreet) -> None:
    """The money is here and has no instrument yet."""
    with street.db.write() as conn:
        meta.note_restore(conn, street.now_ms)
    street.pay("200", street.no(REMOTE))
    with street.db.write() as conn:
        conn.execute(update(dcu).values(last_hello_ms=street.now_ms + 1))
    street.wait(1_000)
    street.observe(REMOTE)


def _held(street: ManagedStreet) -> None:
    street.observe(REMOTE)
    with street.db.write() as conn:
        control.order(conn, SIGNER, street.no(REMOTE), d.HoldOrder("medical"), street.now_ms, "asha")


def _protected(street: ManagedStreet) -> None:
    street.observe(REMOTE)
    with street.db.write() as conn:
        control.order(conn, SIGNER, street.no(REMOTE), d.ProtectOrder("weather", True, street.now_ms + DAY_MS), street.now_ms, "asha")


@pytest.mark.parametrize(("blocked", "happens"), [
    ("reading", _no_reading), ("serial,switch", _no_status), ("offline", _offline), ("clock", _clock), ("register", _jumped),
    ("serial", _other_house), ("ledger", _restored), ("parked", _paid_and_not_issued), ("holds", _held), ("holds", _protected),
])  # fmt: skip
def test_what_is_not_known_cuts_nobody(street: ManagedStreet, blocked: str, happens: Callable[[ManagedStreet], None]) -> None:
    """Everything else allows the cut; the decision is held, with what holds it as evidence, and no order is made."""
    happens(street)
    street.manage_on()
    assert street.commands() == []
    named = held_by(street).removeprefix("held:").split(",")
    assert set(blocked.split(",")) <= set(named), held_by(street)
    decisions = [evidence_of(e) for e in street.journal(REMOTE) if e.kind == Kind.DECISION]
    assert [e.verdict for e in decisions if isinstance(e, DecisionEvidence)] == ["held"]
    assert events_named(street, "cut_held") == 1
    street.manage_on()
    assert events_named(street, "cut_held") == 1, "the same reasons are told once"


def test_a_concentrator_that_greeted_without_a_clock_is_believed_once_it_was_welcomed(street: ManagedStreet) -> None:
    """It has the time from the welcome by then, and would refuse a cut itself without one."""
    street.observe(REMOTE)
    with street.db.write() as conn:
        conn.execute(update(dcu).values(clock_state=2, last_hello_ms=street.now_ms - 60_000, last_contact_ms=street.now_ms))
    street.manage_on()
    assert [order_of(street).type] == [CommandType.SWITCH_OPEN]


def test_a_cut_that_comes_late_is_not_carried_out(street: ManagedStreet) -> None:
    """The concentrator hears of it after ten minutes: it refuses, the home stays on, and no second one is made before it is known."""
    street.sweep()
    street.manage_on()
    late = street.hand_over()
    street.wait(600_001)
    for envelope in late:
        street.tell(p.CommandArrived(envelope))
    assert street.switches[REMOTE] is SwitchState.CLOSED
    street.sync()
    assert states_of(street) == [("EXPIRED", Reason.TOO_LATE)]


def test_an_order_without_an_answer_is_not_doubled(street: ManagedStreet) -> None:
    """Its receipts are lost and its time is over: until the meter has spoken, nobody knows, and nothing is ordered. The meter says open:
    it was this cut, and the next payment closes."""
    street.sweep()
    street.manage_on()
    for envelope in street.hand_over():
        street.tell(p.CommandArrived(envelope))
    assert street.switches[REMOTE] is SwitchState.OPEN
    for _ in range(3):
        street.manage_on()
    street.wait(661_000)
    with street.db.write() as conn:
        receipts.expire(conn, street.now_ms)
    street.manage_on()
    assert states_of(street) == [("EXPIRED", Reason.NO_RECEIPT)]
    assert street.supply().order_id is not None
    street.observe(REMOTE)
    street.manage_on()
    assert (street.supply().order_id, street.supply().off_reason) == (None, OffReason.BALANCE)
    assert street.story(REMOTE)[-2:] == ["open done", "CUT"]
    street.pay("200", street.no(REMOTE))
    street.settle()
    assert street.switches[REMOTE] is SwitchState.CLOSED
    assert len(states_of(street)) == 1


# ---- money that crosses a cut ---------------------------------------------------------------------------------


def test_a_payment_takes_back_a_cut_that_has_not_left(street: ManagedStreet) -> None:
    street.sweep()
    street.manage_on()
    assert len(street.commands()) == 1
    street.pay("200", street.no(REMOTE))
    street.manage_on()
    assert states_of(street) == [("CANCELLED", Reason.CANCELLED)]
    assert street.commands() == []
    street.settle()
    assert street.switches[REMOTE] is SwitchState.CLOSED


@pytest.mark.parametrize("order", ["cut first", "cancel first"])
def test_a_payment_crosses_a_cut_on_its_way(street: ManagedStreet, order: str) -> None:
    """The cut is on the wire when the money comes. Whichever arrives first, the home has its supply in the end, and it is cut once at
    most."""
    street.sweep()
    street.manage_on()
    on_its_way = street.hand_over()
    street.pay("200", street.no(REMOTE))
    street.manage_on()
    both = street.hand_over()
    assert len(both) == 2, "the cut again, and the word that takes it back"
    for envelope in both if order == "cut first" else [*reversed(both), *on_its_way]:
        street.tell(p.CommandArrived(envelope))
    street.settle()
    assert street.switches[REMOTE] is SwitchState.CLOSED
    opened = [o for o in street.ordered if not o.close and o.meter_no == street.homes[REMOTE].meter_no]
    assert len(opened) == (1 if order == "cut first" else 0)
    assert [state for state, _ in states_of(street)] == ["DONE" if order == "cut first" else "CANCELLED"]
    assert standing_from(street.supply().standing).regions.entitlement is Entitlement.FULL


def test_a_cut_that_waits_for_its_line_is_taken_back(street: ManagedStreet) -> None:
    """The concentrator has the cut, the line is busy; the payment's word comes before the meter's turn."""
    street.sweep()
    street.manage_on()
    cut = street.hand_over()

    def paid() -> None:
        street.between = lambda: None
        street.pay("200", street.no(REMOTE))
        street.manage_on()
        for envelope in street.hand_over():
            street.tell(p.CommandArrived(envelope))

    street.between = paid
    for envelope in cut:
        street.tell(p.CommandArrived(envelope))
    assert street.switches[REMOTE] is SwitchState.CLOSED
    street.settle()
    assert states_of(street) == [("EXPIRED", Reason.TOO_LATE)]
    assert street.story(REMOTE)[-1] == "open withdrawn"


def test_a_home_that_is_held_off_is_not_closed_by_its_payment(street: ManagedStreet) -> None:
    street.sweep()
    street.settle()
    with street.db.write() as conn:
        control.order(conn, SIGNER, street.no(REMOTE), d.HoldOrder("vacant"), street.now_ms, "asha")
    street.pay("200", street.no(REMOTE))
    street.settle()
    assert street.switches[REMOTE] is SwitchState.OPEN
    assert held_by(street) == "restore_held:holds"
    street.wait(1_000)
    with street.db.write() as conn:
        control.order(conn, SIGNER, street.no(REMOTE), d.HoldOrder("vacant", False), street.now_ms, "asha")
    street.settle()
    assert street.switches[REMOTE] is SwitchState.CLOSED


# ---- from one to the other ------------------------------------------------------------------------------------


def test_given_back_nobody_is_warned_or_cut_twice(warned: ManagedStreet) -> None:
    """Warned from here; its concentrator takes over, tells nothing again and cuts by that warning. Given to the MDM, it stays cut by
    money and comes back by a payment."""
    with warned.db.write() as conn:
        manage(conn, SIGNER, warned.no(REMOTE), Managed.EDGE, warned.now_ms, "asha")
    warned.configure()
    warned.carry_down()
    for _ in range(4):
        warned.quarter()
    assert warned.story(REMOTE) == ["CREDIT"], "what it brings along is told, the warning is not"
    warned.use(4_500, REMOTE)
    warned.quarter()
    assert warned.story(REMOTE) == ["CREDIT", "ZERO", "cut by T11: all hold", "open done", "CUT"]
    assert warned.switches[REMOTE] is SwitchState.OPEN
    with warned.db.write() as conn:
        manage(conn, SIGNER, warned.no(REMOTE), Managed.CLOUD, warned.now_ms, "asha")
    warned.configure()
    warned.quarter()
    assert warned.story(REMOTE) == []
    warned.pay("200", warned.no(REMOTE))
    warned.settle()
    assert warned.switches[REMOTE] is SwitchState.CLOSED
    assert warned.story(REMOTE) == ["CREDIT", "restore by T16: all hold", "close done", "ON"]


def test_taken_over_from_a_concentrator_nobody_is_warned_or_cut_twice(warned: ManagedStreet) -> None:
    assert warned.story(LOCAL) == ["CREDIT", "LOW"]
    with warned.db.write() as conn:
        manage(conn, SIGNER, warned.no(LOCAL), Managed.CLOUD, warned.now_ms, "asha")
    warned.configure()
    for _ in range(4):
        warned.quarter()
    assert warned.story(LOCAL) == []
    warned.use(4_500, LOCAL)
    warned.quarter()
    assert warned.story(LOCAL) == ["ZERO", "cut by T11: all hold", "open done", "CUT"]
    assert warned.switches[LOCAL] is SwitchState.OPEN


@pytest.mark.parametrize("used_wh", [0, 400])
def test_taken_over_some_minutes_after_a_reading_nobody_is_warned_twice(warned: ManagedStreet, used_wh: int) -> None:
    """The newest reading is older than the change and may not be in the mirror; the credit the epoch begins with is known first."""
    warned.settle()
    warned.wait(60_000)
    warned.use(used_wh, LOCAL)
    with warned.db.write() as conn:
        seeded = warned.homes[LOCAL]
        value = Value(seeded.meter_no, ENERGY_IMPORT.code, warned.now_ms, warned.registers[LOCAL])
        take_readings(warned.arrival(conn), Readings((value,)))
    warned.wait(60_000)
    with warned.db.write() as conn:
        manage(conn, SIGNER, warned.no(LOCAL), Managed.CLOUD, warned.now_ms, "asha")
    warned.configure()
    for _ in range(2):
        warned.quarter()
    assert warned.story(LOCAL) == []


def test_taken_over_while_a_limit_has_it_off_a_paid_home_comes_back_and_nothing_is_opened(warned: ManagedStreet) -> None:
    """A limit is not kept from here, so what it opened is closed as after one that was lifted."""
    warned.settle()
    with warned.db.write() as conn:
        control.order(conn, SIGNER, warned.no(LOCAL), d.LimitOrder(1_000), warned.now_ms, "asha")
    warned.carry_down()
    for _ in range(3):
        warned.quarter(100, ms=60_000)
    assert warned.switches[LOCAL] is SwitchState.OPEN
    assert warned.story(LOCAL)[-1] == "open done"
    before = len(warned.ordered)
    with warned.db.write() as conn:
        manage(conn, SIGNER, warned.no(LOCAL), Managed.CLOUD, warned.now_ms, "asha")
    warned.configure()
    warned.quarter(ms=60_000)
    assert [order.close for order in warned.ordered[before:]] == [True]
    assert warned.story(LOCAL)[-3:] == ["reclose by T23l: all hold", "close done", "ON"]


def test_a_cut_of_before_the_handover_is_refused_by_the_concentrator_that_runs_the_account(street: ManagedStreet) -> None:
    street.sweep()
    street.manage_on()
    on_its_way = street.hand_over()
    with street.db.write() as conn:
        manage(conn, SIGNER, street.no(REMOTE), Managed.EDGE, street.now_ms, "asha")
    street.configure()
    for envelope in on_its_way:
        street.tell(p.CommandArrived(envelope))
    assert street.switches[REMOTE] is SwitchState.CLOSED
    street.sync()
    assert states_of(street) == [("REFUSED", Reason.PROTECTED)]


def test_what_the_rules_opened_the_concentrator_knows_as_opened_by_money(street: ManagedStreet) -> None:
    street.sweep()
    street.settle()
    row = one(street.money, SwitchRow, street.homes[REMOTE].meter_no)
    assert row is not None
    assert row.off_reason == OffReason.BALANCE
