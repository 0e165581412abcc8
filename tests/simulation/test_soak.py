"""A small share of the soak: a street of a few homes over a lossy link, and a box that comes back after a day."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from simulation import resync, soak


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


def test_a_street_over_a_lossy_link_gives_every_figure_its_numerator_and_denominator() -> None:
    figures, findings = soak.measured(1, homes=3)
    assert findings == []
    for name in ("N2", "N7", "N10", "N11", "G1", "F8"):
        assert 0 < figures[name].good <= figures[name].of, name
    assert figures["F8"].good == figures["F8"].of == 3
    text = soak.report(figures, findings, 3)
    assert all(f"  {name} " in text for name in soak.NAMES)


def test_a_box_that_comes_back_agrees_with_the_mdm_to_the_nano() -> None:
    found = resync.measure(days=1, meters=5)
    assert found.differences == ()
    assert found.entries >= 24 * 5
    assert found.intervals >= 23 * 5
    assert found.good
    assert not replace(found, seconds=resync.GOAL_S + 1).good
    assert not replace(found, differences=("heads and balances",)).good
