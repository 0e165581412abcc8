"""Schedules in the cloud: booked where the time is free, sent a day ahead, paid by the requester, settled once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from gridtally_cloud.billing import receivables
from gridtally_cloud.commands import receipts, states
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.ingest import mirror
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.programs import money, reads, service
from gridtally_cloud.programs.model import Booking, ScheduleReason, ScheduleState, ScheduleView
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import account_mirror
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Command, InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.lifecycle import SENT_AHEAD_MS, CommandState
from gridtally_shared.money import nano
from gridtally_shared.schedules.document import Outcome, Programme, schedule_from
from gridtally_shared.schedules.windows import clash
from gridtally_shared.signing import KeySigner, verify1
from support.cloud_store import START_MS, Street, new_street

SIGNER = KeySigner.from_seed(b"\x06" * 32)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
DESK = "staff:dora"


@dataclass
class Hall:
    """Account 1 is a hall that takes events, account 2 somebody with 100.00 to spend."""

    street: Street
    now_ms: int = START_MS
    sent: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        with self.street.db.write() as conn:
            money.allow_events(conn, 1, True, DESK, self.now_ms)
            conn.execute(insert(account_mirror).values(
                shard=0, account_no=2, epoch=1, seq=3, head=bytes(32), balance_nano=nano("100"), at_ms=self.now_ms,
                gseq_prefix=0, dcu=self.street.dcu, state=mirror.state_bytes(LedgerState(2, 1)), meter_no=2, updated_ms=self.now_ms,
            ))  # fmt: skip

    def book(self, in_ms: int = 5 * HOUR_MS, length_ms: int = 2 * HOUR_MS, **more: Any) -> ScheduleView:
        start_ms = self.now_ms + in_ms
        wish = {"programme": Programme.A, "account_no": 1, "start_ms": start_ms, "end_ms": start_ms + length_ms, "by": DESK, **more}
        with self.street.db.write() as conn:
            return service.book(conn, SIGNER, Booking(**wish), self.now_ms)

    def event(self, credit: str = "40", **more: Any) -> ScheduleView:
        return self.book(programme=Programme.B, requester_no=2, credit_nano=nano(credit), **more)

    def send(self) -> list[Command]:
        with self.street.db.write() as conn:
            receipts.queue_due(conn, SIGNER, self.now_ms)
            due = [d for d in outbox.claim(conn, "t", self.now_ms, 1) if d.channel == "command"]
            for row in due:
                outbox.sent(conn, "t", row.outbox_no, self.now_ms, self.now_ms + DAY_MS * 99)
        return [decode(Command, verify1({SIGNER.key_id: SIGNER.public}, "command", d.payload)) for d in due]

    def said(self, found: ScheduleView, state: CommandState, result: Outcome | None = None) -> None:
        with self.street.db.write() as conn:
            for step in (CommandState.DELIVERED, CommandState.EXECUTING, state):
                states.advance(conn, found.cmd_id, step, self.now_ms, "dcu", "", encode(result) if result else b"")
            money.settle_ended(conn, SIGNER, self.now_ms)
            assert money.settle_ended(conn, SIGNER, self.now_ms) == 0

    def found(self, number: int) -> ScheduleView:
        with self.street.db.read() as conn:
            return reads.find(conn, number)

    def moved(self) -> list[int]:
        """Amounts that were sent to the requester's own account."""
        i = instrument.c
        with self.street.db.read() as conn:
            rows = conn.execute(select(i.type, i.amount_nano).where(i.account_no == 2).order_by(i.gseq))
            return [r.amount_nano for r in rows if r.type == InstrumentType.OPENING]


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    street = new_street(tmp_path)
    yield Hall(street)
    street.db.close()


