"""P1 telegrams of Dutch and Belgian meters: one telegram, several meters.

* Channel 0 is the electricity meter; channels 1 to 4 are M-Bus meters behind it (gas, water, heat), whose data sets have
  `0-n:` in front. `split` gives each of them a telegram of its own, so that the data of several utilities stay apart.
* An equipment identifier is text as hexadecimal digits; one that is no text is kept in digits.
* The CRC (P1 version 4 and later) is checked before a telegram is split; the pieces carry none.

Source: DSMR 5.0.2 and 2.2+ P1 companion standards; e-MUCS P1 1.7.1 (Fluvius, ORES).
"""

from __future__ import annotations

import re
from typing import Final

from gridtally_edge.protocols.iec62056_21.characters import parity_holds, seven_bits
from gridtally_edge.protocols.iec62056_21.datasets import DataSet
from gridtally_edge.protocols.iec62056_21.messages import find_telegram, read_telegram
from gridtally_edge.protocols.listening import Told
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

CHANNELS: Final = 4
_CHANNEL: Final = re.compile(r"^0-([1-9]\d*):")
CLOCK, VERSION_MARKS = "0-0:1.0.0", ("1-3:0.2.8", "0-0:96.1.4")


@dataclass(frozen=True, slots=True)
class Piece:
    channel: int
    telegram: bytes


def split(telegram: bytes) -> tuple[Piece, ...]:
    """A telegram for each meter in it, the electricity meter first. Raises MeterFault for a damaged one."""
    read_telegram(telegram)
    head, *lines = seven_bits(telegram).decode("ascii", "replace").partition("!")[0].splitlines()
    by_channel: dict[int, list[str]] = {0: []}
    channel = 0
    for line in lines:
        found = _CHANNEL.match(line)
        if not line.startswith("("):  # a bracket alone goes on with the set before
            channel = int(found.group(1)) if found else 0
        by_channel.setdefault(channel, []).append(line)
    clock = next((line for line in by_channel[0] if line.startswith(CLOCK)), "")
    return tuple(Piece(n, _joined(head, clock if n else "", by_channel[n])) for n in sorted(by_channel) if n <= CHANNELS)


def _joined(head: str, clock: str, lines: list[str]) -> bytes:
    own = [head, clock, *lines] if clock else [head, *lines]
    return ("\r\n".join([*own, "!"]) + "\r\n").encode("ascii", "replace")


def equipment(data_set: DataSet) -> str:
    """An equipment identifier as people read it on the meter."""
    digits = data_set.first.value
    try:
        text = bytes.fromhex(digits).decode("ascii")
    except ValueError:
        return digits
    return text if text.isprintable() and text.strip() else digits


LONGEST_TELEGRAM: Final = 16_384


@dataclass(slots=True)
class TelegramListener:
    """Telegrams of a P1 port or of a meter in mode D: each piece is a message of its own, with the channel as its source."""

    spoiled: int = 0
    repeats: int = 0
    _kept: bytes = b""

    def feed(self, octets: bytes, mono_s: float) -> tuple[Told, ...]:
        self._kept = (self._kept + octets)[-LONGEST_TELEGRAM:]
        told: list[Told] = []
        while (found := find_telegram(self._kept)) is not None:
            telegram, self._kept = self._kept[found.start : found.end], self._kept[found.end :]
            told += self._pieces(telegram)
        return tuple(told)

    def _pieces(self, telegram: bytes) -> list[Told]:
        try:
            if not parity_holds(telegram):
                raise MeterFault("a character of the telegram has a wrong parity: no value can be taken from it")
            return [Told(f"channel {piece.channel}" if piece.channel else "", piece.telegram) for piece in split(telegram)]
        except MeterFault:
            self.spoiled += 1
            return []
