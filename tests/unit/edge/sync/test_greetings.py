"""How old the answer to a hello is."""

from __future__ import annotations

from gridtally_edge.sync.greetings import KEPT, Greetings

T = 1_772_430_000_000


def test_an_answer_is_as_old_as_the_hello_it_names_not_as_the_newest() -> None:
    greetings = Greetings()
    greetings.sent(T, 100.0)
    greetings.sent(T + 50_000, 150.0)
    assert greetings.round_trip_s(T, 151.0) == 51.0
    assert greetings.round_trip_s(T + 50_000, 151.0) == 1.0


def test_of_a_hello_nobody_here_sent_no_age_is_known() -> None:
    greetings = Greetings()
    assert greetings.round_trip_s(T, 100.0) is None
    greetings.sent(T, 100.0)
    assert greetings.round_trip_s(0, 101.0) is None


def test_a_time_that_was_shown_twice_counts_from_the_first() -> None:
    greetings = Greetings()
    greetings.sent(T, 100.0)
    greetings.sent(T, 400.0)
    assert greetings.round_trip_s(T, 401.0) == 301.0


def test_the_eldest_hellos_are_forgotten() -> None:
    greetings = Greetings()
    for number in range(KEPT + 1):
        greetings.sent(T + number, float(number))
    assert greetings.round_trip_s(T, 20.0) is None
    assert greetings.round_trip_s(T + 1, 20.0) == 19.0
