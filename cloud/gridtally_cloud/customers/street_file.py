"""The street file, as the cloud reads it: which meters there are and which protocol each speaks.

The same file runs the simulated street (`gridtally-dcu simulate --street`); only lines and meters matter here. TOML or
JSON by its ending. What is wrong is a `ConfigError` that names the key.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

DRIVERS = {
    "dlms": "is15959", "modbus": "eastron-sdm230", "modbus-tcp": "eastron-sdm230", "mesh": "is15959", "coordinator": "is15959",
    "iec62056-21": "iec62056-21", "mbus": "mbus", "wmbus": "wmbus", "p1": "p1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreetMeter:
    """`has_switch`: its supply can be cut."""

    serial: str
    line: str
    driver: str
    has_switch: bool


def read_street(path: Path) -> tuple[StreetMeter, ...]:
    """The meters of a street file, in its order. Raises ConfigError."""
    raw = _content(path)
    lines = {_text(row, "lines", "name"): _text(row, "lines", "protocol") for row in _rows(raw, "lines")}
    return tuple(_meter(row, lines) for row in _rows(raw, "meters"))


def _content(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError("street", str(path), f"{error.strerror}: name a readable file") from None
    except ValueError as error:
        raise ConfigError("street", str(path), f"not valid {path.suffix.lstrip('.') or 'TOML'}: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError("street", str(path), "needs the tables lines and meters")
    return raw


def _rows(raw: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = raw.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(name, rows, f"write the {name} as a list of tables")
    return rows


def _text(row: dict[str, Any], table: str, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{table}.{name}", value, "write a text")
    return value


def _meter(row: dict[str, Any], lines: dict[str, str]) -> StreetMeter:
    line = _text(row, "meters", "line")
    protocol = lines.get(line)
    if protocol not in DRIVERS:
        raise ConfigError("meters.line", line, f"its line must exist and speak one of: {', '.join(DRIVERS)}")
    driver = row.get("profile") or DRIVERS[protocol]
    has_switch = row.get("contactor", "works") != "none" or bool(row.get("switch"))
    return StreetMeter(_text(row, "meters", "serial"), line, driver, has_switch)
