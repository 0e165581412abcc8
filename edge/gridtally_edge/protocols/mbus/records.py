"""Data records of EN 13757-3, for wired and wireless M-Bus alike: a run of octets into values with meaning.

* A record is DIF, up to ten DIFEs, VIF, up to ten VIFEs, data. The DIF says how long the data are, so a reader walks
  from record to record; a record that runs out of octets spoils the whole telegram (MeterFault), for nobody knows what
  the rest means.
* 2F is filler. 0F starts the maker's own data, kept raw; 1F does the same and says that another telegram follows.
* `head` keeps DIF, DIFEs, VIF and VIFEs of each record: compact frames are read with them.

Source: EN 13757-3:2018, clause 6 and annexes.
"""

from __future__ import annotations

from dataclasses import field
from decimal import Context, Decimal
from enum import Enum
from typing import Final, TypeAlias

from gridtally_edge.protocols.mbus.fields import (
    LENGTHS,
    VARIABLE,
    Invalid,
    Moment,
    Raw,
    fixed_value,
    variable_length,
    variable_value,
)
from gridtally_edge.protocols.mbus.vif import TEXT_VIF, Meaning, Named, name_value
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

MAX_EXTENSIONS: Final = 10
FILLER, MAKER_DATA, MORE_FOLLOWS, READ_ALL = 0x2F, 0x0F, 0x1F, 0x7F
_SPECIAL: Final = 0x0F
_EXTENDED: Final = 0x80
_WIDE: Final = Context(prec=200)

Value: TypeAlias = int | Decimal | str | bytes | Moment | Invalid | None


class Function(Enum):
    INSTANT = 0
    MAXIMUM = 1
    MINIMUM = 2
    ERROR_STATE = 3


@dataclass(frozen=True, slots=True)
class Record:
    """One value. `number` is exact and in `unit`; `value` is the same for numbers, else text, octets or a moment.
    `subunit` tells parts of one device apart, `storage` 0 is now, `tariff` 0 the total."""

    function: Function
    storage: int
    tariff: int
    subunit: int
    named: Named
    raw: Raw
    head: bytes = field(repr=False)

    @property
    def name(self) -> str:
        return self.named.meaning.name

    @property
    def unit(self) -> str:
        return self.named.meaning.unit

    @property
    def is_valid(self) -> bool:
        """False for a field without a true value, a record error, and a value taken during an error."""
        return not isinstance(self.raw, Invalid) and not self.named.error and self.function is not Function.ERROR_STATE

    @property
    def number(self) -> Decimal | None:
        """The value in its unit, None where it is no number or not a true one."""
        if not isinstance(self.raw, int | Decimal) or self.named.error:
            return None
        return scaled(self.raw, self.named.meaning)

    @property
    def value(self) -> Value:
        if self.named.error:
            return Invalid(self.named.error)
        number = self.number
        return self.raw if number is None else number


def scaled(raw: int | Decimal, meaning: Meaning) -> Decimal:
    """Exact: only the digits are kept, nothing is rounded."""
    number = Decimal(raw) if isinstance(raw, int) else raw
    return _times(number, meaning.factor).scaleb(meaning.exponent, _WIDE)


def _times(number: Decimal, factor: int) -> Decimal:
    return number if factor == 1 else _WIDE.multiply(number, Decimal(factor))


@dataclass(frozen=True, slots=True)
class Records:
    """What a telegram holds. `maker_data` is behind 0F or 1F, `more_follow` says that this was not all."""

    records: tuple[Record, ...]
    maker_data: bytes | None = None
    more_follow: bool = False


def read_records(octets: bytes) -> Records:
    """Raises MeterFault where a record is cut short or has more than ten extensions."""
    records: list[Record] = []
    start = 0
    while start < len(octets):
        dif = octets[start]
        if dif in (MAKER_DATA, MORE_FOLLOWS):
            return Records(tuple(records), octets[start + 1 :], dif == MORE_FOLLOWS)
        if dif == FILLER:
            start += 1
            continue
        head, start = read_head(octets, start)
        record, start = read_value(head, octets, start)
        records.append(record)
    return Records(tuple(records))


