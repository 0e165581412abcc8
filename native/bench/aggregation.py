"""Interval aggregation and register energy: the compiled twin against the pure one, memcpy, NumPy, Polars, DuckDB."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from measure import Timing, give_back, in_turn, keep_memory, once
from peers import Columns, Peer, duckdb_forms, numpy_arrival, numpy_sorted, polars_forms
from samples import PERIOD_MS, START_MS, Readings, by_arrival, readings, registers

from gridtally_native import Aggregates

ROW_BYTES = 20
KERNEL, ARRIVAL, REGISTER, COPY = "kernel, sorted", "kernel, arrival order", "kernel, register to energy", "memcpy"
NEW_KERNEL, NEW_COPY = "kernel, sorted, into new memory", "memcpy into new memory"


@dataclass(frozen=True, slots=True)
class Line:
    """One method at one size. `slower` compares with the compiled kernel on the same kind of input."""

    rows: int
    method: str
    mrows_per_s: float
    spread: str
    slower: float


def run(kernel: ModuleType, pure: ModuleType, minutes: int, rounds: int, with_pure: bool) -> list[Line]:
    """All methods on about 980 x `minutes` rows. Raises AssertionError when two of them disagree."""
    keep_memory()
    rows = readings(minutes)
    arrival = by_arrival(rows)
    peers = [*numpy_sorted(rows), *polars_forms(rows), *duckdb_forms(rows)]
    late_peers = numpy_arrival(arrival)
    ours = _ours(kernel, rows, arrival, minutes)
    _check(ours[KERNEL](), ours[ARRIVAL](), [*peers, *late_peers])
    theirs = {f"{peer.engine}, {peer.form}": peer.run for peer in [*peers, *late_peers]}
    timings = in_turn({COPY: _copy(len(rows)), **ours, **theirs}, rounds)
    timings |= in_turn({NEW_COPY: _new_copy(len(rows)), NEW_KERNEL: ours[KERNEL]}, rounds, give_back)
    if with_pure:
        timings |= _pure_timings(pure, rows, arrival, minutes, ours)
    return [_line(name, timings, len(rows), {f"{p.engine}, {p.form}" for p in late_peers}) for name in timings]


def _ours(kernel: ModuleType, rows: Readings, arrival: Readings, minutes: int) -> dict[str, Callable[[], Any]]:
    register_wh, n = registers(rows), minutes // 15 + 4

    def energy() -> Any:
        columns = (rows.meters, rows.at_ms, register_wh)
        return kernel.register_intervals_many(
            *columns, START_MS, PERIOD_MS, n, 2 * PERIOD_MS, rollover_wh=10**8, max_power_w=25_000
        )

    return {
        KERNEL: lambda: kernel.aggregate(rows.meters, rows.at_ms, rows.values, START_MS, PERIOD_MS),
        ARRIVAL: lambda: kernel.aggregate(arrival.meters, arrival.at_ms, arrival.values, START_MS, PERIOD_MS),
        REGISTER: energy,
    }


def _pure_timings(
    pure: ModuleType, rows: Readings, arrival: Readings, minutes: int, ours: dict[str, Callable[[], Any]]
) -> dict[str, Timing]:
    """The pure twin, once, and its results bit for bit those of the compiled one."""
    timings = {}
    for name, method in _ours(pure, rows, arrival, minutes).items():
        kept: list[Any] = []
        timings[name.replace("kernel", "pure twin")] = once(lambda method=method, kept=kept: kept.append(method()))  # type: ignore[misc]
        assert kept[0] == ours[name](), f"the twins differ: {name}"
    return timings


def _copy(rows: int) -> Callable[[], None]:
    source, target = bytes(ROW_BYTES * rows), memoryview(bytearray(ROW_BYTES * rows))

    def copy() -> None:
        target[:] = source

    return copy


def _new_copy(rows: int) -> Callable[[], None]:
    source = bytes(ROW_BYTES * rows)

    def copy() -> None:
        with mmap.mmap(-1, len(source)) as target:
            target[:] = source

    return copy


def _check(in_order: Aggregates, late: Aggregates, peers: list[Peer]) -> None:
    assert in_order == late, "sorted and arrival order differ"
    for peer in peers:
        _compare(peer, peer.rows(peer.run()), in_order)


def _compare(peer: Peer, theirs: Columns, ours: Aggregates) -> None:
    """All columns equal, except that a float sum depends on the order of adding."""
    exact: list[Any] = [ours.meters, ours.start_ms, ours.count, ours.minimum, ours.maximum, ours.first, ours.last]
    found: list[Any] = [*theirs[:3], *theirs[4:]]
    for column, mine in zip(found, exact, strict=True):
        assert list(column) == list(mine), f"{peer.engine} {peer.form} differs"
    close = (math.isclose(a, b, rel_tol=1e-12) for a, b in zip(theirs[3], ours.total, strict=True))
    assert all(close), f"{peer.engine} {peer.form}: sums differ"


def _line(name: str, timings: dict[str, Timing], rows: int, late: set[str]) -> Line:
    base = ARRIVAL if name in late or "arrival" in name else REGISTER if "register" in name else KERNEL
    timing = timings[name]
    slower = timing.times_slower_than(timings[KERNEL if name in (ARRIVAL, REGISTER, NEW_KERNEL) else base])
    return Line(rows, name, timing.rate(rows) / 1e6, timing.spread(rows / 1e6), slower)
