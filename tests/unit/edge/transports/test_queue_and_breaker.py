"""The pure parts of a line: whose turn it is, who may speak, what is an echo, how long the silence."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.transports.arbiter import Arbiter, Priority
from gridtally_edge.transports.breaker import BESIDE_LONGEST_S, FIRST_S, LONGEST_S, TRANSITIONS, Breaker, Event, State, advance
from gridtally_edge.transports.echo import EchoFilter
from gridtally_edge.transports.gaps import FORGET_AFTER, GapTable
from gridtally_edge.transports.settings import MAX_GAP_S, Echo, LineSettings, Speed
from gridtally_shared.errors import ConfigError

REQUEST = bytes.fromhex("01040000000271cb")


def everything(arbiter: Arbiter) -> list[str]:
    return list(iter(arbiter.next, None))


def test_priorities_go_before_arrival():
    arbiter: Arbiter[str] = Arbiter()
    for priority in reversed(Priority):
        arbiter.add(priority, priority.name, priority.name)
    order = ["SWITCH", "ON_DEMAND", "PREPAID_LOW", "EVENTS", "PROFILE", "GAP_FILL", "DISCOVERY"]
    assert everything(arbiter) == order


def test_a_talkative_meter_does_not_push_the_others_aside():
    arbiter: Arbiter[str] = Arbiter()
    for item in ("a1", "a2", "a3", "b1", "c1"):
        arbiter.add(Priority.PROFILE, item[0], item)
    assert everything(arbiter) == ["a1", "b1", "c1", "a2", "a3"]


def test_a_switch_command_overtakes_a_full_queue():
    arbiter: Arbiter[str] = Arbiter()
    for number in range(30):
        arbiter.add(Priority.PROFILE, str(number), "profile")
    arbiter.add(Priority.SWITCH, "7", "open the switch")
    assert arbiter.next() == "open the switch"
    assert len(arbiter.drain()) == 30
    assert arbiter.next() is None


def test_what_was_asked_to_rest_goes_on_before_its_equals_and_behind_its_betters():
    arbiter: Arbiter[str] = Arbiter()
    arbiter.add(Priority.PROFILE, "a", "a")
    arbiter.add(Priority.PROFILE, "b", "b rested", resumed=True)
    arbiter.add(Priority.EVENTS, "c", "c")
    assert (arbiter.best, arbiter.head().meter_key) == (Priority.EVENTS, "c")
    assert everything(arbiter) == ["c", "b rested", "a"]
    assert arbiter.best > max(Priority)


@given(st.lists(st.tuples(st.sampled_from(list(Priority)), st.sampled_from("abcd")), max_size=40))
def test_nothing_is_lost_and_no_meter_waits_two_rounds(entries):
    arbiter: Arbiter[int] = Arbiter()
    for number, (priority, meter) in enumerate(entries):
        arbiter.add(priority, meter, number)
    served = everything(arbiter)
    assert sorted(served) == list(range(len(entries)))
    ranks = [entries[n][0] for n in served]
    assert ranks == sorted(ranks)


def test_a_silent_meter_is_left_alone_for_a_doubling_time():
    breaker, now_s, waits = Breaker(), 0.0, []
    for _ in range(9):
        if breaker.state is State.SILENT:
            breaker = advance(breaker, Event.PROBE_STARTED, now_s)
        breaker = advance(breaker, Event.STAYED_SILENT, now_s)
        waits.append(breaker.wait_s(now_s))
        assert not breaker.may_speak(now_s + waits[-1] - 0.001)
        now_s += waits[-1]
        assert breaker.may_speak(now_s)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert waits[-1] == LONGEST_S


def test_a_person_may_ask_earlier_but_not_all_the_time():
    breaker = Breaker(State.SILENT, failures=8, failed_at_s=100.0)
    assert not breaker.may_speak(100.0 + FIRST_S - 0.1, urgent=True)
    assert breaker.may_speak(100.0 + FIRST_S, urgent=True)
    assert not breaker.may_speak(100.0 + FIRST_S)


def test_one_answer_heals():
    assert advance(Breaker(State.PROBING, 5, 1.0), Event.ANSWERED, 2.0) == Breaker()


def test_a_probe_lost_with_its_line_is_not_held_against_the_meter():
    after = advance(Breaker(State.PROBING, 2, 50.0), Event.PROBE_LOST, 60.0)
    assert (after.state, after.failures) == (State.SILENT, 2)
    assert after.may_speak(60.0)


def test_a_device_beside_a_meter_is_asked_again_within_half_a_minute_and_by_an_order_at_once():
    silent = Breaker(State.SILENT, failures=20, failed_at_s=100.0)
    assert not silent.may_speak_beside(100.0 + BESIDE_LONGEST_S - 0.1, urgent=False)
    assert silent.may_speak_beside(100.0 + BESIDE_LONGEST_S, urgent=False)
    assert silent.may_speak_beside(100.0, urgent=True)
    assert Breaker(State.SILENT, failures=1, failed_at_s=100.0).may_speak_beside(100.0 + FIRST_S, urgent=False)
    assert Breaker().may_speak_beside(0.0, urgent=False)


def test_the_table_of_the_breaker_leads_nowhere_unknown():
    reached = {State.HEALTHY} | set(TRANSITIONS.values())
    assert reached == set(State)
    assert all((state, Event.ANSWERED) in TRANSITIONS for state in State)


def test_a_full_echo_is_cut_off_and_a_growing_one_waited_for():
    echo = EchoFilter(Echo.AUTO)
    assert echo.skip(REQUEST, REQUEST[:3]) is None
    assert echo.skip(REQUEST, REQUEST + b"\x01\x04") == len(REQUEST)
    assert echo.skip(REQUEST, b"\x01\x04\x04\x43") == 0


def test_an_echo_alone_is_never_an_answer_even_where_answer_and_request_are_alike():
    """A single-coil write is answered with its own octets: the adapter's echo must not confirm a switch order."""
    for echo in (EchoFilter(Echo.AUTO), EchoFilter(Echo.ON)):
        assert echo.skip(REQUEST, REQUEST) == len(REQUEST)
        assert echo.skip(REQUEST, REQUEST + REQUEST) == len(REQUEST)


