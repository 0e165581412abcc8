"""The table of checks, the rules that look at what the meter says, and those across channels, registers and months (mdm.md B.2)."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest

from gridtally_cloud.cli import main
from gridtally_cloud.vee import across
from gridtally_cloud.vee.across import Beside, Month, high_low
from gridtally_cloud.vee.checks import AFTER, BY_RULE, FOR_A_PERSON, TABLE, Severity
from gridtally_cloud.vee.cli import table
from gridtally_cloud.vee.judge import SUSPICIONS, Known, judge
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.model import RegisterSample, RuleSet, Stretch
from gridtally_cloud.vee.registers import Register
from gridtally_cloud.vee.repair import Standing, repair
from gridtally_cloud.vee.said import Event
from gridtally_shared.events import BY_NAME
from gridtally_shared.quality import Quality

START_MS, QUARTER_MS = 1_772_409_600_000, 900_000
DAY = [100 + i % 7 for i in range(96)]
RULES = RuleSet()


def stretch(values: Sequence[int | None], unit: str = "Wh", flags: dict[int, int] | None = None) -> Stretch:
    quality = array("H", [(flags or {}).get(i, 0) for i in range(len(values))])
    return Stretch(START_MS, 900, unit, array("q", [v or 0 for v in values]), quality, bytes(v is not None for v in values))


def known(*events: tuple[str, int], register: Register | None = None, direction: str = "import", rules: RuleSet = RULES) -> Known:
    """`events` are (name, quarter in which it happened)."""
    happened = tuple(Event(BY_NAME[name].code, START_MS + at * QUARTER_MS + 60_000) for name, at in events)
    return Known(rules, 11_000, LocalTime("UTC"), register or Register(), (), direction, happened)


def rules_found(block: Stretch, facts: Known) -> list[tuple[str, int, int]]:
    """(rule, first quarter, quarter after the last)"""
    found = judge(block, facts).findings
    return [(f.rule, (f.start_ms - START_MS) // QUARTER_MS, (f.end_ms - START_MS) // QUARTER_MS) for f in found]


# ---- the table ----------------------------------------------------------------------------------------------------


def test_the_table_has_the_twenty_checks_in_their_order() -> None:
    numbers = [check.no for check in TABLE]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(20))
    assert {rule for rule, c in BY_RULE.items() if c.severity is Severity.WEIGHED} == set(SUSPICIONS)
    assert {c.rule for c in (*TABLE, *AFTER) if c.severity is Severity.PERSON} < FOR_A_PERSON


def test_the_document_shows_the_table_the_code_goes_by(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vee", "checks"]) == 0
    printed = capsys.readouterr().out
    assert printed in Path(__file__).parents[4].joinpath("docs/vee.md").read_text(encoding="utf-8")
    assert printed.splitlines() == table()
    assert main(["vee", "checks", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(TABLE) + len(AFTER)


# ---- what the meter says itself -----------------------------------------------------------------------------------

SAID = {
    "reader_clock": ({5: int(Quality.CLOCK_UNCERTAIN)}, (), ("reader_clock", 5, 6)),
    "meter": ({5: int(Quality.METER_INVALID)}, (), ("meter", 5, 6)),
    "reset": ({5: int(Quality.RESET)}, (), ("meter", 5, 6)),
    "identity": ({}, (("serial_mismatch", 7),), ("identity", 7, 8)),
    "memory": ({}, (("memory_failed", 7),), ("device", 7, 8)),
    "battery": ({}, (("battery_low", 7),), ("device_warning", 7, 8)),
    "register": ({}, (("register_went_back", 7),), ("register", 7, 8)),
    "clock": ({}, (("clock_set", 10), ("clock_jump_needed", 20), ("clock_corrected", 30)), ("meter_clock", 10, 31)),
    "clock never right": ({}, (("clock_invalid", 20),), ("meter_clock", 0, 96)),
    "outage by events": ({}, (("power_failed", 10), ("power_restored", 13)), ("outage", 11, 12)),
    "switch": ({}, (("supply_disconnected", 10), ("supply_connected", 20)), ("idle_use", 11, 20)),
}  # fmt: skip


@pytest.mark.parametrize(("flags", "events", "found"), SAID.values(), ids=SAID)
def test_marks_and_events_concern_the_intervals_they_belong_to(
    flags: dict[int, int], events: tuple[tuple[str, int], ...], found: tuple[str, int, int]
) -> None:
    seen = rules_found(stretch(DAY, flags=flags), known(*events))
    assert found in seen
    assert {rule for rule, *_ in seen} == {found[0]}
    judged = judge(stretch(DAY, flags=flags), known(*events))
    fails = BY_RULE[found[0]].severity is Severity.FAILS or found[0] == "outage"
    assert [bool(judged.failed[i]) for i in (found[1], found[2] - 1)] == [fails, fails]


def test_zeros_without_power_are_no_standstill_and_a_hole_without_power_is_zero() -> None:
    values = [*DAY[:20], *[None] * 15, *DAY[35:]]
    done = repair(stretch(values), known(("power_failed", 19), ("power_restored", 35)))
    assert list(done.values[20:35]) == [0] * 15
    assert set(done.standings[20:35]) == {Standing.ZERO}
    zeros = [*DAY[:20], *[0] * 15, *DAY[35:]]
    assert rules_found(stretch(zeros), known(("power_failed", 19), ("power_restored", 35))) == []
    assert rules_found(stretch(zeros), known()) == [("zero", 20, 35)]


def test_use_in_the_dark_is_real_where_the_register_counted_it() -> None:
    values = [*DAY[:10], 40, *DAY[11:]]
    dark = {10: int(Quality.POWER_FAIL)}
    reads = (RegisterSample(START_MS, 0), RegisterSample(START_MS + 96 * QUARTER_MS, sum(values)))
    assert judge(stretch(values, flags=dark), known(register=Register(reads))).confirmed[10]
    assert judge(stretch(values, flags=dark), known()).failed[10]


def test_a_rule_is_asked_only_for_the_channels_it_is_for() -> None:
    nights = [*[0] * 40, *DAY[40:]]
    assert rules_found(stretch(nights), known(direction="export")) == []
    assert rules_found(stretch([-50, *DAY[1:]]), known(direction="net")) == []
    assert rules_found(stretch([-50, *DAY[1:]]), known()) == [("limit", 0, 1)]
    assert rules_found(stretch(nights), known(rules=RuleSet(off=frozenset({"zero"})))) == []


def test_a_register_that_goes_back_is_a_finding_unless_it_rolled_over() -> None:
    end_ms = START_MS + 96 * QUARTER_MS
    for rollover, found in ((0, ["register"]), (100_000, [])):
        reads = (RegisterSample(START_MS, 99_990), RegisterSample(end_ms, (99_990 + sum(DAY)) % 100_000))
        assert [rule for rule, *_ in rules_found(stretch(DAY), known(register=Register(reads, 1, rollover)))] == found


def test_what_a_person_confirmed_is_not_asked_again() -> None:
    values = [*DAY[:10], 9_000, *DAY[11:]]
    facts = known()
    assert judge(stretch(values), facts).failed[10]
    confirmed = Known(facts.rules, 1_000, facts.local, verified=frozenset({START_MS + 10 * QUARTER_MS}))
    judged = judge(stretch(values), confirmed)
    assert (judged.findings, judged.failed[10], judged.confirmed[10]) == ((), 0, 1)


# ---- one thing against another ------------------------------------------------------------------------------------


def found_across(values: Sequence[int], **beside: object) -> list[str]:
    facts = Beside(**beside)  # type: ignore[arg-type]
    day = stretch(values)
    return [f.rule for f in (*across.across(day, 11_000, facts, RULES), *across.whatever_the_day(day, facts, RULES))]


ACROSS = {
    "varh without wh": ([0] * 96, {"varh": [0] * 95 + [3]}, ["kvarh"]),
    "no varh any more": ([60] * 96, {"varh": [0] * 96, "had_varh": True}, ["kvarh"]),
    "never any varh": ([60] * 96, {"varh": [0] * 96}, []),
    "power factor 0.49": ([500] * 95 + [501], {"varh": [100] * 95 + [891]}, ["kvarh"]),
    "power factor 0.51": ([500] * 95 + [501], {"varh": [100] * 95 + [845]}, []),
    "vah below wh": ([300] * 96, {"vah": [290] * 96}, ["kvah"]),
    "vah as wh and varh make it": ([300] * 96, {"vah": [500] * 96, "varh": [400] * 96}, []),
    "vah too much by more than 2 %": ([300] * 96, {"vah": [512] * 96, "varh": [400] * 96}, ["kvah"]),
    "rates sum to the total": (DAY, {"total_moved": 1002, "rates_moved": (600, 399)}, []),
    "rates do not": (DAY, {"total_moved": 1003, "rates_moved": (600, 399)}, ["tou_sum"]),
    "demand": (DAY, {"demand_w": 500}, []),
    "demand above the service": (DAY, {"demand_w": 13_201}, ["demand"]),
    "demand below the mean": (DAY, {"demand_w": 400}, ["demand"]),
    "check meter": ([100] * 96, {"check_wh": 9_648}, []),
    "check meter 0.6 % off": ([100] * 96, {"check_wh": 9_658}, ["main_check"]),
    "a fifth of the month estimated": (DAY, {"month": Month(1, 30, 576, 2880)}, []),
    "more": (DAY, {"month": Month(1, 30, 579, 2880)}, ["prolonged"]),
}  # fmt: skip


@pytest.mark.parametrize(("values", "beside", "found"), ACROSS.values(), ids=ACROSS)
def test_two_things_that_contradict_each_other_are_for_a_person(values: list[int], beside: dict[str, object], found: list[str]) -> None:
    assert found_across(values, **beside) == found
    assert set(found) <= FOR_A_PERSON


@pytest.mark.parametrize(("now", "passes"), [((620_000, 31), True), ((621_000, 31), False), ((124_000, 31), True), ((123_000, 31), False),
                                             ((900_000, 19), True)])  # fmt: skip
def test_vector_8_use_a_day_against_the_month_it_is_compared_with(now: tuple[int, int], passes: bool) -> None:
    assert (high_low(Month(*now), Month(300_000, 30), RULES) is None) is passes
