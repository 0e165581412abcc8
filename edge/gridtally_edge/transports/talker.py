"""One try of one exchange on an open port: keep the silence, write, sleep while the bytes travel, find the answer.

* Before a request: what lies in the buffer is stale and is thrown away, then the line must have been silent for the
  gap. A babbling line gets `BABBLE_S`, then we speak all the same.
* One computed sleep covers the bytes that must still travel at this speed; the port is not polled meanwhile.
* The end: a found answer; else no byte within the time-out; else, when as many bytes came as the answer has and none
  of them fit, silence of four characters (20 ms at least) plus adapter latency.
* Bytes behind an answer are kept for a following exchange without a request (the next frame of a window).
* `interrupt` may be called from any thread: whoever sleeps wakes with LinkDown.

Source: protocols.md section 7, performance.md section 5.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from gridtally_edge.protocols.conversation import Exchange, Found
from gridtally_edge.transports.echo import EchoFilter
from gridtally_edge.transports.link import ByteLink, read_now, write_all
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_shared.errors import LinkDown

BABBLE_S = 0.250
IDLE_S = 0.200
GARBLED_SILENCE_S = 0.020
ADAPTER_LATENCY_S = 0.030
LONGEST_FRAME = 2_100
SLOW_CHARACTER_S = 11 / 2_400
COALESCE_CHARACTERS = 4


class Missed(Enum):
    """SILENT: the answer may still come. GARBLED: as many bytes came as the answer has, and none of them fit."""

    SILENT = "silent"
    GARBLED = "garbled"


class Speaker(Protocol):
    """What a line asks of whoever carries out its exchanges. Owned by the line's thread, `interrupt` apart."""

    def interrupt(self) -> None: ...

    def release(self) -> None: ...

    def opened(self, speed: Speed) -> None: ...

    def speed_changed(self, speed: Speed) -> None: ...

    def attempt(self, exchange: Exchange, gap_s: float) -> bytes | Missed: ...

    def swallow(self, find_answer: Callable[[bytes], Found | None], until_s: float) -> None: ...

    def pause(self, seconds: float) -> None: ...


