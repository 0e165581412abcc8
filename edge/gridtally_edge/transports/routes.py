"""How each node of the networks is reached now, put together from what the networks tell of single nodes (I2-IE16)."""

from __future__ import annotations

from collections.abc import Iterable

from gridtally_edge.transports.heard import NodeChanged
from gridtally_edge.transports.nodes import Node, NodeTable
from gridtally_shared.contract.messages import NodeState
from gridtally_shared.route import Route


class Routes:
    """A node that left, or waits for permission, is on no way."""

    def __init__(self) -> None:
        self._here: dict[tuple[str, str], NodeChanged] = {}

    def note(self, change: NodeChanged) -> None:
        if change.state is NodeState.JOINED:
            self._here[change.line, change.node] = change
        else:
            self._here.pop((change.line, change.node), None)

    def remember(self, line: str, nodes: Iterable[Node]) -> None:
        """The nodes of a line as they were before a restart: of those that stay where they are nothing is told again."""
        table, known = NodeTable(line), tuple(nodes)
        table.remember(known)
        for node in known:
            self.note(table.change_of(node))

    def route_to(self, dcu: str, line: str, address: str) -> Route:
        """Of a meter at an address of a line; a node's address is its lasting name."""
        here = self._here.get((line, address))
        if here is None:
            return Route(dcu, line, address)
        return Route(dcu, line, address, here.node, here.address, here.hops, self._above(here), here.quality)

    def _above(self, here: NodeChanged) -> tuple[str, ...]:
        """The nodes above it, up to the coordinator or to one of which nothing is known; a ring is not followed twice."""
        found: list[str] = []
        at: NodeChanged | None = here
        while at is not None and at.parent and at.parent not in (*found, here.node):
            found.append(at.parent)
            at = self._here.get((here.line, at.parent))
        return tuple(found)
