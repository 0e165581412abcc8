"""Interval readings as channel blocks of the contract: one for each unbroken run of a meter's quantity."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby

from gridtally_edge.drivers.model import Reading
from gridtally_native import encode_block
from gridtally_shared.contract.messages import ChannelBlock


def blocks_of(meter_no: int, readings: Iterable[Reading], interval_ms: int) -> tuple[ChannelBlock, ...]:
    """Blocks of one meter's intervals, in order of quantity and time. Runs break where an interval is absent, so a block
    never speaks of an interval it was not given."""
    ordered = sorted(readings, key=lambda r: (r.quantity, r.at_ms))
    by_quantity = (list(rows) for _, rows in groupby(ordered, key=lambda r: r.quantity))
    return tuple(_block(meter_no, run, interval_ms) for rows in by_quantity for run in _runs(rows, interval_ms))


def _runs(rows: list[Reading], interval_ms: int) -> Iterator[list[Reading]]:
    """Rows of one quantity, cut where the distance is not exactly one interval."""
    run = [rows[0]]
    for row in rows[1:]:
        if row.at_ms != run[-1].at_ms + interval_ms:
            yield run
            run = []
        run.append(row)
    yield run


def _block(meter_no: int, run: list[Reading], interval_ms: int) -> ChannelBlock:
    values = encode_block(array("q", (r.value for r in run)))
    quality = b"".join(int(r.quality).to_bytes(2, "little") for r in run) if any(r.quality for r in run) else b""
    return ChannelBlock(meter_no, run[0].quantity, run[0].at_ms, interval_ms // 1000, len(run), values, quality)
