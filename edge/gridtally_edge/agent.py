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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridtally_edge.config import EdgeConfig
from gridtally_edge.core import AGENT_VERSION, EdgeCore
from gridtally_edge.core_clock import SteppedClock
from gridtally_edge.core_events import (
    Beat,
    CoreEvent,
    Effect,
    GiveAnswer,
    MetersChanged,
    Moment,
    PollDone,
    Publish,
    ReadDone,
    RenewPort,
    SlowDown,
    StartPoll,
    StartRead,
    StartShow,
    StartSwitch,
    StartTask,
    StepClock,
    SwitchDone,
    TaskDone,
)
from gridtally_edge.counter import Counter
from gridtally_edge.fitting import RegistryWatch
from gridtally_edge.journal.counters import COUNTERS_FILE, CounterBook
from gridtally_edge.journal.readings import ReadingsJournal
from gridtally_edge.journal.schema import READINGS, READINGS_FILE, READINGS_REFERENCE
from gridtally_edge.journal.sqlite import ready_store
from gridtally_edge.linework import LineWork
from gridtally_edge.polling.street import MeterOnLine
from gridtally_edge.prepay.events import ClockObserved, ClockSource
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.status import agent_status, write_status
from gridtally_edge.sync.downlink import Identity
from gridtally_edge.sync.mqtt import MqttLink
from gridtally_edge.transports import line_for
from gridtally_edge.transports.heard import Heard
from gridtally_edge.transports.meter_line import TellsNodes
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, SharedClock, SystemClock, clock_from
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Gone
from gridtally_shared.errors import ConfigError

if TYPE_CHECKING:
    from gridtally_edge.journal.nodes import NodeBook
    from gridtally_edge.prepay.core import PrepayCore

LONGEST_WAIT_S = 1.0
SHORTEST_WAIT_S = 0.02
STATUS_EVERY_S = 1.0
WATCH_EVERY_S = 1.0
MONEY_FILE = "money.db"
MONEY_REFERENCE = "gridtally_edge.prepay.store:MONEY_STORE"
NTP_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")

log = logging.getLogger("gridtally.agent")


