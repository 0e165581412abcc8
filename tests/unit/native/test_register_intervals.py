"""Samples of a cumulative register into energy per interval: exact sums, honest flags, refused calls."""

from __future__ import annotations

import csv
import itertools
import json
from array import array
from collections.abc import Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_native import MISSING, PARTIAL, RESET, ROLLOVER, RegisterIntervals
from gridtally_native._records import MAX_STEP_WH
from gridtally_shared.quality import Quality
from support.required import data_path

pytestmark = pytest.mark.native_twin

Sample = tuple[int, int]
NEVER = 2**40
INT64 = st.integers(-(2**63), 2**63 - 1)


def intervals(
    twin: ModuleType, samples: Sequence[Sample], start: int, period: int, n: int, gap: int = NEVER, **rules: int
) -> RegisterIntervals:
    at_ms, register_wh = array("q", [at for at, _ in samples]), array("q", [wh for _, wh in samples])
    return twin.register_intervals(at_ms, register_wh, start, period, n, gap, **rules)  # type: ignore[no-any-return]


def cells(result: RegisterIntervals) -> list[tuple[int, int]]:
    return list(zip(result.energy_wh, result.flags, strict=True))


def outcome(call: Any, *arguments: Any, **rules: int) -> object:
    try:
        return call(*arguments, **rules)
    except ValueError as error:
        return str(error)


def test_flag_numbers_are_those_of_the_shared_package() -> None:
    assert (MISSING, PARTIAL, RESET, ROLLOVER) == (Quality.MISSING, Quality.PARTIAL, Quality.RESET, Quality.ROLLOVER)


def test_samples_on_the_boundaries(twin: ModuleType) -> None:
    assert cells(intervals(twin, [(0, 100), (900, 150), (1800, 175)], 0, 900, 2)) == [(50, 0), (25, 0)]


def test_a_boundary_between_two_samples_is_interpolated_downwards(twin: ModuleType) -> None:
    """10 Wh from 300 to 1200: two thirds, 6.67 Wh, lie before 900."""
    assert cells(intervals(twin, [(0, 0), (300, 1), (1200, 11), (1800, 20)], 0, 900, 2)) == [(7, 0), (13, 0)]


def test_one_step_over_several_intervals(twin: ModuleType) -> None:
    assert cells(intervals(twin, [(-450, 0), (2250, 30)], 0, 900, 2)) == [(10, 0), (10, 0)]


def test_before_and_after_the_samples(twin: ModuleType) -> None:
    result = intervals(twin, [(1000, 5), (1700, 12), (2000, 13)], 0, 900, 4)
    assert cells(result) == [(0, MISSING), (7, PARTIAL), (1, PARTIAL), (0, MISSING)]


@pytest.mark.parametrize("samples", [[], [(500, 7)]])
def test_fewer_than_two_samples_say_nothing(twin: ModuleType, samples: list[Sample]) -> None:
    assert cells(intervals(twin, samples, 0, 900, 2)) == [(0, MISSING), (0, MISSING)]


def test_a_long_gap_is_flagged_and_keeps_its_energy(twin: ModuleType) -> None:
    result = intervals(twin, [(0, 0), (900, 10), (1000, 11), (3500, 61), (3600, 65)], 0, 900, 4, gap=1000)
    assert [flag for _, flag in cells(result)] == [0, PARTIAL, MISSING, PARTIAL]
    assert result.total_wh == 65


def test_a_gap_of_exactly_the_limit_counts_as_measured(twin: ModuleType) -> None:
    assert cells(intervals(twin, [(0, 0), (1800, 9)], 0, 900, 2, gap=1800)) == [(4, 0), (5, 0)]
    assert cells(intervals(twin, [(0, 0), (1800, 9)], 0, 900, 2, gap=1799)) == [(4, MISSING), (5, MISSING)]


def test_rollover(twin: ModuleType) -> None:
    """Five digits, 99990 -> 00025: step 35."""
    assert cells(intervals(twin, [(0, 99990), (900, 25)], 0, 900, 1, rollover_wh=10**5)) == [(35, ROLLOVER)]


def test_going_back_too_far_for_a_rollover_is_a_reset(twin: ModuleType) -> None:
    samples = [(0, 60000), (900, 0), (1800, 8)]
    assert cells(intervals(twin, samples, 0, 900, 2, rollover_wh=10**5)) == [(0, MISSING | RESET), (8, 0)]


