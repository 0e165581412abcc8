"""What can be written into a meter and read back: one record per kind, the same for cloud, edge and driver.

* A kind is a row of `SETTING_TYPES`; on the wire a setting is `Setting(kind, body)`, the body the record's own encoding.
* Two settings are equal when their bytes are: what was read back is compared as a record, never as text.
* Keys do not travel: `KeyGeneration` numbers them, and the concentrator makes them from the meter's master key.
* Times of day are minutes after local midnight, dates are of the meter's own calendar.

Source: IEC 62056-6-2 classes 20 (activity calendar), 11 (special days), 71 (limiter), 40 (push setup); IS 15959 part 2.
"""

from __future__ import annotations

from enum import IntEnum

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass


class SettingKind(IntEnum):
    ACTIVITY_CALENDAR = 1
    DEMAND_PERIOD = 2
    CAPTURE_PERIOD = 3
    BILLING_DATE = 4
    LOAD_LIMIT = 5
    PUSH_SETUP = 6
    DIAGNOSTICS_PERIOD = 7
    METERING_MODE = 8
    LOCAL_PORT = 9
    FORM = 10
    KEYS = 11
    PAYMENT_MODE = 12
    HELD_CREDIT = 13


@dataclass(frozen=True, slots=True)
class DayAction:
    """From `minute` on the energy is counted in register `rate` (1..8)."""

    minute: int = key(0)
    rate: int = key(1)


@dataclass(frozen=True, slots=True)
class DayProfile:
    day_id: int = key(0)
    actions: tuple[DayAction, ...] = key(1)


@dataclass(frozen=True, slots=True)
class WeekProfile:
    """`days` are seven day ids, Monday first."""

    name: str = key(0)
    days: tuple[int, ...] = key(1)


@dataclass(frozen=True, slots=True)
class Season:
    """Starts every year on this day and month, at midnight."""

    name: str = key(0)
    month: int = key(1)
    day: int = key(2)
    week: str = key(3)


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """A holiday; `year` 0 means every year."""

    year: int = key(0)
    month: int = key(1)
    day: int = key(2)
    day_id: int = key(3)


@dataclass(frozen=True, slots=True)
class ActivityCalendar:
    """Time-of-use plan. It is written as the passive calendar and becomes active at `activate_at_ms` (0: at once)."""

    name: str = key(0)
    seasons: tuple[Season, ...] = key(1)
    weeks: tuple[WeekProfile, ...] = key(2)
    days: tuple[DayProfile, ...] = key(3)
    activate_at_ms: int = key(4, 0)
    special_days: tuple[SpecialDay, ...] = key(5, ())


@dataclass(frozen=True, slots=True)
class DemandPeriod:
    """Demand integration: `period_s` long, made of `windows` sliding parts (1: block demand)."""

    period_s: int = key(0)
    windows: int = key(1, 1)


@dataclass(frozen=True, slots=True)
class CapturePeriod:
    """Period of the load profile."""

    period_s: int = key(0)


@dataclass(frozen=True, slots=True)
class BillingDate:
    """When the meter closes its month: day of month (1..28) and minute of that day."""

    day: int = key(0)
    minute: int = key(1, 0)


@dataclass(frozen=True, slots=True)
class LoadLimit:
    """Above `threshold_w` for `over_s` seconds the meter opens; `threshold_w` 0 switches the limit off."""

    threshold_w: int = key(0)
    over_s: int = key(1, 30)


@dataclass(frozen=True, slots=True)
class PushSetup:
    """Where one push of the meter (`obis` names it) goes, and how often by itself; 0: only on events."""

    obis: str = key(0)
    destination: str = key(1)
    every_s: int = key(2, 0)
    enabled: bool = key(3, True)


@dataclass(frozen=True, slots=True)
class DiagnosticsPeriod:
    """How often the meter tests itself, metrology included (a day to a month, I2NFR6)."""

    self_test_s: int = key(0)
    metrology_s: int = key(1)


