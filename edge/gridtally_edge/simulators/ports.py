"""Where a simulated line ends: a pseudo terminal under a stable name, or a TCP port.

* A pty is in raw mode and has a symbolic link, put in place in one step, so a reader may open the same name for ever.
* Unplugging closes the terminal and removes the link, as a pulled USB adapter does; plugging in makes a new one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tty
from pathlib import Path
from typing import Protocol

from gridtally_shared.errors import ConfigError

READ_BYTES = 4_096


class SimPort(Protocol):
    """`descriptors` are those to wait on; `receive` reads what one of them brought."""

    def plug(self) -> None: ...

    def unplug(self) -> None: ...

    def address(self) -> str: ...

    def descriptors(self) -> tuple[int, ...]: ...

    def receive(self, descriptor: int) -> bytes: ...

    def send(self, data: bytes) -> None: ...


class PtyPort:
    """The far end of a serial line; the reader opens `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._master = self._slave = -1

    def plug(self) -> None:
        if self._master >= 0:
            return
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and not self._path.is_symlink():
            raise ConfigError("line.port", str(self._path), "a file is in the way: name another path")
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave))
        os.replace(fresh, self._path)

    def unplug(self) -> None:
        if self._master < 0:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def address(self) -> str:
        return str(self._path)

    def descriptors(self) -> tuple[int, ...]:
        return (self._master,) if self._master >= 0 else ()

    def receive(self, descriptor: int) -> bytes:
        try:
            return os.read(descriptor, READ_BYTES)
        except OSError:  # nobody has the other end open just now
            return b""

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full or unread line loses bytes, as a wire does
            os.write(self._master, data)


class TcpPort:
    """A serial-to-Ethernet converter: one reader at a time, the newest one wins. Port 0 takes a free one."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self._listener: socket.socket | None = None
        self._reader: socket.socket | None = None

    def plug(self) -> None:
        if self._listener is not None:
            return
        try:
            self._listener = socket.create_server((self._host, self._port))
        except OSError as error:
            raise ConfigError("line.port", f"{self._host}:{self._port}", f"{error.strerror}: choose another") from error
        self._port = self._listener.getsockname()[1]

    def unplug(self) -> None:
        self._drop_reader()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def address(self) -> str:
        return f"tcp://{self._host}:{self._port}"

    def descriptors(self) -> tuple[int, ...]:
        return tuple(s.fileno() for s in (self._listener, self._reader) if s is not None)

    def receive(self, descriptor: int) -> bytes:
        if self._listener is not None and descriptor == self._listener.fileno():
            self._accept(self._listener)
            return b""
        if self._reader is None or descriptor != self._reader.fileno():
            return b""
        try:
            data = self._reader.recv(READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._drop_reader()
        return data

    def send(self, data: bytes) -> None:
        if self._reader is not None:
            try:
                self._reader.sendall(data)
            except OSError:
                self._drop_reader()

    def _accept(self, listener: socket.socket) -> None:
        self._drop_reader()
        self._reader = listener.accept()[0]
        self._reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _drop_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
