"""What a field of a tariff document may hold: each form reads a value and says the same as JSON Schema.

* Decimals are text ("0.2750"); a JSON number with a point is refused, it may have lost digits before we see it.
* Everything refused is a `ConfigError` whose key is the path in the document (`versions[0].items[2].price`) and whose remedy
  says what to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

Json = dict[str, Any]
REQUIRED: Final = object()
PYTHON_NAMES: Final = {"from": "first", "to": "until", "of": "bases", "to_kwh": "until", "to_kw": "until", "per": "every"}
_CODE = "^[a-z][a-z0-9_]{0,39}$"


@dataclass(frozen=True, slots=True)
class Form:
    """`read(value, path)` returns the value as the engine holds it, or raises ConfigError."""

    read: Callable[[Any, str], Any]
    schema: Json


@dataclass(frozen=True, slots=True)
class Field:
    """`default` is what the engine holds where the document says nothing; REQUIRED where it must."""

    name: str
    form: Form
    default: Any = REQUIRED
    about: str = ""


def parsed(text: str, what: str = "tariff") -> Any:
    """The JSON of a document of this kind; floats are kept apart so that the field that holds one can be named."""
    try:
        return json.loads(text, parse_float=_Float, parse_constant=_Float, object_pairs_hook=_object)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(what, _shown(text), f"this is not JSON ({error}); write one JSON object") from None


class _Float(str):
    """A JSON number with a point or an exponent, as it was written."""


class _Twice(dict[str, Any]):
    """An object in which a key stands twice."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    twice = _Twice(made)
    names = [name for name, _ in pairs]
    twice.key = next(n for n in names if names.count(n) > 1)
    return twice


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse(path: str, value: object, remedy: str) -> ConfigError:
    return ConfigError(path or "tariff", _shown(value), remedy)


def _plain_text(value: Any, path: str, remedy: str) -> str:
    if isinstance(value, _Float) or not isinstance(value, str):
        raise refuse(path, value, remedy)
    return value


def words(pattern: str, remedy: str) -> Form:
    """Text of a pattern."""
    compiled = re.compile(pattern)

    def read(value: Any, path: str) -> str:
        text = _plain_text(value, path, remedy)
        if not compiled.search(text):
            raise refuse(path, value, remedy)
        return text

    return Form(read, {"type": "string", "pattern": pattern})


CODE: Final = words(_CODE, 'write a code of small letters, digits and _, such as "energy"')
NAME: Final = words(r"^[^\x00-\x1f]{1,120}$", "write a name of 1 to 120 characters")


def choice(table: Mapping[str, Any]) -> Form:
    """One of the words of a table; read as the table's value."""
    remedy = "write one of " + ", ".join(f'"{word}"' for word in table)

    def read(value: Any, path: str) -> Any:
        text = _plain_text(value, path, remedy)
        if text not in table:
            raise refuse(path, value, remedy)
        return table[text]

    return Form(read, {"enum": list(table)})


def decimal(places: int, example: str) -> Form:
    """Digits with at most `places` decimals as text; read as an integer of 10^-places. Never negative."""
    pattern = rf"^[0-9]{{1,9}}(\.[0-9]{{1,{places}}})?$"
    compiled = re.compile(pattern)

    def read(value: Any, path: str) -> int:
        remedy = f'write digits with at most {places} decimals in quotes, such as "{example}"'
        if isinstance(value, _Float | int) and not isinstance(value, bool):
            raise refuse(path, value, f'write it in quotes: "{value}"')
        text = _plain_text(value, path, remedy)
        if text.startswith("-"):
            raise refuse(path, value, 'write it without the minus; an item that gives money has "credit": true')
        if not compiled.fullmatch(text):
            raise refuse(path, value, remedy)
        whole, _, part = text.partition(".")
        return int(whole + part.ljust(places, "0"))

    return Form(read, {"type": "string", "pattern": pattern})


