"""When a meter's clock is set: never inside an interval that it would close, skip or halve."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.polling.timesync import DEFAULT, SyncPolicy, Verdict, target_offset_ms, verdict, when_to_set
from gridtally_shared.contract.messages import ClockState

QUARTER = 900_000
T0 = 1_790_000_100_000 // QUARTER * QUARTER


@given(st.integers(T0, T0 + 10 * QUARTER), st.integers(-DEFAULT.largest_ms, DEFAULT.largest_ms), st.sampled_from([0, 20_000]))
def test_old_and_new_time_lie_in_one_interval_just_after_its_boundary(now_ms: int, offset_ms: int, step_ms: int) -> None:
    policy = SyncPolicy(step_ms=step_ms)
    at_ms = when_to_set(now_ms, offset_ms, QUARTER, policy)
    old_ms, new_ms = at_ms + offset_ms, at_ms + target_offset_ms(offset_ms, policy)
    assert now_ms <= at_ms <= now_ms + 2 * QUARTER
    assert old_ms // QUARTER == new_ms // QUARTER
    assert DEFAULT.margin_ms <= min(old_ms, new_ms) % QUARTER
    assert max(old_ms, new_ms) % QUARTER <= QUARTER // 2


def test_a_fast_clock_waits_until_as_much_of_the_interval_has_passed() -> None:
    assert when_to_set(T0 + 3_000, -90_000, QUARTER) == T0 + 90_000 + DEFAULT.margin_ms
    assert when_to_set(T0 + 3_000, 90_000, QUARTER) == T0 + 3_000
    assert when_to_set(T0 + 600_000, 90_000, QUARTER) == T0 + QUARTER + DEFAULT.margin_ms


@pytest.mark.parametrize(
    ("offset_ms", "clock", "expected"),
    [
        (9_000, ClockState.TRUSTED, Verdict.FINE),
        (-90_000, ClockState.TRUSTED, Verdict.SET),
        (-90_000, ClockState.HOLDOVER, Verdict.WAIT_FOR_TRUST),
        (-90_000, ClockState.UNTRUSTED, Verdict.WAIT_FOR_TRUST),
        (3_600_000, ClockState.TRUSTED, Verdict.FLAG),
    ],
)
def test_only_a_trusted_clock_sets_and_a_large_jump_is_left_to_a_person(
    offset_ms: int, clock: ClockState, expected: Verdict
) -> None:
    assert verdict(offset_ms, clock) is expected


@given(st.integers(-600_000, 600_000), st.integers(1, 60_000))
def test_steps_lead_to_the_right_time_and_never_past_it(offset_ms: int, step_ms: int) -> None:
    policy, left_ms, steps = SyncPolicy(step_ms=step_ms), offset_ms, 0
    while left_ms and steps < 700_000:
        after_ms = target_offset_ms(left_ms, policy)
        assert abs(left_ms) - abs(after_ms) == min(step_ms, abs(left_ms))
        assert after_ms * left_ms >= 0
        if steps > 50:
            break
        left_ms, steps = after_ms, steps + 1
