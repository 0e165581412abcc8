"""Load profiles in text: `P.01(time)(status)(minutes)(n)(code)(unit)...` and rows of values behind it.

* The time is of the end of the first period: one digit of season (0 standard, 1 summer time, 2 UTC), then YYMMDDhhmm.
  A gap or a change of status begins a new head.
* Codes name the value of a period: 1.5 and 2.5 are its mean power (kW), 1.29 and 2.29 its energy (kWh).
* The status is eight bits as two hexadecimal digits; P.98, the log book, has the same head with status and no values.

Source: VDEW specification 2.0/2.1 (1996-2003), clauses on P.01 and P.98; EN 62056-61.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntFlag
from typing import Final

from gridtally_edge.protocols.iec62056_21.datasets import Cell, DataSet
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

PROFILE, LOG_BOOK = "P.01", "P.98"
HEAD_CELLS: Final = 4
MOST_CHANNELS: Final = 32
MS_PER_MINUTE: Final = 60_000


class Status(IntFlag):
    """Bits of a row's status; each holds for the whole period."""

    POWER_DOWN = 0x80
    POWER_UP = 0x40
    CLOCK_SET = 0x20
    RESET = 0x10
    SEASON_CHANGED = 0x08
    INVALID = 0x04
    RUNNING_RESERVE_OVER = 0x02
    FATAL = 0x01


@dataclass(frozen=True, slots=True)
class Row:
    """`end_ms` is UTC. `values` are numbers by code; None where the meter wrote no number."""

    end_ms: int
    period_min: int
    status: int
    values: tuple[tuple[str, str, Decimal | None], ...]


def read_profile(sets: Iterable[DataSet], utc_offset_min: int) -> tuple[Row, ...]:
    """All rows of a P.01 readout. Raises MeterFault for a head that can not be read."""
    return tuple(row for data_set in sets if data_set.address == PROFILE for row in _rows(data_set.cells, utc_offset_min))


def _rows(cells: tuple[Cell, ...], utc_offset_min: int) -> Iterator[Row]:
    if len(cells) < HEAD_CELLS:
        raise MeterFault("the head of the load profile is cut short")
    end_ms = stamp_ms(cells[0].value, utc_offset_min)
    status, period_min, channels = _number(cells[1], 16), _number(cells[2]), _number(cells[3])
    if not 0 < channels <= MOST_CHANNELS or not 0 < period_min <= 1_440:
        raise MeterFault(f"a load profile of {channels} channels and {period_min} minutes can not be")
    names = [cell.value for cell in cells[HEAD_CELLS : HEAD_CELLS + 2 * channels]]
    values = cells[HEAD_CELLS + 2 * channels :]
    for place in range(0, len(values) - channels + 1, channels):
        row = zip(names[::2], names[1::2], (cell.number for cell in values[place : place + channels]), strict=False)
        yield Row(end_ms + place // channels * period_min * MS_PER_MINUTE, period_min, status, tuple(row))


def read_log_book(sets: Iterable[DataSet], utc_offset_min: int) -> tuple[tuple[int, int], ...]:
    """(moment in UTC ms, status) of every entry of P.98."""
    entries = (s.cells for s in sets if s.address == LOG_BOOK and len(s.cells) > 1)
    return tuple((stamp_ms(cells[0].value, utc_offset_min), _number(cells[1], 16)) for cells in entries)


def _number(cell: Cell, base: int = 10) -> int:
    try:
        return int(cell.value or "0", base)
    except ValueError:
        raise MeterFault(f"{cell.value!r} in the head of the load profile is no number") from None


def stamp_ms(text: str, utc_offset_min: int) -> int:
    """[season]YYMMDDhhmm[ss], or YYMMDDhhmmss with S or W behind it (P1), as UTC milliseconds. Raises MeterFault."""
    digits, season = (text[:-1], text[-1]) if text[-1:] in ("S", "W") else (text, "")
    if not season and len(digits) in (11, 13):
        season, digits = digits[0], digits[1:]
    try:
        if not digits.isascii() or not digits.isdecimal() or len(digits) not in (10, 12):
            raise ValueError(text)
        local = datetime.strptime(digits.ljust(12, "0") + "+0000", "%y%m%d%H%M%S%z").astimezone(UTC)
    except ValueError:
        raise MeterFault(f"{text!r} is no time a meter can mean") from None
    offset_min = 0 if season == "2" else utc_offset_min + (60 if season in ("1", "S") else 0)
    return int(local.timestamp()) * 1_000 - offset_min * MS_PER_MINUTE


def span_text(from_ms: int, to_ms: int, utc_offset_min: int) -> str:
    """`from;to` of a question for P.01, in the meter's standard time."""
    return ";".join(_stamp(moment, utc_offset_min) for moment in (from_ms, to_ms))


def _stamp(utc_ms: int, utc_offset_min: int) -> str:
    local = datetime.fromtimestamp(utc_ms / 1_000 + utc_offset_min * 60, UTC)
    return f"0{local:%y%m%d%H%M}"
