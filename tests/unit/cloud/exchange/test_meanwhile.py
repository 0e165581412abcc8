"""Files in and out by two hands at the same time, on PostgreSQL: taken once and told truly, sent once, and to nobody after the end.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select, update

from gridtally_cloud.exchange import deliveries, recipients
from gridtally_cloud.exchange.bringing import Brought, Habit, bring
from gridtally_cloud.exchange.deliveries import ErrorType, queue
from gridtally_cloud.exchange.delivering import deliver_due
from gridtally_cloud.exchange.folder_in import Watched, turn
from gridtally_cloud.exchange.recipient_tables import delivery, delivery_file, recipient_address
from gridtally_cloud.exchange.recipients import DeliveryState
from gridtally_cloud.exchange.schedules import Run
from gridtally_cloud.exchange.scheduling import Wish, book
from gridtally_cloud.exchange.sending import send_due
from gridtally_cloud.integrations import webhook_sending, webhooks
from gridtally_cloud.integrations.stubs.receiver import Receiver
from gridtally_cloud.integrations.webhooks import Topic
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.intervals import hold_point, inbox_days
from gridtally_cloud.store.tables import channel, interval_inbox
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import RefusedCommand
from support.cloud_store import START_MS, Street, new_street
from support.meanwhile import beside, meanwhile
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

NOW_MS = START_MS + 2 * MS_PER_DAY
Step = Callable[[Connection], object]


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


def _file(*points: int, first: int = 100, hours: int = 20) -> bytes:
    lines = (f"{point},2026-02-02T{hour:02}:00+00:00,1.{first + hour}\n" for point in points for hour in range(hours))
    return ("usage_point,start,kwh\n" + "".join(lines)).encode()


def _bring(db: Database, data: bytes) -> Brought:
    return bring(db, data, "file.csv", Habit(), "UTC", NOW_MS, lambda *_: None)


def _brought_beside(street: Street, first: bytes, second: bytes) -> Brought:
    """What came of the second file, that was brought while the first was taken and not committed."""
    inside, over = threading.Event(), threading.Event()

    def keep(_conn: Connection, _brought: Brought) -> None:
        inside.set()
        assert over.wait(10)

    def other() -> Brought:
        assert inside.wait(10)
        return _bring(street.db, second)

    def commit(_conn: Connection) -> None:
        over.set()

    taking = threading.Thread(target=bring, args=(street.db, first, "file.csv", Habit(), "UTC", NOW_MS, keep))
    taking.start()
    assert inside.wait(10)
    found = beside(street.db, lambda _conn: None, other, commit)
    taking.join(10)
    brought: Brought = found.result()
    return brought


def _held(street: Street) -> int:
    with street.db.read() as conn:
        return int(conn.execute(select(func.coalesce(func.sum(interval_inbox.c.n), 0))).scalar_one())


# ---- files in -----------------------------------------------------------------------------------------------------------


def test_the_same_file_twice_at_once_is_taken_once_and_the_second_says_so(street: Street) -> None:
    (point, taken), = _brought_beside(street, _file(1), _file(1)).taken  # fmt: skip
    assert (point.number, taken.new, taken.unchanged, _held(street)) == (1, 0, 20, 20)
    with street.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(channel)).scalar_one() == 1


def test_a_file_that_contradicts_what_comes_meanwhile_is_refused(street: Street) -> None:
    """It is another meter's: what was compared is what is held."""
    _bring(street.db, _file(1, hours=1))
    told = _brought_beside(street, _file(1), _file(1, first=500))
    assert not told.is_taken
    assert "contradict this file" in told.problems[0].text
    assert _held(street) == 20


def test_a_contradiction_waits_for_a_person_once(street: Street) -> None:
    _bring(street.db, _file(1))
    other = _file(1).replace(b"1.103", b"1.999")
    (_, taken), = _brought_beside(street, other, other).taken  # fmt: skip
    assert (taken.unchanged, taken.waiting, taken.conflicts, _held(street)) == (19, 1, (), 21)


def test_two_files_of_the_same_points_in_another_order_do_not_stand_in_each_others_way(street: Street) -> None:
    brought = _brought_beside(street, _file(1, 2), _file(2, 1))
    assert [taken.unchanged for _, taken in brought.taken] == [20, 20]
    with street.db.read() as conn:
        assert {point for _, _, point in inbox_days(conn, 10**6)} == {1, 2}


