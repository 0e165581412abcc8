"""For every invariant a seeded fault that its check finds, and a quiet world in which nothing is found."""

from __future__ import annotations

import pytest

from simulation.invariants import TABLE
from simulation.sabotage import SABOTAGES, Sabotage, Saboteur, managed_plan, quiet_plan
from simulation.world import World, world_of


def lived(sabotage: Sabotage) -> tuple[World, Saboteur]:
    saboteur = Saboteur(sabotage.act)
    with world_of(sabotage.plan(), sabotage=saboteur) as world:
        return world.run(), saboteur


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda s: f"{s.invariant} {s.what}")
def test_the_check_fails_where_its_fault_is(sabotage: Sabotage) -> None:
    world, saboteur = lived(sabotage)
    assert saboteur.struck
    assert sabotage.invariant in {f.invariant for f in world.findings}, world.findings


def test_a_quiet_world_has_no_finding() -> None:
    with world_of(quiet_plan(20_000)) as world:
        world.run()
    assert world.findings == []
    assert world.counts.cuts >= 2
    assert world.counts.closes >= 2


def test_a_quiet_world_that_the_mdm_runs_has_no_finding() -> None:
    with world_of(managed_plan(20_000)) as world:
        world.run()
    assert world.findings == []
    orders = list(world.from_cloud.signed.values())
    assert {order.close for order in orders} == {False, True}
    assert {j.close for j in world.oracle.judged if j.origin == "command"} == {False, True}


def test_every_invariant_is_checked_and_has_its_fault() -> None:
    every = {f"I{n}" for n in range(1, 30)}
    assert {i.id for i in TABLE} == every
    assert {s.invariant for s in SABOTAGES} == every
