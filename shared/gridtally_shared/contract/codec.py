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
from functools import cache
from typing import Any, TypeVar

from gridtally_shared import cbor
from gridtally_shared.errors import ContractError

M = TypeVar("M")

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def key(number: int, default: Any = dataclasses.MISSING) -> Any:
    """Declare a field's wire key, with its default if the field may be absent."""
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={"key": number})
    return dataclasses.field(default=default, metadata={"key": number})


def encode(message: Any) -> bytes:
    """Deterministic CBOR of a message."""
    return cbor.dumps(to_map(message))


def decode(cls: type[M], data: bytes) -> M:
    """Read one message of type `cls`. Raises ContractError."""
    return from_map(cls, cbor.loads(data))


@dataclasses.dataclass(frozen=True, slots=True)
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
    return tuple(sorted(specs, key=lambda s: s.key))


def to_map(message: Any) -> dict[int, Any]:
    """The integer-keyed map that stands for a message on the wire."""
    pairs = ((s, getattr(message, s.name)) for s in _specs(type(message)))  # type: ignore[arg-type]
    return {s.key: _plain(value) for s, value in pairs if s.default is dataclasses.MISSING or value != s.default}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_map(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def from_map(cls: type[M], raw: Any) -> M:
    """Check a decoded map against the declaration of `cls`. Raises ContractError."""
    if not isinstance(raw, dict):
        raise ContractError(f"{cls.__name__}: expected a map, got {type(raw).__name__}")
    values = {}
    for spec in _specs(cls):  # type: ignore[arg-type]
        if spec.key in raw:
            values[spec.name] = _checked(spec.type, raw[spec.key], f"{cls.__name__}.{spec.name}")
        elif spec.default is dataclasses.MISSING:
            raise ContractError(f"{cls.__name__}: key {spec.key} ({spec.name}) is missing")
    return cls(**values)


def _checked(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _checked(next(a for a in typing.get_args(kind) if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ContractError(f"{where}: expected a list, got {type(value).__name__}")
        return tuple(_checked(typing.get_args(kind)[0], item, where) for item in value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_map(kind, value)
    if type(value) is not kind:
        raise ContractError(f"{where}: expected {kind.__name__}, got {type(value).__name__}")
    if kind is int and not INT_MIN <= value <= INT_MAX:
        raise ContractError(f"{where}: {value} does not fit 64 bits")
    return value
