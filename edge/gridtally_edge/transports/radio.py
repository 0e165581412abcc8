"""A line that only listens: wireless M-Bus receivers, and meters that send by themselves over a wire (P1, mode D).

* Its own thread reads, a `Listener` of the protocol makes messages, the sink gets each as `Heard`.
* Nobody can be asked here: `submit` refuses with "unsupported". A meter's breaker has no meaning.
* A port that goes away is opened again with back-off; what was half heard is forgotten by the protocol's own framing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Final, TypeVar

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.iec62056_21.p1 import TelegramListener
from gridtally_edge.protocols.listening import Listener
from gridtally_edge.protocols.wmbus.listener import RadioListener
from gridtally_edge.protocols.wmbus.receivers import imst_configuration, receiver_of
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.breaker import Breaker
from gridtally_edge.transports.heard import Heard, Sink
from gridtally_edge.transports.line import LineHealth, LineState
from gridtally_edge.transports.link import ByteLink, readable, write_all
from gridtally_edge.transports.places import Place
from gridtally_edge.transports.radio_links import FileLink, ListeningPlace, link_for
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_shared.errors import ConfigError, LinkDown, RefusedCommand
from gridtally_shared.lifecycle import Reason

T = TypeVar("T")

READ_BYTES: Final = 4_096
FILE_REST_S: Final = 0.25
P1_BAUD: Final = 115_200
MODE_D_BAUD: Final = 2_400


class ListeningLine:
    """Made by `radio_line`, `p1_line` and `mode_d_line`. `greeting` is written once after opening (a receiver's configuration)."""

    def __init__(self, settings: LineSettings, sink: Sink, link: ByteLink, listener: Listener, speed: Speed, greeting: bytes = b"") -> None:
        self._settings, self._sink, self._link, self._listener = settings, sink, link, listener
        self._speed, self._greeting = speed, greeting
        self._statistics = LineStatistics()
        self._state, self._trouble = LineState.DOWN, "not started"
        self._closing = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name=f"line {settings.name}", daemon=True)

    @property
    def settings(self) -> LineSettings:
        return self._settings

    def start(self) -> None:
        """Raises ConfigError for what only a person can put right."""
        self._open()
        self._thread.start()

    def close(self, within_s: float = 5.0) -> None:
        if self._closing.is_set():
            return
        self._closing.set()
        os.write(self._wake_writer, b"!")
        if self._thread.is_alive():
            self._thread.join(within_s)
        self._state, self._trouble = LineState.CLOSED, "the line is closed"
        self._link.close()
        os.close(self._wake_writer)
        os.close(self._wake_reader)

    def submit(self, conversation: Conversation[T], priority: Priority, meter_key: str, speed: Speed | None = None) -> Future[T]:
        """Refused: these meters send by themselves and can not be asked."""
        conversation.close()
        future: Future[T] = Future()
        refusal = f"line {self._settings.name} only listens; {meter_key} sends its values by itself"
        future.set_exception(RefusedCommand(Reason.UNSUPPORTED, refusal))
        return future

    def place(self, meter_key: str, place: Place) -> None:
        if place.has_address:
            raise ConfigError("meter.host", f"{meter_key}: {place}", "a listening line has no addresses; leave it out")

    def health(self) -> LineHealth:
        counted = self._statistics.copy()
        counted.noise_bytes = self._listener.spoiled
        return LineHealth(self._state, self._trouble, 0, (), counted)

    def breakers(self) -> Mapping[str, Breaker]:
        return {}

    def _open(self) -> None:
        try:
            self._link.open(self._speed)
            if self._greeting:
                write_all(self._link.fileno(), self._greeting, self._settings.device)
        except LinkDown as error:
            self._state, self._trouble = LineState.DOWN, str(error)
            return
        self._statistics.openings += 1
        self._state, self._trouble = LineState.UP, ""

    def _run(self) -> None:
        back_off_s = self._settings.reopen_first_s
        while not self._closing.is_set():
            if self._state is not LineState.UP:
                self._closing.wait(back_off_s)
                back_off_s = min(self._settings.reopen_longest_s, 2 * back_off_s)
                self._reopen()
                continue
            back_off_s = self._settings.reopen_first_s
            try:
                self._listen()
            except LinkDown as error:
                self._state, self._trouble = LineState.DOWN, str(error)
                self._statistics.losses += 1
                self._link.close()

    def _reopen(self) -> None:
        if self._closing.is_set():
            return
        try:
            self._open()
        except ConfigError as error:
            self._trouble = str(error)

    def _listen(self) -> None:
        """Wait for octets and hand on what is whole. Raises LinkDown when the port goes away."""
        ready = readable((self._link.fileno(), self._wake_reader))
        if self._wake_reader in ready:
            return
        octets = self._read()
        if not octets:
            self._closing.wait(FILE_REST_S)
            return
        now_s = time.monotonic()
        self._statistics.bytes_received += len(octets)
        for told in self._listener.feed(octets, now_s):
            self._statistics.pushes += 1
            self._sink(Heard(self._settings.name, told.source, told.data, now_s, told.quality))

    def _read(self) -> bytes:
        """b"" at the end of a file or of a pipe without a writer. A port that reads as ended is gone."""
        device = self._settings.device
        try:
            octets = os.read(self._link.fileno(), READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LinkDown(f"{device} went away ({error.strerror}); it is opened again by itself") from error
        if not octets and not isinstance(self._link, FileLink):
            raise LinkDown(f"{device} was closed by the other end; it is opened again by itself")
        return octets


def radio_line(settings: LineSettings, sink: Sink) -> ListeningLine:
    """`wmbus://...?receiver=NAME`. Raises ConfigError."""
    place = ListeningPlace.of(settings.device, frozenset({"receiver", "mode", "baud"}))
    name = place.words.get("receiver", "")
    receiver, usual_baud = receiver_of(name)
    mode = place.words.get("mode", "")
    if mode and name not in ("im871a", "im170a"):
        raise ConfigError("mode", mode, f"{name} is set with its maker's tool: leave mode out")
    speed = Speed(place.baud(usual_baud or settings.speed.baud))
    greeting = imst_configuration(mode) if mode else b""
    return ListeningLine(settings, sink, link_for(settings, place), RadioListener(receiver), speed, greeting)


def p1_line(settings: LineSettings, sink: Sink) -> ListeningLine:
    """`p1://...`. Meters before P1 version 4 send with 9600 baud 7E1: `baud=9600` and the line's parity say so. Raises
    ConfigError."""
    place = ListeningPlace.of(settings.device, frozenset({"baud"}))
    coding = settings.speed
    speed = Speed(place.baud(P1_BAUD), coding.data_bits, coding.parity, coding.stop_bits)
    return ListeningLine(settings, sink, link_for(settings, place), TelegramListener(), speed)


def mode_d_line(settings: LineSettings, sink: Sink) -> ListeningLine:
    """`mode-d://...`: 2400 baud 7E1 whatever the line's coding says, since the standard knows no other; `baud=` for a meter
    that does. The port is opened as 8N1, which has the same bits on the wire and works with any adapter: the parity arrives in
    the eighth bit and is checked by the listener. Raises ConfigError."""
    place = ListeningPlace.of(settings.device, frozenset({"baud"}))
    return ListeningLine(settings, sink, link_for(settings, place), TelegramListener(), Speed(place.baud(MODE_D_BAUD)))
