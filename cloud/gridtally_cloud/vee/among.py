"""Rows of many numbered things: by their span where the numbers follow each other, else number by number.

* A thousand numbers in a statement take SQLAlchemy a millisecond, which is more than SQLite needs for the rows.
* Only where the number is the last thing the index needs: what comes behind a span in a key is read through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam

THIN = 2
"""Numbers that are fewer than one in so many of their span are asked for one by one."""


class Among:
    """A query of the rows whose `of` is one of some numbers; `thin` where they are better asked for one by one, always.
    It stands at `place` of a row."""

    def __init__(
        self, query: Select[Any], of: ColumnElement[int], *order: ColumnElement[Any], thin: bool = False, place: int = 0
    ) -> None:
        self._thin, self._place = thin, place
        self._each = query.where(of.in_(bindparam("numbers", expanding=True))).order_by(*order)
        self._span = query.where(of.between(bindparam("first_number"), bindparam("last_number"))).order_by(*order)

    def rows(self, conn: Connection, numbers: Sequence[int], **values: Any) -> Iterator[Any]:
        """Those of `numbers`, which rise."""
        if not numbers:
            return iter(())
        span = numbers[-1] - numbers[0] + 1
        if self._thin or span > THIN * len(numbers):
            return iter(conn.execute(self._each, values | {"numbers": numbers}))
        rows = conn.execute(self._span, values | {"first_number": numbers[0], "last_number": numbers[-1]})
        if span == len(numbers):
            return iter(rows)
        wanted = frozenset(numbers)
        return (row for row in rows if row[self._place] in wanted)