def number(least: int, most: int) -> Form:
    """A whole number."""

    def read(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise refuse(path, value, f"write a whole number from {least} to {most}")
        return value

    return Form(read, {"type": "integer", "minimum": least, "maximum": most})


def _read_flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise refuse(path, value, "write true or false")
    return value


FLAG: Final = Form(_read_flag, {"type": "boolean"})


def _read_day(value: Any, path: str) -> int:
    remedy = 'write a day that exists, such as "2026-04-01"'
    text = _plain_text(value, path, remedy)
    try:
        if len(text) != 10:
            raise ValueError(text)
        return date.fromisoformat(text).toordinal()
    except ValueError:
        raise refuse(path, value, remedy) from None


def _read_month_day(value: Any, path: str) -> int:
    """Place in a year of 366 days, from 0."""
    remedy = 'write month and day, such as "04-01"'
    text = _plain_text(value, path, remedy)
    try:
        return date.fromisoformat(f"2024-{text}").toordinal() - date(2024, 1, 1).toordinal()
    except ValueError:
        raise refuse(path, value, remedy) from None


def _read_minute(value: Any, path: str) -> int:
    """Minutes since local midnight; "24:00" is 1440."""
    remedy = 'write a time of day from "00:00" to "24:00"'
    text = _plain_text(value, path, remedy)
    match = re.fullmatch(r"([0-2][0-9]):([0-5][0-9])", text)
    minute = int(match[1]) * 60 + int(match[2]) if match else 1441
    if minute > 1440:
        raise refuse(path, value, remedy)
    return minute


DAY: Final = Form(_read_day, {"type": "string", "format": "date"})
MONTH_DAY: Final = Form(_read_month_day, {"type": "string", "pattern": "^[01][0-9]-[0-3][0-9]$"})
MINUTE: Final = Form(_read_minute, {"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$"})


def listed(form: Form, least: int = 0) -> Form:
    """A list, read as a tuple."""

    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise refuse(path, value, f"write a list of at least {least}, in [ ]" if least else "write a list, in [ ]")
        return tuple(form.read(each, f"{path}[{i}]") for i, each in enumerate(value))

    return Form(read, {"type": "array", "items": form.schema, **({"minItems": least} if least else {})})


def shaped(make: Callable[..., Any], fields: Sequence[Field]) -> Form:
    """An object of these fields and no others, read as `make(**fields)`."""
    known = {f.name for f in fields}

    def read(value: Any, path: str) -> Any:
        given = mapping(value, path)
        for name in given:
            if name not in known:
                raise refuse(_at(path, name), given[name], f"this key is not known here; write one of {', '.join(sorted(known))}")
        return make(**{_python(f.name): _field(f, given, path) for f in fields})

    return Form(read, {
        "type": "object", "additionalProperties": False,
        "properties": {f.name: f.form.schema | ({"description": f.about} if f.about else {}) for f in fields},
        "required": [f.name for f in fields if f.default is REQUIRED],
    })  # fmt: skip


def one_of(key: str, forms: Mapping[str, tuple[Callable[..., Any], Sequence[Field]]]) -> Form:
    """An object whose `key` says which shape it has."""
    word = choice(dict.fromkeys(forms))
    shapes = {name: shaped(_without(key, make), [Field(key, choice({name: name})), *fields]) for name, (make, fields) in forms.items()}

    def read(value: Any, path: str) -> Any:
        given = mapping(value, path)
        if key not in given:
            raise refuse(_at(path, key), None, f"missing; write one of {', '.join(forms)}")
        word.read(given[key], _at(path, key))
        return shapes[given[key]].read(given, path)

    return Form(read, {"oneOf": [shape.schema for shape in shapes.values()]})


def _without(key: str, make: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **fields: make(**{name: value for name, value in fields.items() if name != key})


def mapping(value: Any, path: str) -> dict[str, Any]:
    """A JSON object in which no key stands twice."""
    if not isinstance(value, dict):
        raise refuse(path, value, "write an object, in { }")
    if isinstance(value, _Twice):
        raise refuse(_at(path, value.key), value[value.key], "this key stands twice; keep one")
    return value


def _field(field: Field, given: dict[str, Any], path: str) -> Any:
    if field.name in given:
        return field.form.read(given[field.name], _at(path, field.name))
    if field.default is REQUIRED:
        raise refuse(_at(path, field.name), None, f"missing; add it{': ' + field.about if field.about else ''}")
    return field.default


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _python(name: str) -> str:
    return PYTHON_NAMES.get(name, name)
