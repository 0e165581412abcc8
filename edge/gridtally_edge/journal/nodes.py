"""The nodes of the networks, kept over a restart in `nodes.json` beside the registry: small, human-readable, never growing.

* The agent alone writes it: when a node's place has changed, and every `REFRESH_S` for quality and last sign of life. The
  white list is a person's and stands in the registry.
* A node that is away keeps its row and its meter's serial.
* A file that can not be read is taken for an empty one: the modems list their nodes again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from gridtally_edge.registry import AtomicJson
from gridtally_edge.transports.nodes import Node
from gridtally_shared.contract.messages import NodeState
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

NODES_FILE = "nodes.json"
REFRESH_S = 600.0


@dataclass(frozen=True, slots=True)
class NodeRow:
    """`state` is a NodeState's number; `seen_ms` UTC, 0: not since it was first written down."""

    line: str
    node: str
    state: int
    address: str = ""
    parent: str = ""
    hops: int = 0
    quality: int = 0
    seen_ms: int = 0
    serial: str = ""

    def as_node(self) -> Node:
        return Node(self.node, NodeState(self.state), self.address, self.parent, self.hops, self.quality)


class NodeBook:
    """Rows by line and node. `take` and `save` belong to one thread."""

    def __init__(self, path: Path) -> None:
        self._file = AtomicJson(path)
        self._rows = {(row.line, row.node): row for row in _read(self._file)}
        self._saved: dict[tuple[str, str], NodeRow] = {}
        self._saved_s = float("-inf")

    def rows(self, line: str = "") -> tuple[NodeRow, ...]:
        """Of one line, or of all."""
        return tuple(row for row in self._rows.values() if line in ("", row.line))

    def take(self, line: str, nodes: Iterable[Node], serials: Mapping[str, str], now_ms: int, mono_s: float) -> None:
        """What a line knows now; `serials` by node, as far as they were read."""
        for node in nodes:
            before = self._rows.get((line, node.node))
            seen_ms = now_ms - int(max(0.0, mono_s - node.seen_s) * 1_000) if node.seen_s else (before.seen_ms if before else 0)
            serial = serials.get(node.node) or (before.serial if before else "")
            self._rows[line, node.node] = NodeRow(
                line, node.node, int(node.state), node.address, node.parent, node.hops, node.quality, seen_ms, serial
            )

    def save(self, mono_s: float) -> bool:
        """Write the file when a place has changed, or when it is old."""
        places = {key: replace(row, quality=0, seen_ms=0) for key, row in self._rows.items()}
        if places == self._saved and mono_s - self._saved_s < REFRESH_S:
            return False
        rows = {str(number): asdict(row) for number, row in enumerate(self._rows.values(), start=1)}
        self._file.write({"nodes": rows})
        self._saved, self._saved_s = places, mono_s
        return True


def _read(file: AtomicJson) -> list[NodeRow]:
    try:
        stored = (file.read() or {}).get("nodes", {})
        names = {field.name for field in fields(NodeRow)}
        return [_row({key: value for key, value in row.items() if key in names}) for row in stored.values()]
    except (ConfigError, TypeError, AttributeError, ValueError, KeyError):
        return []


def _row(values: Mapping[str, Any]) -> NodeRow:
    return replace(NodeRow(**values), state=int(NodeState(values["state"])))
