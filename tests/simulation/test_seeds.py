"""Seeds of the deterministic simulation: losses, crashes, old disks, bad clocks and forgers; every invariant after every step."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simulation.campaign import live, shrunk
from simulation.plan import plan_of
from simulation.sabotage import SABOTAGES, Saboteur
from simulation.seed_share import TOGETHER, live_seeds
from simulation.world import world_of


@pytest.mark.timeout(900)
def test_every_invariant_holds_after_every_step(record_property: Callable[[str, object], None]) -> None:
    live_seeds(TOGETHER, 1, record_property)


def test_a_seed_replays_exactly_also_in_another_process() -> None:
    here = [live(plan_of(3, 1, 2, 3.0)).trace_hash for _ in range(2)]
    script = "from simulation.campaign import live; from simulation.plan import plan_of; print(live(plan_of(3, 1, 2, 3.0)).trace_hash)"
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join([tests, *(p for p in sys.path if p)])
    ran = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "17"},
                         capture_output=True, text=True, check=True, timeout=120)  # fmt: skip
    assert {*here, ran.stdout.split()[-1]} == {here[0]}


def test_another_seed_is_another_run() -> None:
    assert live(plan_of(4, 1, 1)).trace_hash != live(plan_of(5, 1, 1)).trace_hash


def test_a_failing_list_of_steps_is_shrunk_to_what_matters() -> None:
    """The saboteur swallows the orders to close: only a credit, a cut and a payment are needed to see it."""
    sabotage = next(s for s in SABOTAGES if s.invariant == "I24")

    def fails(steps: tuple) -> bool:  # type: ignore[type-arg]
        with world_of(sabotage.plan().with_steps(steps), sabotage=Saboteur(sabotage.act)) as world:
            return "I24" in {f.invariant for f in world.run().findings}

    left = shrunk(sabotage.plan().steps, fails)
    assert len(left) == 2
    assert fails(left)
