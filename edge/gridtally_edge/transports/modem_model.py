"""A coordinator of a mesh or powerline network as its host sees it: what it can be told and what it tells.

* A `CoordinatorModem` is a codec without I/O: octets in, events out; what is to be written is fetched with `output`, with the
  moment (monotonic seconds) as an argument, since some modems want silences.
* Addresses are the present short ones, as text; `node` is the lasting identity (EUI-64, EUI-48, serial of the module).
* Vendors' modems need their vendor's own command table: the two codecs here are documented examples, see their docstrings.
"""

from __future__ import annotations

from typing import Protocol

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class NodeHere:
    """A node is in the network: joined, listed, or with another route. `parent` is an address, `0` the coordinator."""

    node: str
    address: str
    parent: str
    hops: int
    quality: int


@dataclass(frozen=True, slots=True)
class NodeGone:
    node: str


@dataclass(frozen=True, slots=True)
class NodeAsks:
    """A node wants to join and is kept out until it is allowed."""

    node: str


@dataclass(frozen=True, slots=True)
class NodesListed:
    """The end of a list: whoever is not among them has left, or was not there when we came."""

    nodes: frozenset[str]


@dataclass(frozen=True, slots=True)
class NodeData:
    """A whole message of a node. `quality` 0: not told."""

    address: str
    payload: bytes
    quality: int = 0


@dataclass(frozen=True, slots=True)
class NotSent:
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModemReady:
    """It answers and has told its limits; what it knew of nodes before is listed again."""

    mtu: int
    multicast: bool


@dataclass(frozen=True, slots=True)
class ModemFailed:
    """It does not answer, or answers nonsense."""

    reason: str


ModemEvent = NodeHere | NodeGone | NodeAsks | NodesListed | NodeData | NotSent | ModemReady | ModemFailed


@dataclass(frozen=True, slots=True)
class Output:
    """Octets to write now, and in how many seconds to ask again (None: only after the next event)."""

    octets: bytes
    again_s: float | None = None


class CoordinatorModem(Protocol):
    """`alone`: only one node can be spoken to at a time, and it must be left before another one is."""

    @property
    def alone(self) -> bool: ...

    def begin(self, now_s: float) -> None:
        """The port has just been opened: find out who is there."""
        ...

    def receive(self, octets: bytes, now_s: float) -> tuple[ModemEvent, ...]: ...

    def output(self, now_s: float) -> Output: ...

    def send(self, address: str, payload: bytes, now_s: float) -> None:
        """One message to one node. Raises LinkDown for one that is too long or an address that can not be."""
        ...

    def send_to_all(self, payload: bytes) -> bool:
        """A message without answer to every node (clock, firmware); False where the modem can not."""
        ...

    def allow(self, node: str) -> None: ...

    def forget(self, node: str) -> None: ...

    def overdue(self, now_s: float) -> tuple[ModemEvent, ...]:
        """What has not come in its time; asked for whenever `again_s` is over."""
        ...
