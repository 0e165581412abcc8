"""When our own time is believed (prepayment.md 5.6)."""

from __future__ import annotations

from gridtally_edge.prepay.clocktrust import (
    DRIFT_PPM,
    Trust,
    meters_offset_ms,
    observe,
    observe_signed,
    pass_time,
    restarted,
    verdict,
    welcome_observation,
)
from gridtally_edge.prepay.events import ClockObserved, ClockSource, WelcomeSeen
from gridtally_shared.contract.messages import ClockState
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS

T = START_MS


def says(source: ClockSource, ahead_ms: int = 0, at_ms: int = T, error_ms: int = 0) -> ClockObserved:
    return ClockObserved(source, at_ms - ahead_ms, at_ms, error_ms)


def test_after_a_start_nothing_is_believed_until_one_source_agrees() -> None:
    assert verdict(Trust(), T).state is ClockState.UNTRUSTED
    assert verdict(observe(Trust(), says(ClockSource.NTP)), T).state is ClockState.TRUSTED


def test_virtual_time_counts_as_a_trusted_source() -> None:
    assert verdict(observe(Trust(), says(ClockSource.VIRTUAL)), T).state is ClockState.TRUSTED


def test_a_source_that_disagrees_by_more_than_a_step_is_no_agreement() -> None:
    assert verdict(observe(Trust(), says(ClockSource.CLOUD, 10_001)), T).state is ClockState.UNTRUSTED
    assert verdict(observe(Trust(), says(ClockSource.CLOUD, 10_001, error_ms=1)), T).state is ClockState.TRUSTED


def test_the_uncertainty_grows_through_holdover_to_untrusted() -> None:
    trust = observe(Trust(), says(ClockSource.NTP, 200, error_ms=300))
    assert verdict(trust, T).uncertainty_ms == 500
    later = verdict(trust, T + 2 * DAY_MS)
    assert later.state is ClockState.HOLDOVER
    assert later.uncertainty_ms == 500 + 2 * DAY_MS * DRIFT_PPM // 1_000_000
    assert verdict(trust, T + 90 * DAY_MS).state is ClockState.UNTRUSTED


def test_time_below_the_high_water_mark_is_not_believed_even_after_a_restart() -> None:
    trust = pass_time(observe(Trust(), says(ClockSource.NTP)), T, None)
    again = observe(restarted(trust), says(ClockSource.NTP, at_ms=T - HOUR_MS))
    assert verdict(again, T - HOUR_MS).state is ClockState.UNTRUSTED


def test_only_a_signed_word_lowers_the_mark() -> None:
    far = Trust(floor_ms=T + 3_650 * DAY_MS)
    assert verdict(observe(far, says(ClockSource.NTP)), T).state is ClockState.UNTRUSTED
    assert verdict(observe_signed(far, says(ClockSource.CLOUD)), T).state is ClockState.TRUSTED
    assert verdict(observe_signed(far, says(ClockSource.CLOUD, 60_000)), T).state is ClockState.UNTRUSTED


def test_the_mark_does_not_follow_a_clock_that_is_not_believed() -> None:
    assert pass_time(Trust(), T + 3_650 * DAY_MS, None).floor_ms == 0


def test_a_step_against_the_monotonic_clock_needs_a_new_agreement() -> None:
    trust = pass_time(observe(Trust(), says(ClockSource.NTP)), T, 1_000)
    steady = pass_time(trust, T + HOUR_MS, 1_000 + HOUR_MS)
    assert verdict(steady, T + HOUR_MS).state is ClockState.TRUSTED
    stepped = pass_time(steady, T + 3 * HOUR_MS, 2_000 + HOUR_MS)
    assert verdict(stepped, T + 3 * HOUR_MS).state is ClockState.UNTRUSTED


def test_a_better_source_is_not_overruled_while_it_is_fresh() -> None:
    trust = observe(Trust(), says(ClockSource.CLOUD))
    assert observe(trust, says(ClockSource.METERS, 3_600_000, T + 60_000)) == trust
    assert observe(trust, says(ClockSource.METERS, 3_600_000, T + DAY_MS)).agreed_ms is None


def test_the_meters_median_needs_five_and_leaves_out_the_liars() -> None:
    assert meters_offset_ms([100, 200, 300, 400]) is None
    assert meters_offset_ms([100, 200, 300, 400, 500, 86_400_000]) == 300
    assert meters_offset_ms([]) is None


def heard(written_ms: int, age_ms: int | None) -> ClockState:
    observation = welcome_observation(WelcomeSeen(written_ms, age_ms=age_ms), T)
    return verdict(Trust() if observation is None else observe_signed(Trust(), observation), T).state


def test_a_welcome_is_true_to_within_half_its_age() -> None:
    assert heard(T, 0) is heard(T - 20_000, 40_000) is ClockState.TRUSTED
    assert heard(T - 20_000, 0) is heard(T + 50_000, 40_000) is ClockState.UNTRUSTED


def test_a_welcome_that_lay_for_an_hour_makes_no_clock_believed() -> None:
    assert heard(T - 1_800_000, 3_600_000) is ClockState.UNTRUSTED


def test_a_welcome_of_unknown_age_confirms_nothing_but_says_that_we_are_behind() -> None:
    assert welcome_observation(WelcomeSeen(T, age_ms=None), T) is None
    assert welcome_observation(WelcomeSeen(T - 3_600_000, age_ms=None), T) is None
    trusted = observe(Trust(), says(ClockSource.NTP))
    behind = welcome_observation(WelcomeSeen(T + 60_000, age_ms=None), T)
    assert behind is not None
    assert verdict(observe_signed(trusted, behind), T).state is ClockState.UNTRUSTED
