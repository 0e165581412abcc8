"""What a simulated meter's own log says of its present state: the bits of the status word, and its counters."""

from __future__ import annotations

from collections.abc import Iterable

from gridtally_edge.drivers.model import MeterEvent
from gridtally_edge.simulators.household import MS_PER_MINUTE
from gridtally_edge.simulators.meter import Counts
from gridtally_shared.events import BY_NAME, STATUS_BITS

_STAYS = frozenset({83, 84, 85, 86, 87})
_SETS: dict[int, int] = {kind.code: bit for bit, kind in STATUS_BITS.items()} | {
    BY_NAME["supply_disconnected"].code: 84,
    BY_NAME["supply_connected"].code: 84,
    BY_NAME["power_failed"].code: 85,
    BY_NAME["power_restored"].code: 86,
}
_STATUS_RESET, _TAMPER_RESET = BY_NAME["status_reset"].code, BY_NAME["tamper_reset"].code
_POWER_FAILED, _POWER_RESTORED = BY_NAME["power_failed"].code, BY_NAME["power_restored"].code
_SAG, _SWELL = BY_NAME["low_voltage"].code, BY_NAME["over_voltage"].code
TAMPERS = frozenset({*range(51, 56), *range(57, 62), 65, 69, 201, 203, 207, 209, 251} - {52, 54, 58, 60})
_PROGRAMMINGS = range(151, 179)


def status_of(events: Iterable[MeterEvent]) -> frozenset[int]:
    """Bits that are set: a condition until its restoration, the bits in `_STAYS` until they are reset."""
    bits: set[int] = set()
    for event in events:
        if event.code == _STATUS_RESET:
            bits -= _STAYS
        elif event.code in _SETS:
            bits.add(_SETS[event.code])
        elif event.code - 1 in _SETS:
            bits -= {_SETS[event.code - 1]} - _STAYS
    return frozenset(bits)


def counts_of(events: Iterable[MeterEvent], billings: int, born_ms: int, now_ms: int) -> Counts:
    failures = tampers = programmings = sags = swells = off_ms = 0
    down_ms: int | None = None
    for event in events:
        failures += event.code == _POWER_FAILED
        programmings += event.code in _PROGRAMMINGS
        sags, swells = sags + (event.code == _SAG), swells + (event.code == _SWELL)
        tampers = 0 if event.code == _TAMPER_RESET else tampers + (event.code in TAMPERS)
        if event.code == _POWER_FAILED:
            down_ms = event.at_ms
        elif event.code == _POWER_RESTORED and down_ms is not None:
            off_ms, down_ms = off_ms + event.at_ms - down_ms, None
    off_min = max(off_ms, 0) // MS_PER_MINUTE
    return Counts(failures, tampers, billings, programmings, off_min, (now_ms - born_ms) // MS_PER_MINUTE - off_min, sags, swells)
