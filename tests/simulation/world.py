"""One deterministic world: everything that happens is an event in one queue, ordered by virtual time and by birth.

    with world_of(plan_of(seed)) as world:
        world.run()
    world.findings, world.trace_hash

* After every event the invariants are checked (invariants.py); what does not hold is a `Finding`, and the run ends.
* `steps.py` says what each kind of step of the plan does to the world.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from gridtally_edge.prepay import events as p
from gridtally_edge.sync.uplink import State
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.instruments import keypad_code
from simulation import invariants, journal_checks, replenishing, steps, supply_checks, tariffs, visits
from simulation.cloud import GATEWAY, JOURNAL_SIGNER, SIGNER, CloudNode
from simulation.edge import Disk, EdgeNode, PowerCut
from simulation.from_cloud import FromCloud
from simulation.link import Link
from simulation.meter import SimMeter
from simulation.oracle import Oracle
from simulation.plan import DCU, HOUR_MS, MINUTE_MS, Home, Plan, plan_of
from simulation.rim import scratch, seeded_system
from simulation.visits import Words
from simulation.watch import Book, CloudWatch, EdgeWatch

TRACE_LINES = 4_000
BUSY_MS = 6 * MINUTE_MS
HEALED_MS = 4 * HOUR_MS
DRAIN_MINUTES = 10
FIRST_PATIENCE_MS, GREETING_MS = 11_000, 16_000
OUTAGE_BEAT_MS = 30 * MINUTE_MS
LAZINESS_MS = (1_000, 2 * HOUR_MS, 4 * HOUR_MS, 8 * HOUR_MS)
MANAGED_LAZINESS_MS = (1_000, 1_000, 2 * HOUR_MS)
"""How long a sweep's entries may wait for company: messages are what a run's time goes into."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An invariant that did not hold after a step."""

    invariant: str
    what: str
    at_ms: int
    event_no: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """A switch command the desk issued."""

    meter_no: int
    close: bool
    expires_ms: int
    cause: str


@dataclass(slots=True)
class Counts:
    """What a run had in it, for the report."""

    events: int = 0
    power_cuts: int = 0
    rollbacks: int = 0
    payments: int = 0
    cuts: int = 0
    closes: int = 0
    judged_wrong: int = 0
    meter_ms: int = 0


class Stopped(Exception):
    """A finding ended the run."""


