"""What an edit makes of a range: each tool as a function of what stands there and around (mdm.md B.4).

* `set`, `add`, `multiply`, `copy`, `spread`, `shape`, `line` and `estimate` give values; `verify` and `untrust` only mark what is there.
* A missing interval stays missing under `add` and `multiply`. `spread` and `shape` give a total that is exact.
* `copy` takes each local time from another day; a time that day does not have (summer time) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from fractions import Fraction

from gridtally_cloud.vee.scale import shares
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

Values = Sequence[int | None]


class Tool(StrEnum):
    """Values are stored: never renamed."""

    SET = "set"
    ADD = "add"
    MULTIPLY = "multiply"
    COPY = "copy"
    SPREAD = "spread"
    SHAPE = "shape"
    LINE = "line"
    ESTIMATE = "estimate"
    VERIFY = "verify"
    UNTRUST = "untrust"


MARKING = frozenset({Tool.VERIFY, Tool.UNTRUST})
"""Tools that leave the values as they are."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A range as it stands. `before` and `after` are its neighbours; `model` is what it is to be like, where the tool takes that from
    elsewhere (`copy` and `estimate`)."""

    values: Values
    before: int | None = None
    after: int | None = None
    model: Values = ()


def edited(tool: Tool, piece: Piece, argument: str = "") -> list[int]:
    """The values of a range after the edit. Raises ConfigError for an argument that does not fit, or an interval the tool has
    no value for."""
    made = TOOLS[tool](piece, argument)
    if any(value is None for value in made):
        hole = next(i for i, value in enumerate(made) if value is None)
        raise ConfigError("range", f"interval {hole + 1} of {len(made)}", f"{tool.value} finds no value there; set one, or choose less")
    return [value for value in made if value is not None]


def _set(piece: Piece, argument: str) -> Values:
    return [_whole(argument)] * len(piece.values)


def _add(piece: Piece, argument: str) -> Values:
    more = _whole(argument)
    return [None if value is None else value + more for value in piece.values]


def _multiply(piece: Piece, argument: str) -> Values:
    try:
        factor = Fraction(argument)
    except (ValueError, ZeroDivisionError):
        raise ConfigError("factor", argument, "write a number such as 1.5 or 40/30") from None
    return [None if value is None else _rounded(value * factor) for value in piece.values]


def _model(piece: Piece, _argument: str) -> Values:
    return piece.model


def _spread(piece: Piece, argument: str) -> Values:
    return shares(_positive(argument), [1] * len(piece.values))


def _shape(piece: Piece, argument: str) -> Values:
    return shares(_positive(argument), [max(0, value or 0) for value in piece.values])


def _line(piece: Piece, _argument: str) -> Values:
    ends = [end for end in (piece.before, piece.after) if end is not None]
    if not ends:
        return [None] * len(piece.values)
    n, first, last = len(piece.values), ends[0], ends[-1]
    return [_rounded(first + Fraction((last - first) * place, n + 1)) for place in range(1, n + 1)]


def _as_it_is(piece: Piece, _argument: str) -> Values:
    return piece.values


TOOLS: Mapping[Tool, Callable[[Piece, str], Values]] = {
    Tool.SET: _set, Tool.ADD: _add, Tool.MULTIPLY: _multiply, Tool.COPY: _model, Tool.SPREAD: _spread, Tool.SHAPE: _shape,
    Tool.LINE: _line, Tool.ESTIMATE: _model, Tool.VERIFY: _as_it_is, Tool.UNTRUST: _as_it_is,
}  # fmt: skip


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError("value", text, "write a whole number in the unit of the channel, such as 250") from None


def _positive(text: str) -> int:
    total = _whole(text)
    if total < 0:
        raise ConfigError("total", text, "write a total from zero up, in the unit of the channel")
    return total


def _rounded(value: Fraction) -> int:
    """Halves up, as estimates are."""
    return int((2 * value + 1) // 2)
