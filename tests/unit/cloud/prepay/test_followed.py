"""Schedules and open orders go along when a box dies or a meter is replaced: nobody is dark at his own event, nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from gridtally_cloud.assets import config_publisher
from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands import states
from gridtally_cloud.commands.model import CommandRequest, CommandView
from gridtally_cloud.commands.receipts import take_receipt
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.service import Outgoing
from gridtally_cloud.prepay import handover, replaced
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.programs import money, reads
from gridtally_cloud.programs import service as programs
from gridtally_cloud.programs.model import Booking, ScheduleReason, ScheduleState, ScheduleView
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import dcu, meter, outbox_down
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.sqlite import migrate, open_store, transaction
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.core import Identity, PrepayCore
from gridtally_edge.prepay.rows import ScheduleRow, some
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.meter_settings import ResetKind
from gridtally_shared.money import nano
from gridtally_shared.schedules.document import Action, Outcome, Programme
from support.linked_pair import KEYS, LinkedPair, charged_pair
from support.payday import DAY_MS, DCU, HOUR_MS, OPENED_WH, SIGNER

NEW = "dcu-new"
MINUTE_MS = 60_000
C, S = CommandType, CommandState
OPEN, CLOSED = SwitchState.OPEN, SwitchState.CLOSED
DESK = "staff:dora"


class Box:
    """A concentrator as the MDM sees it: what is addressed to it goes down, what it says of orders comes up, once each."""

    def __init__(self, pair: LinkedPair, name: str, core: PrepayCore, db: Any) -> None:
        self.pair, self.name, self.core, self.db = pair, name, core, db

    def tell(self, event: p.PrepayEvent) -> tuple[p.PrepayEffect, ...]:
        return self.core.handle(event, self.pair.now_ms)

    def down(self) -> None:
        o = outbox_down.c
        with self.pair.db.write() as conn:
            waiting = select(outbox_down).where(o.dcu == self.name, o.channel.in_(("instrument", "command")), o.done_ms.is_(None))
            rows = conn.execute(waiting.order_by(o.outbox_no)).all()
            conn.execute(update(outbox_down).where(o.outbox_no.in_([r.outbox_no for r in rows])).values(attempts=o.attempts + 1))
        for row in rows:
            self.tell({"instrument": p.InstrumentArrived, "command": p.CommandArrived}[row.channel](bytes(row.payload)))

    def up(self) -> None:
        """All it has to say, journal and receipts, as the MDM takes it in."""
        outbox = self.core.outbox
        while True:
            head = next(h for h in outbox.heads() if h.lane == m.Lane.URGENT)
            entries = outbox.pending(m.Lane.URGENT, head.receipted, 32_768)
            if not entries:
                return
            batch = encode(m.Batch(outbox.stream_id, m.Lane.URGENT, entries, self.pair.now_ms))
            for answer in self.pair.ingest.handle(BY_NAME["urgent"].topic(self.name), batch, self.pair.now_ms):
                self._take(answer)

    def _take(self, answer: Outgoing) -> None:
        if answer.channel == "receipt":
            receipt = decode(m.Receipt, answer.payload)
            with transaction(self.db):
                self.core.outbox.receipt(receipt.stream_id, receipt.lane, receipt.upto, self.pair.now_ms)

    def configure(self) -> None:
        with self.pair.db.read() as conn:
            content = config_publisher.build(conn, self.name, self.pair.now_ms)
        self.tell(p.ConfigAccepted(replace(content, version=self.core.config_version + 1, issued_at_ms=self.pair.now_ms)))

    def live(self, ms: int, meter_no: int, serial: str, wh: int, switch: SwitchState = SwitchState.CLOSED) -> tuple[p.PrepayEffect, ...]:
        """Time passes, then the meter is read."""
        self.pair.now_ms += ms
        now_ms = self.pair.now_ms
        read = p.MeterRead(meter_no, serial, now_ms, wh, switch=switch)
        return self.core.handle_all((p.ClockObserved(p.ClockSource.NTP, now_ms, now_ms), p.Tick(), read), now_ms)

    def held(self) -> list[tuple[int, str]]:
        return [(row.meter_no, row.stage) for row in some(self.db, ScheduleRow, "ORDER BY start_ms")]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    with charged_pair(tmp_path) as pair:
        yield pair


@pytest.fixture
def box(pair: LinkedPair) -> Box:
    box = Box(pair, DCU, pair.edge, pair.money)
    box.down()
    box.up()
    return box


@pytest.fixture
def spare(pair: LinkedPair) -> Iterator[Box]:
    """Another concentrator, enrolled, with nothing on its disk."""
    folder = pair.folder / "new"
    folder.mkdir()
    migrate(folder / "money.db", MONEY_STORE)
    db = open_store(folder / "money.db", MONEY_STORE)
    with pair.db.write() as conn:
        conn.execute(insert(dcu).values(dcu=NEW, serial="S-NEW", state="active", created_ms=pair.now_ms))
    core = PrepayCore(db, Identity(NEW, KEYS, b"n" * 16))
    core.start(pair.now_ms)
    yield Box(pair, NEW, core, db)
    db.close()


def seen_at(pair: LinkedPair, wh: int = OPENED_WH + 1_000) -> tuple[int, str, int]:
    """What the first home's meter says."""
    return pair.homes[0].meter_no, pair.homes[0].serial, wh


