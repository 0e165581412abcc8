"""Columns that hold a small number for what they mean: rows are many, and a word or a usual length in each is most of them.

* `Coded` holds the place of a value in a list, in queries and rows alike; SQLite keeps 0 and 1 in no byte at all. Numbers that are not in
  the list stand for themselves. A list may grow at its end and must never change otherwise.
* Who reads the tables in SQL sees the numbers; `words` gives the expression that names them, for views.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, Integer, TypeDecorator


class Coded(TypeDecorator[Any]):
    """`Coded("raw", "late")`: 0 means raw, 1 late. Raises ValueError for a word that is not in the list."""

    impl = Integer
    cache_ok = True

    def __init__(self, *values: str | int) -> None:
        super().__init__()
        self.values = values
        self._codes = {value: code for code, value in enumerate(values)}

    def code(self, value: Any) -> int | None:
        """What the store holds for it."""
        found = self._codes.get(value)
        if found is not None or value is None:
            return found
        if isinstance(value, int) and isinstance(self.values[0], int) and not 0 <= value < len(self.values):
            return value
        raise ValueError(f"{value!r} is none of {', '.join(map(str, self.values))}")

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        return self.code(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return self.values[value] if value is not None and 0 <= value < len(self.values) else value

    def words(self, column: str) -> str:
        """SQL that gives the meaning of a column."""
        literal = [f"'{value}'" if isinstance(value, str) else str(value) for value in self.values]
        whens = " ".join(f"WHEN {code} THEN {value}" for code, value in enumerate(literal))
        return f"CASE {column} {whens} ELSE {column if isinstance(self.values[0], int) else 'NULL'} END"

    def codes(self, column: str) -> str:
        """SQL that gives the number to hold for what a column means."""
        literal = [f"'{value}'" if isinstance(value, str) else str(value) for value in self.values]
        whens = " ".join(f"WHEN {value} THEN {code}" for code, value in enumerate(literal))
        return f"CASE {column} {whens} ELSE {column if isinstance(self.values[0], int) else 'NULL'} END"
