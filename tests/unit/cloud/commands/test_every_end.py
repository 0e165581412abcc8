"""Every type of command ends, whatever happens, and its sender is told: one body for all types and all ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gridtally_cloud.commands import figures, priorities, receipts, service, states
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.commands.service import limit_detail, token_detail
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.publisher import Publisher
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Batch, Command, CommandReceipt, CommandType, Entry, EntryKind, Lane
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import COMMAND_RULES, SENT_AHEAD_MS, CommandState, Reason
from gridtally_shared.meter_settings import BillingDate, ResetKind, Setting, SettingKind, packed
from gridtally_shared.signing import KeySigner, verify1
from support.cloud_store import START_MS, Street, new_street

S = CommandState
SENDER = "staff:ada"
SIGNER = KeySigner.from_seed(b"\x05" * 32)


NEEDED: dict[CommandType, dict[str, object]] = {
    CommandType.READ_SETTINGS: {"settings": (Setting(SettingKind.BILLING_DATE),)},
    CommandType.WRITE_SETTINGS: {"settings": (packed(BillingDate(1)),)},
    CommandType.RESET: {"reset": int(ResetKind.MAXIMUM_DEMAND)},
    CommandType.LIMIT: {"detail": limit_detail(500)},
    CommandType.CANCEL: {"target": b"\x07" * 16},
    CommandType.SCHEDULE: {"detail": b"\xa0"},
    CommandType.TOKEN: {"detail": token_detail("12345678901234567890")},
}


class World:
    """The store, the real ingest and publisher, and what went down."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self.ingest = Ingest(street.db, SIGNER)
        self.down: list[tuple[str, bytes]] = []
        self.broker_up = True
        self.publisher = Publisher(street.db, "test", self._publish)
        self._seq = 0

    def _publish(self, topic: str, payload: bytes) -> bool:
        if self.broker_up:
            self.down.append((topic, payload))
        return self.broker_up

    def issue(self, kind: CommandType, **more: object) -> bytes:
        return self.issued(kind, **more).cmd_id

    def issued(self, kind: CommandType, **more: object) -> service.Issued:
        fields: dict[str, object] = {"from_ms": START_MS - 1000, "to_ms": START_MS, "text": "Hello"} | NEEDED.get(kind, {}) | more
        request = CommandRequest(1, kind, SENDER, "test", **fields)  # type: ignore[arg-type]
        with self.street.db.write() as conn:
            return service.issue(conn, SIGNER, request, START_MS)

    def send(self, now_ms: int) -> list[Command]:
        before = len(self.down)
        self.publisher.send_due(now_ms, 1.0)
        new = self.down[before:]
        assert {topic for topic, _ in new} <= {BY_NAME["command"].topic(self.street.dcu)}
        return [decode(Command, verify1({SIGNER.key_id: SIGNER.public}, "command", payload)) for _, payload in new]

    def receipt(
        self, cmd_id: bytes, state: CommandState, reason: str = "", at_ms: int = START_MS + 100, result: bytes = b""
    ) -> None:
        self._seq += 1
        body = encode(CommandReceipt(cmd_id, 1, int(state), at_ms, reason, result))
        entries = (Entry(self._seq, EntryKind.COMMAND_RECEIPT, body),)
        batch = Batch(b"\x09" * 16, int(Lane.URGENT), entries, at_ms)
        assert self.ingest.handle(BY_NAME["urgent"].topic(self.street.dcu), encode(batch), at_ms)

    def jobs(self, now_ms: int) -> None:
        with self.street.db.write() as conn:
            receipts.queue_due(conn, SIGNER, now_ms)
            receipts.reissue_overtaken(conn, SIGNER, now_ms)
            receipts.expire(conn, now_ms)

    def state(self, cmd_id: bytes) -> tuple[CommandState, str]:
        with self.street.db.read() as conn:
            found = states.find(conn, cmd_id)
        assert found is not None
        return found.state, found.reason


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    street = new_street(tmp_path)
    yield World(street)
    street.db.close()


def _done(world: World, kind: CommandType) -> tuple[bytes, str]:
    cmd_id = world.issue(kind)
    world.send(START_MS)
    world.receipt(cmd_id, S.EXECUTING)
    world.receipt(cmd_id, S.DONE)
    return cmd_id, ""


def _failed(world: World, kind: CommandType) -> tuple[bytes, str]:
    cmd_id = world.issue(kind)
    world.send(START_MS)
    world.receipt(cmd_id, S.EXECUTING)
    world.receipt(cmd_id, S.FAILED, Reason.NO_ANSWER)
    return cmd_id, Reason.NO_ANSWER


def _refused(world: World, kind: CommandType) -> tuple[bytes, str]:
    cmd_id = world.issue(kind)
    world.send(START_MS)
    world.receipt(cmd_id, S.REFUSED, Reason.UNSUPPORTED)
    return cmd_id, Reason.UNSUPPORTED


