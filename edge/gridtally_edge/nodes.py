"""The nodes of meshes and powerline networks from the command line: list, allow, forget. A running agent takes the white list
in within a second or two."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from gridtally_edge.config import EdgeConfig, load_config
from gridtally_edge.journal.nodes import NODES_FILE, NodeBook, NodeRow
from gridtally_edge.registry import Registry
from gridtally_edge.transports.coordinator import SCHEME
from gridtally_shared.contract.messages import NodeState
from gridtally_shared.errors import ConfigError


def list_nodes(config_file: Path, as_json: bool) -> int:
    config = load_config(config_file)
    rows = NodeBook(config.data_dir / NODES_FILE).rows()
    registry = _registry(config)
    allowed = {line: registry.allowed_nodes(line) for line in {row.line for row in rows}}
    if as_json:
        print(json.dumps([{**asdict(row), "state": _state(row), "allowed": row.node in allowed[row.line]} for row in rows], indent=1))
        return 0
    for row in rows:
        mark = "" if row.node in allowed[row.line] else "  not on the white list"
        where = f"address {row.address or '-':6} parent {row.parent or '-':6} {row.hops} hops  quality {row.quality:3}"
        print(f"{row.line}/{row.node:18} {_state(row):8} {where}  {_seen(row)}  {row.serial or '(meter not read)'}{mark}")
    if not rows:
        print("no nodes yet; a line with device modem:///dev/... lists its own when the agent runs")
    return 0


def allow_node(config_file: Path, name: str) -> int:
    config = load_config(config_file)
    line, node = _parts(config, name)
    _registry(config).allow_node(line, node)
    print(f"{node} is allowed on line {line}")
    return 0


def forget_node(config_file: Path, name: str) -> int:
    config = load_config(config_file)
    line, node = _parts(config, name)
    registry = _registry(config)
    meter = next((m for m in registry.meters() if m.line == line and m.place.node == node), None)
    if meter is not None:
        raise ConfigError("node", name, f"a meter is read through it; 'gridtally-dcu meter remove {meter.key}' first")
    if not registry.forget_node(line, node):
        raise ConfigError("node", name, "it is not on the white list; 'gridtally-dcu nodes list' shows the nodes")
    print(f"{node} is no longer allowed on line {line}")
    return 0


def _parts(config: EdgeConfig, name: str) -> tuple[str, str]:
    line, slash, node = name.partition("/")
    lines = {s.name for s in config.lines if s.device.startswith(SCHEME)}
    if not slash or not node or line not in lines:
        raise ConfigError("node", name, f"write LINE/NODE; lines with a coordinator: {', '.join(sorted(lines)) or 'none'}")
    return line, node


def _state(row: NodeRow) -> str:
    return NodeState(row.state).name.lower()


def _seen(row: NodeRow) -> str:
    if not row.seen_ms:
        return "never seen yet      "
    return "seen " + datetime.fromtimestamp(row.seen_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%MZ")


def _registry(config: EdgeConfig) -> Registry:
    config.data_dir.mkdir(parents=True, exist_ok=True)
    return Registry(config.registry_file)
