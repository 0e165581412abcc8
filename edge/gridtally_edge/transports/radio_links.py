"""Where the octets of a listening line come from: a serial port, a TCP connection, a pipe, or a growing file.

* A pipe without a writer and a file at its end have nothing to read just now; that is no failure. A file that was replaced
  by a shorter one is read from its start.
* Device names: `wmbus:///dev/serial/by-id/...?receiver=im871a&mode=t1`, `wmbus://host:port?receiver=rtl-wmbus`,
  `wmbus:///run/rtl.fifo?receiver=rtl-wmbus`, `p1:///dev/ttyUSB0`, `p1://host:port`; `mode-d` as `p1`. `baud=` overrides the usual speed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from gridtally_edge.transports.link import ByteLink
from gridtally_edge.transports.serial_bus import SerialLink
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_edge.transports.tcp_line import TcpLink
from gridtally_shared.errors import ConfigError, LinkDown
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class ListeningPlace:
    """A listening line's device name, taken apart. `host` is empty for a device, pipe or file at `path`."""

    scheme: str
    host: str
    path: str
    words: Mapping[str, str]

    @classmethod
    def of(cls, device: str, known: frozenset[str]) -> ListeningPlace:
        """Raises ConfigError."""
        try:
            parts = urlsplit(device)
            words = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError as error:
            raise ConfigError("line.device", device, f"{error}: write it like {parts_example(device)}") from None
        unknown = sorted(set(words) - known)
        if unknown or bool(parts.netloc) == bool(parts.path.strip("/")):
            raise ConfigError("line.device", device, f"write it like {parts_example(device)}; it may say {', '.join(sorted(known))}")
        return cls(parts.scheme, parts.netloc, parts.path, words)

    def baud(self, usual: int) -> int:
        text = self.words.get("baud", str(usual))
        if not text.isdecimal() or not int(text):
            raise ConfigError("line.device", text, "baud is a whole number, for example baud=115200")
        return int(text)


def parts_example(device: str) -> str:
    scheme = device.partition("://")[0]
    wired = f"{scheme}:///dev/ttyUSB0 or {scheme}://host:port"
    return wired if scheme in ("p1", "mode-d") else "wmbus:///dev/ttyUSB0?receiver=im871a"


class FileLink:
    """A `ByteLink` on a pipe or a file; `fileno` never waits for a writer."""

    def __init__(self, settings: LineSettings, path: str) -> None:
        self._key, self._path = f"line.{settings.name}.device", path
        self._descriptor = -1

    def open(self, speed: Speed) -> None:
        self.close()
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise ConfigError(self._key, self._path, f"{error.strerror}: let the agent's user read it") from error
        except OSError as error:
            raise LinkDown(f"{self._path}: {error.strerror}; it is opened when it is there") from error

    def set_speed(self, speed: Speed) -> None:
        """A file has none."""

    def fileno(self) -> int:
        if self._descriptor < 0:
            raise LinkDown(f"{self._path} is not open")
        return self._descriptor

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def link_for(settings: LineSettings, place: ListeningPlace) -> ByteLink:
    """The link that a place names: TCP for a host, a file for a pipe or file, else a serial port."""
    if place.host:
        return TcpLink(replace(settings, device=f"tcp://{place.host}"))
    if place.path and _is_file(place.path):
        return FileLink(settings, place.path)
    return SerialLink(replace(settings, device=place.path))


def _is_file(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:  # a serial adapter that is not there yet
        return not path.startswith("/dev/")
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)
