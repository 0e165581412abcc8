"""When a login may be tried again: a function of the failed attempts on record.

* Counted by the login as typed, known or not, so that a lock-out tells nobody which logins exist.
* Failures since the last good login within a day count; the steps are `STEPS`. An attempt during a lock-out is
  answered, not checked and not counted.
* One source (network address) with too many failures on any login waits too: `SOURCE_STEPS`.
"""

from __future__ import annotations

WINDOW_MS = 24 * 3_600_000
SOURCE_WINDOW_MS = 15 * 60_000

STEPS: tuple[tuple[int, int], ...] = ((5, 60), (8, 300), (10, 900), (15, 3600))
SOURCE_STEPS: tuple[tuple[int, int], ...] = ((30, 60), (60, 900))


def locked_for_s(failures_ms: tuple[int, ...], at_ms: int, steps: tuple[tuple[int, int], ...] = STEPS) -> int:
    """Seconds until the next attempt is looked at; 0 when now. `failures_ms` are the times of the failures counted."""
    reached = [seconds for count, seconds in steps if len(failures_ms) >= count]
    if not reached:
        return 0
    until_ms = max(failures_ms) + reached[-1] * 1000
    return max(0, -(-(until_ms - at_ms) // 1000))