class Talker:
    """The `Speaker` for bytes as they are."""

    def __init__(self, link: ByteLink, settings: LineSettings, statistics: LineStatistics) -> None:
        self._link = link
        self._device = settings.device
        self._statistics = statistics
        self._echo = EchoFilter(settings.echo)
        self._speed = settings.speed
        self._busy_until_s = 0.0
        self._rest = b""
        self._wake_reader, self._wake_writer = os.pipe()

    def interrupt(self) -> None:
        os.write(self._wake_writer, b"!")

    def release(self) -> None:
        """Give back the wake pipe; the talker is of no more use."""
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def opened(self, speed: Speed) -> None:
        """The port is fresh: forget the old adapter's habits, wait one gap from now."""
        self._echo.forget()
        self._rest = b""
        self.speed_changed(speed)

    def speed_changed(self, speed: Speed) -> None:
        self._speed = speed
        self._busy_until_s = time.monotonic()

    def attempt(self, exchange: Exchange, gap_s: float) -> bytes | Missed:
        """The answer's bytes, or how it was missed. Raises LinkDown when the port goes away."""
        self._statistics.exchanges += 1
        if exchange.request:
            self._drop_rest()
            self._wait_for_silence(gap_s)
            write_all(self._link.fileno(), exchange.request, self._device)
            self._statistics.bytes_sent += len(exchange.request)
        sent_s = time.monotonic() + len(exchange.request) * self._speed.character_s
        self._busy_until_s = sent_s
        return self._listen(exchange, sent_s)

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
        if seconds > 0 and select.select([self._wake_reader], [], [], seconds)[0]:
            raise LinkDown(f"{self._device} is being closed")

    def _wait_for_silence(self, gap_s: float) -> None:
        give_up_s = time.monotonic() + BABBLE_S
        while True:
            self._statistics.noise_bytes += len(self._read())
            now_s = time.monotonic()
            left_s = self._busy_until_s + gap_s - now_s
            if left_s <= 0 or now_s >= give_up_s:
                return
            self.pause(left_s)

    def _drop_rest(self) -> None:
        self._statistics.noise_bytes += len(self._rest)
        self._rest = b""

    def _read(self) -> bytes:
        data = read_now(self._link.fileno(), self._device)
        if data:
            self._busy_until_s = time.monotonic()
            self._statistics.bytes_received += len(data)
        return data

    def _wait_readable(self, until_s: float) -> None:
        left_s = max(0.0, until_s - time.monotonic())
        if self._wake_reader in select.select([self._link.fileno(), self._wake_reader], [], [], left_s)[0]:
            raise LinkDown(f"{self._device} is being closed")

    def _listen(self, exchange: Exchange, sent_s: float) -> bytes | Missed:
        begin_by_s = sent_s + exchange.timeout_ms / 1000
        end_by_s = begin_by_s + (exchange.expected_bytes or LONGEST_FRAME) * max(self._speed.character_s, SLOW_CHARACTER_S)
        received, self._rest = self._rest, b""
        if not received:
            self._sleep_while_travelling(exchange, sent_s, begin_by_s)
        while True:
            received += self._read()
            answer = self._find(exchange, received)
            if answer is not None:
                return answer
            until_s = min(end_by_s, self._patience_s(exchange, received, begin_by_s))
            if time.monotonic() >= until_s:
                return self._missed(exchange, received)
            self._wait_for_more(exchange, received, until_s)

    def _sleep_while_travelling(self, exchange: Exchange, sent_s: float, begin_by_s: float) -> None:
        if exchange.expected_bytes:
            travel_s = self._speed.silence_s + exchange.expected_bytes * self._speed.character_s
            self.pause(min(sent_s + travel_s, begin_by_s) - time.monotonic())

    def _find(self, exchange: Exchange, received: bytes) -> bytes | None:
        skipped = self._echo.skip(exchange.request, received)
        if skipped is None or not received:
            return None
        found = exchange.find_answer(received[skipped:])
        if found is None:
            return None
        self._echo.learn(skipped)
        self._statistics.answers += 1
        self._statistics.echo_bytes += skipped
        self._statistics.noise_bytes += found.start
        self._rest = received[skipped + found.end :]
        return received[skipped + found.start : skipped + found.end]

    def _patience_s(self, exchange: Exchange, received: bytes, begin_by_s: float) -> float:
        """Until when (monotonic) more bytes are worth waiting for."""
        if not received:
            return begin_by_s
        missing = self._missing(exchange, received)
        if missing is not None and missing <= 0:
            return self._busy_until_s + max(4 * self._speed.character_s, GARBLED_SILENCE_S) + ADAPTER_LATENCY_S
        return max(begin_by_s, self._busy_until_s + IDLE_S)

    def _missing(self, exchange: Exchange, received: bytes) -> int | None:
        """Bytes still to come, None when the answer's length is not known."""
        if not exchange.expected_bytes:
            return None
        skipped = self._echo.skip(exchange.request, received)
        return exchange.expected_bytes - len(received) + (len(received) if skipped is None else skipped)

    def _wait_for_more(self, exchange: Exchange, received: bytes, until_s: float) -> None:
        if received:
            missing = self._missing(exchange, received)
            characters = missing - 1 if missing is not None and missing > 0 else COALESCE_CHARACTERS
            self.pause(min(until_s - time.monotonic(), characters * self._speed.character_s))
        self._wait_readable(until_s)

    def _missed(self, exchange: Exchange, received: bytes) -> Missed:
        self._statistics.timeouts += 1
        self._statistics.noise_bytes += len(received)
        missing = self._missing(exchange, received) if received else None
        return Missed.SILENT if missing is None or missing > 0 else Missed.GARBLED
