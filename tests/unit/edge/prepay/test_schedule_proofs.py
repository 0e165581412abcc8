"""What seed 002 asks of schedules at the meter's side, proof by proof: offline, a restart, receipts and the log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Command, CommandType
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.prepay.standing import standing_from
from gridtally_shared.schedules.document import Schedule, to_bytes
from support.prepay_bench import DAY_MS, HOUR_MS, Bench

S = CommandState
MINUTE_MS = 60_000
OPEN, CLOSED = SwitchState.OPEN, SwitchState.CLOSED

LIMITING = json.dumps({
    "kind": "policy", "code": "steps", "currency": "INR", "zero_action": "limit", "offline": {"cut": "allowed"},
    "limit": {"at_zero": 1, "steps": [{"code": "lifeline", "watts": 300}]}, "low": {"money": ["10"]},
})  # fmt: skip


def watched_w(bench: Bench) -> int | None:
    """The limit in force."""
    text, decision = bench.db.execute("SELECT standing, last_decision FROM account WHERE account_no = 101").fetchone()
    return standing_from(text, decision).limit_w


class Site:
    """A home and its meter, which obeys and is read every twenty minutes. `state`: off (by order), on, or limited for want of money."""

    def __init__(self, folder: Path, state: str) -> None:
        limiting = {"policy_id": "steps", "contract_w": 4_000}
        self.bench = Bench(folder, 1, limiting, documents=(PolicyDocument("steps", 1, 0, LIMITING),))
        self.switch, self.wh, self.seen = CLOSED, 1_000_000, 0
        self.bench.credit(1, "100")
        if state == "off":
            counter = self.bench.db.execute("SELECT counter FROM switch").fetchone()[0]
            self.bench.send(self.bench.command(CommandType.SWITCH_OPEN, switch_counter=counter + 1))
            self._obey()
        while state == "limited" and watched_w(self.bench) is None:
            self.live(20 * MINUTE_MS, watts=1_200)
        self.live(HOUR_MS)
        assert self.state == state

    @property
    def state(self) -> str:
        if self.switch is OPEN:
            return "off"
        return "on" if watched_w(self.bench) is None else "limited"

    def live(self, ms: int, watts: int = 0) -> None:
        for _ in range(ms // (20 * MINUTE_MS)):
            self.bench.now_ms += 20 * MINUTE_MS
            self.wh += watts * 20 // 60 if self.switch is CLOSED else 0
            said = (p.ClockObserved(p.ClockSource.NTP, self.bench.now_ms, self.bench.now_ms), p.Tick())
            batch = (*said, self.bench.meter_read(1, self.wh, self.switch))
            self.bench.effects.extend(self.bench.core.handle_all(batch, self.bench.now_ms))
            self._obey()

    def _obey(self) -> None:
        orders = self.bench.orders()
        for order in orders[self.seen :]:
            self.switch = CLOSED if order.close else OPEN
            self.bench.finish(order=order)
        self.seen = len(orders)

    def restart(self) -> None:
        self.bench.restart()
        self.seen = 0

    def book(self, number: int, in_ms: int, length_ms: int) -> Command:
        start_ms = self.bench.now_ms + in_ms
        document = Schedule(number, programme="A", account_no=101, zone="Asia/Kolkata", start_ms=start_ms, end_ms=start_ms + length_ms,
                            currency="INR")  # fmt: skip
        command = self.bench.command(CommandType.SCHEDULE, not_before_ms=start_ms, expires_ms=start_ms + 30 * DAY_MS,
                                     detail=to_bytes(document))  # fmt: skip
        self.bench.send(command)
        return command

    def receipts(self, command: Command) -> list[S]:
        return [S(r.state) for r in self.bench.receipts() if r.cmd_id == command.cmd_id]


@pytest.mark.covers("C3-S2.13", "C3-S2.16")
@pytest.mark.parametrize("state", ["off", "on", "limited"])
def test_offline_it_is_on_in_its_time_and_then_what_it_was(tmp_path: Path, state: str) -> None:
    """The uplink is cut before the start and still at the end: activated, kept or raised; afterwards as before."""
    site = Site(tmp_path, state)
    frame = site.book(1, HOUR_MS, 2 * HOUR_MS)
    site.bench.offline()
    site.live(HOUR_MS - 20 * MINUTE_MS)
    assert site.state == state
    for _ in range(2):
        site.live(HOUR_MS)
        assert site.state == "on"
    site.live(HOUR_MS)
    assert site.state == state
    assert site.receipts(frame) == [S.DELIVERED, S.EXECUTING, S.DONE]


@pytest.mark.covers("C3-S2.10")
def test_it_is_logged_kept_over_a_restart_and_receipted(tmp_path: Path) -> None:
    """Stored as it came with its time; after a power cut it still runs, and the receipts name it, its meter and the time."""
    site = Site(tmp_path, "off")
    frame = site.book(1, HOUR_MS, HOUR_MS)
    site.bench.offline()
    row = "SELECT body, state, at_ms FROM command WHERE cmd_id = ?"
    stored = tuple(site.bench.db.execute(row, (frame.cmd_id,)).fetchone())
    assert stored[0] == encode(frame)
    assert stored[2] == site.bench.now_ms
    site.restart()
    assert tuple(site.bench.db.execute(row, (frame.cmd_id,)).fetchone()) == stored
    site.live(HOUR_MS + 20 * MINUTE_MS)
    assert site.state == "on"
    site.restart()
    site.live(2 * HOUR_MS)
    assert site.state == "off"
    told = [r for r in site.bench.receipts() if r.cmd_id == frame.cmd_id]
    assert [S(r.state) for r in told] == [S.DELIVERED, S.EXECUTING, S.DONE]
    assert {r.meter_no for r in told} == {1}
    assert [r.at_ms for r in told[1:]] == [frame.not_before_ms, frame.not_before_ms + HOUR_MS]
    names = [BY_CODE[e.code].name for e in site.bench.events()]
    assert [name for name in names if "schedule" in name] == ["schedule_started", "schedule_ended"]
    assert Kind.SWITCH in site.bench.kinds()
