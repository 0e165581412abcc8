"""Outputs and inputs of the machine itself, through the kernel's GPIO character device (uAPI version 2).

* A line is asked for once, an output with the value "not driven", and kept: the kernel gives it back when the process
  ends, however it ends. What a line does after that is the pin controller's affair: some fall back to an input, which the
  relay's pull resistor turns into "not driven", others keep the last level until the machine is reset. A machine that
  keeps it needs a hardware watchdog that resets it.
* Active means driven; `active_low` turns the level round for boards that want it.
* Never met hardware: the encoding is checked against the kernel's own header, the rest by hand of whoever builds it in.

Source: Linux include/uapi/linux/gpio.h, GPIO_V2_*.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import field

from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

GET_LINE_IOCTL = 0xC250B407
GET_VALUES_IOCTL = 0xC010B40E
SET_VALUES_IOCTL = 0xC010B40F
FLAG_ACTIVE_LOW = 1 << 1
FLAG_INPUT = 1 << 2
FLAG_OUTPUT = 1 << 3
FLAG_PULL_DOWN = 1 << 9
ATTRIBUTE_OUTPUT_VALUES = 2
MOST_LINES, MOST_ATTRIBUTES = 64, 10
CONSUMER = b"gridtally"

_CONFIG = "QI20x" + MOST_ATTRIBUTES * "IIQQ"
LINE_REQUEST = struct.Struct(f"={MOST_LINES}I32s{_CONFIG}II20xi")
LINE_VALUES = struct.Struct("=QQ")


def line_request(offset: int, flags: int) -> bytes:
    """`struct gpio_v2_line_request` for one line; an output begins as not driven."""
    offsets = (offset, *(MOST_LINES - 1) * (0,))
    first = (ATTRIBUTE_OUTPUT_VALUES, 0, 0, 1) if flags & FLAG_OUTPUT else (0, 0, 0, 0)
    attributes = (*first, *(MOST_ATTRIBUTES - 1) * (0, 0, 0, 0))
    return LINE_REQUEST.pack(*offsets, CONSUMER, flags, 1 if flags & FLAG_OUTPUT else 0, *attributes, 1, 0, 0)


def requested_descriptor(answer: bytes) -> int:
    """The descriptor the kernel put into the request."""
    return int(LINE_REQUEST.unpack(answer)[-1])


@dataclass(slots=True)
class GpioChip:
    """The lines of one chip that this process holds. `path` is a device such as /dev/gpiochip0."""

    path: str
    active_low: bool = False
    _held: dict[int, int] = field(default_factory=dict)

    def drive(self, line: int, on: bool) -> None:
        """Raises MeterFault when the kernel says no."""
        self._values(SET_VALUES_IOCTL, self._hold(line, self._output_flags()), on)

    def driven(self, line: int) -> bool:
        return self._values(GET_VALUES_IOCTL, self._hold(line, self._output_flags()), False)

    def sees(self, line: int) -> bool:
        """An input, pulled down so that a broken wire reads as off."""
        return self._values(GET_VALUES_IOCTL, self._hold(line, FLAG_INPUT | FLAG_PULL_DOWN), False)

    def close(self) -> None:
        """Give the lines back."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _output_flags(self) -> int:
        return FLAG_OUTPUT | (FLAG_ACTIVE_LOW if self.active_low else 0)

    def _hold(self, line: int, flags: int) -> int:
        if line not in self._held:
            self._held[line] = self._ask(line, flags)
        return self._held[line]

    def _ask(self, line: int, flags: int) -> int:
        try:
            chip = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise MeterFault(f"the GPIO chip {self.path} can not be opened: {error.strerror}") from error
        try:
            return requested_descriptor(fcntl.ioctl(chip, GET_LINE_IOCTL, line_request(line, flags)))
        except OSError as error:
            raise MeterFault(f"line {line} of {self.path} is not to be had: {error.strerror}; who else holds it?") from error
        finally:
            os.close(chip)

    def _values(self, request: int, descriptor: int, on: bool) -> bool:
        try:
            answer = fcntl.ioctl(descriptor, request, LINE_VALUES.pack(int(on), 1))
        except OSError as error:
            raise MeterFault(f"a line of {self.path} does not work: {error.strerror}") from error
        return bool(LINE_VALUES.unpack(answer)[0] & 1)


@dataclass(frozen=True, slots=True)
class GpioOutputs:
    """A chip as the `Outputs` of a switch."""

    chip: GpioChip

    def prove(self) -> Conversation[None]:
        yield from ()

    def guard(self) -> Conversation[None]:
        yield from ()

    def coil(self, coil: int) -> Conversation[bool]:
        yield from ()
        return self.chip.driven(coil)

    def contact(self, contact: int) -> Conversation[bool]:
        yield from ()
        return self.chip.sees(contact)

    def drive(self, coil: int, on: bool) -> Conversation[None]:
        yield from ()
        self.chip.drive(coil, on)
