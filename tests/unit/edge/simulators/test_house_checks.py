"""The simulated meter tests itself: each injected fault in its log, at the right moment, once, and kept long enough."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gridtally_edge.drivers.model import DiagnosticState
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.axdr import items_of
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.simulators.dlms_objects import SimObjects
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.house_checks import CHECKS, Found, HouseFault
from gridtally_edge.simulators.meter import CLOCK_ADJUSTED
from gridtally_shared import meter_settings as ms
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, ManualClock
from gridtally_shared.events import BY_NAME

START_MS = 1_795_000_500_000
QUARTER_MS = 900_000
NAMES = {kind.code: name for name, kind in BY_NAME.items()}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


@pytest.fixture
def meter(clock) -> HouseMeter:
    return new(clock)


def new(clock, state=None, **changes) -> HouseMeter:
    return HouseMeter(HouseSettings(**{"serial": "10000001", "seed": 7, "history_days": 3, **changes}), clock, state)


def logged(meter: HouseMeter) -> list[str]:
    return [NAMES[event.code] for event in meter.events()]


def states(meter: HouseMeter) -> dict[str, DiagnosticState]:
    return {found.check: found.state for found in meter.diagnostics()}


def test_a_meter_tests_itself_when_it_is_registered(meter):
    (first,) = {found.at_ms for found in meter.diagnostics() if found.check == "metrology"}
    assert first == meter.profile(0, 1 << 50)[0].end_ms - QUARTER_MS
    assert set(states(meter).values()) == {DiagnosticState.PASSED}


@pytest.mark.parametrize("hours", [1, 6, 24])
def test_the_self_test_runs_every_period(meter, clock, hours):
    meter.take_setting(ms.DiagnosticsPeriod(hours * 3_600, MS_PER_DAY // 1_000))
    runs = set()
    for _ in range(48 * 4):
        clock.advance(QUARTER_MS)
        runs.add(next(d.at_ms for d in meter.diagnostics() if d.check == "memory"))
    assert {later - earlier for earlier, later in zip(sorted(runs), sorted(runs)[1:], strict=False)} == {hours * MS_PER_HOUR}


@pytest.mark.parametrize("fault", [check.fault for check in CHECKS if check.found is Found.AT_ONCE], ids=lambda f: f.value)
def test_what_fails_hard_is_in_the_log_at_once(meter, fault):
    meter.inject(fault)
    (event,) = meter.events()
    assert (event.at_ms, event.detail) == (START_MS, f"check={fault.value}")
    assert states(meter)[fault.value] is DiagnosticState.FAILED


@pytest.mark.covers_part("I2FR17", "I2NFR6")
@pytest.mark.parametrize("days", [1, 30])
def test_a_metrology_fault_is_found_at_the_next_check(meter, clock, days):
    meter.take_setting(ms.DiagnosticsPeriod(86_400, days * 86_400))
    meter.inject(HouseFault.METROLOGY)
    clock.advance(days * MS_PER_DAY - 1)
    assert "metrology_failed" not in logged(meter)
    clock.advance(1)
    assert logged(meter).count("metrology_failed") == 1


@pytest.mark.parametrize("fault", [HouseFault.FORM, HouseFault.CONSISTENCY], ids=lambda f: f.value)
def test_form_and_consistency_are_found_at_the_self_test(meter, clock, fault):
    meter.inject(fault)
    assert logged(meter) == []
    clock.advance(MS_PER_DAY)
    assert logged(meter) == [{HouseFault.FORM: "wrong_form", HouseFault.CONSISTENCY: "registers_inconsistent"}[fault]]


def test_rows_that_miss_energy_really_miss_it(meter):
    rows = meter.profile(START_MS - MS_PER_DAY, START_MS)
    meter.inject(HouseFault.CONSISTENCY, 5)
    short = meter.profile(START_MS - MS_PER_DAY, START_MS)
    assert [row.import_wh - less.import_wh for row, less in zip(rows, short, strict=True)] == [min(5, row.import_wh) for row in rows]


@pytest.mark.covers_part("I2FR6")
def test_the_third_refusal_of_a_time_is_logged(meter):
    meter.inject(HouseFault.TIME_SYNC, 4)
    assert [meter.set_clock(START_MS) for _ in range(5)] == [False] * 4 + [True]
    assert logged(meter) == ["time_sync_failed", "clock_set", "self_test_passed"]


@pytest.mark.covers_part("I2FR8")
def test_a_blocked_push_is_logged_once_until_one_gets_through(meter):
    meter.inject(HouseFault.PUSH)
    assert [meter.push_gets_through() for _ in range(3)] == [False] * 3
    meter.inject(HouseFault.PUSH, 0)
    assert meter.push_gets_through()
    assert logged(meter) == ["push_failed", "push_works_again"]


@pytest.mark.covers_part("I2FR7")
def test_a_home_device_that_comes_back_is_told(meter):
    meter.inject(HouseFault.HAN)
    meter.inject(HouseFault.HAN, 0)
    assert logged(meter) == ["han_device_lost", "han_device_back"]


def test_a_fault_is_remembered_over_a_restart(clock, tmp_path):
    meter = new(clock, tmp_path / "state")
    meter.inject(HouseFault.MEMORY)
    meter.close()
    clock.advance(MS_PER_DAY)
    again = new(clock, tmp_path / "state")
    assert logged(again) == ["memory_failed"]
    assert states(again)["memory"] is DiagnosticState.FAILED
    again.close()


def test_settings_are_remembered_over_a_restart(clock, tmp_path):
    meter = new(clock, tmp_path / "state")
    meter.take_setting(ms.CapturePeriod(1_800))
    meter.take_special_days((ms.SpecialDay(0, 1, 26, 1),))
    meter.close()
    again = new(clock, tmp_path / "state")
    assert again.interval_s == 1_800
    assert again.special_days() == (ms.SpecialDay(0, 1, 26, 1),)
    again.close()


@pytest.mark.covers_part("I2NFR5")
@pytest.mark.parametrize("fault", [HouseFault.MEMORY, HouseFault.CHECKSUM], ids=lambda f: f.value)
def test_after_44_days_a_diagnostic_event_is_still_read(meter, clock, fault):
    meter.inject(fault)
    meter.report_event(201)
    clock.advance(44 * MS_PER_DAY)
    log = SimObjects(meter, ClockRule(utc_offset_min=330)).get(attribute(7, "0.0.99.98.4.255", 2), None)
    assert len(items_of(log)) == 2


def test_a_clock_is_set_without_a_jump_inside_a_finished_row(meter, clock):
    before = meter.profile(START_MS - MS_PER_HOUR, START_MS)
    clock.advance(60_000)
    meter.set_clock(clock.now_ms() + 90_000)
    clock.advance(MS_PER_HOUR)
    after = meter.profile(START_MS - MS_PER_HOUR, clock.now_ms())
    assert after[: len(before)] == before
    assert [row.status for row in after[len(before) :]].count(CLOCK_ADJUSTED) == 1


@pytest.mark.covers_part("BYPL-10.1")
def test_a_clock_that_was_set_tells_old_and_new_time(meter):
    meter.set_clock(START_MS + 90_000)
    (event,) = meter.events()
    assert (event.code, event.detail) == (151, f"old={START_MS} new={START_MS + 90_000}")


def test_rows_add_up_over_a_change_of_the_capture_period(meter, clock):
    clock.advance(20 * 60_000)
    meter.take_setting(ms.CapturePeriod(1_800))
    clock.advance(5 * MS_PER_HOUR)
    rows = meter.profile(START_MS - MS_PER_HOUR, clock.now_ms())
    first = meter.registers_at(START_MS - MS_PER_HOUR - QUARTER_MS)[0]
    assert sum(row.import_wh for row in rows) == meter.registers_at(rows[-1].end_ms)[0] - first
    assert {b.end_ms - a.end_ms for a, b in zip(rows[-6:], rows[-5:], strict=False)} == {1_800_000}


def test_three_phases_carry_the_whole_load(clock):
    now = new(clock, phases=3).snapshot()
    assert abs(sum(phase.power_w for phase in now.phases) - now.power_w) <= 2


def test_a_load_limit_acts_at_the_moment_it_was_exceeded_for_long_enough(meter, clock):
    meter.take_setting(ms.LoadLimit(400, 120))
    clock.advance(2 * MS_PER_DAY)
    cut = next(event for event in meter.events() if event.code == 301)
    register, _ = meter.registers_at(cut.at_ms)
    assert START_MS < cut.at_ms < clock.now_ms()
    assert meter.snapshot().energy_import_wh == register


def test_a_register_read_before_the_log_knows_of_the_cut_already(meter, clock):
    meter.take_setting(ms.LoadLimit(400, 120))
    clock.advance(2 * MS_PER_DAY)
    before = meter.snapshot().energy_import_wh
    meter.events()
    assert meter.snapshot().energy_import_wh == before


@pytest.mark.parametrize("ppm", [-200, -20, 20, 200])
def test_a_clock_drifts_until_it_is_set_and_then_again(clock, ppm):
    meter = new(clock, drift_ppm=ppm)
    clock.advance(10 * MS_PER_DAY)
    gained_ms = meter.clock_ms() - clock.now_ms()
    assert abs(gained_ms - 10 * MS_PER_DAY * ppm // 1_000_000) < MS_PER_DAY * abs(ppm) // 1_000_000
    meter.set_clock(clock.now_ms())
    assert meter.clock_ms() == clock.now_ms()
    clock.advance(MS_PER_DAY)
    assert meter.clock_ms() - clock.now_ms() == MS_PER_DAY * ppm // 1_000_000


@pytest.mark.parametrize("ppm", [-500, 500])
def test_rows_of_a_drifting_clock_add_up(clock, ppm):
    meter = new(clock, drift_ppm=ppm)
    clock.advance(3 * MS_PER_DAY)
    rows = meter.profile(START_MS, clock.now_ms() + MS_PER_DAY)
    assert {b.end_ms - a.end_ms for a, b in pairwise(rows)} == {QUARTER_MS}
    registers = meter.daily(START_MS, clock.now_ms() + MS_PER_DAY)
    inside = [row.import_wh for row in rows if registers[0].at_ms < row.end_ms <= registers[-1].at_ms]
    assert sum(inside) == registers[-1].import_wh - registers[0].import_wh
