"""What must hold of journals and money (invariants.py): instruments, replay, mirror, registers, debts, emergency
credit, changes of mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gridtally_cloud.prepay.model import LedgerMismatch
from gridtally_shared.instruments.keypad_code import Unreadable
from simulation import watch
from simulation.plan import CARE_CAP, CARE_EMERGENCY, CARE_RATE

if TYPE_CHECKING:
    from simulation.world import World

Check = Callable[["World"], Iterator[str]]


def books_of(world: World) -> dict[watch.Account, watch.Book]:
    """The journals of the box, and those the MDM runs itself."""
    return {**world.edge_watch.books, **world.from_cloud.books} if world.from_cloud.books else world.edge_watch.books


def fresh_of(world: World) -> list[tuple[watch.Account, watch.Line]]:
    return [*world.edge_watch.fresh, *world.from_cloud.fresh]


def conservation(world: World) -> Iterator[str]:
    """Payments less refunds = what waits for an instrument + instruments not in the books + what the books received."""
    cloud = world.cloud_watch
    if world.rolled_back:
        return
    for account_no in world.homes:
        paid = cloud.captured.get(account_no, 0) - cloud.refunded.get(account_no, 0)
        used, received = set(), 0
        for (number, epoch), book in books_of(world).items():
            if number == account_no:
                used |= {(number, epoch, gseq) for gseq in book.used}
                received -= book.pool(watch.RECEIVED)
                if sum(book.pools.values()):
                    yield f"account {account_no}: the pools sum to {sum(book.pools.values())}"
        on_the_way = sum(i.amount_nano for k, i in cloud.issued.items() if k[0] == account_no and k not in used and i.type in MONEY)
        by_bill = -cloud.given_back.get(account_no, 0) if account_no in world.converted else 0
        found = cloud.waiting.get(account_no, 0) + by_bill + on_the_way + received
        if paid != found:
            yield f"account {account_no}: paid {paid}, found {found} (on the way {on_the_way}, received {received})"


def once(world: World) -> Iterator[str]:
    yield from _faults(world, "I2")
    for key, line in fresh_of(world):
        issued = world.cloud_watch.issued.get((*key, line.gseq)) if line.gseq else None
        if issued is None:
            continue
        moved = -sum(a for p, a in line.postings if p in (watch.RECEIVED, watch.TRANSFER))
        if issued.type == CORRECTION and line.kind == watch.CORRECTION:
            moved = -sum(a for p, a in line.postings if p == watch.ENERGY)
        left = issued.type == LEASE_RETURN or (issued.type == LEASE and line.kind == watch.CONTROL)
        if moved != issued.amount_nano and not (left and moved <= 0):
            yield f"account {key[0]}: instrument {line.gseq} of {issued.amount_nano} moved {moved}"


def in_order(world: World) -> Iterator[str]:
    """An order waits for every instrument before it."""
    for key, line in fresh_of(world):
        issued = world.cloud_watch.issued.get((*key, line.gseq)) if line.gseq else None
        if issued is not None and issued.type in ORDERS:
            before = {g for g, seq in books_of(world)[key].used.items() if seq < line.seq}
            missing = sorted(set(range(1, line.gseq)) - before)
            if missing:
                yield f"account {key[0]}: order {line.gseq} was applied before {missing}"


MONEY = frozenset((1, 2, 4, 5))
"""Instrument types that stand for what somebody paid or got back."""
LEASE, LEASE_RETURN, CORRECTION = 7, 8, 19
"""The one is refused where the account is billed; the other takes whatever is there, and names no amount."""
ORDERS = frozenset(range(9, 19))
"""Instrument types that are barriers: from CREDIT_CLEAR to TEST."""


def alike(world: World) -> Iterator[str]:
    for calm, crashed in world.twins:
        if calm != crashed:
            yield f"without a crash {calm}, with one {crashed}"


def typos(world: World) -> Iterator[str]:
    """Every one-digit change of a code is seen before any guess is counted."""
    for text in world.codes:
        digits = [c for c in text if c.isdigit()]
        for at, right in enumerate(digits):
            for wrong in "0123456789":
                typed = "".join([*digits[:at], wrong, *digits[at + 1 :]])
                if wrong != right and not isinstance(world.read_code(typed), Unreadable):
                    yield f"{typed} passes for {text}"


def all_applied(world: World) -> Iterator[str]:
    for account_no, epoch, gseq in world.cloud_watch.issued:
        book = books_of(world).get((account_no, epoch))
        if _is_live(world, account_no, epoch) and (book is None or gseq not in book.used):
            yield f"account {account_no}: instrument {gseq} of epoch {epoch} never came into the books"


def _is_live(world: World, account_no: int, epoch: int) -> bool:
    if account_no in world.from_cloud.accounts:
        return world.from_cloud.accounts[account_no].epoch == epoch
    config = world.edge.config
    return config is not None and any((a.account_no, a.account_epoch) == (account_no, epoch) for a in config.accounts)


def _faults(world: World, invariant: str) -> Iterator[str]:
    yield from (what for i, what in (*world.edge_watch.faults, *world.from_cloud.faults) if i == invariant)


def watched(invariant: str) -> Check:
    return lambda world: _faults(world, invariant)


def cache(world: World) -> Iterator[str]:
    for key, cached in world.edge_watch.cached.items():
        book = world.edge_watch.books[key]
        same = (cached.seq, cached.balance_nano) == (book.seq, book.balance)
        state = cached.state
        if state:
            pools = {int(k): v for k, v in state["pools"].items() if v}
            same = same and pools == {k: v for k, v in book.pools.items() if v} and bytes.fromhex(state["head"]) == book.head
            same = same and state["register_wh"] == book.register_wh and _used_of(state) == set(book.used)
        if not same:
            have = f"the cache says {cached.seq}, {cached.balance_nano}; the journal {book.seq}, {book.balance}"
            yield f"account {key[0]}/{key[1]}: {have}"


def _used_of(state: dict[str, int]) -> set[int]:
    prefix, bitmap = state["prefix"], state["bitmap"]
    return set(range(1, prefix + 1)) | {prefix + 1 + i for i in range(bitmap.bit_length()) if bitmap >> i & 1}


def mirror(world: World) -> Iterator[str]:
    return iter(()) if world.rolled_back else _mirror_of(world)


def _mirror_of(world: World) -> Iterator[str]:
    """Of an epoch that another box wrote nothing is here, once the disk is another one."""
    for key in world.cloud_watch.mirror:
        if key not in world.from_cloud.epochs and (key in world.edge_watch.books or _is_live(world, *key) or world.cloud.is_newest(*key)):
            yield from behind_mirror(world, key)


def behind_mirror(world: World, key: watch.Account) -> Iterator[str]:
    """How one account's journal is not what the mirror holds and more."""
    mirrored, book = world.cloud_watch.mirror.get(key), world.edge_watch.books.get(key)
    if mirrored is None:
        return
    if book is None or mirrored.seq > book.seq:
        yield f"account {key[0]}/{key[1]}: the mirror holds {mirrored.seq} entries, the journal {book.seq if book else 0}"
    elif mirrored.seq and book.lines[mirrored.seq - 1].hash != mirrored.head:
        yield f"account {key[0]}/{key[1]}: entry {mirrored.seq} of the mirror is another"


