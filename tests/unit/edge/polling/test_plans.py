"""Poll plans: when each meter of a street has its turn, what comes with it, and which daily rows are missing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.drivers.model import Capability
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.plan import SETTLE_MS, MeterView, due_now, next_due_ms, slot_start
from gridtally_edge.polling.plans import (
    DAILY,
    DEFAULT_PLAN,
    Content,
    PollPlan,
    Strategy,
    missing_rows,
    new_rows_span,
    offset_ms,
    plan_from,
)
from gridtally_edge.transports.arbiter import Priority
from gridtally_shared.errors import ConfigError

QUARTER = 900_000
HOUR = 3_600_000
DAY = 24 * HOUR
T0 = 1_790_000_100_000 // DAY * DAY
ALL = frozenset(Capability)


def meter(plan: PollPlan = DEFAULT_PLAN, **changes: object) -> MeterView:
    known = {
        "mark_ms": T0, "events_ms": T0, "clock_read_ms": T0, "polled_ms": T0 + SETTLE_MS, "audited_ms": T0, "key": "a/1",
        "capabilities": ALL, "plan": plan,
    }  # fmt: skip
    return MeterView("1", QUARTER, True, True, **{**known, **changes})  # type: ignore[arg-type]


def turns(plan: PollPlan, places: int, turn: int) -> list[int]:
    return [offset_ms(plan, f"a/{n}", n, places, turn, QUARTER) for n in range(places)]


@given(st.sampled_from(list(Strategy)), st.integers(1, 90), st.integers(1, 60), st.integers(0, 10_000))
def test_every_turn_begins_within_the_window(strategy: Strategy, percent: int, places: int, turn: int) -> None:
    plan = PollPlan(strategy, percent, groups=4, group=3)
    assert all(0 <= offset < QUARTER * percent // 100 for offset in turns(plan, places, turn))


def test_spread_gives_each_meter_its_own_fixed_moment() -> None:
    first, second = turns(PollPlan(), 20, 1), turns(PollPlan(), 20, 2)
    assert first == second == sorted(set(first))


def test_round_robin_lets_everybody_be_first_once() -> None:
    plan = PollPlan(Strategy.ROUND_ROBIN)
    firsts = [turns(plan, 5, turn).index(0) for turn in range(5)]
    assert sorted(firsts) == [0, 1, 2, 3, 4]


def test_random_turns_are_the_same_again_for_the_same_seed_and_differ_from_turn_to_turn() -> None:
    plan = PollPlan(Strategy.RANDOM, seed=7)
    assert turns(plan, 10, 3) == turns(plan, 10, 3)
    assert turns(plan, 10, 3) != turns(plan, 10, 4)
    assert turns(plan, 10, 3) != turns(replace(plan, seed=8), 10, 3)


def test_groups_take_turns_at_being_first_and_each_meter_draws_a_moment_in_its_groups_part() -> None:
    plans = [PollPlan(Strategy.GROUPED, groups=3, group=g) for g in range(3)]
    for turn in range(3):
        starts = [turns(plan, 10, turn) for plan in plans]
        order = sorted(range(3), key=lambda group: starts[group][0])
        assert order == sorted(range(3), key=lambda group: (group + turn) % 3)
        for earlier, later in pairwise(order):
            assert max(starts[earlier]) < min(starts[later])
        assert all(len(set(found)) > 5 for found in starts)


@given(st.sampled_from(list(Strategy)), st.integers(0, 7), st.integers(T0, T0 + 10 * QUARTER))
def test_a_meter_has_exactly_one_turn_an_interval(strategy: Strategy, place: int, now_ms: int) -> None:
    view = meter(PollPlan(strategy, watch_s=-1), place=place, places=8)
    start_ms, next_ms = slot_start(view, now_ms), next_due_ms(view, now_ms)
    assert start_ms <= now_ms < next_ms
    assert next_ms // QUARTER - start_ms // QUARTER == 1


@given(st.integers(0, 7), st.integers(T0, T0 + 3 * DAY), st.sampled_from([3_600, 21_600, 86_400]))
def test_a_longer_turn_is_one_of_whole_intervals_and_shrinks_to_one_while_the_money_is_near(place: int, now_ms: int, turn_s: int) -> None:
    plan = PollPlan(turn_s=turn_s, watch_s=-1)
    for near, length_ms in ((False, turn_s * 1_000), (True, QUARTER)):
        view = meter(plan, place=place, places=8, near=near)
        start_ms, next_ms = slot_start(view, now_ms), next_due_ms(view, now_ms)
        assert start_ms <= now_ms < next_ms == start_ms + length_ms
        assert start_ms // length_ms * length_ms % QUARTER == 0


def test_what_waits_for_a_longer_turn_is_no_gap_and_what_a_turn_left_is_one() -> None:
    plan = PollPlan(turn_s=86_400, watch_s=-1)
    waiting = meter(plan, mark_ms=T0, polled_ms=T0 + SETTLE_MS)
    assert due_now(waiting, T0 + 20 * HOUR, lambda _: ()) is None
    cut_short = meter(plan, mark_ms=T0 - HOUR, polled_ms=T0 + SETTLE_MS)
    due = due_now(cut_short, T0 + 20 * HOUR, lambda _: ())
    assert due is not None
    assert due.priority is Priority.GAP_FILL


def test_contents_come_with_a_turn_when_their_time_has_come() -> None:
    now_ms = T0 + QUARTER + SETTLE_MS
    fresh = dict.fromkeys(Content, now_ms - HOUR)
    request = due_now(meter(done=fresh), now_ms, lambda _: ()).request  # type: ignore[union-attr]
    assert request.contents == {Content.STATUS}
    first = due_now(meter(), now_ms, lambda _: ()).request  # type: ignore[union-attr]
    assert first.contents == {Content.STATUS, Content.SETTINGS, Content.NAME_PLATE, Content.DIAGNOSTICS}


def test_a_content_that_failed_is_not_asked_for_at_every_turn() -> None:
    now_ms = T0 + QUARTER + SETTLE_MS
    tried = {Content.NAME_PLATE: now_ms - 1_000}
    assert Content.NAME_PLATE not in due_now(meter(tried=tried), now_ms, lambda _: ()).request.contents  # type: ignore[union-attr]


def test_a_plan_leaves_out_what_it_says_never_to_ask() -> None:
    now_ms = T0 + QUARTER + SETTLE_MS
    due = due_now(meter(PollPlan(diagnostics_s=-1, events_s=-1)), now_ms, lambda _: ())
    assert due is not None
    assert Content.DIAGNOSTICS not in due.request.contents
    assert due.request.events_after_ms is None


def test_a_meter_is_never_asked_for_what_it_can_not_do() -> None:
    request = due_now(meter(capabilities=frozenset()), T0 + QUARTER + SETTLE_MS, lambda _: ()).request  # type: ignore[union-attr]
    assert (request.contents, request.daily, request.billing) == (frozenset(), (), ())


def test_between_two_turns_status_word_and_log_are_watched_and_an_alarm_has_the_log_read_at_once() -> None:
    now_ms = T0 + SETTLE_MS + 300_000
    assert due_now(meter(watch=True), now_ms - 1, lambda _: ()) is None
    watch = due_now(meter(watch=True), now_ms, lambda _: ())
    assert watch is not None
    assert (watch.priority, watch.request.contents, watch.request.instant) == (Priority.EVENTS, {Content.STATUS}, False)
    assert watch.request.events_after_ms is not None
    alarm = due_now(meter(alarm=True), T0 + SETTLE_MS + 1, lambda _: ())
    assert alarm is not None
    assert alarm.request.events_after_ms is not None
    logs_only = due_now(meter(watch=True, capabilities=frozenset({Capability.EVENTS})), now_ms, lambda _: ())
    assert logs_only is not None
    assert logs_only.request.events_after_ms is not None


# ---- daily and billing rows ---------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 44)), st.integers(0, 44))
def test_exactly_the_missing_days_lie_in_the_ranges_that_are_asked_for(lost: set[int], last: int) -> None:
    days = [T0 + day * DAY for day in range(last + 1) if day not in lost or day in (0, last)]
    asked = missing_rows(DAILY, days, T0 + last * DAY + HOUR)
    inside = {T0 + day * DAY for day in range(last + 1) for span in asked if span.from_ms <= T0 + day * DAY < span.to_ms}
    assert inside == {T0 + day * DAY for day in range(last + 1)} - set(days)


def test_a_new_row_is_asked_for_once_it_can_be_there() -> None:
    assert new_rows_span(DAILY, (T0,), T0 + 22 * HOUR) == ()
    assert new_rows_span(DAILY, (T0,), T0 + DAY) == (Span(T0 + 1, T0 + DAY + 1),)
    (first,) = new_rows_span(DAILY, (), T0)
    assert first.to_ms - first.from_ms == 45 * DAY + 1


def test_summer_time_makes_no_gap() -> None:
    assert missing_rows(DAILY, (T0, T0 + 25 * HOUR, T0 + 48 * HOUR), T0 + 3 * DAY) == ()


# ---- words of the registry ----------------------------------------------------------------------------------


def test_a_plan_from_the_registry() -> None:
    assert plan_from({"strategy": "random", "seed": 3, "daily_s": -1}) == PollPlan(Strategy.RANDOM, seed=3, daily_s=-1)


@pytest.mark.parametrize(
    "words", [{"strategy": "often"}, {"seed": "x"}, {"speed": 1}, {"window_percent": 0}, {"groups": 2, "group": 2}, {"turn_s": 86_401}]
)
def test_a_plan_that_is_none_is_refused_with_what_to_write(words: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="plan"):
        plan_from(words)
