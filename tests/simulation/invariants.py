"""The invariants of prepayment.md 5.10 as a table: what must hold after every step of a world, and at its healed end.

A check looks at raw rows (watch.py), at the world's truth and at the oracle; it yields a sentence for each breach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from gridtally_cloud.prepay.model import LedgerMismatch
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.events import ShowOnMeter
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.instruments.keypad_code import Unreadable
from simulation import heard, replenishing, wallets, watch
from simulation.meter import SimMeter
from simulation.plan import CARE_CAP, CARE_EMERGENCY, CARE_RATE
from simulation.visits import ON_SITE, at_meter, holds_of

if TYPE_CHECKING:
    from simulation.from_cloud import Run
    from simulation.world import World

CLEAN_MS = 3_600_000
RESTORE_BOUND_MS = 10 * 60_000
SLOWEST_RETRY_MS = 30 * 60_000
MANY = 10**9
ENDED_MS = 3 * 3_600_000
Check = Callable[["World"], Iterator[str]]


def _books(world: World) -> dict[watch.Account, watch.Book]:
    """The journals of the box, and those the MDM runs itself."""
    return {**world.edge_watch.books, **world.from_cloud.books} if world.from_cloud.books else world.edge_watch.books


def _fresh(world: World) -> list[tuple[watch.Account, watch.Line]]:
    return [*world.edge_watch.fresh, *world.from_cloud.fresh]


@dataclass(frozen=True, slots=True)
class Invariant:
    id: str
    what: str
    check: Check
    at_the_end: bool = False


# ---- money ----------------------------------------------------------------------------------------------------


def _conservation(world: World) -> Iterator[str]:
    """Payments less refunds = what waits for an instrument + instruments not in the books + what the books received."""
    cloud = world.cloud_watch
    if world.rolled_back:
        return
    for account_no in world.homes:
        paid = cloud.captured.get(account_no, 0) - cloud.refunded.get(account_no, 0)
        used, received = set(), 0
        for (number, epoch), book in _books(world).items():
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


def _once(world: World) -> Iterator[str]:
    yield from _faults(world, "I2")
    for key, line in _fresh(world):
        issued = world.cloud_watch.issued.get((*key, line.gseq)) if line.gseq else None
        if issued is None:
            continue
        moved = -sum(a for p, a in line.postings if p in (watch.RECEIVED, watch.TRANSFER))
        if issued.type == CORRECTION and line.kind == watch.CORRECTION:
            moved = -sum(a for p, a in line.postings if p == watch.ENERGY)
        left = issued.type == LEASE_RETURN or (issued.type == LEASE and line.kind == watch.CONTROL)
        if moved != issued.amount_nano and not (left and moved <= 0):
            yield f"account {key[0]}: instrument {line.gseq} of {issued.amount_nano} moved {moved}"


def _in_order(world: World) -> Iterator[str]:
    """An order waits for every instrument before it."""
    for key, line in _fresh(world):
        issued = world.cloud_watch.issued.get((*key, line.gseq)) if line.gseq else None
        if issued is not None and issued.type in ORDERS:
            before = {g for g, seq in _books(world)[key].used.items() if seq < line.seq}
            missing = sorted(set(range(1, line.gseq)) - before)
            if missing:
                yield f"account {key[0]}: order {line.gseq} was applied before {missing}"


MONEY = frozenset((1, 2, 4, 5))
"""Instrument types that stand for what somebody paid or got back."""
LEASE, LEASE_RETURN, CORRECTION = 7, 8, 19
"""The one is refused where the account is billed; the other takes whatever is there, and names no amount."""
ORDERS = frozenset(range(9, 19))
"""Instrument types that are barriers: from CREDIT_CLEAR to TEST."""


def _alike(world: World) -> Iterator[str]:
    for calm, crashed in world.twins:
        if calm != crashed:
            yield f"without a crash {calm}, with one {crashed}"


def _typos(world: World) -> Iterator[str]:
    """Every one-digit change of a code is seen before any guess is counted."""
    for text in world.codes:
        digits = [c for c in text if c.isdigit()]
        for at, right in enumerate(digits):
            for wrong in "0123456789":
                typed = "".join([*digits[:at], wrong, *digits[at + 1 :]])
                if wrong != right and not isinstance(world.read_code(typed), Unreadable):
                    yield f"{typed} passes for {text}"


def _all_applied(world: World) -> Iterator[str]:
    for account_no, epoch, gseq in world.cloud_watch.issued:
        book = _books(world).get((account_no, epoch))
        if _is_live(world, account_no, epoch) and (book is None or gseq not in book.used):
            yield f"account {account_no}: instrument {gseq} of epoch {epoch} never came into the books"


def _is_live(world: World, account_no: int, epoch: int) -> bool:
    if account_no in world.from_cloud.accounts:
        return world.from_cloud.accounts[account_no].epoch == epoch
    config = world.edge.config
    return config is not None and any((a.account_no, a.account_epoch) == (account_no, epoch) for a in config.accounts)


def _faults(world: World, invariant: str) -> Iterator[str]:
    yield from (what for i, what in (*world.edge_watch.faults, *world.from_cloud.faults) if i == invariant)


def _watched(invariant: str) -> Check:
    return lambda world: _faults(world, invariant)


def _cache(world: World) -> Iterator[str]:
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


def _mirror(world: World) -> Iterator[str]:
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


def _register(world: World) -> Iterator[str]:
    yield from _faults(world, "I9")
    for (account_no, epoch), book in _books(world).items():
        if book.opened_wh is None or book.register_wh is None:
            continue
        if book.charged_wh != book.register_wh - book.opened_wh:
            yield f"account {account_no}/{epoch}: charged {book.charged_wh} Wh, the register moved {book.register_wh - book.opened_wh}"
        used_wh = world.used_wh(account_no)
        if book.charged_wh > used_wh + len(world.behind[account_no]):
            yield f"account {account_no}/{epoch}: charged {book.charged_wh} Wh, used {used_wh}"


def _register_in_the_end(world: World) -> Iterator[str]:
    for (account_no, epoch), book in _books(world).items():
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


def _by_hand(invariant: str) -> Check:
    return lambda world: (what for i, what in world.money_faults if i == invariant)


def _genuine_only(world: World) -> Iterator[str]:
    """What nobody issued changes nothing."""
    world.cloud_watch.look(world.cloud.eye, world.cloud.changed)
    for (account_no, epoch), line in _fresh(world):
        if line.gseq and (account_no, epoch, line.gseq) not in world.cloud_watch.issued:
            yield f"account {account_no}/{epoch}: entry {line.seq} used instrument {line.gseq}, which nobody issued"


def _agree(world: World) -> Iterator[str]:
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


def _closed_epochs(world: World) -> Iterator[str]:
    """What the box's configuration does not name (another epoch of an account) accepts nothing."""
    live = {(a.account_no, a.account_epoch) for a in world.edge.config.accounts} if world.edge.config else set()
    live |= {run.key for run in world.from_cloud.accounts.values()} if live else set()
    for key, line in _fresh(world):
        if live and key not in live and line.hash not in world.edge_watch.known:
            yield f"account {key[0]}: epoch {key[1]} is over and got entry {line.seq}"


