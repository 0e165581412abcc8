"""Every figure of seed 002 that is a time or a share, measured over a lossy link; each with numerator and denominator.

    make soak                                   1,000 meters for a day, then a resync of 30 offline days of 200 meters
    make soak ARGS="--worlds 2 --no-resync"     quicker

The worlds are those of the simulation, with nothing wrong but the link (2 % of the messages lost each way, 2 % doubled, up to two
seconds on the way) and one meter in a hundred that often does not answer. Times are the virtual ones of the worlds. The resync is
real time: stores on disk, the edge's own uplink, the MDM's own ingest, no broker between.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from gridtally_cloud.customers.model import Policy
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import NANO
from simulation import resync, tariffs, watch
from simulation.plan import EPOCH_MS, HOUR_MS, MINUTE_MS, Plan, Step, plan_of
from simulation.world import World, world_of

HOMES = 50
LOST_PERMILLE, DOUBLED_PERMILLE = 20, 20
WITHIN_MS, RESEND_MS, RESEND_SLACK_MS = 60_000, 45_000, 2_000
NEAR_MS, SHOWN_WITHIN_MS = 48 * HOUR_MS, 30_000
CLEAN_MS, AFTER_TRIP_MS = HOUR_MS, range(120_000, 125_001)
LIMIT_FROM_MS, LIMIT_ENDS_MS = EPOCH_MS + 5 * HOUR_MS, EPOCH_MS + 14 * HOUR_MS
HOME_STEPS = ("cash", "tell", "look", "tell", "order_close", *(("tell", "tell", "look") * 5))
SWITCHES = (int(CommandType.SWITCH_OPEN), int(CommandType.SWITCH_CLOSE))
NAMES = {
    "N2": ("limit, restore, connect, disconnect: executed within 60 s of the request", "seed 002 L391"),
    "N8": ("switch command without a receipt: sent again after 45 s", "seed 002 L413"),
    "N7": ("alert delivered within 60 s of the request", "seed 002 L411"),
    "N11": ("remote test answered within 60 s", "seed 002 L418-421"),
    "F2": ("at 48 h left or less: display refreshed in every interval", "seed 002 L300"),
    "F8": ("balance on the meter's display at least daily", "seed 002 L324"),
    "N6": ("schedule at the concentrator 24 h before its start", "seed 002 L409"),
    "F19": ("limit trip: closed once, two minutes after the trip; the second stays off", "seed 002 L357"),
    "N5": ("what the box told a consumer is known to the MDM", "seed 002 L401"),
    "N9": ("messages, payments taken by the box, 99 % of the meters (99.9 % wanted)", "seed 002 L416"),
    "N9b": ("messages, payments taken by the box, the other 1 % (98 % wanted)", "seed 002 L416"),
    "N10": ("commands processed, 99 % of the meters (99.9 % wanted)", "seed 002 L417"),
    "N10b": ("commands processed, the other 1 % (98 % wanted)", "seed 002 L417"),
    "G1": ("payment to supply or display within 60 s", "prepayment.md 7"),
}


@dataclass(frozen=True, slots=True)
class Tally:
    """`of` tries, `good` of them as wanted."""

    good: int = 0
    of: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.good + other.good, self.of + other.of)


@dataclass(frozen=True, slots=True)
class Move:
    """An order that a switch followed."""

    close: int
    origin: str
    created_ms: int
    finished_ms: int


Figures = dict[str, Tally]


def soak_plan(seed: int, homes: int = HOMES) -> Plan:
    """A day of a street: payments, messages, tests, cuts and restores by order, schedules, and credit that runs out."""
    plan, random = plan_of(seed, 1, homes), Random(f"soak:{seed}")
    policy = Policy(20 * NANO, "disconnect", "allowed", 0, (), (), 1, False, 0)
    houses = tuple(replace(h, policy=policy, has_switch=True, modulus_wh=None, zone="Asia/Kolkata") for h in plan.homes)
    steps = [Step(EPOCH_MS + 10 * MINUTE_MS + n * 500, "cash", (n, random.randint(20, 120) * 1_000)) for n in range(homes)]
    for n in range(homes):
        at_ms = sorted(random.sample(range(60, 23 * 60), len(HOME_STEPS)))
        for minute, kind in zip(at_ms, HOME_STEPS, strict=True):
            numbers = (n, random.randint(50, 150) * 1_000) if kind == "cash" else (n,)
            steps.append(Step(EPOCH_MS + minute * MINUTE_MS, kind, numbers))
    for place, hour in ((3, 4), (7, 8), (11, 12), (17, 16)):
        steps.append(Step(EPOCH_MS + hour * HOUR_MS, "order_open", (place,)))
        steps.append(Step(EPOCH_MS + hour * HOUR_MS + 20 * MINUTE_MS, "order_close", (place,)))
    for n in range(1, homes, 3):
        steps += [Step(LIMIT_FROM_MS, "limit", (n, 100)), Step(LIMIT_ENDS_MS, "limit", (n, 0))]
    steps += [Step(EPOCH_MS + hour * HOUR_MS, "lose", (1,)) for hour in (4, 12)]  # sorts before the order of the same moment
    steps += [Step(EPOCH_MS + 2 * HOUR_MS + n * MINUTE_MS, "book", (n, 30 + n)) for n in range(0, homes, 5)]
    if seed % 2 == 0:  # one home in a hundred: in every second world of fifty
        steps += [Step(EPOCH_MS + hour * HOUR_MS, "silence", (0, 20 * MINUTE_MS)) for hour in range(1, 23, 3)]
    ordered = tuple(sorted(steps, key=lambda s: (s.at_ms, s.kind, s.numbers)))
    return replace(plan, homes=houses, tariffs=tariffs.simple(1, EPOCH_MS), network=(LOST_PERMILLE, DOUBLED_PERMILLE, 0, 2_000),
                   cut_share_permille=1000, interval_ms=HOUR_MS, steps=ordered,
                   rules="care" if plan.care else "")  # fmt: skip


def measured(seed: int, homes: int = HOMES) -> tuple[Figures, list[str]]:
    """Live a street and count."""
    logging.disable(logging.WARNING)
    with world_of(soak_plan(seed, homes)) as world:
        near: list[tuple[int, int]] = []
        world.before_sweep = partial(note_near, near)
        world.run()
        poor = {1} if seed % 2 == 0 else set()
        shown = {**_displays(world, near), "G1": _credit(world), "F19": _recloses(world), "N5": _notices(world)}
        figures = {**_commands(world, poor), **shown, **_arrived(world, poor)}
        return figures, [f"seed {seed}: {f.invariant} {f.what}" for f in world.findings]


def _commands(world: World, poor: set[int]) -> Figures:
    query = "SELECT type, meter_no, issued_at_ms, state, state_at_ms, answered_at_ms, cmd_id, delivered_at_ms FROM command"
    rows = world.cloud.eye.execute(query).fetchall()
    done, last_ms = (int(CommandState.DONE), int(CommandState.DISPLAYED)), world.plan.end_ms
    found: Counter[tuple[str, bool]] = Counter()
    for kind, meter_no, issued_ms, state, state_ms, answered_ms, cmd_id, receipt_ms in rows:
        if issued_ms > last_ms:
            continue
        quick = state in done and state_ms - issued_ms <= WITHIN_MS
        figure = {int(CommandType.MESSAGE): "N7", int(CommandType.READ_SWITCH): "N11", **dict.fromkeys(SWITCHES, "N2")}.get(kind)
        if figure == "N7":
            quick = answered_ms is not None and _shown_ms(world, cmd_id, answered_ms) - issued_ms <= WITHIN_MS
        if figure and meter_no not in poor:
            found[figure, quick] += 1
        if kind == int(CommandType.SCHEDULE):
            start_ms = world.cloud.eye.execute("SELECT start_ms FROM schedule WHERE cmd_id = ?", (cmd_id,)).fetchone()[0]
            found["N6", answered_ms is not None and answered_ms <= start_ms - 24 * HOUR_MS + WITHIN_MS] += 1
        found["N10b" if meter_no in poor else "N10", answered_ms is not None] += 1
        if kind in SWITCHES:
            for again in _resends(world, cmd_id, receipt_ms):
                found["N8", again] += 1
    names = ("N2", "N7", "N11", "N6", "N8", "N10", "N10b")
    return {name: Tally(found[name, True], found[name, True] + found[name, False]) for name in names}


def _shown_ms(world: World, cmd_id: bytes, answered_ms: int) -> int:
    """When the box stored the message for the display."""
    row = world.edge.db.execute("SELECT at_ms FROM message WHERE cmd_id = ?", (cmd_id,)).fetchone() if world.edge.alive else None
    return int(row[0]) if row else answered_ms


def _resends(world: World, cmd_id: bytes, receipt_ms: int | None) -> Iterator[bool]:
    """For every sending whose receipt did not come within 45 s: whether it went again then, and not later. A receipt is the first
    word of the box; a meter that keeps silent is the box's affair, which tries it again itself."""
    sent = world.link.sent_at.get(world.cloud.envelopes_of(cmd_id), [])
    for at_ms, following in zip(sent, [*sent[1:], None], strict=True):
        if receipt_ms is None or receipt_ms > at_ms + RESEND_MS:
            yield following is not None and RESEND_MS <= following - at_ms <= RESEND_MS + RESEND_SLACK_MS


