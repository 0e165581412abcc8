"""Bytes to and from the meters: serial lines, raw TCP, Modbus TCP, IP networks and coordinators of meshes.

`line_for(settings, sink)` gives the line a device name asks for; everything else is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.transports.heard import Sink, unheard
from gridtally_edge.transports.meter_line import MeterLine
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.errors import ConfigError

# Each kind of line is imported when one is configured: an agent pays only for the lines it has.


def _serial_line(settings: LineSettings, sink: Sink) -> MeterLine:
    from gridtally_edge.transports.serial_bus import SerialBus

    return SerialBus(settings)


def _tcp_line(settings: LineSettings, sink: Sink) -> MeterLine:
    from gridtally_edge.transports.tcp_line import TcpLine

    return TcpLine(settings)


def _modbus_tcp_line(settings: LineSettings, sink: Sink) -> MeterLine:
    from gridtally_edge.transports.modbus_tcp import ModbusTcpLine  # brings pymodbus

    return ModbusTcpLine(settings)


def _ip_line(settings: LineSettings, sink: Sink) -> MeterLine:
    from gridtally_edge.transports.ip_line import IpLine

    return IpLine(settings, sink)


def _coordinator_line(settings: LineSettings, sink: Sink) -> MeterLine:
    from gridtally_edge.transports.coordinator import CoordinatorLine

    return CoordinatorLine(settings, sink)


def _radio_line(settings: LineSettings, sink: Sink) -> MeterLine:
    from gridtally_edge.transports.radio import radio_line

    return radio_line(settings, sink)


def _p1_line(settings: LineSettings, sink: Sink) -> MeterLine:
    from gridtally_edge.transports.radio import p1_line

    return p1_line(settings, sink)


def _mode_d_line(settings: LineSettings, sink: Sink) -> MeterLine:
    from gridtally_edge.transports.radio import mode_d_line

    return mode_d_line(settings, sink)


Maker = Callable[[LineSettings, Sink], MeterLine]
_LINES: dict[str, tuple[Maker, str]] = {
    "tcp": (_tcp_line, "tcp://host:port"),
    "modbus-tcp": (_modbus_tcp_line, "modbus-tcp://host:port"),
    "udp": (_ip_line, "udp://host:port"),
    "ip": (_ip_line, "ip://"),
    "modem": (_coordinator_line, "modem:///dev/..."),
    "wmbus": (_radio_line, "wmbus:///dev/...?receiver=im871a"),
    "p1": (_p1_line, "p1:///dev/..."),
    "mode-d": (_mode_d_line, "mode-d:///dev/..."),
}


def line_for(settings: LineSettings, sink: Sink = unheard) -> MeterLine:
    """The line a device name asks for; what it hears unasked goes to `sink`, from the line's own thread.
    Raises ConfigError for a name that is neither a scheme of `_LINES` nor a serial device."""
    scheme, separator, _ = settings.device.partition("://")
    if not separator:
        return _serial_line(settings, sink)
    if scheme not in _LINES:
        known = ", ".join(example for _, example in _LINES.values())
        raise ConfigError("line.device", settings.device, f"write a serial device, or one of {known}")
    return _LINES[scheme][0](settings, sink)