def is_healed(world: World) -> bool:
    """After an old disk: no journal is behind its mirror, none is at fault."""
    if not world.edge.alive or any(c.fault for c in world.edge_watch.cached.values()):
        return False
    return next(iter(_mirror_of(world)), None) is None


def register(world: World) -> Iterator[str]:
    yield from _faults(world, "I9")
    for (account_no, epoch), book in books_of(world).items():
        if book.opened_wh is None or book.register_wh is None:
            continue
        if book.charged_wh != book.register_wh - book.opened_wh:
            yield f"account {account_no}/{epoch}: charged {book.charged_wh} Wh, the register moved {book.register_wh - book.opened_wh}"
        used_wh = world.used_wh(account_no)
        if book.charged_wh > used_wh + len(world.behind[account_no]):
            yield f"account {account_no}/{epoch}: charged {book.charged_wh} Wh, used {used_wh}"


def register_in_the_end(world: World) -> Iterator[str]:
    for (account_no, epoch), book in books_of(world).items():
        if not _is_live(world, account_no, epoch) or book.opened_wh is None:
            continue
        if book.mode:
            continue
        run = world.from_cloud.accounts.get(account_no)
        held, beyond_wh = run.held if run else world.edge_watch.cached[account_no, epoch].held, world.beyond_wh(account_no, book)
        if not held and beyond_wh > _possible_since(world, account_no):
            yield f"account {account_no}: {beyond_wh} Wh were used beyond the {book.charged_wh} that are charged"
        used_wh = world.used_wh(account_no)
        whole = epoch == 1 and account_no not in world.estimated | world.converted
        if whole and not held and used_wh - book.charged_wh > _possible_since(world, account_no):
            yield f"account {account_no}: used {used_wh} Wh, charged {book.charged_wh}"


def _possible_since(world: World, account_no: int) -> int:
    """What a home can have used since the last sweep but one."""
    return max(world.home_of(account_no).hourly_w) * 3 * world.plan.interval_ms // 3_600_000


def by_hand(invariant: str) -> Check:
    return lambda world: (what for i, what in world.money_faults if i == invariant)


