"""Reads typed values out of parsed TOML and notes every fault with its line, so that one run shows all of them.

* A value of the wrong kind is a fault, and the default goes on in its place; nothing is raised.
* What nobody asked for is an unknown key; the nearest known one is offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from fractions import Fraction
from typing import Any, TypeVar

from gridtally_edge.drivers.toml_lines import Path, TomlLines
from gridtally_shared.records import dataclass

T = TypeVar("T")
SHOWN = 30


@dataclass(frozen=True, slots=True)
class ProfileFault:
    """What is wrong, and on which line of the file."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(slots=True)
class Faults:
    lines: TomlLines
    found: list[ProfileFault] = field(default_factory=list)

    def add(self, path: Path, text: str) -> None:
        self.found.append(ProfileFault(self.lines.line_of(path), text))

    def sorted(self) -> tuple[ProfileFault, ...]:
        return tuple(sorted(self.found, key=lambda fault: fault.line))


def nearest(word: str, known: list[str]) -> str:
    """The known words as a remedy, the likely one first."""
    from difflib import get_close_matches  # an agent with sound profiles never needs it

    close = get_close_matches(word, known, 1, 0.5)
    if close:
        return f"did you mean {close[0]}?"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"known are {', '.join(known[:SHOWN])}{more}"


@dataclass(slots=True)
class Table:
    """One table of the file; `asked` remembers the keys that were read."""

    values: Mapping[str, Any]
    path: Path
    faults: Faults
    asked: set[str] = field(default_factory=set)

    def has(self, key: str) -> bool:
        self.asked.add(key)
        return key in self.values

    def fault(self, key: str, text: str) -> None:
        self.faults.add((*self.path, key), text)

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default, str, 'text in quotes "..."')
        return value if isinstance(value, str) else default or ""

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._get(key, default, int, "a whole number")
        if not isinstance(value, int) or isinstance(value, bool):
            return low if default is None else default
        if not low <= value <= high:
            self.fault(key, f"{key} = {value} must lie within {low} to {high}")
            return low
        return value

    def number(self, key: str, default: Fraction | None = None) -> Fraction | None:
        """An exact number, or `default` where there is none."""
        if not self.has(key):
            return default
        value = self.values[key]
        if isinstance(value, Fraction) or type(value) is int:
            return Fraction(value)
        self.fault(key, f"{key} = {value!r}: write a number")
        return default

    def choice(self, key: str, known: Mapping[Any, T], default: T | None = None) -> T:
        if not self.has(key) and default is not None:
            return default
        value = self.values.get(key)
        if type(value) in {type(name) for name in known} and value in known:
            return known[value]
        first = next(iter(known.values()))
        if value is None:
            self.faults.add(self.path, f"{key} is missing; write one of {', '.join(map(str, known))}")
        else:
            self.fault(key, f"{key} = {value!r}: {nearest(str(value), [str(k) for k in known])}")
        return first if default is None else default

    def table(self, key: str) -> Table | None:
        if not self.has(key):
            return None
        if isinstance(self.values[key], dict):
            return Table(self.values[key], (*self.path, key), self.faults)
        self.fault(key, f"{key} must be a table [{key}]")
        return None

    def rows(self, key: str) -> Iterator[Table]:
        if not self.has(key):
            return
        value = self.values[key]
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            self.fault(key, f"{key} must be a list of tables")
            return
        for number, row in enumerate(value):
            yield Table(row, (*self.path, key, number), self.faults)

    def integers(self, key: str) -> frozenset[int] | None:
        if not self.has(key):
            return None
        value = self.values[key]
        if isinstance(value, list) and all(type(item) is int for item in value):
            return frozenset(value)
        self.fault(key, f"{key} must be a list of whole numbers, for example [0xFFFF]")
        return None

    def finish(self) -> None:
        """To be called when everything was asked: what is left is unknown."""
        for key in self.values:
            if key not in self.asked:
                self.fault(key, f"unknown key {key}; {nearest(key, sorted(self.asked))}")

    def _get(self, key: str, default: object, kind: type, how: str) -> object:
        if not self.has(key):
            if default is None:
                self.faults.add(self.path, f"{key} is missing; write {how}")
            return default
        value = self.values[key]
        if type(value) is kind:
            return value
        self.fault(key, f"{key} = {value!r}: write {how}")
        return default
