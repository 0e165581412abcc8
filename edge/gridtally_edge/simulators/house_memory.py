"""The settings of a simulated meter, with their history: which one held at which moment."""

from __future__ import annotations

from typing import TypeVar

from gridtally_edge.simulators.house_tariff import BASIC_CALENDAR
from gridtally_shared.meter_settings import (
    KIND_OF,
    AnySetting,
    BillingDate,
    CapturePeriod,
    DemandPeriod,
    DiagnosticsPeriod,
    LoadLimit,
    LocalPort,
    Metering,
    MeteringMode,
    Preemption,
    PushSetup,
    Setting,
    SettingKind,
    packed,
    unpacked,
)

S = TypeVar("S", bound=AnySetting)

INTERVAL_S = 900
MS_PER_DAY_S = 86_400
FACTORY: tuple[AnySetting, ...] = (
    BASIC_CALENDAR,
    DemandPeriod(INTERVAL_S),
    CapturePeriod(INTERVAL_S),
    BillingDate(1),
    LoadLimit(0),
    PushSetup("0.0.25.9.0.255", ""),
    DiagnosticsPeriod(MS_PER_DAY_S, 30 * MS_PER_DAY_S),
    MeteringMode(Metering.IMPORT_EXPORT),
    LocalPort(Preemption.NETWORK_WINS),
)
EVENT_OF_SETTING: dict[SettingKind, str] = {
    SettingKind.ACTIVITY_CALENDAR: "calendar_set",
    SettingKind.DEMAND_PERIOD: "demand_period_set",
    SettingKind.CAPTURE_PERIOD: "capture_period_set",
    SettingKind.BILLING_DATE: "billing_date_set",
    SettingKind.LOAD_LIMIT: "load_limit_set",
    SettingKind.METERING_MODE: "metering_mode_set",
}
"""What the transaction log of the meter says of a change."""


def to_text(setting: AnySetting) -> str:
    return packed(setting).body.hex()


def from_text(kind: int, text: str) -> AnySetting:
    return unpacked(Setting(kind, bytes.fromhex(text)))


class SettingsMemory:
    """Settings by the true time from which they hold, oldest first."""

    def __init__(self) -> None:
        self._history: dict[type, list[tuple[int, AnySetting]]] = {type(setting): [(0, setting)] for setting in FACTORY}

    def take(self, at_ms: int, setting: AnySetting) -> None:
        self._history.setdefault(type(setting), []).append((at_ms, setting))

    def now(self, kind: type[S]) -> S:
        found = self._history[kind][-1][1]
        assert isinstance(found, kind)
        return found

    def at(self, kind: type[S], at_ms: int) -> S:
        found = next(setting for from_ms, setting in reversed(self._history[kind]) if from_ms <= at_ms)
        assert isinstance(found, kind)
        return found

    def changes(self, kind: type[S]) -> tuple[tuple[int, S], ...]:
        return tuple((at_ms, setting) for at_ms, setting in self._history[kind] if isinstance(setting, kind))


def event_name_of(setting: AnySetting) -> str:
    """The event a meter logs for a change; empty where it logs none."""
    return EVENT_OF_SETTING.get(KIND_OF[type(setting)], "")
