"""A concentrator without ports: the real core, stores, drivers and simulated meters, in one thread, by a clock wound by
hand. What the agent does with threads, lines and sockets is done here step by step, so that a test decides every moment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridtally_edge.core import EdgeCore
from gridtally_edge.core_events import (
    Beat,
    CoreEvent,
    Effect,
    Moment,
    PollDone,
    Publish,
    ReadDone,
    StartPoll,
    StartRead,
    StartShow,
    StartSwitch,
    SwitchDone,
)
from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.model import Capability, MeterPort
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.journal.readings import ReadingsJournal
from gridtally_edge.journal.schema import READINGS
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_edge.polling.poll import PollRequest, poll
from gridtally_edge.polling.street import MeterOnLine
from gridtally_edge.prepay.core import Identity as PrepayIdentity
from gridtally_edge.prepay.core import PrepayCore
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_edge.prepay.switching import switch_conversation
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.simulators.bus import Slave
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.modbus_slave import ModbusSlave
from gridtally_edge.sync.downlink import Identity
from gridtally_edge.sync.mqtt import Arrived, LinkUp
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_NAME, parse_topic
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.errors import LinkDown
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
    """`asked` collects every poll; `mute` holds keys whose next polls stay without answer; `published` what went up."""

    folder: Path
    clock: ManualClock
    signer: KeySigner
    core: EdgeCore
    ports: dict[str, MeterPort]
    slaves: dict[str, Slave]
    houses: dict[str, HouseMeter]
    boot_id: bytes
    asked: list[tuple[str, PollRequest]] = field(default_factory=list)
    mute: set[str] = field(default_factory=set)
    published: list[tuple[str, Any]] = field(default_factory=list)
    mono_s: float = 1_000.0

    def moment(self) -> Moment:
        return Moment(self.clock.now_ms(), self.mono_s)

    def wind(self, delta_ms: int) -> None:
        self.clock.advance(delta_ms)
        self.mono_s += delta_ms / 1000

    def handle(self, event: CoreEvent) -> None:
        self.carry_out(self.core.handle(event, self.moment()))

    def beat(self) -> None:
        self.handle(Beat())

    def next_quarter(self, times: int = 1) -> None:
        """To a little after the next interval's end, beating until nothing more is due."""
        for _ in range(times):
            now_ms = self.clock.now_ms()
            self.wind(QUARTER_MS - now_ms % QUARTER_MS + 6 * MINUTE_MS)
            self.beat()

    def carry_out(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                channel, _ = parse_topic(effect.topic)
                self.published.append((channel.name, decode(channel.message, effect.payload)))
            elif isinstance(effect, StartPoll):
                self.handle(PollDone(effect.key, effect.request, self._poll(effect.key, effect.request)))
            elif isinstance(effect, StartRead):
                self.handle(ReadDone(effect.run, effect.key, effect.request, self._poll(effect.key, effect.request)))
            elif isinstance(effect, StartSwitch):
                conversation = switch_conversation(self.ports[effect.key], self.clock.now_ms, effect.order)
                self.handle(SwitchDone(effect.order, converse(conversation, self.slaves[effect.key])))
            elif isinstance(effect, StartShow):
                self._show(effect)

    def connect(self, *, receipts: dict[tuple[bytes, int], int] | None = None, store_id: bytes = b"s" * 16) -> None:
        """A session with a cloud that has received what `receipts` says."""
        self.handle(LinkUp())
        heads = tuple(m.StreamHead(s, lane, upto + 1, upto) for (s, lane), upto in (receipts or {}).items())
        self.down("welcome", m.Welcome(store_id, DCU, self.boot_id, self.clock.now_ms(), heads))

    def down(self, name: str, message: Any) -> None:
        channel = BY_NAME[name]
        payload = encode(message)
        envelope = sign1(self.signer, name, payload) if channel.signed else payload
        self.handle(Arrived(channel.topic(DCU), envelope))

    def configure(self, version: int = 1) -> None:
        meters = tuple(m.MeterConfig(no, house.serial) for no, house in enumerate(self.houses.values(), start=1))
        self.down("config", m.DcuConfig(version, DCU, self.clock.now_ms(), meters))

    def meters_bound(self) -> set[str]:
        """Serials that the configuration in force names."""
        return {meter.binding.serial for meter in self.core.street.meters.values() if meter.binding is not None}

    def batches(self) -> list[m.Batch]:
        return [message for name, message in self.published if isinstance(message, m.Batch)]

    def _show(self, effect: StartShow) -> None:
        """A meter that does not take a balance is shown the next one."""
        port, show = self.ports[effect.key], effect.show

        def conversation() -> Conversation[None]:
            yield from port.open()
            yield from port.write_balance(show.amount_nano, show.at_ms)
            yield from port.close()

        with contextlib.suppress(LinkDown):
            converse(conversation(), self.slaves[effect.key])

    def _poll(self, key: str, request: PollRequest) -> Any:
        self.asked.append((key, request))
        spoil = (lambda _: None) if key in self.mute else (lambda data: data)
        return converse(poll(self.ports[key], request, self.clock.now_ms), self.slaves[key], spoil)


@contextlib.contextmanager
def little_street(folder: Path, dlms: int = 1, modbus: int = 0, signer: KeySigner | None = None, pv_w: int = 0) -> Iterator[LittleStreet]:
    """Opened on the stores in `folder`, which are made if they are not there: a second one goes on where the first ended."""
    clock, signer = ManualClock(START_MS), signer or KeySigner.from_seed(os.urandom(32))
    houses: dict[str, HouseMeter] = {}
    slaves: dict[str, Slave] = {}
    ports: dict[str, MeterPort] = {}
    meters = []
    for number in range(1, dlms + modbus + 1):
        kind = "dlms" if number <= dlms else "modbus"
        key, serial = f"{kind}/{number}", f"{1 if kind == 'dlms' else 2}000000{number}"
        house = HouseMeter(HouseSettings(serial, seed=number, pv_w=pv_w), clock)
        driver = driver_named("is15959" if kind == "dlms" else "eastron-sdm230")
        slaves[key] = DlmsSlave((DlmsUnit(house, number),)) if kind == "dlms" else ModbusSlave(number, house)
        settings = {"physical_address": number, "password": "ABCD0001"} if kind == "dlms" else {"unit": number}
        ports[key], houses[key] = driver.make_port(settings_from(driver, settings)), house
        full = Capability.LOAD_PROFILE in ports[key].capabilities
        meters.append(MeterOnLine(key, kind, driver.name, str(number), "", QUARTER_MS if full else 0, full, full, full))
    for name, store in (("readings.db", READINGS), ("money.db", MONEY_STORE)):
        migrate(folder / name, store)
    readings, money = open_store(folder / "readings.db", READINGS), open_store(folder / "money.db", MONEY_STORE)
    boot_id = os.urandom(16)
    keys = {signer.key_id: signer.public}
    prepay = PrepayCore(money, PrepayIdentity(DCU, keys, boot_id))
    core = EdgeCore(Identity(DCU, boot_id, keys), ReadingsJournal(readings), prepay, meters)
    street = LittleStreet(folder, clock, signer, core, ports, slaves, houses, boot_id)
    street.carry_out(core.start(street.moment()))
    try:
        yield street
    finally:
        readings.close()
        money.close()
        for house in houses.values():
            house.close()
