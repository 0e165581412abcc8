"""A concentrator without ports: the real core, stores, drivers and simulated meters, in one thread, by a clock wound by
hand. What the agent does with threads, lines and sockets is done here step by step, so that a test decides every moment.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gridtally_edge.core import EdgeCore
from gridtally_edge.core_clock import SteppedClock
from gridtally_edge.core_events import (
    Beat,
    CoreEvent,
    Effect,
    Moment,
    PollDone,
    Publish,
    ReadDone,
    RenewPort,
    StartPoll,
    StartRead,
    StartShow,
    StartSwitch,
    StartTask,
    StepClock,
    SwitchDone,
    TaskDone,
)
from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.model import Capability, MeterPort, Pushed
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.fitting import takes_pushes
from gridtally_edge.journal.readings import ReadingsJournal
from gridtally_edge.journal.schema import READINGS
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_edge.polling.forming import NO_LIMITS, RegisterLimits
from gridtally_edge.polling.plans import DEFAULT_PLAN, PollPlan
from gridtally_edge.polling.poll import PollRequest, poll
from gridtally_edge.polling.showing import show_conversation
from gridtally_edge.polling.street import MeterOnLine
from gridtally_edge.polling.tasks import TaskOutcome, task_conversation
from gridtally_edge.prepay.core import Identity as PrepayIdentity
from gridtally_edge.prepay.core import PrepayCore
from gridtally_edge.prepay.events import ClockObserved, ClockSource
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_edge.prepay.switching import switch_conversation
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.simulators.bus import Slave
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.modbus_slave import ModbusSlave
from gridtally_edge.sync.downlink import Identity
from gridtally_edge.sync.mqtt import Arrived, LinkLost, LinkUp
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_NAME, parse_topic
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.signing import KeySigner, sign1

DCU = "dcu-1"
MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
START_MS = 1_790_000_100_000 // QUARTER_MS * QUARTER_MS


def converse(conversation: Conversation[Any], slave: Slave, spoil: Callable[[bytes], bytes | None] = lambda data: data) -> Any:
    """Carry a conversation out against a slave in memory. `spoil` changes an answer, or swallows it with None."""
    try:
        exchange = next(conversation)
        while True:
            answer = spoil(slave.receive(exchange.request))
            found = exchange.find_answer(answer) if answer else None
            if answer is None or found is None:
                exchange = conversation.throw(LinkDown("no answer"))
            else:
                exchange = conversation.send(answer[found.start : found.end])
    except StopIteration as stop:
        return stop.value


@dataclass
class LittleStreet:
    """`asked` collects every poll, `planned` those of the poll plan; `mute` holds keys whose next polls stay without answer,
    `deaf_after` after how many answers the next task gets none; `spoil` changes the answers to its polls, `in_switching`
    those to orders of switches, and may do something between them; `drop_effects` is a concentrator that dies before it acts;
    `published` what went up."""

    folder: Path
    clock: SteppedClock
    true_clock: ManualClock
    signer: KeySigner
    core: EdgeCore
    ports: dict[str, MeterPort]
    slaves: dict[str, Slave]
    houses: dict[str, HouseMeter]
    boot_id: bytes
    make_port: dict[str, Callable[[], MeterPort]] = field(default_factory=dict)
    asked: list[tuple[str, PollRequest]] = field(default_factory=list)
    planned: list[StartPoll] = field(default_factory=list)
    mute: set[str] = field(default_factory=set)
    deaf_after: dict[str, int] = field(default_factory=dict)
    spoil: dict[str, Callable[[bytes], bytes | None]] = field(default_factory=dict)
    in_switching: Callable[[bytes], bytes | None] = lambda data: data
    _behind: tuple[Effect, ...] | None = None
    drop_effects: bool = False
    welcome: Callable[[], m.Welcome] | None = None
    published: list[tuple[str, Any]] = field(default_factory=list)
    hello_at_ms: int = 0
    mono_s: float = 1_000.0
    dcu: str = DCU

    def moment(self) -> Moment:
        return Moment(self.clock.now_ms(), self.mono_s)

    def wind(self, delta_ms: int) -> None:
        self.true_clock.advance(delta_ms)
        self.mono_s += delta_ms / 1000

    def handle(self, event: CoreEvent) -> None:
        self.carry_out(self.core.handle(event, self.moment()))

    def beat(self) -> None:
        self.handle(Beat())

    def say_time(self) -> None:
        """A source of true time confirms the concentrator's clock."""
        now_ms = self.clock.now_ms()
        self.handle(ClockObserved(ClockSource.VIRTUAL, now_ms, now_ms))

    def next_quarter(self, times: int = 1) -> None:
        """To a little after the next interval's end, beating until nothing more is due."""
        for _ in range(times):
            now_ms = self.clock.now_ms()
            self.wind(QUARTER_MS - now_ms % QUARTER_MS + 6 * MINUTE_MS)
            self.beat()

    def carry_out(self, effects: tuple[Effect, ...]) -> None:
        if self._behind is not None:
            self._behind += effects
            return
        for effect in () if self.drop_effects else effects:
            if isinstance(effect, Publish):
                channel, _ = parse_topic(effect.topic)
                self.published.append((channel.name, decode(channel.message, effect.payload)))
                if channel.name == "hello":
                    self.hello_at_ms = self.published[-1][1].at_ms
                    if self.welcome is not None:
                        self.down("welcome", self.welcome())
            elif isinstance(effect, StartPoll):
                self.planned.append(effect)
                self.handle(PollDone(effect.key, effect.request, self._poll(effect.key, effect.request)))
            elif isinstance(effect, StartRead):
                self.handle(ReadDone(effect.run, effect.key, effect.request, self._poll(effect.key, effect.request)))
            elif isinstance(effect, StartSwitch):
                self._switch(effect)
            elif isinstance(effect, StartTask):
                self.handle(TaskDone(effect.key, effect.task, self._do(effect)))
            elif isinstance(effect, StepClock):
                self.handle(self.clock.step(effect.by_ms))
            elif isinstance(effect, RenewPort):
                self.ports[effect.key] = self.make_port[effect.key]()
            elif isinstance(effect, StartShow):
                self._show(effect)

    def connect(
        self, *, receipts: dict[tuple[bytes, int], int] | None = None, store_id: bytes = b"s" * 16, cloud_ms: int | None = None
    ) -> None:
        """A session with a cloud that has received what `receipts` says. Its time is ours, or `cloud_ms`."""
        self.welcome = None
        self.handle(LinkUp())
        heads = tuple(m.StreamHead(s, lane, upto + 1, upto) for (s, lane), upto in (receipts or {}).items())
        ahead_ms = None if cloud_ms is None else cloud_ms - self.true_clock.now_ms()
        time_ms = self.clock.now_ms if ahead_ms is None else lambda: self.true_clock.now_ms() + ahead_ms
        self.welcome = lambda: m.Welcome(store_id, self.dcu, self.boot_id, time_ms(), heads, hello_at_ms=self.hello_at_ms)
        self.down("welcome", self.welcome())

    def connect_untrusted(self) -> None:
        """A session whose signed time is an hour from ours: the concentrator's clock is not believed, its meters are read."""
        self.handle(LinkUp())
        cloud_ms = self.clock.now_ms() + 3_600_000
        self.down("welcome", m.Welcome(b"s" * 16, self.dcu, self.boot_id, cloud_ms, hello_at_ms=self.hello_at_ms))
        self.configure()

    def drop(self) -> None:
        """The link goes away."""
        self.welcome = None
        self.handle(LinkLost("the cable is out"))

    @property
    def receipted(self) -> dict[tuple[bytes, int], int]:
        """All that was sent so far, as a cloud that has committed it would say."""
        return {(b.stream_id, b.lane): max(e.seq for e in b.entries) for b in self.batches()}

    def down(self, name: str, message: Any) -> None:
        channel = BY_NAME[name]
        payload = encode(message)
        envelope = sign1(self.signer, name, payload) if channel.signed else payload
        self.handle(Arrived(channel.topic(self.dcu), envelope))

    def configure(self, version: int = 1) -> None:
        meters = tuple(m.MeterConfig(no, house.serial) for no, house in enumerate(self.houses.values(), start=1))
        self.down("config", m.DcuConfig(version, self.dcu, self.clock.now_ms(), meters))

    def meters_bound(self) -> set[str]:
        """Serials that the configuration in force names."""
        return {meter.binding.serial for meter in self.core.street.meters.values() if meter.binding is not None}

    def entries(self, kind: m.EntryKind, message: type[Any]) -> list[Any]:
        """What went up of one kind, each once, in the order of the streams."""
        found = {(b.stream_id, b.lane, e.seq): e for b in self.batches() for e in b.entries if e.kind == kind}
        return [decode(message, entry.body) for _, entry in sorted(found.items())]

    def events(self, name: str) -> list[m.Event]:
        """The events of this name that went up."""
        code = EVENTS[name].code
        return [event for event in self.entries(m.EntryKind.EVENT, m.Event) if event.code == code]

    def batches(self) -> list[m.Batch]:
        return [message for name, message in self.published if isinstance(message, m.Batch)]

    def _switch(self, effect: StartSwitch) -> None:
        """What follows from what happens meanwhile waits for the end of it, as on any line."""
        self._behind = ()
        outcome = converse(switch_conversation(self.ports[effect.key], self.clock.now_ms, effect.order), self.slaves[effect.key],
                           self.in_switching)  # fmt: skip
        behind, self._behind = self._behind, None
        self.handle(SwitchDone(effect.order, outcome))
        self.carry_out(behind)

    def _show(self, effect: StartShow) -> None:
        """A meter that does not take a balance is shown the next one."""
        with contextlib.suppress(LinkDown, MeterFault):
            converse(show_conversation(self.ports[effect.key], effect.face), self.slaves[effect.key])

    def _do(self, effect: StartTask) -> TaskOutcome:
        conversation = task_conversation(
            self.ports[effect.key], self.clock.now_ms, effect.task, effect.interval_ms, effect.policy
        )
        left = -1 if effect.key in self.mute else self.deaf_after.pop(effect.key, 1_000)
        answers = itertools.count()

        def spoil(data: bytes) -> bytes | None:
            return data if next(answers) < left else None

        outcome: TaskOutcome = converse(conversation, self.slaves[effect.key], spoil)
        return outcome

    def _poll(self, key: str, request: PollRequest) -> Any:
        self.asked.append((key, request))
        spoil = (lambda _: None) if key in self.mute else self.spoil.get(key, lambda data: data)
        return converse(poll(self.ports[key], request, self.clock.now_ms), self.slaves[key], spoil)


