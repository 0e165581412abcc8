"""How long a keypad stays shut after wrong codes: four are free, the fifth locks 20 s, each further one twice as long.

* Time is counted on the monotonic clock, so a clock set forward opens nothing and one set back locks nobody out for days.
* It is kept over a restart: the monotonic clock then begins anew, and only the part seen to pass counts.
* An accepted code forgets all.

Source: prepayment.md 5.2.
"""

from __future__ import annotations

from gridtally_shared.records import dataclass

FREE = 5
FIRST_LOCK_MS = 20_000
LONGEST_LOCK_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Lock:
    """`left_ms` was left at `seen_ms` of the clock of start `boot_id`."""

    wrong: int = 0
    left_ms: int = 0
    seen_ms: int = 0
    boot_id: bytes = b""


def passed(lock: Lock, boot_id: bytes, mono_ms: int) -> Lock:
    """The lock as it stands now."""
    same = lock.boot_id == boot_id and mono_ms >= lock.seen_ms
    left_ms = max(0, lock.left_ms - (mono_ms - lock.seen_ms)) if same else lock.left_ms
    return Lock(lock.wrong, left_ms, mono_ms, boot_id)


def guessed_wrong(lock: Lock) -> Lock:
    """One more wrong code on a lock that is open."""
    wrong = lock.wrong + 1
    left_ms = min(LONGEST_LOCK_MS, FIRST_LOCK_MS << min(wrong - FREE, 20)) if wrong >= FREE else 0
    return Lock(wrong, left_ms, lock.seen_ms, lock.boot_id)