def test_a_watched_folder_is_one_workers_at_a_time(street: Street, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file.csv").write_bytes(_file(1))
    watched, others = Watched(tmp_path / "in", 10, "UTC"), list[int]()

    def turned() -> int:
        return len(turn(street.db, watched, NOW_MS, 4e9))

    first = beside(street.db, lambda conn: hold_point(conn, 1), turned, lambda _conn: others.append(turned()))
    assert (first.result(), others, _held(street)) == (1, [0], 20)


# ---- files out ----------------------------------------------------------------------------------------------------------


def _market(street: Street, target: str) -> str:
    with street.db.write() as conn:
        _, secrets = recipients.add(conn, "market", (target,), "", START_MS, "test")
    return secrets.get(target, "")


def _queue(conn: Connection, name: str = "a.csv") -> None:
    queue(conn, "market", {name: b"1"}, NOW_MS)


def _end(conn: Connection) -> None:
    recipients.end(conn, "market", NOW_MS, "desk")


@pytest.mark.parametrize("queued_first", [True, False])
def test_nothing_waits_for_a_recipient_that_was_ended_beside(street: Street, tmp_path: Path, queued_first: bool) -> None:
    (tmp_path / "out").mkdir()
    _market(street, str(tmp_path / "out"))
    first, second = (_queue, _end) if queued_first else (_end, _queue)
    failed = meanwhile(street.db, first, second).exception()
    assert isinstance(failed, RefusedCommand) is not queued_first
    with street.db.read() as conn:
        assert {each.state for each in deliveries.deliveries(conn, "market")} <= {DeliveryState.DEAD}
    assert deliver_due(street.db, NOW_MS) == 0


def test_a_recipient_is_not_ended_beside_a_schedule_that_is_booked_for_it(street: Street, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _market(street, str(tmp_path / "out"))
    wish = Wish("daily", "ndjson", "day", "06:00", "UTC", recipient="market")
    ended = meanwhile(street.db, lambda conn: book(conn, wish, "", START_MS, "desk"), _end)
    with pytest.raises(RefusedCommand, match="end its schedules first"):
        ended.result()


def test_an_error_is_told_once(street: Street, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _market(street, str(tmp_path / "out"))

    def failed(conn: Connection) -> bool:
        return deliveries.report_error(conn, "market", ErrorType.MISSING_DAY, "run:1", "no day", NOW_MS)

    assert meanwhile(street.db, failed, failed).result() is False
    with street.db.read() as conn:
        assert len(deliveries.deliveries(conn, "market")) == len(deliveries.errors(conn, "market")) == 1


def test_each_run_is_carried_out_by_one_worker(street: Street, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _bring(street.db, _file(1))
    with street.db.write() as conn:
        book(conn, Wish("daily", "ndjson", "day", "06:00", "UTC", folder=tmp_path / "out"), "", START_MS, "desk")
    start, runs = threading.Barrier(2), list[Run]()

    def worker(name: str) -> None:
        start.wait(10)
        runs.extend(send_due(street.db, name, lambda: NOW_MS))

    threads = [threading.Thread(target=worker, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(runs), sum(run.files for run in runs)) == (2, 1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["daily_2026-02-02_0001.ndjson"]


def test_what_was_taken_meanwhile_is_not_sent_again_without_its_body(street: Street, tmp_path: Path) -> None:
    """An empty file would have taken the place of the good one."""
    (tmp_path / "out").mkdir()
    _market(street, str(tmp_path / "out"))
    with street.db.write() as conn:
        _queue(conn)

    def taken(conn: Connection) -> None:
        conn.execute(update(delivery).values(state=DeliveryState.TAKEN.value, taken_ms=NOW_MS))
        conn.execute(update(delivery_file).values(body=b""))

    again = meanwhile(street.db, taken, lambda conn: deliveries.send_again(conn, 1, NOW_MS, "desk"))
    with pytest.raises(RefusedCommand, match="was taken, and its file is kept no more"):
        again.result()


class _Slow(Receiver):
    """While it takes the first delivery another is queued, and another worker begins; it answers when that one is at it, or is done."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self.came: list[str] = []
        self.again, self.at_it = threading.Event(), threading.Event()
        self.other = threading.Thread(target=self._deliver, args=(db,))

    def _deliver(self, db: Database) -> None:
        with db.write() as conn:
            _queue(conn, "b.csv")
        deliver_due(db, NOW_MS)
        self.at_it.set()

    def take(self, number: int, sealed: str, body: bytes, file: str = "") -> int:
        self.came.append(file)
        if len(self.came) == 1:
            self.other.start()
            assert self.at_it.wait(10)
        elif not self.at_it.is_set():
            self.at_it.set()
            self.again.wait(10)
        else:
            self.again.set()
        return super().take(number, sealed, body, file)


def test_what_one_worker_is_sending_another_does_not_send_when_the_address_is_back(street: Street) -> None:
    with _Slow(street.db) as market:
        market.secret = _market(street, market.url)
        with street.db.write() as conn:
            conn.execute(update(recipient_address).values(away_ms=START_MS, attempts=3))
            _queue(conn)
        deliver_due(street.db, NOW_MS)
        market.other.join(10)
    assert market.came == ["a.csv", "b.csv"]


# ---- notices ------------------------------------------------------------------------------------------------------------


def test_who_was_ended_beside_is_told_nothing_more(street: Street) -> None:
    with Receiver() as told:
        with street.db.write() as conn:
            made, told.secret = webhooks.add(conn, "wfm", told.url, (Topic.ORDER_OPENED,), START_MS, "desk")
        meanwhile(street.db, lambda conn: webhooks.announce(conn, Topic.ORDER_OPENED, "order 1", NOW_MS, "/orders/1", {}),
                  lambda conn: webhooks.end(conn, made.webhook_no, NOW_MS, "desk")).result()  # fmt: skip
        assert webhook_sending.send_due(street.db, NOW_MS) == 0
        assert not told.notices


def test_a_notice_is_claimed_by_one_worker_and_told_once_however_often_it_is_announced(street: Street) -> None:
    def announced(conn: Connection) -> int:
        return webhooks.announce(conn, Topic.ORDER_OPENED, "order 1", NOW_MS, "/orders/1", {})

    with street.db.write() as conn:
        made, _ = webhooks.add(conn, "wfm", "https://wfm.example.org/in", (Topic.ORDER_OPENED,), START_MS, "desk")
    assert meanwhile(street.db, announced, announced).result() == 0

    def claim(conn: Connection) -> int:
        return len(webhook_sending._claim(conn, made.webhook_no, NOW_MS))

    assert meanwhile(street.db, claim, claim).result() == 0
