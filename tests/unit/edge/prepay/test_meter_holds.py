"""Work at a supply whose account the MDM runs, or nobody has: the hold stands at the meter, and no close of it passes (safety.md 1, 17)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.site import Person, SiteOrder, packed, proof_of, verifier_of
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import AccountConfig, CommandType, EntryKind, MeterConfig
from gridtally_shared.contract.prepay_messages import MeterHold, SiteEntry
from gridtally_shared.events import BY_CODE
from gridtally_shared.instruments.details import HoldOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import InstrumentEvidence, SwitchEvidence
from gridtally_shared.lifecycle import CommandState, Reason
from support.prepay_bench import Bench, account_of, serial_of

NAME, SALT = "R. Kumar 4711", b"s" * 16
PROOF = proof_of("314159", SALT)
WORK = SiteOrder(NAME, PROOF, "work", on=True)
DONE = SiteOrder(NAME, PROOF, "work")
RUN_BY_MDM = 101
ids = itertools.count(1)


def tell(bench: Bench, order: SiteOrder, account_no: int = RUN_BY_MDM) -> tuple[str, str]:
    effects = bench.tell(p.HoldAsked(next(ids).to_bytes(16, "big"), account_no, packed(order)))
    (answer,) = (e for e in effects if isinstance(e, p.SiteAnswered))
    return answer.result, answer.text


def configured(bench: Bench, *held: MeterHold, accounts: tuple[AccountConfig, ...] = (), run_account_no: int = RUN_BY_MDM) -> None:
    """The MDM says who runs the supply, and how it stands with its holds."""
    bench.version += 1
    meters = (MeterConfig(1, serial_of(1), accounts[0].account_no if accounts else 0, run_account_no=run_account_no, held=held),)
    plan = bench.core._plan.config
    bench.tell(p.ConfigAccepted(replace(plan, version=bench.version, issued_at_ms=bench.now_ms, meters=meters, accounts=accounts)))


def street(folder: Path, run_account_no: int = RUN_BY_MDM) -> Bench:
    """The meter of the bench, run by the MDM."""
    bench = Bench(folder)
    bench.tell(p.PersonNamed(b"p" * 16, packed(Person(NAME, SALT, verifier_of(PROOF)))))
    configured(bench, run_account_no=run_account_no)
    bench.effects.clear()
    return bench


def told(bench: Bench) -> list[SiteEntry]:
    return bench.outbox(EntryKind.SITE)


def orders_told(bench: Bench) -> list[tuple[str, bool, str]]:
    said = (decode(InstrumentEvidence, e.detail) for e in told(bench) if e.kind == Kind.CONTROL)
    return [(e.reason, decode(HoldOrder, e.order).on, e.by) for e in said if e.order]


def close_asked(bench: Bench) -> str:
    """A close that the MDM signs, because somebody paid: the reason it is refused for; '' where it goes to the switch."""
    before = len(bench.orders())
    bench.send(bench.command(CommandType.SWITCH_CLOSE, cause="desk", switch_counter=50 + next(ids)))
    if len(bench.orders()) > before:
        bench.finish()
        return ""
    assert bench.receipts()[-1].state == CommandState.REFUSED
    return bench.receipts()[-1].reason


def test_no_close_passes_while_somebody_works_also_after_a_restart(tmp_path: Path) -> None:
    bench = street(tmp_path)
    assert tell(bench, WORK) == ("set", "")
    assert close_asked(bench) == Reason.HELD
    bench.restart()
    bench.trust()
    bench.online()
    assert close_asked(bench) == Reason.HELD
    assert tell(bench, DONE) == ("lifted", "")
    assert close_asked(bench) == ""
    assert orders_told(bench) == [("work", True, NAME), ("work", False, NAME)]
    events = [e.detail for e in bench.events() if BY_CODE[e.code].name == "hold_changed_on_site"]
    assert events == [f"account=101 hold=work {word} by={NAME}" for word in ("set", "lifted")]


def test_a_close_that_waits_for_its_line_is_taken_back_by_the_hold(tmp_path: Path) -> None:
    bench = street(tmp_path)
    bench.send(bench.command(CommandType.SWITCH_CLOSE, cause="desk", switch_counter=1))
    order = bench.order(close=True)
    assert tell(bench, WORK) == ("set", "")
    assert not order.permit.granted()


def test_an_open_goes_with_the_hold_and_a_close_with_its_lift_and_the_mdm_hears_what_the_switch_did(tmp_path: Path) -> None:
    bench = street(tmp_path)
    assert tell(bench, replace(WORK, open=True)) == ("opening", "")
    bench.order(close=False)
    bench.finish()
    bench.read(1, 1_000_000, SwitchState.OPEN)
    assert close_asked(bench) == Reason.HELD
    assert tell(bench, replace(DONE, close=True)) == ("closing", "")
    bench.order(close=True)
    bench.finish()
    moved = [decode(SwitchEvidence, e.detail) for e in told(bench) if e.kind == Kind.SWITCH]
    assert [(e.close, e.result, e.origin) for e in moved] == [(False, "done", "site"), (True, "done", "site")]


def test_nobody_on_site_closes_above_what_the_mdm_holds_off(tmp_path: Path) -> None:
    bench = street(tmp_path)
    bench.read(1, 1_000_000, SwitchState.OPEN)
    configured(bench, MeterHold("vacant"))
    tell(bench, WORK)
    assert tell(bench, replace(DONE, close=True)) == ("not_closed", "vacant")
    configured(bench)
    assert tell(bench, replace(DONE, close=True)) == ("closing", "")


def test_the_pin_is_asked_and_the_load_is_not_limited_where_the_mdm_runs_the_account(tmp_path: Path) -> None:
    bench = street(tmp_path)
    assert tell(bench, replace(WORK, proof=b"?" * 32))[0] == "wrong_pin"
    assert tell(bench, replace(WORK, person="Nobody"))[0] == "unknown_person"
    assert tell(bench, replace(WORK, limit_w=900))[0] == "not_here"
    assert tell(bench, WORK, 999)[0] == "unknown_account"
    assert not told(bench)


def test_a_meter_without_an_account_is_held_by_its_own_number(tmp_path: Path) -> None:
    bench = street(tmp_path, run_account_no=0)
    assert tell(bench, replace(WORK, meter_no=7), 0)[0] == "unknown_account"
    assert tell(bench, replace(WORK, meter_no=1), 0) == ("set", "")
    assert close_asked(bench) == Reason.HELD
    assert tell(bench, replace(DONE, meter_no=1), 0) == ("lifted", "")
    assert close_asked(bench) == ""


def test_by_the_number_of_its_meter_an_account_of_this_box_is_held_in_its_journal(tmp_path: Path) -> None:
    bench = street(tmp_path)
    configured(bench, accounts=(account_of(1),), run_account_no=0)
    assert tell(bench, replace(WORK, meter_no=1), 0) == ("set", "")
    assert bench.core._plan.accounts[101].holds == ("work",)
    assert not told(bench)


def test_an_old_disk_and_another_box_hear_from_the_mdm_what_is_held(tmp_path: Path) -> None:
    bench = street(tmp_path)
    configured(bench, MeterHold("work", True, (b"w" * 16,)))
    assert close_asked(bench) == Reason.HELD
    configured(bench, MeterHold("work", False, (b"w" * 16, b"x" * 16)))
    assert close_asked(bench) == ""


def test_what_was_said_here_and_has_not_come_to_the_mdm_stands_above_what_it_says(tmp_path: Path) -> None:
    bench = street(tmp_path)
    configured(bench, MeterHold("work", False, (b"w" * 16,)))
    tell(bench, WORK)
    (mine,) = told(bench)
    configured(bench, MeterHold("work", False, (b"w" * 16,)))
    assert close_asked(bench) == Reason.HELD, "that was said before he came"
    configured(bench, MeterHold("work", True, (b"w" * 16, mine.entry_id)))
    tell(bench, DONE)
    configured(bench, MeterHold("work", True, (b"w" * 16, mine.entry_id)))
    assert close_asked(bench) == "", "he went, and the MDM has yet to hear of it"


def test_what_the_mdm_does_not_name_any_more_is_still_lifted_on_site_only(tmp_path: Path) -> None:
    bench = street(tmp_path)
    configured(bench, MeterHold("work", True, (b"w" * 16,)))
    configured(bench)
    assert close_asked(bench) == Reason.HELD
    assert tell(bench, DONE) == ("lifted", "")
    assert close_asked(bench) == ""


@pytest.mark.parametrize("heard", [False, True])
def test_given_back_the_hold_stands_in_the_account_until_it_is_lifted_there(tmp_path: Path, heard: bool) -> None:
    bench = street(tmp_path)
    tell(bench, WORK)
    (mine,) = told(bench)
    if heard:
        configured(bench, MeterHold("work", True, (mine.entry_id,)))
    again = replace(account_of(1), account_epoch=3)
    configured(bench, accounts=(again,), run_account_no=0)
    assert bench.core._plan.accounts[101].holds == ("work",)
    assert close_asked(bench) == Reason.HELD
    bench.restart()
    assert bench.core._plan.accounts[101].holds == ("work",)
    assert tell(bench, DONE)[0] == "lifted"
    configured(bench, accounts=(again,), run_account_no=0)
    assert bench.core._plan.accounts[101].holds == ()
    configured(bench)
    assert close_asked(bench) == "", "it does not come back with the next change"


@pytest.mark.parametrize("on", [False, True])
def test_an_old_disk_hears_that_its_hold_was_lifted_after_the_account_came_back(tmp_path: Path, on: bool) -> None:
    bench = street(tmp_path)
    tell(bench, WORK)
    (mine,) = told(bench)
    bench.version += 1
    meters = (MeterConfig(1, serial_of(1), 101, held=(MeterHold("work", on, (mine.entry_id,)),)),)
    here = (replace(account_of(1), account_epoch=5),)
    bench.tell(p.ConfigAccepted(replace(bench.core._plan.config, version=bench.version, meters=meters, accounts=here)))
    assert bench.core._plan.accounts[101].holds == (("work",) if on else ())


def test_given_back_with_another_meter_the_hold_comes_along(tmp_path: Path) -> None:
    bench = Bench(tmp_path, meters=2)
    bench.tell(p.PersonNamed(b"p" * 16, packed(Person(NAME, SALT, verifier_of(PROOF)))))
    plan = bench.core._plan.config
    run = (MeterConfig(1, serial_of(1), run_account_no=101), MeterConfig(2, serial_of(2)))
    bench.tell(p.ConfigAccepted(replace(plan, version=50, meters=run, accounts=())))
    assert tell(bench, WORK) == ("set", "")
    here = (replace(account_of(1), meter_no=2, account_epoch=3),)
    bench.tell(p.ConfigAccepted(replace(plan, version=51, meters=run[1:], accounts=here)))
    assert bench.core._plan.accounts[101].holds == ("work",)


def test_a_hold_of_an_account_that_goes_to_the_mdm_is_told_to_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.tell(p.PersonNamed(b"p" * 16, packed(Person(NAME, SALT, verifier_of(PROOF)))))
    tell(bench, WORK)
    configured(bench)
    assert orders_told(bench) == [("work", True, "")]
    assert close_asked(bench) == Reason.HELD
    configured(bench)
    assert len(told(bench)) == 1
    assert tell(bench, DONE) == ("lifted", "")
    assert close_asked(bench) == ""


def test_what_the_mdm_took_over_with_the_account_is_not_told_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.tell(p.PersonNamed(b"p" * 16, packed(Person(NAME, SALT, verifier_of(PROOF)))))
    tell(bench, WORK)
    configured(bench, MeterHold("work"))
    assert not told(bench)
    assert close_asked(bench) == Reason.HELD
    configured(bench, MeterHold("work", False, (b"w" * 16,)))
    assert close_asked(bench) == ""
