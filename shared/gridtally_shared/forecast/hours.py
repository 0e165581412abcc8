"""A register's readings cut into whole hours of the household's own clock. Pure.

* A movement between two readings at most two hours apart is parted at the hours in proportion to time; whole Wh, the sum is kept.
* Over a longer silence only the sum of the hours is known: one stretch.
* The hour in which the first reading comes, or in which a register was changed for another, is not known.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of, starts_at

LONGEST_STEP_MS = 2 * MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Mark:
    """The last reading; `hour_wh` is what was used in its hour so far, None where that is not known."""

    at_ms: int
    register_wh: int
    hour_wh: int | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whole hours from `start_ms` and their energy together; None is not known."""

    start_ms: int
    hours: int
    wh: int | None


def hour_start(at_ms: int, zone: ZoneInfo) -> int:
    """The beginning of the hour since local midnight, also where clocks are half an hour off the others."""
    return at_ms - (at_ms - starts_at(day_of(at_ms, zone), zone)) % MS_PER_HOUR


def read(mark: Mark | None, at_ms: int, register_wh: int, zone: ZoneInfo) -> tuple[Mark, tuple[Stretch, ...]]:
    """One more reading: the mark of it, and the hours that are over with it."""
    if mark is None or at_ms < mark.at_ms:
        return Mark(at_ms, register_wh), ()
    first_ms = hour_start(mark.at_ms, zone)
    hours = (hour_start(at_ms, zone) - first_ms) // MS_PER_HOUR
    moved = register_wh - mark.register_wh
    if moved < 0:
        return Mark(at_ms, register_wh), (Stretch(first_ms, hours, None),) if hours else ()
    if not hours:
        return Mark(at_ms, register_wh, None if mark.hour_wh is None else mark.hour_wh + moved), ()
    if at_ms - mark.at_ms > LONGEST_STEP_MS:
        return _after_silence(mark, at_ms, register_wh, first_ms, hours)
    cuts = [moved * (first_ms + n * MS_PER_HOUR - mark.at_ms) // (at_ms - mark.at_ms) for n in range(1, hours + 1)]
    begun = None if mark.hour_wh is None else mark.hour_wh + cuts[0]
    stretches = [Stretch(first_ms, 1, begun)]
    stretches += [Stretch(first_ms + n * MS_PER_HOUR, 1, cuts[n] - cuts[n - 1]) for n in range(1, hours)]
    return Mark(at_ms, register_wh, moved - cuts[-1]), tuple(stretches)


def _after_silence(mark: Mark, at_ms: int, register_wh: int, first_ms: int, hours: int) -> tuple[Mark, tuple[Stretch, ...]]:
    """What was used is thought even over the silence: only the hours at its ends need that."""
    moved, over_ms, end_ms = register_wh - mark.register_wh, at_ms - mark.at_ms, first_ms + hours * MS_PER_HOUR
    after = moved - moved * (end_ms - mark.at_ms) // over_ms
    if mark.hour_wh is not None:
        return Mark(at_ms, register_wh, after), (Stretch(first_ms, hours, mark.hour_wh + moved - after),)
    begun = moved * (first_ms + MS_PER_HOUR - mark.at_ms) // over_ms
    rest = (Stretch(first_ms + MS_PER_HOUR, hours - 1, moved - after - begun),) if hours > 1 else ()
    return Mark(at_ms, register_wh, after), (Stretch(first_ms, 1, None), *rest)
