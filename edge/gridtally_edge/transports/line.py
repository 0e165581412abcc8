"""A half-duplex line with one owner thread: conversations are queued, granted one at a time, and always settle.

* The arbiter says who is next, the breaker who may speak at all, `turns.py` carries the conversation out.
* A port that goes away fails the running and all waiting conversations with LinkDown; the line backs off and opens it
  again. Nothing waits for ever.
* Probing silent meters takes a twentieth of a busy line: after one in vain the next waits until the line is idle, or for
  nineteen times as long as it took.
* A setting only a person can put right is told at the start and tried again all the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from enum import Enum
from pathlib import Path
from typing import TypeVar

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.transports.arbiter import Arbiter, Priority, Rank
from gridtally_edge.transports.breaker import Breaker, State
from gridtally_edge.transports.link import ByteLink
from gridtally_edge.transports.places import Place
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_edge.transports.talker import Speaker, Talker
from gridtally_edge.transports.ticket import Ticket
from gridtally_edge.transports.turns import URGENT, Outcome, Turns
from gridtally_shared.errors import ConfigError, LinkDown
from gridtally_shared.records import dataclass

T = TypeVar("T")

__all__ = ["URGENT", "Line", "LineHealth", "LineState"]

TIMER_SLACK_NS = b"1000"


class LineState(Enum):
    UP = "up"
    DOWN = "down"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LineHealth:
    """`trouble` is empty while the port is open; `silent` holds the meters whose breaker is open; `gaps_ms` the silences
    learnt for single meters; `advice` what an installer should change; `busy_share` is the part of the time since the
    line was made in which somebody spoke or was waited for, 0 to 1."""

    state: LineState
    trouble: str
    waiting: int
    silent: tuple[str, ...]
    statistics: LineStatistics
    gaps_ms: tuple[tuple[str, float], ...] = ()
    advice: tuple[str, ...] = ()
    busy_share: float = 0.0


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
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: Arbiter[Ticket] = Arbiter()
        self._turns = Turns(settings, link, self._talker, self._statistics, self._queue, self._rival)
        self._resting: Ticket | None = None
        self._sessions: dict[str, Ticket] = {}
        self._probes: deque[Ticket] = deque()
        self._speeds: dict[str, Speed] = {}
        self._state = LineState.DOWN
        self._trouble = "not started"
        self._made_s = self._talker.now_s()
        self._thread = threading.Thread(target=self._run, name=f"line {settings.name}", daemon=True)

    def start(self) -> None:
        """Open the port and start the thread. A port that is away is not an error: it is opened when it comes.
        Raises ConfigError for what only a person can put right (permission, not a serial port, no such speed); the
        line runs all the same and tries again."""
        try:
            self._open()
        except ConfigError as error:
            self._trouble = str(error)
            raise
        finally:
            self._thread.start()

    def close(self, within_s: float = 5.0) -> None:
        """Stop at once: running and waiting conversations get LinkDown, the port is given back."""
        with self._lock:
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
        ticket = Ticket(conversation, priority, meter_key, speed or self._speeds.get(meter_key, self.settings.speed))
        with self._lock:
            if self._state is LineState.UP:
                self._queue.add(priority, meter_key, ticket)
                self._changed.notify_all()
                return ticket.future
        ticket.refuse(LinkDown(f"line {self.settings.name}: {self._trouble}"))
        return ticket.future

    def place(self, meter_key: str, place: Place) -> None:
        """A meter's own coding and silence. Raises ConfigError for a meter with an address of the line: a bus has none."""
        if place.has_address:
            remedy = "this line has no addresses of its own; use a line with device ip://, udp:// or modem://"
            raise ConfigError("meter.host", f"{meter_key}: {place}", remedy)
        if place.speed is not None:
            self._speeds[meter_key] = place.speed
        if place.gap_ms:
            self._turns.extra_gaps_s[meter_key] = place.gap_ms / 1000

    def health(self) -> LineHealth:
        neighbours = dict(self._turns.neighbours)
        silent = tuple(sorted(key for key, known in neighbours.items() if known.breaker.state is not State.HEALTHY))
        with self._lock:
            busy_share = min(1.0, self._statistics.busy_s / max(1e-9, self._talker.now_s() - self._made_s))
            waiting = len(self._queue) + len(self._probes) + (self._resting is not None)
            return LineHealth(
                self._state, self._trouble, waiting, silent, self._statistics.copy(), self._turns.gaps.learnt_ms(),
                self._advice(), busy_share,
            )  # fmt: skip

    def breakers(self) -> Mapping[str, Breaker]:
        """The breaker of every meter that was ever spoken to."""
        return {key: known.breaker for key, known in dict(self._turns.neighbours).items()}

    def _advice(self) -> tuple[str, ...]:
        return ()

    def _open(self) -> None:
        speed = self._turns.speed
        try:
            self._link.open(speed)
        except LinkDown as error:
            self._trouble = str(error)
            return
        self._talker.opened(speed)
        self._statistics.openings += 1
        with self._lock:
            if self._state is not LineState.CLOSED:
                self._state, self._trouble = LineState.UP, ""

    def _run(self) -> None:
        _sharpen_timers(threading.get_native_id())
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
        with self._lock:
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
        ticket = self._take_next()
        if ticket is None or not self._may_begin(ticket):
            return
        try:
            outcome = self._turns.serve(ticket)
        except LinkDown as error:
            self._lost(ticket, error)
        except Exception as error:  # a fault in a protocol must not take the line's only thread with it
            ticket.abandon(error)
            self._turns.at_fault(ticket.meter_key)
        else:
            if outcome is not Outcome.SETTLED:
                self._keep(ticket, outcome)

    def _may_begin(self, ticket: Ticket) -> bool:
        """False for a silent meter: refused within its back-off, kept for later while probing has had its share."""
        known = self._turns.neighbours.get(ticket.meter_key)
        if known is None or known.breaker.state is not State.SILENT or ticket.has_answer:
            return True
        refusal = _refusal(ticket, known.breaker, self._talker.now_s())
        if refusal is not None:
            self._statistics.refused_silent += 1
            ticket.refuse(refusal)
            return False
        with self._lock:
            if ticket.priority in URGENT or not len(self._queue) or self._talker.now_s() >= self._turns.next_probe_s:
                return True
            self._probes.append(ticket)
            return False

    def _take_next(self) -> Ticket | None:
        """Whoever is next; one that rested goes back into the queue behind that choice. None after a wait."""
        with self._lock:
            if self._probes and (not len(self._queue) or self._talker.now_s() >= self._turns.next_probe_s):
                return self._probes.popleft()
            ticket = self._queue.next()
            resting = self._resting
            if resting is not None:
                self._resting = None
                if ticket is None:
                    return self._its_session_first(resting)
                self._queue.add(resting.priority, resting.meter_key, resting, resumed=True)
            if ticket is None and self._state is LineState.UP:
                self._changed.wait()
            return None if ticket is None else self._its_session_first(ticket)

    def _its_session_first(self, ticket: Ticket) -> Ticket | None:
        """A meter has one session: where one of it rests open, that one goes on, and the other waits for its end. What went on
        before its turn has left an entry in the queue, which counts for nothing once it has ended (None)."""
        if ticket.has_answer and ticket.future.done():
            return None
        open_one = self._sessions.pop(ticket.meter_key, None)
        if open_one is None or open_one is ticket:
            return ticket
        self._queue.add(ticket.priority, ticket.meter_key, ticket)
        return open_one

    def _keep(self, ticket: Ticket, outcome: Outcome) -> None:
        with self._lock:
            if outcome is Outcome.RESTS:
                self._resting = ticket
                if ticket.has_session:
                    self._sessions[ticket.meter_key] = ticket
                return
            priority = ticket.priority if ticket.priority in URGENT else Priority.DISCOVERY
            self._queue.add(priority, ticket.meter_key, ticket)

    def _rival(self) -> Rank | None:
        with self._lock:
            return self._queue.head()

    def _lost(self, ticket: Ticket, error: LinkDown) -> None:
        """The port went away under a conversation. The meter is not to blame for it."""
        with self._lock:
            if self._state is not LineState.CLOSED:
                self._state, self._trouble = LineState.DOWN, str(error)
                self._statistics.losses += 1
        self._turns.lost(ticket.meter_key)
        self._link.close()
        while not ticket.future.done() and ticket.failed(error) is not None:
            pass
        self._fail_waiting(str(error))

    def _fail_waiting(self, why: str) -> None:
        with self._lock:
            waiting = (*(() if self._resting is None else (self._resting,)), *self._queue.drain(), *self._probes)
            self._resting = None
            self._sessions.clear()
            self._probes.clear()
        for ticket in waiting:
            ticket.refuse(LinkDown(f"line {self.settings.name}: {why}"))


def _refusal(ticket: Ticket, breaker: Breaker, now_s: float) -> LinkDown | None:
    urgent = ticket.priority in URGENT
    if breaker.may_speak(now_s, urgent):
        return None
    wait_s = breaker.wait_s(now_s, urgent)
    return LinkDown(f"meter {ticket.meter_key} is silent since {breaker.failures} tries; asked again in {wait_s:.0f} s")


def _sharpen_timers(thread_id: int) -> None:
    """Wake this thread on time instead of up to 50 us late (Linux). Worth half a per cent of a line at 115,200 baud."""
    with contextlib.suppress(OSError):  # an older kernel, or /proc not mounted: sleeps are a little longer
        Path(f"/proc/{thread_id}/timerslack_ns").write_bytes(TIMER_SLACK_NS)
