"""Explain IEC 62056-21 characters for `gridtally decode`: telegrams, readouts and messages of the programming mode.

* A CRC or a block check character proves it; a telegram without either (modes A to D without BCC, P1 before version 4) is
  shown and said to be unproved.

Source: IEC 62056-21:2002; DSMR 5.0.2 P1 companion standard.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gridtally_edge.protocols.iec62056_21.characters import ETX, SOH, STX, seven_bits
from gridtally_edge.protocols.iec62056_21.datasets import Cell, DataSet, read_data_sets
from gridtally_edge.protocols.iec62056_21.messages import (
    Identification,
    find_identification,
    find_telegram,
    read_block,
    read_identification,
    read_reply,
    read_telegram,
)
from gridtally_shared.errors import MeterFault
from gridtally_shared.explain import ExplainedReading, Explanation, Keys

KIND: Final = "iec62056-21"
_COMMANDS: dict[str, str] = {"P": "password", "R": "read", "W": "write", "B": "break", "E": "execute"}


def explain_iec62056_21(data: bytes, keys: Keys) -> Explanation | None:
    """An entry point of `gridtally.decoders`; needs no keys."""
    text = seven_bits(data)
    if STX in text and ETX in text and text[:1] != bytes((SOH,)):
        return _readout(text)
    if text[:1] == bytes((SOH,)):
        return _command(text)
    return _telegram(text)


def _telegram(text: bytes) -> Explanation | None:
    found = find_telegram(text)
    if found is None:
        return _damaged(text)
    telegram = read_telegram(text[found.start : found.end])
    crc = {True: "CRC right", None: "no CRC: nothing proves it"}.get(telegram.crc_right, "")
    title = f"telegram of a {_meter(telegram.identification)}, {len(telegram.data_sets)} data sets"
    return Explanation(KIND, title, (f"  {crc}",), _readings(telegram.data_sets), proved=bool(telegram.crc_right))


def _readout(text: bytes) -> Explanation | None:
    found = find_identification(text)
    lines = (f"  {_meter(read_identification(text[found.start : found.end]))}",) if found else ()
    start = text.find(STX)
    end = text.find(ETX, start)
    try:
        sets = read_data_sets(read_block(text[start : end + 2]))
    except MeterFault as fault:
        return Explanation(KIND, "readout, damaged on the line", lines, faults=(str(fault),)) if found else None
    return Explanation(KIND, f"readout with {len(sets)} data sets", lines, _readings(sets), proved=True)


def _command(text: bytes) -> Explanation | None:
    if text[1:2].decode("ascii") not in _COMMANDS or not text[2:3].isdigit() or text[-2:-1] != bytes((ETX,)):
        return None
    try:
        reply = read_reply(text)
    except MeterFault as fault:
        return Explanation(KIND, "message of the programming mode, damaged", faults=(str(fault),))
    word = _COMMANDS.get(reply.command[:1], "command")
    secret = reply.command in ("P1", "P2")
    shown = "" if secret else f": {reply.text}" if reply.text else ""
    return Explanation(KIND, f"{reply.command}, {word}{shown}", proved=True)


def _meter(identification: Identification) -> str:
    return f"{identification.maker.upper()} meter {identification.text} (mode {identification.mode.value}, {identification.baud} baud)"


def _readings(sets: tuple[DataSet, ...]) -> tuple[ExplainedReading, ...]:
    return tuple(ExplainedReading(s.address, _value(cell), cell.unit) for s in sets for cell in s.cells)


def _value(cell: Cell) -> Decimal | str:
    number = cell.number
    return number if number is not None and (cell.unit or "." in cell.value) else cell.value


def _damaged(text: bytes) -> Explanation | None:
    """Begins like a telegram and ends like one, and its CRC is wrong."""
    if find_identification(text) is None or b"\n!" not in text or not text.startswith(b"/"):
        return None
    try:
        read_telegram(text)
    except MeterFault as fault:
        return Explanation(KIND, "telegram, damaged on the line", faults=(str(fault),))
    return None
