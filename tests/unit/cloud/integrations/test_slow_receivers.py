"""Receivers of webhooks that are slow, silent or gone: they hold up neither the worker nor each other, and are left alone for longer."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest
from sqlalchemy import select

from gridtally_cloud.integrations import webhook_sending, webhooks
from gridtally_cloud.integrations.patience import STEPS_MS
from gridtally_cloud.integrations.posting import post
from gridtally_cloud.integrations.stubs.receiver import Receiver
from gridtally_cloud.integrations.webhook_tables import webhook, webhook_notice
from gridtally_cloud.integrations.webhooks import NoticeState, Topic
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.server import desk_jobs
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.signing import KeySigner
from support.stores import fresh_store
from support.waiting import wait_until

NOW_MS = 1_793_471_400_000
WORKER_S = 2.0
"""A receiver is silent for longer than a turn of the worker may take."""


class Silent(socketserver.ThreadingTCPServer):
    """Takes every request and never answers; with `drips` a byte of an answer at a time, for ever."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, drips: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Silence)
        self.drips, self.asked, self.over = drips, 0, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/in"

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class _Silence(socketserver.BaseRequestHandler):
    server: Silent

    def handle(self) -> None:
        self.request.recv(65_536)
        self.server.asked += 1
        said = b"HTTP/1.1 200 OK\r\nX-Slow: "
        while not self.server.over.wait(0.02) and self.server.drips:
            try:
                self.request.sendall(said)
            except OSError:
                return
            said = b"z"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = fresh_store(tmp_path)
    yield db
    db.close()


def listen(db: Database, url: str) -> tuple[int, str]:
    with db.write() as conn:
        made, secret = webhooks.add(conn, "somebody", url, (Topic.ORDER_OPENED,), NOW_MS, "ada")
    return made.webhook_no, secret


def tell(db: Database, *refs: str, at_ms: int = NOW_MS) -> None:
    with db.write() as conn:
        for ref in refs:
            webhooks.announce(conn, Topic.ORDER_OPENED, ref, at_ms, "/orders/1", {})


def states(db: Database, webhook_no: int) -> list[tuple[str, int]]:
    """State and tries of its notices, oldest first."""
    n = webhook_notice.c
    with db.read() as conn:
        rows = conn.execute(select(n.state, n.attempts).where(n.webhook_no == webhook_no).order_by(n.notice_no))
        return [(row.state, row.attempts) for row in rows]


def test_a_silent_receiver_holds_up_neither_the_worker_nor_the_others(db: Database) -> None:
    """The jobs as the worker runs them, one after the other in its one thread."""
    jobs = desk_jobs(db, Payments(KeySigner.from_seed(b"w" * 32)), {})
    with Silent() as silent, Receiver() as good:
        listen(db, silent.url)
        _, good.secret = listen(db, good.url)
        tell(db, *(f"order {n}" for n in range(3)))
        began_s = time.monotonic()
        for job in jobs:
            job.run(NOW_MS)
        assert time.monotonic() - began_s < WORKER_S
        wait_until(lambda: silent.asked and len(good.notices) == 3, WORKER_S, "the other receiver has its three")
        tell(db, "order 4")
        wait_until(lambda: [job.run(NOW_MS) for job in jobs if job.name == "webhooks"] and len(good.notices) == 4, WORKER_S, "and a fourth")
        assert silent.asked == 1, "once, while it is silent"


def test_a_byte_at_a_time_is_no_answer() -> None:
    with Silent(drips=True) as dripping:
        began_s = time.monotonic()
        fault = post(dripping.url, "secret", {}, b"{}", whole_s=0.3)
        assert time.monotonic() - began_s < WORKER_S
    assert fault is not None
    assert (fault.text, fault.reached) == ("127.0.0.1 can not be reached (no answer within 0.3 s)", False)


def test_one_that_is_gone_is_asked_with_one_notice_and_left_alone_for_longer(db: Database) -> None:
    with Receiver() as gone:
        number, _ = listen(db, gone.url)
    tell(db, *(f"order {n}" for n in range(5)))
    now_ms = NOW_MS
    for tries, step_ms in enumerate(STEPS_MS, 1):
        assert webhook_sending.send_due(db, now_ms) == 0
        assert states(db, number) == [("waiting", tries), *[("waiting", 0)] * 4], "the others wait untried"
        assert webhook_sending.receivers_due(db, now_ms + step_ms - 1) == ()
        now_ms += step_ms
    tell(db, "order 5", at_ms=now_ms)
    assert webhook_sending.send_due(db, now_ms) == 0
    assert webhook_sending.receivers_due(db, now_ms + STEPS_MS[-1] - 1) == (), "what is new does not make it ask earlier"


def test_one_that_is_back_gets_all_that_waited(db: Database) -> None:
    with Receiver() as receiver:
        number, receiver.secret = listen(db, "http://127.0.0.1:9/in")
        tell(db, *(f"order {n}" for n in range(5)))
        assert webhook_sending.send_due(db, NOW_MS) == 0
        with db.write() as conn:
            conn.execute(webhook.update().values(url=receiver.url))
        now_ms = NOW_MS + STEPS_MS[0]
        assert [webhook_sending.send_due(db, now_ms) for _ in range(3)] == [1, 4, 0]
        assert len(receiver.notices) == 5
        assert [attempts for _, attempts in states(db, number)] == [2, 1, 1, 1, 1]


def test_what_waited_untried_is_dead_after_its_time_and_is_sent_at_once_when_a_person_asks(db: Database) -> None:
    with Receiver() as receiver:
        number, receiver.secret = listen(db, "http://127.0.0.1:9/in")
        tell(db, "order 1", "order 2")
        assert webhook_sending.send_due(db, NOW_MS) == 0
        late_ms = NOW_MS + 3 * MS_PER_DAY
        assert webhook_sending.send_due(db, late_ms) == 0
        assert [state for state, _ in states(db, number)] == [NoticeState.DEAD.value] * 2
        with db.write() as conn:
            conn.execute(webhook.update().values(url=receiver.url))
            webhooks.send_again(conn, webhooks.notices(conn, number)[0].notice_no, late_ms, "ada")
        assert webhook_sending.send_due(db, late_ms) == 1


def test_a_receiver_that_answers_no_is_there_and_the_others_notices_are_tried(db: Database) -> None:
    with Receiver(refuse=1) as receiver:
        number, receiver.secret = listen(db, receiver.url)
        tell(db, "order 1", "order 2")
        assert webhook_sending.send_due(db, NOW_MS) == 1
    assert states(db, number) == [("waiting", 1), ("taken", 1)]
