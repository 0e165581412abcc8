"""Listens for what meters send unasked on a port of its own (DLMS: 4059), by UDP and by TCP.

* A datagram is one message. A TCP connection carries wrapper PDUs or HDLC frames one after the other; one that is quiet for
  `QUIET_S` or sends `MOST_BUFFERED` octets without a whole message is closed, and so is the oldest beyond `MOST_CALLERS`.
* Who it was is told by address and port; how many messages one source may send is the line's to limit.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Protocol

from gridtally_edge.transports.ip_loop import SelectorLoop
from gridtally_edge.transports.ip_unasked import LONGEST_PDU, whole_messages
from gridtally_edge.transports.places import Place
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

READ_BYTES = 65_536
DATAGRAMS_AT_ONCE = 64
MOST_CALLERS = 200
RECEIVE_BUFFER = 1 << 20
QUIET_S = 60.0
MOST_BUFFERED = 2 * LONGEST_PDU


class Ear(Protocol):
    def unasked(self, source: str, data: bytes, quality: int = 0) -> None: ...

    def stray(self, octets: int) -> None: ...


@dataclass(slots=True)
class _Caller:
    connection: socket.socket
    name: str
    heard_s: float
    buffer: bytes = b""


class PushListener:
    """Used from the loop's thread. `port` tells the real one after `open`, where 0 was asked for."""

    def __init__(self, host: str, port: int, loop: SelectorLoop, ear: Ear) -> None:
        self._host, self.port = host, port
        self._loop, self._ear = loop, ear
        self._udp: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._callers: dict[int, _Caller] = {}

    def open(self) -> None:
        """Raises ConfigError for a port that can not be had."""
        self.close()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._udp = _bound(family, socket.SOCK_DGRAM, self._host, self.port)
            self.port = self._udp.getsockname()[1]
            self._tcp = _bound(family, socket.SOCK_STREAM, self._host, self.port)
            self._tcp.listen(64)
        except OSError as error:
            self.close()
            remedy = f"{error.strerror}: choose another port, or 0 not to listen for pushes"
            raise ConfigError("line.push_port", f"{self._host}:{self.port}", remedy) from error
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._loop.watch(self._udp.fileno(), self._read_datagrams)
        self._loop.watch(self._tcp.fileno(), self._accept)

    def close(self) -> None:
        for caller in list(self._callers.values()):
            self._drop(caller)
        for opened in (self._udp, self._tcp):
            if opened is not None:
                self._loop.unwatch(opened.fileno())
                opened.close()
        self._udp = self._tcp = None

    def _read_datagrams(self) -> None:
        for _ in range(DATAGRAMS_AT_ONCE):
            if self._udp is None:
                return
            try:
                data, sender = self._udp.recvfrom(READ_BYTES)
            except OSError:  # nothing more, or an ICMP error of something sent elsewhere
                return
            if data:
                self._ear.unasked(_name(sender), data)

    def _accept(self) -> None:
        if self._tcp is None:
            return
        try:
            connection, sender = self._tcp.accept()
        except OSError:  # the caller has gone again
            return
        connection.setblocking(False)
        self._make_room()
        caller = _Caller(connection, _name(sender), time.monotonic())
        self._callers[connection.fileno()] = caller
        self._loop.watch(connection.fileno(), self._reader(caller))

    def _reader(self, caller: _Caller) -> Callable[[], None]:
        return lambda: self._read(caller)

    def _make_room(self) -> None:
        quiet_since_s = time.monotonic() - QUIET_S
        for caller in [c for c in self._callers.values() if c.heard_s < quiet_since_s]:
            self._drop(caller)
        while len(self._callers) >= MOST_CALLERS:
            self._drop(min(self._callers.values(), key=lambda c: c.heard_s))

    def _read(self, caller: _Caller) -> None:
        try:
            data = caller.connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._drop(caller)
        caller.heard_s = time.monotonic()
        messages, caller.buffer = whole_messages(caller.buffer + data)
        for message in messages:
            self._ear.unasked(caller.name, message)
        if len(caller.buffer) > MOST_BUFFERED:
            self._drop(caller)

    def _drop(self, caller: _Caller) -> None:
        self._callers.pop(caller.connection.fileno(), None)
        self._loop.unwatch(caller.connection.fileno())
        self._ear.stray(len(caller.buffer))
        caller.connection.close()


def _bound(family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if kind is socket.SOCK_STREAM else 0)
        if family is socket.AF_INET6:
            with contextlib.suppress(OSError):  # IPv6 only is better than nothing
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def _name(sender: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """`[address]:port`; an IPv4 caller of an IPv6 socket under its IPv4 address, a link-local one without its scope."""
    return str(Place(sender[0].removeprefix("::ffff:").partition("%")[0], sender[1]))
