"""VEE as arithmetic: the vectors of mdm.md B.6, what must hold for any damage, and real households damaged by chance."""

from __future__ import annotations

import csv
import gzip
import random
from array import array
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_cloud.store.days import EPOCH, midnight_ms
from gridtally_cloud.vee.estimate import Estimator, Method
from gridtally_cloud.vee.judge import Evidence, Known, judge
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.model import RegisterSample, RuleSet, Stretch
from gridtally_cloud.vee.registers import Register, movement, windows
from gridtally_cloud.vee.repair import Standing, repair
from gridtally_cloud.vee.scale import shares
from gridtally_cloud.vee.shapes import spike, standing_still
from gridtally_shared.quality import Quality
from support.data import data_path

UTC = LocalTime("UTC")
QUARTER_S, HALF_S = 900, 1800
MONDAY = (date(2026, 3, 2) - EPOCH).days
START_MS = midnight_ms(MONDAY, "UTC")
DAY_MS = 86_400_000


def stretch(values: list[int | None], period_s: int = QUARTER_S, start_ms: int = START_MS, flags: dict[int, int] | None = None) -> Stretch:
    quality = [(flags or {}).get(i, 0) | (Quality.MISSING if v is None else 0) for i, v in enumerate(values)]
    present = bytes(v is not None for v in values)
    return Stretch(start_ms, period_s, "Wh", array("q", [v or 0 for v in values]), array("H", quality), present)


def known(register: Register | None = None, local: LocalTime = UTC, limit_w: int = 11_000, **more: object) -> Known:
    return Known(RuleSet(), limit_w, local, register or Register(), **more)  # type: ignore[arg-type]


def registers(block: Stretch, counted: list[int], first: int = 0, every: int = 96, rollover: int = 0) -> Register:
    """Reads at every `every`th interval of a meter that counted exactly `counted`."""
    marks = range(0, len(block) + 1, every)
    reads = (first + sum(counted[:i]) for i in marks)
    values = [value % rollover if rollover else value for value in reads]
    return Register(tuple(RegisterSample(block.start_of(i), value) for i, value in zip(marks, values, strict=True)), 1, rollover)


# ---- the vectors of mdm.md B.6 ------------------------------------------------------------------------------------


def test_vector_1_three_missing_lie_on_a_line() -> None:
    done = repair(stretch([1200, None, None, None, 2000]), known())
    assert list(done.values) == [1200, 1400, 1600, 1800, 2000]
    assert done.standings[1:4] == (Standing.LINEAR,) * 3


@pytest.mark.parametrize(("missing", "method"), [(8, Method.LINEAR), (9, Method.AVERAGE)])
def test_vector_1_more_than_two_hours_is_no_line(missing: int, method: Method) -> None:
    done = repair(stretch([1200, *[None] * missing, 2000]), known())
    assert {e.method for e in done.estimates} == {method}


@pytest.mark.parametrize(("top", "fails"), [(8400, 0), (8401, 1)])
def test_vector_2_a_spike_is_more_than_180_percent_above_the_third_highest(top: int, fails: int) -> None:
    assert len(spike(stretch([3000, top, 3000, 3000]), RuleSet())) == fails


@pytest.mark.parametrize(("counted", "agrees"), [(322, True), (320, True), (319, False), (480, True), (481, False)])
def test_vector_3_the_sum_may_differ_by_two_steps_of_the_register(counted: int, agrees: bool) -> None:
    block = stretch([counted, 0])
    reads = (RegisterSample(START_MS, 1000 * 40), RegisterSample(block.start_of(2), 1010 * 40))
    found = judge(block, known(Register(reads, step=40), limit_w=1_000_000)).findings
    assert [f.rule for f in found] == ([] if agrees else ["sum"])


def test_vector_4_estimates_are_scaled_to_the_register() -> None:
    assert shares(48, [30, 10, 20]) == [24, 8, 16]


def test_vector_5_what_rounding_leaves_goes_to_the_largest_remainder() -> None:
    assert shares(1000, [1, 1, 1]) == [334, 333, 333]


