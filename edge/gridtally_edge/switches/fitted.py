"""A switch from its words in the registry, fitted to a meter's port.

    modbus-coil:unit=40,coil=2,feedback=2          relay of a Modbus board, normally closed contactor
    modbus-latching:unit=40,open_coil=2,close_coil=3,feedback=2,pulse_ms=200
    gpio:chip=/dev/gpiochip0,coil=17,feedback=27   relay on a line of this machine
    gpio-latching:chip=/dev/gpiochip0,open_coil=17,close_coil=18,feedback=27,pulse_ms=200

* A board must hang on the meter's own line: one conversation proves the meter and drives the coil.
* A meter that does not tell its serial number gets no switch: nothing could prove that it is the right house.
* Every wrong word is a ConfigError that says what to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from gridtally_edge.drivers.driver import Driver
from gridtally_edge.drivers.modbus_port import ModbusPort
from gridtally_edge.drivers.model import Capability, MeterPort
from gridtally_edge.switches.gpio import GpioChip, GpioOutputs
from gridtally_edge.switches.latching import LatchingSwitch
from gridtally_edge.switches.modbus_board import Board
from gridtally_edge.switches.model import NOT_THERE, FeedbackOn, Outputs, Switch
from gridtally_edge.switches.relay import RelaySwitch
from gridtally_edge.switches.switched_port import SwitchedPort
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

T = TypeVar("T")
KEY = "--switch"
SHORTEST_PULSE_MS, LONGEST_PULSE_MS = 20, 2_000


@dataclass(frozen=True, slots=True)
class BoardWords:
    """Common to the switches of a Modbus board. `line` may name the meter's line, never another."""

    unit: int
    feedback: int = NOT_THERE
    feedback_on: str = FeedbackOn.OPEN.value
    settle_ms: int = 100
    write_function: int = 15
    identity_register: int = NOT_THERE
    identity_value: int = 0
    watchdog_register: int = NOT_THERE
    watchdog_value: int = 0
    timeout_ms: int = 500
    retries: int = 2
    line: str = ""


@dataclass(frozen=True, slots=True)
class ChipWords:
    """Common to the switches on lines of this machine."""

    chip: str
    feedback: int = NOT_THERE
    feedback_on: str = FeedbackOn.OPEN.value
    settle_ms: int = 100
    active_low: int = 0


@dataclass(frozen=True, slots=True)
class RelayWords:
    coil: int


@dataclass(frozen=True, slots=True)
class LatchingWords:
    open_coil: int
    close_coil: int
    pulse_ms: int = 200


_KINDS: dict[str, tuple[type, type]] = {
    "modbus-coil": (BoardWords, RelayWords),
    "modbus-latching": (BoardWords, LatchingWords),
    "gpio": (ChipWords, RelayWords),
    "gpio-latching": (ChipWords, LatchingWords),
}


def with_switch(port: MeterPort, driver: Driver[Any], words: str, line: str) -> MeterPort:
    """The port with the switch that `words` describe; the port itself where there are none. `line` is the name of the
    meter's line. Raises ConfigError."""
    if not words:
        return port
    if Capability.SWITCH in port.capabilities:
        raise ConfigError(KEY, words, f"{driver.name} has a contactor of its own; leave the switch out")
    if isinstance(port, ModbusPort) and not port.tells_serial:
        raise ConfigError(KEY, words, f"{driver.name} does not tell its serial number, so nothing proves that the right house is cut")
    carrier, contacts = parsed(words)
    if isinstance(carrier, BoardWords):
        _check_line(words, carrier, driver, line)
    return SwitchedPort(port, _switch(carrier, contacts, words))


def board_name(words: BoardWords) -> str:
    """By what a line's health names the board when it is silent."""
    return Board(words.unit).name


def _check_line(words: str, board: BoardWords, driver: Driver[Any], line: str) -> None:
    if board.line not in ("", line):
        raise ConfigError(KEY, words, f"the board must hang on the meter's line {line}: one conversation proves the meter and switches")
    if not driver.protocol.startswith("modbus"):
        raise ConfigError(KEY, words, f"{driver.name} does not speak Modbus, and a board shares the meter's line; use gpio")


def parsed(words: str) -> tuple[BoardWords | ChipWords, RelayWords | LatchingWords]:
    """What carries the switch, and which of its outputs move it. Raises ConfigError."""
    kind, colon, rest = words.partition(":")
    if kind not in _KINDS or not colon:
        raise ConfigError(KEY, words, f"write one of {', '.join(_KINDS)}, ':' and key=value,key=value")
    given = dict(_pair(words, pair) for pair in rest.split(",") if pair)
    first, second = _KINDS[kind]
    known = [field.name for record in (first, second) for field in fields(record)]
    for key in given:
        if key not in known:
            raise ConfigError(KEY, words, f"{kind} knows no {key}; it knows {', '.join(known)}")
    return _record(first, words, given), _record(second, words, given)


def _pair(words: str, pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals:
        raise ConfigError(KEY, words, f"{pair!r} must be key=value")
    return key, value


def _record(record: type[T], words: str, given: Mapping[str, str]) -> T:
    kinds = get_type_hints(record)
    values: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]
        if field.name in given:
            values[field.name] = _whole(words, field.name, given[field.name]) if kinds[field.name] is int else given[field.name]
        elif field.default is MISSING:
            raise ConfigError(KEY, words, f"{field.name} is missing")
    return record(**values)


def _whole(words: str, key: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(KEY, words, f"{key} = {text!r} must be a whole number") from None


def _switch(carrier: BoardWords | ChipWords, contacts: RelayWords | LatchingWords, words: str) -> Switch:
    outputs = _outputs(carrier, words)
    feedback_on, settle_s = _feedback_on(carrier.feedback_on, words), carrier.settle_ms / 1_000
    if isinstance(contacts, RelayWords):
        return RelaySwitch(outputs, contacts.coil, carrier.feedback, feedback_on, settle_s)
    if carrier.feedback == NOT_THERE:
        raise ConfigError(KEY, words, "a latching contactor needs feedback=N: only its contact knows how it stands")
    if contacts.open_coil == contacts.close_coil:
        raise ConfigError(KEY, words, "open_coil and close_coil must be two coils")
    if not SHORTEST_PULSE_MS <= contacts.pulse_ms <= LONGEST_PULSE_MS:
        raise ConfigError(KEY, words, f"pulse_ms must lie within {SHORTEST_PULSE_MS} to {LONGEST_PULSE_MS}")
    pulse_s = contacts.pulse_ms / 1_000
    return LatchingSwitch(outputs, contacts.open_coil, contacts.close_coil, carrier.feedback, pulse_s, feedback_on, settle_s)


def _outputs(carrier: BoardWords | ChipWords, words: str) -> Outputs:
    if isinstance(carrier, ChipWords):
        return GpioOutputs(GpioChip(carrier.chip, bool(carrier.active_low)))
    if not 1 <= carrier.unit <= 247 or carrier.write_function not in (5, 15):
        raise ConfigError(KEY, words, "unit must lie within 1 to 247, and write_function be 5 or 15")
    return Board(
        carrier.unit, carrier.write_function, carrier.identity_register, carrier.identity_value,
        carrier.watchdog_register, carrier.watchdog_value, carrier.timeout_ms, carrier.retries,
    )  # fmt: skip


def _feedback_on(word: str, words: str) -> FeedbackOn:
    known: dict[str, FeedbackOn] = {state.value: state for state in FeedbackOn}
    if word not in known:
        raise ConfigError(KEY, words, f"feedback_on must be one of {', '.join(known)}")
    return known[word]
