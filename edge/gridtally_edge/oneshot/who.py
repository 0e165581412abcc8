"""Which meter, from the options: its driver, and the driver's settings.

* `--protocol` alone is enough where one driver serves every meter of it; Modbus needs `--driver`, since registers differ.
* Options that several protocols share (`--server`, `--client`, `--auth` ...) become the setting the driver has for them; one
  the driver does not have is refused, never ignored. Everything else goes by `--set key=value`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from gridtally_edge.drivers.driver import Driver
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.meters import driver_values
from gridtally_shared.errors import ConfigError

PROTOCOLS: dict[str, str] = {
    "dlms-hdlc": "is15959",
    "dlms-wrapper": "is15959-wrapper",
    "modbus-rtu": "",
    "modbus-tcp": "",
    "iec62056-21": "iec62056-21",
    "p1": "p1",
    "mbus": "mbus",
    "wmbus": "wmbus",
}
"""Protocol to the driver that serves every meter of it; "": the meter's model must be named."""

SHARED: dict[str, tuple[str, ...]] = {
    "client": ("client_address",),
    "server": ("physical_address", "unit", "address", "logical_address"),
    "auth": ("auth",),
    "password": ("password",),
    "system_title": ("system_title",),
    "key": ("key",),
    "auth_key": ("auth_key",),
}
"""Option to the settings it may stand for; the first one the driver has."""

AUTHS = {"none": "none", "low": "lls", "hls2": "hls2", "md5": "md5", "sha1": "sha1", "gmac": "gmac", "sha256": "sha256"}
_SAME_WIRE = {"modbus-rtu": "modbus", "modbus-tcp": "modbus"}


def driver_for(protocol: str | None, name: str | None) -> Driver[Any]:
    """Raises ConfigError where the two do not fit or are not enough."""
    if protocol and protocol not in PROTOCOLS:
        raise ConfigError("--protocol", protocol, f"write one of {', '.join(PROTOCOLS)}")
    wanted = name or (PROTOCOLS[protocol] if protocol else "")
    if not wanted:
        about = f"{protocol} meters differ in their registers" if protocol else "say what to speak with --protocol, or"
        raise ConfigError("--driver", None, f"{about}; name the model ('gridtally-dcu drivers' lists them)")
    driver = driver_named(wanted)
    if protocol and _family(protocol) != _family(driver.protocol):
        raise ConfigError("--driver", wanted, f"it speaks {driver.protocol}, not {protocol}")
    return driver


def _family(protocol: str) -> str:
    return _SAME_WIRE.get(protocol, protocol)


def settings_for(driver: Driver[Any], options: Mapping[str, str | None], words: list[str]) -> dict[str, object]:
    """The driver's settings as plain values: shared options first, `--set` words over them. Raises ConfigError."""
    known = get_type_hints(driver.settings_type)
    given = []
    for option, value in options.items():
        if value is None:
            continue
        setting = _setting_of(driver, option, known)
        given.append(f"{setting}={AUTHS[value] if option == 'auth' else value}")
    return driver_values(driver, [*given, *words])


def _setting_of(driver: Driver[Any], option: str, known: Mapping[str, Any]) -> str:
    candidates = SHARED[option]
    if option == "server" and driver.protocol == "dlms-wrapper":
        candidates = ("logical_address",)
    for setting in candidates:
        if setting in known:
            return setting
    raise ConfigError(f"--{option.replace('_', '-')}", "", f"{driver.name} has no such setting; it has {', '.join(known)}")
