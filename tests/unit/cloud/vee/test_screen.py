"""The screen of a stretch asks fewer rules and changes no judgement."""

from __future__ import annotations

import random
from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_cloud.vee.checks import TABLE, is_asked
from gridtally_cloud.vee.files import read_house
from gridtally_cloud.vee.judge import judge
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.model import RuleSet, Stretch
from gridtally_cloud.vee.screen import asked_of, everything, screened
from support.data import data_path
from support.vee_days import anything, house


@given(seed=st.integers(0, 2**32))
@settings(max_examples=250, deadline=None)
def test_whatever_comes_the_judgement_is_that_of_all_rules_on_all_days(seed: int) -> None:
    stretch, known = anything(random.Random(seed))
    assert judge(stretch, known) == judge(stretch, known, everything)


def test_the_days_tried_hold_findings_of_every_rule_that_is_screened() -> None:
    """The property above would be empty if nothing were ever found."""
    found: Counter[str] = Counter()
    for seed in range(150):
        found.update({finding.rule for finding in judge(*anything(random.Random(seed))).findings})
    assert {"gap", "limit", "spike", "stuck", "zero", "meter", "reader_clock", "outage", "conflict", "sum"} <= found.keys()


def test_a_year_of_a_real_house_is_judged_the_same() -> None:
    folder = data_path("vee")
    for path in folder.glob("*_damaged.csv"):
        real = read_house(folder, path.name.removesuffix("_damaged.csv"))
        judged = judge(real.stretch, real.known)
        assert judged == judge(real.stretch, real.known, everything)
        assert {"gap", "spike", "conflict"} <= {finding.rule for finding in judged.findings}


def test_clean_days_pass_and_days_with_faults_do_not() -> None:
    """What the screen is for."""
    rng = random.Random(7)

    def bits(faults: int) -> bytes:
        stretch, known = house(rng, faults)
        return screened(stretch, known.local.days(stretch), known.rules, known.limit_w, known.direction)

    assert {bits(0) for _ in range(30)} == {bytes(3)}
    assert all(any(bits(20)) for _ in range(30))


@pytest.mark.parametrize("unit", ["Wh", "VAh", "varh", "V", "L"])
@pytest.mark.parametrize("direction", ["import", "export", "net", ""])
def test_asked_are_the_rules_of_the_table(unit: str, direction: str) -> None:
    off = frozenset({"spike"})
    rules = {check.rule for check in TABLE}
    assert asked_of(unit, direction, off) == {rule for rule in rules if is_asked(rule, unit, direction, off)}


def test_a_rule_that_is_not_asked_is_not_looked_for() -> None:
    """Volts that stand still, far above any limit of energy."""
    n = 96
    volts = Stretch(0, 900, "V", array("q", [230_000_000]) * n, array("H", bytes(2 * n)), bytes([1]) * n)
    assert screened(volts, LocalTime("UTC").days(volts), RuleSet(), 11_000, "") == b"\0"


def test_bounds_beyond_all_numbers_still_screen() -> None:
    n = 4
    top = 2**63 - 1
    high = Stretch(0, 900, "Wh", array("q", [top, 5, 5, 6]), array("H", bytes(2 * n)), bytes([1]) * n)
    assert screened(high, LocalTime("UTC").days(high), RuleSet(spike_permille=10**9), 10**30, "net")[0]
