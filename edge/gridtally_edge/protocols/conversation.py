"""How a sans-IO protocol talks through any line: a conversation is a generator of exchanges.

* A protocol yields an `Exchange` (bytes to send, and how to find the answer) and is sent the answer's bytes.
* A line (`transports/`) writes, reads, calls `find_answer` on all that has arrived so far, repeats the request when
  nothing came, and at last throws `LinkDown` into the generator. The generator may catch it (to release an
  association) and must then let it go on.
* Conversations compose with `yield from`, so one poll is one generator whatever the protocol.

    def read_two(port: MeterPort) -> Conversation[tuple[str, SwitchState]]:
        yield from port.open()
        serial = yield from port.read_serial()
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """A whole, checked answer lies at `buffer[start:end]`; what stands before and after is noise or comes later."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    `find_answer` looks through everything received since the request; None means "not yet". It never raises.
    `expected_bytes` is the answer's length when it is known beforehand, so that a line may sleep until it can be there.
    `request` may be empty: then the line only waits (for a further frame of a window, or a push).
    """

    request: bytes
    find_answer: Callable[[bytes], Found | None]
    expected_bytes: int | None = None
    timeout_ms: int = 1_000
    retries: int = 2


Conversation = Generator[Exchange, bytes, T]
