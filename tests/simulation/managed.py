"""Homes that the MDM runs itself, for a while or for good (safety.md 17): the desk takes them over, and gives them back.

What else happens goes on under it; a home whose load is limited or that has schedules is not taken over. Who wants another meter behind
such a home, or another way of paying, gives it back first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridtally_shared.contract.prepay_messages import Managed

if TYPE_CHECKING:
    from simulation.world import World


def manage(world: World, place: int) -> None:
    """The MDM runs this home from now on."""
    account_no = world.plan.homes[place % len(world.plan.homes)].account_no
    if not world.healed and world.cloud.manage(account_no, Managed.CLOUD):
        world.note(f"account {account_no} is run by the MDM")
    world.cloud.beat()


def give_back(world: World, place: int) -> None:
    """Its concentrator runs it again."""
    give_back_account(world, world.plan.homes[place % len(world.plan.homes)].account_no)
    world.cloud.beat()


def give_back_account(world: World, account_no: int) -> bool:
    done = world.cloud.is_managed(account_no) and bool(world.cloud.manage(account_no, Managed.EDGE))
    if done:
        world.note(f"account {account_no} is run by its box")
    return done
