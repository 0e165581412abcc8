"""What local days used, and what a day usually takes: one rule for the portal, the display on the spot and the meter's face. Pure.

* The usual use is the mean of the whole local days known among the last fourteen before today; a day of which less than nine tenths
  of the intervals are known is not whole.

Source: seed 002, scenario 1 step 12 (daily average and historical usage); C3-S1.12.
"""

from __future__ import annotations

from collections.abc import Sequence

from gridtally_shared.records import dataclass

DAYS = 14


@dataclass(frozen=True, slots=True)
class DayTotal:
    """A local day, by the number its side counts days with: Wh of the `present` of `expected` intervals."""

    day: int
    wh: int
    present: int
    expected: int

    @property
    def is_whole(self) -> bool:
        return self.present * 10 >= self.expected * 9


def daily_mean(days: Sequence[DayTotal], today: int) -> int | None:
    """Of the whole days before `today`, ascending; None where there is none."""
    whole = [d.wh for d in days if d.day < today and d.is_whole][-DAYS:]
    return sum(whole) // len(whole) if whole else None
