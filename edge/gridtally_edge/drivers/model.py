"""What a meter tells and takes, whatever its protocol: the vocabulary between drivers, poller, journal and prepay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gridtally_edge.protocols.conversation import Conversation

Now = Callable[[], int]
"""Gives UTC in milliseconds at the moment it is called."""


class SwitchState(Enum):
    """Output state of the supply switch as the meter reports it (IEC 62056-6-2 class 70, attribute 3)."""

    OPEN = 0
    CLOSED = 1
    ARMED = 2
    NOT_FITTED = 3
    UNKNOWN = 4


class Capability(Enum):
    LOAD_PROFILE = "load_profile"
    EVENTS = "events"
    SWITCH = "switch"
    CLOCK = "clock"
    BALANCE_DISPLAY = "balance_display"


@dataclass(frozen=True, slots=True)
class Reading:
    """One value. `quantity` is a code of `gridtally_shared.quantities`, `value` an integer at its exponent, `at_ms` the
    moment of the value (INSTANT, REGISTER) or the START of its interval (INTERVAL), `quality` flags of `Quality`."""

    quantity: int
    at_ms: int
    value: int
    quality: int = 0


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """An entry of a meter's event log; `code` is a code of `gridtally_shared.events`."""

    code: int
    at_ms: int
    detail: str = ""


class MeterPort(Protocol):
    """One meter on one line. Every method is a conversation; `open` and `close` frame the others (an association for
    DLMS, nothing for Modbus). A method outside `capabilities` raises RefusedCommand("unsupported")."""

    capabilities: frozenset[Capability]
    interval_s: int

    def open(self) -> Conversation[None]: ...

    def close(self) -> Conversation[None]: ...

    def read_serial(self) -> Conversation[str]: ...

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]: ...

    def read_intervals(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]: ...

    def read_events(self, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]: ...

    def read_clock(self) -> Conversation[int]: ...

    def read_switch(self) -> Conversation[SwitchState]: ...

    def open_switch(self) -> Conversation[None]: ...

    def close_switch(self) -> Conversation[None]: ...

    def write_balance(self, amount_nano: int, at_ms: int) -> Conversation[None]: ...
