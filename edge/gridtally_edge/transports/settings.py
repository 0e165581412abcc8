"""What a line needs to know: port, speed, echo, gaps. Values in, no behaviour.

* `device` is a path (prefer /dev/serial/by-id/... or by-path: ttyUSB numbers change) or `tcp://host:port` or
  `modbus-tcp://host:port`.
* A character takes 1 start bit, the data bits, parity and stop bits; Modbus wants 3.5 characters of silence before a
  request, fixed at 1.75 ms above 19200 baud (MODBUS over Serial Line 1.02, 2.5.1.1).
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from gridtally_edge.transports.ip_settings import NetworkSettings
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

PARITIES = ("N", "E", "O")
SILENCE_CHARACTERS = 3.5
FIXED_SILENCE_S = 0.00175
FIXED_ABOVE_BAUD = 19_200
MAX_GAP_S = 0.050


class Rs485(Enum):
    """Who turns the driver round: nobody (the adapter does), the kernel, we with RTS, or the kernel if it can."""

    NONE = "none"
    AUTO = "auto"
    KERNEL = "kernel"
    RTS = "rts"


class Echo(Enum):
    """Whether the adapter hears its own request: found out by itself, always, or never."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Speed:
    """Line coding of one device group. `baud` 0 means a line without bit timing (TCP)."""

    baud: int = 9_600
    data_bits: int = 8
    parity: str = "N"
    stop_bits: int = 1

    def __post_init__(self) -> None:
        if self.baud < 0:
            raise ConfigError("line.baud", self.baud, "give the meter's baud rate, for example 9600")
        if self.parity not in PARITIES:
            raise ConfigError("line.parity", self.parity, "write N, E or O")
        if self.data_bits not in (7, 8) or self.stop_bits not in (1, 2):
            raise ConfigError("line.data_bits", self.data_bits, "7 or 8 data bits and 1 or 2 stop bits")

    @property
    def bits_per_character(self) -> int:
        return 1 + self.data_bits + (self.parity != "N") + self.stop_bits

    @property
    def character_s(self) -> float:
        return self.bits_per_character / self.baud if self.baud else 0.0

    @property
    def silence_s(self) -> float:
        if not self.baud:
            return 0.0
        return FIXED_SILENCE_S if self.baud > FIXED_ABOVE_BAUD else SILENCE_CHARACTERS * self.character_s

    def __str__(self) -> str:
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits}" if self.baud else "no bit timing"


@dataclass(frozen=True, slots=True)
class LineSettings:
    """One physical line.

    `gap_ms` lengthens the silence before every request (slow slaves), 0 keeps 3.5 characters; `change_gap_ms` the silence
    before another device is addressed, 0 makes it twice the line's. `grant_s` is how long a conversation keeps the line
    while others of its rank wait. `receive_timeout_s` is the pause a line that only listens allows between bytes.
    """

    name: str
    device: str
    speed: Speed = field(default_factory=Speed)
    echo: Echo = Echo.AUTO
    gap_ms: float = 0.0
    reopen_first_s: float = 1.0
    reopen_longest_s: float = 60.0
    rs485: Rs485 = Rs485.NONE
    change_gap_ms: float = 0.0
    grant_s: float = 10.0
    receive_timeout_s: float = 4.5
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def gap_s(self, speed: Speed) -> float:
        return max(speed.silence_s, self.gap_ms / 1000)

    def change_gap_s(self, speed: Speed) -> float:
        """Silence before a device that was not the last one addressed."""
        return max(2 * self.gap_s(speed), self.change_gap_ms / 1000)
