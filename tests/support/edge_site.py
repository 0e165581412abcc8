"""A concentrator's site for tests of the edge: a simulated street on real ptys, a virtual clock, the real agent process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.simulators.control import tell
from gridtally_edge.simulators.street import DRIVERS, Street, StreetLine, StreetProtocol, default_street
from gridtally_shared.clock import SharedClock
from gridtally_shared.contract.messages import DcuConfig, MeterConfig
from support.required import ROOT
from support.waiting import wait_until

START_MS = 1_790_000_000_000
DCU = "dcu-test"
PACKAGES = ("shared", "native", "edge")
MESH = StreetProtocol.MESH


def dcu_command(*words: str) -> list[str]:
    return [sys.executable, "-W", "error::ResourceWarning", "-m", "gridtally_edge.cli", *words]


def dcu_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in PACKAGES)}


def run_dcu(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(dcu_command(*words), env=dcu_environment(), capture_output=True, text=True, timeout=60, check=False)


@dataclass
class EdgeSite:
    """`street` and `agent` are processes; `log` collects what the agent writes."""

    folder: Path
    street: Street
    clock: SharedClock
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    agent: subprocess.Popen[bytes] | None = None
    push_port: int = 0

    def line_is_there(self, line: StreetLine) -> bool:
        folder = self.folder / "street"
        return (folder / "state" / f"{line.name}.ports.json" if line.protocol is MESH else folder / line.name).exists()

    def tell_street(self, command: str) -> str:
        """A command to the running street (simulators/control.py)."""
        return tell(self.folder / "street" / "control.sock", command)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def config_file(self) -> Path:
        return self.folder / "dcu.toml"

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def cloud_config(self, version: int = 1) -> DcuConfig:
        """Binds every meter of the street: number 1 is the first one."""
        meters = tuple(MeterConfig(no, meter.serial) for no, meter in enumerate(self.street.meters, start=1))
        return DcuConfig(version, DCU, self.clock.now_ms(), meters)

    def start_agent(self) -> subprocess.Popen[bytes]:
        with (self.folder / "agent.log").open("ab") as log:
            command = dcu_command("run", "--config", str(self.config_file))
            self.agent = subprocess.Popen(command, env=dcu_environment(), stdout=log, stderr=log)
        return self.agent

    def stop_agent(self, with_signal: int = signal.SIGTERM) -> int:
        assert self.agent is not None
        self.agent.send_signal(with_signal)
        code = self.agent.wait(timeout=20)
        self.agent = None
        return code

    def status(self) -> dict[str, Any]:
        """The running agent's own status; empty before its first one."""
        with contextlib.suppress(FileNotFoundError):
            status: dict[str, Any] = json.loads((self.data / "status.json").read_text())
            if self.agent is not None and status["pid"] == self.agent.pid:
                return status
        return {}

    def rows(self, store: str, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.data / store}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def close(self) -> None:
        for process in (*self.processes, *((self.agent,) if self.agent else ())):
            process.kill()
            process.wait(timeout=10)


@contextlib.contextmanager
def edge_site(
    folder: Path, broker_port: int, command_key: bytes, dlms: int = 2, modbus: int = 2, factor: float = 300.0,
    mesh: int = 0,
) -> Iterator[EdgeSite]:  # fmt: skip
    """A street that runs and an agent ready to be started."""
    site = EdgeSite(folder, default_street(dlms, modbus, mesh=mesh), SharedClock.create(folder / "clock.json", START_MS, factor))
    lines = folder / "street"
    words = ("--dlms", str(dlms), "--modbus", str(modbus), "--mesh", str(mesh), "--virtual-clock", str(folder / "clock.json"))
    command = dcu_command("simulate", "--directory", str(lines), *words)
    site.processes.append(subprocess.Popen(command, env=dcu_environment(), stdout=subprocess.DEVNULL))
    try:
        wait_until(lambda: all(site.line_is_there(line) for line in site.street.lines), 20, "the street's lines")
        _write_config(site, broker_port, command_key)
        yield site
    finally:
        site.close()


def loopback() -> str:
    """IPv6 where there is one, as the simulated mesh takes it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as trial:
        trial.bind(("::1", 0))
        return "::1"
    return "127.0.0.1"


def free_port() -> int:
    """A UDP and TCP port of the loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _line_table(site: EdgeSite, line: StreetLine) -> str:
    if line.protocol is not MESH:
        return f'[[line]]\nname = "{line.name}"\ndevice = "street/{line.name}"\n'
    site.push_port = free_port()
    return f'[[line]]\nname = "{line.name}"\ndevice = "udp://"\npush_port = {site.push_port}\npush_host = "{loopback()}"\n'


def _write_config(site: EdgeSite, broker_port: int, command_key: bytes) -> None:
    (site.folder / "command-key.pub").write_bytes(command_key)
    lines = "".join(_line_table(site, line) for line in site.street.lines)
    head = f'dcu = "{DCU}"\nvirtual_clock_file = "clock.json"\n[broker]\nport = {broker_port}\n'
    site.config_file.write_text(head + lines)
    site.data.mkdir()
    registry = Registry(site.data / "registry.json")
    for meter in site.street.meters:
        protocol = site.street.line(meter.line).protocol.value
        dlms = {"physical_address": meter.address, "password": meter.password}
        settings = dlms if protocol == "dlms" else {"unit": meter.address}
        if protocol == MESH.value:
            ports = json.loads((site.folder / "street" / "state" / f"{meter.line}.ports.json").read_text())
            settings = {"password": meter.password, "host": loopback(), "port": ports[meter.serial], "transport": "wrapper-udp"}
        driver = "is15959-wrapper" if protocol == MESH.value else DRIVERS[protocol]
        registry.add_meter(MeterEntry(meter.line, driver, settings))