def test_going_back_without_rollover_is_a_reset(twin: ModuleType) -> None:
    samples = [(0, 50), (400, 60), (500, 10), (900, 14)]
    assert cells(intervals(twin, samples, 0, 900, 1)) == [(14, PARTIAL | RESET)]


def test_a_register_beyond_its_own_digits_is_a_reset(twin: ModuleType) -> None:
    assert cells(intervals(twin, [(0, 100000), (900, 25)], 0, 900, 1, rollover_wh=10**5)) == [(0, MISSING | RESET)]
    assert cells(intervals(twin, [(0, 99990), (900, -25)], 0, 900, 1, rollover_wh=10**5)) == [(0, MISSING | RESET)]


@pytest.mark.parametrize(("moved", "flag"), [(5001, 0), (5005, 0), (5008, MISSING | RESET)])
def test_more_than_the_power_allows_is_a_reset(twin: ModuleType, moved: int, flag: int) -> None:
    """20 kW for 900 s is 5000 Wh; one second and one Wh are forgiven, together 6.56 Wh."""
    result = intervals(twin, [(0, 0), (900_000, moved)], 0, 900_000, 1, max_power_w=20_000)
    assert cells(result) == [(0 if flag else moved, flag)]


def test_a_coarse_register_may_jump_by_its_resolution(twin: ModuleType) -> None:
    samples = [(0, 5000), (60_000, 6000)]
    coarse = intervals(twin, samples, 0, 60_000, 1, max_power_w=5_000, resolution_wh=1000)
    assert cells(coarse) == [(1000, 0)]
    assert cells(intervals(twin, samples, 0, 60_000, 1, max_power_w=5_000)) == [(0, MISSING | RESET)]


def test_the_largest_step(twin: ModuleType) -> None:
    assert cells(intervals(twin, [(0, 0), (9, MAX_STEP_WH)], 0, 9, 1)) == [(MAX_STEP_WH, 0)]
    assert cells(intervals(twin, [(0, 0), (9, MAX_STEP_WH + 1)], 0, 9, 1)) == [(0, MISSING | RESET)]
    assert cells(intervals(twin, [(0, -(2**63)), (9, 2**63 - 1)], 0, 9, 1)) == [(0, MISSING | RESET)]


