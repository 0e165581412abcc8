"""What must hold of supply (invariants.py): who is owed it has it back, and no display says more than the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.events import ShowOnMeter
from gridtally_shared.contract.messages import AccountConfig
from simulation import watch
from simulation.meter import SimMeter
from simulation.switch_checks import ENDED_MS
from simulation.visits import holds_of

if TYPE_CHECKING:
    from simulation.world import World

RESTORE_BOUND_MS = 10 * 60_000
SLOWEST_RETRY_MS = 30 * 60_000
MANY = 10**9


def _should_be_on(world: World, account: AccountConfig) -> bool:
    """Money is there, nothing keeps the supply off, everything between box and contactor works; yet money switched it off."""
    meter = world.meter_of(account.meter_no)
    key = (account.account_no, account.account_epoch)
    book, cached = world.edge_watch.books.get(key), world.edge_watch.cached.get(key)
    if book is None or cached is None or meter.state is not SwitchState.OPEN or not meter.has_switch:
        return False
    if book.opened_wh is None:  # an epoch that came back from the MDM begins with its first reading
        return False
    row = world.edge.db.execute("SELECT off_reason FROM switch WHERE meter_no = ?", (account.meter_no,)).fetchone()
    timed = any(s[0] == account.meter_no for s in world.edge_watch.schedules)
    free = not timed and not holds_of(world, account) and not account.arm_only and not meter.wait_ms
    there = meter.answers and meter.serial == world.bound_serial(account.meter_no)
    works = there and not meter.stuck and not meter.backfeed_w and not meter.welded and not meter.bypassed
    owed = bool(book.mode) or book.balance >= max(1, account.restore_min_nano)
    by_money = bool(row) and (row[0] == "balance" or (row[0] == "unordered" and _was_cut(world, key, meter)))
    return bool(by_money and free and works and owed)


def _was_cut(world: World, key: watch.Account, meter: SimMeter) -> bool:
    """What the box can know of it says that money opened it, and nobody at the meter moved it: an old disk and a new box learn it from
    their journal, or from the mirror of the epochs before."""
    return not (meter.touched or world.rolled_back) and _last_opened_by(world, key, meter) == "local"


def _last_opened_by(world: World, key: watch.Account, meter: SimMeter) -> str:
    """Who opened the switch last, by this journal and the mirror of the epochs before; '' where it was closed, or never moved."""
    mine = sorted(other for other in world.edge_watch.books if other[0] == key[0] and other[1] <= key[1])
    known = {other: world.cloud_watch.mirror[other].seq for other in mine if other in world.cloud_watch.mirror} | {key: MANY}
    lines = [x for other in mine for x in world.edge_watch.books[other].lines[: known.get(other, 0)]]
    moves = [x.detail for x in lines if x.kind == watch.SWITCH and isinstance(x.detail, dict) and x.meter_no == meter.meter_no]
    reached = [m for m in moves if m.get(1) in ("done", "already")]
    return str(reached[-1].get(7)) if reached and not reached[-1].get(0) else ""


def waits_for_supply(world: World) -> bool:
    return bool(world.restore_due or world.from_cloud.restore_due)


def restored(world: World) -> Iterator[str]:
    """A supply that money switched off comes back within the bound once there is money and the way to it is free."""
    config = world.edge.config
    if not world.edge.alive or config is None:
        world.restore_due.clear()
        return
    for account in config.accounts:
        if not _should_be_on(world, account):
            world.restore_due.pop(account.meter_no, None)
            continue
        since = world.restore_due.setdefault(account.meter_no, world.now_ms)
        if world.now_ms - since > SLOWEST_RETRY_MS:
            yield f"meter {account.meter_no} is still off {(world.now_ms - since) // 1000} s after there was money again"


def lit_again(world: World) -> Iterator[str]:
    """Who was dark for a time that was booked has supply when it is over, whichever box is there by then."""
    for account in world.edge.config.accounts if world.edge.config else ():
        meter, key = world.fitted(account.account_no), (account.account_no, account.account_epoch)
        now = [s for s in world.cloud.booked(account.account_no) if s[0] - ENDED_MS < world.now_ms < s[1] + ENDED_MS]
        free = not now and not meter.touched and meter.has_switch and not account.arm_only and not holds_of(world, account)
        if free and meter.state is SwitchState.OPEN and _last_opened_by(world, key, meter) == "schedule":
            yield f"meter {meter.meter_no}: dark for a booked time that is over"


def shown(world: World) -> Iterator[str]:
    """The meter's face never says more than the ledger; of several writings of one moment the last one stands."""
    yield from (what for order in {o.meter_no: o for o in world.fresh_shows}.values() for what in _shown_too_much(world, order))


def _shown_too_much(world: World, order: ShowOnMeter) -> Iterator[str]:
    account = world.account_of(order.meter_no)
    if account is None:
        return
    book = world.edge_watch.books.get((account.account_no, account.account_epoch))
    if book is not None and order.amount_nano > book.balance:
        yield f"meter {order.meter_no} is told {order.amount_nano}, the ledger has {book.balance}"
