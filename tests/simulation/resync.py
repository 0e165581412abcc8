"""A concentrator comes back after weeks without its uplink: how long until the MDM has everything, in real time.

    make resync                                     30 days of 200 meters; fails beyond 600 s
    make resync ARGS="--days 3 --meters 60"         quicker

* The box's two stores are filled by its own code: every hour one reading of every meter, its interval and its state in readings.db,
  its charges in money.db, and the core's own beat with daily checkpoints. Consumers paid before the link fell.
* Then its own Uplink sends over a link without loss or delay, and the MDM's own ingest commits and answers, all stores on disk. Only
  that is timed, both sides in one process on one core; there is no broker between.
* At the end every account has the same entries, head, balance and register on both sides, and every interval is there.
"""

from __future__ import annotations

import argparse
import logging
import sqlite3
import tempfile
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from gridtally_cloud.customers.model import Policy
from gridtally_edge.drivers.model import Reading
from gridtally_edge.journal.readings import MeterState, MeterUpdate, ReadingsJournal
from gridtally_edge.journal.schema import READINGS, READINGS_FILE
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_edge.prepay import events as p
from gridtally_edge.sync.uplink import Uplink
from gridtally_shared.contract.messages import Lane
from gridtally_shared.money import NANO
from gridtally_shared.quantities import ENERGY_IMPORT
from simulation import tariffs
from simulation.link import Link
from simulation.plan import EPOCH_MS, HOUR_MS, MINUTE_MS, Plan, Step, plan_of
from simulation.rim import seeded_system
from simulation.world import World

GOAL_S = 600.0


@dataclass(frozen=True, slots=True)
class Resync:
    """`seconds` by the wall, which is what the limit is about; `cpu_s` of them this process worked. `differences`: what is not the same
    on both sides at the end."""

    days: int
    meters: int
    entries: int
    intervals: int
    rows: int
    seconds: float
    cpu_s: float
    bytes_up: int
    messages: int
    filled_s: float
    differences: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.differences and self.seconds <= GOAL_S


def resync_plan(days: int, meters: int) -> Plan:
    plan = plan_of(1, days, meters)
    policy = Policy(2 * NANO, "none", "never", 0, (), (), 1, False, 0)
    homes = tuple(replace(h, policy=policy, has_switch=True, modulus_wh=None, zone="Asia/Kolkata") for h in plan.homes)
    paid = tuple(Step(EPOCH_MS + 5 * MINUTE_MS + n * 500, "cash", (n, 150_000)) for n in range(meters))
    return replace(plan, homes=homes, steps=paid, tariffs=tariffs.simple(1, EPOCH_MS), network=(0, 0, 0, 30), interval_ms=HOUR_MS)


def measure(days: int = 30, meters: int = 200) -> Resync:
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="gridtally-resync-") as folder, seeded_system("resync"):
        world = World(resync_plan(days, meters), Path(folder))
        readings = _readings(Path(folder) / READINGS_FILE)
        try:
            return _measured(world, readings, days, meters)
        finally:
            readings.outbox.connection.close()
            world.edge.die()
            world.cloud.close()


def _readings(path: Path) -> ReadingsJournal:
    migrate(path, READINGS)
    return ReadingsJournal(open_store(path, READINGS))


def _measured(world: World, readings: ReadingsJournal, days: int, meters: int) -> Resync:
    world._begin()
    world._until(world.plan.start_ms + 30 * MINUTE_MS)
    world.link.fall()
    world.edge.disconnected()
    begun_s = time.monotonic()
    for _ in range(days * 24):
        world.now_ms += HOUR_MS
        _hour(world, readings)
    filled_s = time.monotonic() - begun_s
    world.edge.uplink = Uplink((readings.outbox, world.edge.core.outbox))
    entries, rows = _count(world.edge.db, "journal"), world.edge.uplink.depth()
    carrier = _Carrier(world)
    begun_s, worked_s = time.monotonic(), time.process_time()
    carrier.all()
    seconds, cpu_s = time.monotonic() - begun_s, time.process_time() - worked_s
    intervals = _count(readings.outbox.connection, "interval")
    found = Resync(days, meters, entries, intervals, rows, seconds, cpu_s, carrier.bytes_up, carrier.messages, filled_s, ())
    return replace(found, differences=_differences(world, found))


