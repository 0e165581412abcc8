"""A whole gridtally for scenario tests: the demo's deployment with a small street, and verbs named after the actors.

Real processes, real serial bytes over ptys, a real broker, real stores. Virtual time runs fast; a test waits for a condition
with a deadline in real seconds, or for a span of virtual time. One world serves many tests: each takes a home of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from demo import facts
from demo.deployment import Deployment, Plan
from demo.street import prepaid_serials
from gridtally_cloud.commands import service as commands
from gridtally_cloud.commands import states
from gridtally_cloud.commands.model import CommandRequest, CommandView
from gridtally_cloud.signer import open_signer
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import event, meter, meter_status, outbox_down
from gridtally_edge.simulators.control import tell
from gridtally_edge.simulators.house import HouseMeter
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.contract.messages import CommandType
from support.required import program
from support.twin import twin
from support.waiting import wait_until

FACTOR = 240.0
"""A virtual hour in fifteen seconds: slow enough that a busy machine keeps up with every quarter of an hour."""


@dataclass(frozen=True, slots=True)
class Home:
    """A household: its meter and account as the cloud numbers them. `switched`: the meter has a supply switch."""

    serial: str
    meter_no: int
    account_no: int
    switched: bool


class World:
    """Everything one scenario needs to act and to look."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.db = Database(deployment.store_file)
        self.signer = open_signer(deployment.store_file.parent / "command.key")
        self.homes = self._homes()

    def _homes(self) -> tuple[Home, ...]:
        switched = set(prepaid_serials(self.deployment.street))
        with self.db.read() as conn:
            numbers = {r.serial: r.meter_no for r in conn.execute(select(meter.c.serial, meter.c.meter_no))}
            rows = facts.accounts(conn)
        return tuple(Home(s, numbers[s], rows[s].account_no, s in switched) for s in sorted(numbers))

    # ---- time -------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        assert self.deployment.clock is not None
        return self.deployment.clock.now_ms()

    def until(self, condition: Callable[[], Any], within_s: float = 60.0, about: str = "") -> Any:
        """Wait for a condition, at most `within_s` real seconds."""
        return wait_until(condition, within_s, about)

    def pass_hours(self, hours: float) -> None:
        """Let virtual time pass."""
        end_ms = self.now_ms() + int(hours * MS_PER_HOUR)
        wait_until(lambda: self.now_ms() >= end_ms, hours * 3600 / FACTOR * 4 + 30, f"{hours} virtual hours pass")

    # ---- the utility's people ---------------------------------------------------------------------------------

    def pay(self, home: Home, rupees: str) -> None:
        """Cash at the desk, through the MDM's own command."""
        self.deployment.mdm_tool("credit", str(home.account_no), rupees)

    def order(self, home: Home, kind: CommandType, by: str = "staff:test", cause: str = "test", **request: Any) -> bytes:
        """Issue a command as the desk would; its id."""
        with self.db.write() as conn:
            asked = CommandRequest(meter_no=home.meter_no, type=kind, requested_by=by, cause=cause, **request)
            return bytes(commands.issue(conn, self.signer, asked, self.now_ms()).cmd_id)

    def command(self, cmd_id: bytes) -> CommandView:
        """The command as staff see it."""
        with self.db.read() as conn:
            found = states.find(conn, cmd_id)
        assert found is not None
        return found

    def ended(self, cmd_id: bytes, within_s: float = 60.0) -> CommandView:
        """Wait until a command has come to an end and give its view."""
        wait_until(lambda: self.command(cmd_id).ended, within_s, "the command comes to an end")
        return self.command(cmd_id)

    # ---- network, meters ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        """The uplink is cut while the block runs."""
        relay = self.deployment.relay
        assert relay is not None
        relay.cut()
        try:
            yield
        finally:
            relay.mend()

    def spoil(self, command: str) -> str:
        """Tell the simulated street to misbehave, as `gridtally-dcu simulate --tell` does."""
        return tell(self.deployment.folder / "street" / "control.sock", command)

    # ---- processes --------------------------------------------------------------------------------------------

    def kill(self, part: str) -> None:
        """SIGKILL to a part (deployment.MDM, DCU, ...) and all it started, as the OOM killer or a power cut would."""
        process = self.deployment.processes.running[part]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def revive(self, part: str) -> None:
        """Start a part that ended with the command it had; does not wait until it is ready."""
        processes = self.deployment.processes
        old = processes.running[part]
        if old.poll() is not None:
            assert isinstance(old.args, tuple)
            processes.start(part, *(str(word) for word in old.args))

    # ---- looking --------------------------------------------------------------------------------------------

    def switch_of(self, home: Home) -> int:
        """What the cloud knows of the meter's switch: 0 open, 1 closed, 3 not fitted, 4 unknown."""
        with self.db.read() as conn:
            state = conn.execute(select(meter_status.c.switch).where(meter_status.c.meter_no == home.meter_no)).scalar()
        return 4 if state is None else int(state)

    def events(self, home: Home) -> list[tuple[int, int]]:
        """(code, time) of the meter's events in the cloud, oldest first."""
        query = select(event.c.code, event.c.at_ms).where(event.c.meter_no == home.meter_no).order_by(event.c.at_ms)
        with self.db.read() as conn:
            return [(r.code, r.at_ms) for r in conn.execute(query)]

    def balance_nano(self, home: Home) -> int | None:
        """The mirrored balance."""
        with self.db.read() as conn:
            balance = facts.accounts(conn)[home.serial].balance_nano
        return None if balance is None else int(balance)

    def edge_balance_nano(self, home: Home) -> int:
        """The balance on the box itself."""
        with contextlib.closing(sqlite3.connect(f"file:{self.deployment.money_file}?mode=ro", uri=True)) as store:
            row = store.execute("SELECT balance_nano FROM account WHERE account_no = ?", (home.account_no,)).fetchone()
        return int(row[0])

    def edge(self, store: str, query: str) -> list[tuple[Any, ...]]:
        """Rows of `readings.db` or `money.db` of the box."""
        file = self.deployment.money_file.with_name(store)
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()

    def is_drained(self) -> bool:
        """All that the box had to say is in the cloud; every instrument and command is at the box."""
        waiting = "SELECT sum(next_seq - 1 - receipted) FROM outbox_lane"
        if any(self.edge(store, waiting)[0][0] for store in ("readings.db", "money.db")):
            return False
        with self.db.read() as conn:
            o = outbox_down.c
            return conn.execute(select(o.outbox_no).where(o.done_ms.is_(None), o.channel != "config")).first() is None

    def stand_still(self, within_s: float = 60.0) -> None:
        """Let virtual time almost stop and wait until both sides agree in everything."""
        wait_until(lambda: not self.mismatches(), within_s, "edge and cloud agree while time runs")
        self.slow()
        wait_until(lambda: self.is_drained() and not self.mismatches(), within_s, f"edge and cloud agree: {self.mismatches()}")

    def slow(self) -> None:
        """Virtual time almost stops: a second is a second."""
        clock = self.deployment.clock
        assert clock is not None
        clock.set_factor(1.0)
        wait_until(lambda: clock.factor() == 1.0, 5.0, "time stands still")

    def go_on(self) -> None:
        """Virtual time runs at its planned speed again."""
        clock = self.deployment.clock
        assert clock is not None
        clock.set_factor(self.deployment.plan.factor)

    def house(self, home: Home, at_ms: int) -> HouseMeter:
        """The simulated meter as it was at a moment: what it had counted and done, asked without a line."""
        return twin(self.deployment, home.serial, at_ms)

    def mismatches(self) -> list[str]:
        """Edge journal against cloud mirror, to the nano."""
        return facts.ledger_mismatches(self.db, self.deployment.money_file)


@contextlib.contextmanager
def running_world(
    broker: str = "embedded", dlms: int = 4, modbus: int = 2, factor: float = FACTOR, **plan: Any
) -> Iterator[World]:
    """A deployment from nothing, ended with everything it started. `plan`: more of `demo.deployment.Plan`."""
    if broker == "mosquitto":
        program("mosquitto", "mosquitto")
    with tempfile.TemporaryDirectory(prefix="gt-") as folder:
        deployment = Deployment(Path(folder), Plan(broker, dlms, modbus, factor, **plan))
        try:
            deployment.start(lambda _part: None)
            world = World(deployment)
            try:
                yield world
            finally:
                world.db.close()
        finally:
            deployment.stop()
