"""The remote test of a supply against simulated DLMS meters: what it finds, and that a silent one is an answer too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.polling.ondemand import answer_to, request_for
from gridtally_edge.polling.poll import poll
from gridtally_edge.prepay.events import RunRead
from gridtally_edge.simulators.dlms_slave import DlmsUnit
from gridtally_edge.simulators.house import Contactor, HouseMeter, HouseSettings
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import Reason
from gridtally_shared.supply_test import SupplyTest, Verdict
from support.dlms_wire import PASSWORD, START_MS, Wire

TEST = RunRead(b"t" * 16, 1, "GT0017", CommandType.TEST_SUPPLY)


class Site:
    def __init__(self, contactor: Contactor = Contactor.WORKS) -> None:
        self.clock = ManualClock(START_MS)
        self.meter = HouseMeter(HouseSettings("GT0017", 1, contactor=contactor, history_days=1), self.clock)
        self.wire = Wire(DlmsUnit(self.meter, 17))
        self.port = DlmsPort(Is15959Settings(17, password=PASSWORD))

    def test(self) -> tuple[SupplyTest, str]:
        request = request_for(TEST, 900_000)
        assert request is not None
        result = self.wire.run(poll(self.port, request, self.clock.now_ms))
        answer = answer_to(TEST, result, 900_000)
        return decode(SupplyTest, answer.result), answer.reason


@pytest.mark.covers_part("C3-A3.4", "C3-A3.5", "C3-FR13")
def test_a_healthy_supply_passes_with_all_four_results() -> None:
    found, reason = Site().test()
    assert (found.verdict, reason, found.connected, found.switch, found.serial) == (Verdict.PASSED, "", True, 1, "GT0017")
    assert (found.voltage_mv or 0) > 200_000
    assert (found.load_side_mv or 0) > 200_000
    assert (found.current_ma or 0) > 0


@pytest.mark.covers_part("C3-A3.5")
def test_a_dead_meter_is_an_answer_at_once() -> None:
    site = Site()
    site.wire.damage = lambda number, answer: b""
    found, reason = site.test()
    assert (found.verdict, reason) == (Verdict.SILENT, Reason.NO_ANSWER)


@pytest.mark.covers_part("C3-A3.5")
@pytest.mark.parametrize(("contactor", "verdict"), [
    (Contactor.WORKS, Verdict.OFF), (Contactor.WELDED, Verdict.WELDED), (Contactor.STUCK, Verdict.PASSED),
])  # fmt: skip
def test_an_open_a_welded_and_a_stuck_switch_are_told_apart(contactor: Contactor, verdict: Verdict) -> None:
    site = Site(contactor)
    site.meter.operate_switch(False)
    assert site.test()[0].verdict is verdict


def test_a_home_that_feeds_itself_is_not_taken_for_dead() -> None:
    site = Site()
    site.meter.operate_switch(False)
    site.meter.inject(HouseFault.BACKFEED)
    assert site.test()[0].verdict is Verdict.WELDED


def test_a_verdict_says_no_more_than_was_seen() -> None:
    seen = SupplyTest(True, START_MS, 1, 230_000, 0, 0, 0)
    assert seen.verdict is Verdict.NOT_THROUGH
    assert replace(seen, load_side_mv=None).verdict is Verdict.PASSED
    assert replace(seen, voltage_mv=0).verdict is Verdict.DEAD
    assert replace(seen, switch=4, load_side_mv=None).verdict is Verdict.UNCLEAR
    assert replace(seen, switch=2).verdict is Verdict.ARMED
