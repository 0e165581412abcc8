"""Spoil a running street from outside: one line of text in, one line of answer out, over a unix socket.

    mute 20000003 times=3       no answer three times        flip, lead, trail, split, late, pause, echo, echo-part: likewise
    late line:modbus-1 ms=800   every answer of a line       hex=00ff bit=27 ms=5 tail=4 where they apply
    clear [TARGET]              lift the faults              unplug LINE, plug LINE: the adapter
    jam SERIAL, free SERIAL     a stuck contactor            event SERIAL CODE: an entry in the meter's log
    house SERIAL metrology on   a fault of the meter itself; off lifts it. checksum, memory, program, firmware, metrology,
                                time_sync (size=3 refusals), han, push, form, consistency (size=20 Wh a row), backfeed
    status                      the faults in force

    no-rlre SERIAL times=3      an oddity of a DLMS meter       push SERIAL alert bits=83   what it says unasked

TARGET is a serial, `board-UNIT` for a relay board, `line:NAME` or `*` for all lines.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from gridtally_edge.simulators.faults import Fault, FaultKind
from gridtally_shared.errors import ConfigError

LONGEST_PATH = 100
LONGEST_COMMAND = 1_000
ANSWER_S = 10.0


def parse_fault(words: list[str], meter: str) -> Fault:
    """`mute times=3` and its like, for one meter. Raises ConfigError."""
    values: dict[str, str] = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or key not in ("times", "ms", "hex", "bit", "tail"):
            raise ConfigError(words[0], word, "write times=, ms=, hex=, bit= or tail=")
        values[key] = value
    try:
        return Fault(
            kind=FaultKind(words[0]),
            meter=meter,
            times=int(values["times"]) if "times" in values else None,
            noise=bytes.fromhex(values.get("hex", "00ff")),
            bit=int(values.get("bit", "27")),
            wait_ms=float(values.get("ms", "5")),
            tail=int(values.get("tail", "4")),
        )
    except ValueError as error:
        raise ConfigError(words[0], " ".join(words[1:]), f"not understood: {error}") from error


class ControlSocket:
    """Listens at `path` and hands each command to `obey`, which returns the answer."""

    def __init__(self, path: Path, obey: Callable[[str], str]) -> None:
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise ConfigError("directory", str(path), f"at most {LONGEST_PATH} bytes: choose a shorter directory")
        self._path, self._obey = path, obey
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, name="simulator control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(ANSWER_S)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            try:
                caller = self._listener.accept()[0]
            except OSError:  # the listener was shut down
                return
            with caller, contextlib.suppress(OSError):
                caller.settimeout(ANSWER_S)
                caller.sendall(self._answer(caller.recv(LONGEST_COMMAND)) + b"\n")

    def _answer(self, command: bytes) -> bytes:
        try:
            return f"ok {self._obey(command.decode(errors='replace').strip())}".strip().encode()
        except ConfigError as error:
            return f"error {error}".encode()


def tell(path: Path, command: str) -> str:
    """Send one command to a running street and return its answer line. Raises ConfigError when none runs there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_S)
        try:
            connection.connect(str(path))
            connection.sendall(command.encode() + b"\n")
            return connection.makefile(encoding="utf-8").readline().strip()
        except OSError as error:
            raise ConfigError("directory", str(path), f"no street runs here ({error.strerror}): start it first") from error
