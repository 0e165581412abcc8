"""Where a meter is, from one word: `--line`.

    serial:///dev/ttyUSB0?baud=9600&parity=N     a serial port; a plain path means the same with the driver's own coding
    tcp://host:port     udp://host:port          a meter or a converter on IP; hosts may be names, IPv6 in brackets
    modem:///dev/ttyUSB1?codec=framed#NODE       a node behind a coordinator
    wmbus:///dev/ttyUSB2?receiver=im871a         a radio receiver;  p1:///dev/ttyUSB3   a meter that sends by itself
    mode-d:///dev/ttyUSB3                        a meter of IEC 62056-21 in mode D, which sends by itself too

What carries the protocol decides the kind of line: a DLMS wrapper over TCP or UDP has an address of its own (an IP line),
HDLC, Modbus RTU and the others over TCP are bytes of a converter, Modbus TCP is Modbus TCP.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from gridtally_edge.drivers.driver import LineDefaults
from gridtally_edge.transports.ip_settings import NetworkSettings
from gridtally_edge.transports.places import DLMS_PORT
from gridtally_edge.transports.settings import Echo, LineSettings, Speed
from gridtally_shared.errors import ConfigError, LinkDown
from gridtally_shared.records import dataclass

NAME = "read"
USUAL_PORT = {"modbus-tcp": 502, "dlms-wrapper": DLMS_PORT, "dlms-hdlc": DLMS_PORT}
EXAMPLE = (
    "write serial:///dev/ttyUSB0?baud=9600&parity=N, tcp://HOST:PORT, udp://HOST:PORT, modem:///dev/ttyUSB0#NODE, "
    "wmbus:///dev/ttyUSB0?receiver=im871a, p1:///dev/ttyUSB0 or mode-d:///dev/ttyUSB0"
)
MODE_D = "mode-d"
LISTENS = frozenset({"wmbus", "p1"})


@dataclass(frozen=True, slots=True)
class Where:
    """A line, and the words of the meter's place on it (transports/places.py)."""

    settings: LineSettings
    place: dict[str, Any]

    @property
    def is_mode_d(self) -> bool:
        return self.settings.device.startswith(f"{MODE_D}://")


def where_of(line: str, protocol: str, coding: LineDefaults) -> Where:
    """Raises ConfigError for a word that is no line, LinkDown for a host nobody knows."""
    parts = _split(line)
    if parts.scheme not in _KINDS:
        raise ConfigError("--line", line, EXAMPLE)
    return _KINDS[parts.scheme](parts, protocol, coding)


def _split(line: str) -> SplitResult:
    if "://" not in line:
        return SplitResult("serial", "", line, "", "")
    try:
        parts = urlsplit(line)
        _ = parts.port
    except ValueError:
        raise ConfigError("--line", line, EXAMPLE) from None
    return parts


def _listening(parts: SplitResult, _: str, coding: LineDefaults) -> Where:
    """A line that only hears: its own words stay in its device."""
    device = f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
    return Where(LineSettings(NAME, device, Speed(coding.baud, coding.data_bits, coding.parity, coding.stop_bits)), {})


def _serial(parts: SplitResult, protocol: str, coding: LineDefaults) -> Where:
    if protocol in LISTENS:
        return _listening(SplitResult(protocol, "", parts.path, parts.query, ""), protocol, coding)
    words = _words(parts, ("baud", "parity", "data_bits", "stop_bits", "echo"))
    if not parts.path:
        raise ConfigError("--line", parts.geturl(), EXAMPLE)
    return Where(replace(_coded(parts.path, words, coding), echo=_echo(words.get("echo", "auto"))), {})


def _coded(device: str, words: dict[str, str], coding: LineDefaults) -> LineSettings:
    numbers = {key: _number(key, words[key]) for key in ("baud", "data_bits", "stop_bits") if key in words}
    own = {"baud": coding.baud, "data_bits": coding.data_bits, "stop_bits": coding.stop_bits} | numbers
    return LineSettings(NAME, device, Speed(own["baud"], own["data_bits"], words.get("parity", coding.parity), own["stop_bits"]))


def _ip(parts: SplitResult, protocol: str, _: LineDefaults) -> Where:
    host, port = _host_and_port(parts, protocol)
    if protocol == "modbus-tcp" and parts.scheme == "tcp":
        return Where(LineSettings(NAME, f"modbus-tcp://{_bracketed(host)}:{port}"), {})
    if protocol == "dlms-wrapper" or parts.scheme == "udp":
        network = NetworkSettings(in_flight=1)
        place = {"host": _numeric(host, port), "port": port, "over": parts.scheme}
        return Where(LineSettings(NAME, "ip://", Speed(baud=0), network=network), place)
    return Where(LineSettings(NAME, f"tcp://{_bracketed(host)}:{port}", Speed(baud=0)), {})


def _host_and_port(parts: SplitResult, protocol: str) -> tuple[str, int]:
    port = parts.port or USUAL_PORT.get(protocol, 0)
    if not parts.hostname or not port:
        raise ConfigError("--line", parts.geturl(), f"write {parts.scheme}://HOST:PORT, for example {parts.scheme}://192.168.1.20:4059")
    return parts.hostname, port


def _numeric(host: str, port: int) -> str:
    try:
        return str(socket.getaddrinfo(host, port)[0][4][0])
    except OSError as error:
        raise LinkDown(f"nobody knows the host {host} ({error}); write its address") from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _modem(parts: SplitResult, _: str, coding: LineDefaults) -> Where:
    words = _words(parts, ("baud", "codec", "mtu"))
    if not parts.path or not parts.fragment:
        raise ConfigError("--line", parts.geturl(), "write modem:///dev/ttyUSB0#NODE, the node as the modem names it")
    network = NetworkSettings(
        in_flight=1, codec=words.get("codec", "framed"), mtu=_number("mtu", words.get("mtu", "0")), white_list=False
    )
    speed = Speed(_number("baud", words.get("baud", "115200")))
    return Where(LineSettings(NAME, f"modem://{parts.path}", speed, network=network), {"node": parts.fragment})


def _words(parts: SplitResult, known: tuple[str, ...]) -> dict[str, str]:
    words = dict(parse_qsl(parts.query, keep_blank_values=True))
    for key in words:
        if key not in known:
            raise ConfigError("--line", parts.geturl(), f"there is no {key}; known are {', '.join(known)}")
    return words


def _number(key: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--line {key}", text, "write a whole number")
    return int(text)


def _echo(text: str) -> Echo:
    try:
        return Echo(text)
    except ValueError:
        raise ConfigError("--line echo", text, "write auto, on or off") from None


_KINDS: dict[str, Callable[[SplitResult, str, LineDefaults], Where]] = {
    "serial": _serial,
    "tcp": _ip,
    "modbus-tcp": lambda parts, _, coding: _ip(parts._replace(scheme="tcp"), "modbus-tcp", coding),
    "udp": _ip,
    "modem": _modem,
    "wmbus": _listening,
    "p1": _listening,
    MODE_D: _listening,
}
