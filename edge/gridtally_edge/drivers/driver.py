"""A driver is data: one row per meter model, carrying its own test vectors.

* A driver names its protocol, the document it was made from, its line settings and how to make a `MeterPort`.
* Settings of one meter are a frozen dataclass of the driver; `settings_from` builds it from the registry's plain
  values and refuses unknown keys and wrong types with a `ConfigError` that says what to write instead.
* A vector names its origin. `captured`: recorded bytes, by reference into the test data. `document`: bytes built by
  hand from a cited page. `peer`: made by an independent program. Our own encoder is never an origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from functools import cache
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_type_hints

from gridtally_edge.drivers.model import MeterPort, Pushed
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass


class DriverSettings(Protocol):
    """Any frozen dataclass: the settings of one meter under one driver."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


S = TypeVar("S", bound=DriverSettings)


class Origin(Enum):
    CAPTURED = "captured"
    DOCUMENT = "document"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class LineDefaults:
    """Serial settings a meter leaves the factory with. `turnaround_ms` is its usual time to the first answer byte."""

    baud: int
    data_bits: int = 8
    parity: str = "N"
    stop_bits: int = 1
    turnaround_ms: int = 20


@dataclass(frozen=True, slots=True)
class Vector:
    """Bytes of a meter and what they mean: `expects` are pairs of a name (quantity or OBIS code) and a value as text.

    `data` holds the bytes, or `reference` names them as `file.json#case` below GRIDTALLY_DATA. `source` cites the
    document and page, the recording, or the peer program.
    """

    name: str
    origin: Origin
    source: str
    expects: tuple[tuple[str, str], ...]
    data: bytes = b""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Driver(Generic[S]):
    """One meter model. `read_vector` decodes a vector's bytes to (name, text) pairs with the driver's own table. `hears`
    makes readings of what the meter sends unasked (one whole message of a line and when it came), where it does. `counts`: its
    messages are numbered under a key, and `make_port` takes the durable book of those numbers as well."""

    name: str
    protocol: str
    title: str
    document: str
    settings_type: type[S]
    make_port: Callable[..., MeterPort]
    line: LineDefaults
    vectors: tuple[Vector, ...]
    read_vector: Callable[[bytes], tuple[tuple[str, str], ...]]
    commodity: str = "electricity"
    hears: Callable[[S, bytes, int], Pushed | None] | None = None
    counts: bool = False


def settings_from(driver: Driver[S], values: Mapping[str, object]) -> S:
    """The driver's settings from plain values (text, int, bool; an Enum by its value). Raises ConfigError."""
    kinds = _kinds(driver.settings_type)
    for key in values:
        if key not in kinds:
            raise ConfigError(key, values[key], f"{driver.name} knows only {', '.join(sorted(kinds))}")
    for field in fields(driver.settings_type):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values:
            raise ConfigError(field.name, None, f"{driver.name} needs it: {kinds[field.name].__name__}")
    return driver.settings_type(**{key: _converted(key, value, kinds[key]) for key, value in values.items()})


@cache
def _kinds(settings_type: type) -> dict[str, type]:
    return get_type_hints(settings_type)


def _converted(key: str, value: object, kind: type) -> object:
    if issubclass(kind, Enum):
        return _enum_member(key, value, kind)
    if kind is bytes and isinstance(value, str):
        return _bytes_from_hex(key, value)
    if type(value) is not kind:
        raise ConfigError(key, value, f"write a value of type {kind.__name__}")
    return value


def _enum_member(key: str, value: object, kind: type[Enum]) -> Enum:
    try:
        return value if isinstance(value, kind) else kind(value)
    except ValueError:
        raise ConfigError(key, value, f"write one of {', '.join(str(m.value) for m in kind)}") from None


def _bytes_from_hex(key: str, value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise ConfigError(key, value, "write the bytes as hexadecimal digits") from None
