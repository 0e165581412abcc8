"""The meters of the registry from the command line: list, add, remove. The agent reads the registry when it starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

from gridtally_edge.config import EdgeConfig, load_config
from gridtally_edge.drivers.driver import Driver, settings_from
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_shared.errors import ConfigError

SECRET = frozenset({"password", "key", "auth_key"})


def list_meters(config_file: Path, as_json: bool) -> int:
    meters = _registry(load_config(config_file)).meters()
    if as_json:
        print(json.dumps([{"key": m.key, **asdict(_without_secrets(m))} for m in meters], indent=1))
        return 0
    for meter in meters:
        settings = " ".join(f"{k}={v}" for k, v in _without_secrets(meter).settings.items())
        print(f"{meter.key:20} {meter.driver:16} {meter.serial or '(asked at start)':18} {settings}")
    if not meters:
        print("no meters yet; 'gridtally-dcu meter add --help' shows how to add one")
    return 0


def add_meter(config_file: Path, line: str, driver_name: str, words: Sequence[str], serial: str) -> int:
    config = load_config(config_file)
    registry = _registry(config)
    names = {row["name"] for row in registry.lines()} | {settings.name for settings in config.lines}
    if line not in names:
        raise ConfigError("--line", line, f"there is no such line; the lines are: {', '.join(sorted(names)) or 'none'}")
    driver = driver_named(driver_name)
    values = driver_values(driver, words)
    settings_from(driver, values)
    meter = MeterEntry(line, driver.name, values, serial)
    registry.add_meter(meter)
    print(f"{meter.key} added; restart the agent to read it")
    return 0


def remove_meter(config_file: Path, key: str) -> int:
    if not _registry(load_config(config_file)).remove_meter(key):
        raise ConfigError("key", key, "there is no such meter; 'gridtally-dcu meter list' shows them")
    print(f"{key} removed; restart the agent to forget it")
    return 0


def driver_values(driver: Driver[Any], words: Sequence[str]) -> dict[str, object]:
    """`key=value` words as the driver's plain values. Raises ConfigError."""
    kinds = get_type_hints(driver.settings_type)
    values: dict[str, object] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError("--set", word, f"write key=value; {driver.name} knows {', '.join(_names(driver))}")
        values[key] = _value(key, text, kinds.get(key, str))
    return values


def _value(key: str, text: str, kind: type) -> object:
    if kind is bool:
        return text.lower() in ("1", "true", "yes", "on")
    if kind is not int:
        return text
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(key, text, "write a whole number") from None


def _names(driver: Driver[Any]) -> list[str]:
    return [field.name for field in fields(driver.settings_type)]


def _without_secrets(meter: MeterEntry) -> MeterEntry:
    settings = {k: "***" if k in SECRET and v else v for k, v in meter.settings.items()}
    return MeterEntry(meter.line, meter.driver, settings, meter.serial)


def _registry(config: EdgeConfig) -> Registry:
    config.data_dir.mkdir(parents=True, exist_ok=True)
    return Registry(config.registry_file)
