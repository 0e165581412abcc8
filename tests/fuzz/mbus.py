"""Wired M-Bus decoders and finders, with the frames of real meters as seeds."""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.drivers.mbus_values import readings_of
from gridtally_edge.protocols.mbus.compact import Formats
from gridtally_edge.protocols.mbus.explain import explain_mbus
from gridtally_edge.protocols.mbus.frames import decode_frame, find_frame
from gridtally_edge.protocols.mbus.link import response_of
from gridtally_edge.protocols.mbus.telegram import decode_telegram
from gridtally_shared.explain import Keys
from support.mbus_frames import frames, octets


def _frame(data: bytes) -> object:
    return find_frame(data), response_of(1)(data), decode_frame(data)


def _telegram(data: bytes) -> object:
    """CI field and what follows: headers, records, the fixed structure, compact frames of their own format. A frame carries
    252 octets at most."""
    data = data[:253]
    formats = Formats()
    if data[:1] == b"\x79":
        formats.learn(data[13:])
    records = decode_telegram(data[0] if data else 0x72, data[1:], formats).contents.records
    return [record.value for record in records], readings_of(records, "heat", 0)


_FRAMES = [octets(path) for path in frames()]
_BODIES = [frame[6:-2] for frame in _FRAMES]

DECODERS: dict[str, Callable[[bytes], object]] = {
    "frame": _frame,
    "telegram": _telegram,
    "explain": lambda data: explain_mbus(data, Keys()),
}
SEEDS: dict[str, list[bytes]] = {"frame": _FRAMES, "telegram": [*_BODIES, b"\x79" + _BODIES[0][13:]], "explain": _FRAMES}