def note_near(near: list[tuple[int, int]], world: World) -> None:
    """Before each sweep: the meters whose money lasts two days or less, as the box's own cautious forecast says."""
    query = "SELECT account_no FROM forecast WHERE cautious_ms - ? <= ?"
    for (account_no,) in world.edge.db.execute(query, (world.now_ms, NEAR_MS)):
        near.append((world.now_ms, world.home_of(account_no).meter_no))


def _displays(world: World, near: Sequence[tuple[int, int]]) -> Figures:
    """Sweep by sweep, those that were near: whose display was written with it."""
    shows: dict[int, list[int]] = {meter_no: [] for meter_no in world.meters}
    for at_ms, meter_no in world.shows:
        shows[meter_no].append(at_ms)
    refreshed = sum(any(at_ms <= shown_ms <= at_ms + SHOWN_WITHIN_MS for shown_ms in shows[no]) for at_ms, no in near)
    daily = sum(any(at_ms <= world.plan.end_ms for at_ms in each) for each in shows.values())
    return {"F2": Tally(refreshed, len(near)), "F8": Tally(daily, len(world.meters))}


def _notices(world: World) -> Tally:
    """What the boxes wrote for their consumers, against what the MDM's mirror has of it."""
    good = of = 0
    for key, book in world.edge_watch.books.items():
        mirrored = world.cloud_watch.mirror.get(key)
        told = [line.seq for line in book.lines if line.kind == watch.NOTICE]
        of, good = of + len(told), good + sum(mirrored is not None and mirrored.seq >= seq for seq in told)
    return Tally(good, of)


