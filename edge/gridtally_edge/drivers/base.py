"""A port that can do nothing yet: drivers take it as their base and write only what their meter can do.

* Every method outside a driver's `capabilities` refuses with "unsupported" and says what is missing.
* `open` and `close` frame nothing, the switch is not fitted: right for Modbus and M-Bus meters as they are.
"""

from __future__ import annotations

from typing import NoReturn

from gridtally_edge.drivers.model import (
    Capability,
    Diagnostic,
    Face,
    MeterEvent,
    NamePlate,
    Now,
    Reading,
    SwitchState,
    TokenSeen,
)
from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import AnySetting, ResetKind, SettingKind


def refuse(what: str) -> Conversation[NoReturn]:
    """A conversation that says that the meter has no such thing."""
    yield from ()
    raise RefusedCommand(Reason.UNSUPPORTED, what)


class BasePort:
    capabilities: frozenset[Capability] = frozenset()
    interval_s: int = 0

    def open(self) -> Conversation[None]:
        yield from ()

    def close(self) -> Conversation[None]:
        yield from ()

    def read_serial(self) -> Conversation[str]:
        return (yield from refuse("no serial number"))

    def read_instant(self, now: Now) -> Conversation[tuple[Reading, ...]]:
        return (yield from refuse("no momentary values"))

    def read_intervals(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        return (yield from refuse("no load profile"))

    def read_events(self, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        return (yield from refuse("no event log"))

    def read_clock(self) -> Conversation[int]:
        return (yield from refuse("no clock"))

    def write_clock(self, utc_ms: int) -> Conversation[None]:
        yield from refuse("no clock to set")

    def read_switch(self) -> Conversation[SwitchState]:
        yield from ()
        return SwitchState.NOT_FITTED

    def open_switch(self) -> Conversation[None]:
        yield from refuse("no contactor in the meter")

    def close_switch(self) -> Conversation[None]:
        yield from refuse("no contactor in the meter")

    def arms_on_close(self) -> Conversation[bool]:
        yield from ()
        return False

    def read_load_side(self) -> Conversation[int | None]:
        return (yield from refuse("no voltage behind the switch"))

    def write_face(self, face: Face) -> Conversation[None]:
        yield from refuse("no display for a balance")

    def read_daily(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        return (yield from refuse("no daily profile"))

    def read_billing(self, from_ms: int, to_ms: int) -> Conversation[tuple[Reading, ...]]:
        return (yield from refuse("no billing profile"))

    def read_name_plate(self) -> Conversation[NamePlate]:
        return (yield from refuse("no name plate"))

    def read_status_word(self, now: Now) -> Conversation[tuple[MeterEvent, ...]]:
        return (yield from refuse("no status word"))

    def read_setting(self, kind: SettingKind) -> Conversation[AnySetting]:
        return (yield from refuse(f"no setting {kind.name.lower()}"))

    def write_setting(self, setting: AnySetting) -> Conversation[None]:
        yield from refuse(f"no setting {type(setting).__name__}")

    def reset(self, kind: ResetKind) -> Conversation[None]:
        yield from refuse(f"no reset of {kind.name.lower()}")

    def read_diagnostics(self) -> Conversation[tuple[Diagnostic, ...]]:
        return (yield from refuse("no diagnostics"))

    def run_diagnostics(self) -> Conversation[None]:
        yield from refuse("no diagnostics")

    def read_token(self, digits: str) -> Conversation[TokenSeen]:
        return (yield from refuse("no token gateway"))

    def enter_token(self, digits: str) -> Conversation[None]:
        yield from refuse("no token gateway")
