"""Who turns an RS-485 driver round: the adapter itself, the kernel, or we with the RTS line.

* `none`: the adapter does it (auto-direction, nearly all USB adapters). `kernel`: TIOCSRS485, where the driver of the
  port has it. `rts`: RTS is raised, the bytes are drained, RTS falls. `auto`: the kernel if it can, else nothing.
* A mode the port does not have is told (`trouble`) and the line works without; starting never fails for it.

Source: linux/serial.h (struct serial_rs485); protocols.md section 7, "RTS direction".
"""

from __future__ import annotations

import fcntl
import struct
import termios

from gridtally_edge.transports.link import write_all
from gridtally_edge.transports.settings import Rs485

TIOCGRS485 = 0x542E
TIOCSRS485 = 0x542F
ENABLED, RTS_ON_SEND, RTS_AFTER_SEND = 1, 2, 4
RECORD = struct.Struct("=8I")
RTS = struct.pack("=i", termios.TIOCM_RTS)

_TOLD: dict[Rs485, str] = {
    Rs485.KERNEL: "the port's driver has no RS-485 mode; sending without it. Write rs485 = none for an adapter that turns "
    "round by itself, or rts",
    Rs485.RTS: "the port has no RTS line; sending without it. Write rs485 = none for an adapter that turns round by itself",
}


class Direction:
    """One open port's way to send. `trouble` is empty while the wanted mode is in force."""

    def __init__(self, descriptor: int, device: str, wanted: Rs485) -> None:
        self._descriptor, self._device = descriptor, device
        self.mode = _MODES[wanted](descriptor)
        self.trouble = "" if self.mode is wanted else _TOLD.get(wanted, "")

    def send(self, data: bytes) -> None:
        """Hand over the bytes; with `rts` it returns when they are on the wire. Raises LinkDown."""
        if self.mode is not Rs485.RTS:
            write_all(self._descriptor, data, self._device)
            return
        fcntl.ioctl(self._descriptor, termios.TIOCMBIS, RTS)
        try:
            write_all(self._descriptor, data, self._device)
            termios.tcdrain(self._descriptor)
        finally:
            fcntl.ioctl(self._descriptor, termios.TIOCMBIC, RTS)


def _none(_descriptor: int) -> Rs485:
    return Rs485.NONE


def _kernel(descriptor: int) -> Rs485:
    try:
        record = list(RECORD.unpack(fcntl.ioctl(descriptor, TIOCGRS485, bytes(RECORD.size))))
        record[0] = (record[0] | ENABLED | RTS_ON_SEND) & ~RTS_AFTER_SEND
        fcntl.ioctl(descriptor, TIOCSRS485, RECORD.pack(*record))
    except OSError:
        return Rs485.NONE
    return Rs485.KERNEL


def _rts(descriptor: int) -> Rs485:
    try:
        fcntl.ioctl(descriptor, termios.TIOCMBIC, RTS)
    except OSError:
        return Rs485.NONE
    return Rs485.RTS


_MODES = {Rs485.NONE: _none, Rs485.KERNEL: _kernel, Rs485.RTS: _rts, Rs485.AUTO: _kernel}
