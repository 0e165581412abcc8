"""A whole gridtally on one machine: broker, MDM, one DCU, a simulated street. Used by the demo and by the scenario tests.

Everything is the real program in a process of its own, configured by files in one folder, as an installation would be.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from demo import street as acacia
from demo.facts import accounts
from demo.processes import DemoFailed, Processes, answers, free_port, tool, wait_for
from demo.relay import Relay
from gridtally_cloud.store.db import Database
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.simulators.street import default_street
from gridtally_shared.clock import SharedClock

BROKERS = ("embedded", "mosquitto")
CHECKPOINT_HOURS = 6
START_S = 120.0
"""Patience with a part that starts, on a machine with much else to do."""
MDM, DCU, STREET, BROKER, DISPLAY = "mdm", "dcu", "street", "broker", "display"


_TLS_FILES = (
    'ca_file = "identity/active/ca.crt"\ncertificate_file = "identity/active/tls.crt"\nkey_file = "identity/tls.key"\n'
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build. `factor`: virtual seconds a real second; `opening_credit` of every prepaid home; `early_ms`: how long
    before the last local midnight virtual time begins. `mesh` meters have IP addresses, `coordinator` ones a modem's. With
    `story` the first home is a large one and follows a policy with emergency credit."""

    broker: str = "embedded"
    dlms: int = 12
    modbus: int = 12
    factor: float = 960.0
    seed: int = 2026
    opening_credit: str = acacia.OPENING_CREDIT
    early_ms: int = 0
    mesh: int = 0
    coordinator: int = 0
    story: bool = False


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
        self.broker_port, self.claim_port, self.mdm_port, self.display_port = (free_port() for _ in range(4))
        self.clock_file = folder / "clock.json"
        self.start_ms = last_midnight_ms(acacia.ZONE) - plan.early_ms
        street = acacia.quick(default_street(plan.dlms, plan.modbus, plan.seed, plan.mesh, plan.coordinator))
        self.street = acacia.with_story(street) if plan.story else street
        self.relay: Relay | None = None
        self.clock: SharedClock | None = None

    @property
    def secured(self) -> bool:
        """Mosquitto checks certificates on both sides; the embedded broker can not, and listens on loopback only."""
        return self.plan.broker == "mosquitto"

    @property
    def transport(self) -> str:
        """For people: how safe the road between DCU and MDM is."""
        return "mutual TLS, a name and role for each" if self.secured else "no TLS: broker on loopback"

    @property
    def broker_folder(self) -> Path:
        return self.folder / "broker"

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
        self.relay = Relay(("127.0.0.1", self.broker_port))
        say("street of meters")
        inventory = self.start_street()
        say("MDM's store and keys")
        self._set_up_mdm()
        say(f"broker ({self.transport})")
        if self.secured:
            self._secure_broker()
        self.start_broker()
        say("MDM")
        self.start_mdm()
        say("DCU asks for its name")
        self._enrol()
        self._set_up_dcu(inventory)
        say("DCU")
        self.start_dcu()
        self.start_display()
        wait_for(self.status_file.exists, START_S, lambda: f"the agent's status: {self.processes.tail(DCU)}")
        self.clock.set_factor(self.plan.factor)

    def stop(self) -> None:
        if self.relay is not None:
            self.relay.close()
        self.processes.stop()

    # ---- parts, each of which may be killed and started again -----------------------------------------------

    def start_broker(self) -> None:
        if self.secured:
            command = [_mosquitto(), "-c", str(self.broker_folder / "mosquitto.conf")]
        else:
            command = [sys.executable, "-m", "gridtally_cloud.embedded_broker", "--port", str(self.broker_port)]
        self.processes.start(BROKER, *command)
        wait_for(lambda: answers(self.broker_port), START_S, "the broker listens")

    def start_street(self) -> Mapping[str, list[dict[str, object]]]:
        """The simulators; their inventory says what hangs where."""
        inventory = self.folder / "street" / "inventory.json"
        self.street_file.write_text(acacia.street_document(self.street), encoding="utf-8")
        self.processes.start(
            STREET, tool("gridtally-dcu"), "simulate", "--directory", str(self.folder / "street"),
            "--street", str(self.street_file), "--virtual-clock", str(self.clock_file),
        )  # fmt: skip
        wait_for(inventory.exists, START_S, lambda: f"the street of meters: {self.processes.tail(STREET)}")
        content: Mapping[str, list[dict[str, object]]] = json.loads(inventory.read_text(encoding="utf-8"))
        return content

    def start_mdm(self) -> None:
        self.processes.start(MDM, tool("gridtally-mdm"), "--config", str(self.mdm_config), "all")
        wait_for(lambda: answers(self.mdm_port), START_S, lambda: f"the MDM listens: {self.processes.tail(MDM)}")

    def start_dcu(self) -> None:
        self.processes.start(DCU, tool("gridtally-dcu"), "run", "--config", str(self.dcu_config))

    def start_display(self) -> None:
        self.processes.start(DISPLAY, tool("gridtally-dcu"), "display", "--config", str(self.dcu_config))
        wait_for(lambda: answers(self.display_port), START_S, lambda: f"the balance page: {self.processes.tail(DISPLAY)}")

    def mdm_tool(self, *words: str) -> str:
        """A `gridtally-mdm` command on this installation; its output."""
        return self.processes.run(f"gridtally-mdm {words[0]}", tool("gridtally-mdm"), "--config", str(self.mdm_config), *words)

    def dcu_tool(self, command: str, *words: str) -> str:
        return self.processes.run(f"gridtally-dcu {command}", tool("gridtally-dcu"), command, "--config", str(self.dcu_config), *words)

    # ---- files -----------------------------------------------------------------------------------------------

    def _secure_broker(self) -> None:
        """Files of a Mosquitto with mutual TLS and dynamic security, made by the product's own command."""
        self.mdm_tool("broker-files", "--folder", str(self.broker_folder), "--host", "127.0.0.1", "--bind", "127.0.0.1",
                      "--port", str(self.broker_port), "--claim-port", str(self.claim_port))  # fmt: skip
        if os.geteuid() == 0:  # Mosquitto becomes its own user and must read its keys and write its state
            self.folder.chmod(0o711)
            for path in (self.broker_folder, *self.broker_folder.iterdir()):
                shutil.chown(path, "mosquitto", "mosquitto")

    def _broker_section(self) -> str:
        """How the MDM reaches the broker: plain on loopback, or under its certificate."""
        if not self.secured:
            return f'[broker]\nhost = "127.0.0.1"\nport = {self.broker_port}\n'
        at = self.broker_folder
        return (
            f'[broker]\nhost = "127.0.0.1"\nport = {self.broker_port}\nca_file = "{at}/operational-ca.crt"\n'
            f'certificate_file = "{at}/mdm.crt"\nkey_file = "{at}/mdm.key"\n'
        )

    def _provisioner_section(self) -> str:
        """Where an enrolled DCU connects: through the uplink that can be cut."""
        assert self.relay is not None
        section = f'[provisioner]\nhost = "127.0.0.1"\nport = {self.relay.port}\n'
        if not self.secured:
            return section
        at = self.broker_folder
        return (
            f'{section}transport = "mtls"\ncontrol = true\n'
            f'certificate_file = "{at}/provisioner.crt"\nkey_file = "{at}/provisioner.key"\n'
        )

    def _set_up_mdm(self) -> None:
        assert self.relay is not None
        self.mdm_config.write_text(
            f'data_dir = "data"\nvirtual_clock_file = "{self.clock_file}"\nzone = "{acacia.ZONE}"\n'
            f'{self._broker_section()}[web]\nhost = "127.0.0.1"\nport = {self.mdm_port}\n'
            f'[payments]\ngateway = "test"\n{self._provisioner_section()}',
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
        if self.plan.story:
            self._follow_policy()
        secret = self.folder / "dcu" / "install.secret"
        secret.write_text(secrets.token_hex(16), encoding="utf-8")
        self.mdm_tool("inventory", "add", acacia.DCU_SERIAL, "--dcu", acacia.DCU, "--secret-file", str(secret))

    def _follow_policy(self) -> None:
        """The first home follows the story's policy from the first moment on."""
        begins = datetime.fromtimestamp(self.start_ms / 1000, ZoneInfo(acacia.ZONE)).isoformat()
        self.mdm_tool("policy", "load", str(acacia.POLICY_FILE), "--from", begins)
        with Database(self.store_file).read() as conn:
            account_no = accounts(conn)[self.street.meters[0].serial].account_no
        self.mdm_tool("policy", "follow", str(account_no), acacia.POLICY)

    def _enrol(self) -> None:
        assert self.relay is not None
        folder, at = self.folder / "dcu", self.broker_folder
        words = ["--identity", str(folder / "identity"), "--serial", acacia.DCU_SERIAL, "--secret-file", str(folder / "install.secret"),
                 "--host", "127.0.0.1", "--within", "40"]  # fmt: skip
        if self.secured:
            words += ["--port", str(self.claim_port), "--ca", f"{at}/operational-ca.crt", "--cert", f"{at}/claim.crt",
                      "--key", f"{at}/claim.key"]  # fmt: skip
        else:
            words += ["--port", str(self.relay.port)]
        self.processes.run("gridtally-dcu enrol", tool("gridtally-dcu"), "enrol", *words)

    def _set_up_dcu(self, inventory: Mapping[str, list[dict[str, object]]]) -> None:
        identity = json.loads((self.folder / "dcu" / "identity" / "active" / "identity.json").read_text(encoding="utf-8"))
        (self.folder / "dcu" / "command-key.pub").write_text(identity["command_key"], encoding="utf-8")
        lines = "".join(f"[[line]]\n{_toml(line)}" for line in inventory["lines"])
        self.dcu_config.write_text(
            f'dcu = "{identity["dcu"]}"\ndata_dir = "data"\ncommand_key_file = "command-key.pub"\n'
            f'journal_key_file = "identity/journal.key"\ncheckpoint_hours = {CHECKPOINT_HOURS}\n'
            f'virtual_clock_file = "{self.clock_file}"\n'
            f'[broker]\nhost = "{identity["host"]}"\nport = {identity["port"]}\n{_TLS_FILES if self.secured else ""}'
            f"[display]\nport = {self.display_port}\n{lines}",
            encoding="utf-8",
        )
        self.dcu_tool("init")
        registry = Registry(self.folder / "dcu" / "data" / "registry.json")
        for meter in inventory["meters"]:
            settings = meter["settings"]
            assert isinstance(settings, dict)
            registry.add_meter(MeterEntry(str(meter["line"]), str(meter["driver"]), settings, str(meter["serial"])))


def _toml(values: Mapping[str, object]) -> str:
    """Plain values as lines of TOML, which writes text and true or false as JSON does."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def _mosquitto() -> str:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if found is None:
        raise DemoFailed("mosquitto is not installed: apt-get install mosquitto, or use --broker embedded")
    return found