def test_vector_6_a_register_of_five_digits_rolls_over() -> None:
    assert movement(99_990, 25, 100_000, 1_000) == 35
    assert movement(99_990, 25, 100_000, 34) is None, "more than the service allows is no rollover"
    assert movement(500, 25, 0, 1_000) is None, "nobody knows how many digits there are"


def test_vector_7_a_like_day_with_an_outage_is_passed_over() -> None:
    day = [1000] * 96
    weeks = [day * 7 for _ in range(5)]
    for week, value in enumerate([2300, 2000, 9000, 2200, 2400]):
        weeks[week] = [*weeks[week][:40], value, *weeks[week][41:]]
    values: list[int | None] = [v for week in weeks for v in week] + [1000] * 28 + [None] * 24 + [1000] * 44
    dark = 2 * 7 * 96 + 60
    block = stretch(values, flags={dark: Quality.POWER_FAIL})
    failed = bytes(v is None for v in values)
    at_ten = next(e for e in Estimator(block, failed, UTC, RuleSet()).all() if e.index == 5 * 7 * 96 + 40)
    assert (at_ten.value, at_ten.method) == (2200, Method.LIKE_DAY), "2000, 2200 and 2400; not the week with the outage"


@pytest.mark.parametrize(("day", "slots"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100)])
def test_vector_9_the_check_of_completeness_goes_by_the_clock_of_the_zone(day: date, slots: int) -> None:
    first_ms = midnight_ms((day - EPOCH).days, "Europe/Berlin")
    values: list[int | None] = [100 + i % 7 for i in range(slots)]
    facts = known(local=LocalTime("Europe/Berlin"))
    assert judge(stretch(values, start_ms=first_ms), facts).findings == ()
    (found,) = judge(stretch([*values[:-1], None], start_ms=first_ms), facts).findings
    assert (found.rule, found.text) == ("gap", f"1 of {slots} intervals of the day are missing")


def test_vector_4_as_a_day_of_a_meter() -> None:
    """The register moved by 400, 352 of it were measured; what the line gives for the rest is scaled to 48."""
    block = stretch([160, None, None, None, 192])
    reads = (RegisterSample(START_MS, 0), RegisterSample(block.start_of(5), 400))
    done = repair(block, known(Register(reads)))
    assert sum(done.values) == 400
    assert list(done.values) == [160, *shares(48, [168, 176, 184]), 192]


def test_a_value_above_the_service_that_the_register_counted_comes_back_and_waits_for_a_person() -> None:
    counted = [100 + i % 7 for i in range(96)]
    counted[40] = 4_000
    done = repair(stretch(list(counted)), known(registers(stretch(list(counted)), counted)))
    assert (done.values[40], done.standings[40]) == (4_000, Standing.LINEAR)
    assert [f.rule for f in done.findings] == ["limit", "spike", "estimate"]


@pytest.mark.parametrize(("day", "slots"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100), (date(2026, 10, 26), 96)])
def test_vector_9_a_day_has_as_many_intervals_as_its_clock_gives_it(day: date, slots: int) -> None:
    berlin = LocalTime("Europe/Berlin")
    number = (day - EPOCH).days
    block = stretch([1] * 100, start_ms=midnight_ms(number, "Europe/Berlin"))
    found, first, after = next(iter(berlin.days(block)))
    assert (found, after - first) == (number, slots)
    clocks = [berlin.clock(block.start_of(i)) for i in range(first, after)]
    assert len(set(clocks)) == slots, "the repeated hour is kept apart"


# ---- one rule or method each --------------------------------------------------------------------------------------


def test_two_spikes_of_a_day_do_not_hide_each_other() -> None:
    assert [f.value for f in spike(stretch([100, 9000, 100, 8000, 100]), RuleSet())] == [9000, 8000]


def test_a_standstill_goes_on_over_midnight() -> None:
    block = stretch([*range(1, 91), *[7] * 12, *range(200, 290)])
    (found,) = standing_still(block, RuleSet())
    assert (found.rule, found.value, found.limit) == ("stuck", 7, 12)
    assert standing_still(stretch([1, *[7] * 11, 2]), RuleSet()) == ()


REAL = {"flat": [50] * 96, "zeros": [0] * 96, "one peak": [100] * 50 + [3000] + [100] * 45}


