"""Seed 002 (prepayment), enforcement: a limit in the meter and its trips, and a home without a switch, from the cloud to the contactor.

Concentrator, cloud and meters are the real ones, the meters simulated with their own limiter and contactor; time is wound by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gridtally_cloud.prepay import control, policies
from gridtally_cloud.prepay.terms import SupplyTerms, set_terms
from gridtally_edge.counter import Ask, Asked
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.site import Person, SiteOrder, packed, proof_of, verifier_of
from gridtally_edge.simulators.house import Contactor
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_shared.contract import messages as m
from gridtally_shared.events import BY_NAME
from gridtally_shared.instruments.details import LimitOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.meter_settings import SettingKind
from gridtally_shared.money import nano
from gridtally_shared.prepay.cut_tests import CUT_TESTS, RESTORE_TESTS
from support.chain import SIGNER
from support.little_street import MINUTE_MS, QUARTER_MS
from support.prepay_bench import DAY_MS
from support.town import Town, town

CONNECTED, DISCONNECTED = BY_NAME["supply_connected"].code, BY_NAME["supply_disconnected"].code


def follow(t: Town, **rules: Any) -> None:
    """The first account follows a policy from now on."""
    text = json.dumps({"kind": "policy", "code": "home", "currency": "INR", "offline": {"cut": "allowed"}, **rules})
    with t.db.write() as conn:
        policies.add_policy(conn, t.now_ms // QUARTER_MS * QUARTER_MS, text, t.now_ms, "test")
        policies.follow(conn, t.account_no(), "home", t.now_ms, "test")
    t.carry()


def limit_w(t: Town) -> int:
    """What the meter's own limiter holds."""
    return int(t.house().setting(SettingKind.LOAD_LIMIT).threshold_w)


def moved(t: Town, code: int) -> list[int]:
    """When the meter's own log says that its contactor moved."""
    return [e.at_ms for e in t.house().events() if e.code == code]


def events(t: Town, name: str) -> list[dict[str, Any]]:
    """What the MDM tells of an account through its API."""
    return [e for e in t.items(f"/accounts/{t.account_no()}/events") if e["name"] == name]


# ---- limits -------------------------------------------------------------------------------------------------


@pytest.fixture
def lifeline(tmp_path: Path) -> Iterator[Town]:
    """At zero this home is limited to 150 W, which it exceeds each evening."""
    with town(tmp_path, opening="5") as made:
        made.connect()
        follow(made, zero_action="limit", limit={"steps": [{"code": "lifeline", "watts": 150}], "at_zero": 1})
        made.live(lambda: made.display().balance_nano <= 0)
        yield made


@pytest.mark.covers("C3-A2.8a")
def test_at_zero_the_limiter_is_programmed_and_a_load_above_it_trips(lifeline: Town) -> None:
    taken = next(d for d in lifeline.decisions() if d.verdict == "limit")
    assert [t.name for t in taken.tests] == [name for name, _ in CUT_TESTS]
    assert all(t.holds for t in taken.tests)
    lifeline.carry()
    assert limit_w(lifeline) == 150

    lifeline.live(lifeline.is_dark)
    assert "load_limit_exceeded" in {e["name"] for e in lifeline.items(f"/accounts/{lifeline.account_no()}/events")}
    assert "150 W" in lifeline.display_page().replace("\xa0", " ")


@pytest.mark.covers("C3-FR22")
def test_two_minutes_after_a_trip_it_closes_once_and_the_second_trip_stays(lifeline: Town) -> None:
    lifeline.live(lifeline.is_dark)
    seen_ms = lifeline.now_ms
    before = len(moved(lifeline, CONNECTED))
    lifeline.wait(119_000)
    assert len(moved(lifeline, CONNECTED)) == before
    lifeline.wait(1_000)
    assert [at - seen_ms for at in moved(lifeline, CONNECTED)[before:]] == [120_000]
    assert limit_w(lifeline) == 150

    lifeline.live(lifeline.is_dark)
    closed = len(moved(lifeline, CONNECTED))
    for _ in range(30):
        lifeline.wait(MINUTE_MS)
    lifeline.next_quarter(8)
    assert (lifeline.is_dark(), len(moved(lifeline, CONNECTED))) == (True, closed)
    reclose = next(d for d in lifeline.decisions() if d.verdict == "reclose")
    assert [t.name for t in reclose.tests] == [name for name, _ in RESTORE_TESTS]


