"""Bytes to and from the meters: serial lines, TCP and Modbus TCP, one owner thread each.

`line_for(settings)` gives the line a device name asks for; everything else is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.transports.line import Line
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import LineSettings
from gridtally_edge.transports.tcp_line import TcpLine
from gridtally_shared.errors import ConfigError


def _modbus_tcp_line(settings: LineSettings) -> Line:
    from gridtally_edge.transports.modbus_tcp import ModbusTcpLine  # brings pymodbus, which only such a line pays for

    return ModbusTcpLine(settings)


_LINES: dict[str, Callable[[LineSettings], Line]] = {"tcp": TcpLine, "modbus-tcp": _modbus_tcp_line}


def line_for(settings: LineSettings) -> Line:
    """`tcp://host:port`, `modbus-tcp://host:port` or a serial device. Raises ConfigError for a name that is neither."""
    scheme, separator, _ = settings.device.partition("://")
    if not separator:
        return SerialBus(settings)
    if scheme not in _LINES:
        known = " or ".join(f"{name}://host:port" for name in _LINES)
        raise ConfigError("line.device", settings.device, f"write a serial device, {known}")
    return _LINES[scheme](settings)
