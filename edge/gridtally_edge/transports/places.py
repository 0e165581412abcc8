"""Where and how a meter is reached on its line: host and port on IP, a node of a coordinator, its own coding on a bus.

* The words stand among the meter's settings in the registry and are the line's, not the driver's: `host`, `port`,
  `over` (udp or tcp, the line's own where it is empty), `hops` (for time-outs, where nothing else tells them), `node`.
* On a bus a meter may have its own `baud`, `data_bits`, `parity` and `stop_bits`, and `gap_ms`: the silence it wants before
  every request.
* Hosts are numeric, IPv4 or IPv6, with a scope for link-local ones (`fe80::1%eth0`): a mesh has no name server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gridtally_edge.transports.settings import Speed
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

DLMS_PORT = 4059
TRANSPORTS = ("", "udp", "tcp")
PLACE_KEYS = frozenset({"host", "port", "over", "hops", "node"})
CODING_KEYS = ("baud", "data_bits", "parity", "stop_bits")
BUS_KEYS = frozenset({*CODING_KEYS, "gap_ms"})
LONGEST_GAP_MS = 1_000


@dataclass(frozen=True, slots=True)
class Place:
    """All empty: the meter is wherever its line ends, as on a serial bus."""

    host: str = ""
    port: int = DLMS_PORT
    over: str = ""
    hops: int = 0
    node: str = ""
    speed: Speed | None = None
    gap_ms: float = 0.0

    @property
    def has_address(self) -> bool:
        return bool(self.host or self.node or self.over or self.hops)

    def __str__(self) -> str:
        if self.node:
            return self.node
        if not self.host:
            return ""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


NOWHERE = Place()


def place_of(settings: Mapping[str, Any]) -> Place:
    """The place among a meter's settings. Raises ConfigError for a wrong type or value."""
    words = {key: settings[key] for key in PLACE_KEYS if key in settings}
    for key, value in words.items():
        wanted = int if key in ("port", "hops") else str
        if type(value) is not wanted:
            raise ConfigError(key, value, f"write {'a whole number' if wanted is int else 'text'}")
    place = Place(**words, speed=_speed(settings), gap_ms=_gap_ms(settings))
    if not 0 < place.port < 65_536:
        raise ConfigError("port", place.port, "write a port number from 1 to 65535; DLMS has 4059")
    if place.over not in TRANSPORTS:
        raise ConfigError("over", place.over, "write udp or tcp")
    if not 0 <= place.hops <= 64:
        raise ConfigError("hops", place.hops, "write how many radio or powerline hops away it is, 0 to 64")
    return place


def driver_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A meter's settings without those of its place: what its driver understands."""
    return {key: value for key, value in settings.items() if key not in PLACE_KEYS and key not in BUS_KEYS}


def _speed(settings: Mapping[str, Any]) -> Speed | None:
    words = {key: settings[key] for key in CODING_KEYS if key in settings}
    for key, value in words.items():
        wanted = str if key == "parity" else int
        if type(value) is not wanted:
            raise ConfigError(key, value, "write N, E or O" if wanted is str else "write a whole number")
    return Speed(**words) if words else None


def _gap_ms(settings: Mapping[str, Any]) -> float:
    value = settings.get("gap_ms", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_GAP_MS:
        raise ConfigError("gap_ms", value, f"write milliseconds, 0 to {LONGEST_GAP_MS}")
    return float(value)
