"""Meter settings as JSON, for the API and the command line: field names are those of the records.

    {"demand_period": {"period_s": 1800, "windows": 2}, "billing_date": {"day": 1}}
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from gridtally_shared.meter_settings import KIND_OF, SETTING_TYPES, AnySetting, SettingKind


class BadSetting(ValueError):
    """`path` names the field, for example `activity_calendar.days[0].actions`."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


def to_json(setting: AnySetting) -> dict[str, Any]:
    """The record's fields, nested ones too; its name is `name_of(setting)`."""
    return dataclasses.asdict(setting)


def name_of(setting: AnySetting) -> str:
    return KIND_OF[type(setting)].name.lower()


def kind_named(name: str) -> SettingKind:
    """Raises BadSetting with the names there are."""
    try:
        return SettingKind[name.upper()]
    except KeyError:
        raise BadSetting(name, f"there is no such setting; there are {', '.join(k.name.lower() for k in SettingKind)}") from None


def from_json(name: str, raw: Any) -> AnySetting:
    """One setting by its name. Raises BadSetting naming the field that is wrong."""
    return typing.cast(AnySetting, _record(SETTING_TYPES[kind_named(name)], raw, name))


def _record(cls: Any, raw: Any, path: str) -> Any:
    if not isinstance(raw, dict):
        raise BadSetting(path, "write an object with its fields")
    hints = typing.get_type_hints(cls)
    for key in raw:
        if key not in hints:
            raise BadSetting(f"{path}.{key}", f"there is no such field; there are {', '.join(hints)}")
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.name not in raw:
            raise BadSetting(f"{path}.{field.name}", "it is missing")
    return cls(**{key: _value(hints[key], value, f"{path}.{key}") for key, value in raw.items()})


def _value(kind: Any, raw: Any, path: str) -> Any:
    if typing.get_origin(kind) is tuple:
        if not isinstance(raw, list):
            raise BadSetting(path, "write a list")
        return tuple(_value(typing.get_args(kind)[0], item, f"{path}[{n}]") for n, item in enumerate(raw))
    if dataclasses.is_dataclass(kind):
        return _record(kind, raw, path)
    if not isinstance(raw, kind) or (kind is int and isinstance(raw, bool)):
        raise BadSetting(path, f"write {_NAMES.get(kind, kind.__name__)}")
    if kind is int and not -(2**63) <= raw < 2**63:
        raise BadSetting(path, "the number is too large")
    return raw


_NAMES = {int: "a whole number", str: "a text", bool: "true or false"}
