"""Wireless M-Bus: receivers, frames, layers and ciphers, with published telegrams as seeds."""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.drivers.wmbus import WmbusSettings, hears
from gridtally_edge.protocols.wmbus.explain import explain_wmbus
from gridtally_edge.protocols.wmbus.link import read_frame
from gridtally_edge.protocols.wmbus.receivers import receiver_of
from gridtally_edge.protocols.wmbus.telegram import open_telegram
from gridtally_edge.simulators.wmbus import framed
from gridtally_shared.explain import Keys
from support.radio_telegrams import KEY_B, PUBLISHED


def _layers(data: bytes) -> object:
    """The layers without the frame's length and CRCs, which would end most inputs at once."""
    inner = data[1:255]
    return open_telegram(read_frame(bytes((len(inner),)) + inner), KEY_B)


def _receivers(data: bytes) -> object:
    half = len(data) // 2
    receivers = [receiver_of(name)[0] for name in ("im871a", "amb8465", "transparent", "rtl-wmbus")]
    return [receiver.feed(data[:half]) + receiver.feed(data[half:]) for receiver in receivers]


def _whole(data: bytes) -> object:
    return explain_wmbus(data, Keys(KEY_B)), hears(_SETTINGS, data, 0)


_SETTINGS = WmbusSettings("12345678", KEY_B)
_RECEIVED = [framed(name, frame) for name in ("im871a", "amb8465", "rtl-wmbus") for frame in PUBLISHED]
DECODERS: dict[str, Callable[[bytes], object]] = {"layers": _layers, "receivers": _receivers, "whole": _whole}
SEEDS: dict[str, list[bytes]] = {"layers": list(PUBLISHED), "receivers": _RECEIVED, "whole": [*PUBLISHED, *_RECEIVED]}