class Agent:
    """Built from a checked configuration; `run` returns after `stop` or a signal."""

    def __init__(self, config: EdgeConfig) -> None:
        self._config = config
        self._base_clock = clock_from(config.virtual_clock_file or None)
        self._clock = SteppedClock(self._base_clock)
        self._events: queue.SimpleQueue[CoreEvent | None] = queue.SimpleQueue()
        self._stopping = False
        identity = Identity(config.dcu, os.urandom(16), config.command_keys())
        registry = Registry(config.registry_file)
        self._lines = {s.name: line_for(s, self._events.put) for s in config.lines}
        config.data_dir.mkdir(parents=True, exist_ok=True)
        self._counter = Counter(config.data_dir)
        self._counters = CounterBook(config.data_dir / COUNTERS_FILE, self._clock.now_ms)
        self._watch = RegistryWatch(config.registry_file)
        self._watch.has_changed()
        self._work = LineWork(self._lines, self._clock.now_ms, self._events.put, self._counters, config.drivers_dir)
        meters = self._take_in(registry.meters())
        readings = ready_store(config.data_dir / READINGS_FILE, READINGS, READINGS_REFERENCE)
        self._stores = [readings]
        self._core = EdgeCore(identity, ReadingsJournal(readings, config.keep_events_days), meters)
        will = (BY_NAME["gone"].topic(config.dcu), encode(Gone(identity.boot_id)))
        self._mqtt = MqttLink(config.dcu, config.broker, will, self._events.put)
        self._started_ms = self._clock.now_ms()
        self._status_s = self._watched_s = self._observed_ms = 0.0
        self._changes = registry.changes()
        self._coordinators = {name: line for name, line in self._lines.items() if isinstance(line, TellsNodes)}
        self._nodes = self._remembered_nodes() if self._coordinators else None
        self._allow_nodes(registry)

    def _prepay(self) -> PrepayCore:
        """Loaded while the first meters are asked: it is a third of what an agent imports."""
        from gridtally_edge.prepay.core import Identity as PrepayIdentity
        from gridtally_edge.prepay.core import PrepayCore
        from gridtally_edge.prepay.store import MONEY_STORE
        from gridtally_edge.prepay.turn import Cadence

        config, identity = self._config, self._core.identity
        money = ready_store(config.data_dir / MONEY_FILE, MONEY_STORE, MONEY_REFERENCE)
        self._stores.append(money)
        cadence = Cadence(config.checkpoint_entries, config.checkpoint_hours)
        keep_ms = config.keep_journal_days * MS_PER_DAY
        own = PrepayIdentity(identity.dcu, identity.keys, identity.boot_id, config.journal_signer(), cadence, keep_ms)
        return PrepayCore(money, own)

    def run(self) -> None:
        """Until a signal or `stop`. Raises ConfigError when no line can be used, or when a store can not be written: then
        nothing is tried again on the same handle, and the next start goes on from the last whole commit."""
        self._start_lines()
        self._watch_signals()
        self._core.begin()
        self._do(self._core.polls(self._moment()))
        self._do(self._core.start(self._prepay(), self._moment()))
        self._do(self._core.handle(MetersChanged(changes=self._changes), self._moment()))
        self._observe_clock()
        self._do(self._core.handle(Beat(), self._moment()))  # the uplink last: it has its library to import
        self._mqtt.start()
        log.info("agent %s runs", self._config.dcu, extra={"meters": len(self._work.entries()), "lines": len(self._lines)})
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
        self._watch_registry()
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
        same_speed = isinstance(self._base_clock, SystemClock)
        return Moment(self._clock.now_ms(), mono_s, self._clock.factor(), int(mono_s * 1000) if same_speed else 0)

    def _do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            _ACTIONS[type(effect)](self, effect)

    # ---- effects --------------------------------------------------------------------------------------------

    def _publish(self, message: Publish) -> None:
        self._mqtt.publish(message.topic, message.payload)

    def _slow_down(self, slower: SlowDown) -> None:
        if isinstance(self._base_clock, SharedClock):
            self._base_clock.set_factor(slower.factor)

    def _step_clock(self, step: StepClock) -> None:
        if isinstance(self._base_clock, SystemClock) and not NTP_SYNCHRONISED.exists():
            self._events.put(self._clock.step(step.by_ms))

    # ---- rim ------------------------------------------------------------------------------------------------

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
        if isinstance(self._base_clock, SharedClock):
            self._do(self._core.handle(ClockObserved(ClockSource.VIRTUAL, now_ms, now_ms), self._moment()))
        elif NTP_SYNCHRONISED.exists():
            self._do(self._core.handle(ClockObserved(ClockSource.NTP, now_ms, now_ms, 1_000), self._moment()))

    def _watch_registry(self) -> None:
        """Take in what `gridtally-dcu meter` changed, once a second at most. A registry with a fault changes nothing."""
        now_s = time.monotonic()
        if now_s - self._watched_s < WATCH_EVERY_S:
            return
        self._watched_s = now_s
        self._note_nodes(now_s)
        for request in self._counter.waiting():
            self._do(self._core.handle(request, self._moment()))
        if self._watch.has_changed():
            try:
                self._take_registry(Registry(self._config.registry_file))
            except ConfigError as error:
                log.error("the registry was changed and can not be used; it goes on with the old one: %s", error)

    def _take_registry(self, registry: Registry) -> None:
        entries, served = {entry.key: entry for entry in registry.meters()}, self._work.entries()
        gone = tuple(key for key in served if key not in entries)
        fitted = self._take_in(e for key, e in entries.items() if served.get(key) != e)
        self._do(self._core.handle(MetersChanged(fitted, gone, registry.changes()), self._moment()))
        for key in gone:
            self._work.drop(key)
        self._allow_nodes(registry)
        log.info("registry taken in", extra={"new": len(fitted), "gone": len(gone)})

    def _take_in(self, entries: Iterable[MeterEntry]) -> tuple[MeterOnLine, ...]:
        """All of them or none. Raises ConfigError."""
        all_fitted = [self._work.fit(entry) for entry in entries]
        for fitted in all_fitted:
            self._work.take(fitted)
        return tuple(fitted.on_line for fitted in all_fitted)

    def _remembered_nodes(self) -> NodeBook:
        from gridtally_edge.journal.nodes import NODES_FILE, NodeBook  # for an agent with a coordinator only

        book = NodeBook(self._config.data_dir / NODES_FILE)
        for name, line in self._coordinators.items():
            nodes = [row.as_node() for row in book.rows(name)]
            line.remember(nodes)
            self._core.routes.remember(name, nodes)
        return book

    def _allow_nodes(self, registry: Registry) -> None:
        for name, line in self._coordinators.items():
            line.allow(registry.allowed_nodes(name))

    def _note_nodes(self, mono_s: float) -> None:
        """Keep the networks' nodes over a restart."""
        if self._nodes is None:
            return
        for name, line in self._coordinators.items():
            meters = (m for m in self._core.street.meters.values() if m.on_line.line == name)
            self._nodes.take(name, line.nodes(), {m.on_line.address: m.serial for m in meters}, self._clock.now_ms(), mono_s)
        self._nodes.save(mono_s)

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
            if isinstance(event, PollDone | ReadDone | SwitchDone | TaskDone | Heard):
                self._core.handle(event, self._moment())
        self._core.close(self._moment())

    def _close(self) -> None:
        for line in self._lines.values():
            line.close()
        self._mqtt.stop()
        self._counters.close()
        for store in self._stores:
            store.close()
        log.info("agent %s stopped", self._config.dcu)


_ACTIONS: dict[type, Callable[[Agent, Any], None]] = {
    GiveAnswer: lambda agent, effect: agent._counter.answer(effect.ask_id, effect.answer),
    StartPoll: lambda agent, effect: agent._work.start_poll(effect),
    StartRead: lambda agent, effect: agent._work.start_read(effect),
    StartSwitch: lambda agent, effect: agent._work.start_switch(effect),
    StartTask: lambda agent, effect: agent._work.start_task(effect),
    StartShow: lambda agent, effect: agent._work.start_show(effect),
    RenewPort: lambda agent, effect: agent._work.renew_port(effect),
    StepClock: Agent._step_clock,
    Publish: Agent._publish,
    SlowDown: Agent._slow_down,
}
