"""Settings of an IS 15959 meter: written, read back, and acting in the simulated meter; codings against hand-made octets."""

from __future__ import annotations

import itertools
from dataclasses import replace
from itertools import pairwise

import pytest

from gridtally_edge.drivers import is15959_codec as codec
from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.drivers.is15959_config import BalanceFamily
from gridtally_edge.drivers.is15959_prepaid import Prepaid, balance_writes
from gridtally_edge.drivers.is15959_registers import RegisterMemory
from gridtally_edge.drivers.is15959_settings import push_record
from gridtally_edge.drivers.model import DiagnosticState, Face, Reading, Recharge
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.axdr import Data, Tag, decode, encode
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_slave import DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.house_checks import CHECKS, Check, HouseFault
from gridtally_shared import meter_settings as ms
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, ManualClock
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.events import BY_NAME as BY_EVENT
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import ResetKind, SettingKind
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, BY_NAME, INTERVAL_IMPORT
from support.dlms_wire import PASSWORD, START_MS, Wire

SECRET = "0123456789ABCDEF"
CIPHERED = MeterAccess(Scheme.IS15959, Mechanism.HLS, PASSWORD.encode(), SECRET.encode(), True, MeterKeys(b"GTYMETER"))
SEALED = {
    "settings_client": 48,
    "settings_secret": SECRET,
    "system_title": b"GTYDCU01",
    "key": bytes(range(16)),
    "auth_key": bytes(range(0xD0, 0xE0)),
}
MIDNIGHT_MS = START_MS // MS_PER_DAY * MS_PER_DAY - 330 * 60_000
CALENDAR = ms.ActivityCalendar(
    "WINTER",
    (ms.Season("S1", 1, 1, "W1"), ms.Season("S2", 6, 15, "W1")),
    (ms.WeekProfile("W1", (1, 1, 1, 1, 1, 2, 2)),),
    (ms.DayProfile(1, (ms.DayAction(0, 1), ms.DayAction(360, 2), ms.DayAction(1_320, 3))), ms.DayProfile(2, (ms.DayAction(0, 4),))),
    0,
    (ms.SpecialDay(0, 1, 26, 2),),
)
# Put together by hand from IEC 62056-6-2 classes 20 and 11: seasons, weeks, days, special days of CALENDAR.
SEASONS = """
01 02  02 03 09 02 53 31 09 0c ff ff 01 01 ff 00 00 00 ff 80 00 00 09 02 57 31
       02 03 09 02 53 32 09 0c ff ff 06 0f ff 00 00 00 ff 80 00 00 09 02 57 31
"""
WEEKS = "01 01 02 08 09 02 57 31 11 01 11 01 11 01 11 01 11 01 11 02 11 02"
DAYS = """
01 02  02 02 11 01 01 03  02 03 09 04 00 00 00 00 09 06 00 00 0a 00 64 ff 12 00 01
                          02 03 09 04 06 00 00 00 09 06 00 00 0a 00 64 ff 12 00 02
                          02 03 09 04 16 00 00 00 09 06 00 00 0a 00 64 ff 12 00 03
       02 02 11 02 01 01  02 03 09 04 00 00 00 00 09 06 00 00 0a 00 64 ff 12 00 04
"""
SPECIAL_DAYS = "01 01 02 03 12 00 01 09 05 ff ff 01 1a ff 11 02"


class Setup:
    def __init__(self, access: MeterAccess | None = None, **house: object) -> None:
        self.clock = ManualClock(START_MS)
        self.meter = HouseMeter(HouseSettings(**{"serial": "GT0017", "seed": 1, "history_days": 3, **house}), self.clock)
        self.wire = Wire(DlmsUnit(self.meter, 17, access=access))
        self.port = DlmsPort(Is15959Settings(17, password=PASSWORD))
        if access is None:
            self.wire.run(self.port.open())

    def read(self, kind: SettingKind) -> ms.AnySetting:
        return self.wire.run(self.port.read_setting(kind))

    def write(self, setting: ms.AnySetting) -> None:
        self.wire.run(self.port.write_setting(setting))

    def instant(self) -> dict[str, int]:
        readings = self.wire.run(self.port.read_instant(self.clock.now_ms))
        return {BY_CODE[r.quantity].name: r.value for r in readings}

    def codes(self) -> list[int]:
        return [event.code for event in self.wire.run(self.port.read_events(0))]


def octets(listing: str) -> bytes:
    return bytes.fromhex("".join(listing.split()))


