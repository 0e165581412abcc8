"""The worker: takes messages in, sends what waits, and does the regular jobs. One thread, any number of processes.

* Every job is safe to run twice and in several processes: work is claimed in the store, nothing is remembered here.
* Jobs have real-time periods; what they do goes by the clock they are given.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from gridtally_cloud.assets import config_publisher
from gridtally_cloud.commands import receipts
from gridtally_cloud.ingest.service import UP_CHANNELS, Ingest
from gridtally_cloud.mqtt import BrokerLink, BrokerSettings, Received
from gridtally_cloud.prepay import instruments
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store import close
from gridtally_cloud.store.db import Database
from gridtally_cloud.vee import run as vee
from gridtally_shared.clock import Clock
from gridtally_shared.contract import channels
from gridtally_shared.signing import Signer

log = logging.getLogger(__name__)

IDLE_S = 0.05
MESSAGES_A_TURN = 50
AFTER_STORE_FAULT_S = 1.0


@dataclass(slots=True)
class Job:
    """`run(now_ms)` every `every_s` real seconds."""

    name: str
    every_s: float
    run: Callable[[int], object]
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
        self._publisher = Publisher(db, f"{socket.gethostname()}:{os.getpid()}", self.link.publish)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.run, name="worker", daemon=True)
        self._jobs = (
            Job("send", 0.1, lambda now_ms: self._publisher.send_due(now_ms, clock.factor())),
            Job("commands", 0.5, self._commands),
            Job("config", 1.0, lambda now_ms: config_publisher.publish_changes(db, signer, now_ms)),
            Job("instruments", 2.0, self._instruments),
            Job("close days", 5.0, lambda now_ms: close.close_days(db, now_ms)),
            Job("validate", 5.0, lambda now_ms: vee.run_pending(db, now_ms)),
            Job("prune", 600.0, lambda now_ms: close.prune(db, now_ms)),
            *more,
        )

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
            answers = self._ingest.handle(message.topic, message.payload, self._clock.now_ms())
        except OperationalError:
            raise
        except Exception:
            log.exception("a message could not be taken in; no receipt, the edge sends again", extra={"topic": message.topic})
            return
        for answer in answers:
            self.link.publish(answer.topic, answer.payload)

    def _run_if_due(self, job: Job) -> None:
        now_s = time.monotonic()
        if now_s >= job.due_s:
            job.due_s = now_s + job.every_s
            try:
                job.run(self._clock.now_ms())
            except OperationalError:
                raise
            except Exception:
                log.exception("a job failed", extra={"job": job.name})

    def _instruments(self, now_ms: int) -> None:
        """Money that was paid before its account had a DCU goes on its way."""
        with self._db.read() as conn:
            if not instruments.waiting_payments(conn):
                return
        with self._db.write() as conn:
            instruments.issue_waiting(conn, self._signer, now_ms)

    def _commands(self, now_ms: int) -> None:
        with self._db.read() as conn:
            if not receipts.anything_to_do(conn, now_ms):
                return
        with self._db.write() as conn:
            receipts.queue_due(conn, self._signer, now_ms)
            receipts.reissue_overtaken(conn, self._signer, now_ms)
            receipts.expire(conn, now_ms)
