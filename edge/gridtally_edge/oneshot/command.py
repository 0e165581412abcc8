"""`gridtally-dcu read`: options in, one session with one meter, its answer out.

* The line is opened here, so an agent that holds it is told of, and a meter of a running agent is never switched.
* Meters that only send (wireless M-Bus, P1, mode D) are listened to until something of theirs came.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import queue
import sys
import time
from datetime import UTC, datetime
from typing import Any

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.driver import Driver, settings_from
from gridtally_edge.drivers.model import MeterPort
from gridtally_edge.fitting import fit
from gridtally_edge.oneshot import asked, managed, show, who
from gridtally_edge.oneshot.where import NAME, Where, where_of
from gridtally_edge.prepay.events import RunSwitch, SwitchResult
from gridtally_edge.prepay.switching import switch_conversation
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.registry import MeterEntry
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.heard import Heard
from gridtally_edge.transports.meter_line import MeterLine, T
from gridtally_shared.clock import MS_PER_DAY, Clock, clock_from
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault, RefusedCommand
from gridtally_shared.lifecycle import Reason

WAIT_S = 180.0
SHARED_OPTIONS = tuple(who.SHARED)
BAD_ENDS = {
    SwitchResult.STUCK: MeterFault("the switch did not follow; look at it on site"),
    SwitchResult.NOT_FITTED: RefusedCommand(Reason.UNSUPPORTED, "the meter has no switch, or refuses this client"),
}


def read_once(options: argparse.Namespace) -> int:
    """Print what the meter says. Raises LinkDown, MeterFault, RefusedCommand or ConfigError."""
    driver = who.driver_for(options.protocol, options.driver)
    given = {name: getattr(options, name) for name in SHARED_OPTIONS}
    settings = who.settings_for(driver, given, options.set)
    where = where_of(options.line, options.protocol or driver.protocol, driver.line)
    if where.is_mode_d and driver.name == "iec62056-21":
        settings = settings | {"sends": True}
    clock = clock_from(options.virtual_clock or None)
    if options.disconnect or options.reconnect:
        answer, more = _switch(where, driver, settings, clock, options)
    elif driver.hears is not None and _only_sends(driver, settings):
        answer, more = _listen(where, driver, settings, clock, options.wait), {}
    else:
        answer, more = _ask(where, driver, settings, _question(options, clock), clock), {}
    print(json.dumps(show.as_json(answer, more), indent=1) if options.json else "\n".join(show.as_text(answer)))
    return 0


def _question(options: argparse.Namespace, clock: Clock) -> asked.Question:
    asked.check(options.what)
    to_ms = _moment("--to", options.to, clock) if options.to else clock.now_ms()
    usual_ms = to_ms - asked.USUAL_SPAN_MS.get(options.what, MS_PER_DAY)
    from_ms = _moment("--from", options.since, clock) if options.since else usual_ms
    if from_ms >= to_ms:
        raise ConfigError("--from", options.since, "it must lie before --to")
    return asked.Question(options.what, from_ms, to_ms)


def _moment(option: str, text: str, clock: Clock) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(option, text, "write a time as 2026-11-01 or 2026-11-01T06:00:00Z (UTC where no zone is given)") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


# ---- asking ---------------------------------------------------------------------------------------------------


class _Session:
    """The line of one call, open as long as it is needed."""

    def __init__(self, where: Where, driver: Driver[Any], settings: dict[str, object]) -> None:
        entry = MeterEntry(NAME, driver.name, settings | where.place)
        self.key = entry.key
        self.port: MeterPort = fit(entry).port
        self._line: MeterLine = line_for(where.settings)
        self._line.place(self.key, entry.place)

    def __enter__(self) -> _Session:
        self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def run(self, conversation: Conversation[T]) -> T:
        try:
            return self._line.submit(conversation, Priority.ON_DEMAND, self.key).result(WAIT_S)
        except TimeoutError:
            raise LinkDown(f"no end after {WAIT_S:.0f} s; ask for a shorter span") from None
        except LinkDown as error:
            raise LinkDown(f"{error}; check device, speed, address and wiring (A and B swapped?)") from error


def _ask(where: Where, driver: Driver[Any], settings: dict[str, object], question: asked.Question, clock: Clock) -> asked.Answer:
    with _Session(where, driver, settings) as session:
        return session.run(asked.conversation(session.port, question, clock.now_ms))


# ---- switching ------------------------------------------------------------------------------------------------


def _switch(
    where: Where, driver: Driver[Any], settings: dict[str, object], clock: Clock, options: argparse.Namespace
) -> tuple[asked.Answer, dict[str, Any]]:
    close = bool(options.reconnect)
    identity = asked.Question("identity", 0, clock.now_ms())
    with _Session(where, driver, settings) as session:
        answer = session.run(asked.conversation(session.port, identity, clock.now_ms))
        managed.refuse_managed(answer.serial)
        managed.confirm(answer.serial, close, options.yes)
        _log("ordered", answer.serial, close, options.line)
        order = RunSwitch(os.urandom(16), 0, answer.serial, close, clock.now_ms() + int(WAIT_S * 1000))
        outcome = session.run(switch_conversation(session.port, clock.now_ms, order))
    where_logged = _log(outcome.result.name.lower(), answer.serial, close, options.line)
    print(f"{outcome.result.name.lower()}: switch {outcome.state_before.name.lower()} -> {outcome.state_after.name.lower()}; "
          f"written down in {where_logged}", file=sys.stderr)  # fmt: skip
    if outcome.result not in (SwitchResult.DONE, SwitchResult.ALREADY):
        raise BAD_ENDS.get(outcome.result) or LinkDown(outcome.fault or "nobody knows what became of it; read the switch again")
    done = asked.Answer(answer.serial, switch=outcome.state_after)
    return done, {"result": outcome.result.name.lower(), "switch_before": outcome.state_before.name.lower()}


def _log(result: str, serial: str, close: bool, line: str) -> str:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    row = {"at": at, "by": getpass.getuser(), "serial": serial, "line": line, "act": "close" if close else "open", "result": result}
    return str(managed.write_down(dict(row)))


# ---- listening ------------------------------------------------------------------------------------------------


def _only_sends(driver: Driver[Any], settings: dict[str, object]) -> bool:
    port = driver.make_port(settings_from(driver, settings))
    return isinstance(port, BasePort) and type(port).read_serial is BasePort.read_serial


def _listen(where: Where, driver: Driver[Any], settings: dict[str, object], clock: Clock, wait_s: float) -> asked.Answer:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    line = line_for(where.settings, heard.put)
    ready = settings_from(driver, settings)
    until_s, others = time.monotonic() + wait_s, 0
    line.start()
    try:
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                message = heard.get(timeout=left_s)
            except queue.Empty:
                break
            pushed = driver.hears(ready, message.data, clock.now_ms()) if driver.hears and isinstance(message, Heard) else None
            if pushed is not None:
                return asked.Answer(pushed.serial, readings=(*pushed.readings, *pushed.intervals), events=pushed.events)
            others += 1
        trouble = line.health().trouble
    finally:
        line.close()
    if trouble:
        raise LinkDown(trouble)
    raise LinkDown(f"nothing of this meter within {wait_s:.0f} s ({others} messages of others); it may send seldom: --wait 600")
