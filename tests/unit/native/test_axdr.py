"""Profile buffers decoded at once: equal in both twins and equal to the general decoder; everything else is refused."""

from __future__ import annotations

import struct
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_native import ProfileTable
from gridtally_shared.errors import MeterFault
from unit.native.twins import both, twin_of

pytestmark = pytest.mark.native_twin

CLOCK = bytes.fromhex("07ea0b160009000000014a00")
SIZES = {15: 1, 16: 2, 5: 4, 20: 8, 3: 1, 13: 1, 17: 1, 22: 1, 18: 2, 6: 4, 23: 4, 21: 8, 24: 8, 25: 12, 26: 5, 27: 4, 0: 0, 255: 0}


@pytest.fixture(params=both("axdr"))
def twin(request: pytest.FixtureRequest) -> ModuleType:
    return twin_of("axdr", request.param)


def outcome(twin: ModuleType, data: bytes) -> ProfileTable | str:
    try:
        return twin.profile_table(data)  # type: ignore[no-any-return]
    except ValueError as error:
        return str(error)


def length(n: int) -> bytes:
    return bytes([n]) if n < 0x80 else b"\x82" + struct.pack(">H", n)


def test_a_row_of_a_load_profile(twin: ModuleType) -> None:
    """Clock, volts in tenths (unsigned 16), Wh (unsigned 32), W (signed 16)."""
    row = b"\x02\x04\x09\x0c" + CLOCK + b"\x12\x09\x2e" + b"\x06\x00\x00\x01\xf4" + b"\x10\xff\xfe"
    table = twin.profile_table(b"\x01\x01" + row + b"trailing")
    at = table.numbers[0] >> 32
    assert (table.rows, table.columns, table.tags) == (1, 4, bytes([9, 18, 6, 16]))
    assert (at, table.numbers[0] & 0xFFFFFFFF, list(table.numbers[1:])) == (6, 12, [2350, 500, -2])
    assert table.end == 2 + len(row)


def test_a_null_cell_keeps_its_place(twin: ModuleType) -> None:
    table = twin.profile_table(b"\x01\x02" + b"\x02\x02\x12\x00\x01\x11\x05" + b"\x02\x02\x00\x11\x06")
    assert (table.tags, list(table.numbers)) == (bytes([18, 17, 0, 17]), [1, 5, 0, 6])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "not an array"),
        ("020100", "not an array"),
        ("0101", "not a structure"),
        ("01010203", "1 rows of 3 columns announced"),
        ("01010201010100", "no plain value"),
        ("01020201110102021101110200", "a row of 2 columns among rows of 1"),
        ("0101020112", "2 octets due, 0 left"),
        ("0184ffffffff0284ffffffff", "columns announced"),
        ("0180", "a length of 0 octets"),
        ("0185010101010102", "a length of 5 octets"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(twin: ModuleType, data: str, why: str) -> None:
    assert why in str(outcome(twin, bytes.fromhex(data)))


CELLS = st.sampled_from(sorted(SIZES)).flatmap(
    lambda tag: st.binary(min_size=SIZES[tag], max_size=SIZES[tag]).map(lambda body: bytes([tag]) + body)
) | st.tuples(st.sampled_from([9, 10, 12]), st.binary(max_size=200)).map(lambda c: bytes([c[0]]) + length(len(c[1])) + c[1])
TABLES = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8)
)


@given(rows=TABLES)
def test_a_table_is_what_the_general_decoder_makes_of_it(rows: list[list[bytes]]) -> None:
    data = b"\x01" + length(len(rows)) + b"".join(b"\x02" + length(len(row)) + b"".join(row) for row in rows)
    made = [twin_of("axdr", name).profile_table(data) for name in both("axdr")]
    assert all(other == made[0] for other in made)
    cells = [cell for row in axdr.items_of(axdr.read_data(Reader(data))) for cell in axdr.items_of(row)]
    assert made[0].tags == bytes(int(cell.tag) for cell in cells)
    for number, cell in zip(made[0].numbers, cells, strict=True):
        if isinstance(cell.value, int):
            assert number % 2**64 == cell.value % 2**64
        elif isinstance(cell.value, bytes) and int(cell.tag) not in (23, 24):
            assert data[number >> 32 : (number >> 32) + (number & 0xFFFFFFFF)] == cell.value


@given(rows=TABLES, cut=st.integers(0, 400), place=st.integers(0, 400), octet=st.integers(0, 255))
def test_a_spoilt_table_ends_the_same_way_in_both_twins(rows: list[list[bytes]], cut: int, place: int, octet: int) -> None:
    data = bytearray(b"\x01" + length(len(rows)) + b"".join(b"\x02" + length(len(row)) + b"".join(row) for row in rows))
    data[place % len(data)] = octet
    spoilt = bytes(data[: max(1, len(data) - cut % 3)])
    ends = [outcome(twin_of("axdr", name), spoilt) for name in both("axdr")]
    assert all(other == ends[0] for other in ends)
    if isinstance(ends[0], ProfileTable):
        try:
            axdr.read_data(Reader(spoilt))
        except MeterFault:
            pytest.fail("the general decoder refuses what the table decoder takes")


@given(junk=st.binary(max_size=60))
def test_any_octets_end_the_same_way_in_both_twins(junk: bytes) -> None:
    ends = [outcome(twin_of("axdr", name), b"\x01" + junk) for name in both("axdr")]
    assert all(other == ends[0] for other in ends)
