"""The agent process: lines, broker, clock and stores around the one core thread.

* Threads: one for each line (transports), paho's own and its keeper (sync/mqtt.py), and the core thread, which is the
  process's main thread. Everything the core is told goes through one queue.
* SIGTERM and SIGINT end it cleanly; it may as well be killed at any moment, since every commit is whole.
* Stores that are missing or old are brought up to date in a child process before the start.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from gridtally_edge.config import EdgeConfig, line_settings, line_values
from gridtally_edge.core import AGENT_VERSION, EdgeCore
from gridtally_edge.core_events import (
    Beat,
    CoreEvent,
    Effect,
    Moment,
    PollDone,
    Publish,
    ReadDone,
    SlowDown,
    StartPoll,
    StartRead,
    StartShow,
    StartSwitch,
    SwitchDone,
)
from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.model import Capability, MeterPort
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.journal.readings import ReadingsJournal
from gridtally_edge.journal.schema import READINGS, READINGS_FILE, READINGS_REFERENCE
from gridtally_edge.journal.sqlite import ready_store
from gridtally_edge.polling.poll import Fault, PollResult, poll
from gridtally_edge.polling.street import MeterOnLine
from gridtally_edge.prepay.core import Identity as PrepayIdentity
from gridtally_edge.prepay.core import PrepayCore
from gridtally_edge.prepay.events import ClockObserved, ClockSource, ShowOnMeter
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_edge.prepay.switching import outcome_of_error, switch_conversation
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.status import agent_status, write_status
from gridtally_edge.sync.downlink import Identity
from gridtally_edge.sync.mqtt import MqttLink
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.line import Line
from gridtally_shared.clock import MS_PER_HOUR, SharedClock, SystemClock, clock_from
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Gone
from gridtally_shared.errors import ConfigError, GridtallyError, LinkDown

LONGEST_WAIT_S = 1.0
SHORTEST_WAIT_S = 0.02
STATUS_EVERY_S = 1.0
MONEY_FILE = "money.db"
MONEY_REFERENCE = "gridtally_edge.prepay.store:MONEY_STORE"
NTP_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")

log = logging.getLogger("gridtally.agent")


class Agent:
    """Built from a checked configuration; `run` returns after `stop` or a signal."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._clock = clock_from(config.virtual_clock_file or None)
        self._events: queue.SimpleQueue[CoreEvent | None] = queue.SimpleQueue()
        self._stopping = False
        identity = Identity(config.dcu, os.urandom(16), config.command_keys())
        registry = Registry(config.registry_file)
        settings = (*config.lines, *(line_settings(line_values(row), config.data_dir) for row in registry.lines()))
        self._lines = {s.name: line_for(s) for s in settings}
        self._ports: dict[str, MeterPort] = {}
        meters = tuple(self._meter(entry) for entry in registry.meters())
        readings = ready_store(config.data_dir / READINGS_FILE, READINGS, READINGS_REFERENCE)
        money = ready_store(config.data_dir / MONEY_FILE, MONEY_STORE, MONEY_REFERENCE)
        self._stores = (readings, money)
        prepay = PrepayCore(money, PrepayIdentity(identity.dcu, identity.keys, identity.boot_id))
        self._core = EdgeCore(identity, ReadingsJournal(readings, config.keep_events_days), prepay, meters)
        will = (BY_NAME["gone"].topic(config.dcu), encode(Gone(identity.boot_id)))
        self._mqtt = MqttLink(config.dcu, config.broker, will, self._events.put)
        self._started_ms = self._clock.now_ms()
        self._status_s = self._observed_ms = 0.0

    def run(self) -> None:
        """Until a signal or `stop`. Raises ConfigError when no line can be used, or when a store can not be written: then
        nothing is tried again on the same handle, and the next start goes on from the last whole commit."""
        self._start_lines()
        self._watch_signals()
        self._do(self._core.start(self._moment()))
        self._observe_clock()
        self._mqtt.start()
        log.info("agent %s runs", self._config.dcu, extra={"meters": len(self._ports), "lines": len(self._lines)})
        try:
            while not self._stopping:
                self._turn()
            self._finish()
        except sqlite3.Error as error:
            folder = str(self._config.data_dir)
            raise ConfigError("data_dir", folder, f"a store can not be written ({error}): check disk space and disk") from error
        finally:
            self._close()

    def stop(self) -> None:
        """From any thread or signal handler."""
        self._stopping = True
        self._events.put(None)

    def _turn(self) -> None:
        event = self._next_event()
        while event is not None and not self._stopping:
            self._do(self._core.handle(event, self._moment()))
            event = None if self._events.empty() else self._events.get()
        self._do(self._core.handle(Beat(), self._moment()))
        self._observe_clock()
        self._show_status()

    def _next_event(self) -> CoreEvent | None:
        moment = self._moment()
        wait_s = (self._core.next_wake_ms(moment.now_ms) - moment.now_ms) / 1000 / moment.factor
        try:
            return self._events.get(timeout=min(LONGEST_WAIT_S, max(SHORTEST_WAIT_S, wait_s)))
        except queue.Empty:
            return None

    def _moment(self) -> Moment:
        mono_s = time.monotonic()
        same_speed = isinstance(self._clock, SystemClock)
        return Moment(self._clock.now_ms(), mono_s, self._clock.factor(), int(mono_s * 1000) if same_speed else 0)

    def _do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            _ACTIONS[type(effect)](self, effect)

    # ---- effects --------------------------------------------------------------------------------------------

    def _start_poll(self, start: StartPoll) -> None:
        conversation = poll(self._ports[start.key], start.request, self._clock.now_ms)
        self._submit(start.key, conversation, start.priority, lambda r: PollDone(start.key, start.request, r))

    def _start_read(self, start: StartRead) -> None:
        conversation = poll(self._ports[start.key], start.request, self._clock.now_ms)
        self._submit(
            start.key, conversation, Priority.ON_DEMAND, lambda r: ReadDone(start.run, start.key, start.request, r)
        )

    def _submit(
        self, key: str, conversation: Conversation[PollResult], priority: Priority, event: Callable[[PollResult], CoreEvent]
    ) -> None:
        future = self._line_of(key).submit(conversation, priority, key)
        future.add_done_callback(lambda f: self._events.put(event(self._result_of(f))))

    def _start_switch(self, start: StartSwitch) -> None:
        conversation = switch_conversation(self._ports[start.key], self._clock.now_ms, start.order)
        future = self._line_of(start.key).submit(conversation, Priority.SWITCH, start.key)

        def finished(done: Future[Any]) -> None:
            error = done.exception()
            now_ms = self._clock.now_ms()
            is_fault = isinstance(error, Exception)
            outcome = outcome_of_error(start.order, error, now_ms) if is_fault else done.result()  # type: ignore[arg-type]
            self._events.put(SwitchDone(start.order, outcome))

        future.add_done_callback(finished)

    def _start_show(self, start: StartShow) -> None:
        conversation = _show(self._ports[start.key], start.show)
        future = self._line_of(start.key).submit(conversation, Priority.EVENTS, start.key)
        future.add_done_callback(lambda f: _log_failure(f, f"balance was not shown on meter {start.show.meter_no}"))

    def _publish(self, message: Publish) -> None:
        self._mqtt.publish(message.topic, message.payload)

    def _slow_down(self, slower: SlowDown) -> None:
        if isinstance(self._clock, SharedClock):
            self._clock.set_factor(slower.factor)

    # ---- rim ------------------------------------------------------------------------------------------------

    def _meter(self, entry: MeterEntry) -> MeterOnLine:
        if entry.line not in self._lines:
            names = ", ".join(sorted(self._lines)) or "none"
            raise ConfigError("meter.line", entry.line, f"there is no such line; the lines are: {names}")
        driver = driver_named(entry.driver)
        port = driver.make_port(settings_from(driver, entry.settings))
        self._ports[entry.key] = port
        profile = Capability.LOAD_PROFILE in port.capabilities
        return MeterOnLine(
            entry.key, entry.line, entry.driver, entry.address, entry.serial, port.interval_s * 1000 if profile else 0,
            profile, Capability.EVENTS in port.capabilities, Capability.BALANCE_DISPLAY in port.capabilities,
        )  # fmt: skip

    def _line_of(self, key: str) -> Line:
        return self._lines[self._core.street.meters[key].on_line.line]

    def _result_of(self, future: Future[PollResult]) -> PollResult:
        error = future.exception()
        if error is None:
            return future.result()
        silent = isinstance(error, LinkDown)
        if not isinstance(error, GridtallyError):
            log.error("a poll ended with a fault of our own", exc_info=error)
        return PollResult(self._clock.now_ms(), Fault.SILENT if silent else Fault.NONSENSE, str(error))

    def _start_lines(self) -> None:
        faults = []
        for line in self._lines.values():
            try:
                line.start()
            except ConfigError as error:
                faults.append(error)
                log.error("line %s can not be used: %s", line.settings.name, error)
        if faults and len(faults) == len(self._lines):
            raise faults[0]

    def _watch_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stop())

    def _observe_clock(self) -> None:
        """Tell the core once an hour that the machine's time can be believed, if something says so."""
        now_ms = self._clock.now_ms()
        if now_ms - self._observed_ms < MS_PER_HOUR:
            return
        self._observed_ms = now_ms
        if isinstance(self._clock, SharedClock):
            self._do(self._core.handle(ClockObserved(ClockSource.VIRTUAL, now_ms, now_ms), self._moment()))
        elif NTP_SYNCHRONISED.exists():
            self._do(self._core.handle(ClockObserved(ClockSource.NTP, now_ms, now_ms, 1_000), self._moment()))

    def _show_status(self) -> None:
        moment = self._moment()
        if moment.mono_s - self._status_s >= STATUS_EVERY_S:
            self._status_s = moment.mono_s
            lines = tuple(self._lines.values())
            write_status(
                self._config.status_file,
                agent_status(self._core, lines, moment, os.getpid(), self._started_ms, AGENT_VERSION),
            )

    def _finish(self) -> None:
        """Close the lines, and commit what they still gave."""
        for line in self._lines.values():
            line.close()
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, PollDone | ReadDone | SwitchDone):
                self._core.handle(event, self._moment())
        self._core.close(self._moment())

    def _close(self) -> None:
        for line in self._lines.values():
            line.close()
        self._mqtt.stop()
        for store in self._stores:
            store.close()
        log.info("agent %s stopped", self._config.dcu)


def _show(port: MeterPort, show: ShowOnMeter) -> Conversation[None]:
    yield from port.open()
    try:
        yield from port.write_balance(show.amount_nano, show.at_ms)
    except GridtallyError:
        yield from port.close()
        raise
    yield from port.close()


def _log_failure(future: Future[None], what: str) -> None:
    error = future.exception()
    if error is not None:
        log.info("%s: %s", what, error)


_ACTIONS: dict[type, Callable[[Agent, Any], None]] = {
    StartPoll: Agent._start_poll,
    StartRead: Agent._start_read,
    StartSwitch: Agent._start_switch,
    StartShow: Agent._start_show,
    Publish: Agent._publish,
    SlowDown: Agent._slow_down,
}
