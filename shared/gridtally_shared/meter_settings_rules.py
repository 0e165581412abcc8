"""What makes a setting acceptable, whatever the meter: checked by the cloud before it is ordered and by the edge before it is
written. A fault is a sentence that names the field; no fault means that the record makes sense in itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gridtally_shared.meter_settings import (
    READ_ONLY,
    ActivityCalendar,
    AnySetting,
    BillingDate,
    CapturePeriod,
    DemandPeriod,
    DiagnosticsPeriod,
    KeyGeneration,
    LoadLimit,
    LocalPort,
    Metering,
    MeteringMode,
    Payment,
    PaymentMode,
    Preemption,
    PushSetup,
    Setting,
    SettingKind,
)
from gridtally_shared.obis import Obis

MINUTES_A_DAY = 1_440
RATES = 8
NAME_LENGTH = 8
CAPTURE_PERIODS_S = (300, 600, 900, 1_800, 3_600)
DEMAND_PERIODS_S = (900, 1_800, 3_600)
DAY_S, MONTH_S = 86_400, 31 * 86_400


def faults_of(setting: AnySetting) -> tuple[str, ...]:
    """Sentences, empty when all is well."""
    return tuple(_RULES[type(setting)](setting)) if type(setting) in _RULES else ("this is read from the meter, never written",)


def may_be_written(setting: Setting) -> bool:
    return setting.kind in SettingKind.__members__.values() and SettingKind(setting.kind) not in READ_ONLY


def _calendar(c: ActivityCalendar) -> Iterator[str]:
    days, weeks = {d.day_id for d in c.days}, {w.name for w in c.weeks}
    if not 1 <= len(c.name) <= NAME_LENGTH:
        yield f"name: 1 to {NAME_LENGTH} characters"
    if not (c.seasons and c.weeks and c.days):
        yield "seasons, weeks and days: at least one of each"
    if len(days) != len(c.days) or len(weeks) != len(c.weeks):
        yield "days and weeks: each with a name of its own"
    for day in c.days:
        minutes = [a.minute for a in day.actions]
        if minutes[:1] != [0] or sorted(set(minutes)) != minutes or minutes[-1] >= MINUTES_A_DAY:
            yield f"day {day.day_id}: actions begin at minute 0, rise, and end before {MINUTES_A_DAY}"
        if any(not 1 <= a.rate <= RATES for a in day.actions):
            yield f"day {day.day_id}: rates are 1 to {RATES}"
    for week in c.weeks:
        if len(week.days) != 7 or not set(week.days) <= days:
            yield f"week {week.name}: seven days, Monday first, all of them defined"
    for season in c.seasons:
        if season.week not in weeks:
            yield f"season {season.name}: week {season.week} is not defined"
        if not _is_date(season.month, season.day):
            yield f"season {season.name}: {season.day}.{season.month}. is no date of every year"
    for special in c.special_days:
        if special.day_id not in days or not _is_date(special.month, special.day):
            yield f"special day {special.day}.{special.month}.: a date, and a day that is defined"


def _is_date(month: int, day: int) -> bool:
    longest = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return 1 <= month <= 12 and 1 <= day <= longest[month - 1]


def _demand(d: DemandPeriod) -> Iterator[str]:
    if d.period_s not in DEMAND_PERIODS_S:
        yield f"period_s: one of {', '.join(map(str, DEMAND_PERIODS_S))}"
    elif not 1 <= d.windows <= 15 or d.period_s % d.windows:
        yield "windows: 1 to 15, and the period is a multiple of them"


def _capture(c: CapturePeriod) -> Iterator[str]:
    if c.period_s not in CAPTURE_PERIODS_S:
        yield f"period_s: one of {', '.join(map(str, CAPTURE_PERIODS_S))}"


def _billing(b: BillingDate) -> Iterator[str]:
    if not 1 <= b.day <= 28:
        yield "day: 1 to 28, which every month has"
    if not 0 <= b.minute < MINUTES_A_DAY:
        yield f"minute: 0 to {MINUTES_A_DAY - 1}"


def _limit(limit: LoadLimit) -> Iterator[str]:
    if not 0 <= limit.threshold_w <= 1_000_000:
        yield "threshold_w: 0 (no limit) to 1,000,000"
    if not 1 <= limit.over_s <= 3_600:
        yield "over_s: 1 to 3,600"


def _push(p: PushSetup) -> Iterator[str]:
    try:
        Obis.of(p.obis)
    except ValueError:
        yield "obis: six numbers with points, for example 0.0.25.9.0.255"
    if not 1 <= len(p.destination) <= 64:
        yield "destination: host and port, up to 64 characters"
    if p.every_s and not 60 <= p.every_s <= MONTH_S:
        yield f"every_s: 0 (on events only) or 60 to {MONTH_S}"


def _diagnostics(d: DiagnosticsPeriod) -> Iterator[str]:
    for name, value in (("self_test_s", d.self_test_s), ("metrology_s", d.metrology_s)):
        if not DAY_S <= value <= MONTH_S:
            yield f"{name}: a day ({DAY_S}) to a month ({MONTH_S})"


def _metering(m: MeteringMode) -> Iterator[str]:
    if m.mode not in Metering.__members__.values():
        yield "mode: 0 forwarded only, 1 import and export"


def _payment(p: PaymentMode) -> Iterator[str]:
    if p.mode not in Payment.__members__.values():
        yield "mode: 0 postpaid, 1 prepaid"


def _keys(k: KeyGeneration) -> Iterator[str]:
    if not 1 <= k.generation < 1 << 32:
        yield "generation: 1 for the first change, then one more each time"


def _port(p: LocalPort) -> Iterator[str]:
    if p.preemption not in Preemption.__members__.values():
        yield "preemption: 0 network wins, 1 local port wins, 2 both at once"
    if not 1 <= p.sessions <= 8:
        yield "sessions: 1 to 8"


_RULES: dict[type[AnySetting], Callable[[Any], Iterator[str]]] = {
    ActivityCalendar: _calendar,
    DemandPeriod: _demand,
    CapturePeriod: _capture,
    BillingDate: _billing,
    LoadLimit: _limit,
    PushSetup: _push,
    DiagnosticsPeriod: _diagnostics,
    MeteringMode: _metering,
    PaymentMode: _payment,
    LocalPort: _port,
    KeyGeneration: _keys,
}
