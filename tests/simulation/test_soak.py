"""A share of the soak: two streets of fifty over a lossy link, each figure with its count, and a box that comes back after a day."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from simulation import resync, soak

WORLDS = 2

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def soaked() -> soak.Figures:
    """A day of a hundred meters, one of which often does not answer."""
    figures, findings = soak.lived(WORLDS)
    print(soak.report(figures, findings, WORLDS * soak.HOMES))
    assert findings == []
    return figures


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


def test_two_streets_over_a_lossy_link_give_every_figure_its_numerator_and_denominator(soaked: soak.Figures) -> None:
    for name in soak.NAMES:
        assert 0 < soaked[name].good <= soaked[name].of, name
        assert_printed(soaked, name)
    assert soaked["F8"].good == soaked["F8"].of == WORLDS * soak.HOMES


def test_a_box_that_comes_back_agrees_with_the_mdm_to_the_nano() -> None:
    found = resync.measure(days=1, meters=5)
    assert found.differences == ()
    assert found.entries >= 24 * 5
    assert found.intervals >= 23 * 5
    assert found.good
    assert not replace(found, seconds=resync.GOAL_S + 1).good
    assert not replace(found, differences=("heads and balances",)).good


@pytest.mark.covers("C3-NFR9")
def test_of_a_thousand_alerts_99_in_100_are_on_the_display_within_60_s(soaked: soak.Figures) -> None:
    assert_share(soaked["N7"], 0.99, of=1_000)


@pytest.mark.covers_part("C3-NFR13")
def test_of_500_questions_for_the_switch_99_in_100_are_answered_within_60_s(soaked: soak.Figures) -> None:
    assert_share(soaked["N11"], 0.99, of=500)


@pytest.mark.covers("C3-NFR11")
def test_prepay_messages_arrive_and_the_report_says_how_many_of_how_many(soaked: soak.Figures) -> None:
    assert_share(soaked["N9"], 0.999, of=1_000)
    assert_share(soaked["N9b"], 0.98, of=10)
    assert_printed(soaked, "N9", "N9b")


@pytest.mark.covers_part("C3-NFR12")
def test_commands_are_processed_and_the_report_says_how_many_of_how_many(soaked: soak.Figures) -> None:
    assert_share(soaked["N10"], 0.999, of=1_000)
    assert_share(soaked["N10b"], 0.98, of=10)
    assert_printed(soaked, "N10", "N10b")


@pytest.mark.covers_part("C3-NFR2")
def test_of_a_hundred_switchings_99_in_100_are_done_within_60_s(soaked: soak.Figures) -> None:
    assert_share(soaked["N2"], 0.99, of=100)


def assert_share(tally: soak.Tally, share: float, of: int) -> None:
    assert tally.of >= of
    assert tally.good >= share * tally.of


def assert_printed(figures: soak.Figures, *names: str) -> None:
    lines = soak.report(figures, [], WORLDS * soak.HOMES).splitlines()
    for name in names:
        line = next(line for line in lines if line.split()[:1] == [name])
        assert f"{figures[name].good:7} of {figures[name].of:7}" in line
