"""Windows of schedules: half-open, by the local clock over both changes of the year, overlaps found whatever the order."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_shared.contract.codec import encode
from gridtally_shared.errors import ContractError
from gridtally_shared.schedules.document import ALL_WEEK, Schedule, Window, fault_of, schedule_from, to_bytes
from gridtally_shared.schedules.windows import Span, clash, next_edge_ms, span_at, spans

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BERLIN = ZoneInfo("Europe/Berlin")


def local_ms(*parts: int, fold: int = 0) -> int:
    return int(datetime(*parts, tzinfo=BERLIN, fold=fold).timestamp()) * 1000  # type: ignore[misc, arg-type]


def frame(first: int, last: int, *windows: Window, number: int = 1, zone: str = "Europe/Berlin") -> Schedule:
    return Schedule(number, "A", 1, zone, first, last, windows)


def hours(schedule: Schedule) -> list[float]:
    return [(s.end_ms - s.start_ms) / HOUR_MS for s in spans(schedule, schedule.start_ms, schedule.end_ms)]


def test_a_window_keeps_its_local_hours_over_the_spring_change() -> None:
    march = frame(local_ms(2026, 3, 27), local_ms(2026, 3, 31), Window(ALL_WEEK, 8 * 60, 10 * 60))
    found = spans(march, march.start_ms, march.end_ms)
    assert [datetime.fromtimestamp(s.start_ms // 1000, BERLIN).hour for s in found] == [8, 8, 8, 8]
    assert found[2].start_ms - found[1].start_ms == 23 * HOUR_MS


def test_a_time_the_clock_skips_is_the_moment_it_skips_at() -> None:
    skipped = frame(local_ms(2026, 3, 29), local_ms(2026, 3, 30), Window(ALL_WEEK, 150, 240))
    assert spans(skipped, skipped.start_ms, skipped.end_ms) == (Span(local_ms(2026, 3, 29, 3), local_ms(2026, 3, 29, 4)),)
    gone = frame(local_ms(2026, 3, 29), local_ms(2026, 3, 30), Window(ALL_WEEK, 130, 170))
    assert hours(gone) == []


def test_a_time_shown_twice_starts_with_the_first_and_ends_with_the_second() -> None:
    twice = frame(local_ms(2026, 10, 25), local_ms(2026, 10, 26), Window(ALL_WEEK, 150, 170))
    assert spans(twice, twice.start_ms, twice.end_ms) == (Span(local_ms(2026, 10, 25, 2, 30), local_ms(2026, 10, 25, 2, 50, fold=1)),)


def test_over_midnight_and_into_the_next_day_is_one_window() -> None:
    night = frame(local_ms(2026, 6, 1), local_ms(2026, 6, 4), Window(ALL_WEEK, 22 * 60, 6 * 60))
    assert hours(night) == [6, 8, 8, 2]
    whole = frame(local_ms(2026, 6, 1), local_ms(2026, 6, 4), Window(ALL_WEEK, 0, 1440))
    assert hours(whole) == [72]


def test_only_on_its_weekdays() -> None:
    mondays = frame(local_ms(2026, 6, 1), local_ms(2026, 6, 15), Window(1, 600, 660))
    assert [datetime.fromtimestamp(s.start_ms // 1000, BERLIN).weekday() for s in spans(mondays, 0, 2**60)] == [0, 0]


@pytest.mark.covers_part("C3-FR17", "C3-S2.3")
def test_touching_is_no_overlap() -> None:
    assert clash(frame(0, HOUR_MS), frame(HOUR_MS, 2 * HOUR_MS)) is None
    assert clash(frame(0, HOUR_MS), frame(HOUR_MS - 1, 2 * HOUR_MS)) == Span(HOUR_MS - 1, HOUR_MS)


minutes = st.integers(0, 1439)
windows = st.builds(Window, st.integers(1, ALL_WEEK), minutes, st.integers(1, 1440)).filter(lambda w: w.from_minute != w.to_minute)
starts = st.integers(local_ms(2026, 3, 20), local_ms(2026, 4, 5))
frames = st.builds(
    lambda start, length, ws: frame(start, start + length, *ws), starts, st.integers(1, 12 * DAY_MS), st.lists(windows, max_size=3)
)


@pytest.mark.covers_part("C3-FR17")
@given(frames, frames)
@settings(max_examples=120, deadline=None)
def test_a_clash_is_found_exactly_where_both_hold(one: Schedule, other: Schedule) -> None:
    found = clash(one, other)
    assert (found is None) == (clash(other, one) is None)
    if found is not None:
        for at_ms in (found.start_ms, found.end_ms - 1):
            assert span_at(one, at_ms)
            assert span_at(other, at_ms)
        return
    for span in spans(one, 0, 2**60):
        assert span_at(other, span.start_ms) is None
        assert span_at(other, span.end_ms - 1) is None


@given(frames, st.integers(0, 12 * DAY_MS))
@settings(max_examples=80, deadline=None)
def test_the_next_edge_is_where_something_changes(one: Schedule, after: int) -> None:
    at_ms = one.start_ms - DAY_MS + after
    edge = next_edge_ms(one, at_ms)
    if edge is not None and edge < min(one.end_ms, at_ms + 8 * DAY_MS):
        assert span_at(one, edge) != span_at(one, edge - 1)
        assert span_at(one, at_ms) == span_at(one, edge - 1)


def test_a_document_goes_round_and_what_makes_no_sense_is_named() -> None:
    good = Schedule(7, "B", 1, "UTC", 0, HOUR_MS, requester_no=9, credit_nano=5)
    assert schedule_from(to_bytes(good)) == good
    wrong = {
        "the end is not after the start": Schedule(1, "A", 1, "UTC", 5, 5),
        "the programme is A or B": Schedule(1, "C", 1, "UTC", 0, 1),
        "an event is one span without windows": Schedule(1, "B", 1, "UTC", 0, 1, (Window(1, 2, 3),), requester_no=2),
        "an event names who pays": Schedule(1, "B", 1, "UTC", 0, 1),
        "a window names weekdays and minutes of a day": Schedule(1, "A", 1, "UTC", 0, 1, (Window(0, 2, 3),)),
        "a schedule lasts at most a year": Schedule(1, "A", 1, "UTC", 0, 400 * DAY_MS),
    }
    for text, schedule in wrong.items():
        assert fault_of(schedule) == text
        with pytest.raises(ContractError):
            schedule_from(encode(schedule))