def _arrived(world: World, poor: set[int]) -> Figures:
    """What the MDM sent for a prepaid meter, messages and payments, against what its box has taken."""
    found: Counter[tuple[str, bool]] = Counter()
    told = world.cloud.eye.execute("SELECT meter_no, answered_at_ms FROM command WHERE type = ?", (int(CommandType.MESSAGE),)).fetchall()
    for meter_no, answered_ms in told:
        found["N9b" if meter_no in poor else "N9", answered_ms is not None] += 1
    for account_no, epoch, gseq, _ in _payments(world):
        book = world.edge_watch.books.get((account_no, epoch))
        found["N9b" if world.home_of(account_no).meter_no in poor else "N9", book is not None and gseq in book.used] += 1
    return {name: Tally(found[name, True], found[name, True] + found[name, False]) for name in ("N9", "N9b")}


def _payments(world: World) -> Sequence[tuple[int, int, int, int]]:
    """Account, epoch, number and time of each payment that was made into an instrument."""
    return world.cloud.eye.execute("SELECT account_no, epoch, gseq, issued_ms FROM instrument WHERE type = 1").fetchall()


def _recloses(world: World) -> Tally:
    """Trips above a limit: the first is closed by itself two minutes after it was off, and once; one after a close, by itself or by
    command, and before an hour has passed since then stays off. Those that the end of the limit overtook are left out."""
    query = "SELECT meter_no, close, origin, created_ms, finished_ms FROM action WHERE result IN ('done', 'already') ORDER BY counter"
    moves: dict[int, list[Move]] = {}
    for meter_no, *move in world.edge.db.execute(query).fetchall() if world.edge.alive else []:
        moves.setdefault(meter_no, []).append(Move(*move))
    return sum((_recloses_of(each) for each in moves.values()), Tally())


