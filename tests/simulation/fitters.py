"""What fitters do to a world: another meter on the wall, with its work order at the desk sooner or later, and not always complete;
another box in place of a dead one.

The supply goes on behind the new meter at once. Until the desk has the work order and the box its configuration, the box asks for the
old meter: nothing answers, or the new one does, at the same address and with another serial.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from gridtally_edge.drivers.model import SwitchState
from simulation import managed
from simulation.meter import SimMeter
from simulation.plan import DCU

if TYPE_CHECKING:
    from simulation.world import World

AGAIN_MS = 20 * 60_000
FULL, NO_CLOSING, NO_OPENING, EMPTY = range(4)
"""Which registers a work order names."""


def new_meter(world: World, place: int, paper_ms: int, order: int, noise: int) -> None:
    """Take the meter off and put another one there; the desk enters the work order `paper_ms` later. One home at a time waits for that."""
    account_no = world.plan.homes[place % len(world.plan.homes)].account_no
    if world.healed or account_no in world.papers:
        return
    old, random = world.fitted(account_no), Random(noise)
    new = _made(world, old, random)
    old.replaced_by(new, random.random() < 0.5, world.now_ms)
    world.meters[new.meter_no] = new
    world.behind[account_no].append(new)
    world.note(f"meter {old.meter_no} of account {account_no} ends at {old.register_wh}, {new.meter_no} begins at {new.register_wh}")
    closing_wh = old.register_wh if order in (FULL, NO_OPENING) else None
    opening_wh = new.register_wh if order in (FULL, NO_CLOSING) else None
    world.papers[account_no] = lambda: _enter(world, account_no, new, closing_wh, opening_wh)
    world.after(paper_ms, "a work order is at the desk", lambda: enter(world, account_no))


def new_box(world: World, down_ms: int) -> None:
    """The box is dead, whatever it had not sent is lost; another one comes, with an empty disk and a new epoch of every account."""
    if world.healed or world.rolled_back or not world.cloud.alive:
        return
    name = f"{DCU}-{len(world.boxes) + 2}"
    if not world.cloud.replace_box(world.edge.dcu, name):
        return
    world.note(f"{name} comes in place of {world.edge.dcu}")
    world.edge.die()
    world.boxes.append(world.edge)
    world.edge = world.edge.successor(name)
    world.edge_watch.cached, world.images = {}, []
    world.words.forget_unheard(world.cloud_watch.mirror)
    world.after(down_ms, "the new box starts", lambda: started(world))
    world.cloud.beat()


def started(world: World) -> None:
    if not world.edge.alive:
        world.edge.boot()
        world.busy()
        world.say_time()


def _made(world: World, old: SimMeter, random: Random) -> SimMeter:
    number = max(world.meters) + 1
    state = SwitchState.CLOSED if random.random() < 0.7 or not old.has_switch else old.state
    return SimMeter(number, f"GT{number:04d}", old.start_ms, random.choice((0, 0, 12, 5_000_000)), old.hourly_w, old.modulus_wh,
                    random.randint(-3_000, 3_000), old.has_switch, old.arms, state)  # fmt: skip


def enter(world: World, account_no: int) -> None:
    """The desk takes the work order; while the MDM is down it waits."""
    paper = world.papers.get(account_no)
    if paper is None:
        return
    if not world.cloud.alive:
        world.after(AGAIN_MS, "the work order again", lambda: enter(world, account_no))
        return
    del world.papers[account_no]
    paper()
    world.cloud.beat()


def _enter(world: World, account_no: int, new: SimMeter, closing_wh: int | None, opening_wh: int | None) -> None:
    """What does not pass is entered without the register of the old meter. Nor is one told that the box can not place. What the MDM runs is
    given back first."""
    managed.give_back_account(world, account_no)
    if not world.cloud.swap_meter(account_no, new.meter_no, new.serial, closing_wh, opening_wh):
        world.cloud.swap_meter(account_no, new.meter_no, new.serial, None, opening_wh)
    if None in world.cloud.told_registers(account_no):
        world.estimated.add(account_no)
