"""Intervals for meters that keep no load profile: made at the edge from the samples of their registers.

* An interval is closed once a sample at or after its end exists; until then nothing is said about it.
* Between two samples the register is a straight line, rounded down at each boundary (the native kernel), so intervals
  made in different sweeps add up to the register exactly.
* Intervals inside a silence carry the kernel's flags MISSING and PARTIAL: the energy is its share of the line, but was not
  measured there. COMM_ERROR stands beside them, since it was the line and not the meter that lost them; a step that was
  refused (a reset) loses intervals too, and that is not the line's doing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise

from gridtally_edge.drivers.model import Reading
from gridtally_native import register_intervals
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.records import dataclass

INTERVAL_OF_REGISTER: dict[int, int] = {
    BY_NAME["energy_import_wh"].code: BY_NAME["interval_import_wh"].code,
    BY_NAME["energy_export_wh"].code: BY_NAME["interval_export_wh"].code,
    BY_NAME["apparent_import_vah"].code: BY_NAME["interval_apparent_vah"].code,
    BY_NAME["gas_volume_l"].code: BY_NAME["interval_gas_l"].code,
    BY_NAME["water_volume_l"].code: BY_NAME["interval_water_l"].code,
    BY_NAME["heat_energy_wh"].code: BY_NAME["interval_heat_wh"].code,
}
LONGEST_MEASURED_GAP = 2
COMM_ERROR, UNCOVERED = int(Quality.COMM_ERROR), int(Quality.MISSING | Quality.PARTIAL)
MAX_FORMED = 4_000


@dataclass(frozen=True, slots=True)
class Samples:
    """One register of one meter: times (ms, ascending) and values (Wh, or litres of gas and water)."""

    register: int
    at_ms: Sequence[int]
    value: Sequence[int]


@dataclass(frozen=True, slots=True)
class RegisterLimits:
    """What a meter's registers can do: where they roll over (0: unknown) and the largest power that is possible (W, or
    litres an hour; 0: unknown). Without them a register that goes back is a reset, and a roll-over can not be told."""

    rollover_wh: int = 0
    max_power_w: int = 0


NO_LIMITS = RegisterLimits()


def first_mark(at_ms: int, interval_ms: int) -> int:
    """Start of the first interval that can be formed whole from samples that begin at `at_ms`."""
    return -(-at_ms // interval_ms) * interval_ms


def closed_until(mark_ms: int, last_sample_ms: int, interval_ms: int) -> int:
    """End of the last interval after `mark_ms` that a sample closes; at most MAX_FORMED intervals on."""
    count = max(0, (last_sample_ms - mark_ms) // interval_ms)
    return mark_ms + min(count, MAX_FORMED) * interval_ms


def form_intervals(
    samples: Samples, mark_ms: int, until_ms: int, interval_ms: int, limits: RegisterLimits = NO_LIMITS
) -> tuple[Reading, ...]:
    """The intervals from `mark_ms` to `until_ms` (both on the grid). `samples` should reach back to before the mark."""
    count = (until_ms - mark_ms) // interval_ms
    if count <= 0:
        return ()
    at_ms, value = array("q", samples.at_ms), array("q", samples.value)
    formed = register_intervals(
        at_ms, value, mark_ms, interval_ms, count, LONGEST_MEASURED_GAP * interval_ms,
        rollover_wh=limits.rollover_wh, max_power_w=limits.max_power_w,
    )  # fmt: skip
    quantity, flags = INTERVAL_OF_REGISTER[samples.register], array("H", formed.flags)
    for silent in _silent(at_ms, mark_ms, interval_ms, count):
        flags[silent] |= COMM_ERROR if flags[silent] & UNCOVERED else 0
    pairs = enumerate(zip(formed.energy_wh, flags, strict=True))
    return tuple(Reading(quantity, mark_ms + i * interval_ms, energy, flag) for i, (energy, flag) in pairs)


def _silent(at_ms: Sequence[int], mark_ms: int, interval_ms: int, count: int) -> Iterator[int]:
    """Numbers of the intervals that a silence touches: a step between two samples too long to have been measured."""
    for before_ms, after_ms in pairwise(at_ms):
        if after_ms - before_ms > LONGEST_MEASURED_GAP * interval_ms:
            first, end = (before_ms - mark_ms) // interval_ms, -((mark_ms - after_ms) // interval_ms)
            yield from range(max(first, 0), min(end, count))
