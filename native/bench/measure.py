"""CPU time, not wall time, and all methods in turn: a neighbour on the machine then slows them all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any


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


def in_turn(methods: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Timing]:
    """Runs every method once before the clock starts, then `rounds` times in turn."""
    for method in methods.values():
        method()
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            gc.collect()
            before = time.process_time()
            method()
            seconds[name].append(time.process_time() - before)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def once(method: Callable[[], Any]) -> Timing:
    before = time.process_time()
    method()
    return Timing((time.process_time() - before,))
