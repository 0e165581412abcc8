"""The demo's uplink: a TCP relay between the DCU and the broker that can be cut and mended, as a mobile network would."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

_CHUNK = 65_536


class Relay:
    """Forwards 127.0.0.1:`port` to `target`. While cut, live connections are closed and new ones refused."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._pairs: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def cut(self) -> None:
        """The network is gone: every connection ends, none comes through."""
        self._open.clear()
        with self._lock:
            for each in self._pairs:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._open.set()

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._open.is_set():
                near.close()
                continue
            threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, timeout=5)
        except OSError:
            near.close()
            return
        with self._lock:
            self._pairs |= {near, far}
        with contextlib.suppress(OSError):
            _pump(near, far)
        with self._lock:
            self._pairs -= {near, far}
        near.close()
        far.close()


def _pump(near: socket.socket, far: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    far.settimeout(None)
    with selectors.DefaultSelector() as waiting:
        waiting.register(near, selectors.EVENT_READ, far)
        waiting.register(far, selectors.EVENT_READ, near)
        while True:
            for key, _ in waiting.select():
                source, sink = key.fileobj, key.data
                assert isinstance(source, socket.socket)
                data = source.recv(_CHUNK)
                if not data:
                    return
                sink.sendall(data)
