"""Waiting on descriptors, whatever their number."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from gridtally_edge.transports.link import has_room, readable

ABOVE_SELECT = 1_100


@pytest.fixture
def high() -> Iterator[tuple[int, int]]:
    """A pipe whose ends have numbers that `select` does not know, as on a box with a thousand TCP meters."""
    low = os.pipe()
    ends = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, ABOVE_SELECT) for end in low)
    for end in low:
        os.close(end)
    yield ends[0], ends[1]
    for end in ends:
        os.close(end)


def test_a_descriptor_of_any_number_is_waited_for(high: tuple[int, int]) -> None:
    reader, writer = high
    assert readable((reader,), 0.0) == frozenset()
    assert has_room(writer, 0.0)
    os.write(writer, b"!")
    assert readable((reader,)) == {reader}


def test_a_far_end_that_is_gone_ends_the_wait(high: tuple[int, int]) -> None:
    reader, writer = high
    os.dup2(reader, writer)  # nobody can write any more
    assert readable((reader,)) == {reader}
    assert os.read(reader, 1) == b""
