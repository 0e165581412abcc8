"""A half-duplex line with one owner thread: conversations are queued, granted one at a time, and always settle.

* The arbiter says who is next, the breaker who may speak at all, the talker carries out each try.
* A conversation whose very first request stays unanswered goes back into the queue for its retry, behind the others
  (commands of persons apart), so a dead meter costs its neighbours one time-out at most.
* A port that goes away fails the running and all waiting conversations with LinkDown; the line backs off and opens it
  again. Nothing waits for ever.
* An answer that comes after its time-out must not be taken for the answer to another request of the same meter.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from gridtally_edge.protocols.conversation import Conversation, Exchange
from gridtally_edge.transports.arbiter import Arbiter, Priority
from gridtally_edge.transports.breaker import Breaker, Event, State, advance
from gridtally_edge.transports.gaps import GapTable
from gridtally_edge.transports.link import ByteLink
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_edge.transports.talker import Missed, Speaker, Talker
from gridtally_edge.transports.ticket import Ticket
from gridtally_shared.errors import ConfigError, LinkDown

T = TypeVar("T")

SPEED_CHANGE_S = 0.050
URGENT = frozenset({Priority.SWITCH, Priority.ON_DEMAND})


class LineState(Enum):
    UP = "up"
    DOWN = "down"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LineHealth:
    """`trouble` is empty while the port is open; `silent` holds the meters whose breaker is open."""

    state: LineState
    trouble: str
    waiting: int
    silent: tuple[str, ...]
    statistics: LineStatistics


@dataclass(frozen=True, slots=True)
class Straggler:
    """An answer to `request` may still come until `until_s`; `sample` is what such an answer looks like, if known."""

    exchange: Exchange
    sample: bytes | None
    until_s: float

    def could_be_taken_for(self, exchange: Exchange, now_s: float) -> bool:
        return now_s < self.until_s and (self.sample is None or exchange.find_answer(self.sample) is not None)


class Line:
    """`SerialBus` and `TcpLine` are lines with their own `ByteLink`, `ModbusTcpLine` with its own `Speaker` too. `submit`
    may be called from any thread."""

    def __init__(
        self, settings: LineSettings, link: ByteLink, speaker: Callable[[LineSettings, LineStatistics], Speaker] | None = None
    ) -> None:
        self.settings = settings
        self._link = link
        self._statistics = LineStatistics()
        self._talker = speaker(settings, self._statistics) if speaker else Talker(link, settings, self._statistics)
        self._changed = threading.Condition()
        self._queue: Arbiter[Ticket] = Arbiter()
        self._breakers: dict[str, Breaker] = {}
        self._gaps = GapTable()
        self._stragglers: dict[str, Straggler] = {}
        self._tries_in_vain: Counter[str] = Counter()
        self._state = LineState.DOWN
        self._trouble = "not started"
        self._speed = settings.speed
        self._last_spoken_to = ""
        self._thread = threading.Thread(target=self._run, name=f"line {settings.name}", daemon=True)

    def start(self) -> None:
        """Open the port and start the thread. A port that is away is not an error: it is opened when it comes.
        Raises ConfigError for what only a person can put right (permission, not a serial port, no such speed)."""
        self._open()
        self._thread.start()

    def close(self, within_s: float = 5.0) -> None:
        """Stop at once: running and waiting conversations get LinkDown, the port is given back."""
        with self._changed:
            already = self._state is LineState.CLOSED
            self._state, self._trouble = LineState.CLOSED, "the line is closed"
            self._changed.notify_all()
        if already:
            return
        self._talker.interrupt()
        if self._thread.is_alive():
            self._thread.join(within_s)
        self._fail_waiting("the line is closed")
        self._link.close()
        if not self._thread.is_alive():
            self._talker.release()

    def submit(self, conversation: Conversation[T], priority: Priority, meter_key: str, speed: Speed | None = None) -> Future[T]:
        """Queue a conversation with one meter. `meter_key` names the device that can be silent: one conversation must
        speak to one device only. The future gives the conversation's result or raises what it raised; LinkDown when
        the meter or the line is silent. `speed` overrides the line's own for this device."""
        ticket = Ticket(conversation, priority, meter_key, speed or self.settings.speed)
        with self._changed:
            if self._state is LineState.UP:
                self._queue.add(priority, meter_key, ticket)
                self._changed.notify_all()
                return ticket.future
        ticket.refuse(LinkDown(f"line {self.settings.name}: {self._trouble}"))
        return ticket.future

    def health(self) -> LineHealth:
        with self._changed:
            silent = tuple(sorted(k for k, b in self._breakers.items() if b.state is not State.HEALTHY))
            return LineHealth(self._state, self._trouble, len(self._queue), silent, self._statistics.copy())

    def breakers(self) -> Mapping[str, Breaker]:
        """The breaker of every meter that was ever spoken to."""
        with self._changed:
            return dict(self._breakers)

    def _open(self) -> None:
        try:
            self._link.open(self._speed)
        except LinkDown as error:
            self._trouble = str(error)
            return
        self._talker.opened(self._speed)
        self._statistics.openings += 1
        with self._changed:
            if self._state is not LineState.CLOSED:
                self._state, self._trouble = LineState.UP, ""

    def _run(self) -> None:
        back_off_s = self.settings.reopen_first_s
        while self._state is not LineState.CLOSED:
            if self._state is LineState.UP:
                back_off_s = self.settings.reopen_first_s
                self._serve_next()
            else:
                self._wait(back_off_s)
                back_off_s = min(self.settings.reopen_longest_s, 2 * back_off_s)
                self._reopen()

    def _wait(self, seconds: float) -> None:
        with self._changed:
            if self._state is not LineState.CLOSED:
                self._changed.wait(seconds)

    def _reopen(self) -> None:
        if self._state is LineState.CLOSED:
            return
        try:
            self._open()
        except ConfigError as error:
            self._trouble = str(error)

    def _serve_next(self) -> None:
        with self._changed:
            ticket = self._queue.next()
            if ticket is None:
                if self._state is LineState.UP:
                    self._changed.wait()
                return
        refusal = self._refusal(ticket)
        if refusal is not None:
            self._statistics.refused_silent += 1
            ticket.refuse(refusal)
            return
        self._serve(ticket)

    def _refusal(self, ticket: Ticket) -> LinkDown | None:
        breaker = self._breakers.get(ticket.meter_key, Breaker())
        now_s, urgent = time.monotonic(), ticket.priority in URGENT
        if breaker.may_speak(now_s, urgent):
            return None
        wait_s = breaker.wait_s(now_s, urgent)
        return LinkDown(f"meter {ticket.meter_key} is silent since {breaker.failures} tries; asked again in {wait_s:.0f} s")

    def _serve(self, ticket: Ticket) -> None:
        try:
            exchange = ticket.begin()
            if exchange is None:
                return
            self._set_speed(ticket.speed)
            self._start_probe(ticket.meter_key)
            while exchange is not None:
                answer = self._perform(ticket, exchange)
                if answer is None and self._put_back(ticket):
                    return
                exchange = self._silent(ticket) if answer is None else ticket.answered(answer)
            self._note(ticket.meter_key, Event.STAYED_SILENT if ticket.error else Event.ANSWERED)
        except LinkDown as error:
            self._lost(ticket, error)
        except Exception as error:  # a fault in a protocol must not take the line's only thread with it
            ticket.abandon(error)
            self._note(ticket.meter_key, Event.ANSWERED)

    def _perform(self, ticket: Ticket, exchange: Exchange) -> bytes | None:
        """All tries that are due now. None: no answer."""
        if ticket.error and not ticket.has_answer:
            return None
        self._let_stragglers_pass(ticket.meter_key, exchange)
        while True:
            ticket.tries += 1
            answer = self._talker.attempt(exchange, self._gap_s(ticket))
            if isinstance(answer, bytes):
                self._heard(ticket, exchange, answer)
                return answer
            self._tries_in_vain[ticket.meter_key] += 1
            if answer is Missed.SILENT:
                self._expect_straggler(ticket, exchange, None)
            if not ticket.has_answer or ticket.tries >= self._tries_allowed(ticket, exchange):
                return None
            self._statistics.retries += 1

    def _heard(self, ticket: Ticket, exchange: Exchange, answer: bytes) -> None:
        if not ticket.has_answer and self._last_spoken_to != ticket.meter_key:
            self._gaps.first_request_answered(ticket.meter_key, ticket.tries, self.settings.gap_s(self._speed))
        self._last_spoken_to = ticket.meter_key
        del self._tries_in_vain[ticket.meter_key]
        straggler = self._stragglers.pop(ticket.meter_key, None)
        if straggler and time.monotonic() < straggler.until_s:
            self._expect_straggler(ticket, exchange, answer)

    def _expect_straggler(self, ticket: Ticket, exchange: Exchange, sample: bytes | None) -> None:
        until_s = time.monotonic() + max(1, ticket.tries - 1) * exchange.timeout_ms / 1000
        self._stragglers[ticket.meter_key] = Straggler(exchange, sample, until_s)

    def _let_stragglers_pass(self, meter_key: str, exchange: Exchange) -> None:
        straggler = self._stragglers.get(meter_key)
        if straggler is None or straggler.exchange.request == exchange.request:
            return
        if straggler.could_be_taken_for(exchange, time.monotonic()):
            self._talker.swallow(straggler.exchange.find_answer, straggler.until_s)
        del self._stragglers[meter_key]

    def _gap_s(self, ticket: Ticket) -> float:
        line_gap_s = self.settings.gap_s(self._speed)
        if self._last_spoken_to == ticket.meter_key:
            return line_gap_s
        return self._gaps.gap_s(ticket.meter_key, line_gap_s)

    def _tries_allowed(self, ticket: Ticket, exchange: Exchange) -> int:
        probing = self._breakers.get(ticket.meter_key, Breaker()).state is State.PROBING
        return 1 if probing or ticket.error else 1 + exchange.retries

    def _put_back(self, ticket: Ticket) -> bool:
        """Queue the retry of a first request behind the others; False when its tries are used up, where the meter's
        other conversations count too."""
        exchange = ticket.pending
        if exchange is None or ticket.has_answer or ticket.error:
            return False
        tries = max(ticket.tries, self._tries_in_vain[ticket.meter_key])
        if tries >= self._tries_allowed(ticket, exchange):
            return False
        self._statistics.retries += 1
        priority = ticket.priority if ticket.priority in URGENT else Priority.DISCOVERY
        with self._changed:
            self._queue.add(priority, ticket.meter_key, ticket)
        return True

    def _silent(self, ticket: Ticket) -> Exchange | None:
        error = LinkDown(f"meter {ticket.meter_key} on line {self.settings.name} does not answer ({ticket.tries} tries)")
        return ticket.failed(ticket.error or error)

    def _start_probe(self, meter_key: str) -> None:
        breaker = self._breakers.get(meter_key)
        if breaker and breaker.state is State.SILENT:
            self._note(meter_key, Event.PROBE_STARTED)

    def _note(self, meter_key: str, event: Event) -> None:
        with self._changed:
            self._breakers[meter_key] = advance(self._breakers.get(meter_key, Breaker()), event, time.monotonic())

    def _set_speed(self, speed: Speed) -> None:
        if speed == self._speed:
            return
        self._talker.pause(SPEED_CHANGE_S)
        self._link.set_speed(speed)
        self._speed = speed
        self._talker.speed_changed(speed)
        self._talker.pause(SPEED_CHANGE_S)

    def _lost(self, ticket: Ticket, error: LinkDown) -> None:
        """The port went away under a conversation. The meter is not to blame for it."""
        with self._changed:
            if self._state is not LineState.CLOSED:
                self._state, self._trouble = LineState.DOWN, str(error)
            breaker = self._breakers.get(ticket.meter_key)
            if breaker and breaker.state is State.PROBING:
                self._breakers[ticket.meter_key] = advance(breaker, Event.PROBE_LOST, time.monotonic())
        self._link.close()
        while not ticket.future.done() and ticket.failed(error) is not None:
            pass
        self._fail_waiting(str(error))

    def _fail_waiting(self, why: str) -> None:
        with self._changed:
            waiting = self._queue.drain()
        for ticket in waiting:
            ticket.refuse(LinkDown(f"line {self.settings.name}: {why}"))
