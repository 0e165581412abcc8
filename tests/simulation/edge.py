"""The concentrator of a world: the real PrepayCore and Uplink on a real money.db, with the world as its rim.

* Every statement of the store passes a fuse; a world that lets it blow cuts the mains at that statement: before, in or
  after a commit, and always before the effects are carried out.
* What the agent keeps in its other store (the signed configuration) is `config_envelope`.
* `feed` is the only way in: one event, one transaction, then its effects.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridtally_edge.journal.sqlite import migrate, open_store, transaction
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.core import Identity, PrepayCore
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_edge.prepay.switching import switch_conversation
from gridtally_edge.sync import downlink
from gridtally_edge.sync.greetings import Greetings
from gridtally_edge.sync.uplink import State, Uplink
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_LANE, BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.errors import ContractError
from simulation import visits
from simulation.meter import SimPort
from simulation.readings import Readings
from simulation.rim import memory_folder

if TYPE_CHECKING:
    from simulation.world import World

WILL_MS = 30_000
CLOCK_OFF_MS = 10_000
STEPPED_AT_MOST_MS = 600_000
STEPPED_FROM_MS = 10_000
FRESH_MS = 5_000


class PowerCut(BaseException):
    """The mains went, in the middle of whatever was going on."""


class Fused:
    """The store's connection behind a fuse that blows after `left` statements."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.left: int | None = None

    def execute(self, *args: Any) -> Any:
        if self.left is not None:
            self._burn()
        return self._db.execute(*args)

    def executemany(self, *args: Any) -> Any:
        self._burn()
        return self._db.executemany(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def _burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise PowerCut


@cache
def _empty_store() -> bytes:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        path = Path(folder) / "money.db"
        migrate(path, MONEY_STORE)
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        return path.read_bytes()


@dataclass(slots=True)
class Disk:
    """An image of the box: the money store, the configuration, and its readings."""

    store: bytes
    config_envelope: bytes | None
    at_ms: int
    words: list[visits.Word]
    readings: bytes = b""


@dataclass
class EdgeNode:
    world: World
    folder: Path
    dcu: str
    keys: dict[bytes, bytes]
    extra_identity: dict[str, Any] = field(default_factory=dict)
    config_envelope: bytes | None = None
    alive: bool = False
    boots: int = 0
    offset_ms: int = 0
    right_since_ms: int = 0
    config: m.DcuConfig | None = None
    said: str = ""
    delivered: dict[tuple[int, int, int], int] = field(default_factory=dict)
    announced: list[tuple[int, int, str]] = field(default_factory=list)
    unknown_effects: set[str] = field(default_factory=set)
    refused: int = 0
    answers: int = 0
    greetings: Greetings = field(default_factory=Greetings)
    heard_ms: int = 0
    named_version: int = 0
    online_since_ms: int | None = None

    def __post_init__(self) -> None:
        self.path = self.folder / f"{self.dcu}.db"
        self.path.write_bytes(_empty_store())
        with sqlite3.connect(self.path, isolation_level=None) as db:
            db.execute("UPDATE outbox_stream SET stream_id = ?", (self.world.random.randbytes(16),))
        db.close()
        self.readings = Readings(self, self.folder / f"{self.dcu}-readings.db") if self.world.plan.managed else None

    def successor(self, dcu: str) -> EdgeNode:
        """Another box in this one's place; what the people here were told they know."""
        return EdgeNode(self.world, self.folder, dcu, self.keys, self.extra_identity, announced=list(self.announced))

    # ---- life -------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        self.boots += 1
        self.db = open_store(self.path, MONEY_STORE)
        self.fuse = Fused(self.db)
        boot_id = self.world.random.randbytes(16)
        self.core = PrepayCore(self.fuse, Identity(self.dcu, self.keys, boot_id, **self.extra_identity))  # type: ignore[arg-type]
        self.identity = downlink.Identity(self.dcu, boot_id, self.keys)
        if self.readings is not None:
            self.readings.open()
        outboxes = (self.core.outbox, *([self.readings.outbox] if self.readings is not None else ()))
        self.uplink, self.greetings = Uplink(outboxes), Greetings()
        self.booted_ms, self.config_version, self.alive = self.world.now_ms, 0, True
        self.online_since_ms = None
        self._carry(self.core.start(self.now_ms()))
        if self.config_envelope is not None:
            self._accept(downlink.open_config(self.identity, self.config_envelope))
        if self.world.link.up:
            self.connected()

    def die(self) -> None:
        """Everything in memory is gone; the disk has what was committed, which is looked at."""
        if self.alive:
            self.alive = False
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            self.world.edge_watch.look(self.db, self.world.event_no)
            self.db.close()
            if self.readings is not None:
                self.readings.close()
            self.vanishes()

    def vanishes(self) -> None:
        """The broker tells the will of who is not there any more, unless he is back by then."""
        if self.readings is None or not self.boots:
            return
        boot_id, boot = self.identity.boot_id, self.boots

        def told() -> None:
            if not self.world.link.up or not self.alive or self.boots != boot:
                self.world.cloud.arrived(BY_NAME["gone"].topic(self.dcu), encode(m.Gone(boot_id)))

        self.world.after(WILL_MS, "the broker tells the will", told)

    def image(self) -> Disk:
        readings = self.readings.image() if self.readings is not None else b""
        return Disk(self.db.serialize(), self.config_envelope, self.world.now_ms, self.world.words.copy(), readings)

    def restore(self, disk: Disk) -> None:
        """The disk is replaced by an image of earlier; the box must be dead."""
        for tail in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + tail).unlink(missing_ok=True)
        self.path.write_bytes(disk.store)
        if self.readings is not None:
            self.readings.restore(disk.readings)
        self.config_envelope, self.named_version = disk.config_envelope, 0

    def retold(self, event: p.PrepayEvent, statements: int | None) -> tuple[Any, ...]:
        """What a copy of the store comes to when it is told an event; with `statements`, the mains fail after so many and it is told
        again after a restart."""
        path = self.folder / "copy.db"
        for tail in ("", "-wal", "-shm"):
            path.with_name(path.name + tail).unlink(missing_ok=True)
        path.write_bytes(self.db.serialize())
        for left in (statements, None) if statements is not None else (None,):
            db = open_store(path, MONEY_STORE)
            fuse = Fused(db)
            core = PrepayCore(fuse, Identity(self.dcu, self.keys, bytes(16), **self.extra_identity))  # type: ignore[arg-type]
            core.start(self.now_ms())
            fuse.left = left
            with contextlib.suppress(PowerCut):
                core.handle(event, self.now_ms(), self.mono_ms())
            db.close()
        db = open_store(path, MONEY_STORE)
        rows = db.execute("SELECT account_no, epoch, balance_nano, state FROM account ORDER BY account_no, epoch").fetchall()
        db.close()
        return tuple((n, e, balance, _essence(state)) for n, e, balance, state in rows)

    # ---- time -------------------------------------------------------------------------------------------------

    def shift(self, by_ms: int) -> None:
        """The clock jumps."""
        self.offset_ms += by_ms
        if abs(self.offset_ms) <= CLOCK_OFF_MS:
            self.right_since_ms = self.world.now_ms

    def now_ms(self) -> int:
        return self.world.now_ms + self.offset_ms

    def mono_ms(self) -> int:
        return self.world.now_ms - self.booted_ms + 1_000

    # ---- events in, effects out -------------------------------------------------------------------------------

    def feed(self, event: p.PrepayEvent) -> None:
        if not self.alive:
            return
        effects = self.core.handle(event, self.now_ms(), self.mono_ms())
        self._carry(effects)
        if self.core.wake_ms is not None:
            self.world.wake(self.core.wake_ms - self.now_ms())

    def _carry(self, effects: tuple[p.PrepayEffect, ...]) -> None:
        if self.fuse.left is not None:
            self.fuse._burn()  # the mains may also go between the commit and the first effect
        for effect in effects:
            self.world.note(f"edge orders {type(effect).__name__} {_brief(effect)}")
            carry = self.world.carries.get(type(effect)) or CARRY.get(type(effect))
            if carry is None:
                self.unknown_effects.add(type(effect).__name__)
            else:
                carry(self, effect)

    def _run_switch(self, order: p.RunSwitch) -> None:
        meter = self.world.meter_of(order.meter_no)
        port = SimPort(meter, self.now_ms, lambda: self.world.now_ms, lambda x, close: self.world.judge(x, close, order))
        self.world.busy()
        talk = switch_conversation(port, self.now_ms, order)  # type: ignore[arg-type]

        def finished(outcome: p.SwitchOutcome) -> None:
            self.feed(p.SwitchFinished(order.action_id, outcome))
            if self.readings is not None and self.alive:
                self.readings.switched(order.meter_no, outcome, self.lane())

        self.world.converse(self, talk, finished, meter.wait_ms)

    def _run_read(self, order: p.RunRead) -> None:
        def finish() -> None:
            meter = self.world.meter_of(order.meter_no)
            meter.advance(self.world.now_ms)
            if meter.answers:
                if order.type is m.CommandType.READ_INSTANT:
                    self.swept((self.read_of(order.meter_no),), (order.meter_no,))
                self.feed(p.ReadFinished(order.cmd_id, True, self.now_ms(), b"\xa0", "", meter.serial, meter.told))
            else:
                self.feed(p.ReadFinished(order.cmd_id, False, self.now_ms(), reason="no_answer"))

        self.world.edge_job(self, "read", finish)

    def _run_task(self, order: p.RunTask) -> None:
        done = p.ReadFinished(order.cmd_id, False, self.now_ms(), reason="unsupported")
        self.world.edge_job(self, "task", lambda: self.feed(done))

    def _show(self, order: p.ShowOnMeter) -> None:
        meter = self.world.meter_of(order.meter_no)
        if meter.answers:
            meter.shown = (order.amount_nano, self.world.now_ms)
            self.world.fresh_shows.append(order)
            self.world.shows.append((self.world.now_ms, order.meter_no))

    def _announce(self, order: p.Announce) -> None:
        self.announced.append((self.world.now_ms, order.account_no, order.code))

    def _answered(self, answer: p.CodeAnswered) -> None:
        self.world.note(f"keypad says {answer.result} at account {answer.account_no}")

    def _site(self, answer: p.SiteAnswered) -> None:
        self.said = answer.result

    # ---- link -------------------------------------------------------------------------------------------------

    def connected(self) -> None:
        if self.alive:
            self.world.words.linked()
            self.uplink.connected()
            self.feed(p.LinkChanged(True))
            self.pump()

    def disconnected(self) -> None:
        if self.alive:
            self.online_since_ms = None
            self.uplink.disconnected()
            self.feed(p.LinkChanged(False))

    def arrived(self, topic: str, payload: bytes) -> None:
        """What comes down, as the agent's core takes it."""
        if not self.alive or f"/{self.dcu}/" not in topic:
            return
        try:
            down = downlink.open_message(self.identity, topic, payload)
            DOWN[type(down)](self, down)
        except ContractError as error:
            self.refused += 1
            self.world.note(f"edge drops a message: {error}")
        self.pump()

    def _welcomed(self, welcome: m.Welcome) -> None:
        self.answers += 1
        older = self.uplink.to_renew(welcome)
        for outbox in older:
            with transaction(outbox.connection):
                outbox.renew_stream()
        if older:
            self.uplink.renewed()
        else:
            self.uplink.welcomed(welcome)
        self.heard_ms = self.world.now_ms
        self.online_since_ms = self.online_since_ms or self.world.now_ms
        round_trip_s = self.greetings.round_trip_s(welcome.hello_at_ms, self.mono_ms() / 1000)
        age_ms = None if round_trip_s is None else int(1_000 * round_trip_s)
        self.named_version = welcome.config_version
        self.feed(p.WelcomeSeen(welcome.at_ms, welcome.accounts, age_ms, welcome.config_version))
        off_ms = welcome.at_ms + (age_ms or 0) // 2 - self.now_ms()
        if age_ms is not None and age_ms <= FRESH_MS and STEPPED_FROM_MS < abs(off_ms) <= STEPPED_AT_MOST_MS:
            self.shift(off_ms)
            self.feed(p.WelcomeSeen(self.now_ms()))

    def _receipted(self, receipt: m.Receipt) -> None:
        self.answers += 1
        self.uplink.receipt(receipt, self.mono_ms() / 1000)

    def _config(self, signed: downlink.SignedConfig) -> None:
        if signed.config.version > self.config_version:
            before, self.config_envelope = self.config, signed.envelope
            self._accept(signed)
            visits.configured(self.world, before, signed.config)
            if self.uplink.state is State.OPEN:
                self.greet()

    def _accept(self, signed: downlink.SignedConfig) -> None:
        self.config, self.config_version = signed.config, signed.config.version
        self.world.note(f"edge holds configuration {signed.config.version}")
        self.feed(p.ConfigAccepted(signed.config))

    def known_holds(self, account_no: int) -> frozenset[str]:
        """What the box itself takes for holding."""
        return frozenset(self.core._plan.accounts[account_no].holds)

    def pump(self) -> None:
        """Send what may leave now, and come back when an answer is overdue."""
        if not self.alive or self.uplink.state is State.OFFLINE:
            return
        mono_s = self.mono_ms() / 1000
        for outbox, lane, upto in self.uplink.unstored_receipts():
            with transaction(outbox.connection):
                outbox.receipt(outbox.stream_id, lane, upto, self.now_ms())
        if self.uplink.hello_is_due(mono_s):
            self.greet()
        else:
            for batch in self.uplink.next_batches(mono_s, self.now_ms()):
                self.world.link.send_up(BY_LANE[m.Lane(batch.lane)].topic(self.dcu), encode(batch))
        if self.uplink.state is State.GREETING or self.uplink.in_flight():
            self.world.pump_later(self)

    def greet(self) -> None:
        self.greetings.sent(self.now_ms(), self.mono_ms() / 1000)
        hello = m.Hello(
            m.CONTRACT_VERSION, self.dcu, self.identity.boot_id, "sim", self.now_ms(), int(self.core.clock(self.now_ms()).state),
            self.config_version, self.uplink.heads(), self.core.heads(),
        )  # fmt: skip
        self.world.link.send_up(BY_NAME["hello"].topic(self.dcu), encode(hello))

    # ---- sweeps -----------------------------------------------------------------------------------------------

    def swept(self, reads: tuple[p.MeterRead, ...], asked: tuple[int, ...]) -> None:
        """First what the meters said is stored, then the money hears of it."""
        if self.readings is not None and self.config is not None:
            self.readings.sweep(asked, reads, self.lane())
        if reads:
            self.feed(p.SweepRead(reads))

    def lane(self) -> m.Lane:
        """What is made while the uplink is away is backlog."""
        return m.Lane.LIVE if self.uplink.state is State.OPEN else m.Lane.BACKLOG

    def asked(self) -> tuple[int, ...]:
        return tuple(x.meter_no for x in self.config.meters) if self.config else ()

    def reads(self) -> tuple[p.MeterRead, ...]:
        """What a sweep over the configured meters brings; before there is a configuration, over those on the walls."""
        asked = [x.meter_no for x in self.config.meters] if self.config else [chain[-1].meter_no for chain in self.world.behind.values()]
        return tuple(self.read_of(no) for no in asked if self.world.meter_of(no).answers)

    def read_of(self, meter_no: int) -> p.MeterRead:
        """What the meter at this number's address says."""
        meter = self.world.meter_of(meter_no)
        meter.advance(self.world.now_ms)
        return p.MeterRead(
            meter_no, meter.serial, self.now_ms(), meter.register_wh, switch=meter.told,
            power_w=meter.power_w(self.world.now_ms), register_modulus_wh=meter.modulus_wh,
            clock_offset_ms=meter.clock_offset_ms - self.offset_ms,
        )  # fmt: skip