def test_a_line_known_to_be_clean_takes_an_answer_like_its_request():
    echo = EchoFilter(Echo.AUTO)
    echo.learn(0)
    assert echo.skip(REQUEST, REQUEST) == 0
    echo.forget()
    assert echo.skip(REQUEST, REQUEST) == len(REQUEST)


def test_echo_off_never_cuts():
    assert EchoFilter(Echo.OFF).skip(REQUEST, REQUEST) == 0


def test_a_meter_that_misses_first_requests_gets_more_silence_up_to_50_ms():
    gaps, line_gap_s = GapTable(), Speed(9_600).silence_s
    seen = [gaps.gap_s("a", line_gap_s)]
    for _ in range(6):
        gaps.first_request_answered("a", 2, line_gap_s)
        seen.append(gaps.gap_s("a", line_gap_s))
    assert seen[0] == line_gap_s
    assert all(later >= earlier for earlier, later in itertools.pairwise(seen))
    assert seen[-1] == MAX_GAP_S
    assert gaps.gap_s("b", line_gap_s) == line_gap_s


def test_a_learnt_silence_is_given_back_after_long_good_behaviour():
    gaps, line_gap_s = GapTable(), 0.004
    gaps.first_request_answered("a", 2, line_gap_s)
    for _ in range(FORGET_AFTER):
        gaps.first_request_answered("a", 1, line_gap_s)
    assert gaps.gap_s("a", line_gap_s) == pytest.approx(line_gap_s)


def test_silence_is_three_and_a_half_characters_and_fixed_above_19200_baud():
    assert Speed(9_600, parity="E").silence_s == pytest.approx(3.5 * 11 / 9_600)
    assert Speed(9_600).silence_s == pytest.approx(3.5 * 10 / 9_600)
    assert Speed(115_200).silence_s == 0.00175
    assert LineSettings("a", "b", Speed(9_600), gap_ms=30).gap_s(Speed(9_600)) == 0.030


@pytest.mark.parametrize("wrong", [{"baud": -1}, {"parity": "X"}, {"data_bits": 9}, {"stop_bits": 0}])
def test_line_coding_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError):
        Speed(**wrong)
