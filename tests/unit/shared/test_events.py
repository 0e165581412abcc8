"""The event table: complete for IS 15959, paired, ranked, with well-formed CIM codes."""

from __future__ import annotations

import re

import pytest

from gridtally_shared.events import BY_CODE, EVENT_TYPES, STATUS_BITS

PAIRED = (*range(1, 12, 2), *range(51, 70, 2), 101, 159, 177, *range(201, 210, 2), 213, 215, 301)
SINGLE = (*range(151, 159), *range(161, 168), 169, 211, 212, 251)
FAILURES = ("checksum_failed", "firmware_upgrade_failed", "metrology_failed", "program_failed", "memory_failed", "time_sync_failed")


@pytest.mark.parametrize("code", PAIRED)
def test_an_occurrence_has_its_restoration(code: int) -> None:
    assert BY_CODE[code].code + 1 == BY_CODE[code + 1].code


def test_every_single_code_of_is_15959_is_there() -> None:
    assert [code for code in SINGLE if code not in BY_CODE] == []


def test_nothing_below_1000_is_outside_is_15959() -> None:
    known = {*SINGLE, *PAIRED, *(code + 1 for code in PAIRED)}
    assert [e.code for e in EVENT_TYPES if e.code < 1000 and e.code not in known] == []


def test_no_code_and_no_name_stands_for_two_events() -> None:
    assert len(BY_CODE) == len({e.name for e in EVENT_TYPES}) == len(EVENT_TYPES)


@pytest.mark.covers_part("BYPL-0b")
def test_every_event_has_a_cim_code_of_an_electricity_meter() -> None:
    assert [e.name for e in EVENT_TYPES if not re.fullmatch(r"3\.\d{1,2}\.\d{1,3}\.\d{1,3}", e.cim)] == []


def test_ranks_one_and_two_are_urgent() -> None:
    assert {(e.rank, e.urgent) for e in EVENT_TYPES} == {(1, True), (2, True), (3, False)}


@pytest.mark.parametrize("name", ["power_failed", "supply_disconnected", "neutral_missing", "last_gasp", "use_while_open"])
def test_supply_and_safety_come_first(name: str) -> None:
    assert {e.rank for e in EVENT_TYPES if e.name == name} == {1}


@pytest.mark.parametrize("name", FAILURES)
def test_a_critical_failure_of_a_meter_is_urgent(name: str) -> None:
    assert [e.urgent for e in EVENT_TYPES if e.name == name] == [True]


def test_the_status_word_tells_last_gasp_and_first_breath() -> None:
    assert (STATUS_BITS[85].name, STATUS_BITS[86].name) == ("last_gasp", "first_breath")


def test_the_status_word_has_every_bit_of_the_standard() -> None:
    assert set(STATUS_BITS) == {*range(13), 51, *range(81, 88)}
