"""How long a receiver is tried: the one table of what is sent to other systems, webhooks and deliveries alike.

* After each failure the next try is further away, up to the last step; what is older than its life is dead and stays to be seen.
* Pure: attempts and instants in, an instant out.
"""

from __future__ import annotations

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """`again_ms`: from one try to the next; the last step goes on. `life_ms`: after that nobody tries any more."""

    again_ms: tuple[int, ...]
    life_ms: int

    def next_ms(self, attempts: int, now_ms: int) -> int:
        """When to try again after `attempts` tries before this one."""
        return now_ms + self.again_ms[min(attempts, len(self.again_ms) - 1)]

    def is_over(self, made_ms: int, next_ms: int) -> bool:
        return next_ms - made_ms >= self.life_ms


STEPS_MS = (5_000, 30_000, 120_000, 600_000, 3_600_000)
RECEIVERS = Patience(STEPS_MS, 3 * MS_PER_DAY)
ERROR_NOTICES = Patience(STEPS_MS, 30 * MS_PER_DAY)
"""That something went wrong is told for longer than it is tried: whoever was away for a week hears of it."""
