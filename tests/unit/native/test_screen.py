"""The screening of days: each bit where its check could find something, runs over midnight, the same compiled and pure."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_native import (
    PARTIAL,
    POWER_FAIL,
    SCREEN_DARK_USE,
    SCREEN_GAP,
    SCREEN_LIMIT,
    SCREEN_MARKED,
    SCREEN_SPIKE,
    SCREEN_STUCK,
    SCREEN_ZERO,
)
from gridtally_shared.quality import Quality
from unit.native.twins import both, compiled_of, twin_of

pytestmark = pytest.mark.native_twin


@dataclass(frozen=True, slots=True)
class Bounds:
    bottom: int = 0
    top: int = 3000
    spike_floor: int = 500
    spike_permille: int = 1800
    stuck_run: int = 4
    zero_run: int = 3
    marks: int = int(Quality.METER_INVALID | Quality.RESET)


@pytest.fixture(params=both("screen"))
def twin(request: pytest.FixtureRequest) -> ModuleType:
    return twin_of("screen", request.param)


def screened(
    twin: ModuleType, values: Sequence[int | None], flags: dict[int, int] | None = None, ends: Sequence[int] = (),
    bounds: Bounds | None = None,
) -> list[int]:  # fmt: skip
    quality = array("H", [(flags or {}).get(i, 0) for i in range(len(values))])
    present = bytes(v is not None for v in values)
    numbers = array("q", [v or 0 for v in values])
    return list(twin.screen_days(numbers, quality, present, ends or [len(values)], *astuple(bounds or Bounds())))


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        ([100, 200, 150, 120], 0),
        ([100, None, 150, 120], SCREEN_GAP),
        ([100, -1, 150, 120], SCREEN_LIMIT),
        ([2000, 3001, 2500, 2600], SCREEN_LIMIT),
        ([2000, 3000, 2500, 2600], 0),
        ([300, 840, 310, 290], 0),
        ([300, 841, 300, 290], SCREEN_SPIKE),
        ([1, 499, 2, 3], 0),
        ([1, 900, None], SCREEN_GAP),
        ([7, 7, 7, 8], 0),
        ([7, 7, 7, 7], SCREEN_STUCK),
        ([7, 7, None, 7, 7], SCREEN_GAP),
        ([0, 0, 9, 0], 0),
        ([0, 0, 0, 9], SCREEN_ZERO),
    ],
)
def test_each_bit_has_its_bound(twin: ModuleType, values: list[int | None], bits: int) -> None:
    assert screened(twin, values) == [bits]


def test_flags_count_where_something_was_measured(twin: ModuleType) -> None:
    assert screened(twin, [5, 6], {0: Quality.RESET}) == [SCREEN_MARKED]
    assert screened(twin, [5, None], {1: Quality.RESET}) == [SCREEN_GAP]
    assert screened(twin, [5, 0], {0: POWER_FAIL}) == [SCREEN_DARK_USE]
    assert screened(twin, [5, 0], {1: POWER_FAIL}) == [0]
    assert screened(twin, [5, 0], {0: POWER_FAIL | PARTIAL}) == [0]


def test_a_run_goes_on_over_midnight_and_is_told_where_it_is_long_enough(twin: ModuleType) -> None:
    assert screened(twin, [9, 7, 7, 7, 7, 8], ends=[3, 6]) == [0, SCREEN_STUCK]
    assert screened(twin, [9, 0, 0, 0, 8, 8], ends=[4, 6]) == [SCREEN_ZERO, 0]


def test_nothing_is_no_day(twin: ModuleType) -> None:
    assert twin.screen_days(array("q"), array("H"), b"", (), *astuple(Bounds())) == b""


@pytest.mark.parametrize("ends", [(), (3,), (0, 4), (2, 2, 4), (3, 2, 4), (5,)])
def test_days_that_do_not_make_up_the_intervals_are_refused(twin: ModuleType, ends: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ends must rise"):
        twin.screen_days(array("q", [1, 2, 3, 4]), array("H", bytes(8)), bytes(4), ends, *astuple(Bounds()))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (Bounds(top=2**63), "top"),
        (Bounds(stuck_run=0), "stuck_run"),
        (Bounds(spike_permille=-1), "spike_permille"),
        (Bounds(marks=2**16), "marks"),
    ],
)
def test_bounds_beyond_all_sense_are_refused(twin: ModuleType, bad: Bounds, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        screened(twin, [1, 2, 3], bounds=bad)


def test_columns_of_different_length_are_refused(twin: ModuleType) -> None:
    with pytest.raises(ValueError, match="differ in length: 2, 1, 2"):
        twin.screen_days(array("q", [1, 2]), array("H", [0]), bytes(2), (2,), *astuple(Bounds()))


VALUE = st.one_of(st.sampled_from([0, 1, 7]), st.integers(-5, 3100), st.integers(-(2**63), 2**63 - 1))
ROW = st.tuples(VALUE, st.sampled_from([0, 0, 512, 768, 16, 65535]), st.sampled_from([1, 1, 1, 0, 2]))
DAYS = st.lists(st.lists(ROW, min_size=1), max_size=3)
FAR = st.sampled_from([-(2**62), -1, 0, 1, 500, 3000, 2**62])
RUN = st.sampled_from([1, 2, 3, 2**62])
BOUNDS = st.builds(Bounds, FAR, FAR, FAR, st.sampled_from([0, 1800, 2**20]), RUN, RUN, st.sampled_from([0, 24, 2**16 - 1]))


@given(days=DAYS, bounds=BOUNDS)
@settings(max_examples=150)
def test_the_twins_say_the_same(days: list[list[tuple[int, int, int]]], bounds: Bounds) -> None:
    rows = [row for day in days for row in day]
    ends = [sum(map(len, days[: i + 1])) for i in range(len(days))]
    columns = array("q", [r[0] for r in rows]), array("H", [r[1] for r in rows]), bytes(r[2] for r in rows)
    pure, compiled = twin_of("screen", "pure"), compiled_of("screen")
    assert pure.screen_days(*columns, ends, *astuple(bounds)) == compiled.screen_days(*columns, ends, *astuple(bounds))


def test_the_flag_is_the_one_of_quality() -> None:
    assert (Quality.POWER_FAIL, Quality.PARTIAL) == (POWER_FAIL, PARTIAL)