def _collected(world: World) -> Iterator[str]:
    """A debt is never collected beyond what is owed, nor beyond its share, its rate and its cap of the period."""
    for key, line in _fresh(world):
        book, where = _books(world)[key], f"account {key[0]} entry {line.seq}"
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


def _emergency(world: World) -> Iterator[str]:
    """Emergency credit stays within its limit, and is paid back before there is a balance again."""
    for key, line in _fresh(world):
        book = _books(world)[key]
        used = -book.pool(watch.EMERGENCY)
        grown = sum(a for p, a in line.postings if p == watch.PAID)
        if line.seq == book.seq and not 0 <= used <= (CARE_EMERGENCY if world.plan.care else 0):
            yield f"account {key[0]} entry {line.seq}: {used} of emergency credit is in use"
        if line.seq == book.seq and used > 0 and grown > 0 and book.pool(watch.PAID) > 0:
            yield f"account {key[0]} entry {line.seq}: the balance grows while {used} of emergency credit is owed"


def _converted(world: World) -> Iterator[str]:
    """A change of the way of paying hands over exactly what was there, and orders nothing of the switch."""
    for key, line in _fresh(world):
        if line.kind != watch.MODE_KIND:
            continue
        book = _books(world)[key]
        if any(p not in (watch.PAID, watch.RESERVED, watch.EMERGENCY, watch.TRANSFER, watch.DEBT) for p, _ in line.postings):
            yield f"account {key[0]} entry {line.seq}: a conversion moves {dict(line.postings)}"
        if line.mode and line.seq == book.seq and (book.balance or book.pool(watch.EMERGENCY)):
            yield f"account {key[0]} entry {line.seq}: {book.balance} stays behind in a closed way of paying"
        if any(other.kind == watch.SWITCH and other.cause == line.cause and line.cause for _, other in _fresh(world)):
            yield f"account {key[0]} entry {line.seq}: the conversion moved the switch"