@pytest.mark.parametrize(
    ("to_data", "from_data", "value", "listing"),
    [
        (codec.seasons_data, codec.seasons_of, CALENDAR.seasons, SEASONS),
        (codec.weeks_data, codec.weeks_of, CALENDAR.weeks, WEEKS),
        (codec.days_data, codec.days_of, CALENDAR.days, DAYS),
        (codec.special_days_data, codec.special_days_of, CALENDAR.special_days, SPECIAL_DAYS),
    ],
    ids=["seasons", "weeks", "days", "special days"],
)
def test_a_calendar_is_coded_as_the_standard_says(to_data, from_data, value, listing) -> None:
    assert encode(to_data(value)) == octets(listing)
    assert from_data(decode(octets(listing))) == value


def test_a_billing_date_is_a_schedule_of_every_month() -> None:
    by_hand = octets("01 01 02 02 09 04 00 1e 00 00 09 05 ff ff ff 05 ff")
    assert encode(codec.monthly_data(5, 30)) == by_hand
    assert codec.monthly_of(decode(by_hand)) == (5, 30)


@pytest.mark.parametrize("every_s", [0, 300, 900, 1_800, 3_600, 21_600, 86_400])
def test_a_push_schedule_keeps_its_period(every_s: int) -> None:
    assert codec.every_of(codec.every_data(every_s)) == every_s


@pytest.mark.parametrize("every_s", [7, 420, 5_400, 172_800])
def test_a_period_that_divides_no_hour_or_day_is_refused(every_s: int) -> None:
    with pytest.raises(ValueError, match="part of an hour or of a day"):
        codec.every_data(every_s)


@pytest.mark.parametrize(
    "damaged", ["01 01 02 02 09 01 53", "01 01 02 03 09 00 09 01 00 09 00", "02 01 11 00"], ids=["short", "no date", "no season"]
)
def test_a_spoilt_calendar_is_the_meters_fault(damaged: str) -> None:
    with pytest.raises(MeterFault):
        codec.seasons_of(decode(octets(damaged)))


@pytest.mark.parametrize(
    "setting",
    [
        ms.DemandPeriod(1_800),
        ms.DemandPeriod(1_800, 6),
        ms.CapturePeriod(1_800),
        ms.BillingDate(5, 30),
        ms.LoadLimit(4_000, 60),
        ms.PushSetup("0.0.25.9.0.255", "[2001:db8::1]:4059", 900),
        ms.PushSetup("0.4.25.9.0.255", "192.0.2.7:4059", 0, False),
        ms.DiagnosticsPeriod(3_600, 7 * 86_400),
        ms.MeteringMode(ms.Metering.FORWARDED_ONLY),
        ms.PaymentMode(ms.Payment.PREPAID),
        ms.LocalPort(ms.Preemption.BOTH, 2),
        CALENDAR,
        replace(CALENDAR, activate_at_ms=MIDNIGHT_MS + 3 * MS_PER_DAY),
    ],
    ids=lambda s: type(s).__name__,
)
def test_what_is_written_is_read_back_equal(setting: ms.AnySetting) -> None:
    setup = Setup()
    setup.write(setting)
    assert setup.read(ms.KIND_OF[type(setting)]) == setting


