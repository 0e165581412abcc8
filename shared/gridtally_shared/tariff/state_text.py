"""A state of the engine as JSON text and back, for a journal or a store: what it says is exactly what it was."""

from __future__ import annotations

import json
from dataclasses import fields
from fractions import Fraction
from operator import attrgetter
from typing import Any

from gridtally_shared.errors import ContractError
from gridtally_shared.tariff.engine import State
from gridtally_shared.tariff.lines import Line

VERSION = 1
_LINE = attrgetter(*(f.name for f in fields(Line)))
_STATE = attrgetter(*(f.name for f in fields(State)))
_FACTOR = [f.name for f in fields(Line)].index("factor")
_CHARGED = [f.name for f in fields(State)].index("charged")


compact = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def state_text(state: State) -> str:
    """Compact JSON: the fields in their order; integers and text only."""
    return compact(state_list(state))


def state_list(state: State) -> list[Any]:
    values = list(_STATE(state))
    values[_CHARGED] = lines_list(state.charged)
    return [VERSION, *values]


def lines_list(lines: tuple[Line, ...]) -> list[Any]:
    return [[str(value) if type(value) is Fraction else value for value in _LINE(line)] for line in lines]


def state_from(text: str) -> State:
    """Read it back. Raises ContractError for what this version did not write."""
    try:
        return listed_state(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ContractError(f"tariff state not understood: {error}") from None


def listed_state(body: Any) -> State:
    """Raises ContractError."""
    try:
        version, *values = body
        if version != VERSION or len(values) != len(fields(State)):
            raise ValueError("another version")
        fields_now: list[Any] = [listed_lines(value) if i == _CHARGED else _tuples(value) for i, value in enumerate(values)]
        return State(*fields_now)
    except (ValueError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise ContractError(f"tariff state not understood: {error}") from None


def listed_lines(body: Any) -> tuple[Line, ...]:
    return tuple(_line(values) for values in body)


def _line(values: list[Any]) -> Line:
    parts: list[Any] = [*values[:_FACTOR], Fraction(values[_FACTOR]), *values[_FACTOR + 1 :]]
    return Line(*parts)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
