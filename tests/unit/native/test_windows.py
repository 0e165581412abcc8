"""Demand, time-of-use totals and blocks on the grid: exact, flagged honestly, the same compiled and pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_native import CLOCK, MISSING, PARTIAL, RESET, RegisterIntervals, register_intervals
from gridtally_native._records import MAX_CELL_WH, MAX_STEP_WH, Demand
from gridtally_shared.quality import Quality
from unit.native.twins import both, compiled_of, twin_of

pytestmark = pytest.mark.native_twin

QUARTER = 900_000
FLAGS = st.integers(0, 2**16 - 1)
CELL = st.one_of(st.integers(-5_000, 50_000), st.integers(-(2**63), 2**63 - 1))


@pytest.fixture(params=both("windows"))
def twin(request: pytest.FixtureRequest) -> ModuleType:
    return twin_of("windows", request.param)


def q(values: Sequence[int]) -> array[int]:
    return array("q", values)


def demand(twin: ModuleType, energy: Sequence[int], flags: Sequence[int], windows: int, sliding: bool) -> Demand:
    return twin.demand_windows(q(energy), array("H", flags), QUARTER, windows, sliding=sliding)  # type: ignore[no-any-return]


def test_a_half_hour_block_is_the_mean_of_two_quarters(twin: ModuleType) -> None:
    """500 and 700 Wh in two quarters: 1,200 Wh in half an hour is 2,400 W."""
    made = demand(twin, [500, 700, 100, 100, 900], [0] * 5, 2, sliding=False)
    assert (list(made.power_w), made.window_ms) == ([2_400, 400], 2 * QUARTER)


def test_a_sliding_window_sees_the_peak_that_two_blocks_cut_apart(twin: ModuleType) -> None:
    energy = [0, 1_000, 1_000, 0]
    block, sliding = (demand(twin, energy, [0] * 4, 2, sliding=s) for s in (False, True))
    assert max(block.power_w) == 2_000
    assert (sliding.peak(), sliding.power_w[2]) == (2, 4_000)
    assert sliding.flags[0] == MISSING


def test_a_window_with_a_missing_part_is_no_peak(twin: ModuleType) -> None:
    made = demand(twin, [900, 900, 10, 10], [MISSING, 0, 0, 0], 2, sliding=False)
    assert (list(made.flags), made.peak()) == ([MISSING, 0], 1)


def test_equal_peaks_are_the_first_one_and_none_is_none(twin: ModuleType) -> None:
    assert demand(twin, [5, 9, 9, 2], [0] * 4, 1, sliding=False).peak() == 1
    assert demand(twin, [5, 9], [MISSING, RESET], 1, sliding=False).peak() is None


@given(rows=st.lists(st.tuples(CELL, FLAGS), max_size=40), windows=st.integers(1, 9), sliding=st.booleans())
def test_demand_is_the_exact_mean_rounded_half_up(rows: list[tuple[int, int]], windows: int, sliding: bool) -> None:
    energy, flags = [e for e, _ in rows], [f for _, f in rows]
    made = [demand(twin_of("windows", name), energy, flags, windows, sliding) for name in both("windows")]
    assert all(other == made[0] for other in made)
    ends = range(1, len(rows) + 1) if sliding else range(windows, len(rows) + 1, windows)
    for place, end in enumerate(ends):
        part = [e if abs(e) <= MAX_CELL_WH else 0 for e in energy[max(0, end - windows) : end]]
        exact = Fraction(sum(part) * 3_600_000, windows * QUARTER) + Fraction(1, 2)
        if end >= windows and abs(sum(part)) <= MAX_STEP_WH:
            assert made[0].power_w[place] == exact.__floor__()


def test_each_rate_gets_its_energy_and_the_sum_is_whole(twin: ModuleType) -> None:
    totals = twin.tou_totals(q([10, 20, 30, 40]), array("H", [0, PARTIAL, 0, 0]), bytes([0, 1, 1, 0]), 3)
    assert (list(totals.total_wh), list(totals.intervals), list(totals.flagged)) == ([50, 50, 0], [2, 2, 0], [0, 1, 0])


def test_a_rate_that_is_none_is_refused(twin: ModuleType) -> None:
    with pytest.raises(ValueError, match="interval 1 has rate 3, there are 3"):
        twin.tou_totals(q([1, 1]), array("H", [0, 0]), bytes([0, 3]), 3)


@given(rows=st.lists(st.tuples(CELL, FLAGS, st.integers(0, 7)), max_size=40))
def test_totals_of_all_rates_are_the_energy_of_all_intervals(rows: list[tuple[int, int, int]]) -> None:
    columns = q([e for e, _, _ in rows]), array("H", [f for _, f, _ in rows]), bytes(r for _, _, r in rows)
    made = [twin_of("windows", name).tou_totals(*columns, 8) for name in both("windows")]
    assert all(other == made[0] for other in made)
    assert sum(made[0].total_wh) == sum(e for e, _, _ in rows if abs(e) <= MAX_CELL_WH)
    assert sum(made[0].intervals) == len(rows)


def lay(twin: ModuleType, blocks: Sequence[tuple[int, int, int]], n: int, start: int = 0) -> list[tuple[int, int]]:
    columns = [q([b[i] for b in blocks]) for i in range(3)]
    made: RegisterIntervals = twin.lay_on_grid(*columns, array("H", [0] * len(blocks)), start, QUARTER, n)
    return list(zip(made.energy_wh, made.flags, strict=True))


def test_half_hours_become_quarters_and_odd_energy_is_not_lost(twin: ModuleType) -> None:
    assert lay(twin, [(0, 2 * QUARTER, 7)], 2) == [(3, 0), (4, 0)]


def test_a_clock_set_back_ten_minutes_keeps_the_energy_and_says_so(twin: ModuleType) -> None:
    """00:15 to 00:25, then the clock goes back to 00:15 and the block is written to 00:30."""
    minute = 60_000
    blocks = [(0, QUARTER, 100), (15 * minute, 25 * minute, 60), (15 * minute, 30 * minute, 90)]
    assert lay(twin, blocks, 2) == [(100, 0), (150, CLOCK)]


def test_a_block_that_ends_before_it_begins_keeps_its_energy_at_its_end(twin: ModuleType) -> None:
    assert lay(twin, [(QUARTER + 5, QUARTER, 30)], 2) == [(30, CLOCK | MISSING), (0, MISSING)]


def test_a_clock_set_forward_leaves_a_hole_that_is_flagged(twin: ModuleType) -> None:
    minute = 60_000
    assert lay(twin, [(0, 5 * minute, 40), (12 * minute, 15 * minute, 20)], 1) == [(60, PARTIAL)]


TIME = st.one_of(st.integers(-3 * QUARTER, 9 * QUARTER), st.integers(-(2**62), 2**62))


@given(
    blocks=st.lists(st.tuples(TIME, TIME, st.one_of(st.integers(0, 9_000), st.integers(-5, 2**41)), FLAGS), max_size=12),
    n=st.integers(0, 6),
)
def test_blocks_on_the_grid_are_the_same_in_both_twins(blocks: list[tuple[int, int, int, int]], n: int) -> None:
    columns: list[Any] = [q([b[i] for b in blocks]) for i in range(3)]
    columns.append(array("H", [b[3] for b in blocks]))
    made = [twin_of("windows", name).lay_on_grid(*columns, 0, QUARTER, n) for name in both("windows")]
    assert all(other == made[0] for other in made)


@given(blocks=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40), st.integers(0, 10**6)), max_size=12))
def test_nothing_is_lost_from_the_sum_whatever_the_blocks(blocks: list[tuple[int, int, int]]) -> None:
    minutes = [(60_000 * a, 60_000 * (a + length), wh) for a, length, wh in blocks]
    for name in both("windows"):
        assert sum(wh for wh, _ in lay(twin_of("windows", name), minutes, 6)) == sum(wh for _, _, wh in blocks)


def test_the_flag_number_is_that_of_the_shared_package() -> None:
    assert CLOCK == Quality.CLOCK_UNCERTAIN


def test_samples_while_the_clock_was_set_back_lose_nothing() -> None:
    """An hour of samples whose clock went back twenty minutes in the middle."""
    minute = 60_000
    at = [m * minute for m in (0, 15, 30, 10, 25, 40)]
    register = [0, 100, 200, 330, 430, 530]
    for name in both("kernel"):
        twin = twin_of("kernel", name)
        with pytest.raises(ValueError, match="goes back"):
            twin.register_intervals(q(at), q(register), 0, QUARTER, 3, QUARTER)
        made = twin.register_intervals(q(at), q(register), 0, QUARTER, 3, QUARTER, max_power_w=500, clock_steps=True)
        assert sum(made.energy_wh) == 530
        assert [bool(f & CLOCK) for f in made.flags] == [False, True, True]


@given(
    rows=st.lists(st.tuples(st.integers(-5, 90), st.integers(0, 40)), min_size=1, max_size=30),
    power=st.sampled_from([0, 1_000_000]),
)
def test_clock_steps_are_the_same_in_both_twins_and_keep_the_sum(rows: list[tuple[int, int]], power: int) -> None:
    at, register, total = q([60_000 * minute for minute, _ in rows]), q([]), 0
    for _, step in rows:
        total += step
        register.append(total)
    made = [
        twin_of("kernel", name).register_intervals(
            at, register, -QUARTER, QUARTER, 8, 2 * QUARTER, max_power_w=power, clock_steps=True
        )
        for name in both("kernel")
    ]
    assert all(other == made[0] for other in made)
    if not power:
        assert sum(made[0].energy_wh) == total - rows[0][1]


def test_summer_time_needs_no_rule_on_a_utc_grid() -> None:
    """Europe's clocks change at 01:00 UTC: intervals of that night are as long and as many as those of any other."""
    changes_ms = 1_774_746_000_000  # 2026-03-29 01:00 UTC
    at = [changes_ms + k * QUARTER for k in range(-4, 5)]
    made = register_intervals(q(at), q([25 * k for k in range(9)]), at[0], QUARTER, 8, QUARTER)
    assert list(zip(made.energy_wh, made.flags, strict=True)) == [(25, 0)] * 8


def test_both_twins_were_asked() -> None:
    assert compiled_of("windows") is not None
