"""The first home of a linked street with its register and its contactor: what goes off and on there, and who ordered it.

Its meter has no limiter of its own. Orders are carried out by hand (`act`), and what the box does beside is let go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gridtally_cloud.assets import config_publisher
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.prepay import control
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.core import PrepayCore
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Command, CommandType, DcuConfig
from gridtally_shared.instruments.details import LimitOrder
from gridtally_shared.lifecycle import COMMAND_RULES, Reason
from gridtally_shared.prepay.standing import Standing, standing_from
from gridtally_shared.signing import sign1
from support.linked_pair import LinkedPair
from support.payday import DCU, HOUR_MS, METERS, OPENED_WH, SIGNER

MINUTE_MS = 60_000
LIMIT_W, ABOVE_W, BELOW_W = 1_000, 3_000, 600


class DarkHome(LinkedPair):
    def __post_init__(self) -> None:
        self.wh, self.switch = OPENED_WH, SwitchState.CLOSED
        self.ordered: list[p.RunSwitch] = []
        self.told = 0
        super().__post_init__()

    def tell(self, event: p.PrepayEvent) -> None:
        self.tell_box(self.edge, event)

    def tell_box(self, box: PrepayCore, event: p.PrepayEvent) -> None:
        for effect in box.handle(event, self.now_ms):
            if isinstance(effect, p.RunTask):
                box.handle(p.ReadFinished(effect.cmd_id, False, self.now_ms, reason=Reason.UNSUPPORTED, refused=True), self.now_ms)
            elif isinstance(effect, p.RunSwitch) and effect.meter_no == self.homes[0].meter_no:
                self.ordered.append(effect)

    def act(self, box: PrepayCore | None = None) -> str:
        """The one order that waits is carried out: what it was."""
        (order,) = self.ordered
        self.ordered.clear()
        before, self.switch = self.switch, SwitchState.CLOSED if order.close else SwitchState.OPEN
        outcome = p.SwitchOutcome(p.SwitchResult.DONE, order.serial, before, self.switch, True, self.now_ms, self.wh, self.now_ms)
        self.tell_box(box or self.edge, p.SwitchFinished(order.action_id, outcome))
        return "close" if order.close else "open"

    def minutes(self, count: int, watts: int, box: PrepayCore | None = None) -> None:
        """The register is read each minute, until something is ordered."""
        home, box = self.homes[0], box or self.edge
        for _ in range(count):
            if self.ordered:
                return
            self.now_ms += MINUTE_MS
            self.wh += watts // 60 if self.switch is SwitchState.CLOSED else 0
            self.tell_box(box, p.ClockObserved(p.ClockSource.NTP, self.now_ms, self.now_ms))
            self.tell_box(box, p.MeterRead(home.meter_no, home.serial, self.now_ms, self.wh, switch=self.switch))
            self.tell_box(box, p.Tick())

    def limit(self, watts: int = LIMIT_W) -> None:
        with self.db.write() as conn:
            control.order(conn, SIGNER, self.account, LimitOrder(watts), self.now_ms, "asha")
        self.carry_down()
        self.minutes(2, BELOW_W)

    def trip(self, box: PrepayCore | None = None) -> str:
        self.minutes(5, ABOVE_W, box)
        return self.act(box)

    def use_up(self) -> str:
        """The money is used within days; the cut is carried out."""
        for _ in range(40):
            self.now_ms += HOUR_MS
            self.wh += 900
            self.minutes(1, BELOW_W)
            if self.ordered:
                return self.act()
        raise AssertionError("nobody was cut")

    def order_off(self, cause: str = "") -> str:
        """Somebody at the utility switches it off."""
        return self._order(CommandType.SWITCH_OPEN, cause)

    def order_on(self) -> str:
        return self._order(CommandType.SWITCH_CLOSE)

    def _order(self, kind: CommandType, cause: str = "") -> str:
        safety, priority, ttl_ms = COMMAND_RULES[kind]
        command = Command(1, kind.to_bytes(16, "big"), DCU, self.homes[0].meter_no, kind, safety, priority, 1, self.now_ms, self.now_ms,
                          self.now_ms + ttl_ms, bytes(16), switch_counter=self.counter() + 1, cause=cause)  # fmt: skip
        self.tell(p.CommandArrived(sign1(SIGNER, "command", encode(command))))
        return self.act()

    def counter(self) -> int:
        found = self.money.execute("SELECT counter FROM switch WHERE meter_no = ?", (self.homes[0].meter_no,)).fetchone()
        return int(found[0])

    def config_of(self, dcu: str) -> DcuConfig:
        """What the MDM would send a box now, one version after the other."""
        self.told += 1
        with self.db.read() as conn:
            return replace(config_publisher.build(conn, dcu, self.now_ms), version=self.told, issued_at_ms=self.now_ms)

    def standing(self) -> Standing:
        return standing_from(self.row.standing)

    def off_by(self) -> str:
        found = self.money.execute("SELECT off_reason FROM switch WHERE meter_no = ?", (self.homes[0].meter_no,)).fetchone()
        return str(found[0])

    def old_disk(self, image: Path) -> None:
        """What was written since is at the MDM; then the disk is put back, and the box sees its meter before it has a link."""
        self.sync()
        self.ordered.clear()
        self.roll_back(image)
        self.minutes(1, BELOW_W)

    def heal(self) -> None:
        self.greet()
        self.sync()
        assert self.row.ledger_fault == ""


@contextmanager
def dark_home(folder: Path) -> Iterator[DarkHome]:
    """100 are paid; who has used them up is cut."""
    home = DarkHome(folder, Plan(DCU, postpaid=1, cut_serials=frozenset(meter.serial for meter in METERS)))
    home.minutes(1, BELOW_W)
    home.pay("100")
    home.meet()
    home.minutes(1, BELOW_W)
    yield home
    home.close()
