"""IP as a medium: UDP through one socket for all meters of a line, TCP with one connection for each meter.

* `udp://` or `udp://[::]:0`: meters are spoken to by UDP; `ip://`: by TCP; a meter's own `over` overrides.
  `udp://host:port` with a real address is where meters without a `host` of their own are.
* Datagrams are told apart by who sent them: an answer from another address is a stranger's.
* A TCP connection is kept while it is used and `idle_s` longer, since many meters take only one. After an answer that did
  not come it is dropped, so that a late one can not meet the next request.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Protocol

from gridtally_edge.transports.ip_loop import SelectorLoop, Timer
from gridtally_edge.transports.ip_push import PushListener
from gridtally_edge.transports.ip_unasked import take_unasked, whole_messages
from gridtally_edge.transports.ip_way import Opened, Traveller
from gridtally_edge.transports.places import Place
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.errors import ConfigError, LinkDown

CONNECT_S = 5.0
READ_BYTES = 65_536
DATAGRAMS_AT_ONCE = 64
UNHEARD_MS = 20_000
RECEIVE_BUFFER = 1 << 18
Sockaddr = tuple[str, int] | tuple[str, int, int, int]


class Ear(Protocol):
    """Where a medium brings what nobody asked for; a `NetworkLine`."""

    def unasked(self, source: str, data: bytes, quality: int = 0) -> None: ...

    def stray(self, octets: int) -> None: ...


def sockaddr_of(host: str, port: int) -> tuple[socket.AddressFamily, Sockaddr]:
    """Family and address of a numeric host. Raises ConfigError for a name or a scope this machine does not have."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM, flags=flags)[0]
    except (socket.gaierror, UnicodeError, ValueError):
        remedy = "write a numeric IPv4 or IPv6 address; a link-local one with its interface, such as fe80::1%eth0"
        raise ConfigError("host", host, remedy) from None
    return family, address  # type: ignore[return-value]


def key_of(address: Sockaddr) -> tuple[str, int, int]:
    """What tells senders apart: address, port and, for link-local IPv6, the scope."""
    return (address[0].partition("%")[0], address[1], address[3] if len(address) == 4 else 0)


class UdpWay:
    """To one address through the line's socket."""

    stream = False

    def __init__(self, medium: IpMedium, family: socket.AddressFamily, address: Sockaddr, hops: int) -> None:
        self.hops = hops
        self.user: Traveller | None = None
        self._medium, self._family, self._address = medium, family, address

    def open(self, done: Opened) -> None:
        done(None)

    def send(self, data: bytes) -> None:
        self._medium.send_datagram(self._family, data, self._address)

    def rest(self, in_doubt: bool) -> None:
        """Datagrams need no connection."""