def _recloses_of(moves: Sequence[Move]) -> Tally:
    good = of = spent_until_ms = 0
    tripped = False
    for move, following in zip(moves, [*moves[1:], None], strict=True):
        if move.close and tripped:
            tripped, spent_until_ms = False, move.finished_ms + CLEAN_MS
        if move.close or move.origin != "limit":
            continue
        tripped, is_first = True, move.created_ms >= spent_until_ms
        by_itself = following is not None and following.origin == "limit" and following.created_ms < LIMIT_ENDS_MS
        if is_first and move.finished_ms + AFTER_TRIP_MS.stop < LIMIT_ENDS_MS:
            of += 1
            good += by_itself and following is not None and following.created_ms - move.finished_ms in AFTER_TRIP_MS
        elif not is_first:
            of, good = of + 1, good + (not by_itself)
    return Tally(good, of)


def _credit(world: World) -> Tally:
    """Payments whose amount was in the ledger of the box, and so on the display, within a minute."""
    good = of = 0
    for account_no, epoch, gseq, issued_ms in _payments(world):
        book = world.edge_watch.books.get((account_no, epoch))
        seq = book.used.get(gseq) if book else None
        of += 1
        good += book is not None and seq is not None and book.lines[seq - 1].at_ms - issued_ms <= WITHIN_MS
    return Tally(good, of)


def report(figures: Figures, findings: list[str], meters: int) -> str:
    link = f"{LOST_PERMILLE / 10:g} % of the messages lost each way, {DOUBLED_PERMILLE / 10:g} % doubled"
    lines = [f"\nSoak: {meters} simulated meters for a day, {link}"]
    for name, (what, source) in NAMES.items():
        tally = figures.get(name, Tally())
        share = f"{100 * tally.good / tally.of:.3f} %" if tally.of else "not measured"
        lines.append(f"  {name:5} {what:75} {tally.good:7} of {tally.of:7}  {share:>12}  ({source})")
    return "\n".join([*lines, f"  findings of the invariants: {len(findings)}", *findings[:10]])


def lived(worlds: int, homes: int = HOMES, jobs: int = os.cpu_count() or 1) -> tuple[Figures, list[str]]:
    """Live several streets, one a core; their figures together and what the invariants found."""
    total: Figures = {}
    findings: list[str] = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        streets = pool.imap_unordered(partial(measured, homes=homes), range(1, worlds + 1))
        for number, (figures, found) in enumerate(streets, 1):
            total = {name: total.get(name, Tally()) + tally for name, tally in figures.items()}
            findings += found
            print(f"street {number} of {worlds}", flush=True)
    return total, findings


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20, help="streets of fifty meters (default 20)")
    parser.add_argument("--homes", type=int, default=HOMES, help="meters of a street (default 50)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--no-resync", action="store_true", help="leave out the resync of 30 offline days")
    parser.add_argument("--resync-days", type=int, default=30, help="offline days (default 30)")
    parser.add_argument("--resync-meters", type=int, default=200, help="meters of the resync (default 200)")
    chosen = parser.parse_args(argv)
    total, findings = lived(chosen.worlds, chosen.homes, chosen.jobs)
    print(report(total, findings, chosen.worlds * chosen.homes))
    late = False
    if not chosen.no_resync:
        back = resync.measure(chosen.resync_days, chosen.resync_meters)
        print(resync.report(back))
        late = not back.good
    return 1 if findings or late else 0


if __name__ == "__main__":
    raise SystemExit(main())
