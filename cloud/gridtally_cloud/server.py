"""The processes of the MDM: web threads, the worker, the provisioner as a child.

* `all` runs them on one box; each also runs alone. They share nothing but the store and the broker.
* A port that is taken is a plain error before anything starts. SIGTERM and SIGINT end everything within seconds; a worker that
  dies ends the process, so that the service manager starts it again; a provisioner that dies is started again.
* A provisioner ends with the `all` that started it, also when that was killed: two of them would push each other off the broker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Any

from gridtally_cloud.background import EachBeside, beside
from gridtally_cloud.billing import month_end
from gridtally_cloud.config import BrokerConfig, CloudConfig, WebConfig
from gridtally_cloud.context import Context
from gridtally_cloud.customers.delivery import channels_due, deliver_by
from gridtally_cloud.customers.senders import Senders
from gridtally_cloud.customers.users import forget_attempts
from gridtally_cloud.exchange import read_errors
from gridtally_cloud.exchange.background import LateDays, SendingOut, TakingIn
from gridtally_cloud.inquiry.silent import close_silent
from gridtally_cloud.inquiry.watch import ask_missing
from gridtally_cloud.integrations import webhook_sending
from gridtally_cloud.mqtt import BrokerSettings
from gridtally_cloud.prepay import arrears, charging, disconnect_run, enrolment, managed_run, migration, zero_billing
from gridtally_cloud.prepay.capture import catch_up
from gridtally_cloud.prepay.managed_due import Rounds
from gridtally_cloud.prepay.replenish import replenish
from gridtally_cloud.prepay.resend import watch
from gridtally_cloud.prepay.service import expire_orders, send_refunds
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.settling import settle
from gridtally_cloud.retention import passes
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.work import this_process
from gridtally_cloud.worker import Job, Worker
from gridtally_cloud.workorders import no_power
from gridtally_shared.clock import MS_PER_DAY, Clock, SystemClock
from gridtally_shared.errors import ConfigError, GridtallyError

log = logging.getLogger(__name__)

WATCH_S = 0.5
CHILD_PAUSE_S = 5.0
REDELIVER_EVERY_S = 5.0
SILENT_EVERY_S = 600.0
"""Not at once after a start: what waited in the concentrators comes in first."""
KEEP_ATTEMPTS_MS = 7 * MS_PER_DAY
CATCH_UP_MS, SETTLED_MS = 3 * MS_PER_DAY, 120_000
"""The gateway's list is looked through from three days ago to two minutes ago: what is newer may still come by itself."""


def broker_settings(config: BrokerConfig) -> BrokerSettings:
    client_id = config.client_id or f"mdm-{socket.gethostname()}-{os.getpid()}"
    return BrokerSettings(config.host, config.port, client_id, config.group, config.ca_file, config.certificate_file,
                          config.key_file)  # fmt: skip


def new_worker(context: Context) -> Worker:
    broker = broker_settings(context.config.broker)
    jobs = desk_jobs(context.db, context.payments, context.senders)
    if context.config.readings_ask_missing:
        jobs += (Job("missing data", 600.0, lambda now_ms: ask_missing(context.db, context.signer, now_ms)),)
    jobs += (*exchange_jobs(context.db, context.clock, context.config), retention_job(context.db, context.clock, context.config))
    jobs += (Job("silent days", SILENT_EVERY_S, lambda now_ms: close_silent(context.db, now_ms), due_s=time.monotonic() + SILENT_EVERY_S),)
    zone, on_day = context.config.zone, context.config.month_end_day
    jobs += (Job("month end", 60.0, lambda now_ms: month_end.start_due(context.db, now_ms, zone, on_day)),)
    return Worker(context.db, context.clock, context.signer, broker, jobs)


def exchange_jobs(db: Database, clock: Clock, config: CloudConfig) -> tuple[Job, ...]:
    """Files out, and files in where a folder is watched: their age is told by the machine's own clock."""
    jobs = [
        Job("files out", 10.0, SendingOut(db, clock).start_if_due, shared=True),
        Job("errors of readings", 60.0, lambda now_ms: read_errors.tell_recipients(db, now_ms)),
        Job("late days", 60.0, LateDays(db).start_if_any),
    ]
    if config.exchange.in_dir:
        jobs.append(Job("files in", 5.0, TakingIn(db, config.exchange, config.zone).start_turn, shared=True))
    return tuple(jobs)