def test_a_meter_that_keeps_another_value_is_found_out() -> None:
    setup = Setup()
    spoil = setup.meter.take_setting
    setup.meter.take_setting = lambda setting: spoil(replace(setting, period_s=3_600))
    with pytest.raises(RefusedCommand, match="not_read_back"):
        setup.write(ms.CapturePeriod(1_800))


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (ms.BillingDate(31), "day 1 to 28"),
        (ms.CapturePeriod(1_000), "part of a day"),
        (ms.DemandPeriod(1_800, 7), "whole seconds"),
        (ms.DiagnosticsPeriod(3_600, 60 * 86_400), "daily to monthly"),
        (replace(CALENDAR, weeks=(ms.WeekProfile("W1", (1, 1, 1, 1, 1, 1, 9)),)), "seven known day ids"),
        (replace(CALENDAR, seasons=(ms.Season("S1", 2, 30, "W1"),)), "no date of the calendar"),
        (ms.PushSetup("0.0.25.9.0.255", "x", 420), "part of an hour"),
        (ms.Form(3, 4), "only be read"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_nonsense_is_refused_before_anything_is_written(setting: ms.AnySetting, why: str) -> None:
    setup = Setup()
    before = setup.meter.events()
    with pytest.raises(RefusedCommand, match=why):
        setup.write(setting)
    assert setup.meter.events() == before


@pytest.mark.covers_part("BYPL-8.2a")
def test_a_calendar_waits_for_its_date_and_then_counts_by_rate() -> None:
    setup = Setup()
    starts_ms = MIDNIGHT_MS + 2 * MS_PER_DAY
    setup.write(replace(CALENDAR, activate_at_ms=starts_ms))
    assert setup.meter.setting(SettingKind.ACTIVITY_CALENDAR).name == "BASIC"
    setup.clock.advance(starts_ms - START_MS)
    before = setup.meter.registers().rates_wh
    setup.clock.advance(MS_PER_DAY)
    assert setup.meter.setting(SettingKind.ACTIVITY_CALENDAR).name == "WINTER"
    used = [after - earlier for earlier, after in zip(before, setup.meter.registers().rates_wh, strict=True)]
    edges = [setup.meter.registers_at(starts_ms + hour * MS_PER_HOUR)[0] for hour in (0, 6, 22, 24)]
    weekend = (starts_ms + 330 * 60_000) // MS_PER_DAY % 7 in (2, 3)
    wanted = [0, 0, 0, edges[3] - edges[0]] if weekend else [edges[1] - edges[0], edges[2] - edges[1], edges[3] - edges[2], 0]
    assert all(abs(was - due) <= 1 for was, due in zip(used[:4], wanted, strict=True))
    assert sum(setup.meter.registers().rates_wh) == setup.meter.registers().import_wh


def test_a_calendar_in_force_reads_as_it_was_written() -> None:
    setup = Setup()
    written = replace(CALENDAR, activate_at_ms=START_MS + MS_PER_HOUR)
    setup.write(written)
    setup.clock.advance(2 * MS_PER_HOUR)
    assert setup.read(SettingKind.ACTIVITY_CALENDAR) == written


def test_a_special_day_goes_before_the_week() -> None:
    setup = Setup()
    setup.write(replace(CALENDAR, special_days=(ms.SpecialDay(0, 10, 10, 2),)))
    setup.clock.advance(MIDNIGHT_MS + MS_PER_DAY - START_MS)
    before = setup.meter.registers()
    setup.clock.advance(MS_PER_DAY)
    after = setup.meter.registers()
    assert abs(after.rates_wh[3] - before.rates_wh[3] - (after.import_wh - before.import_wh)) <= 1
    assert after.import_wh > before.import_wh + 1_000


def test_another_demand_period_starts_the_maximum_afresh() -> None:
    setup = Setup()
    assert setup.instant()["demand_max_w"] > 0
    setup.write(ms.DemandPeriod(3_600))
    assert setup.instant()["demand_max_w"] == 0
    setup.clock.advance(3 * MS_PER_HOUR)
    hours = [setup.meter.registers_at(t)[0] for t in range(-(-START_MS // 3_600_000) * 3_600_000, setup.clock.now_ms() + 1, 3_600_000)]
    highest = max(b - a for a, b in itertools.pairwise(hours))
    assert abs(setup.instant()["demand_max_w"] - highest) <= 1


def test_sliding_demand_is_never_below_block_demand() -> None:
    block, sliding = Setup(), Setup()
    block.write(ms.DemandPeriod(1_800))
    sliding.write(ms.DemandPeriod(1_800, 6))
    for setup in (block, sliding):
        setup.clock.advance(MS_PER_DAY)
    assert sliding.instant()["demand_max_w"] >= block.instant()["demand_max_w"] > 0


def test_a_load_limit_opens_the_switch_and_says_so() -> None:
    setup = Setup()
    setup.write(ms.LoadLimit(300, 120))
    setup.clock.advance(MS_PER_DAY)
    assert [code for code in setup.codes() if code in (215, 301)] == [215, 301]


def test_a_limit_that_counts_in_kilowatts_is_written_in_kilowatts() -> None:
    setup = Setup()
    scaler = attribute(3, "1.0.1.7.0.255", 3)
    group = next(g for g in setup.wire.slave._units[1, 17].device.groups if hasattr(g, "_registers"))
    group._registers[scaler] = lambda: decode(octets("02 02 0f 03 16 1b"))
    setup.write(ms.LoadLimit(4_000, 60))
    assert setup.meter.setting(SettingKind.LOAD_LIMIT) == ms.LoadLimit(4, 60)
    with pytest.raises(RefusedCommand, match="steps of 1000 W"):
        setup.write(ms.LoadLimit(4_500, 60))


@pytest.mark.parametrize(
    ("kind", "name"), [(ResetKind.MAXIMUM_DEMAND, "demand_max_w"), (ResetKind.TAMPER, "tamper_count")], ids=lambda v: str(v)
)
def test_a_reset_clears_its_register(kind: ResetKind, name: str) -> None:
    setup = Setup()
    setup.meter.report_event(201)
    assert setup.instant()[name] > 0
    setup.wire.run(setup.port.reset(kind))
    assert setup.instant()[name] == 0


def test_a_status_reset_clears_what_stays() -> None:
    setup = Setup()
    setup.meter.report_event(251)
    setup.meter.report_event(201)
    assert {e.code for e in setup.wire.run(setup.port.read_status_word(setup.clock.now_ms))} == {201, 251}
    setup.wire.run(setup.port.reset(ResetKind.STATUS))
    assert {e.code for e in setup.wire.run(setup.port.read_status_word(setup.clock.now_ms))} == {201}


def test_a_reset_leaves_the_tamper_log() -> None:
    setup = Setup()
    setup.meter.report_event(201)
    setup.wire.run(setup.port.reset(ResetKind.TAMPER))
    assert 201 in setup.codes()


def test_diagnostics_say_what_failed_and_pass_again() -> None:
    setup = Setup()
    setup.meter.inject(HouseFault.METROLOGY)
    setup.wire.run(setup.port.run_diagnostics())
    found = {d.check: d.state for d in setup.wire.run(setup.port.read_diagnostics())}
    assert found["metrology"] is DiagnosticState.FAILED
    assert found["memory"] is DiagnosticState.PASSED
    setup.meter.inject(HouseFault.METROLOGY, 0)
    setup.wire.run(setup.port.run_diagnostics())
    assert {d.state for d in setup.wire.run(setup.port.read_diagnostics())} == {DiagnosticState.PASSED}


@pytest.mark.covers("I2FR1a")
@pytest.mark.parametrize("hours", [1, 6])
def test_the_self_test_runs_at_registration_and_every_period_told_from_afar(hours: int) -> None:
    setup = Setup()

    def last_run() -> int:
        return next(d.at_ms for d in setup.wire.run(setup.port.read_diagnostics()) if d.check == "memory")

    registered_ms = setup.meter.profile(0, START_MS)[0].end_ms - 900_000
    assert (last_run() - registered_ms) % MS_PER_DAY == 0
    setup.write(ms.DiagnosticsPeriod(hours * 3_600, 86_400))
    runs = set()
    for _ in range(4 * hours):
        setup.clock.advance(MS_PER_HOUR)
        runs.add(last_run())
    assert {later - earlier for earlier, later in pairwise(sorted(runs))} == {hours * MS_PER_HOUR}
    assert max(runs) == START_MS + 4 * hours * MS_PER_HOUR


def _refuse_times(setup: Setup) -> None:
    for _ in range(3):
        setup.meter.set_clock(START_MS)


TRIGGERS = {HouseFault.TIME_SYNC: _refuse_times, HouseFault.PUSH: lambda setup: setup.meter.push_gets_through()}


@pytest.mark.covers("I2FR1b")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.fault.value)
def test_each_injected_fault_is_in_the_log_of_the_meter(check: Check) -> None:
    setup = Setup()
    setup.meter.inject(check.fault, 5)
    TRIGGERS.get(check.fault, lambda setup: setup.wire.run(setup.port.run_diagnostics()))(setup)
    assert BY_EVENT[check.failed].code in setup.codes()


@pytest.mark.covers("I2FR14")
def test_a_register_that_disagrees_with_its_rows_raises_an_event() -> None:
    setup = Setup()
    assert BY_EVENT["registers_inconsistent"].code not in setup.codes()
    setup.meter.inject(HouseFault.CONSISTENCY, 5)
    day_ms = MIDNIGHT_MS - MS_PER_DAY
    rows = setup.wire.run(setup.port.read_intervals(day_ms, MIDNIGHT_MS))
    used_wh = setup.meter.registers_at(MIDNIGHT_MS)[0] - setup.meter.registers_at(day_ms)[0]
    assert sum(r.value for r in rows if r.quantity == INTERVAL_IMPORT.code) < used_wh
    setup.clock.advance(MS_PER_DAY)
    assert BY_EVENT["registers_inconsistent"].code in setup.codes()


def test_a_temporary_failure_is_told_in_words_and_as_busy_not_as_a_refusal() -> None:
    """It withdrew a change of the way of paying for good."""
    setup = Setup()
    setup.meter.inject(HouseFault.TIME_SYNC, 1)
    with pytest.raises(RefusedCommand, match="temporary failure") as told:
        setup.wire.run(setup.port.write_clock(START_MS + 5_000))
    assert told.value.reason == Reason.METER_BUSY
    setup.wire.run(setup.port.write_clock(START_MS + 5_000))
    assert setup.wire.run(setup.port.read_clock()) == START_MS + 5_000


def test_the_form_of_the_socket_is_read() -> None:
    setup = Setup()
    assert setup.read(SettingKind.FORM) == ms.Form(1, 2)
    setup.meter.inject(HouseFault.FORM)
    assert setup.read(SettingKind.FORM) == ms.Form(3, 4)


def test_a_push_of_a_meter_without_schedule_reads_as_event_driven() -> None:
    values = (decode(octets("02 03 16 00 09 02 61 62 16 00")), Data(Tag.ARRAY, ()), None)
    assert push_record(codec.TARIFF_SCRIPTS, values, None).every_s == 0


# ---- prepayment ---------------------------------------------------------------------------------------------


def test_what_a_prepaid_meter_shows_is_written_and_read() -> None:
    setup = Setup()
    setup.write(ms.PaymentMode(ms.Payment.PREPAID))
    recharge = Recharge(500_000_000_000, START_MS, 1_200_000_000_000)
    setup.wire.run(setup.port.write_face(Face(1_234_567_890_123, START_MS + 1_000, recharge=recharge)))
    shown = setup.wire.run(setup.port.read_prepaid())
    assert shown == Prepaid(
        1, 1, 500_000_000_000, START_MS, 1_200_000_000_000, 1_234_560_000_000, START_MS + 1_000, ""
    )
    assert setup.read(SettingKind.HELD_CREDIT) == ms.HeldCredit(1_234_560_000_000, START_MS + 1_000, 10_000_000)


def test_a_utility_that_counts_in_rupees_under_the_old_codes() -> None:
    settings = Is15959Settings(17, balance_family=BalanceFamily.OLD, balance_unit_nano=1_000_000_000)
    balance, moment = balance_writes(1_999_999_999, START_MS, settings, ClockRule(utc_offset_min=330))
    assert (str(balance.target.obis), balance.value.value) == ("0.0.94.91.24.255", 1)
    assert str(moment.target.obis) == "0.0.94.91.25.255"


def test_a_meter_without_prepayment_shows_nothing() -> None:
    setup = Setup()
    port = DlmsPort(Is15959Settings(17, password=PASSWORD, balance_family=BalanceFamily.OLD))
    setup.wire.run(port.open())
    assert setup.wire.run(port.read_prepaid()) == Prepaid(*[None] * 7, "")
    with pytest.raises(RefusedCommand) as refused:
        setup.wire.run(port.read_setting(SettingKind.HELD_CREDIT))
    assert refused.value.reason == Reason.UNSUPPORTED


# ---- registers that went back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "flag"),
    [
        (999_990, 7, Quality.ROLLOVER),
        (99_999_999, 12, Quality.ROLLOVER),
        ((1 << 32) - 5, 100, Quality.ROLLOVER),
        (999_990, 900_000, Quality.RESET),
        (500_000, 0, Quality.RESET),
        (500_000, 500_000, Quality.OK),
        (500_000, 500_001, Quality.OK),
    ],
)
def test_a_register_that_went_back_is_told(before: int, now: int, flag: Quality) -> None:
    memory, code = RegisterMemory(), BY_NAME["energy_import_wh"].code
    memory.judged((Reading(code, 1, before),))
    (judged,) = memory.judged((Reading(code, 2, now),))
    assert (judged.value, Quality(judged.quality)) == (now, flag)


def test_a_falling_power_is_no_reset() -> None:
    memory, code = RegisterMemory(), BY_NAME["power_w"].code
    assert memory.judged((Reading(code, 1, 500), Reading(code, 2, 0)))[1].quality == 0


def test_a_counter_is_passed_on_when_it_changed_and_once_a_day() -> None:
    memory, code = RegisterMemory(), BY_NAME["tamper_count"].code

    def given(at_ms: int, value: int) -> bool:
        return bool(memory.judged((Reading(code, at_ms, value),)))

    assert [given(0, 3), given(900_000, 3), given(1_800_000, 4), given(2_700_000, 4)] == [True, False, True, False]
    assert [given(MS_PER_DAY, 4), given(MS_PER_DAY + 1_800_000, 4)] == [False, True]


def test_minutes_of_power_are_passed_on_once_a_day() -> None:
    memory, code = RegisterMemory(), BY_NAME["power_on_min"].code
    hours = range(0, 49)
    given = [h for h in hours if memory.judged((Reading(code, h * MS_PER_HOUR, h * 60),))]
    assert given == [0, 24, 48]
