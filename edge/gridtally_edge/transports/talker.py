"""One try of one exchange on an open port: keep the silence, write, sleep while the bytes travel, find the answer.

* Before a request: what lies in the buffer is stale and is thrown away, then the line must have been silent for the
  gap. A babbling line gets `BABBLE_S`, then we speak all the same.
* One computed sleep covers request, silence, the meter's learnt delay (`pace.py`) and the answer; the port is not polled
  meanwhile. A poll is two wake-ups: one for the answer, one when the gap before the next request is over.
* The end: a found answer; else no byte within the time-out; else, when as many bytes came as the answer has and none
  of them fit, silence of four characters (20 ms at least) plus adapter latency. A line that only listens (no request)
  waits `receive_timeout_s` after each byte: pushes pause before their last frame.
* Bytes behind an answer are kept for a following exchange without a request (the next frame of a window).
* `interrupt` may be called from any thread: whoever sleeps wakes with LinkDown.

Source: protocols.md section 7, performance.md section 5.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from gridtally_edge.protocols.conversation import Exchange, Found
from gridtally_edge.transports.echo import EchoFilter, Seen
from gridtally_edge.transports.link import ByteLink, read_now, readable, write_all
from gridtally_edge.transports.pace import Pace
from gridtally_edge.transports.settings import Echo, LineSettings, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_native.pacing import ExchangePaced, exchange_paced
from gridtally_shared.errors import LinkDown

BABBLE_S = 0.250
IDLE_S = 0.200
GARBLED_SILENCE_S = 0.020
ADAPTER_LATENCY_S = 0.030
LONGEST_FRAME = 2_100
SLOW_CHARACTER_S = 11 / 2_400
COALESCE_CHARACTERS = 4
PART_OF_ECHO = 3
LEFT_S = 0.005


class Missed(Enum):
    """SILENT: the answer may still come. GARBLED: as many bytes came as the answer has, and none of them fit."""

    SILENT = "silent"
    GARBLED = "garbled"


class Speaker(Protocol):
    """What a line asks of whoever carries out its exchanges. Owned by the line's thread, `interrupt` apart. The line's time is
    its own: `now_s` only ever rises."""

    def now_s(self) -> float: ...

    def interrupt(self) -> None: ...

    def release(self) -> None: ...

    def opened(self, speed: Speed) -> None: ...

    def speed_changed(self, speed: Speed) -> None: ...

    def attempt(self, exchange: Exchange, gap_s: float, timeout_s: float, pace: Pace) -> bytes | Missed: ...

    def swallow(self, find_answer: Callable[[bytes], Found | None], until_s: float) -> None: ...

    def pause(self, seconds: float) -> None: ...


class Talker:
    """The `Speaker` for bytes as they are. `write` replaces a plain write to the descriptor."""

    def __init__(
        self, link: ByteLink, settings: LineSettings, statistics: LineStatistics, write: Callable[[bytes], None] | None = None
    ) -> None:
        self._link = link
        self._device = settings.device
        self._receive_timeout_s = settings.receive_timeout_s
        self._statistics = statistics
        self._echo = EchoFilter(settings.echo)
        self._write = write or self._write_plainly
        self._character_s = settings.speed.character_s
        self._silence_s = settings.speed.silence_s
        self._busy_until_s = self._sent_s = 0.0
        self._rest = b""
        self._descriptor = -1
        self._paced: ExchangePaced | None = None if write else exchange_paced
        self._awake = threading.Lock()  # held as long as the line is open: to wait for it is to sleep
        self._awake.acquire()
        self._wake_reader, self._wake_writer = os.pipe()

    def now_s(self) -> float:
        return time.monotonic()

    def interrupt(self) -> None:
        os.write(self._wake_writer, b"!")
        if self._awake.locked():
            self._awake.release()

    def release(self) -> None:
        """Give back the wake pipe; the talker is of no more use."""
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def opened(self, speed: Speed) -> None:
        """The port is fresh: forget the old adapter's habits, wait one gap from now."""
        self._echo.forget()
        self._rest = b""
        self._descriptor = self._link.fileno()
        self.speed_changed(speed)

    def speed_changed(self, speed: Speed) -> None:
        self._character_s, self._silence_s = speed.character_s, speed.silence_s
        self._busy_until_s = time.monotonic()

    def attempt(self, exchange: Exchange, gap_s: float, timeout_s: float, pace: Pace) -> bytes | Missed:
        """The answer's bytes, or how it was missed. Raises LinkDown when the port goes away."""
        statistics, expected = self._statistics, exchange.expected_bytes
        statistics.exchanges += 1
        if not exchange.request:
            return self._only_listen(exchange, timeout_s)
        if exchange.speed is not None or not exchange.timeout_ms:
            return self._then_change(exchange, gap_s, timeout_s)
        travel_s = self._silence_s + expected * self._character_s if expected else 0.0
        at_once = expected and exchange.speed is None
        received = self._say(exchange.request, gap_s, min(travel_s + pace.lag_s, timeout_s) if at_once else 0.0)
        sent_s = self._sent_s
        if exchange.speed is not None:
            received = self._change_speed(exchange.speed)
        if not exchange.timeout_ms:
            return b""
        answer = self._find(exchange, received) if received else None
        if answer is not None:
            pace.on_time()
            statistics.busy_s += max(0.0, self._busy_until_s - sent_s)
            return answer
        result = self._listen(exchange, received, timeout_s)
        if isinstance(result, bytes) and expected:
            pace.late(max(0.0, self._busy_until_s - sent_s - travel_s), travel_s)
        statistics.busy_s += max(self._busy_until_s, time.monotonic() if isinstance(result, Missed) else 0.0) - sent_s
        return result

    def swallow(self, find_answer: Callable[[bytes], Found | None], until_s: float) -> None:
        """Listen for an answer that comes too late and throw it away."""
        received = b""
        while time.monotonic() < until_s:
            self._wait_readable(until_s)
            received += self._read()
            if find_answer(received) is not None:
                self._statistics.late_answers += 1
                break
        self._statistics.noise_bytes += len(received)

    def pause(self, seconds: float) -> None:
        """Sleep unless interrupted. Raises LinkDown when the line is being closed."""
        if seconds > 0 and self._awake.acquire(timeout=seconds):
            self._awake.release()
            raise self._closing()

    def _closing(self) -> LinkDown:
        return LinkDown(f"{self._device} is being closed")

    def _change_speed(self, speed: Speed) -> bytes:
        """Once the request has left in the old coding; what came meanwhile (an echo) is returned."""
        self.pause(self._sent_s + LEFT_S - time.monotonic())
        received = self._read()
        self._link.set_speed(speed)
        self.speed_changed(speed)
        return received

    def _say(self, request: bytes, gap_s: float, wait_s: float) -> bytes:
        """Send the request after a silence and return what is there `wait_s` after its last bit."""
        if not self._awake.locked():
            raise self._closing()
        if self._rest:
            self._drop_rest()
        travel_s = len(request) * self._character_s
        if wait_s and self._paced is not None:
            written, received, sent_s, read_s = self._paced(
                self._descriptor, self._wake_reader, request, self._busy_until_s + gap_s, travel_s + wait_s
            )
            self._statistics.bytes_received += len(received)
            if written == len(request):
                self._statistics.bytes_sent += written
                self._sent_s = sent_s + travel_s
                self._busy_until_s = read_s if received else self._sent_s
                return received
            if received:
                self._statistics.noise_bytes += len(received)
                self._busy_until_s = read_s
        self._wait_for_silence(gap_s)
        self._write(request)
        self._statistics.bytes_sent += len(request)
        self._sent_s = self._busy_until_s = time.monotonic() + travel_s
        if not wait_s:
            return b""
        self.pause(travel_s + wait_s)
        return self._read()

    def _only_listen(self, exchange: Exchange, timeout_s: float) -> bytes | Missed:
        received, self._rest = self._rest, b""
        self._sent_s = self._busy_until_s = time.monotonic()
        answer = self._find(exchange, received) if received else None
        return self._listen(exchange, received, timeout_s) if answer is None else answer

    def _then_change(self, exchange: Exchange, gap_s: float, timeout_s: float) -> bytes | Missed:
        """A request behind which the line changes its coding, or one without an answer: see `Exchange`. What comes before
        the change (an echo) is kept."""
        self._say(exchange.request, gap_s, 0.0)
        self.pause(self._sent_s + LEFT_S - time.monotonic())
        received = self._read()
        if exchange.speed is not None:
            self._link.set_speed(exchange.speed)
            self.speed_changed(exchange.speed)
        if not exchange.timeout_ms:
            return b""
        answer = self._find(exchange, received) if received else None
        return self._listen(exchange, received, timeout_s) if answer is None else answer

    def _write_plainly(self, data: bytes) -> None:
        write_all(self._descriptor, data, self._device)

    def _wait_for_silence(self, gap_s: float) -> None:
        """Return when nothing came for `gap_s`; what came meanwhile is noise."""
        now_s = time.monotonic()
        give_up_s = now_s + BABBLE_S
        while True:
            self.pause(self._busy_until_s + gap_s - now_s)
            stale = self._read()
            if not stale:
                return
            self._statistics.noise_bytes += len(stale)
            now_s = time.monotonic()
            if now_s >= give_up_s:
                return

    def _drop_rest(self) -> None:
        self._statistics.noise_bytes += len(self._rest)
        self._rest = b""

    def _read(self) -> bytes:
        data = read_now(self._descriptor, self._device)
        if data:
            self._busy_until_s = time.monotonic()
            self._statistics.bytes_received += len(data)
        return data

    def _wait_readable(self, until_s: float) -> None:
        left_s = max(0.0, until_s - time.monotonic())
        if self._wake_reader in readable((self._descriptor, self._wake_reader), left_s):
            raise self._closing()

    def _listen(self, exchange: Exchange, received: bytes, timeout_s: float) -> bytes | Missed:
        """Wait for the answer, or for the rest of it."""
        begin_by_s = self._sent_s + timeout_s
        end_by_s = begin_by_s + (exchange.expected_bytes or LONGEST_FRAME) * max(self._character_s, SLOW_CHARACTER_S)
        while True:
            until_s = min(end_by_s, self._patience_s(exchange, received, begin_by_s))
            if not received or time.monotonic() < until_s:
                self._wait_for_more(exchange, received, until_s)
            more = self._read()
            received += more
            answer = self._find(exchange, received) if received else None
            if answer is not None:
                return answer
            if not more and time.monotonic() >= until_s:
                return self._missed(exchange, received)

    def _find(self, exchange: Exchange, received: bytes) -> bytes | None:
        skipped = 0 if self._echo.seen is Seen.CLEAN else self._echo.skip(exchange.request, received)
        if skipped is None:
            return None
        found = exchange.find_answer(received[skipped:] if skipped else received)
        if found is None:
            return None
        self._statistics.answers += 1
        self._rest = received[skipped + found.end :]
        if skipped or found.start or self._rest or self._echo.seen is not Seen.CLEAN:
            self._count_around(exchange, skipped, received[skipped : skipped + found.start])
        return received[skipped + found.start : skipped + found.end]

    def _count_around(self, exchange: Exchange, skipped: int, noise: bytes) -> None:
        """An answer stood behind an echo or noise, or has something behind it."""
        partly = not skipped and len(noise) >= PART_OF_ECHO and noise in exchange.request and self._echo.mode is not Echo.OFF
        if partly:
            skipped, noise = len(noise), b""
        else:
            self._echo.learn(skipped)
        self._statistics.echo_bytes += skipped
        self._statistics.noise_bytes += len(noise)
        self._statistics.noisy_answers += bool(noise or (self._rest and exchange.expected_bytes))

    def _patience_s(self, exchange: Exchange, received: bytes, begin_by_s: float) -> float:
        """Until when (monotonic) more bytes are worth waiting for."""
        if not received:
            return begin_by_s
        if not exchange.request:
            return max(begin_by_s, self._busy_until_s + self._receive_timeout_s)
        missing = self._missing(exchange, received)
        if missing is not None and missing <= 0:
            return self._busy_until_s + max(4 * self._character_s, GARBLED_SILENCE_S) + ADAPTER_LATENCY_S
        return max(begin_by_s, self._busy_until_s + IDLE_S)

    def _missing(self, exchange: Exchange, received: bytes) -> int | None:
        """Bytes still to come, None when the answer's length is not known."""
        if not exchange.expected_bytes:
            return None
        skipped = self._echo.skip(exchange.request, received)
        return exchange.expected_bytes - len(received) + (len(received) if skipped is None else skipped)

    def _wait_for_more(self, exchange: Exchange, received: bytes, until_s: float) -> None:
        """Sleep until the bytes that are known to be missing can be there; then, or else, until something comes."""
        if received:
            missing = self._missing(exchange, received) if exchange.missing is None else exchange.missing(received)
            characters = missing - 1 if missing is not None and missing > 0 else COALESCE_CHARACTERS
            self.pause(min(until_s - time.monotonic(), characters * self._character_s))
        self._wait_readable(until_s)

    def _missed(self, exchange: Exchange, received: bytes) -> Missed:
        self._statistics.timeouts += 1
        self._statistics.noise_bytes += len(received)
        missing = self._missing(exchange, received) if received else None
        return Missed.SILENT if missing is None or missing > 0 else Missed.GARBLED