def tripped_twice(t: Town) -> None:
    """Its one automatic close is used up."""
    t.live(t.is_dark)
    t.wait(120_000)
    t.live(t.is_dark)


def presses_the_page(t: Town) -> None:
    t.street.handle(Asked(b"a page's request", Ask("reclose", t.account_no(), "")))


def waits_until_it_is_armed_and_presses_the_meter(t: Town) -> None:
    t.street.handle(Asked(b"a page's request", Ask("reclose", t.account_no(), "")))
    assert t.house().switch() is SwitchState.ARMED
    assert t.house().press_button()


@pytest.mark.covers("C3-FR23", "ETSI-5.2.13-basic-4")
@pytest.mark.parametrize(("contactor", "hand"), [
    (Contactor.WORKS, presses_the_page), (Contactor.BUTTON, waits_until_it_is_armed_and_presses_the_meter),
])  # fmt: skip
def test_by_hand_it_comes_back_and_the_limit_stays_until_it_is_changed(
    lifeline: Town, contactor: Contactor, hand: Callable[[Town], None]
) -> None:
    tripped_twice(lifeline)
    lifeline.house().settings = replace(lifeline.house().settings, contactor=contactor)
    lifeline.next_quarter(8)
    assert lifeline.is_dark()

    hand(lifeline)
    lifeline.carry()
    assert lifeline.house().switch() is SwitchState.CLOSED
    assert limit_w(lifeline) == 150
    lifeline.live(lifeline.is_dark)  # and above it, it trips again
    closed = len(moved(lifeline, CONNECTED))
    lifeline.next_quarter(8)
    assert len(moved(lifeline, CONNECTED)) == closed

    lifeline.pay("200")
    lifeline.next_quarter(2)
    assert limit_w(lifeline) == 0
    assert not lifeline.is_dark()


@pytest.mark.covers("C3-FR21")
@pytest.mark.parametrize(("step", "watts"), [(1, 1_800), (2, 1_500), (3, 300)])
def test_the_limit_has_several_steps_of_the_contract_or_in_watts(tmp_path: Path, step: int, watts: int) -> None:
    """90 % and 75 % of a contract of 2 kW, and a lifeline."""
    with town(tmp_path, opening="5") as t:
        t.connect()
        with t.db.write() as conn:
            set_terms(conn, t.account_no(), SupplyTerms(contract_w=2_000), t.now_ms, "test")
        steps = [{"code": "p90", "percent": "90"}, {"code": "p75", "percent": "75"}, {"code": "lifeline", "watts": 300}]
        follow(t, zero_action="limit", limit={"steps": steps, "at_zero": step})
        t.live(lambda: t.display().balance_nano <= 0)
        assert limit_w(t) == watts


@pytest.mark.covers("C3-FR4", "ETSI-5.2.13-basic-3")
def test_connect_disconnect_and_limit_come_by_order_and_by_rule(tmp_path: Path) -> None:
    """The first home is limited at zero by its policy, the second is cut at zero by its own rules."""
    with town(tmp_path, dlms=2, opening="5") as t:
        t.connect()

        # by rule
        follow(t, zero_action="limit", limit={"steps": [{"code": "lifeline", "watts": 150}], "at_zero": 1})
        t.live(lambda: limit_w(t) == 150 and t.is_dark(1), 1)
        assert "limit" in {d.verdict for d in t.decisions(0)}
        assert t.decisions(1)[-1].verdict == "cut"
        for place in (0, 1):
            t.pay("300", place=place)
        t.next_quarter()
        assert (limit_w(t), t.is_dark(0), t.is_dark(1)) == (0, False, False)

        # by order
        t.command(m.CommandType.SWITCH_OPEN)
        t.carry()
        assert (t.is_dark(0), t.is_dark(1)) == (True, False)
        t.command(m.CommandType.SWITCH_CLOSE)
        t.carry()
        assert not t.is_dark(0)
        for watts in (900, 0):
            with t.db.write() as conn:
                control.order(conn, SIGNER, t.account_no(0), LimitOrder(watts), t.now_ms, "staff:dora")
            t.carry()
            t.wait(MINUTE_MS)
            assert limit_w(t) == watts