# ---- switches -------------------------------------------------------------------------------------------------


def _fresh_decisions(world: World, verdict: str) -> Iterator[tuple[watch.Account, watch.Line, dict[str, tuple[bool, str]]]]:
    for key, line in _fresh(world):
        if line.kind == watch.DECISION and isinstance(line.detail, dict) and line.detail.get(0) == verdict:
            yield key, line, {t[0]: (t[1], t.get(2, "")) for t in line.detail.get(1, [])}


def _evidence(world: World) -> Iterator[str]:
    """A cut that was decided names its tests, and every one of them held."""
    for key, line, tests in _fresh_decisions(world, "cut"):
        failed = [name for name, (holds, _) in tests.items() if not holds]
        booked = "T28" in line.detail.values()
        missing = sorted(REQUIRED_TESTS - set(tests) - (OF_MONEY_ONLY if booked else frozenset()))
        if failed or missing:
            yield f"account {key[0]} entry {line.seq}: a cut with {failed} failed and {missing} not tested"


REQUIRED_TESTS = frozenset({"ledger", "register", "tariff", "clock", "reading", "serial", "parked", "protected_hours", "holds", "notice",
                            "offline", "lease", "switch", "pending"})  # fmt: skip
OF_MONEY_ONLY = frozenset({"notice"})
"""Who has booked the time in which he is off has been told of it."""


def _protected(world: World) -> Iterator[str]:
    """Protected hours by the true clock, at the moment the contactor was told."""
    yield from (f"meter {j.meter_no}: {r}" for j in world.oracle.fresh for r in j.wrong if r.startswith("protected"))


def _entitled(world: World) -> Iterator[str]:
    yield from (f"meter {j.meter_no}: {r}" for j in world.oracle.fresh for r in j.wrong)


def _reclosed(world: World) -> Iterator[str]:
    """After a trip above a load limit one close by itself; another one only after a whole clean period, or where that limit has ended
    meanwhile. An old disk forgot the first."""
    for key, line in _fresh(world):
        if not _closed_by_limit(line):
            continue
        lines = world.edge_watch.books[key].lines[: line.seq]
        before = _last_by_itself(world, key, lines[:-1], line.meter_no)
        if before is None or not _by_itself(world, key, lines) or not 0 <= line.at_ms - before.at_ms < CLEAN_MS:
            continue
        if not any(before.at_ms <= at_ms <= line.at_ms for at_ms in world.rolled_back_ms):
            yield f"meter {line.meter_no}: closed by itself again {(line.at_ms - before.at_ms) // 1000} s after the first time"


