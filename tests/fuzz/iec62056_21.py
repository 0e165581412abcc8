"""IEC 62056-21: finders, blocks, replies, profiles and P1 telegrams, with recorded ones as seeds."""

from __future__ import annotations

import json
from collections.abc import Callable

from gridtally_edge.drivers import iec62056_21, p1
from gridtally_edge.protocols.iec62056_21.characters import framed
from gridtally_edge.protocols.iec62056_21.datasets import read_data_sets
from gridtally_edge.protocols.iec62056_21.explain import explain_iec62056_21
from gridtally_edge.protocols.iec62056_21.messages import (
    find_identification,
    find_line_or_end,
    find_reply,
    find_telegram,
    read_block,
    read_identification,
    read_reply,
)
from gridtally_edge.protocols.iec62056_21.profile import read_log_book, read_profile
from gridtally_shared.errors import MeterFault
from gridtally_shared.explain import Keys
from support.data import data_path


def _messages(data: bytes) -> object:
    found = find_identification(data), find_line_or_end(data), find_reply(data), find_telegram(data)
    return found, [_read(reader, data) for reader in (read_identification, read_block, read_reply)]


def _read(reader: Callable[[bytes], object], data: bytes) -> object:
    try:
        return reader(data)
    except MeterFault as fault:
        return fault


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _profile(data: bytes) -> object:
    rows = read_profile(read_data_sets("P.01(" + _text(data)), 60)
    log = read_log_book(read_data_sets("P.98(" + _text(data)), 60)
    return log, [reading for row in rows for reading in iec62056_21.intervals_of(row)]


def _telegram(data: bytes) -> object:
    """Every channel of a telegram, and its data sets whether its CRC is right or not."""
    sets = [(s.obis, s.first.number) for s in read_data_sets(_text(data))]
    return sets, p1.hears(p1.P1Settings(1), data, 0)


_TELEGRAMS = [t["telegram"].encode("latin-1") for t in json.loads(data_path("iec62056_21/p1_d0_telegrams.json").read_text())]
_BLOCKS = [framed(b"\x021.8.0(000123.4*kWh)\r\n!\r\n"), framed(b"\x01P0\x02(12345678)"), b"\x06", b"/LGZ5\\2ZMD310\r\n"]
_PROFILE = [b"0010406120000)(08)(15)(2)(1.5)(kW)(2.5)(kW)\r\n(0.4)(0.0)\r\n", b"1010406120000)(00)(60)(1)(1.29)(kWh)\r\n(1)\r\n"]

_SHORT = sorted(_TELEGRAMS, key=len)[:3]

DECODERS: dict[str, Callable[[bytes], object]] = {
    "messages": _messages,
    "telegram": _telegram,
    "profile": _profile,
    "explain": lambda data: explain_iec62056_21(data, Keys()),
}
SEEDS: dict[str, list[bytes]] = {
    "messages": [*_SHORT, *_BLOCKS],
    "telegram": _SHORT,
    "profile": _PROFILE,
    "explain": [*_SHORT, *_BLOCKS],
}
