"""Intervals for meters that keep no load profile: made at the edge from the samples of their registers.

* An interval is closed once a sample at or after its end exists; until then nothing is said about it.
* Between two samples the register is a straight line, rounded down at each boundary (the native kernel), so intervals
  made in different sweeps add up to the register exactly.
* Intervals inside a silence carry the kernel's flags: the energy is its share of the line, but was not measured there.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from gridtally_edge.drivers.model import Reading
from gridtally_native import register_intervals
from gridtally_shared.quantities import BY_NAME

INTERVAL_OF_REGISTER: dict[int, int] = {
    BY_NAME["energy_import_wh"].code: BY_NAME["interval_import_wh"].code,
    BY_NAME["energy_export_wh"].code: BY_NAME["interval_export_wh"].code,
    BY_NAME["apparent_import_vah"].code: BY_NAME["interval_apparent_vah"].code,
}
LONGEST_MEASURED_GAP = 2
MAX_FORMED = 4_000


@dataclass(frozen=True, slots=True)
class Samples:
    """One register of one meter: times (ms, ascending) and values (Wh)."""

    register: int
    at_ms: Sequence[int]
    value: Sequence[int]


def first_mark(at_ms: int, interval_ms: int) -> int:
    """Start of the first interval that can be formed whole from samples that begin at `at_ms`."""
    return -(-at_ms // interval_ms) * interval_ms


def closed_until(mark_ms: int, last_sample_ms: int, interval_ms: int) -> int:
    """End of the last interval after `mark_ms` that a sample closes; at most MAX_FORMED intervals on."""
    count = max(0, (last_sample_ms - mark_ms) // interval_ms)
    return mark_ms + min(count, MAX_FORMED) * interval_ms


def form_intervals(samples: Samples, mark_ms: int, until_ms: int, interval_ms: int) -> tuple[Reading, ...]:
    """The intervals from `mark_ms` to `until_ms` (both on the grid). `samples` should reach back to before the mark."""
    count = (until_ms - mark_ms) // interval_ms
    if count <= 0:
        return ()
    at_ms, value = array("q", samples.at_ms), array("q", samples.value)
    formed = register_intervals(at_ms, value, mark_ms, interval_ms, count, LONGEST_MEASURED_GAP * interval_ms)
    quantity = INTERVAL_OF_REGISTER[samples.register]
    pairs = enumerate(zip(formed.energy_wh, formed.flags, strict=True))
    return tuple(Reading(quantity, mark_ms + i * interval_ms, energy, flags) for i, (energy, flags) in pairs)