@pytest.mark.covers("ETSI-5.2.13-basic-1")
def test_supply_is_disabled_enabled_and_limited_from_afar_and_on_site(tmp_path: Path) -> None:
    """Three actions, each by an order of the MDM and by a named person at the box. Post: the meter obeys, and the MDM knows who it was."""
    name, salt = "R. Kumar 4711", b"s" * 16
    proof = proof_of("314159", salt)
    with town(tmp_path, opening="50") as t:
        t.connect()
        t.next_quarter()
        t.street.handle(Asked(b"p" * 16, Ask("person", 0, packed(Person(name, salt, verifier_of(proof))))))

        def remote(kind: m.CommandType) -> None:
            assert t.commanded(t.command(kind)).state is not CommandState.REFUSED

        def on_site(**what: Any) -> None:
            t.street.handle(Asked(os.urandom(16), Ask("hold", t.account_no(), packed(SiteOrder(name, proof, "work", **what)))))

        def limit_from_afar(watts: int) -> None:
            answer = t.send("POST", f"/accounts/{t.account_no()}/limit", f"limit {watts}", json={"watts": watts})
            assert answer.status_code == 202

        ways = (
            (lambda: remote(m.CommandType.SWITCH_OPEN), lambda: remote(m.CommandType.SWITCH_CLOSE), limit_from_afar),
            (lambda: on_site(on=True, open=True), lambda: on_site(close=True), lambda watts: on_site(limit_w=watts)),
        )
        for disable, enable, limited in ways:
            disable()
            t.carry()
            t.next_quarter()
            assert t.is_dark()
            assert t.get("/meters/1")["supply"] == "off"
            enable()
            t.carry()
            t.next_quarter()
            assert not t.is_dark()
            assert t.get("/meters/1")["supply"] == "on"
            for watts in (900, 0):
                limited(watts)
                t.carry()
                t.wait(MINUTE_MS)
                assert limit_w(t) == watts
        by_person = [e["detail"] for e in t.items("/events") if e["name"] in ("hold_changed_on_site", "limit_changed_on_site")]
        assert len(by_person) == 4  # held, lifted, limited, lifted
        assert all(detail.endswith(f"by={name}") for detail in by_person)


# ---- homes without a switch ---------------------------------------------------------------------------------


@pytest.mark.covers("C3-A")
def test_a_home_without_a_switch_is_told_and_sent_to_and_never_cut(tmp_path: Path) -> None:
    with town(tmp_path, dlms=0, modbus=1, opening="5") as t:
        t.connect()
        follow(t, zero_action="disconnect", low={"money": ["2"]}, no_switch={"action": "field_order", "after_days": 1})
        t.live(lambda: t.display().balance_nano <= 0)
        zero_ms = t.now_ms
        told = [each.code for each in t.display().messages]
        assert "ZERO" in told
        assert {"LOW", "LOW_BARE"} & set(told)
        assert "This meter has no switch; the supply stays on." in t.display_page()

        t.wait(DAY_MS - 30 * MINUTE_MS)
        t.next_quarter()
        assert t.now_ms - zero_ms < DAY_MS
        assert events(t, "field_cut_asked") == []
        t.next_quarter(3)
        assert len(events(t, "field_cut_asked")) == 1
        assert "somebody is to come" in t.display_page()
        assert [d.verdict for d in t.decisions()][-1] == "cut_by_field"

        used_wh = t.house().snapshot().energy_import_wh
        t.next_quarter(8)
        assert t.house().snapshot().energy_import_wh > used_wh
        assert Kind.SWITCH not in {e.kind for e in t.journal()}

        t.pay("200")
        t.carry()
        assert len(events(t, "field_cut_called_back")) == 1
        assert t.display().balance_nano > nano("100")
        assert "somebody is to come" not in t.display_page()


