"""The meters of the registry from the command line: list, add, remove, replace. A running agent takes a change in by itself,
and journals the opening and closing registers that stand beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from gridtally_edge.config import EdgeConfig, load_config
from gridtally_edge.drivers.driver import Driver, settings_from
from gridtally_edge.drivers.modbus_profile import SUFFIX
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.registry import MeterChange, MeterEntry, Registry
from gridtally_edge.switches.fitted import with_switch
from gridtally_edge.transports.places import Place, driver_part, place_of
from gridtally_shared.clock import clock_from
from gridtally_shared.errors import ConfigError
from gridtally_shared.quantities import BY_NAME, QUANTITIES, Kind

SECRET = frozenset({"password", "key", "auth_key", "master_key", "settings_secret"})
COMMON_REGISTERS = frozenset({1, 2, 3, 81, 82, 83})


def list_meters(config_file: Path, as_json: bool) -> int:
    meters = _registry(load_config(config_file)).meters()
    if as_json:
        print(json.dumps([{"key": m.key, **asdict(_without_secrets(m))} for m in meters], indent=1))
        return 0
    for meter in meters:
        settings = " ".join(f"{k}={v}" for k, v in _without_secrets(meter).settings.items())
        settings += f" switch={meter.switch}" if meter.switch else ""
        print(f"{meter.key:20} {meter.driver:16} {meter.serial or '(asked at start)':18} {settings}")
    if not meters:
        print("no meters yet; 'gridtally-dcu meter add --help' shows how to add one")
    return 0


def add_meter(
    config_file: Path, line: str, driver_name: str, words: Sequence[str], serial: str, switch: str = "",
    opening: Sequence[str] = (),
) -> int:  # fmt: skip
    config = load_config(config_file)
    registry = _registry(config)
    lines = {row.name for row in config.lines}
    if line not in lines:
        raise ConfigError("--line", line, f"there is no such line; the lines are: {', '.join(sorted(lines)) or 'none'}")
    driver = driver_named(driver_name, config.drivers_dir)
    values = driver_values(driver, words)
    port = driver.make_port(settings_from(driver, driver_part(values)))
    with_switch(port, driver, switch, line)
    name = str(Path(driver_name).resolve()) if driver_name.endswith(SUFFIX) else driver.name
    meter = MeterEntry(line, name, values, serial, switch=switch)
    place_of(values)
    registry.add_meter(meter)
    registry.note_change(_change(config, "add", meter.key, serial=serial, opening=registers_from("--opening", opening)))
    print(f"{meter.key} added; a running agent reads it within seconds")
    return 0


def remove_meter(config_file: Path, key: str, closing: Sequence[str] = ()) -> int:
    config = load_config(config_file)
    registry = _registry(config)
    change = _change(config, "remove", key, old_serial=_entry(registry, key).serial, closing=registers_from("--closing", closing))
    registry.remove_meter(key)
    registry.note_change(change)
    print(f"{key} removed; a running agent stops reading it within seconds")
    return 0


def replace_meter(
    config_file: Path, key: str, serial: str, closing: Sequence[str], opening: Sequence[str], words: Sequence[str]
) -> int:
    """Another meter of the same model at the same place: the old one's closing registers, the new one's opening ones."""
    config = load_config(config_file)
    registry = _registry(config)
    old = _entry(registry, key)
    if serial and serial == old.serial:
        raise ConfigError("--serial", serial, "that is the meter that is there; write the serial of the new one")
    driver = driver_named(old.driver, config.drivers_dir)
    values = {**old.settings, **driver_values(driver, words)}
    settings_from(driver, driver_part(values))
    new = replace(old, settings=values, serial=serial)
    if new.key != key:
        registry.remove_meter(key)
    registry.add_meter(new)
    change = _change(
        config, "replace", new.key, serial, old.serial, registers_from("--opening", opening),
        registers_from("--closing", closing),
    )  # fmt: skip
    registry.note_change(change)
    print(f"{new.key} replaced; a running agent reads the new meter within seconds")
    return 0


def registers_from(option: str, words: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """`energy_import_wh=1234` words. Raises ConfigError."""
    registers = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or name not in BY_NAME or BY_NAME[name].kind is not Kind.REGISTER or not text.isdecimal():
            known = ", ".join(q.name for q in QUANTITIES if q.kind is Kind.REGISTER and q.code in COMMON_REGISTERS)
            raise ConfigError(option, word, f"write register=whole number, for example {known}")
        registers.append((name, int(text)))
    return tuple(registers)


def _change(
    config: EdgeConfig, action: str, key: str, serial: str = "", old_serial: str = "", opening: tuple[tuple[str, int], ...] = (),
    closing: tuple[tuple[str, int], ...] = (),
) -> MeterChange:  # fmt: skip
    now_ms = clock_from(config.virtual_clock_file or None).now_ms()
    return MeterChange(os.urandom(8).hex(), action, key, now_ms, serial, old_serial, opening, closing)


def _entry(registry: Registry, key: str) -> MeterEntry:
    entry = next((meter for meter in registry.meters() if meter.key == key), None)
    if entry is None:
        raise ConfigError("key", key, "there is no such meter; 'gridtally-dcu meter list' shows them")
    return entry


def driver_values(driver: Driver[Any], words: Sequence[str]) -> dict[str, object]:
    """`key=value` words as plain values of the driver and of the meter's place. Raises ConfigError."""
    kinds = {**get_type_hints(Place), **get_type_hints(driver.settings_type)}
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
    return replace(meter, settings=settings)


def _registry(config: EdgeConfig) -> Registry:
    config.data_dir.mkdir(parents=True, exist_ok=True)
    return Registry(config.registry_file)