def test_a_step_of_decades_is_still_exact(twin: ModuleType) -> None:
    span, moved = 2**41, 2**40 - 7
    result = intervals(twin, [(-12345, 3), (span - 12345, 3 + moved)], 0, 2**31 - 1, 3)
    bounds = [moved * (12345 + i * (2**31 - 1)) // span for i in range(4)]
    assert list(result.energy_wh) == [b - a for a, b in itertools.pairwise(bounds)]


def test_movement_between_equal_times_goes_to_the_interval_that_ends_there(twin: ModuleType) -> None:
    samples = [(0, 0), (900, 5), (900, 8), (1000, 8), (1000, 9), (1800, 9)]
    assert cells(intervals(twin, samples, 0, 900, 2)) == [(8, 0), (1, 0)]


def test_time_that_goes_back_is_refused(twin: ModuleType) -> None:
    for samples in ([(0, 0), (5, 1), (4, 2)], [(0, 0), (10**6, 1), (10**6 - 1, 2)]):
        with pytest.raises(ValueError, match="row 2: at_ms goes back; sort the samples first"):
            intervals(twin, samples, 0, 900, 1)


@pytest.mark.parametrize(
    "bad",
    [
        {"period_ms": 0}, {"period_ms": 2**31}, {"n": -1}, {"n": 2**24 + 1}, {"max_gap_ms": 0}, {"start_ms": 2**62},
        {"rollover_wh": -1}, {"rollover_wh": 2**62 + 1}, {"max_power_w": 2**31}, {"resolution_wh": 2**40 + 1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(twin: ModuleType, bad: dict[str, int]) -> None:
    settings = {"start_ms": 0, "period_ms": 900, "n": 1, "max_gap_ms": 900} | bad
    with pytest.raises(ValueError):
        twin.register_intervals(array("q"), array("q"), **settings)


def test_times_out_of_range_are_refused(twin: ModuleType) -> None:
    with pytest.raises(ValueError, match="at_ms must be within"):
        intervals(twin, [(0, 0), (2**62 + 1, 5)], 0, 900, 1)


def test_columns_of_different_length_are_refused(twin: ModuleType) -> None:
    with pytest.raises(ValueError, match="columns differ in length: 1, 2"):
        twin.register_intervals(array("q", [1]), array("q", [1, 2]), 0, 900, 1, 900)


def test_many_meters_are_the_single_ones_side_by_side(twin: ModuleType) -> None:
    one, two = [(0, 5), (1000, 9), (1900, 10)], [(-5, 99), (1800, 3)]
    names = array("i", [3] * 3 + [70000] * 2)
    times, registers = zip(*one, *two, strict=True)
    table = twin.register_intervals_many(names, array("q", times), array("q", registers), 0, 900, 2, NEVER)
    assert len(table) == 2
    assert dict(table) == {3: intervals(twin, one, 0, 900, 2), 70000: intervals(twin, two, 0, 900, 2)}
    with pytest.raises(IndexError):
        table.row(2)


def test_many_meters_out_of_order_are_refused(twin: ModuleType) -> None:
    q = array("q", [1, 2, 3])
    with pytest.raises(ValueError, match="row 2: meters are not in order"):
        twin.register_intervals_many(array("i", [1, 2, 1]), q, q, 0, 900, 2, NEVER)
    with pytest.raises(ValueError, match="row 2: at_ms goes back"):
        twin.register_intervals_many(array("i", [1, 2, 2]), array("q", [1, 3, 2]), q, 0, 900, 2, NEVER)


def test_too_many_cells_are_refused(twin: ModuleType) -> None:
    q = array("q", range(9))
    with pytest.raises(ValueError, match="9 meters x 16777216 intervals"):
        twin.register_intervals_many(array("i", range(9)), q, q, 0, 900, 2**24, NEVER)


@st.composite
def rising(draw: st.DrawFn, biggest: int = 5000) -> list[Sample]:
    """Samples of a healthy register: time and energy never go back."""
    steps = draw(st.lists(st.tuples(st.integers(0, 700), st.integers(0, biggest)), min_size=2, max_size=40))
    at, wh, samples = draw(st.integers(-3000, 500)), draw(st.integers(0, 10**9)), []
    for elapsed, moved in steps:
        at, wh = at + elapsed, wh + moved
        samples.append((at, wh))
    return samples


@given(rising(), st.integers(1, 900))
def test_intervals_add_up_to_the_movement_of_the_register(twin: ModuleType, samples: list[Sample], period: int) -> None:
    first, last = samples[0], samples[-1]
    n = (last[0] - first[0]) // period + 2
    assert intervals(twin, samples, first[0] - 1, period, n).total_wh == last[1] - first[1]


@given(rising(), st.integers(1, 400), st.integers(1, 12), st.integers(1, 12))
def test_two_calls_side_by_side_are_one_call(
    twin: ModuleType, samples: list[Sample], period: int, a: int, b: int
) -> None:
    whole = intervals(twin, samples, 0, period, a + b)
    left = intervals(twin, samples, 0, period, a)
    right = intervals(twin, samples, a * period, period, b)
    assert cells(left) + cells(right) == cells(whole)


@given(rising(), st.integers(1, 12), st.integers(1, 60))
def test_leaving_samples_out_never_changes_the_total(
    twin: ModuleType, samples: list[Sample], step: int, period: int
) -> None:
    """Any split of the same movement into samples gives the same energy."""
    fewer = [samples[0], *samples[1:-1:step], samples[-1]]
    n = (samples[-1][0] - samples[0][0]) // period + 2
    start = samples[0][0] - 1
    assert intervals(twin, fewer, start, period, n).total_wh == intervals(twin, samples, start, period, n).total_wh


@given(rising(), st.integers(50, 900))
def test_each_boundary_is_the_interpolated_register(twin: ModuleType, samples: list[Sample], period: int) -> None:
    """The sum of the first k intervals is the register at that boundary, rounded down."""
    result = intervals(twin, samples, samples[0][0], period, 8)
    for k in range(9):
        boundary = samples[0][0] + k * period
        assert sum(result.energy_wh[:k]) == _line(samples, boundary) - _line(samples, samples[0][0])


def _line(samples: list[Sample], at: int) -> int:
    after = [s for s in samples if s[0] <= at]
    t0, r0 = after[-1]
    later = [s for s in samples if s[0] > at]
    if not later:
        return r0
    t1, r1 = later[0]
    return r0 + int(Fraction((r1 - r0) * (at - t0), t1 - t0))


RULES = st.fixed_dictionaries(
    {},
    optional={
        "rollover_wh": st.integers(0, 20000) | st.integers(0, 2**62),
        "max_power_w": st.integers(0, 2**31 - 1),
        "resolution_wh": st.integers(0, 2**40),
    },
)


@given(
    st.lists(st.tuples(st.integers(-3000, 9000), st.integers(-50, 20000) | INT64), max_size=30),
    st.integers(-3000, 3000),
    st.integers(1, 2000),
    st.integers(0, 20),
    st.integers(1, 4000),
    RULES,
)
def test_twins_agree_on_any_register(
    pure: ModuleType,
    kernel: ModuleType,
    samples: list[Sample],
    start: int,
    period: int,
    n: int,
    gap: int,
    rules: dict[str, int],
) -> None:
    ordered = sorted(samples, key=lambda sample: sample[0])
    for case in (ordered, samples):
        expected = outcome(intervals, pure, case, start, period, n, gap, **rules)
        assert outcome(intervals, kernel, case, start, period, n, gap, **rules) == expected


@given(
    st.lists(st.tuples(INT64, INT64), max_size=12),
    st.integers(-(2**62), 2**62),
    st.integers(1, 2**31 - 1),
    st.integers(0, 6),
    st.integers(1, 2**62),
    RULES,
)
def test_twins_agree_over_the_whole_range(
    pure: ModuleType,
    kernel: ModuleType,
    samples: list[Sample],
    start: int,
    period: int,
    n: int,
    gap: int,
    rules: dict[str, int],
) -> None:
    ordered = sorted(samples, key=lambda sample: sample[0])
    expected = outcome(intervals, pure, ordered, start, period, n, gap, **rules)
    assert outcome(intervals, kernel, ordered, start, period, n, gap, **rules) == expected


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 3000), st.integers(0, 900)), max_size=40))
def test_twins_agree_on_many_meters(
    pure: ModuleType, kernel: ModuleType, samples: list[tuple[int, int, int]]
) -> None:
    for case in (samples, sorted(samples, key=lambda sample: sample[:2])):
        columns = [array(code, [row[i] for row in case]) for i, code in enumerate("iqq")]
        expected = outcome(pure.register_intervals_many, *columns, 100, 250, 9, 400, rollover_wh=1000)
        assert outcome(kernel.register_intervals_many, *columns, 100, 250, 9, 400, rollover_wh=1000) == expected


