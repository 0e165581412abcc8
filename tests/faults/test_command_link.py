"""Commands and receipts over a link that loses, doubles and turns round: every one ends, both sides agree, none acts twice or late."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.commands import receipts, service, states
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store.tables import command, dcu, meter
from gridtally_edge.prepay import events as p
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Batch, CommandType, Entry, EntryKind, Lane
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import TERMINAL, CommandState
from support.cloud_store import new_street
from support.prepay_bench import HOUR_MS, SIGNER, Bench

C, S = CommandType, CommandState
MINUTE_MS = 60_000
SEEDS = 6


class Link:
    """The real cloud and the real edge core, with a bad link between. Everything random comes from one seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.edge = Bench(folder)
        self.street = new_street(folder, installed_ms=self.edge.now_ms - HOUR_MS)
        with self.street.db.write() as conn:
            conn.execute(insert(dcu).values(dcu="dcu-1", serial="S-2", state="active", created_ms=0))
            conn.execute(update(meter).values(dcu="dcu-1"))
        self.cloud, self.down = Ingest(self.street.db, SIGNER), Publisher(self.street.db, "test", self.publish)
        self.under_way: list[bytes] = []
        self.ids: list[bytes] = []
        self.seen = 0

    @property
    def now_ms(self) -> int:
        return self.edge.now_ms

    def publish(self, _topic: str, payload: bytes) -> bool:
        copies = self.dice.choice((0, 0, 1, 1, 1, 2))
        self.under_way += [payload] * copies
        return True

    def ask(self) -> None:
        """One of the things people do."""
        kind = self.dice.choice((C.SWITCH_OPEN, C.SWITCH_CLOSE, C.SWITCH_CLOSE, C.READ_SWITCH, C.MESSAGE))
        later_ms = self.now_ms + self.dice.randrange(1, 90) * MINUTE_MS if self.dice.random() < 0.5 else 0
        with self.street.db.write() as conn:
            action = self.dice.random()
            try:
                if self.ids and action < 0.2:
                    service.cancel(conn, SIGNER, self.dice.choice(self.ids), "staff:ada", self.now_ms)
                elif self.ids and action < 0.4:
                    to_ms = self.now_ms + self.dice.randrange(5, 60) * MINUTE_MS
                    self.ids.append(service.reschedule(conn, SIGNER, self.dice.choice(self.ids), to_ms, "staff:ada", self.now_ms))
                else:
                    request = CommandRequest(1, kind, f"system:{len(self.ids)}", "test", not_before_ms=later_ms, text="Hello")
                    self.ids.append(service.issue(conn, SIGNER, request, self.now_ms).cmd_id)
            except RefusedCommand:
                pass

    def step(self) -> None:
        self.edge.now_ms += MINUTE_MS
        self.edge.trust()
        self.edge.tell(p.Tick())
        with self.street.db.write() as conn:
            receipts.queue_due(conn, SIGNER, self.now_ms)
            receipts.reissue_overtaken(conn, SIGNER, self.now_ms)
            receipts.expire(conn, self.now_ms)
        self.down.send_due(self.now_ms, 1.0)
        self.dice.shuffle(self.under_way)
        arrive, self.under_way = self.under_way[:3], self.under_way[3:]
        for payload in arrive:
            self.edge.tell(p.CommandArrived(payload))
        self.meter_answers()
        if self.dice.random() < 0.5:
            self.receipts_up()

    def meter_answers(self) -> None:
        effects, self.edge.effects = self.edge.effects, []
        for effect in effects:
            if isinstance(effect, p.RunSwitch):
                self.edge.finish(order=effect)
            elif isinstance(effect, p.RunRead):
                self.edge.tell(p.ReadFinished(effect.cmd_id, True, self.now_ms, b"\xa0"))

    def receipts_up(self) -> None:
        """The lane is sent again until it is receipted: nothing is lost, anything may come twice, in any order."""
        rows = self.edge.db.execute("SELECT seq, body FROM outbox_entry WHERE kind = ?", (int(EntryKind.COMMAND_RECEIPT),)).fetchall()
        fresh = [Entry(seq, EntryKind.COMMAND_RECEIPT, body) for seq, body in rows if seq > self.seen - 5]
        self.seen = max((seq for seq, _ in rows), default=0)
        self.dice.shuffle(fresh)
        batch = Batch(b"\x09" * 16, int(Lane.URGENT), tuple(fresh), self.now_ms)
        assert self.cloud.handle(BY_NAME["urgent"].topic("dcu-1"), encode(batch), self.now_ms)


@pytest.mark.covers_part("C3-NFR10", "C3-FR14", "C3-FR15")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_command_ends_once_and_both_sides_agree(tmp_path: Path, seed: int) -> None:
    link = Link(tmp_path, seed)
    for minute in range(75):
        if minute % 4 == 0:
            link.ask()
        if minute == 40:
            link.edge.restart()
        link.step()
    link.edge.now_ms += 8 * 24 * HOUR_MS
    for _ in range(4):
        link.step()
    link.receipts_up()
    with link.street.db.read() as conn:
        told = {bytes(r.cmd_id): r for r in conn.execute(select(command))}
        steps = {cmd_id: states.steps(conn, cmd_id) for cmd_id in told}
    edge = dict(link.edge.db.execute("SELECT cmd_id, state FROM command").fetchall())
    assert len(told) >= 6
    for cmd_id, row in told.items():
        assert S(row.state) in TERMINAL, (seed, S(row.state))
        ran = {S(s.state) for s in steps[cmd_id] if s.by.startswith("dcu:")}
        if edge.get(cmd_id) == S.DONE:
            assert row.state in (S.DONE, S.EXPIRED), (seed, ran)
        if row.state == S.DONE:
            assert edge[cmd_id] == S.DONE
    acted = link.edge.db.execute("SELECT cmd_id, created_ms, result FROM action WHERE cmd_id <> x''").fetchall()
    assert len({cmd_id for cmd_id, _, _ in acted}) == len(acted), "a switch command acted twice"
    assert all(told[cmd_id].not_before_ms <= at_ms <= told[cmd_id].expires_ms for cmd_id, at_ms, _ in acted)
    link.street.db.close()
