"""What must hold of switches (invariants.py): evidence, rights, closes by themselves, times that are booked, holds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from simulation import watch
from simulation.journal_checks import fresh_of
from simulation.visits import ON_SITE, at_meter, holds_of

if TYPE_CHECKING:
    from simulation.from_cloud import Run
    from simulation.world import World

CLEAN_MS = 3_600_000
ENDED_MS = 3 * 3_600_000


def _fresh_decisions(world: World, verdict: str) -> Iterator[tuple[watch.Account, watch.Line, dict[str, tuple[bool, str]]]]:
    for key, line in fresh_of(world):
        if line.kind == watch.DECISION and isinstance(line.detail, dict) and line.detail.get(0) == verdict:
            yield key, line, {t[0]: (t[1], t.get(2, "")) for t in line.detail.get(1, [])}


def evidence(world: World) -> Iterator[str]:
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


def protected(world: World) -> Iterator[str]:
    """Protected hours by the true clock, at the moment the contactor was told."""
    yield from (f"meter {j.meter_no}: {r}" for j in world.oracle.fresh for r in j.wrong if r.startswith("protected"))


def entitled(world: World) -> Iterator[str]:
    yield from (f"meter {j.meter_no}: {r}" for j in world.oracle.fresh for r in j.wrong)


def reclosed(world: World) -> Iterator[str]:
    """After a trip above a load limit one close by itself; another one only after a whole clean period, or where that limit has ended
    meanwhile. An old disk forgot the first."""
    for key, line in fresh_of(world):
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


def in_flight(world: World) -> Iterator[str]:
    for meter_no, count in world.edge_watch.open_actions.items():
        if count > 1:
            yield f"meter {meter_no}: {count} switch orders are open"


def apart(world: World) -> Iterator[str]:
    """Schedules one meter holds do not overlap; touching is allowed."""
    for one, following in pairwise(world.edge_watch.schedules):
        if one[0] == following[0] and following[1] < one[2]:
            yield f"meter {one[0]}: schedules {one[3]} and {following[3]} overlap"


def events_paid(world: World) -> Iterator[str]:
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


def holds_stand(world: World) -> Iterator[str]:
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
