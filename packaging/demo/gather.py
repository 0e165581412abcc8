"""Gathers the live picture from the agent's status file and the MDM's store. One look takes a few milliseconds."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from demo import facts
from demo import street as acacia
from demo.deployment import Deployment
from demo.narrator import Line
from demo.story import Story
from demo.view import Happening, MeterLine, Picture
from gridtally_cloud.store.db import Database
from gridtally_shared.events import event_type
from gridtally_shared.money import display, nano

_HOURS = 16
_HAPPENINGS = 14
_BAD = {"supply_disconnected", "serial_mismatch", "switch_stuck", "power_failed", "register_went_back"}


def addresses(deployment: Deployment) -> tuple[tuple[str, str], ...]:
    """What the demo prints: where to look and how to log in."""
    return (
        ("pages", deployment.mdm_url),
        ("consumer", f"{acacia.CONSUMER_LOGIN} / {deployment.password}"),
        ("staff", f"{acacia.STAFF_LOGIN} / {deployment.password}"),
        ("balance page", f"{deployment.display_url}  (PIN {deployment.pin})"),
    )


class Eye:
    """Remembers a little between looks: the registers of the last hours, for the bars."""

    def __init__(self, deployment: Deployment, db: Database, story: Story, chapters: Callable[[], tuple[Line, ...]]) -> None:
        self._deployment, self._db, self._story, self._chapters = deployment, db, story, chapters
        self._use: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=_HOURS))
        self._registers: dict[str, tuple[int, int]] = {}

    def look(self, now_ms: int) -> Picture:
        status = facts.status(self._deployment.status_file)
        with self._db.read() as conn:
            homes = facts.accounts(conn)
            happened = facts.happenings(conn, _HAPPENINGS)
            actions = facts.switch_actions(conn)
            stored = facts.stored_intervals(conn)
            registers = facts.registers(conn)
        self._remember(registers)
        uplink = status.get("uplink", {})
        return Picture(
            now_ms=now_ms,
            zone=acacia.ZONE,
            factor=float(status.get("factor", self._deployment.plan.factor)),
            wanted_factor=self._deployment.plan.factor,
            uplink_open=not self._story.cut,
            uplink_state=str(uplink.get("state", "starting")),
            waiting=int(uplink.get("waiting", 0)),
            lines=tuple((line["name"], line["state"], line["trouble"]) for line in status.get("lines", [])),
            meters=tuple(self._meter(row, homes) for row in sorted(status.get("meters", []), key=lambda m: m["serial"])),
            stored_intervals=stored,
            cuts=sum(not a.close for a in actions),
            restores=sum(a.close for a in actions),
            happenings=tuple(_happening(row) for row in happened),
            addresses=addresses(self._deployment),
            transport=self._deployment.transport,
            chapters=self._chapters(),
        )

    def _meter(self, row: dict[str, Any], homes: dict[str, Any]) -> MeterLine:
        home = homes.get(row["serial"])
        prepaid = home is not None and home.mode == "prepaid" and home.balance_nano is not None
        return MeterLine(
            name=row["serial"] or row["key"],
            line=row["line"],
            switch=row["switch"],
            answering=bool(row["answering"]),
            contact_ms=int(row["contact_ms"]),
            intervals=int(row["intervals"]),
            balance=display(home.balance_nano, home.currency) if prepaid and home is not None else "",
            low=bool(prepaid and home is not None and home.balance_nano < nano(acacia.LOW_BALANCE)),
            recent_wh=tuple(self._use[row["serial"]]),
        )

    def _remember(self, registers: dict[str, tuple[int, int]]) -> None:
        """An hour's use whenever a register has moved on by an hour."""
        for serial, (at_ms, register_wh) in registers.items():
            before = self._registers.get(serial)
            if before is None:
                self._registers[serial] = (at_ms, register_wh)
            elif at_ms - before[0] >= 3_600_000:
                self._use[serial].append(max(0, register_wh - before[1]))
                self._registers[serial] = (at_ms, register_wh)


def _happening(row: Any) -> Happening:
    kind = event_type(row.code)
    detail = f" ({row.detail})" if row.detail else ""
    return Happening(row.at_ms, f"{row.serial or 'DCU'}  {kind.text}{detail}", kind.name in _BAD)