def _essence(state: str) -> tuple[Any, ...]:
    """What of a cached state does not depend on when the box was started."""
    raw = json.loads(state) if state else {}
    return tuple(json.dumps(raw.get(name)) for name in ("pools", "prefix", "bitmap", "register_wh", "opened_wh", "charged_day"))


def _brief(effect: Any) -> str:
    keys = ("meter_no", "close", "code", "amount_nano")
    return " ".join(f"{k}={getattr(effect, k)}" for k in keys if hasattr(effect, k))


CARRY: dict[type, Callable[[EdgeNode, Any], None]] = {
    p.RunSwitch: EdgeNode._run_switch,
    p.RunRead: EdgeNode._run_read,
    p.RunTask: EdgeNode._run_task,
    p.ShowOnMeter: EdgeNode._show,
    p.Announce: EdgeNode._announce,
    p.CodeAnswered: EdgeNode._answered,
    p.SiteAnswered: EdgeNode._site,
}

DOWN: dict[type, Callable[[EdgeNode, Any], None]] = {
    m.Welcome: EdgeNode._welcomed,
    m.Receipt: EdgeNode._receipted,
    downlink.SignedConfig: EdgeNode._config,
    p.InstrumentArrived: EdgeNode.feed,
    p.CommandArrived: EdgeNode.feed,
    p.CheckpointSigned: EdgeNode.feed,
    p.MirrorArrived: EdgeNode.feed,
}
