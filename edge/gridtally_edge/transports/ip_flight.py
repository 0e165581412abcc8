"""One conversation on its way over a network: requests out, answers in, repeats, time-outs. Lives on the loop's thread.

* Over datagrams the line repeats what may be repeated; over a stream (TCP) it only waits as long as the repeats would
  have taken. An HDLC frame carries its number, so it may be repeated anywhere.
* A protocol may also repeat by itself (a ciphered request has to be sealed anew): it catches the LinkDown and asks again.
* An answer that comes after its time-out must not be taken for another one's: where it could, the flight waits it out.
  A datagram equal to the answer just taken is a duplicate of the network's.
* The silence of a device beside the meter (`Exchange.device`) goes to the conversation and leaves the meter's name alone.
* What a meter sends unasked in the middle of a conversation goes to `unasked`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

from gridtally_edge.protocols.conversation import Exchange
from gridtally_edge.protocols.dlms import hdlc, wrapper
from gridtally_edge.transports.ip_loop import SelectorLoop, Timer
from gridtally_edge.transports.ip_unasked import take_unasked
from gridtally_edge.transports.ip_way import Unreached, Way
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_edge.transports.ticket import Ticket
from gridtally_shared.errors import LinkDown
from gridtally_shared.records import dataclass

MOST_BUFFERED = 1 << 18


class Outcome(Enum):
    """How a flight ended for its meter. ABANDONED: the meter is not to blame (the line closes, its node is away)."""

    ANSWERED = "answered"
    SILENT = "silent"
    PUT_BACK = "put back"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Late:
    """An answer to `exchange` may still come until `until_s`; `sample` is what it looks like, if known."""

    exchange: Exchange
    sample: bytes
    until_s: float

    def could_be_taken_for(self, exchange: Exchange, now_s: float) -> bool:
        return now_s < self.until_s and (not self.sample or exchange.find_answer(self.sample) is not None)


def _names_its_request(exchange: Exchange) -> bool:
    """Answers of DLMS services carry the invoke id of their request: its client passes over those that are late."""
    return exchange.request[:2] == wrapper.VERSION


@dataclass(frozen=True, slots=True)
class FlightRules:
    """`probing`: one try, the meter was silent. `hop_ms` comes on top of a time-out for each hop."""

    line: str
    hop_ms: int
    probing: bool


class Flight:
    """`ended` is called once, after the ticket's future is settled or the ticket is to be put back."""

    def __init__(
        self, ticket: Ticket, way: Way, rules: FlightRules, loop: SelectorLoop, statistics: LineStatistics,
        unasked: Callable[[bytes], None], ended: Callable[[Flight, Outcome], None], late: Late | None = None,
    ) -> None:  # fmt: skip
        self.ticket = ticket
        self.way = way
        self.late = late
        self._rules, self._loop, self._statistics = rules, loop, statistics
        self._unasked, self._ended = unasked, ended
        self._exchange: Exchange | None = None
        self._buffer = b""
        self._last_answer = b""
        self._timer: Timer | None = None
        self._over = self._swallowing = False
        self._misses = 0

    def start(self) -> None:
        exchange = self.ticket.begin()
        if exchange is None:
            return self._end(Outcome.ABANDONED if self.ticket.future.cancelled() else Outcome.ANSWERED)
        self._exchange = exchange
        self.way.user = self
        self.way.open(self._opened)

    def heard(self, data: bytes) -> None:
        self._statistics.bytes_received += len(data)
        if self._over or len(self._buffer) > MOST_BUFFERED:
            self._statistics.noise_bytes += len(data)
            return
        if not self.way.stream and data == self._last_answer and data[:2] == wrapper.VERSION:
            self._statistics.late_answers += 1
            return
        messages, rest = take_unasked(self._buffer + data if self.way.stream else data)
        for message in messages:
            self._unasked(message)
        self._guarded(lambda: self._take(rest))

    def cut_off(self, error: LinkDown) -> None:
        if isinstance(error, Unreached):
            self.abandon(error)
        elif not self._over:
            self._misses += 2
            self._guarded(lambda: self._fail(error))

    def abandon(self, error: LinkDown) -> None:
        """The way is no more: what the conversation still wants to say is not sent."""
        if self._over:
            return
        while not self.ticket.future.done() and self.ticket.failed(error) is not None:
            pass
        self._end(Outcome.ABANDONED)

    def _opened(self, error: LinkDown | None) -> None:
        if self._over:
            return
        if error is not None:
            return self.cut_off(error)
        self._guarded(self._ask_when_quiet)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Unreached as error:
            self.abandon(error)
        except LinkDown as error:
            failure = error
            self._guarded(lambda: self._fail(failure))
        except Exception as error:  # a fault in a protocol must not take the other conversations with it
            self.ticket.abandon(error)
            self._end(Outcome.ANSWERED)

    def _ask_when_quiet(self) -> None:
        """Send the pending request, after an answer that is late could no longer be taken for its own."""
        exchange, late = self._exchange, self.late
        if exchange is None:
            return
        now_s = time.monotonic()
        if late and late.exchange.request != exchange.request and late.could_be_taken_for(exchange, now_s):
            self._swallowing = True
            self._buffer = b""
            self._set_timer(late.until_s - now_s, self._swallowed)
            return
        self.late = None if late and now_s >= late.until_s else late
        self._ask(exchange)

    def _swallowed(self) -> None:
        self._swallowing, self.late = False, None
        self._guarded(self._ask_when_quiet)

    def _ask(self, exchange: Exchange) -> None:
        self.ticket.tries += 1
        self._statistics.exchanges += 1
        if exchange.request:
            self._statistics.noise_bytes += len(self._buffer)
            self._buffer = b""
        patience = 1 if self._repeats(exchange) else 1 + (0 if self._single_try() else exchange.retries)
        self._set_timer(self._timeout_s(exchange) * patience, self._timed_out)
        if exchange.request:
            self._statistics.bytes_sent += len(exchange.request)
            self.way.send(exchange.request)
        else:
            self._look()

    def _timeout_s(self, exchange: Exchange) -> float:
        return (exchange.timeout_ms + self._rules.hop_ms * self.way.hops) / 1_000

    def _single_try(self) -> bool:
        return self._rules.probing or self.ticket.error is not None

    def _repeats(self, exchange: Exchange) -> bool:
        numbered = exchange.request[:1] == bytes([hdlc.FLAG])
        return exchange.repeatable and bool(exchange.request) and (numbered or not self.way.stream)

    def _take(self, data: bytes) -> None:
        """A stream is looked at as a whole; a datagram by itself first, since some carry no length of their own."""
        before, self._buffer = self._buffer, data
        if not self.way.stream and before and self._exchange is not None and self._exchange.find_answer(data) is None:
            self._buffer = before + data
        self._look()

    def _look(self) -> None:
        exchange = self._exchange
        if exchange is None or not self._buffer:
            return
        if self._swallowing and self.late is not None:
            if self.late.exchange.find_answer(self._buffer) is not None:
                self._statistics.late_answers += 1
                self._cancel_timer()
                self._swallowed()
            return
        found = exchange.find_answer(self._buffer)
        if found is None:
            return
        answer, self._buffer = self._buffer[found.start : found.end], self._buffer[found.end :]
        self._statistics.answers += 1
        self._statistics.noise_bytes += found.start
        self._cancel_timer()
        self._expect_late(exchange, answer)
        self._last_answer = answer
        self._misses = 0
        self.ticket.error, self.ticket.farewells = None, 0  # the protocol asked again by itself, and the meter is there
        self._go_on(self.ticket.answered(answer))

    def _expect_late(self, exchange: Exchange, answer: bytes) -> None:
        if self.ticket.tries > 1 and not _names_its_request(exchange):
            until_s = time.monotonic() + (self.ticket.tries - 1) * self._timeout_s(exchange)
            self.late = Late(exchange, answer, until_s)

    def _go_on(self, exchange: Exchange | None) -> None:
        self._exchange = exchange
        if exchange is None:
            return self._end(Outcome.SILENT if self._was_silent() else Outcome.ANSWERED)
        if self.ticket.error and self._rules.probing and not self.ticket.has_answer:  # a probe is one try
            return self._go_on(self.ticket.failed(self.ticket.error))
        self._ask_when_quiet()

    def _was_silent(self) -> bool:
        """A single request in vain at the very end (a release that got lost) does not make a meter silent."""
        return self.ticket.error is not None and (not self.ticket.has_answer or self._misses > 1)

    def _timed_out(self) -> None:
        self._guarded(self._miss)

    def _miss(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        self._statistics.timeouts += 1
        self._misses += not exchange.device
        if self._may_repeat(exchange):
            self._statistics.retries += 1
            if not (self.ticket.has_answer or self.way.stream or exchange.device):
                return self._end(Outcome.PUT_BACK)
            return self._ask(exchange)
        if not _names_its_request(exchange):
            self.late = Late(exchange, b"", time.monotonic() + self.ticket.tries * self._timeout_s(exchange))
        tries = self.ticket.tries
        if exchange.device:
            self._buffer = b""
            error = LinkDown(f"{exchange.device} on line {self._rules.line} does not answer ({tries} tries)")
            return self._go_on(self.ticket.missed(error))
        self._fail(LinkDown(f"meter {self.ticket.meter_key} on line {self._rules.line} does not answer ({tries} tries)"))

    def _may_repeat(self, exchange: Exchange) -> bool:
        return self._repeats(exchange) and not self._single_try() and self.ticket.tries <= exchange.retries

    def _fail(self, error: LinkDown) -> None:
        self._cancel_timer()
        self._buffer = b""
        self._go_on(self.ticket.failed(self.ticket.error or error))

    def _set_timer(self, delay_s: float, action: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = self._loop.after(max(0.0, delay_s), action)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, outcome: Outcome) -> None:
        if self._over:
            return
        self._over = True
        self._cancel_timer()
        if self.way.user is self:
            self.way.user = None
            self.way.rest(in_doubt=outcome is not Outcome.ANSWERED)
        self._ended(self, outcome)