class Metering(IntEnum):
    FORWARDED_ONLY = 0
    IMPORT_EXPORT = 1


@dataclass(frozen=True, slots=True)
class MeteringMode:
    mode: int = key(0)


class Payment(IntEnum):
    POSTPAID = 0
    PREPAID = 1


@dataclass(frozen=True, slots=True)
class PaymentMode:
    """How the meter says its consumer pays; a meter that computes no credit only shows it (BYPL-13.5, BYPL-14.6)."""

    mode: int = key(0)


class Preemption(IntEnum):
    """Which port gives way when the local port and the network want the meter at once (I2FR26)."""

    NETWORK_WINS = 0
    LOCAL_WINS = 1
    BOTH = 2


@dataclass(frozen=True, slots=True)
class LocalPort:
    """`sessions` is how many network associations may be open at once."""

    preemption: int = key(0)
    sessions: int = key(1, 1)


@dataclass(frozen=True, slots=True)
class Form:
    """What the meter finds in its socket: number of phases and wires. Read only; a wrong form blocks activation (I2FR2)."""

    phases: int = key(0)
    wires: int = key(1)


@dataclass(frozen=True, slots=True)
class KeyGeneration:
    """Which of its keys the meter has: 0 those it came with, then one step at a time."""

    generation: int = key(0)


@dataclass(frozen=True, slots=True)
class HeldCredit:
    """What a meter that only shows a balance holds of it, and of what moment, as it was last told; rounded down to `unit_nano`. Read
    only, and no setting that is kept: it is compared with the books (BYPL-14.3)."""

    balance_nano: int = key(0)
    at_ms: int = key(1)
    unit_nano: int = key(2, 1)


AnySetting = (
    ActivityCalendar | DemandPeriod | CapturePeriod | BillingDate | LoadLimit | PushSetup | DiagnosticsPeriod | MeteringMode
    | LocalPort | Form | KeyGeneration | PaymentMode | HeldCredit
)  # fmt: skip

SETTING_TYPES: dict[SettingKind, type[AnySetting]] = {
    SettingKind.ACTIVITY_CALENDAR: ActivityCalendar,
    SettingKind.DEMAND_PERIOD: DemandPeriod,
    SettingKind.CAPTURE_PERIOD: CapturePeriod,
    SettingKind.BILLING_DATE: BillingDate,
    SettingKind.LOAD_LIMIT: LoadLimit,
    SettingKind.PUSH_SETUP: PushSetup,
    SettingKind.DIAGNOSTICS_PERIOD: DiagnosticsPeriod,
    SettingKind.METERING_MODE: MeteringMode,
    SettingKind.PAYMENT_MODE: PaymentMode,
    SettingKind.LOCAL_PORT: LocalPort,
    SettingKind.FORM: Form,
    SettingKind.KEYS: KeyGeneration,
    SettingKind.HELD_CREDIT: HeldCredit,
}
KIND_OF: dict[type[AnySetting], SettingKind] = {cls: kind for kind, cls in SETTING_TYPES.items()}
READ_ONLY = frozenset({SettingKind.FORM, SettingKind.HELD_CREDIT})


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting on the wire; an empty `body` asks for it."""

    kind: int = key(0)
    body: bytes = key(1, b"")


class ResetKind(IntEnum):
    MAXIMUM_DEMAND = 1
    TAMPER = 2
    STATUS = 3


def packed(record: AnySetting) -> Setting:
    return Setting(KIND_OF[type(record)], encode(record))


def unpacked(setting: Setting) -> AnySetting:
    """Raises ContractError for a kind nobody knows or a body that does not fit it."""
    if setting.kind not in SETTING_TYPES:
        raise ContractError(f"setting {setting.kind} is of no known kind; a newer cloud may have sent it")
    return decode(SETTING_TYPES[SettingKind(setting.kind)], setting.body)