def _last_by_itself(world: World, key: watch.Account, lines: list[watch.Line], meter_no: int) -> watch.Line | None:
    """The newest close by itself that still counts."""
    for close in (x for x in reversed(lines) if x.meter_no == meter_no and _closed_by_limit(x)):
        until = lines[: close.seq]
        if _by_itself(world, key, until):
            return close
        if _may_end(world, key, _since_trip(until)) and _says_ended(until):
            return None
    return None


def _says_ended(lines: list[watch.Line]) -> bool:
    """Whether the box, too, closed it since the limit had ended."""
    reasons = (x.detail.get(2) for x in reversed(lines) if x.kind == watch.DECISION and x.detail.get(0) == "reclose")
    return next(reasons, "") == "T23l"


def _since_trip(lines: list[watch.Line]) -> list[watch.Line]:
    trip = next((x for x in reversed(lines) if x.kind == watch.SWITCH and isinstance(x.detail, dict) and not x.detail.get(0)), lines[0])
    return lines[trip.seq - 1 :]


def _may_end(world: World, key: watch.Account, since: list[watch.Line]) -> bool:
    """The desk lifted the limit, or a payment or a change to bills may have ended it."""
    lifted = any((key[0], x.gseq) in world.limits_lifted for x in since)
    paid = world.plan.rules == "lean" and any(x.kind in (watch.CREDIT, watch.LEASE_KIND) for x in since)
    return lifted or paid or any(x.kind == watch.MODE_KIND for x in since)


def _by_itself(world: World, key: watch.Account, lines: list[watch.Line]) -> bool:
    """Whether the close at the end came without the end of the limit, or somebody at home asking; nor before another box has heard of
    the limit."""
    since = _since_trip(lines)
    trip, close = since[0], lines[-1]
    asked = [(at_ms, step) for number, at_ms, step in world.asked_back if number == key[0]]
    by_hand = any(trip.at_ms <= at_ms <= close.at_ms or trip.step <= step <= close.step for at_ms, step in asked)
    unheard = key[1] > 1 and not any(x.kind == watch.CONTROL for x in lines)
    return not (_may_end(world, key, since) or by_hand or unheard)


def _closed_by_limit(line: watch.Line) -> bool:
    evidence = line.detail if line.kind == watch.SWITCH and isinstance(line.detail, dict) else {}
    return bool(evidence.get(0)) and evidence.get(7) == "limit" and evidence.get(1) == "done"


def _in_flight(world: World) -> Iterator[str]:
    for meter_no, count in world.edge_watch.open_actions.items():
        if count > 1:
            yield f"meter {meter_no}: {count} switch orders are open"


def _apart(world: World) -> Iterator[str]:
    """Schedules one meter holds do not overlap; touching is allowed."""
    for one, following in pairwise(world.edge_watch.schedules):
        if one[0] == following[0] and following[1] < one[2]:
            yield f"meter {one[0]}: schedules {one[3]} and {following[3]} overlap"


def _events_paid(world: World) -> Iterator[str]:
    """What a schedule came to: it has ended with its time, and who asked for an event paid what the journals say it used, no more."""
    told: dict[bytes, int] = {}
    for key, book in world.edge_watch.books.items():
        mirrored = world.cloud_watch.mirror.get(key)
        for cmd_id, (nano, _) in book.events.items():
            told[cmd_id] = told.get(cmd_id, 0) + (nano if mirrored is not None and mirrored.seq >= book.seq else 0)
    held = {account_no for (account_no, _), cached in world.edge_watch.cached.items() if cached.held}
    for number, cmd_id, programme, host, end_ms, settled, credit_nano, spent_nano in world.cloud.schedules():
        if not settled and end_ms < world.now_ms - ENDED_MS and not (programme == "B" and host in held):
            yield f"schedule {number} ended {(world.now_ms - end_ms) // 60_000} minutes ago, and nobody knows how"
        if programme == "B" and settled:
            moved = world.cloud.event_money(number)
            if any(sum(moved[kind].values()) for kind in moved):
                yield f"event {number}: {moved} do not sum to zero"
            paid = -sum(amount for kind in moved.values() for holder, amount in kind.items() if holder.startswith("requester"))
            if paid != spent_nano or moved["funding"][f"event:{number}"] != credit_nano:
                yield f"event {number}: paid {paid}, used {spent_nano}"
            if not (world.counts.rollbacks or world.boxes or world.from_cloud.epochs) and spent_nano != told.get(cmd_id, 0):
                yield f"event {number}: {spent_nano} were charged, the journals say {told.get(cmd_id, 0)}"


