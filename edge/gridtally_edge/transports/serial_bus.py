"""A serial line (RS-485, RS-232, optical head): pyserial opens, configures and locks the port, bytes go through its
file descriptor.

* The port is locked (flock) while it is open; a second program is told so instead of mixing its bytes with ours.
* Name ports by /dev/serial/by-id/... or by-path: ttyUSB numbers change when an adapter is plugged in again.
* Where the adapter does not turn an RS-485 driver round by itself, `rs485` says who does.
* What may pass by itself (no such device, busy) is LinkDown; what needs a person (permission, not a serial port, no
  such speed) is ConfigError. Both say what to do.
"""

from __future__ import annotations

import errno
import logging
import termios
from functools import partial

import serial

from gridtally_edge.transports.line import Line
from gridtally_edge.transports.port_names import advice_on_name, holder_of
from gridtally_edge.transports.rs485 import Direction
from gridtally_edge.transports.settings import LineSettings, Rs485, Speed
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_edge.transports.talker import Talker
from gridtally_shared.errors import ConfigError, LinkDown

_REMEDIES: dict[int, str] = {
    errno.EACCES: "no permission: add the user of the service to the group of the device (usually dialout)",
    errno.EPERM: "no permission: add the user of the service to the group of the device (usually dialout)",
    errno.ENOTTY: "not a serial port: name a serial device, best by its path below /dev/serial/by-id",
    errno.EISDIR: "a directory, not a serial port: name a serial device",
    errno.EINVAL: "the adapter does not know this speed or format: check baud, parity and stop bits",
}
_PASSING: dict[int, str] = {
    errno.ENOENT: "no such device: plug the adapter in, or correct the name in the line's settings",
    errno.ENXIO: "the device is not there: plug the adapter in",
    errno.ENODEV: "the device is not there: plug the adapter in",
    errno.EIO: "the adapter answers with an I/O error: unplug it and plug it in again",
}
_BUSY = frozenset({errno.EAGAIN, errno.EBUSY})

log = logging.getLogger("gridtally.line")


class SerialLink:
    """A `ByteLink` on a serial device."""

    def __init__(self, settings: LineSettings) -> None:
        self._device = settings.device
        self._key = f"line.{settings.name}.device"
        self._rs485 = settings.rs485
        self._port: serial.Serial | None = None
        self._direction: Direction | None = None

    def open(self, speed: Speed) -> None:
        self.close()
        try:
            self._port = serial.Serial(self._device, exclusive=True, timeout=0, **_coding(speed))
            _wake_on_first_byte(self._port.fileno())
            self._direction = Direction(self._port.fileno(), self._device, self._rs485)
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            self.close()
            raise self._explained(error) from error

    def set_speed(self, speed: Speed) -> None:
        """Change the coding of the idle port and throw away what came in the old one."""
        port = self._open_port()
        try:
            port.apply_settings(_coding(speed))
            _wake_on_first_byte(port.fileno())
            termios.tcflush(port.fileno(), termios.TCIOFLUSH)
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise LinkDown(f"{self._device} does not take {speed}: {error}") from error

    def write(self, data: bytes) -> None:
        """Send, with the driver turned round as the settings say. Raises LinkDown."""
        if self._direction is None:
            raise LinkDown(f"{self._device} is not open")
        self._direction.send(data)

    def trouble(self) -> str:
        """What of the settings the open port does not do, "" when all is well."""
        direction = self._direction
        return direction.trouble if direction else ""

    def fileno(self) -> int:
        descriptor: int = self._open_port().fileno()
        return descriptor

    def close(self) -> None:
        port, self._port, self._direction = self._port, None, None
        if port is not None:
            try:
                port.close()
            except (OSError, termios.error):  # the adapter is already gone; the descriptor is closed all the same
                return

    def _open_port(self) -> serial.Serial:
        if self._port is None:
            raise LinkDown(f"{self._device} is not open")
        return self._port

    def _explained(self, error: Exception) -> LinkDown | ConfigError:
        code = _errno_of(error)
        if code in _BUSY:
            return LinkDown(f"{self._device}: {_busy(self._device)}")
        if code in _REMEDIES or code is None:
            return ConfigError(self._key, self._device, _REMEDIES.get(code or 0, str(error)))
        return LinkDown(f"{self._device}: {_PASSING.get(code, str(error))}")


class SerialBus(Line):
    """A line on a serial device: `bus = SerialBus(settings); bus.start(); bus.submit(...).result(5)`."""

    def __init__(self, settings: LineSettings) -> None:
        link = SerialLink(settings)
        super().__init__(settings, link, partial(_talker, link))
        self._port = link
        self._name_advice = advice_on_name(settings.device)

    def start(self) -> None:
        try:
            super().start()
        finally:
            for word in self._advice():
                log.warning("line %s: %s", self.settings.name, word)

    def _advice(self) -> tuple[str, ...]:
        return tuple(word for word in (self._name_advice, self._port.trouble(), self._mixed_advice()) if word)

    def _mixed_advice(self) -> str:
        others = sorted({str(speed) for speed in self._speeds.values() if speed != self.settings.speed})
        if not others:
            return ""
        return f"meters at {self.settings.speed} hear those at {', '.join(others)} as garbage; some must be told to ignore parity errors"


def _talker(link: SerialLink, settings: LineSettings, statistics: LineStatistics) -> Talker:
    return Talker(link, settings, statistics, link.write if settings.rs485 is Rs485.RTS else None)


def _busy(device: str) -> str:
    holder = holder_of(device)
    return f"busy, {holder} holds the port: stop it" if holder else "busy, another program holds the port: stop it (fuser names it)"


def _coding(speed: Speed) -> dict[str, int | str]:
    return {
        "baudrate": speed.baud,
        "bytesize": speed.data_bits,
        "parity": speed.parity,
        "stopbits": speed.stop_bits,
    }


def _wake_on_first_byte(descriptor: int) -> None:
    """VMIN 1: an empty port then reads as "try again" and only a port that is gone reads as end of file."""
    attributes = termios.tcgetattr(descriptor)
    attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _errno_of(error: BaseException | None) -> int | None:
    """pyserial keeps the system's error number in `errno`, or in the exception it was handling."""
    seen = error
    while seen is not None:
        code = getattr(seen, "errno", None) or (seen.args[0] if isinstance(seen, termios.error) and seen.args else None)
        if isinstance(code, int):
            return code
        seen = seen.__cause__ or seen.__context__
    return None
