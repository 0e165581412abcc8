"""Intervals from register samples: their sum is the register's movement, whatever the sampling."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.polling.forming import Samples, closed_until, first_mark, form_intervals
from gridtally_shared.quality import Quality

QUARTER = 900_000
T0 = 1_790_000_100_000 // QUARTER * QUARTER


@given(st.lists(st.tuples(st.integers(60_000, QUARTER), st.integers(0, 5_000)), min_size=4, max_size=60))
def test_piece_by_piece_or_at_once_the_intervals_are_the_same(steps: list[tuple[int, int]]) -> None:
    at_ms, value = [T0], [1_000]
    for delta_ms, used_wh in steps:
        at_ms.append(at_ms[-1] + delta_ms)
        value.append(value[-1] + used_wh)
    mark, formed = T0, []
    for i in range(1, len(at_ms)):
        until = closed_until(mark, at_ms[i], QUARTER)
        formed += form_intervals(Samples(1, at_ms[: i + 1], value[: i + 1]), mark, until, QUARTER)
        mark = until
    assert formed == list(form_intervals(Samples(1, at_ms, value), T0, mark, QUARTER))
    assert sum(r.value for r in formed) <= value[-1] - value[0]


def test_samples_on_the_boundaries_give_exact_intervals() -> None:
    formed = form_intervals(Samples(1, [T0, T0 + QUARTER, T0 + 2 * QUARTER], [5, 12, 20]), T0, T0 + 2 * QUARTER, QUARTER)
    assert [(r.quantity, r.at_ms, r.value, r.quality) for r in formed] == [(11, T0, 7, 0), (11, T0 + QUARTER, 8, 0)]


def test_a_long_silence_is_flagged_and_loses_no_energy() -> None:
    formed = form_intervals(Samples(1, [T0, T0 + 8 * QUARTER], [0, 800]), T0, T0 + 8 * QUARTER, QUARTER)
    assert sum(r.value for r in formed) == 800
    assert {r.quality for r in formed} == {Quality.MISSING | Quality.COMM_ERROR}


def test_only_intervals_that_the_silence_touches_are_the_lines_fault() -> None:
    at_ms = [T0, T0 + QUARTER, T0 + QUARTER + 60_000, T0 + 5 * QUARTER - 60_000, T0 + 5 * QUARTER, T0 + 6 * QUARTER]
    formed = form_intervals(Samples(1, at_ms, [0, 10, 11, 59, 60, 70]), T0, T0 + 6 * QUARTER, QUARTER)
    partial, missing = Quality.PARTIAL | Quality.COMM_ERROR, Quality.MISSING | Quality.COMM_ERROR
    assert [r.quality for r in formed] == [0, partial, missing, missing, partial, 0]


def test_an_interval_lost_to_a_reset_is_not_the_lines_fault() -> None:
    formed = form_intervals(Samples(1, [T0, T0 + QUARTER], [900, 10]), T0, T0 + QUARTER, QUARTER)
    assert formed[0].quality & Quality.MISSING
    assert not formed[0].quality & Quality.COMM_ERROR


def test_a_register_that_goes_back_books_nothing() -> None:
    formed = form_intervals(Samples(1, [T0, T0 + QUARTER], [900, 10]), T0, T0 + QUARTER, QUARTER)
    assert formed[0].value == 0
    assert formed[0].quality & Quality.RESET


def test_the_first_whole_interval_begins_at_the_next_boundary() -> None:
    assert first_mark(T0, QUARTER) == T0
    assert first_mark(T0 + 1, QUARTER) == T0 + QUARTER
    assert closed_until(T0, T0 + QUARTER - 1, QUARTER) == T0
