"""Samples of many meters into fixed intervals: what the rows say, in which order, and where a call is refused."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_native import Aggregates

pytestmark = pytest.mark.native_twin

Sample = tuple[int, int, float]
INT64 = st.integers(-(2**63), 2**63 - 1)


def aggregate(
    twin: ModuleType, samples: Sequence[Sample], start: int, period: int, n: int | None = None, kind: str = "q"
) -> Aggregates:
    columns = [array(code, [sample[i] for sample in samples]) for i, code in enumerate(("i", "q", kind))]
    return twin.aggregate(*columns, start, period, n)  # type: ignore[no-any-return]


def rows(result: Aggregates) -> list[tuple[Any, ...]]:
    columns = (result.meters, result.start_ms, result.count, result.total, result.minimum, result.maximum)
    return list(zip(*columns, result.first, result.last, strict=True))


def outcome(twin: ModuleType, *arguments: Any) -> object:
    """The result, or the message of the refusal, so that the twins can be compared."""
    try:
        return aggregate(twin, *arguments)
    except ValueError as error:
        return str(error)


def by_hand(samples: Sequence[Sample], start: int, period: int) -> list[tuple[Any, ...]]:
    """The definition: group, sort each group by time (stable), look."""
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        if sample[1] >= start:
            groups.setdefault((sample[0], start + (sample[1] - start) // period * period), []).append(sample)
    return [
        (*key, len(v), sum(v), min(v), max(v), v[0], v[-1])
        for key, group in sorted(groups.items())
        for v in [[sample[2] for sample in sorted(group, key=lambda s: s[1])]]
    ]


def test_two_meters_two_intervals(twin: ModuleType) -> None:
    result = aggregate(twin, [(1, 0, 5), (1, 899, 3), (1, 900, 7), (2, 100, -4)], 0, 900)
    assert rows(result) == [(1, 0, 2, 8, 3, 5, 5, 3), (1, 900, 1, 7, 7, 7, 7, 7), (2, 0, 1, -4, -4, -4, -4, -4)]
    assert result.mean(0) == 4.0


def test_columns_keep_the_type_of_the_values(twin: ModuleType) -> None:
    assert aggregate(twin, [(1, 0, 5)], 0, 900).total.typecode == "q"
    assert aggregate(twin, [(1, 0, 5.5)], 0, 900, None, "d").total.typecode == "d"


def test_nothing_gives_nothing(twin: ModuleType) -> None:
    assert rows(aggregate(twin, [], 0, 900)) == []


def test_samples_beyond_the_grid_are_counted_only(twin: ModuleType) -> None:
    result = aggregate(twin, [(1, -1, 9), (1, 0, 1), (1, 1799, 2), (1, 1800, 9), (1, 2**63 - 1, 9)], 0, 900, 2)
    assert [row[:4] for row in rows(result)] == [(1, 0, 1, 1), (1, 900, 1, 2)]
    assert result.outside == 3


def test_a_late_sample_joins_its_interval(twin: ModuleType) -> None:
    result = aggregate(twin, [(1, 10, 1), (1, 950, 2), (1, 5, 3), (1, 20, 4)], 0, 900)
    assert rows(result)[0] == (1, 0, 3, 8, 1, 4, 3, 4)


def test_equal_times_first_and_latest_arrival(twin: ModuleType) -> None:
    assert rows(aggregate(twin, [(1, 5, 1), (1, 5, 2), (1, 5, 3)], 0, 900))[0][-2:] == (1, 3)


def test_many_meters_in_any_order(twin: ModuleType) -> None:
    meters = [meter * 65536 - 2**31 for meter in range(3000)]
    samples = [(meter, at, meter % 7) for at in (1000, 0) for meter in reversed(meters)]
    assert rows(aggregate(twin, samples, 0, 900)) == by_hand(samples, 0, 900)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1.7e308])
def test_a_sum_that_is_no_number_is_refused(twin: ModuleType, value: float) -> None:
    with pytest.raises(ValueError, match=r"meter 4, interval 900: the sum is not a finite number"):
        aggregate(twin, [(4, 900, value), (4, 901, value)], 0, 900, None, "d")


@pytest.mark.parametrize("value", [2**62, -(2**62), -(2**63)])
def test_a_sum_beyond_64_bits_is_refused(twin: ModuleType, value: int) -> None:
    with pytest.raises(ValueError, match=r"meter 4, interval 900: count x value does not fit 64 bits"):
        aggregate(twin, [(4, 900, value), (4, 901, value)], 0, 900)


def test_the_largest_single_value_is_taken(twin: ModuleType) -> None:
    assert rows(aggregate(twin, [(4, 900, 2**63 - 1)], 0, 900))[0][3] == 2**63 - 1


@pytest.mark.parametrize(
    ("start", "period", "n"),
    [(0, 0, None), (0, -1, None), (0, 2**31, None), (2**62 + 1, 1, None), (0, 900, -1), (2**62, 900, 1), (0, 1, 2**64)],
)
def test_a_grid_out_of_range_is_refused(twin: ModuleType, start: int, period: int, n: int | None) -> None:
    with pytest.raises(ValueError):
        aggregate(twin, [], start, period, n)


def test_wrong_columns_are_refused(twin: ModuleType) -> None:
    i, q = array("i", [1, 2]), array("q", [1, 2])
    for columns in ((q, q, q), (i, i, q), (i, q, i), (i, q, array("q", [1])), (i, q, memoryview(q)[::2]), (i, q, b"")):
        with pytest.raises(ValueError):
            twin.aggregate(*columns, 0, 900)
    with pytest.raises(TypeError):
        twin.aggregate([1], [2], [3], 0, 900)
    with pytest.raises(TypeError):
        aggregate(twin, [], 0.5, 900)  # type: ignore[arg-type]


def test_unaligned_buffers_are_read(twin: ModuleType) -> None:
    shifted = memoryview(b"x" + array("q", [3, 4]).tobytes())[1:].cast("q")
    result = twin.aggregate(array("i", [1, 1]), shifted, shifted, 0, 900)
    assert (result.total[0], result.last[0]) == (7, 4)


samples_in_any_order = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-50, 400), st.integers(-1000, 1000)), max_size=60
)


@given(samples_in_any_order, st.integers(-60, 60), st.integers(1, 120))
def test_any_order_gives_what_the_definition_says(
    twin: ModuleType, samples: list[Sample], start: int, period: int
) -> None:
    assert rows(aggregate(twin, samples, start, period)) == by_hand(samples, start, period)


@given(samples_in_any_order, st.integers(1, 120))
def test_sorted_order_gives_the_same_rows(twin: ModuleType, samples: list[Sample], period: int) -> None:
    ordered = sorted(samples, key=lambda sample: sample[:2])
    assert aggregate(twin, ordered, 0, period) == aggregate(twin, samples, 0, period)


@given(samples_in_any_order, st.integers(1, 50))
def test_fine_intervals_add_up_to_coarse_ones(twin: ModuleType, samples: list[Sample], period: int) -> None:
    fine, coarse = aggregate(twin, samples, 0, period), aggregate(twin, samples, 0, period * 4)
    assert sum(fine.total) == sum(coarse.total) == sum(v for _, at, v in samples if at >= 0)
    assert sum(fine.count) == sum(coarse.count)


@given(
    st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), INT64, INT64), max_size=30),
    st.integers(-(2**62), 2**62),
    st.integers(1, 2**31 - 1),
)
def test_twins_agree_over_the_whole_range(
    pure: ModuleType, kernel: ModuleType, samples: list[Sample], start: int, period: int
) -> None:
    assert outcome(kernel, samples, start, period) == outcome(pure, samples, start, period)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300), st.floats(width=64)), max_size=40),
    st.integers(1, 100),
    st.one_of(st.none(), st.integers(0, 5)),
)
def test_twins_agree_bit_for_bit_on_floats(
    pure: ModuleType, kernel: ModuleType, samples: list[Sample], period: int, n: int | None
) -> None:
    """repr tells -0.0 from 0.0."""
    assert repr(outcome(kernel, samples, 0, period, n, "d")) == repr(outcome(pure, samples, 0, period, n, "d"))