def _holds_stand(world: World) -> Iterator[str]:
    """Who holds a supply, or protects it, holds it until he lifts it, whatever became of the box; and nothing else does."""
    for account in world.edge.config.accounts if world.edge.config else ():
        known = world.edge.known_holds(account.account_no)
        stand = holds_of(world, account)
        if known != stand:
            yield f"account {account.account_no}: held by {sorted(stand)}, the box knows of {sorted(known)}"
    for run in world.from_cloud.accounts.values():
        yield from _hold_stands_from_cloud(world, run)


def _hold_stands_from_cloud(world: World, run: Run) -> Iterator[str]:
    """Where the MDM runs a home: at the box, and in what the MDM tells the box."""
    config, stand = world.edge.config, {reason for reason, on in world.words.last(run.account_no).items() if on} & ON_SITE
    meter = next((m for m in config.meters if m.meter_no == run.meter_no), None) if config is not None else None
    if meter is None or meter.run_account_no != run.account_no:
        return
    judged = {reason for reason in ON_SITE if (run.account_no, reason) not in world.words.recorded}
    for who, known in (("box", at_meter(world, run.meter_no)), ("MDM", {h.reason for h in meter.held if h.on})):
        if known & judged != stand & judged:
            yield f"account {run.account_no}, run by the MDM: held by {sorted(stand)}, the {who} knows of {sorted(known & judged)}"


# ---- supply ---------------------------------------------------------------------------------------------------


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


def _restored(world: World) -> Iterator[str]:
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


def _lit_again(world: World) -> Iterator[str]:
    """Who was dark for a time that was booked has supply when it is over, whichever box is there by then."""
    for account in world.edge.config.accounts if world.edge.config else ():
        meter, key = world.fitted(account.account_no), (account.account_no, account.account_epoch)
        now = [s for s in world.cloud.booked(account.account_no) if s[0] - ENDED_MS < world.now_ms < s[1] + ENDED_MS]
        free = not now and not meter.touched and meter.has_switch and not account.arm_only and not holds_of(world, account)
        if free and meter.state is SwitchState.OPEN and _last_opened_by(world, key, meter) == "schedule":
            yield f"meter {meter.meter_no}: dark for a booked time that is over"


def _shown(world: World) -> Iterator[str]:
    """The meter's face never says more than the ledger; of several writings of one moment the last one stands."""
    yield from (what for order in {o.meter_no: o for o in world.fresh_shows}.values() for what in _shown_too_much(world, order))


def _shown_too_much(world: World, order: ShowOnMeter) -> Iterator[str]:
    account = world.account_of(order.meter_no)
    if account is None:
        return
    book = world.edge_watch.books.get((account.account_no, account.account_epoch))
    if book is not None and order.amount_nano > book.balance:
        yield f"meter {order.meter_no} is told {order.amount_nano}, the ledger has {book.balance}"


# ---- the table ------------------------------------------------------------------------------------------------

