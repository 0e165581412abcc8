"""The switch conversation against the simulated DLMS meter over an in-memory line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.events import RunSwitch, SwitchOutcome, SwitchResult
from gridtally_edge.prepay.switching import outcome_of_error, switch_conversation
from gridtally_edge.simulators.dlms_slave import DlmsUnit
from gridtally_edge.simulators.house import Contactor, HouseMeter, HouseSettings
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_shared.clock import MS_PER_HOUR, ManualClock
from gridtally_shared.errors import LinkDown
from support.dlms_wire import PASSWORD, START_MS, Wire

R = SwitchResult
CUT = RunSwitch(b"a" * 16, 1, "GT0017", False, START_MS + 60_000, min_register_wh=0)
RESTORE = replace(CUT, close=True, min_register_wh=None)


class Site:
    def __init__(self, contactor: Contactor = Contactor.WORKS) -> None:
        self.clock = ManualClock(START_MS)
        self.meter = HouseMeter(HouseSettings("GT0017", 1, contactor=contactor, history_days=3), self.clock)
        self.wire = Wire(DlmsUnit(self.meter, 17))
        self.port = DlmsPort(Is15959Settings(17, password=PASSWORD))

    def run(self, order: RunSwitch) -> SwitchOutcome:
        return self.wire.run(switch_conversation(self.port, self.clock.now_ms, order))


@pytest.mark.covers("BYPL-3.4")
def test_an_opened_switch_reads_open_and_the_energy_stops_rising() -> None:
    site = Site()
    outcome = site.run(CUT)
    assert (outcome.result, outcome.state_before, outcome.state_after) == (R.DONE, SwitchState.CLOSED, SwitchState.OPEN)
    assert site.meter.switch() is SwitchState.OPEN
    at_cut_wh = site.meter.snapshot().energy_import_wh
    site.clock.advance(MS_PER_HOUR)
    assert site.meter.snapshot().energy_import_wh == at_cut_wh


def test_a_cut_carries_the_register_of_the_same_association() -> None:
    site = Site()
    outcome = site.run(CUT)
    assert (outcome.register_wh, outcome.register_at_ms) == (site.meter.snapshot().energy_import_wh, START_MS)
    assert (outcome.serial, outcome.sent, outcome.fault) == ("GT0017", True, "")


def test_a_restore_closes() -> None:
    site = Site()
    site.run(CUT)
    assert site.run(RESTORE).result is R.DONE
    assert site.meter.switch() is SwitchState.CLOSED


@pytest.mark.covers_part("BYPL-3.5")
def test_an_answer_is_no_proof_a_stuck_relay_has_failed() -> None:
    site = Site(Contactor.STUCK)
    outcome = site.run(CUT)
    assert (outcome.result, outcome.state_after) == (R.STUCK, SwitchState.CLOSED)


def test_a_switch_that_says_open_before_a_live_load_side_is_told() -> None:
    outcome = Site(Contactor.WELDED).run(CUT)
    assert (outcome.result, outcome.state_after) == (R.DONE, SwitchState.OPEN)
    assert (outcome.load_side_mv or 0) > 200_000


def test_nothing_is_closed_onto_a_live_load_side() -> None:
    site = Site()
    assert site.run(CUT).load_side_mv == 0
    site.meter.inject(HouseFault.BACKFEED)
    outcome = site.run(RESTORE)
    assert (outcome.result, outcome.sent) == (R.LIVE, False)
    site.meter.inject(HouseFault.BACKFEED, 0)
    assert site.run(RESTORE).result is R.DONE


@pytest.mark.covers_part("BYPL-4.3")
def test_a_meter_with_a_button_arms_and_the_hand_closes() -> None:
    site = Site(Contactor.BUTTON)
    site.run(CUT)
    outcome = site.run(replace(RESTORE, arm=True))
    assert (outcome.result, outcome.state_after, site.meter.load_side_mv()) == (R.DONE, SwitchState.ARMED, 0)
    assert site.meter.press_button()
    assert site.meter.switch() is SwitchState.CLOSED
    assert not site.meter.press_button()


def test_what_is_armed_can_be_cut_again() -> None:
    site = Site(Contactor.BUTTON)
    site.run(CUT)
    site.run(replace(RESTORE, arm=True))
    assert site.run(CUT).state_after is SwitchState.OPEN
    assert not site.meter.press_button()


def test_an_order_that_may_only_arm_does_not_close() -> None:
    site = Site()
    site.run(CUT)
    outcome = site.run(replace(RESTORE, arm=True))
    assert (outcome.result, outcome.sent) == (R.PRESENCE, False)
    assert site.meter.switch() is SwitchState.OPEN


def test_a_switch_that_is_there_already_is_not_ordered_again() -> None:
    site = Site()
    outcome = site.run(RESTORE)
    assert (outcome.result, outcome.sent) == (R.ALREADY, False)


def test_another_house_is_not_switched() -> None:
    site = Site()
    outcome = site.run(replace(CUT, serial="GT0018"))
    assert (outcome.result, outcome.serial, outcome.sent) == (R.WRONG_SERIAL, "GT0017", False)
    assert site.meter.switch() is SwitchState.CLOSED


def test_a_meter_without_a_contactor_is_not_fitted() -> None:
    assert Site(Contactor.NONE).run(CUT).result is R.NOT_FITTED


def test_a_register_behind_what_is_charged_stops_the_cut() -> None:
    site = Site()
    outcome = site.run(replace(CUT, min_register_wh=site.meter.snapshot().energy_import_wh + 1))
    assert (outcome.result, outcome.sent) == (R.NO_REGISTER, False)
    assert site.meter.switch() is SwitchState.CLOSED


def test_a_withdrawn_permit_stops_the_order() -> None:
    site = Site()
    CUT_ONCE = RunSwitch(b"b" * 16, 1, "GT0017", False, START_MS + 60_000, 0)
    CUT_ONCE.permit.withdraw()
    outcome = site.run(CUT_ONCE)
    assert (outcome.result, outcome.sent) == (R.WITHDRAWN, False)
    assert site.meter.switch() is SwitchState.CLOSED


def test_an_order_that_waited_too_long_is_not_carried_out() -> None:
    site = Site()
    site.clock.advance(60_001)
    assert site.run(CUT).result is R.WITHDRAWN


def test_a_silent_meter_is_no_answer_and_nothing_left() -> None:
    site = Site()
    site.wire.damage = lambda number, answer: b""
    outcome = site.run(CUT)
    assert (outcome.result, outcome.sent) == (R.NO_ANSWER, False)


def test_every_point_of_silence_ends_in_an_outcome_that_tells_the_truth() -> None:
    silent_from = 0
    while True:
        site = Site()
        site.wire.damage = lambda number, answer, first=silent_from: b"" if number >= first else answer
        outcome = site.run(CUT)
        acted = site.meter.switch() is SwitchState.OPEN
        if outcome.result is R.DONE:
            break
        assert outcome.result in (R.NO_ANSWER, R.UNKNOWN)
        assert not acted or (outcome.result is R.UNKNOWN and outcome.sent)
        silent_from += 1
    assert silent_from > 5


def test_a_conversation_that_was_thrown_away_may_have_acted() -> None:
    outcome = outcome_of_error(CUT, LinkDown("the line is closed"), START_MS)
    assert (outcome.result, outcome.sent) == (R.UNKNOWN, True)
