"""One conversation's turn on an open line: its exchanges, repetitions, late answers, and when it makes room.

* A conversation whose very first request stays unanswered goes back into the queue for its retry, behind the others
  (commands of persons apart), so a dead meter costs its neighbours one time-out at most.
* An answer that comes after its time-out must not be taken for the answer to another request of the same meter.
* Between two exchanges a conversation makes room for whoever is more urgent, where the protocol allows it
  (`Exchange.gives_way`): it rests with its session open and goes on afterwards. Modbus rests for anybody, an HDLC session
  for other meters: a meter keeps its association while others are spoken to, far beyond the seconds a command takes.
* A more urgent command for the same meter can not use another's session: `SAME_METER_S` after its begin, rests included, the
  running conversation is ended (`GaveWay`), says goodbye (release, DISC) and is to be asked again.
* The target all this serves: of reads on demand 95 in 100 have their answer within 5 s, on a line of 9600 baud that reads load
  profiles without end (ETSI NR1).
* A device beside the meter (`Exchange.device`) is a neighbour of its own: its pace, its late answers and its breaker.
* After `grant_s` a conversation also rests for one other of its own rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import Enum

from gridtally_edge.protocols.conversation import Exchange, GaveWay, GivesWay
from gridtally_edge.transports.arbiter import Arbiter, Priority, Rank
from gridtally_edge.transports.breaker import Breaker, Event, State, advance
from gridtally_edge.transports.gaps import GapTable
from gridtally_edge.transports.link import ByteLink
from gridtally_edge.transports.pace import Pace
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_edge.transports.talker import Missed, Speaker
from gridtally_edge.transports.ticket import Ticket
from gridtally_shared.errors import LinkDown
from gridtally_shared.records import dataclass

SPEED_CHANGE_S = 0.050
SAME_METER_S = 5.0
PROBE_REST = 19.0
URGENT = frozenset({Priority.SWITCH, Priority.ON_DEMAND})
WELL = Breaker()


class Outcome(Enum):
    """SETTLED: the future has its result. LATER: the first request is to be repeated. RESTS: it made room."""

    SETTLED = "settled"
    LATER = "later"
    RESTS = "rests"


@dataclass(frozen=True, slots=True)
class Straggler:
    """An answer to `request` may still come until `until_s`; `sample` is what such an answer looks like, if known."""

    exchange: Exchange
    sample: bytes | None
    until_s: float

    def could_be_taken_for(self, exchange: Exchange, now_s: float) -> bool:
        return now_s < self.until_s and (self.sample is None or exchange.find_answer(self.sample) is not None)


@dataclass(slots=True)
class Neighbour:
    """What the line knows of one meter."""

    breaker: Breaker = WELL
    pace: Pace = field(default_factory=Pace)
    straggler: Straggler | None = None
    tries_in_vain: int = 0


class Turns:
    """Owned by the line's thread. `queue` is only looked at; `rival` tells who is in front of it."""

    def __init__(
        self, settings: LineSettings, link: ByteLink, speaker: Speaker, statistics: LineStatistics,
        queue: Arbiter[Ticket], rival: Callable[[], Rank | None],
    ) -> None:  # fmt: skip
        self.speed = settings.speed
        self.neighbours: dict[str, Neighbour] = {}
        self.gaps = GapTable()
        self.extra_gaps_s: dict[str, float] = {}
        self.next_probe_s = 0.0
        self._settings, self._link, self._talker, self._statistics = settings, link, speaker, statistics
        self._queue, self._rival = queue, rival
        self._gap_s = settings.gap_s(settings.speed)
        self._last_spoken_to = ""
        self._granted_s = 0.0

    def neighbour(self, meter_key: str) -> Neighbour:
        known = self.neighbours.get(meter_key)
        if known is None:
            known = self.neighbours[meter_key] = Neighbour()
        return known

    def serve(self, ticket: Ticket) -> Outcome:
        """Go on with a conversation as far as it may. Raises LinkDown when the port goes away."""
        exchange = ticket.begin()
        if exchange is None:
            return Outcome.SETTLED
        neighbour = self.neighbour(ticket.meter_key)
        if ticket.speed is not self.speed and ticket.speed != self.speed:
            self._set_speed(ticket.speed)
        if neighbour.breaker.state is State.SILENT:
            self._note(neighbour, Event.PROBE_STARTED)
        self._granted_s = self._talker.now_s()
        ticket.begun_s = ticket.begun_s or self._granted_s
        probing = neighbour.breaker.state is State.PROBING
        outcome = self._converse(ticket, neighbour, exchange)
        if probing and neighbour.breaker.state is State.SILENT:
            now_s = self._talker.now_s()
            self.next_probe_s = now_s + PROBE_REST * (now_s - self._granted_s)
        return outcome

    def _converse(self, ticket: Ticket, neighbour: Neighbour, pending: Exchange) -> Outcome:
        exchange: Exchange | None = pending
        while exchange is not None:
            if exchange.device:
                exchange = self._beside(ticket, exchange, exchange.device)
                continue
            answer = self._perform(ticket, neighbour, exchange)
            if answer is None:
                if self._comes_back(ticket, neighbour):
                    return Outcome.LATER
                exchange = self._silent(ticket)
                continue
            exchange = ticket.answered(answer)
            if exchange is None or self._queue.best > ticket.priority:
                continue
            rival = self._rival()
            if rival is not None:
                if self._makes_room(ticket, exchange, rival):
                    self._statistics.gave_way += 1
                    ticket.speed = self.speed  # it may have changed the coding on its way
                    return Outcome.RESTS
                exchange = self._ended_for(ticket, exchange, rival)
        self._settle(neighbour, ticket.error)
        return Outcome.SETTLED

    def _beside(self, ticket: Ticket, exchange: Exchange, device: str) -> Exchange | None:
        """The next exchange behind one with a device beside the meter."""
        beside = self.neighbour(device)
        if not beside.breaker.may_speak_beside(self._talker.now_s(), ticket.priority in URGENT):
            return ticket.missed(LinkDown(f"{device} on line {self._settings.name} is silent and left alone for a moment"))
        if beside.breaker.state is State.SILENT:
            self._note(beside, Event.PROBE_STARTED)
        try:
            answer = self._perform(ticket, beside, exchange)
        except LinkDown:
            self.lost(device)
            raise
        if answer is not None:
            self._settle(beside, None)
            return ticket.answered(answer)
        error = LinkDown(f"{device} on line {self._settings.name} does not answer ({ticket.tries} tries)")
        self._settle(beside, error)
        return ticket.missed(error)

    def lost(self, meter_key: str) -> None:
        """The port went away under a conversation; the meter is not to blame for it."""
        neighbour = self.neighbours.get(meter_key)
        if neighbour and neighbour.breaker.state is State.PROBING:
            self._note(neighbour, Event.PROBE_LOST)

    def at_fault(self, meter_key: str) -> None:
        """A fault of our own ended a conversation; the meter is not to blame for it."""
        self._settle(self.neighbour(meter_key), None)

    def _makes_room(self, ticket: Ticket, exchange: Exchange, rival: Rank) -> bool:
        if exchange.gives_way is GivesWay.NOBODY or ticket.error:
            return False
        if exchange.gives_way is GivesWay.OTHER_METERS and rival.meter_key == ticket.meter_key:
            return False
        return rival.priority < ticket.priority or self._talker.now_s() - self._granted_s > self._settings.grant_s

    def _ended_for(self, ticket: Ticket, exchange: Exchange, rival: Rank) -> Exchange | None:
        """The next exchange: its own, or the first of its goodbye when the same meter is wanted urgently."""
        wanted = rival.priority < ticket.priority and rival.meter_key == ticket.meter_key and rival.priority in URGENT
        session = exchange.gives_way is GivesWay.OTHER_METERS and not ticket.error
        if not (wanted and session and self._talker.now_s() - ticket.begun_s > SAME_METER_S):
            return exchange
        self._statistics.gave_way += 1
        return ticket.failed(GaveWay(f"meter {ticket.meter_key} was wanted for something more urgent; it is asked again"))

    def _perform(self, ticket: Ticket, neighbour: Neighbour, exchange: Exchange) -> bytes | None:
        """All tries that are due now. None: no answer."""
        if ticket.error and not ticket.has_answer:
            return None
        if neighbour.straggler is not None:
            self._let_straggler_pass(neighbour, exchange)
        if exchange.speed is not None:
            self._follow(ticket, exchange, exchange.speed)
            if not exchange.request and not exchange.timeout_ms:
                return b""
        spoken_to = exchange.device or ticket.meter_key
        while True:
            ticket.tries += 1
            usual = self._last_spoken_to == spoken_to and not self.extra_gaps_s
            gap_s = self._gap_s if usual else self._silence_s(spoken_to)
            answer = self._talker.attempt(exchange, gap_s, self._timeout_s(ticket, neighbour, exchange), neighbour.pace)
            if isinstance(answer, bytes):
                if neighbour.tries_in_vain or neighbour.straggler is not None or self._last_spoken_to != spoken_to:
                    self._heard(ticket, neighbour, exchange, answer)
                return answer
            neighbour.tries_in_vain += 1
            if answer is Missed.SILENT:
                neighbour.straggler = _straggler(ticket, exchange, None, self._talker.now_s())
            first = not ticket.has_answer and not exchange.device
            if first or ticket.tries >= _tries_allowed(ticket, neighbour, exchange):
                return None
            self._statistics.retries += 1

    def _follow(self, ticket: Ticket, exchange: Exchange, speed: Speed) -> None:
        """A conversation changes the coding: at once, or (by the talker) behind its request. Before its meter's first
        answer that is the coding in which it is asked again."""
        if not exchange.request and speed != self.speed:
            self._set_speed(speed)
        self.speed, self._gap_s = speed, self._settings.gap_s(speed)
        if not ticket.has_answer:
            ticket.speed = speed

    def _timeout_s(self, ticket: Ticket, neighbour: Neighbour, exchange: Exchange) -> float:
        """A known meter's own time-out for the first try of a request that stands alone; a session keeps the protocol's,
        for a meter may take its time to gather a profile."""
        longest_s = exchange.timeout_ms / 1000
        simple = exchange.gives_way is GivesWay.ANYBODY and ticket.tries == 1 and exchange.repeatable
        if simple and not neighbour.tries_in_vain and neighbour.breaker is WELL:
            return neighbour.pace.timeout_s(longest_s)
        return longest_s

    def _heard(self, ticket: Ticket, neighbour: Neighbour, exchange: Exchange, answer: bytes) -> None:
        spoken_to = exchange.device or ticket.meter_key
        if self._last_spoken_to != spoken_to:
            if not ticket.has_answer:
                self.gaps.first_request_answered(spoken_to, ticket.tries, self._gap_s)
            self._last_spoken_to = spoken_to
        neighbour.tries_in_vain = 0
        if neighbour.straggler is not None:
            until_s, neighbour.straggler = neighbour.straggler.until_s, None
            if self._talker.now_s() < until_s:
                neighbour.straggler = _straggler(ticket, exchange, answer, self._talker.now_s())

    def _let_straggler_pass(self, neighbour: Neighbour, exchange: Exchange) -> None:
        straggler = neighbour.straggler
        if straggler is None or straggler.exchange.request == exchange.request:
            return
        if straggler.could_be_taken_for(exchange, self._talker.now_s()):
            self._talker.swallow(straggler.exchange.find_answer, straggler.until_s)
        neighbour.straggler = None

    def _silence_s(self, spoken_to: str) -> float:
        """The silence before a request: the line's, or more where another device was addressed last."""
        if self._last_spoken_to == spoken_to:
            return max(self._gap_s, self.extra_gaps_s.get(spoken_to, 0.0))
        changing_s = self._settings.change_gap_s(self.speed) if self._last_spoken_to else self._gap_s
        return max(self.gaps.gap_s(spoken_to, changing_s), self.extra_gaps_s.get(spoken_to, 0.0))

    def _comes_back(self, ticket: Ticket, neighbour: Neighbour) -> bool:
        """Whether a first request is to be repeated behind the others; not when its tries are used up, where the
        meter's other conversations count too."""
        exchange = ticket.pending
        if exchange is None or ticket.has_answer or ticket.error:
            return False
        if max(ticket.tries, neighbour.tries_in_vain) >= _tries_allowed(ticket, neighbour, exchange):
            return False
        self._statistics.retries += 1
        return True

    def _silent(self, ticket: Ticket) -> Exchange | None:
        error = LinkDown(f"meter {ticket.meter_key} on line {self._settings.name} does not answer ({ticket.tries} tries)")
        return ticket.failed(ticket.error or error)

    def _settle(self, neighbour: Neighbour, error: LinkDown | None) -> None:
        if error is not None and not isinstance(error, GaveWay):
            self._note(neighbour, Event.STAYED_SILENT)
        elif neighbour.breaker is not WELL:
            self._note(neighbour, Event.ANSWERED)
            neighbour.breaker = WELL

    def _note(self, neighbour: Neighbour, event: Event) -> None:
        neighbour.breaker = advance(neighbour.breaker, event, self._talker.now_s())

    def _set_speed(self, speed: Speed) -> None:
        """Only on an idle line: silence, new coding and an empty buffer, silence."""
        self._talker.pause(SPEED_CHANGE_S)
        self._link.set_speed(speed)
        self.speed, self._gap_s = speed, self._settings.gap_s(speed)
        self._talker.speed_changed(speed)
        self._talker.pause(SPEED_CHANGE_S)


def _tries_allowed(ticket: Ticket, neighbour: Neighbour, exchange: Exchange) -> int:
    probing = neighbour.breaker.state is State.PROBING
    return 1 if probing or ticket.error or not exchange.repeatable else 1 + exchange.retries


def _straggler(ticket: Ticket, exchange: Exchange, sample: bytes | None, now_s: float) -> Straggler:
    until_s = now_s + max(1, ticket.tries - 1) * exchange.timeout_ms / 1000
    return Straggler(exchange, sample, until_s)
