"""A street whose meters have their own IP addresses: each a UDP and a TCP port on loopback, with the habits of a mesh.

* Every datagram may be lost, comes later with every hop, and may overtake others. TCP connections only get the delay.
* `one_connection` meters refuse a second TCP connection by closing it, as many real ones do.
* Faults of the line's `FaultBoard` shape the answers of each meter as they do on a bus.
* The same wrapper or HDLC octets go through; `push` sends what a meter says unasked to wherever it is told.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, Protocol

from gridtally_edge.simulators.faults import FaultBoard
from gridtally_edge.transports.ip_loop import SelectorLoop
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

READ_BYTES = 65_536


class Slave(Protocol):
    def receive(self, octets: bytes) -> bytes: ...

    def forget(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MeshMeter:
    """`hops` away; `port` 0 takes a free one."""

    serial: str
    slave: Slave
    hops: int = 1
    port: int = 0


@dataclass(frozen=True, slots=True)
class MeshHabits:
    """`loss_percent` of all datagrams, each way; `hop_ms` each hop and way; up to `reorder_ms` more by chance."""

    loss_percent: float = 0.0
    hop_ms: float = 0.0
    reorder_ms: float = 0.0
    one_connection: bool = True


@dataclass(slots=True)
class _Station:
    meter: MeshMeter
    udp: socket.socket
    tcp: socket.socket
    callers: list[socket.socket] = field(default_factory=list)


class SimMesh:
    """Start it, and `address_of(serial)` tells where a meter is. One thread serves all meters. `on_open` is called when the
    ports are known; `first_heard_s` is when the first datagram came (monotonic), and may be set to None to be told again."""

    def __init__(self, name: str, meters: Sequence[MeshMeter], habits: MeshHabits | None = None, host: str = "::1", seed: int = 1) -> None:
        self.name, self.host = name, host
        self.habits = habits or MeshHabits()
        self.faults = FaultBoard()
        self.datagrams_lost = 0
        self.first_heard_s: float | None = None
        self._meters = tuple(meters)
        self._loop = SelectorLoop(f"simulated {name}")
        self._random = random.Random(seed)
        self._stations: dict[str, _Station] = {}
        self._ports: dict[str, int] = {}
        self.on_open: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Raises ConfigError when a port can not be had."""
        self._loop.acquire()
        self._loop.run(self._open, 30.0)

    def close(self, within_s: float = 5.0) -> None:
        self._loop.run(self._close, within_s)
        self._loop.release(within_s)

    def unplug(self, within_s: float = 5.0) -> None:
        """The whole network is away."""
        self._loop.run(self._close, within_s)

    def plug(self, within_s: float = 5.0) -> None:
        """Back at the same addresses."""
        self._loop.run(self._open, within_s)

    def address(self) -> str:
        return "udp://"

    def address_of(self, serial: str) -> tuple[str, int]:
        return self.host, self._ports[serial]

    def push(self, serial: str, data: bytes, target: tuple[str, int], by_tcp: bool = False) -> None:
        """Send what a meter says unasked; by UDP from the meter's own port."""
        self._loop.run(lambda: self._push(self._stations[serial], data, target, by_tcp))

    def say_on_connection(self, serial: str, data: bytes) -> None:
        """Unasked, on the TCP connections that are open to the meter."""

        def say() -> None:
            for caller in self._stations[serial].callers:
                caller.sendall(data)

        self._loop.run(say)

    def _open(self) -> None:
        if self._stations:
            return
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        for meter in self._meters:
            port = self._ports.get(meter.serial, meter.port)
            try:
                udp, tcp = _pair(family, self.host, port)
            except OSError as error:
                self._close()
                raise ConfigError("line.port", f"{self.host}:{port}", f"{error.strerror}: choose another") from error
            self._ports[meter.serial] = udp.getsockname()[1]
            station = _Station(meter, udp, tcp)
            self._stations[meter.serial] = station
            self._loop.watch(udp.fileno(), self._bound(self._datagrams, station))
            self._loop.watch(tcp.fileno(), self._bound(self._accept, station))
        self.on_open()

    def _close(self) -> None:
        for station in self._stations.values():
            for opened in (station.udp, station.tcp, *station.callers):
                self._loop.unwatch(opened.fileno())
                opened.close()
            station.callers.clear()
        self._stations.clear()

    def _bound(self, act: Callable[[_Station], None], station: _Station) -> Callable[[], None]:
        return lambda: act(station)

    def _datagrams(self, station: _Station) -> None:
        with contextlib.suppress(OSError):  # nothing more to read
            while True:
                data, sender = station.udp.recvfrom(READ_BYTES)
                self.first_heard_s = self.first_heard_s or time.monotonic()
                if self._lost():
                    continue
                self._later(station, self._answering(station, data, sender))

    def _answering(self, station: _Station, data: bytes, sender: Any) -> Callable[[], None]:
        def answer() -> None:
            octets = station.meter.slave.receive(data)
            wait_s = 0.0
            for piece in self.faults.shape(station.meter.serial, octets) if octets else ():
                wait_s += piece.wait_ms / 1_000
                if not self._lost():
                    self._later(station, self._sending(station, piece.data, sender), wait_s)

        return answer

    def _sending(self, station: _Station, data: bytes, target: Any) -> Callable[[], None]:
        def send() -> None:
            with contextlib.suppress(OSError):  # unplugged meanwhile
                station.udp.sendto(data, target)

        return send

    def _later(self, station: _Station, act: Callable[[], None], wait_s: float = 0.0) -> None:
        habits = self.habits
        delay_s = wait_s + (habits.hop_ms * station.meter.hops + self._random.uniform(0, habits.reorder_ms)) / 1_000
        if delay_s:
            self._loop.after(delay_s, act)
        else:
            act()

    def _lost(self) -> bool:
        lost = self._random.uniform(0, 100) < self.habits.loss_percent
        self.datagrams_lost += lost
        return lost

    def _accept(self, station: _Station) -> None:
        try:
            caller = station.tcp.accept()[0]
        except OSError:  # gone again
            return
        if self.habits.one_connection and station.callers:
            caller.close()
            return
        caller.setblocking(False)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        station.callers.append(caller)
        self._loop.watch(caller.fileno(), lambda: self._stream(station, caller))

    def _stream(self, station: _Station, caller: socket.socket) -> None:
        try:
            data = caller.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._hang_up(station, caller)
        octets = station.meter.slave.receive(data)
        wait_s = 2 * self.habits.hop_ms * station.meter.hops / 1_000
        for piece in self.faults.shape(station.meter.serial, octets) if octets else ():
            wait_s += piece.wait_ms / 1_000
            self._loop.after(wait_s, self._writing(caller, piece.data))

    def _writing(self, caller: socket.socket, data: bytes) -> Callable[[], None]:
        def write() -> None:
            with contextlib.suppress(OSError):  # hung up meanwhile
                caller.sendall(data)

        return write

    def _hang_up(self, station: _Station, caller: socket.socket) -> None:
        station.meter.slave.forget()
        station.callers.remove(caller)
        self._loop.unwatch(caller.fileno())
        caller.close()

    def _push(self, station: _Station, data: bytes, target: tuple[str, int], by_tcp: bool) -> None:
        if not by_tcp:
            station.udp.sendto(data, target)
            return
        with socket.create_connection(target, 2.0) as connection:
            connection.sendall(data)


def _pair(family: socket.AddressFamily, host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on the same port."""
    for _ in range(20):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((host, port))
        udp.setblocking(False)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, udp.getsockname()[1]))
            tcp.listen(8)
            tcp.setblocking(False)
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()
            if port:
                raise
    raise OSError(None, "no port is free for both UDP and TCP")