def test_a_measured_day_at_one_minute(twin: ModuleType) -> None:
    """UCI household, power in W each minute; the register counts watt-minutes so that all is integer."""
    text = data_path("interval_data/uci_1min_2007-02-01.csv").read_text().splitlines()
    power_w = [round(float(row["Global_active_power"]) * 1000) for row in csv.DictReader(text, delimiter=";")]
    samples = [(0, 0)]
    for minute, watt in enumerate(power_w, 1):
        samples.append((minute * 60_000, samples[-1][1] + watt))
    result = intervals(twin, samples, 0, 900_000, 96, 120_000)
    expected = json.loads(data_path("interval_data/expected_other.json").read_text())["uci_1min_2007-02-01.csv"]
    assert [round(wmin / 60_000, 6) for wmin in result.energy_wh] == expected["kwh_15min"]
    assert set(result.flags) == {0}


def test_a_register_that_rolled_over_in_may(twin: ModuleType) -> None:
    """Daily reads that wrap at 100000 kWh: each day is the difference, the wrap is said once."""
    rows = list(csv.DictReader(data_path("vee/10018064_registers.csv").read_text().splitlines()))
    registers = [round(float(row["register_kwh"]) * 1000) for row in rows]
    day = 86_400_000
    result = intervals(twin, [(i * day, wh) for i, wh in enumerate(registers)], 0, day, len(rows) - 1, day, rollover_wh=10**8)
    steps = [(b - a) % 10**8 for a, b in itertools.pairwise(registers)]
    assert list(result.energy_wh) == steps
    assert [i for i, flag in enumerate(result.flags) if flag == ROLLOVER] == [
        i for i, (a, b) in enumerate(itertools.pairwise(registers)) if b < a
    ]
