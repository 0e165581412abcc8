"""Bytes through a file descriptor, whatever is behind it: what a line needs from a serial port or a socket.

* Nothing blocks: `read_now` returns what is there, `write_all` waits for room no longer than its limit.
* Every failure of the descriptor is a LinkDown; the line closes, backs off and opens again.
* Waiting is done with `poll`: `select` knows no descriptor above 1,023, and a box with a thousand TCP meters has more.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Sequence
from typing import Protocol

from gridtally_edge.transports.settings import Speed
from gridtally_shared.errors import LinkDown

READ_BYTES = 4_096
WRITE_LIMIT_S = 2.0


class ByteLink(Protocol):
    """A port that can be opened again and again. `open` raises LinkDown (may pass) or ConfigError (needs a person)."""

    def open(self, speed: Speed) -> None: ...

    def set_speed(self, speed: Speed) -> None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


def readable(descriptors: Sequence[int], within_s: float | None = None) -> frozenset[int]:
    """Those that have bytes, or whose other end is gone; empty when nothing happened within the time (None: for ever)."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return frozenset(descriptor for descriptor, _ in poll.poll(None if within_s is None else math.ceil(within_s * 1_000)))


def has_room(descriptor: int, within_s: float) -> bool:
    """Whether bytes can be written, at the latest when the time is over."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(math.ceil(within_s * 1_000)))


def read_now(descriptor: int, device: str) -> bytes:
    """What has arrived, b"" when nothing has. Raises LinkDown when the other end is gone."""
    try:
        data = os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise LinkDown(f"{device} went away while reading ({error.strerror}); it is opened again by itself") from error
    if not data:
        raise LinkDown(f"{device} was closed by the other end; it is opened again by itself")
    return data


def write_all(descriptor: int, data: bytes, device: str) -> None:
    """Hand all bytes to the kernel. Raises LinkDown when the port is gone or takes nothing for two seconds."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            if not has_room(descriptor, WRITE_LIMIT_S):
                raise LinkDown(f"{device} takes no bytes (flow control or a stuck adapter)") from None
        except OSError as error:
            raise LinkDown(f"{device} went away while writing ({error.strerror})") from error
