"""Profiles (class 7) of a simulated meter: rows by range and by entry, columns, period, entries in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import ENTRIES, RANGE, AccessResult, Attribute, Result, Selector
from gridtally_edge.protocols.dlms.axdr import Data, Tag, array, octet_string, structure
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, decode_datetime
from gridtally_edge.simulators.house_columns import Column
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

MOST_ENTRIES: Final = 4_416
_EVER_MS: Final = (0, 1 << 52)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a profile and its time for range access."""

    at_ms: int
    values: Data


@dataclass(frozen=True, slots=True)
class Profile:
    """`rows` gives those of a time range, both ends included; `count` how many there are in all, where counting is cheaper."""

    columns: tuple[Attribute, ...]
    rows: Callable[[int, int], tuple[Row, ...]]
    period_s: Callable[[], int] = lambda: 0
    count: Callable[[], int] | None = None

    def all_rows(self) -> tuple[Row, ...]:
        return self.rows(*_EVER_MS)

    def read(self, index: int, selector: Selector | None, rule: ClockRule) -> Data | Result:
        if index == 2:
            return self._buffer(selector, rule)
        if index in (7, 8):
            return Data(Tag.UINT32, self.count() if self.count else len(self.all_rows()))
        fixed: dict[int, Callable[[], Data]] = {
            3: lambda: array(*(_capture_object(column) for column in self.columns)),
            4: lambda: Data(Tag.UINT32, self.period_s()),
            5: lambda: Data(Tag.ENUM, 1),
        }
        return fixed[index]() if index in fixed else Result(AccessResult.READ_WRITE_DENIED)

    def _buffer(self, selector: Selector | None, rule: ClockRule) -> Data | Result:
        if selector is None:
            return _buffer(self.all_rows())
        select = {RANGE: self._range, ENTRIES: self._entries}.get(selector.kind)
        try:
            return select(selector.parameters, rule) if select else Result(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
        except MeterFault:
            return Result(AccessResult.TYPE_UNMATCHED)

    def _range(self, parameters: Data, rule: ClockRule) -> Data:
        items = axdr.items_of(parameters)
        if len(items) != 4:
            raise MeterFault("a range has four parts")
        first, last = (decode_datetime(axdr.octets_of(item)).utc_ms(rule) for item in items[1:3])
        return _buffer(self.rows(first, last))

    def _entries(self, parameters: Data, rule: ClockRule) -> Data:
        items = axdr.items_of(parameters)
        if len(items) != 4:
            raise MeterFault("an entry span has four parts")
        first, last = axdr.integer_of(items[0]), axdr.integer_of(items[1])
        return _buffer(self.all_rows()[max(first - 1, 0) : last or None])


def scaler_profile(columns: Sequence[Column[Any]]) -> Profile:
    """The scalers of a profile, without clock and counters."""
    scaled = [column for column in columns if column.unit]
    targets = tuple(Attribute(c.target.class_id, c.target.obis, 3) for c in scaled)
    row = Row(0, structure(*(column.scaler_unit() for column in scaled)))
    return Profile(targets, lambda first_ms, last_ms: (row,))


def _capture_object(column: Attribute) -> Data:
    return structure(
        Data(Tag.UINT16, column.class_id),
        octet_string(column.obis.value),
        Data(Tag.INT8, column.index),
        Data(Tag.UINT16, 0),
    )


def _buffer(rows: tuple[Row, ...]) -> Data:
    return array(*(row.values for row in rows))
