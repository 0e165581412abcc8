"""Bytes to and from the meters: serial lines and TCP, one owner thread each.

`line_for(settings)` gives the line a device name asks for; everything else is the same for both.
"""

from __future__ import annotations

from gridtally_edge.transports.line import Line
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import LineSettings
from gridtally_edge.transports.tcp_line import SCHEME, TcpLine


def line_for(settings: LineSettings) -> Line:
    """`tcp://host:port` or a serial device."""
    return TcpLine(settings) if settings.device.startswith(SCHEME) else SerialBus(settings)