@dataclass(frozen=True, slots=True)
class Head:
    """DIF, DIFEs, VIF, text and VIFEs of a record, read. `octets` are as sent."""

    octets: bytes
    field: int
    function: Function
    storage: int
    tariff: int
    subunit: int
    named: Named


def read_head(octets: bytes, start: int) -> tuple[Head, int]:
    """The head at `start` and where its data begin."""
    dif = octets[start]
    if dif & 0x0F == _SPECIAL:
        raise MeterFault(f"the DIF {dif:02X} is reserved")
    difes, after = _extensions(octets, start, "DIFE")
    if after >= len(octets):
        raise MeterFault("a record ends behind its DIF")
    vif, after_vif = octets[after], after + 1
    text = ""
    if vif & 0x7F == TEXT_VIF:
        text, after_vif = _text(octets, after_vif)
    vifes, after_vif = _vifes(octets, vif, after_vif)
    storage, tariff, subunit = _places(dif, difes)
    named = name_value(vif, vifes, text)
    head = Head(octets[start:after_vif], dif & 0x0F, Function(dif >> 4 & 3), storage, tariff, subunit, named)
    return head, after_vif


def read_value(head: Head, octets: bytes, start: int) -> tuple[Record, int]:
    """The record whose data lie at `start`, and where the next one begins."""
    raw, end = _data(head, octets, start)
    return Record(head.function, head.storage, head.tariff, head.subunit, head.named, raw, head.octets), end


def _data(head: Head, octets: bytes, start: int) -> tuple[Raw, int]:
    if head.field != VARIABLE:
        data = _piece(octets, start, LENGTHS[head.field])
        return fixed_value(head.field, data, head.named.meaning.form), start + len(data)
    first = _piece(octets, start, 1)[0]
    data = _piece(octets, start + 1, variable_length(first))
    return variable_value(first, data), start + 1 + len(data)


def _piece(octets: bytes, start: int, length: int) -> bytes:
    if start + length > len(octets):
        raise MeterFault(f"a record wants {length} octets of data, {max(0, len(octets) - start)} are there")
    return octets[start : start + length]


def _extensions(octets: bytes, start: int, what: str) -> tuple[bytes, int]:
    """The octets behind the one at `start` that its extension bits announce, and the place behind them."""
    end = start
    while octets[end] & _EXTENDED:
        end += 1
        if end >= len(octets):
            raise MeterFault(f"a record ends within its {what}s")
        if end - start > MAX_EXTENSIONS:
            raise MeterFault(f"a record has more than {MAX_EXTENSIONS} {what}s")
    return octets[start + 1 : end + 1], end + 1


def _vifes(octets: bytes, vif: int, start: int) -> tuple[bytes, int]:
    """VIFEs announced by `vif`, which lies in front of `start` (a text may lie between)."""
    if not vif & _EXTENDED:
        return b"", start
    rest, _ = _extensions(bytes((vif,)) + octets[start:], 0, "VIFE")
    return rest, start + len(rest)


def _text(octets: bytes, start: int) -> tuple[str, int]:
    """The text of a text VIF: a length, then the characters backwards."""
    length = _piece(octets, start, 1)[0]
    return _piece(octets, start + 1, length)[::-1].decode("latin-1"), start + 1 + length


def _places(dif: int, difes: bytes) -> tuple[int, int, int]:
    """Storage number, tariff and subunit: one bit of storage in the DIF, then 4 + 2 + 1 bits in each DIFE."""
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    for n, dife in enumerate(difes):
        storage |= (dife & 0x0F) << (1 + 4 * n)
        tariff |= (dife >> 4 & 3) << (2 * n)
        subunit |= (dife >> 6 & 1) << n
    return storage, tariff, subunit