def take_over(pair: LinkedPair, spare: Box) -> None:
    """The old one is dead. The new one hears of orders before it hears of its meters, which is the worse order."""
    with pair.db.write() as conn:
        replaced.replace_whole_edge(conn, SIGNER, DCU, NEW, pair.now_ms, "asha")
    spare.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms))
    spare.down()
    spare.configure()
    pair.now_ms += MINUTE_MS
    spare.tell(p.Tick())


def another_meter(pair: LinkedPair) -> int:
    with pair.db.write() as conn:
        number = int(conn.execute(select(func.max(meter.c.meter_no))).scalar_one()) + 1
        point = conn.execute(select(meter.c.usage_point_no).where(meter.c.meter_no == pair.homes[0].meter_no)).scalar_one()
        conn.execute(insert(meter).values(meter_no=number, serial="NEW-1", dcu=DCU, usage_point_no=point, installed_ms=pair.now_ms))
        replaced.swap_meter(conn, SIGNER, pair.account, number, OPENED_WH + 1_000, 0, pair.now_ms, "asha")
    return number


def book(pair: LinkedPair, in_ms: int = HOUR_MS, length_ms: int = 4 * HOUR_MS, **more: Any) -> ScheduleView:
    start_ms = pair.now_ms + in_ms
    wish = {"programme": Programme.A, "account_no": pair.account, "start_ms": start_ms, "end_ms": start_ms + length_ms, "by": DESK, **more}
    with pair.db.write() as conn:
        return programs.book(conn, SIGNER, Booking(**wish), pair.now_ms)


def event(pair: LinkedPair, credit: str = "60", **more: Any) -> ScheduleView:
    """At the first home, paid by the second."""
    payer = pair.homes[1].account_no
    with pair.db.write() as conn:
        money.allow_events(conn, pair.account, True, DESK, pair.now_ms)
    return book(pair, programme=Programme.B, requester_no=payer, credit_nano=nano(credit), **more)


def order(pair: LinkedPair, kind: CommandType, in_ms: int = 0, **more: Any) -> bytes:
    request = CommandRequest(pair.homes[0].meter_no, kind, DESK, "asked", not_before_ms=pair.now_ms + in_ms if in_ms else 0, **more)
    with pair.db.write() as conn:
        return commanding.issue(conn, SIGNER, request, pair.now_ms).cmd_id


def found(pair: LinkedPair, cmd_id: bytes) -> CommandView:
    with pair.db.read() as conn:
        view = states.find(conn, cmd_id)
    assert view is not None
    return view


def schedule(pair: LinkedPair, number: int) -> ScheduleView:
    with pair.db.read() as conn:
        return reads.find(conn, number)


# ---- another concentrator


def test_a_time_frame_that_waited_at_a_dead_box_runs_at_the_next_one(pair: LinkedPair, box: Box, spare: Box) -> None:
    view = book(pair)
    box.down()
    box.up()
    assert schedule(pair, view.schedule_no).state is ScheduleState.HELD
    take_over(pair, spare)
    home = pair.homes[0]
    assert spare.held() == [(home.meter_no, "waiting")]
    spare.live(HOUR_MS, home.meter_no, home.serial, OPENED_WH + 1_500)
    spare.up()
    assert schedule(pair, view.schedule_no).state is ScheduleState.RUNNING
    spare.live(4 * HOUR_MS, home.meter_no, home.serial, OPENED_WH + 1_900)
    spare.up()
    assert schedule(pair, view.schedule_no).state is ScheduleState.ENDED


def test_one_that_was_still_planned_is_sent_to_the_next_box(pair: LinkedPair, box: Box, spare: Box) -> None:
    view = book(pair, in_ms=3 * DAY_MS)
    take_over(pair, spare)
    assert spare.held() == []
    assert found(pair, view.cmd_id).dcu == NEW
    with pair.db.write() as conn:
        programs.send_now(conn, SIGNER, view.schedule_no, DESK, pair.now_ms)
    spare.down()
    assert spare.held() == [(pair.homes[0].meter_no, "waiting")]


