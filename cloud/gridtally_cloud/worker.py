"""The worker: takes messages in, sends what waits, and does the regular jobs. One thread, any number of processes.

* Every job is safe to run twice and in several processes: work is claimed in the store, nothing is remembered here. What is split
  by usage point, and what is sent, is shared by lease (`shared`); every other job is done by one process at a time.
* A message that got in another transaction's way is taken again at once; one that could not be taken in is sent again by its edge.
* Jobs have real-time periods; what they do goes by the clock they are given.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from gridtally_cloud import runs
from gridtally_cloud.assets import config_publisher, silence
from gridtally_cloud.commands import receipts
from gridtally_cloud.ingest.service import UP_CHANNELS, Answer, Ingest
from gridtally_cloud.inquiry import pace, requests
from gridtally_cloud.mqtt import BrokerLink, BrokerSettings, Received
from gridtally_cloud.prepay import instruments, shared_wallets
from gridtally_cloud.programs import money
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store import close
from gridtally_cloud.store.db import Database, is_clash
from gridtally_cloud.store.work import Hand, this_process
from gridtally_cloud.vee import run as vee
from gridtally_shared.clock import Clock
from gridtally_shared.contract import channels
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

log = logging.getLogger(__name__)

IDLE_S = 0.05
MESSAGES_A_TURN = 50
TRIES = 5
AFTER_STORE_FAULT_S = 1.0


@dataclass(slots=True)
class Job:
    """`run(now_ms)` every `every_s` real seconds; at once again while it returns True: there is more. `shared`: it claims what it does
    row by row, so that several processes may be in it."""

    name: str
    every_s: float
    run: Callable[[int], object]
    shared: bool = False
    due_s: float = 0.0


def subscriptions(group: str) -> tuple[str, ...]:
    """One share group a channel: the embedded broker loses messages when one group has several filters."""
    return tuple(channels.BY_NAME[name].wildcard(f"{group}-{name}") for name in UP_CHANNELS)


class Worker:
    """`run` blocks until `stop`; `start` runs it in a thread of its own."""

    def __init__(self, db: Database, clock: Clock, signer: Signer, broker: BrokerSettings, more: tuple[Job, ...] = ()) -> None:
        self._db, self._clock, self._signer = db, clock, signer
        self.link = BrokerLink(broker, subscriptions(broker.group))
        self._ingest = Ingest(db, signer)
        self._publisher = Publisher(db, this_process().owner, self.link.publish)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.run, name="worker", daemon=True)
        self._jobs = (
            Job("send", 0.1, lambda now_ms: self._publisher.send_due(now_ms, clock.factor()), shared=True),
            Job("commands", 0.5, self._commands),
            Job("config", 1.0, config_publisher.Round(db, signer).turn),
            Job("instruments", 2.0, self._instruments),
            Job("wallets", 2.0, self._wallets),
            Job("schedules", 2.0, self._schedules),
            Job("data requests", 2.0, self._requests),
            Job("silence", 5.0, lambda now_ms: silence.watch(db, now_ms, clock.factor())),
            Job("close days", 5.0, lambda now_ms: close.close_days(db, now_ms, self._hand()) > 0, shared=True),
            Job("validate", 5.0, lambda now_ms: vee.run_pending(db, now_ms, hand=self._hand()) != (), shared=True),
            Job("runs", 1.0, lambda now_ms: runs.take_up(db, now_ms, self._hand()), shared=True),
            *more,
        )

    def _hand(self) -> Hand:
        return this_process(self._clock.factor())

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def run(self) -> None:
        self.link.start()
        try:
            while not self._stop.is_set():
                self._turn()
        finally:
            self.link.stop()

    def _turn(self) -> None:
        try:
            for message in self._waiting():
                self.take(message)
            for job in self._jobs:
                self._run_if_due(job)
        except OperationalError:
            log.exception("the store can not be used; trying again")
            self._stop.wait(AFTER_STORE_FAULT_S)

    def _waiting(self) -> list[Received]:
        """Waits a moment for a first message, then takes what is there."""
        messages: list[Received] = []
        try:
            messages.append(self.link.received.get(timeout=IDLE_S))
            while len(messages) < MESSAGES_A_TURN:
                messages.append(self.link.received.get_nowait())
        except queue.Empty:
            pass
        return messages

    def take(self, message: Received) -> None:
        """Commit one message, then publish its answers. An answer the broker does not take is made again when the edge
        sends again."""
        try:
            answers = self._taken_in(message)
        except OperationalError:
            raise
        except Exception:
            log.exception("a message could not be taken in; no receipt, the edge sends again", extra={"topic": message.topic})
            return
        for answer in answers:
            self.link.publish(answer.topic, answer.payload)

    def _taken_in(self, message: Received) -> Answer:
        for _ in range(TRIES - 1):
            try:
                return self._ingest.handle(message.topic, message.payload, self._clock.now_ms())
            except OperationalError as error:
                if not is_clash(error):
                    raise
        return self._ingest.handle(message.topic, message.payload, self._clock.now_ms())

    def _run_if_due(self, job: Job) -> None:
        now_s = time.monotonic()
        if now_s >= job.due_s:
            job.due_s = now_s + job.every_s
            try:
                if self._run(job):
                    job.due_s = now_s
            except OperationalError as error:
                if not is_clash(error):
                    raise
            except Exception:
                log.exception("a job failed", extra={"job": job.name})

    def _run(self, job: Job) -> bool:
        if job.shared:
            return job.run(self._clock.now_ms()) is True
        with self._db.alone(f"job {job.name}") as allowed:
            return allowed and job.run(self._clock.now_ms()) is True

    def _instruments(self, now_ms: int) -> None:
        """Money that was paid before its account had a DCU goes on its way."""
        with self._db.read() as conn:
            if not instruments.waiting_payments(conn):
                return
        with self._db.write() as conn:
            instruments.issue_waiting(conn, self._signer, now_ms)

    def _wallets(self, now_ms: int) -> None:
        """What came back to shared wallets, and what is asked of them."""
        with self._db.read() as conn:
            if not shared_wallets.any_open(conn):
                return
        with self._db.write() as conn:
            shared_wallets.take_returns(conn, now_ms)
            shared_wallets.grant_due(conn, self._signer, now_ms)

    def _schedules(self, now_ms: int) -> None:
        """What an event came to goes back to who paid for it."""
        with self._db.read() as conn:
            if not money.unsettled(conn):
                return
        with self._db.write() as conn:
            money.settle_ended(conn, self._signer, now_ms)

    def _requests(self, now_ms: int) -> None:
        """Requests that wait go at their rate; the others go where their commands are."""
        with self._db.read() as conn:
            if not requests.anything_open(conn):
                return
        with self._db.write() as conn:
            pace.release(conn, self._signer, now_ms)
            requests.follow(conn, now_ms)

    def _commands(self, now_ms: int) -> None:
        with self._db.read() as conn:
            if not receipts.anything_to_do(conn, now_ms):
                return
        with self._db.write() as conn:
            receipts.queue_due(conn, self._signer, now_ms)
            receipts.reissue_overtaken(conn, self._signer, now_ms)
            receipts.expire(conn, now_ms)
