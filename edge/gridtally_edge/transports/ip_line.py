"""A line with many addressed meters, several of which are spoken to at once: IP networks and coordinators of meshes.

* The same promises as `Line`: priorities, a fair queue, a breaker for each meter, every future settles. One conversation
  at a time to each address; `in_flight` conversations at once on the line, and one more for switch commands and people.
* A first request that stays unanswered goes back into the queue behind the others, so a dead meter keeps its place in
  flight for one time-out only.
* All state belongs to the loop's thread; `submit` and `health` may be called from any.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TypeVar

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.transports.arbiter import Arbiter, Priority
from gridtally_edge.transports.breaker import Breaker, Event, State, advance
from gridtally_edge.transports.heard import Heard, Sink
from gridtally_edge.transports.ip_flight import Flight, FlightRules, Late, Outcome
from gridtally_edge.transports.ip_loop import IP_LOOP, SelectorLoop
from gridtally_edge.transports.ip_medium import IpMedium
from gridtally_edge.transports.ip_unasked import FloodGate
from gridtally_edge.transports.ip_way import Medium, Way
from gridtally_edge.transports.line import URGENT, LineHealth, LineState
from gridtally_edge.transports.places import NOWHERE, Place
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_edge.transports.ticket import Ticket
from gridtally_shared.errors import ConfigError, LinkDown

log = logging.getLogger("gridtally.lines")
T = TypeVar("T")
_EVENTS = {Outcome.ANSWERED: Event.ANSWERED, Outcome.SILENT: Event.STAYED_SILENT}


class NetworkLine:
    """A `MeterLine` over a medium that its maker joins to it with `join`."""

    def __init__(self, settings: LineSettings, sink: Sink, loop: SelectorLoop) -> None:
        self.settings = settings
        self._sink, self._loop = sink, loop
        self._medium: Medium | None = None
        self._lock = threading.Lock()
        self._state, self._trouble = LineState.DOWN, "not started"
        self._statistics = LineStatistics()
        self._gate = FloodGate(settings.network.push_per_s)
        self._urgent: Arbiter[Ticket] = Arbiter()
        self._ordinary: Arbiter[Ticket] = Arbiter()
        self._waits: dict[Way, list[Ticket]] = {}
        self._flights: dict[Way, Flight] = {}
        self._late: dict[Way, Late] = {}
        self._places: dict[str, Place] = {}
        self._breakers: dict[str, Breaker] = {}
        self._running = False
        self._back_off_s = settings.reopen_first_s

    def join(self, medium: Medium) -> None:
        self._medium = medium

    def place(self, meter_key: str, place: Place) -> None:
        """Where a meter is. Raises ConfigError for a place this line can not reach."""
        with self._lock:
            self._places[meter_key] = place

    def start(self) -> None:
        """Open the medium. What may pass by itself is not an error; ConfigError for what needs a person."""
        self._loop.acquire()
        self._running = True
        try:
            self._loop.run(self._open)
        except ConfigError:
            self._running = False
            self._loop.release()
            raise

    def close(self, within_s: float = 5.0) -> None:
        """Stop at once: running and waiting conversations get LinkDown."""
        with self._lock:
            already = self._state is LineState.CLOSED
            self._state, self._trouble = LineState.CLOSED, "the line is closed"
        if already or not self._running:
            return
        self._running = False
        self._loop.run(lambda: self._shut("the line is closed"), within_s)
        self._loop.release(within_s)

    def submit(self, conversation: Conversation[T], priority: Priority, meter_key: str, speed: Speed | None = None) -> Future[T]:
        """As `Line.submit`; `speed` is of no meaning here."""
        ticket = Ticket(conversation, priority, meter_key, speed or self.settings.speed)
        with self._lock:
            up, trouble = self._state is LineState.UP, self._trouble
            if up:
                self._queue(priority).add(priority, meter_key, ticket)
        if up:
            self._loop.call(self._pump)
        else:
            ticket.refuse(LinkDown(f"line {self.settings.name}: {trouble}"))
        return ticket.future

    def health(self) -> LineHealth:
        with self._lock:
            silent = tuple(sorted(k for k, b in self._breakers.items() if b.state is not State.HEALTHY))
            waiting = len(self._urgent) + len(self._ordinary) + sum(len(w) for w in self._waits.values())
            self._statistics.pushes_dropped = self._gate.dropped
            return LineHealth(self._state, self._trouble, waiting, silent, self._statistics.copy())

    def breakers(self) -> Mapping[str, Breaker]:
        with self._lock:
            return dict(self._breakers)

    def in_flight(self) -> int:
        """Conversations under way at this moment."""
        return len(self._flights)

    # ---- what the medium tells, on the loop's thread -----------------------------------------------------------

    def unasked(self, source: str, data: bytes, quality: int = 0) -> None:
        """A message nobody asked for; a source that sends too many is not listened to for a while."""
        now_s = time.monotonic()
        if self._gate.may_pass(source, now_s):
            self._statistics.pushes += 1
            self._sink(Heard(self.settings.name, source, data, now_s, quality))

    def stray(self, octets: int) -> None:
        """Octets that belong to nothing: answers after their time, strangers."""
        self._statistics.noise_bytes += octets

    def lost(self, error: LinkDown) -> None:
        """The medium is gone; it is opened again after a while."""
        with self._lock:
            if self._state is not LineState.UP:
                return
            self._state, self._trouble = LineState.DOWN, str(error)
        self._settle_all(str(error))
        if self._medium is not None:
            self._medium.close()
        self._reopen_later()

    # ---- the loop's thread --------------------------------------------------------------------------------------

    def _queue(self, priority: Priority) -> Arbiter[Ticket]:
        return self._urgent if priority in URGENT else self._ordinary

    def _open(self) -> None:
        try:
            if self._medium is not None:
                self._medium.open()
        except LinkDown as error:
            self._trouble = str(error)
            return self._reopen_later()
        self._statistics.openings += 1
        self._back_off_s = self.settings.reopen_first_s
        with self._lock:
            if self._state is not LineState.CLOSED:
                self._state, self._trouble = LineState.UP, ""

    def _reopen_later(self) -> None:
        self._loop.after(self._back_off_s, self._reopen)
        self._back_off_s = min(self.settings.reopen_longest_s, 2 * self._back_off_s)

    def _reopen(self) -> None:
        if not self._running or self._state is not LineState.DOWN:
            return
        try:
            self._open()
        except ConfigError as error:
            self._trouble = str(error)
            self._reopen_later()

    def _shut(self, why: str) -> None:
        self._settle_all(why)
        if self._medium is not None:
            self._medium.close()

    def _settle_all(self, why: str) -> None:
        error = LinkDown(f"line {self.settings.name}: {why}")
        for flight in list(self._flights.values()):
            flight.abandon(error)
        with self._lock:
            waiting = [*self._urgent.drain(), *self._ordinary.drain()]
            waiting += [ticket for tickets in self._waits.values() for ticket in tickets]
            self._waits.clear()
            self._late.clear()
        for ticket in waiting:
            ticket.refuse(error)

    def _pump(self) -> None:
        """Start what may start now."""
        while (ticket := self._next()) is not None:
            refusal = self._refusal(ticket)
            if refusal is not None:
                self._statistics.refused_silent += 1
                ticket.refuse(refusal)
                continue
            try:
                self._launch(ticket)
            except (LinkDown, ConfigError) as error:
                ticket.abandon(error)

    def _next(self) -> Ticket | None:
        alone = self._medium is not None and self._medium.alone
        limit = 1 if alone else self.settings.network.in_flight
        with self._lock:
            if self._state is not LineState.UP:
                return None
            if len(self._urgent) and len(self._flights) < limit + (not alone):
                return self._urgent.next()
            return self._ordinary.next() if len(self._flights) < limit else None

    def _refusal(self, ticket: Ticket) -> LinkDown | None:
        breaker = self._breakers.get(ticket.meter_key, Breaker())
        now_s, urgent = time.monotonic(), ticket.priority in URGENT
        if breaker.may_speak(now_s, urgent):
            return None
        wait_s = breaker.wait_s(now_s, urgent)
        return LinkDown(f"meter {ticket.meter_key} is silent since {breaker.failures} tries; asked again in {wait_s:.0f} s")

    def _launch(self, ticket: Ticket) -> None:
        if self._medium is None:
            raise LinkDown(f"line {self.settings.name} has no medium")
        place = self._places.get(ticket.meter_key, NOWHERE)
        way = self._medium.way(place)
        if way in self._flights:
            with self._lock:
                self._waits.setdefault(way, []).append(ticket)
            return
        breaker = self._breakers.get(ticket.meter_key)
        if breaker and breaker.state is State.SILENT:
            self._note(ticket.meter_key, Event.PROBE_STARTED)
        probing = breaker is not None and breaker.state is not State.HEALTHY
        rules = FlightRules(self.settings.name, self.settings.network.hop_ms, probing)
        late = self._late.pop(way, None)
        source = str(place)
        flight = Flight(ticket, way, rules, self._loop, self._statistics, lambda data: self.unasked(source, data), self._landed, late)
        self._flights[way] = flight
        flight.start()

    def _landed(self, flight: Flight, outcome: Outcome) -> None:
        ticket = flight.ticket
        self._flights.pop(flight.way, None)
        if flight.late is not None and outcome is not Outcome.ABANDONED:
            self._late[flight.way] = flight.late
        breaker = self._breakers.get(ticket.meter_key)
        if outcome in _EVENTS:
            self._note(ticket.meter_key, _EVENTS[outcome])
        elif breaker and breaker.state is State.PROBING:
            self._note(ticket.meter_key, Event.PROBE_LOST)
        with self._lock:
            for waiting in self._waits.pop(flight.way, ()):
                self._queue(waiting.priority).add(waiting.priority, waiting.meter_key, waiting)
            if outcome is Outcome.PUT_BACK:
                behind = ticket.priority if ticket.priority in URGENT else Priority.DISCOVERY
                self._queue(ticket.priority).add(behind, ticket.meter_key, ticket)
        self._loop.call(self._pump)

    def _note(self, meter_key: str, event: Event) -> None:
        with self._lock:
            self._breakers[meter_key] = advance(self._breakers.get(meter_key, Breaker()), event, time.monotonic())


class IpLine(NetworkLine):
    """Meters with addresses of their own, over UDP and TCP. All of them share one thread."""

    def __init__(self, settings: LineSettings, sink: Sink) -> None:
        super().__init__(settings, sink, IP_LOOP)
        self.medium = IpMedium(settings, IP_LOOP, self)
        self.join(self.medium)

    def place(self, meter_key: str, place: Place) -> None:
        self.medium.check(place)
        super().place(meter_key, place)