TABLE: tuple[Invariant, ...] = (
    Invariant("I1", "payments = wallet + instruments on the way + pools + charges + transfers", _conservation),
    Invariant("I1", "a card is charged with consent, and within its cap", replenishing.with_consent),
    Invariant("I1", "a low balance charges a card once", replenishing.once),
    Invariant("I1", "what the bank took is booked once", replenishing.known, at_the_end=True),
    Invariant("I24", "who agreed and is low is charged", replenishing.seen, at_the_end=True),
    Invariant("I1", "no more of a wallet is lent than it holds", wallets.never_more),
    Invariant("I1", "what of a wallet is not lent is there, and what is lent goes along", wallets.nothing_lost, at_the_end=True),
    Invariant("I2", "each instrument is applied at most once, with exactly its amount", _once),
    Invariant("I3", "every instrument of the live epoch is applied in the end", _all_applied, at_the_end=True),
    Invariant("I4", "an order is applied after every instrument before it", _in_order),
    Invariant("I5", "the postings of every entry sum to zero", _watched("I5")),
    Invariant("I6", "the cached balance is the replay of the journal", _cache),
    Invariant("I7", "entries are gap-free and chained", _watched("I7")),
    Invariant("I8", "the mirror is a prefix of the journal", _mirror),
    Invariant("I8", "edge and MDM agree to the nano in the end", _agree, at_the_end=True),
    Invariant("I8", "what a box wrote and got a receipt for is in the MDM", heard.events, at_the_end=True),
    Invariant("I9", "energy charged is what the register moved since the opening", _register),
    Invariant("I9", "every charge is what the oracle gets by hand", _by_hand("I9")),
    Invariant("I9", "what was used is charged in the end", _register_in_the_end, at_the_end=True),
    Invariant("I10", "a movement in parts costs what it costs at once", _by_hand("I10")),
    Invariant("I11", "slabs filled in parts cost what they cost at once", _by_hand("I11")),
    Invariant("I12", "tax is the rate on the cumulative base within a nano", _by_hand("I12")),
    Invariant("I13", "no float reaches a posting", _watched("I13")),
    Invariant("I14", "a closed epoch accepts nothing", _closed_epochs),
    Invariant("I15", "what was not issued for this box, account and epoch changes nothing", _genuine_only),
    Invariant("I16", "no cut in protected time, by the true clock", _protected),
    Invariant("I17", "no cut without every test and its evidence", _evidence),
    Invariant("I18", "no cut and no close without a right to it", _entitled),
    Invariant("I18", "a hold or a protection stands until it is lifted, and no longer", _holds_stand, at_the_end=True),
    Invariant("I19", "one close by itself after a trip above a limit", _reclosed),
    Invariant("I20", "one switch order in flight per meter", _in_flight),
    Invariant("I21", "a crash at any statement and a restart end as if there had been none", _alike),
    Invariant("I22", "a debt is collected within what is owed, its share, rate and cap", _collected),
    Invariant("I23", "emergency credit stays within its limit and is paid back first", _emergency),
    Invariant("I24", "supply is back within the bound after enough credit", _restored),
    Invariant("I24", "the same where the MDM runs a home", lambda world: world.from_cloud.waits()),
    Invariant("I24", "supply is back when a booked time without it is over", _lit_again, at_the_end=True),
    Invariant("I24", "nobody is without money while the wallet he lives on has some", wallets.nobody_starves, at_the_end=True),
    Invariant("I25", "a charge names a tariff version that was in force", _by_hand("I25")),
    Invariant("I26", "a conversion hands over what was there and moves no switch", _converted),
    Invariant("I26", "an epoch begins with what the one before it held", lambda world: world.from_cloud.handed_over(), at_the_end=True),
    Invariant("I27", "schedules of one service point never overlap", _apart),
    Invariant("I27", "a schedule ends with its time, and an event costs what it used", _events_paid, at_the_end=True),
    Invariant("I28", "no code passes with one digit wrong", _typos),
    Invariant("I29", "no display says more than the ledger", _shown),
)

def broken(world: World) -> Iterator[tuple[str, str]]:
    """Every invariant that does not hold after this step."""
    world.money_faults = [f for key in {k for k, _ in _fresh(world)}
                          for f in world.oracle.faults_of_money(key, _books(world)[key])]  # fmt: skip
    for invariant in TABLE:
        if not invariant.at_the_end:
            for what in invariant.check(world):
                yield invariant.id, what


def broken_at_the_end(world: World) -> Iterator[tuple[str, str]]:
    for invariant in TABLE:
        if invariant.at_the_end:
            for what in invariant.check(world):
                yield invariant.id, what
