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
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from gridtally_shared.records import dataclass

if TYPE_CHECKING:
    from gridtally_edge.transports.settings import Speed

from gridtally_shared.errors import LinkDown

T = TypeVar("T")


class GaveWay(LinkDown):
    """Thrown in by a line that ended this conversation for a more urgent one with the same meter. The meter is well; ask again."""


@dataclass(frozen=True, slots=True)
class Found:
    """A whole, checked answer lies at `buffer[start:end]`; what stands before and after is noise or comes later."""

    start: int
    end: int


class GivesWay(Enum):
    """To whom the line may turn before it sends a request that is not the first of its conversation.

    NOBODY: the meter waits for this very request. OTHER_METERS: a session stays open with this meter, who ignores what is
    said to others (HDLC). ANYBODY: each request stands alone (Modbus).
    """

    NOBODY = "nobody"
    OTHER_METERS = "other meters"
    ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    `find_answer` looks through everything received since the request; None means "not yet". It never raises.
    `expected_bytes` is the answer's length when it is known beforehand, so that a line may sleep until it can be there.
    `request` may be empty: then the line only waits (for a further frame of a window, or a push).
    `repeatable` False (SET, ACTION, a ciphered request whose counter may be used once): the line sends it a single time,
    whatever `retries` says, and whoever asked reads back before trying again.
    `gives_way`: whether the line may serve somebody more urgent before it sends this request.
    `missing`: for answers whose length stands in their head: how many bytes at least are still to come behind what was
    received, so that the line sleeps until then. It never raises.
    `speed` changes the line's coding for the rest of the conversation, once the request has left in the old one (an empty
    request: at once). The next conversation begins in its own coding again.
    `timeout_ms` 0: no answer is awaited, the line gives b"" (a break; a change of speed alone).
    `device` names who is spoken to when it is not the conversation's meter but something beside it (a relay board), unique on
    its line. Its silence is thrown as LinkDown like the meter's but never counts against the meter; a bus remembers it and
    throws at once for a while, except for a person's or a prepayment's command.
    `again`: the protocol repeats by itself what stayed unanswered, so this is no farewell and counts as none.
    """

    request: bytes
    find_answer: Callable[[bytes], Found | None]
    expected_bytes: int | None = None
    timeout_ms: int = 1_000
    retries: int = 2
    repeatable: bool = True
    gives_way: GivesWay = GivesWay.NOBODY
    missing: Callable[[bytes], int] | None = None
    speed: Speed | None = None
    device: str = ""
    again: bool = False


Conversation = Generator[Exchange, bytes, T]


def asked_again(conversation: Conversation[T]) -> Conversation[T]:
    """The same conversation, every exchange of it marked as `again`."""
    step: Callable[[], Exchange] = partial(next, conversation)
    while True:
        try:
            exchange = step()
        except StopIteration as stop:
            return cast("T", stop.value)
        try:
            step = partial(conversation.send, (yield replace(exchange, again=True)))
        except LinkDown as error:
            step = partial(conversation.throw, error)