@dataclass
class World:
    plan: Plan
    folder: Path
    stop_at_finding: bool = True
    sabotage: Callable[[World], None] | None = None
    now_ms: int = 0
    event_no: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    trace: deque[str] = field(default_factory=lambda: deque(maxlen=TRACE_LINES))
    issued_commands: dict[bytes, Ordered] = field(default_factory=dict)
    backfed_since: dict[int, int] = field(default_factory=dict)
    limits: dict[int, list[int]] = field(default_factory=dict)
    asked_back: list[tuple[int, int, int]] = field(default_factory=list)
    limits_lifted: set[tuple[int, int]] = field(default_factory=set)
    restore_due: dict[int, int] = field(default_factory=dict)
    boxes: list[EdgeNode] = field(default_factory=list)
    images: list[Disk] = field(default_factory=list)
    papers: dict[int, Callable[[], None]] = field(default_factory=dict)
    estimated: set[int] = field(default_factory=set)
    converted: set[int] = field(default_factory=set)
    rolled_back: bool = False
    rolled_back_ms: list[int] = field(default_factory=list)
    healed: bool = False
    words: Words = field(default_factory=Words)
    ntp_ok: bool = True
    cut_off_ms: int | None = None
    busy_until_ms: int = 0
    payments_made: int = 0
    wallet_paid_nano: int = 0
    consents: dict[int, list[tuple[int, int | None, int]]] = field(default_factory=dict)
    billed_since: dict[int, int] = field(default_factory=dict)
    replenished_to: dict[tuple[int, int], int] = field(default_factory=dict)
    gone: dict[Any, Any] = field(default_factory=dict)
    read_code: Callable[[str], object] = keypad_code.read_code
    before_sweep: Callable[[World], None] | None = None
    carries: dict[type, Callable[[EdgeNode, Any], None]] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    twins: list[tuple[Any, Any]] = field(default_factory=list)
    shows: list[tuple[int, int]] = field(default_factory=list)
    fresh_shows: list[p.ShowOnMeter] = field(default_factory=list)
    money_faults: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(f"world:{self.plan.seed}")
        self._chance = Random(f"chance:{self.plan.seed}")
        self._hash = hashlib.sha256()
        self._queue: list[tuple[int, int, str, Callable[[], None]]] = []
        self._births = 0
        self._pump_at: int | None = None
        self._beat_at: int | None = None
        self._tick_at = 0
        self._patience_ms, self._answered = FIRST_PATIENCE_MS, (0, 0)
        self.now_ms = self.plan.start_ms
        self.homes = {h.account_no: h for h in self.plan.homes}
        self.tariffs = tariffs.read(self.plan.tariffs)
        self.meters = {h.meter_no: _meter(h, self.plan.start_ms) for h in self.plan.homes}
        self.behind = {h.account_no: [self.meters[h.meter_no]] for h in self.plan.homes}
        lost, doubled, spoilt, most_ms = self.plan.network
        chance = Random(f"link:{self.plan.seed}")
        self.link = Link(chance, self.after, self._to_cloud, self._to_edge, lost, doubled, spoilt, most_ms=most_ms)
        self.link.now_ms = lambda: self.now_ms
        self.bank = replenishing.Bank(self, GATEWAY)
        self.cloud = CloudNode(self, self.folder, self.plan.homes, (DCU,))
        self.edge = EdgeNode(self, self.folder, DCU, {SIGNER.key_id: SIGNER.public}, {"signer": JOURNAL_SIGNER})
        self.edge_watch, self.cloud_watch, self.oracle = EdgeWatch(), CloudWatch(), Oracle(self)
        self.from_cloud = FromCloud(self)

    # ---- the queue --------------------------------------------------------------------------------------------

    def after(self, delay_ms: int, label: str, act: Callable[[], None]) -> None:
        self.at(self.now_ms + delay_ms, label, act)

    def at(self, at_ms: int, label: str, act: Callable[[], None]) -> None:
        self._births += 1
        heapq.heappush(self._queue, (max(at_ms, self.now_ms), self._births, label, act))

    def run(self) -> World:
        """From the first configuration to the healed end. Findings are in `findings`."""
        with seeded_system(str(self.plan.seed)), contextlib.suppress(Stopped):
            self._begin()
            self._until(self.plan.end_ms)
            self.note("all is healed")
            steps.heal(self)
            self.check()
            self._until(self.plan.end_ms + HEALED_MS)
            self._drain()
            self._finish()
        return self

    def _begin(self) -> None:
        self.guarded(self.edge.boot)
        self.link.rise()
        self.guarded(self.edge.connected)
        self.say_time()
        self.cloud.beat()
        replenishing.begin(self)
        self.at(self.plan.start_ms + 5_000, "time service", self._time_service)
        self.at(self.plan.start_ms + 60_000, "sweep", self._sweep)
        self._tick_later(60_000)
        for step in self.plan.steps:
            self.at(step.at_ms, f"{step.kind} {step.numbers}", lambda s=step: steps.STEPS[s.kind](self, *s.numbers))

    def _until(self, end_ms: int) -> None:
        while self._queue and self._queue[0][0] <= end_ms:
            at_ms, _, label, act = heapq.heappop(self._queue)
            self.now_ms = at_ms
            self.event_no += 1
            self.note(label)
            self.guarded(act)
            if self.sabotage is not None:
                self.sabotage(self)
            self.check()
        self.now_ms = end_ms

    def guarded(self, act: Callable[[], None]) -> None:
        """Run what may end in a power cut."""
        try:
            act()
        except PowerCut:
            steps.power_fails(self, self._chance.randint(1, 20) * MINUTE_MS)

    def check(self) -> None:
        """Look at both stores; if anything changed, every invariant."""
        changed = self.edge.alive and self.edge_watch.look(self.edge.db, self.event_no)
        for _, line in self.edge_watch.fresh:
            self._hash.update(line.hash)
        fresh = self.edge_watch.fresh or self.oracle.fresh or self.fresh_shows or self.codes or self.twins
        changed = self.cloud_watch.look(self.cloud.eye, self.cloud.changed) or changed or bool(fresh)
        changed = self.from_cloud.look() or changed
        for _, line in self.from_cloud.fresh:
            self._hash.update(line.hash)
        visits.taken(self)
        visits.healed(self)
        if self.rolled_back and journal_checks.is_healed(self):
            self.rolled_back = self.edge_watch.may_change = False
            self.note("the old disk is healed")
        self._all_found(list(invariants.broken(self)) if changed else [])
        self.edge_watch.fresh, self.oracle.fresh, self.fresh_shows, self.codes, self.twins = [], [], [], [], []
        self.from_cloud.journals.fresh = []

    def _drain(self) -> None:
        """The sweeps are over; what is still to be said is said."""
        for _ in range(3 * DRAIN_MINUTES):  # a supply with a limit is read every minute, and writes on
            self.pump_soon(0)
            self._until(self.now_ms + MINUTE_MS // 3)
            self.from_cloud.soon()
            if not self.edge.uplink.depth():
                return

    def _finish(self) -> None:
        self.counts.events = self.event_no
        self.counts.meter_ms = len(self.homes) * (self.now_ms - self.plan.start_ms)
        self.counts.cuts = sum(not j.close for j in self.oracle.judged)
        self.counts.closes = sum(j.close for j in self.oracle.judged)
        self.counts.judged_wrong = sum(bool(j.wrong) for j in self.oracle.judged)
        self._all_found(list(invariants.broken_at_the_end(self)))

    def _all_found(self, breaches: list[tuple[str, str]]) -> None:
        """Note everything that broke at this step, then stop."""
        for breach in breaches[:-1]:
            self.note_finding(*breach)
        for breach in breaches[-1:]:
            self.found(*breach)

    def found(self, invariant: str, what: str) -> None:
        self.note_finding(invariant, what)
        if self.stop_at_finding:
            raise Stopped

    def note_finding(self, invariant: str, what: str) -> None:
        self.findings.append(Finding(invariant, what, self.now_ms, self.event_no))
        self.note(f"FINDING {invariant}: {what}")

    # ---- trace ------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        line = f"{self.event_no:6d} {_span(self.now_ms - self.plan.start_ms)} {text}"
        self.trace.append(line)
        self._hash.update(line.encode())

    @property
    def trace_hash(self) -> str:
        """The whole run in one number: every event, order and journal entry."""
        return self._hash.hexdigest()

    # ---- meters, line, time -----------------------------------------------------------------------------------

    def meter_of(self, meter_no: int) -> SimMeter:
        """The one that answers at the address of this number; the one of that number itself where nothing does."""
        meter = self.meters[meter_no]
        while meter.successor is not None:
            meter = meter.successor
        return meter

    def fitted(self, account_no: int) -> SimMeter:
        """The meter on the wall."""
        return self.behind[account_no][-1]

    def used_wh(self, account_no: int) -> int:
        """What a home really used, behind all meters it had."""
        for meter in self.behind[account_no]:
            meter.advance(self.now_ms)
        return sum(meter.used_wh for meter in self.behind[account_no])

    def beyond_wh(self, account_no: int, book: Book) -> int:
        """What was used behind all meters of a home beyond the register up to which its journal charges."""
        chain = self.behind[account_no]
        for meter in chain:
            meter.advance(self.now_ms)
        bound = next((n for n, meter in enumerate(chain) if meter.meter_no == book.meter_no), 0)
        ahead_wh, modulus_wh = chain[bound].start_wh + chain[bound].used_wh - (book.register_wh or 0), chain[bound].modulus_wh
        if modulus_wh:  # a journal that begins behind a rollover does not know of it
            ahead_wh = (ahead_wh + modulus_wh // 2) % modulus_wh - modulus_wh // 2
        return ahead_wh + sum(meter.used_wh for meter in chain[bound + 1 :])

    def home_of(self, account_no: int) -> Home:
        return self.homes[account_no]

    def account_of(self, meter_no: int) -> AccountConfig | None:
        config = self.edge.config
        return next((a for a in config.accounts if a.meter_no == meter_no), None) if config else None

    def is_healed(self, account: AccountConfig) -> bool:
        """Whether this account's journal is what the mirror says, after an old disk."""
        key = (account.account_no, account.account_epoch)
        return not self.edge_watch.cached[key].fault and next(journal_checks.behind_mirror(self, key), None) is None

    def bound_serial(self, meter_no: int) -> str:
        config = self.edge.config
        return next((x.serial for x in config.meters if x.meter_no == meter_no), "") if config else ""

    def judge(self, meter: SimMeter, close: bool, order: p.RunSwitch) -> Callable[[], None]:
        meter.advance(self.now_ms)
        self.edge_watch.look(self.edge.db, self.event_no)
        return self.oracle.judge(meter, close, order)

    def in_doubt_nano(self, account: AccountConfig) -> int:
        """What days may have cost between a decision to restore and the contactor."""
        return int(max(v.per_day * (1 + v.tax) for v in self.tariffs[account.tariff_id].versions)) * 4

    def offline_for_ms(self) -> int:
        return 0 if self.cut_off_ms is None else self.now_ms - self.cut_off_ms

    def converse(self, edge: EdgeNode, talk: Generator[Any, Any, Any], done: Callable[[Any], None], most_wait_ms: int) -> None:
        """A conversation with a meter, once its line is free, an exchange at a time; it dies with the box."""
        boot = edge.boots

        def go_on() -> None:
            if edge.boots != boot or not edge.alive:
                return
            try:
                next(talk)
            except StopIteration as stop:
                done(stop.value)
                self.pump_soon()
                return
            self.after(self._chance.randint(50, 1_500), "line", go_on)

        wait_ms = self._chance.randint(0, most_wait_ms) if most_wait_ms else 0
        self.after(wait_ms + self._chance.randint(50, 3_000), "line", go_on)

    def edge_job(self, edge: EdgeNode, label: str, act: Callable[[], None]) -> None:
        boot = edge.boots
        self.after(self._chance.randint(200, 5_000), label, lambda: act() if edge.alive and edge.boots == boot else None)

    def _sweep(self) -> None:
        at_ms = (self.now_ms // self.plan.interval_ms + 1) * self.plan.interval_ms
        self.at(at_ms + self._chance.randint(500, 20_000), "sweep", self._sweep)
        if not self.edge.alive:
            return
        if self.before_sweep is not None:
            self.before_sweep(self)
        self.edge.swept(self.edge.reads(), self.edge.asked())
        self.pump_soon(self._chance.choice(MANAGED_LAZINESS_MS if self.plan.managed else LAZINESS_MS))
        self._tick_later(30_000)

    def _time_service(self) -> None:
        self.after(3 * HOUR_MS + self._chance.randint(0, HOUR_MS), "time service", self._time_service)
        self.say_time()

    def say_time(self) -> None:
        if self.ntp_ok and self.link.up and self.edge.alive:
            self.edge.feed(p.ClockObserved(p.ClockSource.NTP, self.now_ms, self.edge.now_ms()))

    def busy(self) -> None:
        """Something is going on: the minute's tick comes every minute for a while."""
        self.busy_until_ms = self.now_ms + BUSY_MS
        self._tick_later(60_000)

    def wake(self, delay_ms: int) -> None:
        """The core asked for a tick at a moment of its own."""
        self._tick_later(max(1, delay_ms))

    def _tick_later(self, delay_ms: int) -> None:
        at_ms = self.now_ms + delay_ms
        if self._tick_at <= self.now_ms or at_ms < self._tick_at:
            self._tick_at = at_ms
            self.at(at_ms, "tick", lambda: self._tick(at_ms))

    def _tick(self, at_ms: int) -> None:
        if at_ms != self._tick_at:
            return
        self._tick_at = 0
        if self.edge.alive:
            self.edge.feed(p.Tick())
            if any(c.fault for c in self.edge_watch.cached.values()):
                self.edge.pump()  # what is asked again while a journal is being healed leaves at once
        self._tick_later(60_000 if self.now_ms < self.busy_until_ms or supply_checks.waits_for_supply(self) else 20 * 60_000)

    # ---- network ----------------------------------------------------------------------------------------------

    def _to_cloud(self, topic: str, payload: bytes) -> None:
        self.cloud.arrived(topic, payload)

    def _to_edge(self, topic: str, payload: bytes) -> None:
        if not topic.endswith("/receipt"):
            self.busy()
        steps.arrives(self, topic, payload)

    def pump_soon(self, delay_ms: int = 500) -> None:
        at_ms = self.now_ms + delay_ms
        if self._pump_at is None or at_ms < self._pump_at or self._pump_at < self.now_ms:
            self._pump_at = at_ms
            self.at(at_ms, "uplink", lambda: self._pump(at_ms))

    def pump_later(self, edge: EdgeNode) -> None:
        """Come back when an answer is overdue; later each time while none comes."""
        answered = (edge.boots, edge.answers)
        self._patience_ms = FIRST_PATIENCE_MS if answered != self._answered else min(2 * self._patience_ms, 125_000)
        self._answered = answered
        self.pump_soon(self._patience_ms if edge.uplink.state is State.OPEN else GREETING_MS)

    def _pump(self, at_ms: int) -> None:
        if self._pump_at == at_ms:
            self._pump_at = None
            self.edge.pump()

    def beat_later(self, due_ms: int | None) -> None:
        if due_ms is None:
            return
        at_ms = max(due_ms, self.now_ms + (1_000 if self.link.up else OUTAGE_BEAT_MS))
        if self._beat_at is None or at_ms < self._beat_at or self._beat_at <= self.now_ms:
            self._beat_at = at_ms
            self.at(at_ms, "cloud's jobs", lambda: self._beat(at_ms))

    def _beat(self, at_ms: int) -> None:
        if self._beat_at == at_ms:
            self._beat_at = None
            self.cloud.beat()


def _meter(home: Home, start_ms: int) -> SimMeter:
    return SimMeter(
        home.meter_no, home.serial, start_ms, home.start_wh, home.hourly_w, home.modulus_wh, home.clock_offset_ms, home.has_switch
    )


def _span(ms: int) -> str:
    days, rest = divmod(ms, 86_400_000)
    return f"{days}d{rest // 3_600_000:02d}:{rest // 60_000 % 60:02d}:{rest // 1000 % 60:02d}.{rest % 1000:03d}"


@contextlib.contextmanager
def world_of(plan: Plan, **more: Any) -> Iterator[World]:
    """A world in a folder of its own, gone afterwards."""
    with scratch() as folder:
        with seeded_system(f"setting up {plan.seed}"):
            world = World(plan, Path(folder), **more)
        try:
            yield world
        finally:
            world.edge.die()
            world.cloud.close()


def run_seed(seed: int, days: int = 7, **more: Any) -> World:
    """Live a seed through; its stores are closed afterwards, its findings and counts stay."""
    with world_of(plan_of(seed, days), **more) as world:
        return world.run()