def _hour(world: World, readings: ReadingsJournal) -> None:
    """One sweep as the agent does it: readings.db first, then the money."""
    reads, now_ms = world.edge.reads(), world.now_ms
    updates = tuple(_update(readings.states.get(read.meter_no), read) for read in reads)
    readings.commit_sweep(updates, Lane.LIVE, now_ms)
    world.edge.feed(p.SweepRead(reads))
    world.edge.feed(p.Tick())


def _update(before: MeterState | None, read: p.MeterRead) -> MeterUpdate:
    state = replace(before or MeterState(read.meter_no, read.serial), contact_ms=read.at_ms, answering=True, switch=read.switch)
    return MeterUpdate(state, HOUR_MS, (Reading(ENERGY_IMPORT.code, read.at_ms, read.register_wh),), forms_intervals=True)


class _Carrier(Link):
    """A link without loss or delay: what one side says the other hears at once."""

    def __init__(self, world: World) -> None:
        super().__init__(world.link.random, world.after, world._to_cloud, world._to_edge, up=True)
        self._world, self.bytes_up, self.messages = world, 0, 0
        self._up: deque[tuple[str, bytes]] = deque()
        world.link = self

    def send_up(self, topic: str, payload: bytes) -> None:
        self.bytes_up, self.messages = self.bytes_up + len(payload), self.messages + 1
        self._up.append((topic, payload))

    def send_down(self, topic: str, payload: bytes) -> None:
        self._world.edge.arrived(topic, payload)

    def all(self) -> None:
        self._world.edge.connected()
        while self._up:
            topic, payload = self._up.popleft()
            self._world.cloud.arrived(topic, payload)


def _differences(world: World, found: Resync) -> tuple[str, ...]:
    """What one side has and the other has not."""
    money, cloud = world.edge.db, world.cloud.eye
    columns = "account_no, epoch, seq, balance_nano"
    here = money.execute(f"SELECT {columns} FROM account ORDER BY account_no").fetchall()
    there = cloud.execute(f"SELECT {columns} FROM account_mirror WHERE NOT stopped ORDER BY account_no").fetchall()
    bodies = "SELECT account_no, epoch, seq, body FROM journal"
    kept = "SELECT account_no, epoch, seq, body FROM journal_entry WHERE verified ORDER BY account_no, epoch, seq"
    same = all(a == b for a, b in zip(money.execute(f"{bodies} ORDER BY account_no, epoch, seq"), cloud.execute(kept), strict=False))
    checks = (
        ("heads and balances", len(here) == found.meters and here == there),
        ("journal entries", same and _count(cloud, "journal_entry WHERE verified") == found.entries),
        ("intervals", _sum(cloud, "present", "usage_day") == found.intervals),
        ("unsent rows", world.edge.uplink.depth() == 0),
        ("findings or entries set aside", not _count(cloud, "ledger_problem") + _count(cloud, "poison")),
    )
    return tuple(name for name, agrees in checks if not agrees)


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _sum(db: sqlite3.Connection, column: str, table: str) -> int:
    return int(db.execute(f"SELECT coalesce(sum({column}), 0) FROM {table}").fetchone()[0])


def report(found: Resync) -> str:
    state = f"NOT THE SAME ON BOTH SIDES: {', '.join(found.differences)}" if found.differences else "edge and MDM agree to the nano"
    late = "" if found.seconds <= GOAL_S else "TOO LATE: "
    size = f"{found.entries} journal entries and {found.intervals} intervals, {found.rows} rows in {found.messages} messages"
    a_second = found.entries / max(found.cpu_s, 0.001)
    pace = f"{found.cpu_s:.1f} s of CPU, {a_second:.0f} journal entries for each; filling the box took {found.filled_s:.0f} s"
    return (f"\nResync: {found.days} offline days of {found.meters} meters: {size}, {found.bytes_up / 1e6:.1f} MB\n"
            f"  {late}{found.seconds:.1f} s of at most {GOAL_S:.0f} s ({pace}); {state}")  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30, help="offline days (default 30)")
    parser.add_argument("--meters", type=int, default=200, help="meters of the box (default 200)")
    chosen = parser.parse_args(argv)
    found = measure(chosen.days, chosen.meters)
    print(report(found))
    return 0 if found.good else 1


if __name__ == "__main__":
    raise SystemExit(main())
