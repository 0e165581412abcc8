"""Tariffs: what a document may say, exact charges, independence of splits, versions in time.

The oracle is a separate calculation in fractions, written from the tariff's text (safety.md 18).
"""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.errors import ContractError
from gridtally_shared.money import decimal_text
from gridtally_shared.tariff.charge import energy_charge, fixed_charge
from gridtally_shared.tariff.model import Tariff, tariff_from
from gridtally_shared.tariff.versions import day_start_ms, local_day, tariff_book

KOLKATA, BERLIN = ZoneInfo("Asia/Kolkata"), ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000
tariffs = st.builds(
    Tariff, st.just("t"), st.just(1), st.just("EUR"), st.integers(0, 2_000_000), st.integers(0, 5_000_000_000), st.integers(0, 300_000)
)
registers = st.integers(0, 50_000_000)


def document(**changes: object) -> str:
    plain = {"kind": "flat", "currency": "EUR", "energy_per_kwh": "0.2750", "fixed_per_day": "0.10", "tax_percent": "7.5"}
    return json.dumps(plain | changes)


def version(from_ms: int, number: int, **changes: object) -> TariffDocument:
    return TariffDocument("home", number, from_ms, document(**changes))


def test_a_document_becomes_exact_integers() -> None:
    tariff = tariff_from("home", 3, document(name="Home"))
    assert tariff == Tariff("home", 3, "EUR", 275_000, 100_000_000, 75_000, "Home")


REFUSED = [
    ("not json", "not JSON"),
    ("[]", "kind must be 'flat'"),
    (document(kind="slabs"), "kind must be 'flat'"),
    (document(demand="1"), "unknown key 'demand'"),
    (document(energy_per_kwh="-1"), "energy_per_kwh"),
    (document(energy_per_kwh="0.0000001"), "too many decimals"),
    (document(energy_per_kwh=0.275e-7), "energy_per_kwh"),
    (document(fixed_per_day="ten"), "fixed_per_day"),
    (document(tax_percent="0.00001"), "too many decimals"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_a_document_that_is_not_understood_is_refused_whole(text: str, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        tariff_from("home", 1, text)


def test_a_worked_example() -> None:
    tariff = tariff_from("home", 1, document())
    charge = energy_charge(tariff, 0, 12_345)
    assert decimal_text(charge.net_nano) == "3.394875"
    assert decimal_text(charge.tax_nano) == "0.254615625"
    assert decimal_text(fixed_charge(tariff, 0, 30).total_nano) == "3.225"


@given(tariffs, registers, registers)
def test_charges_agree_with_fractions(tariff: Tariff, a: int, b: int) -> None:
    low, high = sorted((a, b))
    charge = energy_charge(tariff, low, high)
    net = Fraction(tariff.energy_nano_per_wh) * (high - low)
    assert charge.net_nano == net
    assert abs(charge.tax_nano - net * Fraction(tariff.tax_ppm, 1_000_000)) < 1


@given(tariffs, st.lists(registers, min_size=2, max_size=12))
def test_any_split_costs_the_same(tariff: Tariff, readings: list[int]) -> None:
    marks = sorted(readings)
    parts = [energy_charge(tariff, a, b) for a, b in pairwise(marks)]
    assert sum(p.total_nano for p in parts) == energy_charge(tariff, marks[0], marks[-1]).total_nano
    assert sum(p.tax_nano for p in parts) == energy_charge(tariff, marks[0], marks[-1]).tax_nano


@given(tariffs, st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_days_split_like_energy(tariff: Tariff, a: int, b: int, c: int) -> None:
    low, middle, high = sorted((a, b, c))
    whole = fixed_charge(tariff, low, high).total_nano
    assert fixed_charge(tariff, low, middle).total_nano + fixed_charge(tariff, middle, high).total_nano == whole


def test_the_newest_version_that_has_begun_is_in_force() -> None:
    book = tariff_book("home", (version(2_000, 2), version(1_000, 1), TariffDocument("other", 9, 0, "not read")))
    assert book is not None
    assert [book.at(t).version for t in (0, 1_000, 1_999, 2_000, 10**12)] == [1, 1, 1, 2, 2]


def test_a_tariff_without_a_document_has_no_book() -> None:
    assert tariff_book("home", ()) is None


@given(registers, registers, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_consumption_across_versions_is_parted_and_adds_up(a: int, b: int, t0: int, t1: int) -> None:
    book = tariff_book("home", (version(0, 1), version(3 * 10**8, 2, energy_per_kwh="1"), version(6 * 10**8, 3)))
    assert book is not None
    (from_wh, to_wh), (from_ms, to_ms) = sorted((a, b)), sorted((t0, t1))
    spans = book.energy_spans(from_wh, from_ms, to_wh, to_ms)
    assert sum(s.end - s.start for s in spans) == to_wh - from_wh
    assert all(s.end > s.start for s in spans)
    assert [s.tariff.version for s in spans] == sorted({s.tariff.version for s in spans})
    if spans:
        assert (spans[0].start, spans[-1].end) == (from_wh, to_wh)


def test_a_change_in_the_middle_parts_by_time() -> None:
    book = tariff_book("home", (version(0, 1), version(HOUR_MS, 2)))
    assert book is not None
    spans = book.energy_spans(1_000, 0, 5_000, 4 * HOUR_MS)
    assert [(s.tariff.version, s.start, s.end) for s in spans] == [(1, 1_000, 2_000), (2, 2_000, 5_000)]


def test_days_go_to_the_version_in_force_at_their_local_midnight() -> None:
    change_ms = day_start_ms(739_000, KOLKATA)
    book = tariff_book("home", (version(0, 1), version(change_ms, 2)))
    assert book is not None
    spans = book.day_spans(738_997, 739_001, KOLKATA)
    assert [(s.tariff.version, s.start, s.end) for s in spans] == [(1, 738_997, 738_999), (2, 738_999, 739_001)]
    assert book.day_spans(739_001, 739_001, KOLKATA) == ()


@given(st.integers(735_000, 760_000))
def test_a_day_begins_at_its_own_midnight_also_when_clocks_change(day: int) -> None:
    for zone in (KOLKATA, BERLIN):
        start_ms = day_start_ms(day, zone)
        assert local_day(start_ms, zone) == day
        assert local_day(start_ms - 1_000, zone) == day - 1
