"""Counting wrong PINs: five free ones per account, then a lock that doubles from twenty seconds up to an hour. Pure.

The caller's address counts too, so that one visitor can not walk through the accounts.
"""

from __future__ import annotations

from dataclasses import field

from gridtally_shared.records import dataclass

FREE = 5
FIRST_LOCK_MS = 20_000
LONGEST_LOCK_MS = 3_600_000
MOST_KEYS = 10_000


@dataclass(slots=True)
class Guesses:
    """`now_ms` is real monotonic time. Keys are what is guessed at and who guesses."""

    _wrong: dict[str, int] = field(default_factory=dict)
    _until: dict[str, int] = field(default_factory=dict)

    def wait_ms(self, keys: tuple[str, ...], now_ms: int) -> int:
        """How long these keys are still locked."""
        return max(0, *(self._until.get(k, 0) - now_ms for k in keys))

    def failed(self, keys: tuple[str, ...], now_ms: int) -> None:
        for key in keys:
            if len(self._wrong) >= MOST_KEYS and key not in self._wrong:
                self._forget_one()
            count = self._wrong[key] = self._wrong.get(key, 0) + 1
            if count >= FREE:
                self._until[key] = now_ms + min(LONGEST_LOCK_MS, FIRST_LOCK_MS << min(count - FREE, 20))

    def succeeded(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self._wrong.pop(key, None)
            self._until.pop(key, None)

    def _forget_one(self) -> None:
        """Make room: the key whose lock ends first."""
        oldest = min(self._wrong, key=lambda k: self._until.get(k, 0))
        self.succeeded((oldest,))
