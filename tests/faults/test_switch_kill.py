"""The agent is killed (SIGKILL) while it works a relay board and a latching contactor: supply stays or comes back for the
relay's wiring, never both coils of the latching one, and after the restart the state is what the contact says."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.simulators.bus import SimBus
from gridtally_edge.simulators.relay_slave import RelaySlave
from gridtally_edge.simulators.running import INVENTORY, RunningStreet, open_street
from gridtally_edge.simulators.street import load_street
from gridtally_shared.clock import SharedClock
from gridtally_shared.contract import messages as m
from gridtally_shared.lifecycle import COMMAND_RULES
from support.brokers import Broker
from support.edge_site import DCU, START_MS, EdgeSite
from support.little_cloud import LittleCloud
from support.waiting import wait_until

KILLS = 5
SEED = 20260808
FACTOR = 120.0
WATCHDOG_S = 600
RELAY, LATCHING = "20000002", "GAV0003"
OPEN_COIL, CLOSE_COIL = 4, 5
STREET = f"""
[[lines]]
name = "rs485"
protocol = "modbus"

[[meters]]
line = "rs485"
serial = "{RELAY}"
address = 2
profile = "abb-b23"
switch = "modbus-coil:unit=40,coil=2,feedback=2,watchdog_register=9,watchdog_value={WATCHDOG_S}"
[[meters]]
line = "rs485"
serial = "{LATCHING}"
address = 3
profile = "gavazzi-em340"
switch = "modbus-latching:unit=41,open_coil={OPEN_COIL},close_coil={CLOSE_COIL},feedback=3,pulse_ms=400"
"""


@dataclass
class Yard:
    """The street in this process, the agent in its own."""

    site: EdgeSite
    running: RunningStreet
    cloud: LittleCloud
    orders: int = 0

    @property
    def boards(self) -> tuple[RelaySlave, RelaySlave]:
        line = self.running.lines["rs485"]
        assert isinstance(line, SimBus)
        relay, latching = (station.slave for station in line.stations if isinstance(station.slave, RelaySlave))
        return relay, latching

    def state(self, serial: str) -> SwitchState:
        self.boards[0].driven()  # its watchdog is looked at
        return self.running.meters[serial].switch()

    def told(self) -> dict[str, str]:
        """What the agent knows of the switches by reading in this life."""
        return {row["serial"]: row["switch"] for row in self.site.status().get("meters", ()) if row["contact_ms"]}

    def start(self) -> None:
        self.site.start_agent()
        linked = lambda: self.site.status().get("uplink", {}).get("state") == "open"  # noqa: E731
        wait_until(lambda: len(self.told()) == 2 and linked(), 30, f"the agent reads and is linked:\n{self.site.log[-2000:]}")

    def order(self, serial: str, close: bool) -> None:
        self.orders += 1
        kind = m.CommandType.SWITCH_CLOSE if close else m.CommandType.SWITCH_OPEN
        safety, priority, ttl_ms = COMMAND_RULES[kind]
        now_ms, number = self.site.clock.now_ms(), (RELAY, LATCHING).index(serial) + 1
        self.cloud.send("command", m.Command(
            1, os.urandom(16), DCU, number, kind, safety, priority, self.orders, now_ms, now_ms, now_ms + ttl_ms,
            os.urandom(16), switch_counter=self.orders,
        ))  # fmt: skip

    def kill(self) -> None:
        self.site.stop_agent(signal.SIGKILL)


@contextlib.contextmanager
def yard(folder: Path, broker: Broker) -> Iterator[Yard]:
    (folder / "street.toml").write_text(STREET)
    street, clock = load_street(folder / "street.toml"), SharedClock.create(folder / "clock.json", START_MS, FACTOR)
    cloud, site = LittleCloud(broker.port, DCU, clock.now_ms), EdgeSite(folder, street, clock)
    with contextlib.ExitStack() as stack:
        stack.callback(cloud.close)
        stack.callback(site.close)
        running = stack.enter_context(open_street(street, folder / "street", clock))
        (folder / "command-key.pub").write_bytes(cloud.signer.public)
        head = f'dcu = "{DCU}"\nvirtual_clock_file = "clock.json"\n[broker]\nport = {broker.port}\n'
        site.config_file.write_text(head + '[[line]]\nname = "rs485"\ndevice = "street/rs485"\n')
        site.data.mkdir()
        registry = Registry(site.data / "registry.json")
        for row in json.loads((folder / "street" / INVENTORY).read_text())["meters"]:
            registry.add_meter(MeterEntry("rs485", row["driver"], row["settings"], row["serial"], switch=row["switch"]))
        cloud.config = site.cloud_config()
        yield Yard(site, running, cloud)


@pytest.mark.broker
@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.slow
def test_killed_in_the_middle_of_an_order_supply_is_on_or_comes_back_and_the_state_is_read(tmp_path: Path, broker: Broker) -> None:
    chance = random.Random(SEED)
    with yard(tmp_path, broker) as here:
        here.start()
        here.order(RELAY, close=False)
        wait_until(lambda: here.state(RELAY) is SwitchState.OPEN, 10, here.site.log[-2000:])
        here.kill()
        wait_until(lambda: here.state(RELAY) is SwitchState.CLOSED, 15, "the board lets go: a dead concentrator leaves supply on")
        assert here.boards[0].driven() == frozenset()
        caught = sum(killed_in_an_order(here, (LATCHING, RELAY)[n % 2], chance) for n in range(KILLS - 1))
        assert caught, "at least one kill met an order on its way"
        here.start()
        check_read_not_assumed(here)


def killed_in_an_order(here: Yard, serial: str, chance: random.Random) -> bool:
    """Whether the order had reached a board before the agent died."""
    here.start()
    check_read_not_assumed(here)
    before = here.state(serial)
    here.order(serial, close=before is SwitchState.OPEN)
    with contextlib.suppress(AssertionError):  # some orders are refused (cuts an hour), some die before they are read
        wait_until(lambda: here.boards[1].driven() or here.state(serial) is not before, chance.uniform(0.3, 2.0))
    threading.Event().wait(chance.uniform(0.0, 0.3))
    here.kill()
    driven = here.boards[1].driven()
    assert here.boards[1].troubles == 0, "never both coils"
    assert len(driven) <= 1
    return bool(driven) or here.state(serial) is not before


def check_read_not_assumed(here: Yard) -> None:
    """What this life of the agent tells is what the contacts say, and no coil of the latching contactor stays driven."""
    for serial in (RELAY, LATCHING):
        wait_until(lambda: here.told().get(serial) == here.state(serial).name.lower(), 10, f"{here.told()} {serial}")  # noqa: B023
    wait_until(lambda: not here.boards[1].driven(), 10, "a coil left on by a dead process is switched off")
