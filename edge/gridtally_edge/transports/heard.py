"""What a line hears without having asked: pushes, alarms, broadcasts, and what a network says of its nodes.

* A line is given one `Sink` when it is made and calls it from its own thread; the sink only queues.
* `data` is one whole message of the line's protocol: a datagram, a frame, a telegram. It is not decoded here.
* Repeats are normal (a push without a receipt comes again); whoever decodes keys by meter, push setup and clock.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_shared.contract.messages import NodeState
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Heard:
    """`source` is whoever sent it as the line knows them: `[address]:port`, a node, "" where the line has no senders.
    `mono_s` is time.monotonic() when its last byte was there. `quality` is RSSI or link quality, 0: unknown."""

    line: str
    source: str
    data: bytes
    mono_s: float
    quality: int = 0


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node joined, left, waits for permission, or has another way to the coordinator."""

    line: str
    node: str
    state: NodeState
    address: str = ""
    parent: str = ""
    hops: int = 0
    quality: int = 0


Sink = Callable[[Heard | NodeChanged], None]


def unheard(_heard: Heard | NodeChanged) -> None:
    """The sink of whoever only asks and does not listen."""
