"""On which line of a TOML file each table, key and array row stands: the standard reader does not tell.

* Good for valid TOML with one statement a line and inline tables one after another in an array, as profiles are written.
* A path is a tuple of names and row numbers, for example ("registers", 3, "unit"); a part that has no line of its own
  (a key in an inline table) is found at the line of what holds it.
"""

from __future__ import annotations

import re
from collections import Counter

Path = tuple[str | int, ...]

_HIDDEN = re.compile(r"\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'|#[^\n]*", re.DOTALL)
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]\]?\s*$")
_KEY = re.compile(r"\s*([\w.-]+)\s*=")


class TomlLines:
    """`line_of(path)` counts from 1."""

    def __init__(self, text: str) -> None:
        self._found: dict[Path, int] = {(): 1}
        self._rows: Counter[str] = Counter()
        self._table: Path = ()
        self._key: Path = ()
        self._depth = 0
        self._row = 0
        masked = _HIDDEN.sub(lambda hidden: re.sub(r"[^\n]", " ", hidden[0]), text)
        for number, line in enumerate(masked.split("\n"), start=1):
            self._take(line, number)

    def line_of(self, path: Path) -> int:
        return next(self._found[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._found)

    def _take(self, line: str, number: int) -> None:
        if self._depth == 0:
            header, key = _HEADER.match(line), _KEY.match(line)
            if header:
                self._open(header[1] == "[[", tuple(header[2].split(".")), number)
                return
            if key:
                self._key, self._row = (*self._table, *key[1].split(".")), 0
                self._found[self._key] = number
                line = line[key.end() :]
        self._count(line, number)

    def _open(self, is_array: bool, names: tuple[str, ...], number: int) -> None:
        if is_array:
            self._rows[names[0]] += 1
        here: Path = (names[0], self._rows[names[0]] - 1) if names[0] in self._rows else (names[0],)
        self._table = (*here, *names[1:])
        self._found[self._table] = number

    def _count(self, line: str, number: int) -> None:
        for sign in line:
            if sign == "{" and self._depth == 1:
                self._found[(*self._key, self._row)] = number
                self._row += 1
            self._depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(sign, 0)
