"""What `gridtally decode` says about octets: the records its decoders fill, and exact JSON of them.

* A decoder is an entry point of the group `gridtally.decoders`: a function (data, keys) -> Explanation or None.
  None means "not mine"; octets that are clearly mine and damaged give an Explanation with `faults` and no readings.
* `proved` says that a checksum or signature confirms the kind; the command shows proved explanations first.
* Numbers are exact: an int, or a Decimal that JSON shows with its own digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import field
from decimal import Decimal
from typing import TypeAlias

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys given on the command line; never shown."""

    encryption: bytes | None = field(default=None, repr=False)
    authentication: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ExplainedReading:
    """One value with its scaler applied. `unit` is empty where the message does not tell it."""

    obis: str
    value: int | Decimal | str
    unit: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`title` says in one line what it is, `lines` what it holds, in words; `faults` what is wrong with it."""

    kind: str
    title: str
    lines: tuple[str, ...] = ()
    readings: tuple[ExplainedReading, ...] = ()
    faults: tuple[str, ...] = ()
    proved: bool = False


Decoder: TypeAlias = Callable[[bytes, Keys], "Explanation | None"]
Json: TypeAlias = "str | int | bool | Decimal | list[Json] | dict[str, Json] | None"


def as_json(explanation: Explanation) -> Json:
    """The explanation as plain values."""
    readings: list[Json] = [{"obis": r.obis, "value": r.value, "unit": r.unit} for r in explanation.readings]
    return {
        "kind": explanation.kind,
        "title": explanation.title,
        "proved": explanation.proved,
        "lines": list(explanation.lines),
        "readings": readings,
        "faults": list(explanation.faults),
    }


def json_text(value: Json) -> str:
    """JSON on one line, with every Decimal as a number of exactly its digits."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(json_text(item) for item in value) + "]"
    if isinstance(value, Decimal):
        return plain(value)
    return json.dumps(value, ensure_ascii=False)


def plain(number: int | Decimal) -> str:
    """Digits without exponent and without trailing zeros behind the point."""
    text = format(number, "f") if isinstance(number, Decimal) else str(number)
    return text.rstrip("0").rstrip(".") if "." in text else text
