"""A register cut into hours: the sum is kept, and what is not known is said."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.forecast.hours import LONGEST_STEP_MS, Mark, Stretch, read

UTC = ZoneInfo("UTC")
NOON_MS = 480_000 * MS_PER_HOUR


def test_quarters_make_an_hour_and_the_first_one_is_not_known() -> None:
    mark, over = read(None, NOON_MS + MS_PER_HOUR // 2, 1_000, UTC)
    assert over == ()
    mark, over = read(mark, NOON_MS + MS_PER_HOUR, 1_100, UTC)
    assert over == (Stretch(NOON_MS, 1, None),)
    for quarter in (1, 2, 3):
        mark, over = read(mark, NOON_MS + MS_PER_HOUR + quarter * MS_PER_HOUR // 4, 1_100 + 50 * quarter, UTC)
        assert over == ()
    mark, over = read(mark, NOON_MS + 2 * MS_PER_HOUR + MS_PER_HOUR // 4, 1_350, UTC)
    assert over == (Stretch(NOON_MS + MS_PER_HOUR, 1, 200),)
    assert mark.hour_wh == 50


def test_after_a_silence_only_the_sum_is_known_and_another_register_is_not_counted() -> None:
    mark, over = read(Mark(NOON_MS, 1_000, 0), NOON_MS + 10 * MS_PER_HOUR, 3_000, UTC)
    assert over == (Stretch(NOON_MS, 10, 2_000),)
    mark, over = read(mark, NOON_MS + 11 * MS_PER_HOUR, 7, UTC)
    assert over == (Stretch(NOON_MS + 10 * MS_PER_HOUR, 1, None),)
    assert mark == Mark(NOON_MS + 11 * MS_PER_HOUR, 7)


@given(st.lists(st.tuples(st.integers(1, LONGEST_STEP_MS), st.integers(0, 50_000)), min_size=1, max_size=40))
def test_no_wh_is_lost_or_made(steps: list[tuple[int, int]]) -> None:
    mark, total, at_ms = Mark(NOON_MS, 0, 0), 0, NOON_MS
    for wait_ms, wh in steps:
        at_ms += wait_ms
        mark, over = read(mark, at_ms, mark.register_wh + wh, UTC)
        assert all(each.wh is not None for each in over)
        total += sum(each.wh or 0 for each in over)
    assert total + (mark.hour_wh or 0) == sum(wh for _, wh in steps)


def test_hours_are_those_of_the_local_clock() -> None:
    kolkata = ZoneInfo("Asia/Kolkata")
    _, over = read(Mark(NOON_MS + MS_PER_HOUR // 2, 0, 0), NOON_MS + MS_PER_HOUR * 3 // 2, 100, kolkata)
    assert over == (Stretch(NOON_MS + MS_PER_HOUR // 2, 1, 100),)


def test_a_silence_after_the_first_reading_leaves_the_hours_in_between() -> None:
    mark, over = read(Mark(NOON_MS + MS_PER_HOUR // 2, 1_000), NOON_MS + 4 * MS_PER_HOUR, 1_700, UTC)
    assert over == (Stretch(NOON_MS, 1, None), Stretch(NOON_MS + MS_PER_HOUR, 3, 600))
    assert mark.hour_wh == 0
