"""What meters tell by themselves, from the meter to the MDM's API: alarms, outages, failures of the meter itself (BYPL 5, 7; I2 FR1 to
FR17, NFR4 and NFR6; ETSI 5.2.7 and 5.2.11). The clock is wound by hand, so that a moment can be compared with a moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.drivers.model import DiagnosticState
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_shared.events import BY_NAME as EVENTS
from support.chain import Chain, chain
from support.little_street import MINUTE_MS, QUARTER_MS
from support.unasked import alert, house_of, ms_of, told, turns, wait_for

SECONDS_MS = 5_000
DAY_MS = 86_400_000


def logged(c: Chain, name: str) -> list[int]:
    """When the meter itself logged it, by its own clock."""
    return [e.at_ms for e in house_of(c).events() if e.code == EVENTS[name].code]


def reading(c: Chain, quantity: str) -> int:
    """The newest value of the API."""
    value: int = {r["quantity"]: r["value"] for r in c.items("/meters/1/readings")}[quantity]
    return value


# ---- 5. tamper and theft ----------------------------------------------------------------------------------------


@pytest.mark.covers("BYPL-5.1", "ETSI-NR6a", "ETSI-5.2.11-basic-1")
def test_a_cover_opened_between_two_polls_is_told_within_seconds(tmp_path: Path) -> None:
    """Pre: a meter was read and is not due for minutes. Post: its alarm is at the edge and in the MDM with meter number, time, code and
    text, before anybody asked the meter anything. One that came while the link was down is there once after it."""
    with chain(tmp_path) as c:
        asked = len(c.street.asked)
        house_of(c).report_event(EVENTS["cover_opened"].code)
        opened_ms = house_of(c).clock_ms()
        alert(c.street, "dlms/1", "cover_opened")
        assert [e.meter_no for e in c.street.events("cover_opened")] == [1]
        c.carry()
        (event,) = told(c, "cover_opened")
        assert ms_of(event["received_at"]) - opened_ms <= SECONDS_MS
        assert len(c.street.asked) == asked
        assert event["meter_no"] == 1
        assert abs(ms_of(event["at"]) - opened_ms) <= 1_000
        assert (event["code"], event["cim"], event["urgent"]) == (251, "3.12.29.39", True)
        c.next_quarter(2)  # the log is read as well
        assert len(told(c, "cover_opened")) == 1
        c.cut()
        house_of(c).report_event(EVENTS["magnet_on"].code)
        alert(c.street, "dlms/1", "magnet_on")
        c.carry()
        assert told(c, "magnet_on") == []
        c.connect()
        c.again("urgent")
        c.next_quarter()
        assert len(told(c, "magnet_on")) == 1


# ---- 7. outage and restoration ----------------------------------------------------------------------------------


@pytest.mark.covers("BYPL-7.1")
def test_a_power_cut_is_told_with_the_last_gasp_and_its_end_with_one_cut_more(tmp_path: Path) -> None:
    """Pre: a meter with a number of power failures. Post: the cut is told as it happens, the restoration too, each with its time, and the
    meter's count is one higher."""
    with chain(tmp_path) as c:
        house = house_of(c)
        before = reading(c, "power_failures")
        off_ms = c.now_ms
        house.report_event(EVENTS["power_failed"].code)
        alert(c.street, "dlms/1", "last_gasp")
        c.street.mute.add("dlms/1")  # without power it answers nobody
        assert [e.meter_no for e in c.street.events("last_gasp")] == [1]
        c.carry()
        assert [abs(ms_of(e["at"]) - off_ms) <= 1_000 for e in told(c, "last_gasp")] == [True]
        c.wait(3 * MINUTE_MS)
        on_ms = c.now_ms
        c.street.mute.discard("dlms/1")
        house.report_event(EVENTS["power_restored"].code)
        alert(c.street, "dlms/1", "first_breath")
        c.carry()
        assert [abs(ms_of(e["at"]) - on_ms) <= 1_000 for e in told(c, "first_breath")] == [True]
        c.next_quarter()
        assert reading(c, "power_failures") == before + 1
        (failed,), (restored,) = told(c, "power_failed"), told(c, "power_restored")
        assert (ms_of(failed["at"]) // 1_000, ms_of(restored["at"]) // 1_000) == (off_ms // 1_000, on_ms // 1_000)


@pytest.mark.covers("ETSI-5.2.7-unplanned-3")
def test_three_planted_outages_are_retrieved_with_their_starts_and_ends(tmp_path: Path) -> None:
    """Pre: the supply failed three times. Post: the MDM has each with start and end, in order."""
    with chain(tmp_path) as c:
        planted = []
        for minutes in (2, 7, 31):
            start_ms = c.now_ms
            house_of(c).report_event(EVENTS["power_failed"].code)
            c.street.wind(minutes * MINUTE_MS)
            house_of(c).report_event(EVENTS["power_restored"].code)
            planted.append((start_ms // 1_000, c.now_ms // 1_000))
            c.next_quarter()
        starts, ends = ([ms_of(e["at"]) // 1_000 for e in told(c, name)] for name in ("power_failed", "power_restored"))
        assert list(zip(starts, ends, strict=True)) == planted


# ---- I2: the meter's own failures -------------------------------------------------------------------------------

CRITICAL = {
    "checksum_failed": HouseFault.CHECKSUM,
    "firmware_upgrade_failed": HouseFault.FIRMWARE,
    "metrology_failed": HouseFault.METROLOGY,
    "program_failed": HouseFault.PROGRAM,
    "memory_failed": HouseFault.MEMORY,
}


@pytest.mark.covers("I2FR1c")
def test_five_critical_failures_are_each_at_the_mdm_before_the_next_poll(tmp_path: Path) -> None:
    """Checksum, failed firmware upgrade, metrology, program or memory, time sync. Pre: a meter in order, read at its turn. Post: each
    failure is in the MDM, urgent, before the meter's next turn."""
    with chain(tmp_path) as c:
        house = house_of(c)
        for name, fault in CRITICAL.items():
            c.next_quarter()
            before = turns(c)
            house.inject(fault)
            house.run_diagnostics()  # a metrology fault is found by its check
            wait_for(c, lambda name=name: bool(told(c, name)), QUARTER_MS)  # type: ignore[misc]
            assert turns(c) == before, name
            assert [e["urgent"] for e in told(c, name)] == [True], name
        c.next_quarter()
        before = turns(c)
        house.inject(HouseFault.TIME_SYNC, 3)
        for _ in range(3):
            assert not house.set_clock(c.now_ms)
        wait_for(c, lambda: bool(told(c, "time_sync_failed")), QUARTER_MS)
        assert turns(c) == before


@pytest.mark.covers("I2FR17")
def test_a_metrology_fault_is_in_the_meters_log_and_reported_at_once(tmp_path: Path) -> None:
    with chain(tmp_path) as c:
        house = house_of(c)
        before = turns(c)
        house.inject(HouseFault.METROLOGY)
        house.run_diagnostics()
        assert len(logged(c, "metrology_failed")) == 1  # stored in the meter, under a code of its own
        wait_for(c, lambda: bool(told(c, "metrology_failed")), QUARTER_MS)
        assert turns(c) == before  # and nobody waited for the next turn
        (event,) = told(c, "metrology_failed")
        assert ms_of(event["at"]) // 1_000 == logged(c, "metrology_failed")[0] // 1_000


@pytest.mark.covers("I2-S1.1", "I2-S1.2")
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (HouseFault.MEMORY, "memory_failed"),  # RAM
        (HouseFault.PROGRAM, "program_failed"),  # ROM
        (HouseFault.METROLOGY, "metrology_failed"),
        (HouseFault.TIME_SYNC, "time_sync_failed"),  # clock
        (HouseFault.CHECKSUM, "checksum_failed"),
    ],
)
def test_each_failed_diagnostic_has_a_code_of_its_own_from_the_meter_to_the_mdm(tmp_path: Path, fault: HouseFault, name: str) -> None:
    """Post: the meter logs the code of that failure and of no other; the MDM has meter, time, code and class."""
    with chain(tmp_path) as c:
        house = house_of(c)
        failures = {EVENTS[other].code for other in (*CRITICAL, "time_sync_failed")}
        house.inject(fault, 3)
        house.run_diagnostics()
        for _ in range(3 if fault is HouseFault.TIME_SYNC else 0):
            house.set_clock(c.now_ms)
        assert {e.code for e in house.events()} & failures == {EVENTS[name].code}
        c.next_quarter()
        (event,) = told(c, name)
        assert event["meter_no"] == 1
        assert ms_of(event["at"]) // 1_000 == logged(c, name)[0] // 1_000
        assert event["code"] == EVENTS[name].code
        assert event["urgent"] is True
        assert failures & {e["code"] for e in c.items("/events")} == {event["code"]}


@pytest.mark.covers("I2FR7")
def test_a_home_device_that_was_switched_off_is_an_exception_in_the_mdm(tmp_path: Path) -> None:
    with chain(tmp_path) as c:
        house_of(c).inject(HouseFault.HAN)
        c.next_quarter()
        assert len(told(c, "han_device_lost")) == 1
        assert told(c, "han_device_back") == []
        house_of(c).inject(HouseFault.HAN, 0)
        c.next_quarter()
        assert len(told(c, "han_device_back")) == 1


@pytest.mark.covers("I2FR8")
def test_a_blocked_push_is_in_the_meters_log_and_uploaded_later(tmp_path: Path) -> None:
    """Pre: the meter's way to push is blocked. Post: nothing came; the meter logged the failure; its next reading brings it to the MDM."""
    with chain(tmp_path) as c:
        house = house_of(c)
        house.inject(HouseFault.PUSH)
        house.report_event(EVENTS["cover_opened"].code)
        alert(c.street, "dlms/1", "cover_opened")
        c.carry()
        assert told(c, "cover_opened") == []
        assert len(logged(c, "push_failed")) == 1
        failed_ms = logged(c, "push_failed")[0]
        c.next_quarter()
        assert [ms_of(e["at"]) // 1_000 for e in told(c, "push_failed")] == [failed_ms // 1_000]
        assert len(told(c, "cover_opened")) == 1  # what could not be pushed came as well


@pytest.mark.covers("I2NFR4")
@pytest.mark.parametrize("name", ["cover_opened", "neutral_missing", "metrology_failed", "power_failed"])
def test_a_failure_of_safety_or_service_arrives_within_15_minutes_also_when_the_link_drops_for_five(tmp_path: Path, name: str) -> None:
    with chain(tmp_path) as c:
        c.cut()
        c.wait(MINUTE_MS)
        happened_ms = c.now_ms
        house_of(c).report_event(EVENTS[name].code)
        for _ in range(4):
            c.wait(MINUTE_MS)
        c.connect()  # after five minutes
        wait_for(c, lambda: bool(told(c, name)), QUARTER_MS - (c.now_ms - happened_ms))
        (event,) = told(c, name)
        assert event["urgent"] is True
        assert ms_of(event["received_at"]) - happened_ms <= QUARTER_MS


@pytest.mark.covers("I2NFR6")
@pytest.mark.parametrize("every_s", [86_400, 30 * 86_400], ids=["daily", "monthly"])
def test_the_metrology_check_runs_daily_or_monthly_and_its_result_comes_with_the_next_read(tmp_path: Path, every_s: int) -> None:
    """Pre: the period is set from afar; a metrology fault is there. Post: it is found when the period ends and not before; the next read
    at the meter's turn carries the result."""
    with chain(tmp_path) as c:
        house = house_of(c)
        body = {"settings": {"diagnostics_period": {"self_test_s": 2 * 86_400, "metrology_s": every_s}}}
        assert c.send("POST", "/meters/1/settings", "check", json=body).status_code == 202
        c.carry()
        set_ms = c.now_ms
        house.inject(HouseFault.METROLOGY)
        c.wait(every_s * 1_000 - 20 * MINUTE_MS - (c.now_ms - set_ms))
        assert told(c, "metrology_failed") == []
        c.wait(21 * MINUTE_MS)
        c.next_quarter()
        (found_ms,) = logged(c, "metrology_failed")
        assert abs(found_ms - (set_ms + every_s * 1_000)) < MINUTE_MS
        assert [ms_of(e["at"]) // 1_000 for e in told(c, "metrology_failed")] == [found_ms // 1_000]


@pytest.mark.covers("I2-S1-pre")
def test_the_meter_runs_its_routine_self_diagnostics_once_a_period(tmp_path: Path) -> None:
    """N periods, N runs: the time of the last run, read from the meter on demand, moves by one period each."""
    with chain(tmp_path) as c:
        body = {"settings": {"diagnostics_period": {"self_test_s": 86_400, "metrology_s": 2 * 86_400}}}
        c.send("POST", "/meters/1/settings", "check", json=body)
        c.carry()
        ran = set()
        for _ in range(5):
            c.wait(DAY_MS)
            results = {d.check: d for d in house_of(c).diagnostics()}
            assert results["memory"].state is DiagnosticState.PASSED
            ran.add(results["memory"].at_ms)
        assert len(ran) == 5
        assert {b - a for a, b in zip(sorted(ran), sorted(ran)[1:], strict=False)} == {DAY_MS}


@pytest.mark.covers("I2-G1")
def test_a_high_class_event_is_told_at_once_and_a_low_one_with_the_next_report(tmp_path: Path) -> None:
    """Delivery times by class, measured: safety and service within the watch, everything else no later than the next read."""
    with chain(tmp_path) as c:
        times: dict[bool, list[int]] = {True: [], False: []}
        for name in ("cover_opened", "metrology_failed", "neutral_missing", "over_voltage", "clock_set", "demand_reset"):
            c.next_quarter()
            happened_ms = c.now_ms
            house_of(c).report_event(EVENTS[name].code)
            alert(c.street, "dlms/1")
            wait_for(c, lambda name=name: bool(told(c, name)), QUARTER_MS + 6 * MINUTE_MS, 20_000)  # type: ignore[misc]
            (event,) = told(c, name)
            times[event["urgent"]].append(ms_of(event["received_at"]) - happened_ms)
        assert len(times[True]) == len(times[False]) == 3
        assert max(times[True]) <= 6 * MINUTE_MS
        assert max(times[False]) <= QUARTER_MS + 6 * MINUTE_MS
