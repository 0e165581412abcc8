"""Registers that went back, told at the source: a roll-over, or a reset; and counters passed on when they have something to say.

* A register near the top of its width before and near its bottom now has rolled over; any other step down is a reset.
* The width is a power of ten (the digits a meter has) or 2 to the 32 (its counter), whichever the old value comes close to.
* A counter (tampers, power failures, programmings, ...) is passed on when it changed, and once a day; minutes of power once
  a day: they would otherwise be half of what a poll says.
* Only what this port has read itself is compared; the first reading of a session's life carries no such flag.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.drivers.model import Reading
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, Kind
from gridtally_shared.records import dataclass

_NEAR_TOP_PERCENT: Final = 95
_NEAR_BOTTOM_PERCENT: Final = 5
_DAY_MS: Final = 86_400_000
_COUNTED: Final = ("1", "min")
_WIDTHS: Final = (*(10**digits for digits in range(6, 13)), 1 << 32)


@dataclass(slots=True)
class RegisterMemory:
    """The last value of each register of one meter."""

    _last: dict[int, int] = field(default_factory=dict)

    _given: dict[int, Reading] = field(default_factory=dict)

    def judged(self, readings: tuple[Reading, ...]) -> tuple[Reading, ...]:
        """The readings, with RESET or ROLLOVER where a register fell, without counters that say nothing new. They must be in
        order of time."""
        return tuple(self._judged(reading) for reading in readings if self._says_something(reading))

    def _says_something(self, reading: Reading) -> bool:
        quantity, given = BY_CODE[reading.quantity], self._given.get(reading.quantity)
        if quantity.kind is not Kind.REGISTER or quantity.unit not in _COUNTED:
            return True
        changed = quantity.unit == "1" and given is not None and given.value != reading.value
        if given is not None and not changed and reading.at_ms - given.at_ms < _DAY_MS:
            return False
        self._given[reading.quantity] = reading
        return True

    def _judged(self, reading: Reading) -> Reading:
        if BY_CODE[reading.quantity].kind is not Kind.REGISTER:
            return reading
        before = self._last.get(reading.quantity, reading.value)
        self._last[reading.quantity] = reading.value
        if reading.value >= before:
            return reading
        flag = Quality.ROLLOVER if rolled_over(before, reading.value) else Quality.RESET
        return Reading(reading.quantity, reading.at_ms, reading.value, reading.quality | int(flag))


def rolled_over(before: int, now: int) -> bool:
    """Whether a fall from `before` to `now` is the register's end and not a reset."""
    return any(
        width * _NEAR_TOP_PERCENT <= before * 100 < width * 100 and now * 100 <= width * _NEAR_BOTTOM_PERCENT for width in _WIDTHS
    )
