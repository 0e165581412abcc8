"""Settings of meters: the wire, JSON, and what makes sense."""

from __future__ import annotations

import dataclasses

import pytest

from gridtally_shared import meter_settings as ms
from gridtally_shared.errors import ContractError
from gridtally_shared.meter_settings_json import BadSetting, from_json, name_of, to_json
from gridtally_shared.meter_settings_rules import faults_of, may_be_written

NIGHT_AND_DAY = ms.ActivityCalendar(
    "TOU-2", (ms.Season("S1", 1, 1, "W1"),), (ms.WeekProfile("W1", (1, 1, 1, 1, 1, 2, 2)),),
    (ms.DayProfile(1, (ms.DayAction(0, 1), ms.DayAction(360, 2), ms.DayAction(1_320, 1))), ms.DayProfile(2, (ms.DayAction(0, 1),))),
    1_795_305_600_000, (ms.SpecialDay(0, 12, 25, 2),),
)  # fmt: skip

GOOD: tuple[ms.AnySetting, ...] = (
    NIGHT_AND_DAY, ms.DemandPeriod(1_800, 2), ms.CapturePeriod(900), ms.BillingDate(1, 0), ms.LoadLimit(5_000, 60),
    ms.PushSetup("0.4.25.9.0.255", "[fe80::1]:4059"), ms.DiagnosticsPeriod(86_400, 7 * 86_400),
    ms.MeteringMode(ms.Metering.IMPORT_EXPORT), ms.LocalPort(ms.Preemption.LOCAL_WINS, 2), ms.KeyGeneration(1),
    ms.PaymentMode(ms.Payment.PREPAID), ms.Form(1, 2), ms.HeldCredit(-1_230_000_000, 1_795_305_600_000, 10_000_000),
)  # fmt: skip


def test_every_kind_has_a_record_and_a_sample_here() -> None:
    assert set(ms.SETTING_TYPES) == set(ms.SettingKind)
    assert {type(s) for s in GOOD} == set(ms.SETTING_TYPES.values())


@pytest.mark.parametrize("setting", GOOD, ids=name_of)
def test_a_setting_survives_the_wire_and_json(setting: ms.AnySetting) -> None:
    assert ms.unpacked(ms.packed(setting)) == setting
    assert from_json(name_of(setting), to_json_lists(setting)) == setting


def to_json_lists(setting: ms.AnySetting) -> object:
    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return plain(to_json(setting))


@pytest.mark.parametrize("setting", GOOD[:-2], ids=name_of)
def test_what_makes_sense_has_no_fault(setting: ms.AnySetting) -> None:
    assert faults_of(setting) == ()
    assert may_be_written(ms.packed(setting))


def test_what_the_meter_finds_in_its_socket_is_never_written() -> None:
    assert not may_be_written(ms.packed(ms.Form(3, 4)))
    assert "never written" in faults_of(ms.Form(3, 4))[0]


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        (ms.DemandPeriod(1_000), "period_s"),
        (ms.DemandPeriod(1_800, 7), "windows"),
        (ms.CapturePeriod(7), "period_s"),
        (ms.BillingDate(31), "day"),
        (ms.BillingDate(1, 1_440), "minute"),
        (ms.LoadLimit(-1), "threshold_w"),
        (ms.LoadLimit(5, 0), "over_s"),
        (ms.PushSetup("1.2", "x"), "obis"),
        (ms.PushSetup("0.0.25.9.0.255", ""), "destination"),
        (ms.PushSetup("0.0.25.9.0.255", "x", 5), "every_s"),
        (ms.DiagnosticsPeriod(3_600, 86_400), "self_test_s"),
        (ms.DiagnosticsPeriod(86_400, 32 * 86_400), "metrology_s"),
        (ms.MeteringMode(7), "mode"),
        (ms.PaymentMode(2), "mode"),
        (ms.KeyGeneration(0), "generation"),
        (ms.LocalPort(9), "preemption"),
        (ms.LocalPort(0, 0), "sessions"),
        (dataclasses.replace(NIGHT_AND_DAY, name="much too long"), "name"),
        (dataclasses.replace(NIGHT_AND_DAY, days=()), "at least one"),
        (dataclasses.replace(NIGHT_AND_DAY, seasons=(ms.Season("S1", 2, 30, "W1"),)), "no date"),
        (dataclasses.replace(NIGHT_AND_DAY, seasons=(ms.Season("S1", 1, 1, "W9"),)), "not defined"),
        (dataclasses.replace(NIGHT_AND_DAY, weeks=(ms.WeekProfile("W1", (1, 1)),)), "seven days"),
        (dataclasses.replace(NIGHT_AND_DAY, days=(ms.DayProfile(1, (ms.DayAction(5, 1),)),)), "begin at minute 0"),
        (dataclasses.replace(NIGHT_AND_DAY, days=(ms.DayProfile(1, (ms.DayAction(0, 9),)),)), "rates are"),
        (dataclasses.replace(NIGHT_AND_DAY, special_days=(ms.SpecialDay(0, 13, 1, 1),)), "special day"),
    ],
)
def test_what_makes_none_is_named(setting: ms.AnySetting, field: str) -> None:
    assert any(field in fault for fault in faults_of(setting))


@pytest.mark.parametrize(
    ("name", "raw", "path"),
    [
        ("volume", {}, "volume"),
        ("demand_period", [], "demand_period"),
        ("demand_period", {}, "demand_period.period_s"),
        ("demand_period", {"period_s": "900"}, "demand_period.period_s"),
        ("demand_period", {"period_s": 2**64}, "demand_period.period_s"),
        ("demand_period", {"period_s": 900, "colour": 1}, "demand_period.colour"),
        ("push_setup", {"obis": "a", "destination": "b", "enabled": 1}, "push_setup.enabled"),
        ("activity_calendar", {"name": "a", "seasons": [], "weeks": [], "days": [{"day_id": 1, "actions": [{}]}]},
         "activity_calendar.days[0].actions[0].minute"),
        ("activity_calendar", {"name": "a", "seasons": {}, "weeks": [], "days": []}, "activity_calendar.seasons"),
    ],
)  # fmt: skip
def test_json_that_is_wrong_is_refused_with_its_field(name: str, raw: object, path: str) -> None:
    with pytest.raises(BadSetting) as refused:
        from_json(name, raw)
    assert refused.value.path == path


def test_a_kind_nobody_knows_is_refused() -> None:
    with pytest.raises(ContractError, match="no known kind"):
        ms.unpacked(ms.Setting(99, b"\xa0"))
