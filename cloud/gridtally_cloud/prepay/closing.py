"""Where a meter that is taken down ended, as its journal counts: a register that rolled over goes on behind its end.

* Where its end is not on record (billing/register_desk.py), it is the narrowest one that can show all that this meter was ever read at: a
  power of ten (the digits of its display) or 2 to the 32 (a counter). Where nothing was read, what is charged stands for it.
* A closing value below what is charged is a roll-over where the register was near its end before and is near its beginning now, and
  the use over it is possible for this supply since then. A journal that counted past the end before is gone on with in the same way.
* Nothing else explains it: it may be misread, or of another meter. Then it is refused as before, and nothing was changed.

The concentrator has the same question where a configuration names the register itself (edge swaps.py); it may know the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from gridtally_cloud.billing.usage import UNUSABLE
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import meter, reading, usage_point
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.ledger.register import SLACK_WH, possible_wh
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.quantities import ENERGY_IMPORT

NEAR_TOP_PERCENT, NEAR_BOTTOM_PERCENT = 95, 5
WIDTHS_WH = tuple(sorted((*(10**digits for digits in range(7, 16)), 1 << 32)))
"""From 10,000 kWh on."""
OVER_LIMIT = 2
"""Nobody draws more than so many times what the supply is made for, from one charge to the next."""

_SEEN: Select[Any] = select(func.max(reading.c.value)).where(
    reading.c.shard == SHARD, reading.c.meter_no == bindparam("meter"), reading.c.quantity == ENERGY_IMPORT.code,
    reading.c.quality.op("&")(int(UNUSABLE)) == 0,
)  # fmt: skip
_KNOWN: Select[Any] = select(usage_point.c.limit_w, meter.c.register_end_wh).where(
    usage_point.c.usage_point_no == meter.c.usage_point_no, meter.c.meter_no == bindparam("meter")
)


def ended_at(conn: Connection, meter_no: int, state: LedgerState, read_wh: int | None, at_ms: int) -> int | None:
    """The closing value of this meter, read off it at `at_ms`, as the journal counts. What a roll-over does not explain stays as it was
    read, and is refused by whoever compares it with the journal."""
    if read_wh is None or state.register_wh is None or read_wh >= state.register_wh or read_wh < 0:
        return read_wh
    seen_wh = conn.execute(_SEEN, {"meter": meter_no}).scalar_one()
    known = conn.execute(_KNOWN, {"meter": meter_no}).one_or_none()
    most = most_wh(known.limit_w if known else 0, max(0, at_ms - state.register_at_ms))
    widths = (known.register_end_wh,) if known and known.register_end_wh else WIDTHS_WH
    found = unwrapped(state.register_wh, read_wh, state.register_wh if seen_wh is None else int(seen_wh), most, widths)
    return read_wh if found is None else found


def unwrapped(charged_wh: int, read_wh: int, seen_wh: int, most_wh: int, widths_wh: Sequence[int] = WIDTHS_WH) -> int | None:
    """A register of which `read_wh` is shown, behind the roll-over that explains it; None where none does. `seen_wh`: the most it ever
    showed. `most_wh`: what can have been used since it was charged."""
    ends = (_end(charged_wh, read_wh, width_wh) for width_wh in widths_wh if width_wh > seen_wh)
    return next((end_wh for end_wh in ends if end_wh is not None and end_wh - charged_wh <= most_wh), None)


def _end(charged_wh: int, read_wh: int, width_wh: int) -> int | None:
    shown_wh = charged_wh % width_wh
    if charged_wh >= width_wh and shown_wh <= read_wh < width_wh:
        return charged_wh - shown_wh + read_wh
    rolled = shown_wh * 100 >= width_wh * NEAR_TOP_PERCENT and read_wh * 100 <= width_wh * NEAR_BOTTOM_PERCENT
    return charged_wh - shown_wh + width_wh + read_wh if rolled else None


def most_wh(limit_w: int, elapsed_ms: int) -> int:
    """What can have been used in a time at a supply made for `limit_w` (0: not known)."""
    possible = possible_wh(elapsed_ms)
    return min(possible, SLACK_WH + OVER_LIMIT * limit_w * elapsed_ms // MS_PER_HOUR) if limit_w else possible