def _never_sent(world: World, kind: CommandType) -> tuple[bytes, str]:
    world.broker_up = False
    cmd_id = world.issue(kind)
    world.send(START_MS)
    world.jobs(START_MS + COMMAND_RULES[kind][2])
    return cmd_id, Reason.NO_RECEIPT


def _no_receipt(world: World, kind: CommandType) -> tuple[bytes, str]:
    cmd_id = world.issue(kind)
    world.send(START_MS)
    end_ms = START_MS + COMMAND_RULES[kind][2]
    world.jobs(end_ms)
    assert world.state(cmd_id)[0] is S.QUEUED
    world.jobs(end_ms + receipts.GRACE_MS)
    return cmd_id, Reason.NO_RECEIPT


def _executing_forever(world: World, kind: CommandType) -> tuple[bytes, str]:
    cmd_id = world.issue(kind)
    world.send(START_MS)
    world.receipt(cmd_id, S.EXECUTING)
    world.jobs(START_MS + COMMAND_RULES[kind][2] + receipts.GRACE_MS)
    return cmd_id, Reason.NO_RECEIPT


def _cancelled(world: World, kind: CommandType) -> tuple[bytes, str]:
    cmd_id = world.issue(kind, not_before_ms=START_MS + 60_000)
    with world.street.db.write() as conn:
        service.cancel(conn, SIGNER, cmd_id, SENDER, START_MS)
    return cmd_id, Reason.CANCELLED