@pytest.mark.covers("C3-S2.3", "C3-IE2", "C3-S3.3")
def test_the_slot_is_free_taken_or_not_set_up_and_the_clash_is_named(hall: Hall) -> None:
    first = hall.book(title="Diwali")
    with pytest.raises(RefusedCommand) as taken:
        hall.book(6 * HOUR_MS)
    assert taken.value.reason == ScheduleReason.OVERLAP
    assert f"schedule {first.schedule_no} (Diwali)" in taken.value.detail
    assert hall.book(7 * HOUR_MS, HOUR_MS).is_open
    assert hall.book(4 * HOUR_MS, HOUR_MS).is_open
    with pytest.raises(RefusedCommand) as not_set_up:
        hall.book(programme=Programme.B, account_no=3, requester_no=2, credit_nano=1)
    assert not_set_up.value.reason == ScheduleReason.NOT_SET_UP
    assert "account 3 takes no events of others; its owner allows them" in not_set_up.value.detail
    with hall.street.db.write() as conn:
        money.allow_events(conn, 3, True, DESK, hall.now_ms)
    assert hall.book(programme=Programme.B, account_no=3, requester_no=2, credit_nano=1).is_open


@pytest.mark.covers("C3-S2.7")
@pytest.mark.covers_part("C3-S2.9")
def test_it_goes_a_day_ahead_or_at_once_or_when_somebody_says_so(hall: Hall) -> None:
    near, far, pushed = hall.book(), hall.book(3 * DAY_MS), hall.book(4 * DAY_MS)
    assert [schedule_from(c.detail).schedule_no for c in hall.send()] == [near.schedule_no]
    assert hall.found(far.schedule_no).state is ScheduleState.PLANNED
    with hall.street.db.write() as conn:
        service.send_now(conn, SIGNER, pushed.schedule_no, DESK, hall.now_ms)
    assert [schedule_from(c.detail).schedule_no for c in hall.send()] == [pushed.schedule_no]
    hall.now_ms = far.start_ms - SENT_AHEAD_MS
    assert [schedule_from(c.detail).schedule_no for c in hall.send()] == [far.schedule_no]


def test_the_same_wish_again_is_the_same_schedule(hall: Hall) -> None:
    assert hall.book(idempotency_key="k").schedule_no == hall.book(idempotency_key="k").schedule_no


@pytest.mark.covers_part("C3-S3.7")
def test_an_event_debits_who_asked_and_what_is_left_goes_back(hall: Hall) -> None:
    event = hall.event()
    assert hall.moved() == [nano("-40")]
    hall.said(event, CommandState.DONE, Outcome(event.schedule_no, "ended", hall.now_ms, nano("12.5"), 30_000, nano("27.5"), 1))
    assert hall.moved() == [nano("-40"), nano("27.5")]
    ended = hall.found(event.schedule_no)
    assert (ended.state, ended.spent_nano, ended.spent_wh) == (ScheduleState.ENDED, nano("12.5"), 30_000)
    with hall.street.db.read() as conn:
        rows = reads.money(conn, event.schedule_no)
    assert sum(r.amount_nano for r in rows) == 0
    assert sum(r.amount_nano for r in rows if r.holder.startswith("event:")) == 0
    assert {r.kind for r in rows} == {"funding", "energy", "return"}


@pytest.mark.covers_part("C3-S3.7")
def test_an_overrun_is_owed_by_who_asked_and_takes_nothing_from_his_supply(hall: Hall) -> None:
    event = hall.event()
    hall.said(event, CommandState.DONE, Outcome(event.schedule_no, "ended", hall.now_ms, nano("45"), 100_000, nano("-5"), 1))
    assert hall.moved() == [nano("-40")]
    with hall.street.db.read() as conn:
        assert receivables.outstanding_nano(conn, 2) == nano("5")
        assert receivables.outstanding_nano(conn, 1) == 0


def test_without_enough_money_nothing_is_booked(hall: Hall) -> None:
    with pytest.raises(RefusedCommand) as refused:
        hall.event("100.01")
    assert refused.value.reason == ScheduleReason.NO_FUNDS
    assert hall.moved() == []
    assert hall.send() == []
    hall.event("60")
    with pytest.raises(RefusedCommand):
        hall.event("60", in_ms=20 * HOUR_MS)


