"""Messages to bytes and back, from one declaration.

* A message is a frozen dataclass whose fields carry their integer key in `key(n)`. Keys are never reused and only
  added; an unknown key is passed over, so that contract N reads N+1.
* A field with a default is left out of the bytes when it has that default, and may be absent when read.
* Types: int (64 bit), bool, str, bytes, another message, `T | None`, and tuples of these.
* Anything that does not fit is a `ContractError` that names message and field.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

from gridtally_shared import cbor
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

M = TypeVar("M")

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def key(number: int, default: Any = dataclasses.MISSING) -> Any:
    """Declare a field's wire key, with its default if the field may be absent."""
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={"key": number})
    return dataclasses.field(default=default, metadata={"key": number})


def encode(message: Any) -> bytes:
    """Deterministic CBOR of a message: shortest numbers, definite lengths, keys in ascending order (as cbor.dumps writes it)."""
    return _message(message)


def decode(cls: type[M], data: bytes) -> M:
    """Read one message of type `cls`. Raises ContractError."""
    return from_map(cls, cbor.loads(data))


@dataclass(frozen=True, slots=True)
class _Spec:
    name: str
    key: int
    type: Any
    default: Any


@cache
def _specs(cls: Any) -> tuple[_Spec, ...]:
    hints = typing.get_type_hints(cls)
    specs = tuple(_Spec(f.name, f.metadata["key"], hints[f.name], f.default) for f in dataclasses.fields(cls))
    if len({s.key for s in specs}) != len(specs):
        raise ValueError(f"{cls.__name__} uses a wire key twice")
    if any(s.key < 0 for s in specs):
        raise ValueError(f"{cls.__name__}: wire keys are not negative")
    return tuple(sorted(specs, key=lambda s: s.key))


@dataclass(frozen=True, slots=True)
class _Writer:
    """How a class is written: all its values at once, and for each the bytes of its key and its default."""

    values: Callable[[Any], tuple[Any, ...]]
    fields: tuple[tuple[bytes, Any], ...]


@cache
def _writer(cls: Any) -> _Writer:
    specs = _specs(cls)
    names = [s.name for s in specs]
    one = attrgetter(names[0]) if names else None
    values = attrgetter(*names) if len(names) > 1 else lambda message: (one(message),) if one else ()
    return _Writer(values, tuple((_int(s.key), s.default) for s in specs))


def _message(message: Any) -> bytes:
    """A map of the fields that do not have their default, in the order of the keys."""
    writer = _writer(type(message))  # type: ignore[arg-type]
    parts: list[bytes] = []
    for value, (head, default) in zip(writer.values(message), writer.fields, strict=True):
        if value != default:
            write = _WRITERS.get(type(value), _other)
            parts += (head, write(value))
    return _head(_MAP, len(parts) // 2) + b"".join(parts)


def _other(value: Any) -> bytes:
    if isinstance(value, int):
        return _int(int(value))
    return _message(value) if hasattr(type(value), "__dataclass_fields__") else cbor.dumps_ordered(value)


_UINT, _NINT, _BYTES, _TEXT, _LIST, _MAP = (major << 5 for major in range(6))
_SHORT, _ONE = 24, 256
_TINY = tuple(bytes([first]) for first in range(256))
_SIZES = ((2**16, 25, 2), (2**32, 26, 4), (2**64, 27, 8))


def _head(major: int, number: int) -> bytes:
    """Kind and number of an item, as short as it can be."""
    if number < _SHORT:
        return _TINY[major | number]
    if number < _ONE:
        return _TINY[major | _SHORT] + _TINY[number]
    for limit, mark, size in _SIZES:
        if number < limit:
            return _TINY[major | mark] + number.to_bytes(size, "big")
    raise ContractError(f"{number} does not fit 64 bits")


def _int(value: int) -> bytes:
    if 0 <= value < _SHORT:
        return _TINY[value]
    return _head(_UINT, value) if value >= 0 else _head(_NINT, -1 - value)


def _text(value: str) -> bytes:
    data = value.encode()
    return _head(_TEXT, len(data)) + data


def _items(values: tuple[Any, ...]) -> bytes:
    return _head(_LIST, len(values)) + b"".join([_WRITERS.get(type(value), _other)(value) for value in values])


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    int: _int,
    str: _text,
    bytes: lambda value: _head(_BYTES, len(value)) + value,
    bool: lambda value: b"\xf5" if value else b"\xf4",
    type(None): lambda value: b"\xf6",
    tuple: _items,
    list: _items,
}
"""By the type of a value; whatever else there is goes the long way."""


def from_map(cls: type[M], raw: Any) -> M:
    """Check a decoded map against the declaration of `cls`. Raises ContractError."""
    if not isinstance(raw, dict):
        raise ContractError(f"{cls.__name__}: expected a map, got {type(raw).__name__}")
    values = {}
    for spec, check in _checks(cls):  # type: ignore[arg-type]
        if spec.key in raw:
            values[spec.name] = check(raw[spec.key])
        elif spec.default is dataclasses.MISSING:
            raise ContractError(f"{cls.__name__}: key {spec.key} ({spec.name}) is missing")
    return cls(**values)


Check = Callable[[Any], Any]
"""Gives the value as the field has it, or raises ContractError."""


@cache
def _checks(cls: Any) -> tuple[tuple[_Spec, Check], ...]:
    return tuple((spec, _check_of(spec.type, f"{cls.__name__}.{spec.name}")) for spec in _specs(cls))


def _check_of(kind: Any, where: str) -> Check:
    """How a value of a declared type is checked; looked up once a field, not once a value."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        present = _check_of(next(a for a in typing.get_args(kind) if a is not type(None)), where)
        return lambda value: None if value is None else present(value)
    if origin is tuple:
        return _check_items(_check_of(typing.get_args(kind)[0], where), where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return lambda value: from_map(kind, value)
    return _check_int(where) if kind is int else _check_scalar(kind, where)


def _check_items(item: Check, where: str) -> Check:
    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise ContractError(f"{where}: expected a list, got {type(value).__name__}")
        return tuple([item(each) for each in value])

    return check


def _check_int(where: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not int:
            raise ContractError(f"{where}: expected int, got {type(value).__name__}")
        if not INT_MIN <= value <= INT_MAX:
            raise ContractError(f"{where}: {value} does not fit 64 bits")
        return value

    return check


def _check_scalar(kind: Any, where: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise ContractError(f"{where}: expected {kind.__name__}, got {type(value).__name__}")
        return value

    return check
