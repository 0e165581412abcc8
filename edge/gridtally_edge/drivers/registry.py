"""Every driver by its name: the one place that knows them all.

* A meter model with code of its own is a new file with a `Driver`, and a row in `PLACES`.
* A Modbus meter is a data file: one of `profiles/`, or one of your own in the folder `drivers_dir`, or any file by its path.
* A driver is imported, and a file read, when it is asked for: an agent pays in memory and start for the drivers it uses.
* The test of this table runs the vectors of all of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gridtally_edge.drivers.driver import Driver
from gridtally_shared.errors import ConfigError

SUFFIX = ".toml"
PROFILES = Path(__file__).parent / "profiles"

PLACES: dict[str, tuple[str, str]] = {
    "is15959": ("is15959", "DRIVER"),
    "is15959-3ph": ("is15959", "THREE_PHASE"),
    "is15959-wrapper": ("is15959", "WRAPPER"),
    "iec62056-21": ("iec62056_21", "DRIVER"),
    "p1": ("p1", "DRIVER"),
    "mbus": ("mbus", "DRIVER"),
    "wmbus": ("wmbus", "DRIVER"),
    "is15959-mode-e": ("mode_e", "DRIVER"),
}
"""By name: the module of this folder, and its attribute."""


def by_name(drivers: Iterable[Driver[Any]]) -> dict[str, Driver[Any]]:
    """Raises ValueError when two drivers carry one name."""
    table: dict[str, Driver[Any]] = {}
    for driver in drivers:
        if driver.name in table:
            raise ValueError(f"two drivers are named {driver.name}")
        table[driver.name] = driver
    return table


def profile_names(folder: Path = PROFILES) -> tuple[str, ...]:
    """The Modbus meters that are data files of a folder."""
    return tuple(sorted(path.stem for path in folder.glob(f"*{SUFFIX}")))


def driver_names(folder: Path | None = None) -> tuple[str, ...]:
    """The names of all drivers, those of `folder` included."""
    own = profile_names(folder) if folder else ()
    return tuple(sorted({*PLACES, *profile_names(), *own}))


def all_drivers(folder: Path | None = None) -> tuple[Driver[Any], ...]:
    """Every driver, read from its file. Raises ConfigError for a file of `folder` that is no profile."""
    return tuple(driver_named(name, folder) for name in driver_names(folder))


def driver_named(name: str, folder: Path | None = None) -> Driver[Any]:
    """A driver by its name, or by the path of its file. Raises ConfigError with the names there are."""
    if name in PLACES:
        return _imported(name)
    if name.endswith(SUFFIX):
        return _from_file(Path(name))
    if name in profile_names():
        return _built_in(name)
    if folder and name in profile_names(folder):
        return _from_file(folder / f"{name}{SUFFIX}")
    raise ConfigError("driver", name, f"write one of {', '.join(driver_names(folder))}")


def _imported(name: str) -> Driver[Any]:
    module, attribute = PLACES[name]
    driver: Driver[Any] = getattr(importlib.import_module(f"gridtally_edge.drivers.{module}"), attribute)
    if driver.name != name:
        raise ValueError(f"the row {name} of the registry leads to the driver {driver.name}")
    return driver


def _from_file(path: Path) -> Driver[Any]:
    from gridtally_edge.drivers.modbus_profile import driver_of, load_profile

    return driver_of(load_profile(path))


def _built_in(name: str) -> Driver[Any]:
    """Made once, so that its name stands for one object."""
    from gridtally_edge.drivers.modbus_profile import built_in, driver_of

    if name not in _MADE:
        _MADE[name] = driver_of(built_in(name))
    return _MADE[name]


_MADE: dict[str, Driver[Any]] = {}