@pytest.mark.parametrize("sent", [False, True])
def test_cancelled_the_money_goes_back_whether_or_not_it_was_sent(hall: Hall, sent: bool) -> None:
    event = hall.event()
    if sent:
        hall.send()
    with hall.street.db.write() as conn:
        service.cancel(conn, SIGNER, event.schedule_no, DESK, hall.now_ms)
    if sent:
        assert hall.moved() == [nano("-40")]
        with hall.street.db.write() as conn:
            states.advance(conn, event.cmd_id, CommandState.CANCELLED, hall.now_ms, "dcu")
            money.settle_ended(conn, SIGNER, hall.now_ms)
    assert hall.found(event.schedule_no).state is ScheduleState.CANCELLED
    assert hall.moved() == [nano("-40"), nano("40")]


def test_moved_it_keeps_its_number_and_its_money_and_its_old_time_is_free(hall: Hall) -> None:
    event = hall.event()
    hall.send()
    with hall.street.db.write() as conn:
        states.advance(conn, event.cmd_id, CommandState.DELIVERED, hall.now_ms, "dcu")
        later = event.start_ms + 10 * HOUR_MS
        moved = service.move(conn, SIGNER, event.schedule_no, later, later + HOUR_MS, DESK, hall.now_ms)
    assert (moved.schedule_no, moved.start_ms) == (event.schedule_no, later)
    (command,) = hall.send()
    assert (command.target, schedule_from(command.detail).start_ms) == (event.cmd_id, later)
    assert hall.moved() == [nano("-40")]
    assert hall.book().is_open


@pytest.mark.covers("C3-IE3")
def test_energy_is_converted_at_the_tariff_in_force_and_travels_with_the_money(hall: Hall) -> None:
    event = hall.book(programme=Programme.B, requester_no=2, credit_wh=100_000)
    assert (event.credit_wh, event.credit_nano) == (100_000, nano("32.25"))
    (command,) = hall.send()
    document = schedule_from(command.detail)
    assert (document.start_ms, document.end_ms, document.programme) == (event.start_ms, event.end_ms, "B")
    assert (document.credit_wh, document.credit_nano, document.requester_no) == (100_000, nano("32.25"), 2)


wishes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 12)), min_size=2, max_size=7)


@pytest.mark.covers("C3-FR17")
@given(wishes)
@settings(max_examples=12, deadline=None)
def test_whatever_is_wished_nothing_that_stands_overlaps(tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[int, int]]) -> None:
    hall = Hall(new_street(tmp_path_factory.mktemp("hall")))
    stand: list[ScheduleView] = []
    for start, length in wanted:
        first_ms, last_ms = START_MS + start * HOUR_MS, START_MS + (start + length) * HOUR_MS
        if any(first_ms < s.end_ms and s.start_ms < last_ms for s in stand):
            with pytest.raises(RefusedCommand, match="holds"):
                hall.book(start * HOUR_MS, length * HOUR_MS)
        else:
            stand.append(hall.book(start * HOUR_MS, length * HOUR_MS))
    for same in stand:  # a duplicate
        with pytest.raises(RefusedCommand, match="holds"):
            hall.book(same.start_ms - START_MS, same.end_ms - same.start_ms)
    documents = [service.as_schedule(s) for s in stand]
    assert not any(clash(a, b) for i, a in enumerate(documents) for b in documents[:i])
    hall.street.db.close()


def test_only_an_account_that_is_set_up_can_hold_one(hall: Hall) -> None:
    with hall.street.db.read() as conn:
        account = account_of(conn, 1)
    assert account.is_prepaid
    for wrong in ({"end_ms": START_MS - 1, "start_ms": START_MS - 2}, {"length_ms": 0}):
        with pytest.raises(RefusedCommand):
            hall.book(**wrong)
