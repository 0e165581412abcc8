"""What a meter tells and takes, whatever its protocol: the vocabulary between drivers, poller, journal and prepay."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared.meter_settings import AnySetting, ResetKind, SettingKind
from gridtally_shared.records import dataclass

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
    SET_CLOCK = "set_clock"
    DAILY = "daily"
    BILLING = "billing"
    NAME_PLATE = "name_plate"
    SETTINGS = "settings"
    RESET = "reset"
    DIAGNOSTICS = "diagnostics"
    LOAD_SIDE = "load_side"
    STATUS_WORD = "status_word"
    FIRMWARE = "firmware"
    TOKENS = "tokens"


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


@dataclass(frozen=True, slots=True)
class NamePlate:
    """What the meter says it is; an empty text where it does not say."""

    serial: str
    maker: str = ""
    model: str = ""
    firmware: str = ""
    category: str = ""
    current_rating: str = ""
    year: str = ""
    device_id: str = ""


@dataclass(frozen=True, slots=True)
class TokenSeen:
    """What a meter's token gateway holds: whether the token is the one asked for, whether it holds none at all, when it was
    entered by the meter's clock (0: not told), the status and the data value as bits (instruments/token.py)."""

    ours: bool
    empty: bool
    entered_ms: int
    status: int
    data: str


class DiagnosticState(Enum):
    PASSED = 0
    FAILED = 1
    NOT_RUN = 2


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One check of the meter's own: `check` names it (checksum, memory, metrology, time_sync, push, han, consistency ...)."""

    check: str
    state: DiagnosticState
    at_ms: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a meter sent unasked, decoded. `setup` names the push (its OBIS code; "" for a radio telegram) and `clock_ms` the
    meter's own time of it (None: it told none): with the serial they are the key that makes repeats harmless. `daily` and
    `billing` are registers at the row stamps of those profiles. `replayed`: its protection says that it, or a later one, was
    heard before; it says nothing else then."""

    serial: str
    setup: str
    clock_ms: int | None
    readings: tuple[Reading, ...] = ()
    intervals: tuple[Reading, ...] = ()
    events: tuple[MeterEvent, ...] = ()
    daily: tuple[Reading, ...] = ()
    billing: tuple[Reading, ...] = ()
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Recharge:
    """The last top-up, when it came, and the balance after it."""

    amount_nano: int
    at_ms: int
    total_nano: int


@dataclass(frozen=True, slots=True)
class Face:
    """What a meter's own display is to show: a balance and the moment it held, a line of text in ASCII, the last top-up where one is
    known."""

    balance_nano: int
    at_ms: int
    text: str = ""
    recharge: Recharge | None = None


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

    def write_face(self, face: Face) -> Conversation[None]:
        """Show it, and read it back. Raises MeterFault where the meter then shows something else. A meter without a line of text shows
        the figures it has objects for."""
        ...

    def write_clock(self, utc_ms: int) -> Conversation[None]: ...

    def read_daily(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        """Registers at the meter's day boundaries within from_ms..to_ms, the end excluded."""
        ...

    def read_billing(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        """Registers and maximum demands at the meter's billing moments within from_ms..to_ms, the end excluded."""
        ...

    def read_name_plate(self) -> Conversation[NamePlate]: ...

    def read_status_word(self, now: Now) -> Conversation[tuple[MeterEvent, ...]]:
        """What stands in the meter's status word now, as events at `now`."""
        ...

    def arms_on_close(self) -> Conversation[bool]:
        """Whether a close from afar only arms, and the button at the meter closes."""
        ...

    def read_load_side(self) -> Conversation[int | None]:
        """Voltage behind the switch in mV; None where the meter can not tell it at this moment."""
        ...

    def read_setting(self, kind: SettingKind) -> Conversation[AnySetting]: ...

    def write_setting(self, setting: AnySetting) -> Conversation[None]: ...

    def reset(self, kind: ResetKind) -> Conversation[None]: ...

    def read_diagnostics(self) -> Conversation[tuple[Diagnostic, ...]]: ...

    def run_diagnostics(self) -> Conversation[None]: ...

    def read_token(self, digits: str) -> Conversation[TokenSeen]: ...

    def enter_token(self, digits: str) -> Conversation[None]: ...
