"""From a registry entry to a meter that can be read: its driver, its port, and what the core is told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from gridtally_edge.drivers.base import BasePort
from gridtally_edge.drivers.driver import Driver, settings_from
from gridtally_edge.drivers.model import Capability, MeterPort, Pushed
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.polling.forming import RegisterLimits
from gridtally_edge.polling.plans import plan_from
from gridtally_edge.polling.street import Hears, MeterOnLine
from gridtally_edge.protocols.dlms.counters import Counters
from gridtally_edge.registry import MeterEntry
from gridtally_shared.records import dataclass


class HearsPush(Protocol):
    """A port that reads what its meter sends unasked with what it has learnt of it."""

    def hears_push(self, data: bytes, at_ms: int) -> Pushed | None: ...


@dataclass(slots=True)
class Ear:
    """Reads the pushes of one meter with the port that serves it now."""

    port: HearsPush

    def __call__(self, data: bytes, at_ms: int) -> Pushed | None:
        return self.port.hears_push(data, at_ms)


@dataclass(frozen=True, slots=True)
class Fitted:
    """`port` remembers what it learnt of the meter; `fitted_afresh` begins anew."""

    entry: MeterEntry
    port: MeterPort
    on_line: MeterOnLine
    ear: Ear | None = None


def fitted_afresh(old: Fitted, new: Fitted) -> Fitted:
    """`new` in the place of `old`: whoever was given the old one's ear hears with the new port."""
    if old.ear is not None and new.ear is not None:
        old.ear.port = new.ear.port
    return replace(new, on_line=old.on_line, ear=old.ear)


def fit(entry: MeterEntry, drivers_dir: Path | None = None, counters: Counters | None = None) -> Fitted:
    """`counters` is the durable book of invocation counters. Raises ConfigError for a driver, a setting or a plan that is
    none."""
    driver = driver_named(entry.driver, drivers_dir)
    settings = settings_from(driver, entry.driver_settings)
    meter = driver.make_port(settings, counters) if driver.counts and counters is not None else driver.make_port(settings)
    port = _switched(meter, driver, entry)
    profile = Capability.LOAD_PROFILE in port.capabilities
    hears = _hears(driver, settings)
    ear = Ear(meter) if takes_pushes(meter) else None
    on_line = MeterOnLine(
        entry.key, entry.line, entry.driver, entry.address, entry.serial, port.interval_s * 1_000 if profile else 0,
        port.capabilities, plan_from(entry.plan), hears, hears is not None and _never_answers(port), entry.phases,
        RegisterLimits(entry.rollover_wh, entry.max_power_w), ear,
    )  # fmt: skip
    return Fitted(entry, port, on_line, ear)


def takes_pushes(port: object) -> TypeGuard[HearsPush]:
    """`isinstance` with a protocol takes a tenth of a fit, and there may be 500 before the first poll."""
    return hasattr(port, "hears_push")


def _hears(driver: Driver[Any], settings: Any) -> Hears | None:
    decode = driver.hears
    if decode is None:
        return None

    def hears(data: bytes, at_ms: int) -> Pushed | None:
        return decode(settings, data, at_ms)

    return hears


def _never_answers(port: MeterPort) -> bool:
    """A meter that only sends: its driver has no way to ask who it is."""
    return isinstance(port, BasePort) and type(port).read_serial is BasePort.read_serial


@dataclass(slots=True)
class RegistryWatch:
    """Notices that the registry's file was replaced; asked now and then by the agent."""

    path: Path
    _seen: tuple[int, int] | None = None

    def has_changed(self) -> bool:
        """True once after each change, and not for what stood there at the first call."""
        try:
            found = self.path.stat()
            now = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            now = (0, 0)
        before, self._seen = self._seen, now
        return before not in (None, now)


def _switched(port: MeterPort, driver: Driver[Any], entry: MeterEntry) -> MeterPort:
    if not entry.switch:
        return port
    from gridtally_edge.switches.fitted import with_switch  # few meters have a switch apart

    return with_switch(port, driver, entry.switch, entry.line)
