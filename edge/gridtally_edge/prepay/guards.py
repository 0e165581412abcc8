"""What a command must pass before it is carried out: its number, its time, its class. Pure.

* Counters rise per key. Critical commands must be above every critical one before; the others fit a window of 64, each
  number once. A counter test never comes before the look-up of the cmd_id (a resent command gets its stored receipt).
* Expiry counts from not-before and is capped per type. Without a believed clock a critical command is refused, the
  others run: reading and restoring are the safe direction. What is for a later time is held until there is one.

Source: reliability-security.md 5; safety.md 14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from gridtally_edge.prepay.clocktrust import ClockVerdict
from gridtally_edge.prepay.rows import CounterRow
from gridtally_shared.contract.messages import ClockState, Command, CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.lifecycle import COMMAND_RULES, HOUR_MS, Reason, SafetyClass
from gridtally_shared.meter_settings import READ_ONLY, ResetKind, SettingKind, unpacked

WINDOW = 64
MOST_MS: dict[CommandType, int] = {t: ttl for t, (_, _, ttl) in COMMAND_RULES.items()} | {CommandType.SWITCH_OPEN: HOUR_MS}


def class_of(command: Command) -> SafetyClass:
    """By its type, whatever it says of itself."""
    return COMMAND_RULES[CommandType(command.type)][0]


def counted(row: CounterRow, counter: int, safety: SafetyClass) -> CounterRow | None:
    """The guard after this number, or None when it is overtaken or used."""
    if counter < 1 or (safety is SafetyClass.CRITICAL and counter <= row.highest_critical):
        return None
    bitmap = int(row.bitmap, 16)
    if counter > row.highest:
        bitmap = (bitmap << min(WINDOW, counter - row.highest) | 1) & (2**WINDOW - 1)
    else:
        place = 1 << (row.highest - counter)
        if row.highest - counter >= WINDOW or bitmap & place:
            return None
        bitmap |= place
    critical = max(row.highest_critical, counter if safety is SafetyClass.CRITICAL else 0)
    return replace(row, highest=max(row.highest, counter), bitmap=f"{bitmap:x}", highest_critical=critical)


class Timing(Enum):
    EARLY = "early"
    NOW = "now"
    LATE = "late"
    HELD = "held"


def is_scheduled(command: Command) -> bool:
    """Whether it was ordered for a later time than the one it was ordered at."""
    return command.not_before_ms > command.issued_at_ms


def expiry_ms(command: Command) -> int:
    most_ms = MOST_MS.get(CommandType(command.type), 0)
    return min(command.expires_ms, command.not_before_ms + most_ms)


def timing(command: Command, safety: SafetyClass, now_ms: int, clock: ClockVerdict) -> Timing | Reason:
    """Where `now` lies in the command's window; in HOLDOVER for the whole uncertainty where the command is critical."""
    critical = safety is SafetyClass.CRITICAL
    slack_ms = clock.uncertainty_ms if clock.state is ClockState.HOLDOVER else 0
    if clock.state is ClockState.UNTRUSTED:
        if is_scheduled(command):
            return Timing.HELD
        return Reason.CLOCK_UNTRUSTED if critical else Timing.NOW
    earliest_ms, latest_ms = (now_ms - slack_ms, now_ms + slack_ms) if critical else (now_ms, now_ms - slack_ms)
    if latest_ms > expiry_ms(command):
        return Timing.LATE
    return Timing.EARLY if earliest_ms < command.not_before_ms else Timing.NOW


def is_well_formed(command: Command) -> bool:
    """Whether its settings and kinds are ones we know, before anything is asked of the meter."""
    try:
        shape = _SHAPES.get(CommandType(command.type))
        return shape is None or shape(command)
    except (ContractError, ValueError):
        return False


def _writable(command: Command) -> bool:
    for setting in command.settings:
        unpacked(setting)
    return bool(command.settings) and not any(s.kind in READ_ONLY for s in command.settings)


_SHAPES: dict[CommandType, Callable[[Command], bool]] = {
    CommandType.READ_SETTINGS: lambda c: bool([SettingKind(s.kind) for s in c.settings]),
    CommandType.WRITE_SETTINGS: _writable,
    CommandType.RESET: lambda c: bool(ResetKind(c.reset)),
}
"""ValueError and ContractError count as no."""