def _takes(ports: dict[str, MeterPort], key: str, data: bytes, at_ms: int) -> Pushed | None:
    """The port that serves the meter now reads what it sends."""
    port = ports[key]
    return port.hears_push(data, at_ms) if takes_pushes(port) else None


@contextlib.contextmanager
def little_street(
    folder: Path, dlms: int = 1, modbus: int = 0, signer: KeySigner | None = None, pv_w: int = 0, start_ms: int = START_MS,
    skew_ms: int = 0, own_skew_ms: int = 0, phases: int = 1, needs_phases: int = 0, plan: PollPlan = DEFAULT_PLAN,
    limits: RegisterLimits = NO_LIMITS, dcu: str = DCU, forgets: bool = False,
) -> Iterator[LittleStreet]:  # fmt: skip
    """Opened on the stores in `folder`, which are made if they are not there: a second one goes on where the first ended.
    All meters have the same `skew_ms` and `phases`; `needs_phases` is what their sockets need; `forgets`: another
    capture period empties a load profile."""
    true_clock, signer = ManualClock(start_ms), signer or KeySigner.from_seed(os.urandom(32))
    houses: dict[str, HouseMeter] = {}
    slaves: dict[str, Slave] = {}
    ports: dict[str, MeterPort] = {}
    made: dict[str, Callable[[], MeterPort]] = {}
    meters = []
    for number in range(1, dlms + modbus + 1):
        kind = "dlms" if number <= dlms else "modbus"
        key, serial = f"{kind}/{number}", f"{1 if kind == 'dlms' else 2}000000{number}"
        house = HouseMeter(HouseSettings(serial, seed=number, pv_w=pv_w, skew_ms=skew_ms, phases=phases, forgets=forgets), true_clock)
        driver = driver_named("is15959" if kind == "dlms" else "eastron-sdm230")
        slaves[key] = DlmsSlave((DlmsUnit(house, number),)) if kind == "dlms" else ModbusSlave(number, house)
        settings = {"physical_address": number, "password": "ABCD0001"} if kind == "dlms" else {"unit": number}
        made[key] = partial(driver.make_port, settings_from(driver, settings))
        ports[key], houses[key] = made[key](), house
        full = Capability.LOAD_PROFILE in ports[key].capabilities
        on_line = MeterOnLine(key, kind, driver.name, str(number), "", QUARTER_MS if full else 0, ports[key].capabilities, plan)
        hears = partial(driver.hears, settings_from(driver, settings)) if driver.hears else None
        takes = partial(_takes, ports, key) if takes_pushes(ports[key]) else None
        meters.append(replace(on_line, phases=needs_phases, limits=limits, hears=hears, takes=takes))
    for name, store in (("readings.db", READINGS), ("money.db", MONEY_STORE)):
        migrate(folder / name, store)
    readings, money = open_store(folder / "readings.db", READINGS), open_store(folder / "money.db", MONEY_STORE)
    boot_id = os.urandom(16)
    keys = {signer.key_id: signer.public}
    prepay = PrepayCore(money, PrepayIdentity(dcu, keys, boot_id))
    core = EdgeCore(Identity(dcu, boot_id, keys), ReadingsJournal(readings), meters)
    clock = SteppedClock(true_clock, own_skew_ms)
    street = LittleStreet(folder, clock, true_clock, signer, core, ports, slaves, houses, boot_id, made, dcu=dcu)
    core.begin()
    street.carry_out(core.start(prepay, street.moment()))
    try:
        yield street
    finally:
        readings.close()
        money.close()
        for house in houses.values():
            house.close()
