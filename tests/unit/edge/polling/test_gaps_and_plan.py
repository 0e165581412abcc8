"""What is due, and exactly which ranges are missing."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.polling.gaps import Span, missing_spans
from gridtally_edge.polling.plan import SETTLE_MS, MeterView, due_now, new_mark, next_due_ms, wanted_profile
from gridtally_edge.polling.poll import PollRequest
from gridtally_edge.transports.arbiter import Priority

QUARTER = 900_000
DAY = 86_400_000
T0 = 1_790_000_100_000 // QUARTER * QUARTER


def nothing_stored(_: Span) -> Collection[int]:
    return ()


def meter(**changes: object) -> MeterView:
    known = {"mark_ms": T0, "events_ms": T0, "clock_read_ms": T0, "polled_ms": T0 + SETTLE_MS, "audited_ms": T0}
    return MeterView("1", QUARTER, True, True, **{**known, **changes})  # type: ignore[arg-type]


@given(st.integers(0, 60), st.sets(st.integers(0, 60)))
def test_missing_spans_are_exactly_what_is_not_stored(count: int, stored: set[int]) -> None:
    spans = missing_spans(Span(T0, T0 + count * QUARTER), {T0 + i * QUARTER for i in stored}, QUARTER)
    asked = [at for span in spans for at in range(span.from_ms, span.to_ms, QUARTER)]
    assert asked == [T0 + i * QUARTER for i in range(count) if i not in stored]
    assert all(a.to_ms < b.from_ms for a, b in pairwise(spans))


def test_nothing_is_due_within_an_interval() -> None:
    assert due_now(meter(), T0 + QUARTER - 1, nothing_stored) is None
    assert next_due_ms(meter(), T0 + QUARTER - 1) == T0 + QUARTER + SETTLE_MS


def test_after_the_interval_one_row_is_asked_for() -> None:
    due = due_now(meter(), T0 + QUARTER + SETTLE_MS, nothing_stored)
    assert due is not None
    assert due.priority is Priority.PROFILE
    assert due.request.spans == (Span(T0, T0 + QUARTER),)
    assert due.request.instant


def test_an_unclosed_interval_is_never_asked_for() -> None:
    assert wanted_profile(meter(), T0 + 2 * QUARTER + SETTLE_MS - 1) == Span(T0, T0 + QUARTER)


def test_a_street_is_spread_over_a_quarter_of_the_interval() -> None:
    dues = [next_due_ms(meter(place=i, places=24), T0 + QUARTER - 1) - (T0 + QUARTER + SETTLE_MS) for i in range(24)]
    assert dues == sorted(set(dues))
    assert dues[0] == 0
    assert dues[-1] < QUARTER // 4


def test_after_a_silence_the_missing_range_comes_in_pieces_behind_everything_else() -> None:
    now_ms = T0 + 3 * DAY + SETTLE_MS
    polled = meter(polled_ms=now_ms, audited_ms=now_ms)
    due = due_now(polled, now_ms, nothing_stored)
    assert due is not None
    assert due.priority is Priority.GAP_FILL
    assert due.request.spans == (Span(T0, T0 + DAY),)
    assert not due.request.instant
    assert new_mark(T0, due.request, due.request.spans) == T0 + DAY


def test_gap_filling_waits_while_the_meter_is_silent() -> None:
    now_ms = T0 + 3 * DAY + SETTLE_MS
    assert due_now(meter(polled_ms=now_ms, failures=1), now_ms, nothing_stored) is None


def test_a_failed_poll_is_repeated_within_the_interval() -> None:
    view = meter(polled_ms=T0 + SETTLE_MS, failures=1)
    assert due_now(view, T0 + SETTLE_MS + QUARTER // 5 - 1, nothing_stored) is None
    assert due_now(view, T0 + SETTLE_MS + QUARTER // 5, nothing_stored) is not None


def test_what_is_stored_already_is_passed_over_and_the_mark_still_moves() -> None:
    now_ms = T0 + 200 * QUARTER + SETTLE_MS
    due = due_now(meter(audited_ms=now_ms), now_ms, lambda span: range(span.from_ms, span.to_ms, QUARTER))
    assert due is not None
    assert due.request.spans == ()
    assert new_mark(T0, due.request, ()) == T0 + 200 * QUARTER


@pytest.mark.covers_part("BYPL-6.1")
def test_holes_behind_the_mark_are_asked_again_with_their_exact_bounds() -> None:
    hours = range(T0 - 100 * QUARTER, T0, QUARTER)
    holes = [*hours[10:14], *hours[50:53]]
    now_ms = T0 + QUARTER + SETTLE_MS
    due = due_now(meter(audited_ms=None), now_ms, lambda span: [t for t in hours if t not in holes and t >= span.from_ms])
    assert due is not None
    assert due.request.spans == (
        Span(hours[10], hours[14]),
        Span(hours[50], hours[53]),
        Span(T0, T0 + QUARTER),
    )


def test_the_mark_stops_before_the_first_range_without_an_answer() -> None:
    first, second = Span(T0, T0 + QUARTER), Span(T0 + 3 * QUARTER, T0 + 4 * QUARTER)
    request = PollRequest("1", spans=(first, second), covers=Span(T0, T0 + 4 * QUARTER))
    assert new_mark(T0, request, ()) == T0
    assert new_mark(T0, request, (first,)) == first.to_ms
    assert new_mark(T0, request, (first, second)) == T0 + 4 * QUARTER


def test_an_unbound_meter_is_only_asked_who_it_is() -> None:
    due = due_now(MeterView("", QUARTER, True, True, bound=False), T0, nothing_stored)
    assert due is not None
    assert due.priority is Priority.DISCOVERY
    assert due.request == PollRequest(instant=False, switch=False)
