"""Meter and DCU events: one table maps the IS 15959 code, the CIM end-device event code and our text.

`urgent` events travel in the urgent lane at once; the others in the live lane. Codes below 1000 are those of IS 15959;
codes from 1000 on are our own, for what only the DCU can see.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventType:
    code: int
    name: str
    cim: str
    urgent: bool
    text: str


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(7, "over_voltage", "3.26.38.93", False, "Voltage above the upper limit"),
    EventType(9, "low_voltage", "3.26.38.223", False, "Voltage below the lower limit"),
    EventType(51, "current_reversed", "3.12.93.219", True, "Current reversed"),
    EventType(67, "over_current", "3.26.6.93", False, "Current above the limit"),
    EventType(101, "power_failed", "3.26.0.47", True, "Power failed"),
    EventType(102, "power_restored", "3.26.0.216", True, "Power restored"),
    EventType(151, "clock_set", "3.36.114.24", False, "Meter clock set"),
    EventType(201, "magnet_on", "3.12.66.242", True, "Magnet near the meter"),
    EventType(202, "magnet_off", "3.12.66.28", False, "Magnet removed"),
    EventType(251, "cover_opened", "3.12.29.39", True, "Meter cover opened"),
    EventType(301, "supply_disconnected", "3.31.0.68", True, "Supply disconnected"),
    EventType(302, "supply_connected", "3.31.0.42", True, "Supply connected"),
    EventType(1001, "meter_silent", "3.1.0.159", False, "Meter does not answer"),
    EventType(1002, "meter_answers_again", "3.1.0.160", False, "Meter answers again"),
    EventType(1003, "serial_mismatch", "3.12.0.79", True, "Another meter answered at this address"),
    EventType(1004, "clock_skewed", "3.36.114.65", False, "Meter clock off"),
    EventType(1005, "register_went_back", "3.21.87.79", True, "Energy register went back"),
    EventType(1006, "use_while_open", "3.31.0.212", True, "Energy used behind an open switch"),
    EventType(1007, "switch_stuck", "3.31.0.79", True, "Switch did not follow its order"),
    EventType(1008, "low_balance", "3.20.22.150", False, "Balance below the warning threshold"),
    EventType(1009, "cut_held", "3.31.0.122", False, "A cut was due and held"),
    EventType(1010, "load_limit_exceeded", "3.15.261.139", True, "Load above the limit"),
    EventType(1011, "register_jumped", "3.21.87.93", True, "Energy register jumped beyond what is possible"),
    EventType(1012, "instrument_refused", "3.20.22.79", True, "Credit instrument refused"),
    EventType(1013, "switch_unordered", "3.31.0.24", True, "Switch moved without an order"),
    EventType(1014, "ledger_fault", "3.20.22.85", True, "Account journal does not agree with its mirror or itself"),
    EventType(1015, "command_refused", "3.12.0.85", True, "Command refused before its sender was known"),
)

BY_CODE: dict[int, EventType] = {e.code: e for e in EVENT_TYPES}
BY_NAME: dict[str, EventType] = {e.name: e for e in EVENT_TYPES}


def event_type(code: int) -> EventType:
    """The row of a code; an unknown code keeps its number and is not urgent."""
    return BY_CODE.get(code) or EventType(code, f"event_{code}", "3.0.0.0", False, f"Event {code}")
