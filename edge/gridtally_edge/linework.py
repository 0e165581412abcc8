"""The meters on the lines, and what is carried out on them: each order of the core becomes a conversation, its end an event.

* Every order comes back, also when its line is closed or its protocol had a fault of our own.
* A meter is fitted first and taken in only when all that came with it fits too: a registry with a fault changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from gridtally_edge.core_events import (
    CoreEvent,
    PollDone,
    ReadDone,
    RenewPort,
    StartPoll,
    StartRead,
    StartShow,
    StartSwitch,
    StartTask,
    SwitchDone,
    TaskDone,
)
from gridtally_edge.drivers.model import MeterPort, Now
from gridtally_edge.fitting import Fitted, fit, fitted_afresh
from gridtally_edge.polling.poll import PollResult, fault_of, poll
from gridtally_edge.polling.showing import show_conversation
from gridtally_edge.polling.tasks import TaskOutcome, task_conversation
from gridtally_edge.polling.tasks import outcome_of_error as task_outcome_of_error
from gridtally_edge.prepay.switching import outcome_of_error, switch_conversation
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms.counters import Counters
from gridtally_edge.registry import MeterEntry
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.meter_line import MeterLine
from gridtally_shared.errors import ConfigError, GridtallyError

log = logging.getLogger("gridtally.agent")


class LineWork:
    """`put` takes the events, from the lines' threads."""

    def __init__(
        self, lines: Mapping[str, MeterLine], now: Now, put: Callable[[CoreEvent], None], counters: Counters,
        drivers_dir: Path | None,
    ) -> None:  # fmt: skip
        self._lines, self._now, self._put = lines, now, put
        self._counters, self._drivers_dir = counters, drivers_dir
        self._meters: dict[str, Fitted] = {}

    def fit(self, entry: MeterEntry) -> Fitted:
        """Raises ConfigError for a meter that can not be served."""
        if entry.line not in self._lines:
            names = ", ".join(sorted(self._lines)) or "none"
            raise ConfigError("meter.line", entry.line, f"there is no such line; the lines are: {names}")
        self._lines[entry.line].place(entry.key, entry.place)
        return fit(entry, self._drivers_dir, self._counters)

    def take(self, fitted: Fitted) -> None:
        self._meters[fitted.entry.key] = fitted

    def drop(self, key: str) -> None:
        del self._meters[key]

    def entries(self) -> dict[str, MeterEntry]:
        """What is served, by key."""
        return {key: fitted.entry for key, fitted in self._meters.items()}

    def start_poll(self, start: StartPoll) -> None:
        conversation = poll(self._port(start.key), start.request, self._now)
        self._submit(start.key, conversation, start.priority, lambda r: PollDone(start.key, start.request, r))

    def start_read(self, start: StartRead) -> None:
        conversation = poll(self._port(start.key), start.request, self._now)
        self._submit(
            start.key, conversation, Priority.ON_DEMAND, lambda r: ReadDone(start.run, start.key, start.request, r)
        )

    def _submit(
        self, key: str, conversation: Conversation[PollResult], priority: Priority, event: Callable[[PollResult], CoreEvent]
    ) -> None:
        future = self._line_of(key).submit(conversation, priority, key)
        future.add_done_callback(lambda f: self._put(event(self._result_of(f))))

    def start_switch(self, start: StartSwitch) -> None:
        conversation = switch_conversation(self._port(start.key), self._now, start.order)
        future = self._line_of(start.key).submit(conversation, Priority.SWITCH, start.key)

        def finished(done: Future[Any]) -> None:
            error = done.exception()
            now_ms = self._now()
            is_fault = isinstance(error, Exception)
            outcome = outcome_of_error(start.order, error, now_ms) if is_fault else done.result()  # type: ignore[arg-type]
            self._put(SwitchDone(start.order, outcome))

        future.add_done_callback(finished)

    def start_task(self, start: StartTask) -> None:
        port, now = self._port(start.key), self._now
        conversation = task_conversation(port, now, start.task, start.interval_ms, start.policy)
        future = self._line_of(start.key).submit(conversation, start.priority, start.key)

        def finished(done: Future[TaskOutcome]) -> None:
            error = done.exception()
            outcome = task_outcome_of_error(error, now()) if isinstance(error, Exception) else done.result()
            self._put(TaskDone(start.key, start.task, outcome))

        future.add_done_callback(finished)

    def renew_port(self, renew: RenewPort) -> None:
        if renew.key in self._meters:
            old = self._meters[renew.key]
            self._meters[renew.key] = fitted_afresh(old, self.fit(old.entry))

    def start_show(self, start: StartShow) -> None:
        conversation = show_conversation(self._port(start.key), start.face)
        future = self._line_of(start.key).submit(conversation, Priority.EVENTS, start.key)
        future.add_done_callback(lambda f: _log_failure(f, f"the balance was not shown on the meter at {start.key}"))

    def _line_of(self, key: str) -> MeterLine:
        return self._lines[self._meters[key].entry.line]

    def _port(self, key: str) -> MeterPort:
        return self._meters[key].port

    def _result_of(self, future: Future[PollResult]) -> PollResult:
        error = future.exception()
        if error is None:
            return future.result()
        if not isinstance(error, GridtallyError):
            log.error("a poll ended with a fault of our own", exc_info=error)
        return PollResult(self._now(), fault_of(error), str(error))


def _log_failure(future: Future[None], what: str) -> None:
    error = future.exception()
    if error is not None:
        log.info("%s: %s", what, error)
