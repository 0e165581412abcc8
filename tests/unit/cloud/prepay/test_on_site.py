"""Somebody works at a supply whose account the MDM runs: the hold he sets at the box stands until he lifts it (safety.md 1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.prepay import control, site_words
from gridtally_cloud.prepay.held import held_of
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.managed_due import Rounds
from gridtally_cloud.prepay.site_intake import take_site_entry
from gridtally_cloud.store.tables import command, config_version
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.account_orders import holds_at
from gridtally_edge.prepay.site import Person, SiteOrder, packed, proof_of, verifier_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import CommandType, DcuConfig, InstrumentType
from gridtally_shared.contract.prepay_messages import Managed, SiteEntry
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import InstrumentEvidence, SwitchEvidence, detail, evidence_of
from gridtally_shared.ledger.standing_orders import evidence_with
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.signing import verify1
from support.linked_pair import KEYS
from support.managed_street import REMOTE, ManagedStreet, Snapshot
from support.payday import DCU, SIGNER

TARIFF = '{"kind": "flat", "currency": "INR", "energy_per_kwh": "10", "fixed_per_day": "0", "tax_percent": "0"}'
NAME, SALT = "R. Kumar 4711", b"s" * 16
PROOF = proof_of("314159", SALT)
WORK, DONE = SiteOrder(NAME, PROOF, "work", on=True), SiteOrder(NAME, PROOF, "work")
ids = itertools.count(1)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ManagedStreet, Snapshot]]:
    """A home the MDM has switched off for want of money; the fitter is known at the box."""
    street = ManagedStreet(tmp_path_factory.mktemp("town"), Plan(DCU, postpaid=1, tariff=TARIFF))
    street.begin(zero_action="disconnect", notice_lead_s=3_600, protected_hours="")
    street.tell(p.PersonNamed(b"p" * 16, packed(Person(NAME, SALT, verifier_of(PROOF)))))
    street.quarter()
    street.pay_both("100")
    street.quarter(6_000)
    for _ in range(4):
        street.quarter()
    street.use(4_500)
    street.quarter()
    assert street.switches[REMOTE] is SwitchState.OPEN
    yield street, street.snapshot()
    street.close()


@pytest.fixture
def street(town: tuple[ManagedStreet, Snapshot]) -> ManagedStreet:
    town[0].go_back(town[1])
    return town[0]


def says(street: ManagedStreet, order: SiteOrder) -> str:
    """At the terminal of the box."""
    said: list[p.SiteAnswered] = []
    handle = street.edge.handle

    def seen(event: p.PrepayEvent, now_ms: int, mono_ms: int = 0) -> tuple[p.PrepayEffect, ...]:
        effects = handle(event, now_ms, mono_ms)
        said.extend(e for e in effects if isinstance(e, p.SiteAnswered))
        return effects

    street.edge.handle = seen  # type: ignore[method-assign]
    try:
        street.tell(p.HoldAsked(next(ids).to_bytes(16, "big"), street.no(REMOTE), packed(order)))
    finally:
        del street.edge.handle  # type: ignore[method-assign]
    return said[0].result


def holds(street: ManagedStreet) -> tuple[str, ...]:
    """As the MDM knows them."""
    with street.db.read() as conn:
        mine = account_of(conn, street.no(REMOTE))
        return held_of(conn, mine.account_no, mine.account_epoch, mine.policy.holds)


def holds_there(street: ManagedStreet) -> tuple[str, ...]:
    """As the box knows them."""
    box = street.edge
    turn = Turn(street.money, box.outbox, box._identity, street.now_ms, 0, box._plan, box._trust, box._link, {})
    return holds_at(turn, street.homes[REMOTE].meter_no)


def by_hand(street: ManagedStreet) -> list[tuple[str, str]]:
    """What the account shows of people on site."""
    said = (evidence_of(e) for e in street.journal(REMOTE) if e.kind == Kind.CONTROL)
    return [(e.seen, e.by) for e in said if isinstance(e, InstrumentEvidence) and e.by]


def closes(street: ManagedStreet) -> list[tuple[str, str]]:
    c = command.c
    mine = (c.meter_no == street.homes[REMOTE].meter_no, c.type == int(CommandType.SWITCH_CLOSE))
    with street.db.read() as conn:
        return [(CommandState(row.state).name, row.reason) for row in conn.execute(select(c.state, c.reason).where(*mine))]


def pays(street: ManagedStreet) -> None:
    street.pay("200", street.no(REMOTE))
    street.settle()


def configure_again(street: ManagedStreet) -> None:
    """The newest configuration comes once more, as after a hello that names an older one."""
    c = config_version.c
    with street.db.read() as conn:
        envelope = conn.execute(select(c.envelope).where(c.dcu == DCU).order_by(c.version.desc()).limit(1)).scalar_one()
    street.tell(p.ConfigAccepted(decode(DcuConfig, verify1(KEYS, "config", bytes(envelope)))))


def give(street: ManagedStreet, by: Managed) -> None:
    with street.db.write() as conn:
        manage(conn, SIGNER, street.no(REMOTE), by, street.now_ms, "asha")


def desk_closes(street: ManagedStreet) -> None:
    request = CommandRequest(street.homes[REMOTE].meter_no, CommandType.SWITCH_CLOSE, "asha", "desk")
    with street.db.write() as conn:
        commanding.issue(conn, SIGNER, request, street.now_ms)


def test_who_pays_while_somebody_works_is_switched_on_when_he_is_done(street: ManagedStreet) -> None:
    assert says(street, WORK) == "set"
    street.sync()
    assert holds(street) == ("work",)
    pays(street)
    street.quarter()
    assert street.switches[REMOTE] is SwitchState.OPEN
    assert closes(street) == [], "the MDM signs none"
    assert street.supply().decision == "restore_held:holds"
    with pytest.raises(RefusedCommand, match="only a named person at the box lifts it"):
        desk_closes(street)
    assert says(street, DONE) == "lifted"
    street.sync()
    street.settle()
    assert holds(street) == ()
    assert street.switches[REMOTE] is SwitchState.CLOSED
    assert by_hand(street) == [("hold work set on site", NAME), ("hold work lifted on site", NAME)]


def test_a_close_signed_before_the_mdm_heard_of_it_is_refused_at_the_box(street: ManagedStreet) -> None:
    assert says(street, WORK) == "set"
    street.pay("200", street.no(REMOTE))
    street.manage_on()
    street.carry_commands()
    assert street.switches[REMOTE] is SwitchState.OPEN
    street.sync()
    assert closes(street) == [("REFUSED", Reason.HELD)]
    street.settle()
    street.quarter()
    assert len(closes(street)) == 1, "it knows of the hold now"


def test_a_close_on_its_way_is_taken_back_when_the_hold_is_heard_of(street: ManagedStreet) -> None:
    street.pay("200", street.no(REMOTE))
    street.manage_on()
    street.hand_over()
    says(street, WORK)
    street.sync()
    street.manage_on()
    (cancelled, *_) = reversed(street.commands())
    street.tell(p.CommandArrived(cancelled))
    street.sync()
    assert closes(street) == [("CANCELLED", Reason.CANCELLED)]


def test_the_desk_sets_such_a_hold_and_only_a_person_there_lifts_it(street: ManagedStreet) -> None:
    with street.db.write() as conn:
        control.order(conn, SIGNER, street.no(REMOTE), d.HoldOrder("safety"), street.now_ms, "asha")
    street.settle()
    street.configure()
    assert holds_there(street) == ("safety",)
    with street.db.write() as conn, pytest.raises(RefusedCommand, match="on site"):
        control.order(conn, SIGNER, street.no(REMOTE), d.HoldOrder("safety", False), street.now_ms, "asha")
    assert says(street, replace(DONE, reason="safety")) == "lifted"
    street.sync()
    street.settle()
    street.configure()
    assert (holds(street), holds_there(street)) == ((), ())


def test_a_hold_of_the_record_is_lifted_there_too(street: ManagedStreet) -> None:
    with street.db.write() as conn:
        mine = account_table.c.account_no == street.no(REMOTE)
        conn.execute(update(account_table).where(mine).values(holds="work,vacant"))
    street.configure()
    assert holds_there(street) == ("work",)
    assert says(street, replace(DONE, close=True)) == "not_closed"
    street.sync()
    assert holds(street) == ("vacant",)


def test_a_box_with_an_old_disk_hears_of_the_hold_and_of_its_lift(street: ManagedStreet) -> None:
    image = street.image("before")
    says(street, WORK)
    street.sync()
    street.configure()
    held = street.image("held")
    street.roll_back(image)
    assert holds_there(street) == ()
    street.greet()
    configure_again(street)
    assert holds_there(street) == ("work",)
    assert says(street, DONE) == "lifted"
    street.sync()
    street.manage_on()
    street.configure()
    street.roll_back(held)
    assert holds_there(street) == ("work",)
    street.greet()
    configure_again(street)
    assert holds_there(street) == ()


def test_given_back_the_account_is_held_until_he_is_done(street: ManagedStreet) -> None:
    says(street, WORK)
    street.sync()
    street.configure()
    give(street, Managed.EDGE)
    assert holds(street) == ("work",)
    street.configure()
    assert holds_there(street) == ("work",), "before its instrument is there"
    street.carry_down()
    street.sync()
    assert holds_there(street) == ("work",)
    pays(street)
    street.carry_down()
    street.quarter()
    assert street.switches[REMOTE] is SwitchState.OPEN
    assert says(street, DONE) == "lifted"
    street.sync()
    assert (holds(street), holds_there(street)) == ((), ())


def test_what_the_mdm_has_not_heard_before_it_gives_the_account_back_stands_there(street: ManagedStreet) -> None:
    says(street, WORK)
    give(street, Managed.EDGE)
    street.configure()
    street.carry_down()
    street.sync()
    assert (holds(street), holds_there(street)) == (("work",), ("work",))
    give(street, Managed.CLOUD)
    street.configure()
    assert (holds(street), holds_there(street)) == (("work",), ("work",))
    assert says(street, DONE) == "lifted"
    street.sync()
    street.manage_on()
    street.configure()
    assert (holds(street), holds_there(street)) == ((), ())


def test_what_was_set_without_a_link_before_the_mdm_took_the_account_comes_to_it(street: ManagedStreet) -> None:
    give(street, Managed.EDGE)
    street.configure()
    street.carry_down()
    street.sync()
    says(street, WORK)
    give(street, Managed.CLOUD)
    assert holds(street) == ()
    street.configure()
    street.sync()
    street.manage_on()
    assert (holds(street), holds_there(street)) == (("work",), ("work",))


def test_what_somebody_switched_off_for_his_work_does_not_come_back_by_a_payment(street: ManagedStreet) -> None:
    pays(street)
    assert street.switches[REMOTE] is SwitchState.CLOSED
    street.wait(1_000)
    assert says(street, replace(WORK, open=True)) == "opening"
    assert street.switches[REMOTE] is SwitchState.OPEN
    street.observe(REMOTE)
    street.sync()
    street.settle()
    assert street.supply().off_reason == OffReason.ORDER
    street.wait(1_000)
    assert says(street, replace(DONE, close=True)) == "closing"
    street.sync()
    street.settle()
    assert street.switches[REMOTE] is SwitchState.CLOSED
    assert street.supply().off_reason == ""


def test_a_word_from_there_is_a_reason_to_run_the_account_at_once(street: ManagedStreet) -> None:
    rounds = Rounds()
    with street.db.read() as conn:
        rounds.due(conn, street.now_ms)
        assert rounds.due(conn, street.now_ms) == ()
    says(street, WORK)
    street.sync()
    with street.db.read() as conn:
        assert rounds.due(conn, street.now_ms) == (street.no(REMOTE),)


def test_a_meter_nobody_pays_in_advance_is_held_in_the_mdm_too(street: ManagedStreet) -> None:
    meter_no = street.homes[REMOTE].meter_no
    with street.db.write() as conn:
        conn.execute(update(account_table).where(account_table.c.account_no == street.no(REMOTE)).values(closed_ms=street.now_ms))
    street.configure()
    street.tell(p.HoldAsked(next(ids).to_bytes(16, "big"), 0, packed(replace(WORK, meter_no=meter_no))))
    street.sync()
    with pytest.raises(RefusedCommand, match=f"meter {meter_no} is held off"):
        desk_closes(street)
    street.configure()
    assert holds_there(street) == ("work",)
    street.tell(p.HoldAsked(next(ids).to_bytes(16, "big"), 0, packed(replace(DONE, meter_no=meter_no))))
    street.sync()
    desk_closes(street)


def entry(street: ManagedStreet, kind: Kind = Kind.CONTROL, body: bytes = b"", entry_id: bytes = b"e" * 16) -> SiteEntry:
    work = detail(evidence_with(InstrumentType.HOLD, d.HoldOrder("work"), "", by=NAME))
    return SiteEntry(entry_id, street.homes[REMOTE].meter_no, int(kind), street.now_ms, body or work)


def evidence(order: d.HoldOrder | d.ProtectOrder, by: str = NAME) -> bytes:
    kind = InstrumentType.HOLD if isinstance(order, d.HoldOrder) else InstrumentType.PROTECT
    return detail(evidence_with(kind, order, "", by=by))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.CONTROL, evidence(d.HoldOrder("vacant"))),
        (Kind.CONTROL, evidence(d.ProtectOrder("medical"))),
        (Kind.CONTROL, evidence(d.HoldOrder("work", False), by="")),
        (Kind.CONTROL, b"\xff"),
        (Kind.SWITCH, encode(SwitchEvidence(True, "done", 7, origin="local"))),
        (Kind.CREDIT, evidence(d.HoldOrder("work"))),
    ],
)
def test_what_nobody_on_site_does_is_set_aside(street: ManagedStreet, kind: Kind, body: bytes) -> None:
    with street.db.write() as conn, pytest.raises(ContractError):
        take_site_entry(street.arrival(conn), entry(street, kind, body))


def test_only_the_concentrator_of_the_meter_says_it_and_once(street: ManagedStreet) -> None:
    with street.db.write() as conn:
        stranger = Arrival(conn, StreamKey("dcu-other", bytes(16), 1), 1, street.now_ms)
        with pytest.raises(ContractError, match="not served by dcu-other"):
            take_site_entry(stranger, entry(street))
        with pytest.raises(ContractError, match="no number"):
            take_site_entry(street.arrival(conn), entry(street, entry_id=b"e"))
        for _ in range(2):
            take_site_entry(street.arrival(conn), entry(street))
    street.manage_on()
    with street.db.write() as conn:
        take_site_entry(street.arrival(conn), entry(street))
    street.manage_on()
    assert by_hand(street) == [("", NAME)]
    with street.db.read() as conn:
        assert site_words.waiting(conn, street.homes[REMOTE].meter_no) == []
