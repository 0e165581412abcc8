"""Who is in a network: the nodes of one line by their lasting identity, whatever addresses they have at the moment.

* Pure: what a modem tells goes in, `NodeChanged` comes out, when something changed that the head end must know. Quality
  alone is noted, not reported.
* White list: a node that is not allowed is WAITING, and nobody speaks to it. An empty list with `open_to_all` lets all in.
* A node that comes back with another address is the same node. One address belongs to the node that had it last.
* `report_of` makes the contract's `NodeReport` of a change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from typing import TYPE_CHECKING

from gridtally_edge.transports.heard import NodeChanged
from gridtally_shared.contract.messages import NodeReport, NodeState
from gridtally_shared.records import dataclass

if TYPE_CHECKING:
    from gridtally_edge.transports.modem_model import NodeHere

COORDINATOR_ADDRESS = "0"
MOST_NODES = 5_000


@dataclass(frozen=True, slots=True)
class Node:
    """`parent` is an address, `seen_s` monotonic seconds of the last sign of life."""

    node: str
    state: NodeState
    address: str = ""
    parent: str = ""
    hops: int = 0
    quality: int = 0
    seen_s: float = 0.0


@dataclass(slots=True)
class NodeTable:
    """The nodes of one line."""

    line: str
    open_to_all: bool = False
    _nodes: dict[str, Node] = field(default_factory=dict)
    _by_address: dict[str, str] = field(default_factory=dict)
    _allowed: frozenset[str] = frozenset()

    def remember(self, nodes: Iterable[Node]) -> None:
        """Nodes as they were; what is told of them from now on is compared with that."""
        for node in nodes:
            self._nodes[node.node] = node
            if node.address:
                self._by_address[node.address] = node.node

    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._nodes.values())

    def node(self, name: str) -> Node | None:
        return self._nodes.get(name)

    def at(self, address: str) -> Node | None:
        """The node that has this address now."""
        name = self._by_address.get(address)
        return self._nodes.get(name) if name is not None else None

    def is_allowed(self, name: str) -> bool:
        return self.open_to_all or name in self._allowed

    def here(self, event: NodeHere, now_s: float) -> tuple[NodeChanged, ...]:
        """It joined, was listed, or has another route."""
        known = self._nodes.get(event.node)
        if known is None and len(self._nodes) >= MOST_NODES:
            return ()
        changes = self._evict(event, now_s)
        if known is not None and known.address != event.address:
            self._release(known)
        state = NodeState.JOINED if self.is_allowed(event.node) else NodeState.WAITING
        node = Node(event.node, state, event.address, event.parent, event.hops, event.quality, now_s)
        self._nodes[event.node] = node
        self._by_address[event.address] = event.node
        told = known and (known.state, known.address, known.parent, known.hops)
        if told == (state, event.address, event.parent, event.hops):
            return changes
        return (*changes, self.change_of(node))

    def asks(self, name: str, now_s: float) -> tuple[NodeChanged, ...]:
        """It waits for permission; nothing is to be reported where it already did."""
        known = self._nodes.get(name)
        if (known is None and len(self._nodes) >= MOST_NODES) or (known and known.state is NodeState.WAITING):
            return ()
        if known is not None:
            self._release(known)
        self._nodes[name] = Node(name, NodeState.WAITING, seen_s=now_s)
        return (self.change_of(self._nodes[name]),)

    def gone(self, name: str, now_s: float) -> tuple[NodeChanged, ...]:
        known = self._nodes.get(name)
        if known is None or known.state is NodeState.LEFT:
            return ()
        self._release(known)
        self._nodes[name] = replace(known, state=NodeState.LEFT, address="", parent="", hops=0, seen_s=now_s)
        return (self.change_of(self._nodes[name]),)

    def seen(self, name: str, quality: int, now_s: float) -> None:
        known = self._nodes.get(name)
        if known is not None:
            self._nodes[name] = replace(known, quality=quality or known.quality, seen_s=now_s)

    def allow(self, names: Iterable[str]) -> tuple[tuple[NodeChanged, ...], frozenset[str], frozenset[str]]:
        """The whole new white list. Gives the changes, the newly allowed and those no longer allowed."""
        before, self._allowed = self._allowed, frozenset(names)
        changes = []
        for node in self.nodes():
            wanted = NodeState.JOINED if self.is_allowed(node.node) else NodeState.WAITING
            if node.address and node.state is not wanted:
                self._nodes[node.node] = replace(node, state=wanted)
                changes.append(self.change_of(self._nodes[node.node]))
        return tuple(changes), self._allowed - before, before - self._allowed

    def change_of(self, node: Node) -> NodeChanged:
        above = "" if node.parent in ("", COORDINATOR_ADDRESS) else self._by_address.get(node.parent, node.parent)
        return NodeChanged(self.line, node.node, node.state, node.address, above, node.hops, node.quality)

    def _evict(self, event: NodeHere, now_s: float) -> tuple[NodeChanged, ...]:
        """Another node had this address: it must have left without a word."""
        other = self._by_address.get(event.address)
        return self.gone(other, now_s) if other is not None and other != event.node else ()

    def _release(self, node: Node) -> None:
        if self._by_address.get(node.address) == node.node:
            del self._by_address[node.address]


def report_of(changed: NodeChanged, at_ms: int, serial: str = "") -> NodeReport:
    """`serial` is the meter behind the node, once it was read."""
    return NodeReport(
        changed.line, changed.node, int(changed.state), at_ms, changed.address, changed.parent, changed.hops, changed.quality, serial
    )