@pytest.mark.parametrize("values", REAL.values(), ids=REAL)
def test_what_the_register_agrees_with_is_real_however_strange(values: list[int]) -> None:
    done = repair(stretch(list(values)), known(registers(stretch(list(values)), values)))
    assert list(done.values) == values
    assert set(done.standings) <= {Standing.VALIDATED, Standing.VERIFIED}
    assert Standing.VERIFIED in done.standings


def test_without_a_register_zeros_and_contradictions_wait_for_a_person() -> None:
    values: list[int | None] = [0] * 20 + [5] * 5 + [6] * 5
    done = repair(stretch(values), known(contradictions=((START_MS + 22 * 900_000, 9),)))
    assert list(done.values) == values
    assert sorted(f.rule for f in done.findings) == ["conflict", "zero"]


def test_of_two_values_the_register_tells_which_is_wrong() -> None:
    counted = [10] * 5 + [11] * 91
    held = [*counted[:9], 500, *counted[10:]]
    done = repair(stretch(list(held)), known(registers(stretch(list(held)), counted), contradictions=((START_MS + 9 * 900_000, 11),)))
    assert list(done.values) == counted, "the held value was too high by what the register did not move"


def test_a_value_the_meter_marks_as_wrong_is_estimated() -> None:
    done = repair(stretch([100, 300, 120], flags={1: Quality.METER_INVALID}), known())
    assert list(done.values) == [100, 110, 120]
    assert [f.rule for f in done.findings] == ["meter"]


def test_an_outage_is_zero_and_so_is_the_hole_between_two() -> None:
    flags = {2: int(Quality.POWER_FAIL), 5: int(Quality.POWER_FAIL)}
    done = repair(stretch([100, 100, None, None, None, None, 100], flags=flags), known())
    assert list(done.values) == [100, 100, 0, 0, 0, 0, 100]
    assert done.standings[2:6] == (Standing.ZERO,) * 4


def test_a_second_channel_is_better_than_any_guess() -> None:
    done = repair(stretch([100, None, 100]), known(), {START_MS + 900_000: 173})
    assert (done.values[1], done.standings[1]) == (173, Standing.CHECK)


def test_at_the_edge_of_what_is_known_the_one_side_stands_for_all() -> None:
    assert list(repair(stretch([100, 120, None, None]), known()).values) == [100, 120, 120, 120]


def test_a_holiday_is_estimated_from_sundays() -> None:
    values: list[int | None] = [(900 if day % 7 == 6 else 100) + place % 2 for day in range(21) for place in range(96)]
    values += [None] * 96
    monday = MONDAY + 21
    plain = repair(stretch(values), known())
    feast = repair(stretch(values), known(local=LocalTime("UTC", frozenset({monday}))))
    assert set(plain.values[-96:]) == {100, 101}
    assert set(feast.values[-96:]) == {900, 901}


def test_nothing_known_stays_missing() -> None:
    done = repair(stretch([None] * 4), known())
    assert done.standings == (Standing.MISSING,) * 4


def test_a_register_that_contradicts_the_measured_values_scales_nothing() -> None:
    counted = [100] * 96
    values: list[int | None] = [200 + i % 3 for i in range(95)] + [None]
    done = repair(stretch(values), known(registers(stretch(values), counted)))
    assert done.values[-1] > 0
    assert "sum" in {f.rule for f in done.findings}
    assert not any(done.scaled)


def test_an_estimate_the_service_does_not_allow_is_a_finding() -> None:
    values: list[int | None] = [100 + i % 3 for i in range(95)] + [None]
    reads = (RegisterSample(START_MS, 0), RegisterSample(START_MS + DAY_MS, 20_000))
    done = repair(stretch(values), known(Register(reads)))
    assert [f.rule for f in done.findings] == ["gap", "estimate"]