class TcpWay:
    """To one address through its own connection, opened when it is needed."""

    stream = True

    def __init__(self, loop: SelectorLoop, ear: Ear, place: Place, idle_s: float) -> None:
        self.hops = place.hops
        self.user: Traveller | None = None
        self._loop, self._ear, self._idle_s = loop, ear, idle_s
        self._name = str(place)
        self._family, self._address = sockaddr_of(place.host, place.port)
        self._socket: socket.socket | None = None
        self._connecting: Opened | None = None
        self._timer: Timer | None = None
        self._pending, self._heard = b"", b""

    def open(self, done: Opened) -> None:
        self._stop_timer()
        if self._socket is not None:
            return done(None)
        self._connecting = done
        self._socket = socket.socket(self._family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
        code = self._socket.connect_ex(self._address)
        if code not in (0, errno.EINPROGRESS):
            return self._lost(code)
        self._timer = self._loop.after(CONNECT_S, lambda: self._lost(errno.ETIMEDOUT))
        self._loop.watch(self._socket.fileno(), self._read, self._connected)

    def send(self, data: bytes) -> None:
        if self._socket is None:
            raise LinkDown(f"meter at {self._name}: the connection is gone")
        self._pending += data
        self._write()

    def rest(self, in_doubt: bool) -> None:
        self._stop_timer()
        if in_doubt:
            return self.hang_up()
        self._timer = self._loop.after(self._idle_s, self.hang_up)

    def hang_up(self) -> None:
        self._stop_timer()
        connection, self._socket = self._socket, None
        self._pending = self._heard = b""
        self._connecting = None
        if connection is not None:
            self._loop.unwatch(connection.fileno())
            connection.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _connected(self) -> None:
        if self._socket is None or self._connecting is None:
            return
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return self._lost(code)
        self._stop_timer()
        self._loop.watch(self._socket.fileno(), self._read)
        done, self._connecting = self._connecting, None
        done(None)

    def _write(self) -> None:
        connection = self._socket
        if connection is None:
            return
        try:
            while self._pending:
                self._pending = self._pending[connection.send(self._pending) :]
            self._loop.watch(connection.fileno(), self._read)
        except BlockingIOError:
            self._loop.watch(connection.fileno(), self._read, self._write)
        except OSError as error:
            self._lost(error.errno or 0)

    def _read(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            return self._lost(error.errno or 0)
        if not data:
            return self._lost(0)
        if self.user is not None:
            return self.user.heard(data)
        self._overhear(data)

    def _overhear(self, data: bytes) -> None:
        """Nobody is waiting for an answer: what comes is a push, or too late."""
        messages, self._heard = whole_messages(self._heard + data)
        for message in messages:
            pushes, rest = take_unasked(message)
            for push in pushes:
                self._ear.unasked(self._name, push)
            self._ear.stray(len(rest))

    def _lost(self, code: int) -> None:
        why = os.strerror(code) if code else "the meter closed the connection"
        remedy = "; it may take one connection only" if code in (errno.ECONNREFUSED, errno.ECONNRESET, 0) else ""
        error = LinkDown(f"meter at {self._name}: {why}{remedy}")
        connecting, user = self._connecting, self.user
        self.hang_up()
        if connecting is not None:
            connecting(error)
        elif user is not None:
            user.cut_off(error)


class IpMedium:
    """All ways of one IP line."""

    alone = False

    def __init__(self, settings: LineSettings, loop: SelectorLoop, ear: Ear) -> None:
        self._settings, self._loop, self._ear = settings, loop, ear
        self._default, self._usual = _device_place(settings.device)
        self._udp: dict[tuple[str, int, int], UdpWay] = {}
        self._tcp: dict[tuple[str, int, int], TcpWay] = {}
        self._names: dict[tuple[str, int, int], str] = {}
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        network = settings.network
        self._push = PushListener(network.push_host, network.push_port, loop, ear) if network.push_port else None
        self.strangers = 0

    def check(self, place: Place) -> None:
        """Raises ConfigError for a place that is not on IP."""
        if place.node:
            raise ConfigError("node", place.node, "an IP line knows hosts, not nodes; use a line with device modem://")
        host = place.host or self._default.host
        if not host:
            remedy = "write the meter's numeric address, or the device of the line as udp://host:port"
            raise ConfigError("host", place.host, remedy)
        sockaddr_of(host, place.port)

    def open(self) -> None:
        if self._push is not None:
            self._push.open()

    def close(self) -> None:
        if self._push is not None:
            self._push.close()
        for way in self._tcp.values():
            way.hang_up()
        for opened in self._sockets.values():
            self._loop.unwatch(opened.fileno())
            opened.close()
        self._sockets.clear()

    def way(self, place: Place) -> UdpWay | TcpWay:
        self.check(place)
        whole = place if place.host else Place(self._default.host, self._default.port, place.over, place.hops)
        family, address = sockaddr_of(whole.host, whole.port)
        key = key_of(address)
        if (whole.over or self._usual) == "tcp":
            if key not in self._tcp:
                self._tcp[key] = TcpWay(self._loop, self._ear, whole, self._settings.network.idle_s)
            return self._tcp[key]
        if key not in self._udp:
            self._udp[key] = UdpWay(self, family, address, whole.hops)
            self._names[key] = str(whole)
        self._udp[key].hops = whole.hops
        return self._udp[key]

    def send_datagram(self, family: socket.AddressFamily, data: bytes, address: Sockaddr) -> None:
        try:
            self._socket(family).sendto(data, address)
        except BlockingIOError:  # as good as lost on the way: it is repeated
            return
        except OSError as error:
            raise LinkDown(f"no way to {address[0]}: {error.strerror}; check network and route") from error

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        found = self._sockets.get(family)
        if found is None:
            found = socket.socket(family, socket.SOCK_DGRAM)
            found.setblocking(False)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            found.bind(("::" if family is socket.AF_INET6 else "0.0.0.0", 0))
            self._sockets[family] = found
            opened = found
            self._loop.watch(found.fileno(), lambda: self._read(opened))
        return found

    def _read(self, opened: socket.socket) -> None:
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                data, sender = opened.recvfrom(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of some datagram; its meter is simply silent
                continue
            self._arrived(data, key_of(sender))

    def _arrived(self, data: bytes, key: tuple[str, int, int]) -> None:
        way = self._udp.get(key)
        if way is None:
            self.strangers += 1
            return self._ear.stray(len(data))
        if way.user is not None:
            return way.user.heard(data)
        pushes, rest = take_unasked(data)
        for push in pushes:
            self._ear.unasked(self._names[key], push)
        self._ear.stray(len(rest))


def _device_place(device: str) -> tuple[Place, str]:
    """Where meters without a host are, and the usual transport. Raises ConfigError."""
    scheme, _, rest = device.partition("://")
    usual = "udp" if scheme == "udp" else "tcp"
    host, _, port = rest.rpartition(":")
    if not rest or (rest.endswith(":0") and host in ("[::]", "0.0.0.0")):
        return Place(), usual
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError("line.device", device, f"write {scheme}:// alone, or {scheme}://host:port such as {scheme}://[::1]:4059")
    sockaddr_of(host, int(port))
    return Place(host.strip("[]"), int(port)), usual
