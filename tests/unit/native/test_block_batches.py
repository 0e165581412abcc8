"""Many blocks in one call: each is what `encode_block` makes of it, with its sum, the same compiled and pure."""

from __future__ import annotations

from array import array
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_native import MAX_BLOCK

pytestmark = pytest.mark.native_twin

INT64 = st.integers(-(2**63), 2**63 - 1)
CELLS = st.lists(st.tuples(st.integers(0, 3000) | st.integers(-(2**55), 2**55), st.sampled_from([0, 1, 1, 255])), max_size=140)
DAYS = st.lists(CELLS, max_size=6)


def _columns(days: list[list[tuple[int, int]]]) -> tuple[array[int], array[int], bytes]:
    cells = [cell for day in days for cell in day]
    return array("q", [value for value, _ in cells]), array("i", map(len, days)), bytes(there for _, there in cells)


@given(DAYS)
def test_each_block_is_as_it_would_be_alone(twin: ModuleType, days: list[list[tuple[int, int]]]) -> None:
    values, sizes, there = _columns(days)
    blocks, totals, counts = twin.encode_blocks(values, sizes, there)
    alone = [twin.encode_block(*(_columns([day])[i] for i in (0, 2))) for day in days]
    assert blocks == alone
    assert list(totals) == [sum(value for value, kept in day if kept) for day in days]
    assert list(counts) == [sum(kept > 0 for _, kept in day) for day in days]


@given(DAYS)
def test_without_a_mask_all_are_there(twin: ModuleType, days: list[list[tuple[int, int]]]) -> None:
    values, sizes, _ = _columns(days)
    blocks, totals, counts = twin.encode_blocks(values, sizes)
    assert blocks == [twin.encode_block(_columns([day])[0]) for day in days]
    assert (list(totals), counts) == ([sum(value for value, _ in day) for day in days], sizes)


def _said(twin: ModuleType, *columns: object) -> object:
    try:
        return twin.encode_blocks(*columns)
    except ValueError as error:
        return str(error)


@given(st.lists(INT64, max_size=12), st.lists(st.integers(-1, 5), max_size=4), st.none() | st.binary(max_size=12))
def test_twins_agree_on_any_columns(
    pure: ModuleType, kernel: ModuleType, values: list[int], sizes: list[int], there: bytes | None
) -> None:
    columns = (array("q", values), array("i", sizes), there)
    assert _said(kernel, *columns) == _said(pure, *columns)


@pytest.mark.parametrize(
    ("values", "sizes", "told"),
    [
        ([1, 2, 3], [2], "sizes add up to 2, there are 3 values"),
        ([1], [-1, 2], f"-1 intervals in one block, at most {MAX_BLOCK}"),
        ([1], [MAX_BLOCK + 1], f"{MAX_BLOCK + 1} intervals in one block, at most {MAX_BLOCK}"),
        ([0, 2**63 - 1, 1], [1, 2], "block 1: the sum of its values is no int64"),
        ([-(2**63), -1], [2], "block 0: the sum of its values is no int64"),
    ],
)
def test_what_can_not_be_is_refused(twin: ModuleType, values: list[int], sizes: list[int], told: str) -> None:
    assert _said(twin, array("q", values), array("i", sizes)) == told


@pytest.mark.parametrize("values", [[2**63 - 1, 1, -1], [-(2**63), -1, 1], [2**62, 2**62 - 1], [-(2**62), -(2**62)]])
def test_a_sum_counts_at_its_end(twin: ModuleType, values: list[int]) -> None:
    assert list(twin.encode_blocks(array("q", values), array("i", [len(values)]))[1]) == [sum(values)]