# ---- contactors and homes that do not do what was ordered ---------------------------------------------------


@contextlib.contextmanager
def dark_home(folder: Path, contactor: Contactor = Contactor.WORKS) -> Iterator[Town]:
    """A home that was cut at zero, as far as its contactor could."""
    with town(folder, opening="5") as t:
        house = t.house()
        house.settings = replace(house.settings, contactor=contactor)
        house._load._welded = contactor is Contactor.WELDED
        t.connect()
        t.live(t.is_dark)
        yield t


def fault_of(t: Town) -> str:
    found = t.money.execute("SELECT fault FROM switch").fetchone()
    return str(found[0]) if found else ""


@pytest.mark.covers_part("BYPL-3.5")
def test_a_stuck_contactor_is_told_to_the_mdm_not_hammered_and_seen_when_it_works(tmp_path: Path) -> None:
    with town(tmp_path, opening="5") as t:
        t.house().jam(True)
        t.connect()
        t.live(lambda: fault_of(t) == "stuck")
        assert len(events(t, "switch_stuck")) == 1
        t.next_quarter(6)
        assert not t.is_dark()
        assert len([d for d in t.decisions() if d.verdict == "cut"]) == 1
        assert {n.name for n in t.decisions()[-1].tests if not n.holds} >= {"stuck"}
        t.house().jam(False)
        t.wait(DAY_MS)
        t.next_quarter(2)
        assert t.is_dark()
        assert fault_of(t) == ""
        t.pay("200")
        assert not t.is_dark()


def test_a_welded_contactor_is_charged_told_and_never_taken_for_dark(tmp_path: Path) -> None:
    with dark_home(tmp_path, Contactor.WELDED) as t:
        assert fault_of(t) == "live"
        assert len(events(t, "load_side_live")) == 1
        before_nano, used_wh = t.display().balance_nano, t.house().snapshot().energy_import_wh
        t.next_quarter(4)
        assert t.house().snapshot().energy_import_wh > used_wh
        assert t.display().balance_nano < before_nano
        assert len(events(t, "use_while_open")) == 1


def test_a_generator_behind_the_open_switch_is_never_closed_onto_and_the_paid_home_comes_back_after_it(tmp_path: Path) -> None:
    with dark_home(tmp_path) as t:
        assert t.is_dark()
        t.house().inject(HouseFault.BACKFEED)
        t.next_quarter()
        t.pay("200")
        t.next_quarter(4)
        assert t.is_dark()
        assert t.decisions()[-1].verdict == "restore_held"
        assert [x.name for x in t.decisions()[-1].tests if not x.holds][:1] == ["load_side"]
        assert "There is current behind the switch." in t.display_page()
        t.house().inject(HouseFault.BACKFEED, 0)
        t.live(lambda: not t.is_dark(), 1)
        assert "Supply: <strong>On</strong>" in t.display_page()


def test_a_bypassed_switch_is_a_fault_and_its_use_is_charged(tmp_path: Path) -> None:
    """Somebody bridged the contactor after the cut: the register runs on while the meter says open."""
    with dark_home(tmp_path) as t:
        t.next_quarter()
        charged_wh = t.display().register_wh
        t.house()._load._welded = True
        t.next_quarter(4)
        assert len(events(t, "use_while_open")) == 1
        assert fault_of(t) == "live"
        assert t.display().register_wh > charged_wh