def retention_job(db: Database, clock: Clock, config: CloudConfig) -> Job:
    """What has been kept long enough is deleted, some of it at a time."""
    days = config.retention
    return Job("retention", 60.0, lambda now_ms: passes.turn(db, now_ms, days, this_process(clock.factor())), shared=True)


def desk_jobs(db: Database, payments: Payments, senders: Senders) -> tuple[Job, ...]:
    """Regular work around money, messages and logins; login attempts count in real time. The payment gateway is asked beside it, and
    so is every other system that is told something."""

    def orders(now_ms: int) -> None:
        with db.write() as conn:
            expire_orders(conn, now_ms)

    def attempts(_now_ms: int) -> None:
        with db.write() as conn:
            forget_attempts(conn, SystemClock().now_ms() - KEEP_ATTEMPTS_MS)

    def missed(now_ms: int) -> None:
        catch_up(db, payments, now_ms - CATCH_UP_MS, now_ms - SETTLED_MS, now_ms)

    messages = EachBeside("messages", partial(channels_due, db), partial(deliver_by, db, senders))
    webhooks = EachBeside("webhook", partial(webhook_sending.receivers_due, db), partial(webhook_sending.send_to, db))
    rounds = Rounds()
    looked: dict[int, arrears.Mark] = {}
    return (
        Job("orders", 60.0, orders),
        Job("refunds", 10.0, beside(db, "refunds", lambda now_ms: send_refunds(db, payments, now_ms)), shared=True),
        Job("replenish", 5.0, beside(db, "replenish", lambda now_ms: replenish(db, payments, now_ms)), shared=True),
        Job("charging", 60.0, lambda now_ms: charging.keep(db)),
        Job("managed accounts", 5.0, lambda now_ms: managed_run.run(db, payments.signer, now_ms, rounds)),
        Job("final bills", 10.0, lambda now_ms: settle(db, payments.signer, now_ms)),
        Job("messages", 1.0, messages.start_due, shared=True),
        Job("disconnect runs", 5.0, lambda now_ms: disconnect_run.order_due(db, payments.signer, now_ms)),
        Job("webhooks", 1.0, webhooks.start_due, shared=True),
        Job("migrations", 2.0, lambda now_ms: migration.carry_out(db, payments.signer, now_ms)),
        Job("arrears", 5.0, lambda now_ms: arrears.carry_out(db, payments.signer, now_ms, looked)),
        Job("zero to billing", 10.0, lambda now_ms: zero_billing.carry_out(db, now_ms)),
        Job("no power", 2.0, lambda now_ms: no_power.judge(db, now_ms)),
        Job("enrolment", 5.0, lambda now_ms: enrolment.carry_out(db, payments.signer, now_ms)),
        Job("late credits", 5.0, lambda now_ms: watch(db, now_ms)),
        Job("missed webhooks", 300.0, beside(db, "missed webhooks", missed), shared=True),
        Job("login attempts", 3600.0, attempts),
    )