ENDS: dict[str, tuple[Callable[[World, CommandType], tuple[bytes, str]], CommandState]] = {
    "done": (_done, S.DONE),
    "failed": (_failed, S.FAILED),
    "refused": (_refused, S.REFUSED),
    "never sent": (_never_sent, S.EXPIRED),
    "no receipt": (_no_receipt, S.EXPIRED),
    "executing for ever": (_executing_forever, S.EXPIRED),
    "cancelled": (_cancelled, S.CANCELLED),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", list(CommandType), ids=lambda k: k.name.lower())
@pytest.mark.covers("ETSI-5.2.5-post")
@pytest.mark.covers_part("BYPL-3.6", "BYPL-21.2")
def test_every_command_ends_and_its_sender_is_told(world: World, kind: CommandType, end: str) -> None:
    play, expected = ENDS[end]
    cmd_id, reason = play(world, kind)
    assert world.state(cmd_id) == (expected, reason)
    with world.street.db.read() as conn:
        told = service.notices(conn, SENDER)
    assert [(n.cmd_id, n.state, n.reason) for n in told] == [(cmd_id, expected, reason)]
    assert kind.name.lower().replace("_", " ") in told[0].text
    assert world.send(START_MS + COMMAND_RULES[kind][2] + 10 * receipts.GRACE_MS) == []


def test_a_switch_command_goes_again_after_45_s_without_a_receipt(world: World) -> None:
    cmd_id = world.issue(CommandType.SWITCH_OPEN)
    first = world.send(START_MS)
    assert world.send(START_MS + 44_999) == []
    second = world.send(START_MS + 45_000)
    assert first == second
    world.receipt(cmd_id, S.EXECUTING)
    assert world.send(START_MS + 200_000) == []


@pytest.mark.covers_part("BYPL-3.3")
def test_the_same_key_gives_the_same_command(world: World) -> None:
    first = world.issued(CommandType.SWITCH_OPEN, idempotency_key="form-17")
    again = world.issued(CommandType.SWITCH_OPEN, idempotency_key="form-17")
    assert again.cmd_id == first.cmd_id
    assert again.repeated
    assert len(world.send(START_MS)) == 1


def test_counters_rise_per_dcu_and_switch_counters_per_meter(world: World) -> None:
    for kind in (CommandType.READ_INSTANT, CommandType.SWITCH_OPEN, CommandType.SWITCH_CLOSE):
        world.issue(kind)
    sent = sorted(world.send(START_MS), key=lambda c: c.counter)
    assert [c.counter for c in sent] == [1, 2, 3]
    assert [c.switch_counter for c in sent] == [0, 1, 2]


def test_the_more_urgent_command_goes_first(world: World) -> None:
    for kind in (CommandType.MESSAGE, CommandType.READ_INTERVALS, CommandType.SWITCH_OPEN, CommandType.SWITCH_CLOSE):
        world.issue(kind)
    sent = [CommandType(c.type).name for c in world.send(START_MS)]
    assert sent == ["SWITCH_CLOSE", "SWITCH_OPEN", "READ_INTERVALS", "MESSAGE"]


def test_an_overtaken_command_is_issued_again_under_its_order(world: World) -> None:
    cmd_id = world.issue(CommandType.SWITCH_CLOSE)
    world.send(START_MS)
    world.receipt(cmd_id, S.REFUSED, Reason.OVERTAKEN)
    world.jobs(START_MS + 200)
    again = world.send(START_MS + 200)
    assert [(c.order_id, c.counter) for c in again] == [(cmd_id, 2)]
    assert again[0].cmd_id != cmd_id
    world.jobs(START_MS + 300)
    assert world.send(START_MS + 300) == []


def test_an_order_overtaken_by_actions_of_the_edge_is_numbered_above_them(world: World) -> None:
    cmd_id = world.issue(CommandType.SWITCH_CLOSE)
    world.send(START_MS)
    evidence = encode(SwitchEvidence(False, "done", 41))
    world.receipt(cmd_id, S.REFUSED, Reason.OVERTAKEN, result=evidence)
    world.jobs(START_MS + 200)
    assert [c.switch_counter for c in world.send(START_MS + 200)] == [42]


def test_an_overtaken_open_yields_to_a_newer_close(world: World) -> None:
    opened = world.issue(CommandType.SWITCH_OPEN)
    world.issue(CommandType.SWITCH_CLOSE)
    world.send(START_MS)
    world.receipt(opened, S.REFUSED, Reason.OVERTAKEN)
    world.jobs(START_MS + 200)
    assert world.send(START_MS + 200) == []


def test_the_21st_disconnect_of_a_person_in_an_hour_is_refused(world: World) -> None:
    states_seen = [world.issued(CommandType.SWITCH_OPEN).state for _ in range(21)]
    assert states_seen == [S.QUEUED] * 20 + [S.REFUSED]
    assert world.issued(CommandType.SWITCH_CLOSE).state is S.QUEUED


def test_a_wave_is_quarantined_until_a_second_person_releases_it(world: World) -> None:
    request = CommandRequest(1, CommandType.SWITCH_OPEN, "system:debt", "debt")
    with world.street.db.write() as conn:
        issued = [service.issue(conn, SIGNER, request, START_MS) for _ in range(21)]
    assert [i.state for i in issued] == [S.QUEUED] * 20 + [S.QUARANTINED]
    assert len(world.send(START_MS)) == 20
    with world.street.db.write() as conn:
        with pytest.raises(RefusedCommand):
            service.release(conn, SIGNER, issued[-1].cmd_id, "system:debt", START_MS)
        service.release(conn, SIGNER, issued[-1].cmd_id, "staff:bob", START_MS)
    assert [c.cmd_id for c in world.send(START_MS + 1)] == [issued[-1].cmd_id]


def test_a_scheduled_command_waits_moves_and_goes(world: World) -> None:
    cmd_id = world.issue(CommandType.SWITCH_CLOSE, not_before_ms=START_MS + 60_000 + SENT_AHEAD_MS)
    later_ms = START_MS + 120_000 + SENT_AHEAD_MS
    with world.street.db.write() as conn:
        assert service.reschedule(conn, SIGNER, cmd_id, later_ms, SENDER, START_MS) == cmd_id
    world.jobs(START_MS + 60_000)
    assert world.send(START_MS + 60_000) == []
    world.jobs(START_MS + 120_000)
    sent = world.send(START_MS + 120_000)
    assert [(c.not_before_ms, c.switch_counter) for c in sent] == [(later_ms, 0)]
    assert sent[0].expires_ms == later_ms + COMMAND_RULES[CommandType.SWITCH_CLOSE][2]


def test_one_for_later_goes_at_once_when_its_time_is_within_a_day_and_moves_before_it_is_sent(world: World) -> None:
    cmd_id = world.issue(CommandType.SWITCH_CLOSE, not_before_ms=START_MS + 60_000)
    with world.street.db.write() as conn:
        assert service.reschedule(conn, SIGNER, cmd_id, START_MS + 120_000, SENDER, START_MS) == cmd_id
    assert [(c.cmd_id, c.not_before_ms) for c in world.send(START_MS)] == [(cmd_id, START_MS + 120_000)]


def test_what_was_sent_is_taken_back_by_a_command_and_the_edge_decides(world: World) -> None:
    cmd_id = world.issue(CommandType.SWITCH_OPEN, not_before_ms=START_MS + 60_000)
    world.send(START_MS)
    world.receipt(cmd_id, S.DELIVERED)
    with world.street.db.write() as conn:
        taken = service.cancel(conn, SIGNER, cmd_id, SENDER, START_MS)
        again = service.cancel(conn, SIGNER, cmd_id, SENDER, START_MS)
    assert taken is not None
    assert again is not None
    assert (taken.cmd_id, taken.repeated) == (again.cmd_id, not again.repeated)
    assert [(c.type, c.target) for c in world.send(START_MS + 1)] == [(CommandType.CANCEL, cmd_id)]
    assert world.state(cmd_id)[0] is S.DELIVERED
    world.receipt(cmd_id, S.CANCELLED, Reason.CANCELLED)
    world.receipt(taken.cmd_id, S.DONE)
    assert world.state(cmd_id) == (S.CANCELLED, Reason.CANCELLED)
    with world.street.db.write() as conn, pytest.raises(RefusedCommand):
        service.cancel(conn, SIGNER, cmd_id, SENDER, START_MS)


def test_what_was_sent_is_moved_by_the_command_that_takes_its_place(world: World) -> None:
    cmd_id = world.issue(CommandType.SWITCH_OPEN, not_before_ms=START_MS + 60_000)
    world.send(START_MS)
    world.receipt(cmd_id, S.DELIVERED)
    with world.street.db.write() as conn:
        moved = service.reschedule(conn, SIGNER, cmd_id, START_MS + 120_000, SENDER, START_MS)
    sent = world.send(START_MS + 1)
    assert [(c.cmd_id, c.target, c.order_id, c.not_before_ms) for c in sent] == [(moved, cmd_id, cmd_id, START_MS + 120_000)]
    with world.street.db.write() as conn, pytest.raises(RefusedCommand):
        service.reschedule(conn, SIGNER, moved, START_MS, SENDER, START_MS)


def test_an_edge_that_forgot_is_sent_again_what_has_no_end(world: World) -> None:
    ended, held = world.issue(CommandType.READ_INSTANT), world.issue(CommandType.SWITCH_OPEN, not_before_ms=START_MS + 60_000)
    world.send(START_MS)
    world.receipt(ended, S.DONE)
    world.receipt(held, S.DELIVERED)
    with world.street.db.write() as conn:
        receipts.resend_open(conn, world.street.dcu, START_MS + 5)
    assert [c.cmd_id for c in world.send(START_MS + 5)] == [held]


def test_priorities_are_the_utilitys_within_their_class(world: World) -> None:
    with world.street.db.write() as conn:
        priorities.set_priority(conn, CommandType.MESSAGE, 15, SENDER, START_MS)
        for kind, wrong in ((CommandType.MESSAGE, 10), (CommandType.SWITCH_OPEN, 11), (CommandType.SWITCH_CLOSE, 0)):
            with pytest.raises(RefusedCommand):
                priorities.set_priority(conn, kind, wrong, SENDER, START_MS)
    for kind in (CommandType.READ_SWITCH, CommandType.MESSAGE, CommandType.SWITCH_OPEN):
        world.issue(kind)
    assert [CommandType(c.type).name for c in world.send(START_MS)] == ["SWITCH_OPEN", "MESSAGE", "READ_SWITCH"]


def test_times_of_request_delivery_and_completion_are_kept(world: World) -> None:
    cmd_id = world.issue(CommandType.SWITCH_OPEN)
    world.send(START_MS)
    world.receipt(cmd_id, S.EXECUTING, at_ms=START_MS + 100)
    world.receipt(cmd_id, S.DONE, at_ms=START_MS + 900)
    world.receipt(cmd_id, S.DONE, at_ms=START_MS + 950)
    with world.street.db.read() as conn:
        (row,) = figures.timings(conn, START_MS)
    times = (row.requested_ms, row.delivered_ms, row.completed_ms, row.ended_ms)
    assert times == (START_MS, START_MS + 100, START_MS + 900, START_MS + 900)
    assert (row.attempts, row.state) == (1, S.DONE)


def test_a_receipt_of_another_dcu_or_command_is_set_aside(world: World) -> None:
    world.receipt(b"\x01" * 16, S.DONE)
    from gridtally_cloud.ingest import poison

    with world.street.db.read() as conn:
        assert len(poison.waiting(conn)) == 1


def test_a_late_receipt_changes_nothing_and_is_logged(world: World) -> None:
    cmd_id, _ = _no_receipt(world, CommandType.SWITCH_OPEN)
    world.receipt(cmd_id, S.DONE)
    assert world.state(cmd_id) == (S.EXPIRED, Reason.NO_RECEIPT)
    with world.street.db.read() as conn:
        assert [s.state for s in states.steps(conn, cmd_id)][-1] is S.DONE


def test_requests_without_sense_are_refused_at_once(world: World) -> None:
    with world.street.db.write() as conn:
        for request in (
            CommandRequest(99, CommandType.READ_INSTANT, SENDER, ""),
            CommandRequest(1, CommandType.READ_INTERVALS, SENDER, "", from_ms=5, to_ms=5),
            CommandRequest(1, CommandType.MESSAGE, SENDER, "", text=" "),
        ):
            with pytest.raises(RefusedCommand):
                service.issue(conn, SIGNER, request, START_MS)