def test_who_asked_for_an_event_pays_what_was_used_at_both_boxes(pair: LinkedPair, box: Box, spare: Box) -> None:
    pair.pay("100", pair.homes[1].account_no)
    pair.read(1, OPENED_WH)
    pair.meet()
    view, home = event(pair), pair.homes[0]
    for wh in (1_000, 1_200, 3_200):
        box.down()
        box.live(HOUR_MS, home.meter_no, home.serial, OPENED_WH + wh)
        box.up()
    take_over(pair, spare)
    for wh in (4_200, 6_200, 7_000):
        spare.live(HOUR_MS, home.meter_no, home.serial, OPENED_WH + wh)
    spare.up()
    ended = schedule(pair, view.schedule_no)
    assert ended.state is ScheduleState.ENDED
    at_first = ended.spent_nano or 0
    at_second = decode(Outcome, found(pair, view.cmd_id).result).spent_nano
    assert min(at_first, at_second) > 0
    with pair.db.write() as conn:
        assert money.settle_ended(conn, SIGNER, pair.now_ms) == 1
    done = schedule(pair, view.schedule_no)
    assert done.spent_nano == at_first + at_second
    assert done.spent_wh == 200 + 2_000 + 1_000 + 2_000 * 59 // 60, "what was used under neither of them too"
    with pair.db.read() as conn:
        rows = {(r.kind, r.holder): r.amount_nano for r in reads.money(conn, view.schedule_no)}
    assert rows[("energy", f"energy:{view.schedule_no}")] == done.spent_nano
    assert rows[("return", f"requester:{pair.homes[1].account_no}")] == nano("60") - (done.spent_nano or 0)


def test_a_running_frame_keeps_the_supply_on_at_the_next_box_with_no_credit_left(pair: LinkedPair, box: Box, spare: Box) -> None:
    book(pair)
    home = pair.homes[0]
    box.down()
    box.live(2 * HOUR_MS, home.meter_no, home.serial, OPENED_WH + 1_000)
    box.up()
    take_over(pair, spare)
    effects = spare.live(HOUR_MS, home.meter_no, home.serial, OPENED_WH + 900_000)
    assert not [e for e in effects if isinstance(e, p.RunSwitch)]


def test_a_home_that_is_dark_for_a_while_is_lit_by_the_next_box(pair: LinkedPair, box: Box, spare: Box) -> None:
    """The old one switched it off for a time that was booked and died within it."""
    box.live(HOUR_MS, *seen_at(pair))
    book(pair, action=Action.OFF)
    home = pair.homes[0]
    box.down()
    effects = [*box.live(HOUR_MS, *seen_at(pair)), *box.live(MINUTE_MS, *seen_at(pair))]
    (cut,) = [e for e in effects if isinstance(e, p.RunSwitch)]
    outcome = p.SwitchOutcome(p.SwitchResult.DONE, cut.serial, CLOSED, OPEN, True, pair.now_ms, OPENED_WH + 1_000, pair.now_ms)
    box.tell(p.SwitchFinished(cut.action_id, outcome))
    box.up()
    take_over(pair, spare)
    switched = [e for e in spare.live(HOUR_MS, home.meter_no, home.serial, OPENED_WH + 1_000, OPEN) if isinstance(e, p.RunSwitch)]
    assert switched == []
    effects = spare.live(3 * HOUR_MS, home.meter_no, home.serial, OPENED_WH + 1_000, OPEN)
    assert [e.close for e in effects if isinstance(e, p.RunSwitch)] == [True]


def test_a_home_whose_dark_time_ended_at_the_old_box_but_for_the_switch_is_lit_too(pair: LinkedPair, box: Box, spare: Box) -> None:
    """The old one had told its end, and could not reach the meter any more."""
    box.live(HOUR_MS, *seen_at(pair))
    view = book(pair, action=Action.OFF)
    home = pair.homes[0]
    box.down()
    (cut,) = [e for e in (*box.live(HOUR_MS, *seen_at(pair)), *box.live(MINUTE_MS, *seen_at(pair))) if isinstance(e, p.RunSwitch)]
    outcome = p.SwitchOutcome(p.SwitchResult.DONE, cut.serial, CLOSED, OPEN, True, pair.now_ms, OPENED_WH + 1_000, pair.now_ms)
    box.tell(p.SwitchFinished(cut.action_id, outcome))
    pair.now_ms += 5 * HOUR_MS
    box.core.handle_all((p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms), p.Tick()), pair.now_ms)
    box.up()
    assert schedule(pair, view.schedule_no).state is ScheduleState.ENDED
    take_over(pair, spare)
    effects = [e for _ in range(4) for e in spare.live(20 * MINUTE_MS, home.meter_no, home.serial, OPENED_WH + 1_000, OPEN)]
    assert [e.close for e in effects if isinstance(e, p.RunSwitch)] == [True]