def stop_event() -> threading.Event:
    """Set by SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def check_port(web: WebConfig) -> None:
    """Raises ConfigError when the web port can not be used."""
    with socket.socket(socket.AF_INET6 if ":" in web.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((web.host, web.port))
        except OSError as error:
            remedy = f"the port can not be used ({error.strerror}); is another gridtally-mdm running? Choose another port"
            raise ConfigError("web.port", web.port, remedy) from None


class WebThread:
    """Waitress in a thread of its own."""

    def __init__(self, context: Context) -> None:
        from waitress.server import create_server  # type: ignore[import-untyped]

        from gridtally_cloud.app import create_app
        from gridtally_cloud.web.site import WebSettings

        web = context.config.web
        check_port(web)
        settings = WebSettings(context.web_secret, web.https, context.config.zone, web.consumers_change_mode)
        application = create_app(settings, context.db, context.clock, context.payments)
        self._server: Any = create_server(application, host=web.host, port=web.port, threads=web.threads, ident="gridtally")
        self._application = application
        self._redeliver_s = 0.0
        self._thread = threading.Thread(target=self._server.run, name="web", daemon=True)

    def keep_up(self, now_s: float) -> None:
        """Payment notices a restart came between are delivered again."""
        if now_s >= self._redeliver_s:
            from gridtally_cloud.web.payments import redeliver

            self._redeliver_s = now_s + REDELIVER_EVERY_S
            with self._application.app_context():
                redeliver()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.close()
        self._server.task_dispatcher.shutdown(timeout=5)


class ProvisionerChild:
    """`gridtally-mdm provisioner` as a child process, started again when it ends."""

    def __init__(self, config: CloudConfig) -> None:
        self._command = [sys.executable, "-m", "gridtally_cloud.cli", "--config", str(config.file), "provisioner"]
        self._process: subprocess.Popen[bytes] | None = None
        self._again_s = 0.0

    def watch(self, now_s: float) -> None:
        """Start it if it is not running."""
        if self._process is not None and self._process.poll() is not None:
            log.warning("the provisioner ended", extra={"exit_code": self._process.returncode})
            self._process, self._again_s = None, now_s + CHILD_PAUSE_S
        if self._process is None and now_s >= self._again_s:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def run_all(context: Context) -> int:
    """Web, worker and provisioner on one box, until told to stop."""
    stop = stop_event()
    web, worker = WebThread(context), new_worker(context)
    child = ProvisionerChild(context.config) if context.config.provisioner.enabled else None
    web.start()
    worker.start()
    print(f"gridtally-mdm: pages on http://{context.config.web.host}:{context.config.web.port}/", flush=True)
    try:
        while not stop.wait(WATCH_S):
            if not worker.running:
                raise GridtallyError("the worker ended by itself; see the log above")
            web.keep_up(time.monotonic())
            if child is not None:
                child.watch(time.monotonic())
    finally:
        if child is not None:
            child.stop()
        worker.stop()
        web.stop()
        context.db.close()
    return 0


def run_web(context: Context) -> int:
    stop = stop_event()
    web = WebThread(context)
    web.start()
    print(f"gridtally-mdm: pages on http://{context.config.web.host}:{context.config.web.port}/", flush=True)
    while not stop.wait(WATCH_S):
        web.keep_up(time.monotonic())
    web.stop()
    return 0


def run_worker(context: Context) -> int:
    stop = stop_event()
    worker = new_worker(context)
    worker.start()
    while not stop.wait(WATCH_S):
        if not worker.running:
            raise GridtallyError("the worker ended by itself; see the log above")
    worker.stop()
    context.db.close()
    return 0


def run_provisioner(context: Context) -> int:
    """Holds the CA; talks to the broker and the store only. Certificates live by the machine's time, never by a virtual one."""
    from datetime import UTC, datetime

    from gridtally_cloud.provisioning import ca
    from gridtally_cloud.provisioning.link import BrokerAccess, Provisioner
    from gridtally_cloud.provisioning.service import Endpoint, ProvisioningService

    p, b = context.config.provisioner, context.config.broker
    assert context.data_dir
    authority = ca.open_or_create(context.config.ca_dir, "operational-ca", datetime.now(UTC))
    service = ProvisioningService(context.db, authority, Endpoint(p.host, p.port, p.transport), context.signer.public)
    access = BrokerAccess(b.host, b.port, b.ca_file, p.certificate_file, p.key_file, p.control)
    Provisioner(service, access, SystemClock()).run(_ends_with_parent(stop_event()))
    return 0


def _ends_with_parent(stop: threading.Event) -> threading.Event:
    """`stop`, set also when standard input is a pipe and its other end is gone: `all` writes nothing into it and holds it open
    as long as it lives."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(0, 1)
        stop.set()

    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(0).st_mode):
            threading.Thread(target=wait, name="parent", daemon=True).start()
    return stop
