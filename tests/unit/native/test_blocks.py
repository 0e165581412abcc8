"""The block codec: every int64 comes back, bytes that are no block are refused quickly, sizes are what is claimed."""

from __future__ import annotations

import csv
import gzip
import time
import tracemalloc
from array import array
from collections import defaultdict
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gridtally_native import MAX_BLOCK
from support.required import data_path

pytestmark = pytest.mark.native_twin

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(
    st.lists(st.integers(0, 600), max_size=110),
    st.lists(st.integers(-3, 3) | INT64, max_size=60),
    st.lists(INT64, max_size=40),
)


@given(VALUES)
@example([2**63 - 1, -(2**63)] * 3)
@example([-(2**63)])
@example([0] * 300)
def test_what_goes_in_comes_out(twin: ModuleType, values: list[int]) -> None:
    decoded, present = twin.decode_block(twin.encode_block(array("q", values)))
    assert decoded == array("q", values)
    assert present == b"\x01" * len(values)


@given(st.lists(st.tuples(INT64, st.sampled_from([0, 1, 255])), max_size=60))
def test_missing_stays_missing_and_is_zero(twin: ModuleType, cells: list[tuple[int, int]]) -> None:
    values, there = array("q", [value for value, _ in cells]), bytes(flag for _, flag in cells)
    decoded, present = twin.decode_block(twin.encode_block(values, there))
    assert present == bytes(flag > 0 for flag in there)
    assert list(decoded) == [value if flag else 0 for value, flag in cells]


@given(VALUES, st.binary(max_size=110))
def test_twins_write_the_same_bytes(pure: ModuleType, kernel: ModuleType, values: list[int], there: bytes) -> None:
    column = array("q", values)
    assert kernel.encode_block(column) == pure.encode_block(column)
    short = column[: len(there)]
    mask = bytes(byte & 1 for byte in there[: len(short)])
    assert kernel.encode_block(short, mask) == pure.encode_block(short, mask)


def _decoded(twin: ModuleType, data: bytes) -> object:
    try:
        return twin.decode_block(data)
    except ValueError as error:
        return str(error)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_alike_or_refused(pure: ModuleType, kernel: ModuleType, data: bytes) -> None:
    assert _decoded(kernel, data) == _decoded(pure, data)


@given(VALUES, st.binary(max_size=110), st.data())
def test_damaged_blocks_are_read_alike_or_refused(
    pure: ModuleType, kernel: ModuleType, values: list[int], there: bytes, data: st.DataObject
) -> None:
    column = array("q", values)[: len(there) or None]
    block = bytearray(pure.encode_block(column, bytes(byte & 1 for byte in there) if len(there) == len(column) else None))
    place = data.draw(st.integers(0, len(block) - 1))
    block[place] ^= data.draw(st.integers(1, 255))
    assert _decoded(kernel, bytes(block)) == _decoded(pure, bytes(block))


@given(VALUES, st.integers(1, 8))
def test_a_cut_block_is_refused(twin: ModuleType, values: list[int], cut: int) -> None:
    block = twin.encode_block(array("q", values))
    with pytest.raises(ValueError):
        twin.decode_block(block[: max(0, len(block) - cut)])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut short"),
        (b"\x00", "cut short"),
        (b"\x1f\x00", "format 0x1f is not known"),
        (b"\xff\x00", "format 0xff is not known"),
        (b"\x20\x01", "cut short"),
        (b"\x00\x80\x00", "length is not valid"),
        (b"\x00\x81\x80\x80", "length is not valid"),
        (b"\x00\xff\xff\x7f" + bytes(300_000), "length is not valid"),
        (b"\x00\x80\x80\x40", "cut short"),
        (b"\x80\x09\xff\xff\x00\x00", "bits after its end"),
        (b"\x00\x01\x00\x00", "bits after its end"),
        (b"\x00\x01\x02", "bits after its end"),
        (b"\x00\x01\xff", "cut short"),
        (b"\x40\x01" + b"\xff" * 9, "cut short"),
        (b"\x40\x01" + b"\xff" * 8 + bytes(9), "beyond 64 bits"),
        (b"\x42\x01" + b"\xff" * 7 + b"\x7f" + bytes(9), "beyond 64 bits"),
    ],
)
def test_each_refusal_has_its_reason(twin: ModuleType, data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        twin.decode_block(data)


def test_golden_bytes(twin: ModuleType) -> None:
    """The format of native/README.md, packed by hand: Rice k=0, k=1, mask and exp-Golomb k=0, from the least."""
    for block, values, present in (
        (bytes([0x00, 4, 0b0011_0011]), [1, 1, 2, 2], b"\1\1\1\1"),
        (bytes([0x01, 2, 0b1_0001]), [1, 0], b"\1\1"),
        (bytes([0xC0, 3, 0b101, 0b0101]), [1, 0, 1], b"\1\0\1"),
        (bytes([0x20, 2, 0b010_0111]), [-2, -1], b"\1\1"),
    ):
        assert twin.decode_block(block) == (array("q", values), present)
    assert twin.encode_block(array("q", [1, 1, 2, 2])) == bytes([0x00, 4, 0b0011_0011])


def test_the_empty_block(twin: ModuleType) -> None:
    assert twin.encode_block(array("q")) == b"\x00\x00"
    assert twin.decode_block(b"\x00\x00") == (array("q"), b"")


def test_the_largest_block(twin: ModuleType) -> None:
    values = array("q", [7]) * MAX_BLOCK
    assert twin.decode_block(twin.encode_block(values))[0] == values
    with pytest.raises(ValueError, match="at most 1048576"):
        twin.encode_block(array("q", [7]) * (MAX_BLOCK + 1))


def test_wrong_arguments_are_refused(twin: ModuleType) -> None:
    for values, present in ((array("i", [1]), None), (array("q", [1]), b""), (array("q", [1]), array("q", [1]))):
        with pytest.raises(ValueError):
            twin.encode_block(values, present)
    with pytest.raises(TypeError):
        twin.encode_block([1])


def test_a_hostile_length_asks_for_no_memory(twin: ModuleType) -> None:
    """One million intervals announced in four bytes: refused before anything of that size is allocated."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="cut short"):
            twin.decode_block(b"\x00\x80\x80\x40")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_long_run_of_ones_takes_linear_time(twin: ModuleType) -> None:
    """Prefixes are unary: four million one bits must not cost the square of that."""
    began = time.process_time()
    with pytest.raises(ValueError):
        twin.decode_block(b"\x1e\x01" + b"\xff" * 500_000)
    assert time.process_time() - began < 5


def test_measured_households_by_the_day(twin: ModuleType) -> None:
    """Five Australian households at 30 min and 1 Wh: lossless, and below 1.2 bytes an interval with all headers."""
    total = intervals = 0
    for name in ("10006414", "10006704", "10017562", "10017994", "10018064"):
        for day in _days(name):
            block = twin.encode_block(day)
            assert twin.decode_block(block)[0] == day
            total, intervals = total + len(block), intervals + len(day)
    assert intervals > 20_000
    assert total / intervals < 1.2


def _days(name: str) -> list[array[int]]:
    with gzip.open(data_path(f"interval_data/sgsc_{name}_30min.csv.gz"), "rt") as text:
        days: dict[str, array[int]] = defaultdict(lambda: array("q"))
        for row in csv.DictReader(text):
            days[row["reading_datetime"][:10]].append(round(float(row["general_supply_kwh"]) * 1000))
    return list(days.values())[:100]