def genuine_only(world: World) -> Iterator[str]:
    """What nobody issued changes nothing."""
    world.cloud_watch.look(world.cloud.eye, world.cloud.changed)
    for (account_no, epoch), line in fresh_of(world):
        if line.gseq and (account_no, epoch, line.gseq) not in world.cloud_watch.issued:
            yield f"account {account_no}/{epoch}: entry {line.seq} used instrument {line.gseq}, which nobody issued"


def agree(world: World) -> Iterator[str]:
    for key, book in world.edge_watch.books.items():
        mirrored = world.cloud_watch.mirror.get(key)
        if _is_live(world, *key) and (mirrored is None or (mirrored.seq, mirrored.balance_nano) != (book.seq, book.balance)):
            have = f"{mirrored.seq}, {mirrored.balance_nano}" if mirrored else "nothing"
            yield f"account {key[0]}/{key[1]}: the MDM has {have}, the edge {book.seq}, {book.balance}"
    for mismatch in world.cloud.mismatches():
        if not _is_told(world, mismatch):
            yield f"the MDM's books: {mismatch}"
    for account_no, seq, text in world.cloud_watch.problems:
        if not (world.counts.rollbacks and text.startswith("checkpoint")):
            yield f"account {account_no}: the mirror refused entry {seq}: {text}"


def _is_told(world: World, mismatch: LedgerMismatch) -> bool:
    """What staff should see and is no fault: an old disk that signed a checkpoint of its own."""
    return world.counts.rollbacks > 0 and mismatch.check == "problem" and ": checkpoint:" in mismatch.text


# ---- closed epochs, debts, emergency credit, conversion ----------------------------------------------------------


def closed_epochs(world: World) -> Iterator[str]:
    """What the box's configuration does not name (another epoch of an account) accepts nothing."""
    live = {(a.account_no, a.account_epoch) for a in world.edge.config.accounts} if world.edge.config else set()
    live |= {run.key for run in world.from_cloud.accounts.values()} if live else set()
    for key, line in fresh_of(world):
        if live and key not in live and line.hash not in world.edge_watch.known:
            yield f"account {key[0]}: epoch {key[1]} is over and got entry {line.seq}"


def collected(world: World) -> Iterator[str]:
    """A debt is never collected beyond what is owed, nor beyond its share, its rate and its cap of the period."""
    for key, line in fresh_of(world):
        book, where = books_of(world)[key], f"account {key[0]} entry {line.seq}"
        for pool, amount in line.postings:
            if pool not in watch.COLLECTED or amount <= 0:
                continue
            most, name = (CARE_CAP, "cap") if pool == watch.DEBT_PAYMENT else (CARE_RATE, "rate")
            if book.pool(pool) > 0:
                yield f"{where}: {book.pool(pool)} more is collected than is owed"
            if not world.plan.care or book.taken[pool, line.period] > most:
                yield f"{where}: {book.taken.get((pool, line.period), 0)} is collected in period {line.period}, beyond the {name}"
            brought = -sum(a for p, a in line.postings if p == watch.RECEIVED)
            if pool == watch.DEBT_PAYMENT and amount * 4 > brought:
                yield f"{where}: {amount} is more than a quarter of {brought}"


def emergency(world: World) -> Iterator[str]:
    """Emergency credit stays within its limit, and is paid back before there is a balance again."""
    for key, line in fresh_of(world):
        book = books_of(world)[key]
        used = -book.pool(watch.EMERGENCY)
        grown = sum(a for p, a in line.postings if p == watch.PAID)
        if line.seq == book.seq and not 0 <= used <= (CARE_EMERGENCY if world.plan.care else 0):
            yield f"account {key[0]} entry {line.seq}: {used} of emergency credit is in use"
        if line.seq == book.seq and used > 0 and grown > 0 and book.pool(watch.PAID) > 0:
            yield f"account {key[0]} entry {line.seq}: the balance grows while {used} of emergency credit is owed"


def converted(world: World) -> Iterator[str]:
    """A change of the way of paying hands over exactly what was there, and orders nothing of the switch."""
    for key, line in fresh_of(world):
        if line.kind != watch.MODE_KIND:
            continue
        book = books_of(world)[key]
        if any(p not in (watch.PAID, watch.RESERVED, watch.EMERGENCY, watch.TRANSFER, watch.DEBT) for p, _ in line.postings):
            yield f"account {key[0]} entry {line.seq}: a conversion moves {dict(line.postings)}"
        if line.mode and line.seq == book.seq and (book.balance or book.pool(watch.EMERGENCY)):
            yield f"account {key[0]} entry {line.seq}: {book.balance} stays behind in a closed way of paying"
        if any(other.kind == watch.SWITCH and other.cause == line.cause and line.cause for _, other in fresh_of(world)):
            yield f"account {key[0]} entry {line.seq}: the conversion moved the switch"
