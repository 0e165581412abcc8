"""Foreign DLMS peers in processes of their own, and our simulated meter on a port for them. No GPL code is loaded here."""

from __future__ import annotations

import importlib.util
import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

HERE = Path(__file__).parent
WITHIN_S = 30.0


def needs_gurux() -> None:
    """Skip, with the reason, where the peer is not installed."""
    if importlib.util.find_spec("gurux_dlms") is None:
        pytest.skip("the foreign DLMS peer is not installed: pip install gurux-dlms")


class Slave(Protocol):
    def receive(self, octets: bytes) -> bytes: ...

    def forget(self) -> None: ...


class Peer:
    """A script of the foreign library: one line of JSON in, one line out."""

    def __init__(self, script: str, python: str = sys.executable) -> None:
        command = [python, str(HERE / script)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, job: Mapping[str, Any]) -> Any:
        assert self._process.stdin
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return self.line()

    def line(self) -> Any:
        """The next line it prints; fails when nothing comes."""
        assert self._process.stdout
        ready = select.select([self._process.stdout], [], [], WITHIN_S)[0]
        assert ready, "the foreign peer says nothing"
        text = self._process.stdout.readline()
        assert text, f"the foreign peer ended with {self._process.wait(5)}"
        return json.loads(text)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()


@contextmanager
def on_tcp(slave: Slave) -> Iterator[int]:
    """The meter on a TCP port of the loopback, one connection after another."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, slave), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(WITHIN_S)


def _serve(listener: socket.socket, slave: Slave) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(WITHIN_S)
            while octets := _received(connection):
                connection.sendall(slave.receive(octets))
        slave.forget()


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:
        return b""


@contextmanager
def on_udp(slave: Slave) -> Iterator[int]:
    """The meter on a UDP port of the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as meter:
        meter.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve_datagrams, args=(meter, slave), daemon=True)
        thread.start()
        yield meter.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ends:
            ends.sendto(b"", meter.getsockname())
        thread.join(WITHIN_S)


def _serve_datagrams(meter: socket.socket, slave: Slave) -> None:
    while True:
        octets, sender = meter.recvfrom(65_536)
        if not octets:
            return
        for answer in (slave.receive(octets),):
            meter.sendto(answer, sender)
