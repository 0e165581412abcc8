"""A whole gridtally on one machine: broker, MDM, one DCU, a simulated street. Used by the demo and by the scenario tests.

Everything is the real program in a process of its own, configured by files in one folder, as an installation would be.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from demo import street as acacia
from demo.processes import DemoFailed, Processes, answers, free_port, tool, wait_for
from demo.relay import Relay
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.simulators.street import default_street
from gridtally_shared.clock import SharedClock

BROKERS = ("embedded", "mosquitto")
MDM, DCU, STREET, BROKER, DISPLAY = "mdm", "dcu", "street", "broker", "display"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build. `factor`: virtual seconds a real second; `opening_credit` of every prepaid home; `early_ms`: how long
    before the last local midnight virtual time begins."""

    broker: str = "embedded"
    dlms: int = 12
    modbus: int = 12
    factor: float = 960.0
    seed: int = 2026
    opening_credit: str = acacia.OPENING_CREDIT
    early_ms: int = 0


def last_midnight_ms(zone: str) -> int:
    """Virtual time starts at the local midnight behind us, so that certificates and bills look like today's."""
    now = datetime.now(ZoneInfo(zone))
    return int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)


class Deployment:
    """Build with `start`, end with `stop`. `relay` is the uplink that can be cut."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        for name in ("logs", "mdm", "dcu", "street"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.processes = Processes(folder / "logs")
        self.password = secrets.token_urlsafe(12)
        self.pin = f"{secrets.randbelow(10_000):04d}"
        self.broker_port, self.mdm_port, self.display_port = free_port(), free_port(), free_port()
        self.clock_file = folder / "clock.json"
        self.start_ms = last_midnight_ms(acacia.ZONE) - plan.early_ms
        self.street = acacia.quick(default_street(plan.dlms, plan.modbus, plan.seed))
        self.relay: Relay | None = None
        self.clock: SharedClock | None = None

    @property
    def mdm_url(self) -> str:
        return f"http://127.0.0.1:{self.mdm_port}/"

    @property
    def display_url(self) -> str:
        return f"http://127.0.0.1:{self.display_port}/"

    @property
    def store_file(self) -> Path:
        return self.folder / "mdm" / "data" / "mdm.db"

    @property
    def money_file(self) -> Path:
        return self.folder / "dcu" / "data" / "money.db"

    @property
    def status_file(self) -> Path:
        return self.folder / "dcu" / "data" / "status.json"

    @property
    def street_file(self) -> Path:
        return self.folder / "street.json"

    @property
    def mdm_config(self) -> Path:
        return self.folder / "mdm" / "mdm.toml"

    @property
    def dcu_config(self) -> Path:
        return self.folder / "dcu" / "dcu.toml"

    # ---- up and down ------------------------------------------------------------------------------------------

    def start(self, say: Callable[[str], None]) -> None:
        """Bring everything up, in the order an installation would. DemoFailed says what did not come."""
        self.clock = SharedClock.create(self.clock_file, self.start_ms, 1.0)
        say("broker")
        self.start_broker()
        self.relay = Relay(("127.0.0.1", self.broker_port))
        say("street of meters")
        inventory = self.start_street()
        say("MDM")
        self._set_up_mdm()
        self.start_mdm()
        say("DCU asks for its name")
        self._enrol()
        self._set_up_dcu(inventory)
        say("DCU")
        self.start_dcu()
        self.start_display()
        wait_for(self.status_file.exists, 30, f"the agent's status: {self.processes.tail(DCU)}")
        self.clock.set_factor(self.plan.factor)

    def stop(self) -> None:
        if self.relay is not None:
            self.relay.close()
        self.processes.stop()

    # ---- parts, each of which may be killed and started again -----------------------------------------------

    def start_broker(self) -> None:
        if self.plan.broker == "embedded":
            command = [sys.executable, "-m", "gridtally_cloud.embedded_broker", "--port", str(self.broker_port)]
        else:
            config = self.folder / "mosquitto.conf"
            config.write_text(f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\npersistence false\n", encoding="utf-8")
            command = [_mosquitto(), "-c", str(config)]
        self.processes.start(BROKER, *command)
        wait_for(lambda: answers(self.broker_port), 20, "the broker listens")

    def start_street(self) -> Mapping[str, list[dict[str, object]]]:
        """The simulators; their inventory says what hangs where."""
        inventory = self.folder / "street" / "inventory.json"
        self.street_file.write_text(acacia.street_document(self.street), encoding="utf-8")
        self.processes.start(
            STREET, tool("gridtally-dcu"), "simulate", "--directory", str(self.folder / "street"),
            "--street", str(self.street_file), "--virtual-clock", str(self.clock_file),
        )  # fmt: skip
        wait_for(inventory.exists, 30, f"the street of meters: {self.processes.tail(STREET)}")
        content: Mapping[str, list[dict[str, object]]] = json.loads(inventory.read_text(encoding="utf-8"))
        return content

    def start_mdm(self) -> None:
        self.processes.start(MDM, tool("gridtally-mdm"), "--config", str(self.mdm_config), "all")
        wait_for(lambda: answers(self.mdm_port), 30, f"the MDM listens: {self.processes.tail(MDM)}")

    def start_dcu(self) -> None:
        self.processes.start(DCU, tool("gridtally-dcu"), "run", "--config", str(self.dcu_config))

    def start_display(self) -> None:
        self.processes.start(DISPLAY, tool("gridtally-dcu"), "display", "--config", str(self.dcu_config))
        wait_for(lambda: answers(self.display_port), 20, f"the balance page: {self.processes.tail(DISPLAY)}")

    def mdm_tool(self, *words: str) -> str:
        """A `gridtally-mdm` command on this installation; its output."""
        return self.processes.run(f"gridtally-mdm {words[0]}", tool("gridtally-mdm"), "--config", str(self.mdm_config), *words)

    def dcu_tool(self, command: str, *words: str) -> str:
        return self.processes.run(f"gridtally-dcu {command}", tool("gridtally-dcu"), command, "--config", str(self.dcu_config), *words)

    # ---- files -----------------------------------------------------------------------------------------------

    def _set_up_mdm(self) -> None:
        assert self.relay is not None
        self.mdm_config.write_text(
            f'data_dir = "data"\nvirtual_clock_file = "{self.clock_file}"\nzone = "{acacia.ZONE}"\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {self.broker_port}\n'
            f'[web]\nhost = "127.0.0.1"\nport = {self.mdm_port}\n'
            f'[payments]\ngateway = "test"\n'
            f'[provisioner]\nhost = "127.0.0.1"\nport = {self.relay.port}\n',
            encoding="utf-8",
        )
        self.mdm_tool("init")
        logins = self.folder / "mdm" / "logins.json"
        logins.write_text(acacia.logins(self.street, self.password, self.pin), encoding="utf-8")
        self.mdm_tool(
            "import-street", str(self.street_file), "--dcu", acacia.DCU, "--zone", acacia.ZONE, "--currency", acacia.CURRENCY,
            "--postpaid", str(self.plan.modbus), "--cut", ",".join(acacia.prepaid_serials(self.street)), "--users", str(logins),
            "--opening-credit", self.plan.opening_credit, "--low-balance", acacia.LOW_BALANCE,
        )  # fmt: skip
        secret = self.folder / "dcu" / "install.secret"
        secret.write_text(secrets.token_hex(16), encoding="utf-8")
        self.mdm_tool("inventory", "add", acacia.DCU_SERIAL, "--dcu", acacia.DCU, "--secret-file", str(secret))

    def _installed(self) -> str:
        """The meters hang there for a while: their load profiles reach back."""
        return (datetime.fromtimestamp(self.start_ms / 1000, ZoneInfo(acacia.ZONE)) - timedelta(days=60)).date().isoformat()

    def _enrol(self) -> None:
        assert self.relay is not None
        folder = self.folder / "dcu"
        self.processes.run(
            "gridtally-dcu enrol", tool("gridtally-dcu"), "enrol", "--identity", str(folder / "identity"), "--serial", acacia.DCU_SERIAL,
            "--secret-file", str(folder / "install.secret"), "--host", "127.0.0.1", "--port", str(self.relay.port), "--within", "40",
        )  # fmt: skip

    def _set_up_dcu(self, inventory: Mapping[str, list[dict[str, object]]]) -> None:
        identity = json.loads((self.folder / "dcu" / "identity" / "active" / "identity.json").read_text(encoding="utf-8"))
        (self.folder / "dcu" / "command-key.pub").write_text(identity["command_key"], encoding="utf-8")
        lines = "".join(
            f'[[line]]\nname = "{line["name"]}"\ndevice = "{line["device"]}"\nbaud = {line["baud"]}\n' for line in inventory["lines"]
        )
        self.dcu_config.write_text(
            f'dcu = "{identity["dcu"]}"\ndata_dir = "data"\ncommand_key_file = "command-key.pub"\n'
            f'virtual_clock_file = "{self.clock_file}"\n'
            f'[broker]\nhost = "{identity["host"]}"\nport = {identity["port"]}\n'
            f"[display]\nport = {self.display_port}\n{lines}",
            encoding="utf-8",
        )
        self.dcu_tool("init")
        registry = Registry(self.folder / "dcu" / "data" / "registry.json")
        for meter in inventory["meters"]:
            settings = meter["settings"]
            assert isinstance(settings, dict)
            registry.add_meter(MeterEntry(str(meter["line"]), str(meter["driver"]), settings, str(meter["serial"])))


def _mosquitto() -> str:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if found is None:
        raise DemoFailed("mosquitto is not installed: apt-get install mosquitto, or use --broker embedded")
    return found

