"""What a line with many addressed meters needs to know beyond its device name.

* `in_flight`: conversations at once. G3-PLC and PRIME carry a few kbit/s for a whole network, so 1 to 3; an operator's
  IPv6 network takes hundreds.
* `hop_ms` is added to each time-out for every hop between us and the meter.
* `idle_s`: an unused TCP connection is closed, since many meters take only one and a field tool may want it.
* `push_port`: UDP and TCP port for what meters send unasked, 0 for none; `push_per_s` messages are taken from one source.
"""

from __future__ import annotations

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

MOST_IN_FLIGHT = 1_000


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """`codec` and `mtu` (0: the modem's own) are for coordinators; `white_list` keeps unknown nodes waiting."""

    in_flight: int = 3
    hop_ms: int = 500
    idle_s: float = 60.0
    push_port: int = 0
    push_host: str = "::"
    push_per_s: int = 10
    codec: str = "framed"
    mtu: int = 0
    white_list: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.in_flight <= MOST_IN_FLIGHT:
            raise ConfigError("line.in_flight", self.in_flight, f"write 1 to {MOST_IN_FLIGHT}; 1 to 3 for powerline and radio")
        if not 0 <= self.hop_ms <= 60_000:
            raise ConfigError("line.hop_ms", self.hop_ms, "write 0 to 60000")
        if not 0 <= self.push_port < 65_536:
            raise ConfigError("line.push_port", self.push_port, "write a port number, 4059 for DLMS, or 0 for none")
        if self.push_per_s < 1:
            raise ConfigError("line.push_per_s", self.push_per_s, "write at least 1")
        if self.codec not in ("framed", "at"):
            raise ConfigError("line.codec", self.codec, "write framed or at")
        if self.mtu and not 16 <= self.mtu <= 1_000:
            raise ConfigError("line.mtu", self.mtu, "write 0 (the modem's own) or 16 to 1000")
