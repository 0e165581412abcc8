"""A line behind a serial-to-Ethernet converter or a simulator: raw bytes over TCP, the same interface as `SerialBus`.

* `tcp://host:port`; the other end keeps the bit timing, so there is none here (unless `speed.baud` is given, which
  makes the line sleep while the bytes travel).
* The connection is closed on any error and opened again with back-off. Connecting takes `CONNECT_S` at most.
* A converter that lost its power acknowledges nothing: after `UNHEARD_MS` the system reports the connection as broken.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace

from gridtally_edge.transports.line import Line
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.errors import ConfigError, LinkDown

SCHEME = "tcp://"
USUAL_PORT = 4001
CONNECT_S = 3.0
UNHEARD_MS = 10_000


def host_and_port(device: str, scheme: str = SCHEME, usual_port: int = USUAL_PORT) -> tuple[str, int]:
    """Parts of `tcp://host:port`, with IPv6 hosts in brackets. Raises ConfigError."""
    host, colon, port = device.removeprefix(scheme).rpartition(":")
    if not device.startswith(scheme) or not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError("line.device", device, f"write {scheme}host:port, for example {scheme}192.168.1.20:{usual_port}")
    return host.strip("[]"), int(port)


class TcpLink:
    """A `ByteLink` on a TCP connection. `scheme` and `usual_port` only serve to read and to explain the device's name."""

    def __init__(self, settings: LineSettings, scheme: str = SCHEME, usual_port: int = USUAL_PORT) -> None:
        self._device = settings.device
        self._address = host_and_port(settings.device, scheme, usual_port)
        self._socket: socket.socket | None = None

    def open(self, speed: Speed) -> None:
        self.close()
        try:
            connection = socket.create_connection(self._address, CONNECT_S)
        except OSError as error:
            raise LinkDown(f"{self._device}: {error}; check that the converter or gateway is on and the port is right") from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
        connection.setblocking(False)
        self._socket = connection

    def set_speed(self, speed: Speed) -> None:
        """The converter holds the speed; there is nothing to change here."""

    def connection(self) -> socket.socket:
        if self._socket is None:
            raise LinkDown(f"{self._device} is not open")
        return self._socket

    def fileno(self) -> int:
        return self.connection().fileno()

    def hang_up(self) -> None:
        """End the connection but keep its descriptor: whoever waits on it, in any thread, wakes up."""
        connection = self._socket
        if connection is not None:
            with contextlib.suppress(OSError):  # already ended by the other side
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()


class TcpLine(Line):
    """A line over TCP."""

    def __init__(self, settings: LineSettings) -> None:
        super().__init__(settings, TcpLink(settings))


def raw_tcp(name: str, device: str) -> LineSettings:
    """Settings of a TCP line without bit timing."""
    return LineSettings(name, device, replace(Speed(), baud=0))