# ---- whatever the damage ------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 2000), min_size=192, max_size=192),
    st.sets(st.integers(0, 191)),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
)
def test_measured_values_stay_sums_are_exact_and_once_more_changes_nothing(counted: list[int], holes: set[int], zone: str) -> None:
    damaged = stretch([None if i in holes else value for i, value in enumerate(counted)])
    facts = known(registers(damaged, counted), LocalTime(zone))
    done = repair(damaged, facts)
    assert all(done.values[i] == counted[i] for i in range(192) if i not in holes)
    if any(done.standings[i] is Standing.MISSING for i in holes):
        assert len(holes) == 192
    else:
        assert [sum(done.values[w.first : w.after]) for w in done.judgement.windows] == [sum(counted[:96]), sum(counted[96:])]
    assert repair(damaged, facts) == done


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_shares_sum_to_the_whole_and_are_never_further_off_than_one(total: int, weights: list[int]) -> None:
    parts = shares(total, weights)
    assert sum(parts) == total
    if sum(weights):
        assert all(abs(part * sum(weights) - total * weight) < sum(weights) for part, weight in zip(parts, weights, strict=True))


# ---- real households, damaged by chance ---------------------------------------------------------------------------

SHAPES = ("gap", "spike", "stuck", "zero", "negative")


@pytest.mark.parametrize("household", ["10006414", "10006704", "10017562", "10017994", "10018064"])
def test_a_real_household_damaged_by_chance_is_mended_and_nothing_else_is_touched(household: str) -> None:
    counted = month_of(household)
    chance = random.Random(int(household))
    for _ in range(6):
        damaged, touched, hurt = spoilt(counted, chance)
        block = stretch(damaged, HALF_S)
        done = repair(block, known(registers(block, counted, 99_990_255, 48, 100_000_000)))
        outside = [i for i in range(len(counted)) if i not in touched and done.values[i] != counted[i]]
        assert outside == []
        assert all(abs(sum(done.values[w.first : w.after]) - w.moved) <= w.tolerance for w in done.judgement.windows)
        assert all(any(f.rule == rule and f.start_ms <= block.start_of(i) < f.end_ms for f in done.findings) for rule, i in hurt)


def month_of(household: str) -> list[int]:
    """Thirty whole days in Wh from some way into the file."""
    with gzip.open(data_path(f"interval_data/sgsc_{household}_30min.csv.gz"), "rt") as text:
        rows = [row for row in csv.reader(text) if row[0].startswith("2")]
    by_day: dict[str, list[int]] = {}
    for row in rows:
        by_day.setdefault(row[0][:10], []).append(round(float(row[1]) * 1000))
    days = [values for values in by_day.values() if len(values) == 48][60:90]
    return [value for values in days for value in values]


def spoilt(counted: list[int], chance: random.Random) -> tuple[list[int | None], set[int], list[tuple[str, int]]]:
    """(values, what was touched, (rule, place) of what has to be found): one fault of each kind, days apart."""
    values: list[int | None] = list(counted)
    touched, hurt = set(), []
    for day, kind in zip(chance.sample(range(2, 28, 3), len(SHAPES)), SHAPES, strict=True):
        first = day * 48 + chance.randrange(10, 20)
        n = chance.randrange(13, 24) if kind in ("gap", "stuck", "zero") else 1
        bad = {"gap": None, "spike": 22_000, "negative": -1250, "stuck": counted[first] // 3 + 1, "zero": 0}[kind]
        values[first : first + n] = [bad] * n
        touched |= set(range(first, first + n))
        hurt += [({"negative": "limit"}.get(kind, kind), i) for i in range(first, first + n)]
    return values, touched, hurt


def test_every_evidence_has_a_window_that_gives_it() -> None:
    counted = [100] * 96
    low = [100] * 95 + [99]
    cases = {
        Evidence.AGREES: low, Evidence.MORE: [50] * 96, Evidence.LESS: [150] * 96, Evidence.ROOM: [100] * 90 + [None] * 6,
    }  # fmt: skip
    for evidence, values in cases.items():
        block = stretch(list(values))
        marks = {i for i, c in enumerate(judge(block, known(registers(block, counted))).confirmed) if c}
        assert bool(marks) == (evidence is Evidence.AGREES)


def test_a_read_beside_the_grid_bounds_no_window() -> None:
    reads = (RegisterSample(START_MS + 1, 0), RegisterSample(START_MS + DAY_MS, 9_600))
    assert windows(stretch([100] * 96), Register(reads), 11_000, RuleSet()) == ()
