"""The days before some days that are to be estimated, read together: what was measured, and which of it is no reference.

* As vee/held.py `with_history` gives it for one day: from the first interval that is held, and what was estimated or corrected is unfit.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import field

from sqlalchemy import Connection

from gridtally_cloud.store.days import slots_of
from gridtally_cloud.vee.columns import Columns, laid, nothing
from gridtally_cloud.vee.lot import DayOf, Held, held_of, measured
from gridtally_cloud.vee.lot_judge import Judged
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Past:
    """Intervals that come right before a stretch; `unfit[i]` is 1 where one is no reference."""

    values: array[int] = field(default_factory=lambda: array("q"))
    quality: array[int] = field(default_factory=lambda: array("H"))
    present: bytes = b""
    unfit: bytes = b""

    @property
    def n(self) -> int:
        return len(self.unfit)


def past_of(conn: Connection, judgements: Sequence[Judged]) -> dict[DayOf, Past | None]:
    """The days before each of these, which are of one day; None where they are not on the grid."""
    if not judgements:
        return {}
    day = judgements[0].name[0]
    reach = max(j.known.rules.like_reach_days for j in judgements)
    held = held_of(conn, sorted(j.ref.channel_no for j in judgements), list(range(day - 1 - reach, day + 1)))
    return {j.name: _before(j, held) for j in judgements}


def _before(j: Judged, found: Held) -> Past | None:
    values, quality, present, unfit = array("q"), array("H"), bytearray(), bytearray()
    left_out = 0
    for day in range(j.name[0] - 1 - j.known.rules.like_reach_days, j.near.days[0]):
        every = found.get((day, j.ref.channel_no), ())
        rows, with_ours = measured(every), measured(every, of_vee=True)
        if not rows and not values:
            continue
        grid = slots_of(day, j.ref.zone, j.ref.period_s)
        held = laid(rows, grid) if rows else nothing(grid.n)
        stands = laid(with_ours, grid) if with_ours != rows else held
        if held is None or stands is None:
            return None
        if not values:
            left_out = (min(row.start_ms for row in rows) - grid.start_ms) // (j.ref.period_s * 1000)
        values += held.values
        quality += held.quality
        present += held.present
        unfit += _unfit(held, stands)
    return Past(values[left_out:], quality[left_out:], bytes(present[left_out:]), bytes(unfit[left_out:]))


_IS_MISSING = bytes([1]) + bytes(255)


def _unfit(held: Columns, stands: Columns) -> bytes:
    if stands is held:
        return held.present.translate(_IS_MISSING)
    each = zip(held.values, held.quality, held.present, stands.values, stands.quality, stands.present, strict=True)
    return bytes(not there or (value, words, there) != other for value, words, there, *rest in each for other in (tuple(rest),))
