"""Every driver by its name: the one place that knows them all.

A new meter model is a new file with a `Driver`, and its name in `ALL`; the test of this table runs its vectors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gridtally_edge.drivers import is15959
from gridtally_edge.drivers.driver import Driver
from gridtally_edge.drivers.eastron_sdm import SDM120, SDM230, SDM630
from gridtally_shared.errors import ConfigError

ALL: tuple[Driver[Any], ...] = (is15959.DRIVER, SDM120, SDM230, SDM630)


def by_name(drivers: Iterable[Driver[Any]]) -> dict[str, Driver[Any]]:
    """Raises ValueError when two drivers carry one name."""
    table: dict[str, Driver[Any]] = {}
    for driver in drivers:
        if driver.name in table:
            raise ValueError(f"two drivers are named {driver.name}")
        table[driver.name] = driver
    return table


DRIVERS: dict[str, Driver[Any]] = by_name(ALL)


def driver_named(name: str) -> Driver[Any]:
    """Raises ConfigError with the names there are."""
    driver = DRIVERS.get(name)
    if driver is None:
        raise ConfigError("driver", name, f"write one of {', '.join(sorted(DRIVERS))}")
    return driver
