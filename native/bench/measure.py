"""CPU time, not wall time, and all methods in turn: a neighbour on the machine then slows them all alike.

Where the memory of a result comes from is settled too (`keep_memory`, `give_back`; glibc only). Left to chance, the kernel was
twice as fast in one run as in the next, by what the method before it had freed.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
FROM_HEAP = 32 << 20


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU seconds of each round."""

    seconds: tuple[float, ...]

    def rate(self, amount: float) -> float:
        return amount / median(self.seconds)

    def spread(self, amount: float) -> str:
        return f"{amount / max(self.seconds):.3g}–{amount / min(self.seconds):.3g}"

    def times_slower_than(self, other: Timing) -> float:
        """Median over the rounds, each compared with the other's same round."""
        return median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=False))


def in_turn(methods: dict[str, Callable[[], Any]], rounds: int, before_each: Callable[[], Any] = gc.collect) -> dict[str, Timing]:
    """Runs every method once before the clock starts, then `rounds` times in turn; the clock stands during `before_each`."""
    for method in methods.values():
        method()
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            before_each()
            before = time.process_time()
            method()
            seconds[name].append(time.process_time() - before)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def once(method: Callable[[], Any]) -> Timing:
    before = time.process_time()
    method()
    return Timing((time.process_time() - before,))


def keep_memory() -> None:
    """What is freed stays with the process, as the target of memcpy does: nobody pays for new pages after the first round."""
    _mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    _mallopt(M_MMAP_THRESHOLD, FROM_HEAP)


def give_back() -> None:
    """What is free goes back to the system: the next result gets new pages, which the system clears one by one."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _mallopt(option: int, value: int) -> None:
    call = getattr(ctypes.CDLL(None), "mallopt", None)
    if call is not None:
        call(option, value)