@pytest.mark.parametrize("cancel_first", [False, True])
def test_one_that_is_cancelled_beside_the_change_never_runs(pair: LinkedPair, box: Box, spare: Box, cancel_first: bool) -> None:
    view = book(pair)
    box.down()
    box.up()
    steps = [lambda: take_over(pair, spare), lambda: cancel(pair, view.schedule_no)]
    for step in reversed(steps) if cancel_first else steps:
        step()
    spare.down()
    spare.up()
    assert schedule(pair, view.schedule_no).state is ScheduleState.CANCELLED
    assert "waiting" not in [stage for _, stage in spare.held()]


def test_one_that_is_cancelled_behind_another_meter_and_then_another_box_never_runs(pair: LinkedPair, box: Box, spare: Box) -> None:
    """The cancel is heard first, and is for the meter of before, as the schedule is."""
    view = book(pair)
    box.down()
    box.up()
    another_meter(pair)
    cancel(pair, view.schedule_no)
    with pair.db.write() as conn:
        replaced.replace_edge(conn, SIGNER, pair.account, NEW, pair.now_ms, "asha")
        o = outbox_down.c
        conn.execute(update(outbox_down).where(o.channel == "command", o.ref == view.cmd_id.hex()).values(dcu="later"))
    spare.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms))
    spare.configure()
    spare.down()
    with pair.db.write() as conn:
        conn.execute(update(outbox_down).where(o.dcu == "later").values(dcu=NEW))
    spare.down()
    spare.up()
    assert schedule(pair, view.schedule_no).state is ScheduleState.CANCELLED
    assert spare.held() == []


def cancel(pair: LinkedPair, number: int) -> None:
    with pair.db.write() as conn:
        programs.cancel(conn, SIGNER, number, DESK, pair.now_ms)


def test_orders_that_harm_nobody_twice_go_along_and_a_cut_of_now_does_not(pair: LinkedPair, box: Box, spare: Box) -> None:
    close, later = order(pair, C.SWITCH_CLOSE), order(pair, C.SWITCH_OPEN, in_ms=5 * HOUR_MS)
    cut, reset = order(pair, C.SWITCH_OPEN), order(pair, C.RESET, reset=ResetKind.MAXIMUM_DEMAND)
    box.down()  # it took them with it
    take_over(pair, spare)
    assert [found(pair, cmd_id).dcu for cmd_id in (close, later, cut, reset)] == [NEW, NEW, DCU, DCU]
    spare.up()
    assert [found(pair, cmd_id).state for cmd_id in (close, later)] == [S.EXECUTING, S.DELIVERED]
    assert [found(pair, cmd_id).state for cmd_id in (cut, reset)] == [S.QUEUED, S.QUEUED]


def test_what_the_dead_box_says_of_them_later_counts_no_more(pair: LinkedPair, box: Box, spare: Box) -> None:
    view = book(pair)
    box.down()
    take_over(pair, spare)
    late = m.CommandReceipt(view.cmd_id, pair.homes[0].meter_no, int(S.REFUSED), pair.now_ms, Reason.OVERLAP)
    with pytest.raises(ContractError, match="never went to"), pair.db.write() as conn:
        take_receipt(Arrival(conn, StreamKey(DCU, b"o" * 16, 1), 1, pair.now_ms), late)
    spare.up()
    assert schedule(pair, view.schedule_no).state is ScheduleState.HELD


def test_the_box_that_comes_back_later_takes_it_anew(pair: LinkedPair, box: Box, spare: Box) -> None:
    """To the spare one for a day of repair, and back: the disk of the first one still has the schedule, of an epoch that is over."""
    view = book(pair, in_ms=20 * HOUR_MS)
    box.down()
    box.up()
    take_over(pair, spare)
    spare.up()
    with pair.db.write() as conn:
        replaced.replace_whole_edge(conn, SIGNER, NEW, DCU, pair.now_ms, "asha")
    box.configure()
    assert [stage for _, stage in box.held()] == ["over"]
    box.down()
    box.up()
    assert [stage for _, stage in box.held()] == ["waiting"]
    assert schedule(pair, view.schedule_no).state is ScheduleState.HELD


# ---- an old disk


