"""The bulk decoder of profile buffers makes the same data as the general one, and leaves to it what is no table."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.protocols.dlms import axdr, bulk
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_shared.errors import MeterFault

SIZES = {15: 1, 16: 2, 5: 4, 20: 8, 3: 1, 13: 1, 17: 1, 22: 1, 18: 2, 6: 4, 23: 4, 21: 8, 24: 8, 25: 12, 26: 5, 27: 4, 0: 0, 255: 0}
FIXED = st.sampled_from(sorted(SIZES)).flatmap(
    lambda tag: st.binary(min_size=SIZES[tag], max_size=SIZES[tag]).map(lambda body: bytes([tag]) + body)
)
STRINGS = st.tuples(st.sampled_from([9, 10, 12]), st.binary(max_size=40)).map(lambda c: bytes([c[0], len(c[1])]) + c[1])
BITS = st.integers(0, 60).flatmap(
    lambda n: st.binary(min_size=(n + 7) // 8, max_size=(n + 7) // 8).map(lambda octets: bytes([4, n]) + octets)
)
ROWS = st.integers(3, 6).flatmap(
    lambda width: st.lists(st.lists(FIXED | STRINGS | BITS, min_size=width, max_size=width), min_size=1, max_size=4)
)
TABLES = st.tuples(ROWS, st.integers(12, 20)).map(lambda made: made[0] * made[1])
"""A few different rows, many times over: tables long enough to be worth the bulk decoder, quickly made."""


def octets_of(rows: list[list[bytes]]) -> bytes:
    return b"\x01\x82" + struct.pack(">H", len(rows)) + b"".join(b"\x02" + bytes([len(row)]) + b"".join(row) for row in rows)


def general(octets: bytes) -> axdr.Data:
    return axdr._Decoder(Reader(octets)).tagged(0)


@given(rows=TABLES, before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_a_table_is_the_same_data_either_way(rows: list[list[bytes]], before: bytes, after: bytes) -> None:
    table = octets_of(rows)
    found = bulk.table_at(before + table + after, len(before))
    if len(table) + len(after) < bulk.WORTH_OCTETS:
        assert found is None
        return
    assert found == (general(table), len(before) + len(table))
    assert axdr.encode(found[0]) == b"\x01" + axdr.encode_length(len(rows)) + table[4:]


@given(rows=TABLES, place=st.integers(0, 5_000), octet=st.integers(0, 255))
def test_a_spoilt_table_ends_as_the_general_decoder_ends_it(rows: list[list[bytes]], place: int, octet: int) -> None:
    data = bytearray(octets_of(rows))
    data[place % len(data)] = octet
    try:
        expected: axdr.Data | None = general(bytes(data))
    except MeterFault:
        expected = None
    found = bulk.table_at(bytes(data), 0)
    assert found is None or found[0] == expected


def test_rows_without_columns_are_left_to_the_general_decoder() -> None:
    """Found by the fuzz campaign."""
    empty = b"\x01\x82\x00\xc8" + b"\x02\x00" * 200
    assert bulk.table_at(empty, 0) is None
    assert len(axdr.items_of(axdr.decode(empty))) == 200


def test_nested_values_and_short_buffers_are_left_to_the_general_decoder() -> None:
    nested = axdr.array(*[axdr.structure(axdr.structure(axdr.octet_string(b"x" * 20))) for _ in range(20)])
    assert bulk.table_at(axdr.encode(nested), 0) is None
    assert axdr.decode(axdr.encode(nested)) == nested
    with pytest.raises(MeterFault):
        axdr.decode(axdr.encode(nested)[:-1])
