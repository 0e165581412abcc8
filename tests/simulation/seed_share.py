"""A worker's share of the seeds that run with the suite: for a span of its own processor time, and never fewer than it must."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from simulation import coverage
from simulation.campaign import Shape, command_of, live
from simulation.plan import plan_of

ALONE, TOGETHER = Shape(days=1, homes=1, density=3.0), Shape(days=1, homes=2, density=3.0)
"""A day and its healing, with three times as much going on as in a campaign's day."""
SECONDS = 60.0
AT_LEAST = 50
AT_MOST = 400


def live_seeds(shape: Shape, first: int, tell: Callable[[str, object], None]) -> None:
    """Live seeds from `first` on until the time is over. Fails at the first finding, with what to type to see it again."""
    logging.disable(logging.WARNING)
    begun_s, seed, cuts, closes, power_cuts = time.process_time(), first, 0, 0, 0
    try:
        with coverage.transitions() as fired:
            while seed - first < AT_LEAST or (time.process_time() - begun_s < SECONDS and seed - first < AT_MOST):
                world = live(plan_of(seed, shape.days, shape.homes, shape.density))
                assert not world.findings, _story(shape, seed, world)
                cuts, closes, power_cuts = cuts + world.counts.cuts, closes + world.counts.closes, power_cuts + world.counts.power_cuts
                seed += 1
    finally:
        logging.disable(logging.NOTSET)
    tell("simulation", f"{seed - first} seeds of {shape.name} from {first} on: {cuts} cuts, {closes} closes, {power_cuts} power cuts, "
                       f"no finding, in {time.process_time() - begun_s:.0f} s of one core; {coverage.told(fired)}")  # fmt: skip


def _story(shape: Shape, seed: int, world) -> str:  # type: ignore[no-untyped-def]
    found = "\n".join(f"{f.invariant} at event {f.event_no}: {f.what}" for f in world.findings)
    return f"seed {seed}\n" + "\n".join(list(world.trace)[-50:]) + f"\n{found}\nagain: {command_of(shape, seed)}"