def test_a_schedule_that_an_old_disk_forgot_comes_again_though_it_wrote_on_without_a_link(pair: LinkedPair, box: Box) -> None:
    """So its queue is longer than what the MDM received, and says nothing; its journal is another one than its mirror."""
    image = pair.image("before")
    view = book(pair)
    box.down()
    box.up()
    pair.roll_back(image)
    box.core, box.db = pair.edge, pair.money
    for n in range(20):
        pair.tell(p.LinkChanged(False))
        pair.wait(60_000)
        pair.read(0, OPENED_WH + 1_000 + 10 * n)
    assert box.held() == []
    pair.greet()
    pair.sync()
    box.down()
    box.up()
    assert box.held() == [(pair.homes[0].meter_no, "waiting")]
    assert schedule(pair, view.schedule_no).state is ScheduleState.HELD


# ---- another meter


def test_a_schedule_goes_on_behind_the_next_meter(pair: LinkedPair, box: Box) -> None:
    view = book(pair)
    box.down()
    box.live(2 * HOUR_MS, pair.homes[0].meter_no, pair.homes[0].serial, OPENED_WH + 1_000)
    number = another_meter(pair)
    box.configure()
    assert box.held() == [(number, "running")]
    effects = box.live(HOUR_MS, number, "NEW-1", 900_000)
    assert not [e for e in effects if isinstance(e, p.RunSwitch)], "nobody is cut within his time"
    box.live(3 * HOUR_MS, number, "NEW-1", 900_001)
    box.up()
    assert schedule(pair, view.schedule_no).state is ScheduleState.ENDED


def test_one_that_was_on_its_way_is_held_at_the_next_meter(pair: LinkedPair, box: Box) -> None:
    view = book(pair)
    with pair.db.write() as conn:
        (due,) = [due for due in outbox.claim(conn, "w", pair.now_ms, 1_000) if due.channel == "command"]
        outbox.sent(conn, "w", due.outbox_no, pair.now_ms, pair.now_ms + 1)
    number = another_meter(pair)
    box.configure()
    box.down()
    box.up()
    assert box.held() == [(number, "waiting")]
    assert schedule(pair, view.schedule_no).state is ScheduleState.HELD


def test_its_time_is_taken_at_the_next_meter(pair: LinkedPair, box: Box) -> None:
    view = book(pair, in_ms=3 * DAY_MS)
    number = another_meter(pair)
    assert (schedule(pair, view.schedule_no).meter_no, found(pair, view.cmd_id).meter_no) == (number, number)
    with pytest.raises(RefusedCommand, match=ScheduleReason.OVERLAP):
        book(pair, in_ms=3 * DAY_MS + HOUR_MS)


def test_an_order_for_a_meter_that_is_gone_ends_and_its_sender_is_told(pair: LinkedPair, box: Box) -> None:
    cmd_id = order(pair, C.SWITCH_OPEN, in_ms=3 * DAY_MS)
    another_meter(pair)
    assert (found(pair, cmd_id).state, found(pair, cmd_id).reason) == (S.CANCELLED, Reason.REPLACED)
    with pair.db.read() as conn:
        (notice,) = commanding.notices(conn, DESK)
    assert "give it again" in notice.text


# ---- the MDM runs the account


def test_an_account_with_schedules_stays_with_its_concentrator(pair: LinkedPair, box: Box) -> None:
    view = book(pair)
    with pair.db.write() as conn, pytest.raises(RefusedCommand, match="schedules"):
        manage(conn, SIGNER, pair.account, Managed.CLOUD, pair.now_ms, "asha")
    cancel(pair, view.schedule_no)
    with pair.db.write() as conn:
        conn.execute(update(account_table).where(account_table.c.account_no == pair.account).values(zero_action="cut"))
        manage(conn, SIGNER, pair.account, Managed.CLOUD, pair.now_ms, "asha")
    with pytest.raises(RefusedCommand, match=ScheduleReason.NOT_SET_UP):
        book(pair)


# ---- the way of paying


def test_an_account_with_schedules_stays_prepaid_and_one_on_its_way_takes_none(pair: LinkedPair, box: Box) -> None:
    """On bills nobody could tell the energy of an event from the household's own."""
    view = book(pair)
    with pair.db.write() as conn, pytest.raises(RefusedCommand, match="schedules"):
        handover.convert(conn, SIGNER, pair.account, Mode.POSTPAID, pair.now_ms, "asha")
    cancel(pair, view.schedule_no)
    with pair.db.write() as conn:
        handover.convert(conn, SIGNER, pair.account, Mode.POSTPAID, pair.now_ms, "asha")
    with pytest.raises(RefusedCommand, match=ScheduleReason.NOT_SET_UP):
        book(pair)
