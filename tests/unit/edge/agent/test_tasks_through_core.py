"""Settings, clocks, resets and diagnostics by signed command, and the clocks the concentrator keeps right by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.journal.counters import CounterBook
from gridtally_edge.polling.timesync import DEFAULT
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_edge.sync.mqtt import LinkUp
from gridtally_shared import cbor
from gridtally_shared.contract import messages as m
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.meter_settings import (
    ActivityCalendar,
    AnySetting,
    BillingDate,
    CapturePeriod,
    DayAction,
    DayProfile,
    DemandPeriod,
    Form,
    KeyGeneration,
    ResetKind,
    Season,
    Setting,
    SettingKind,
    WeekProfile,
    packed,
    unpacked,
)
from gridtally_shared.signing import KeySigner
from support.commands import command, done, last_receipt, ready
from support.little_street import QUARTER_MS, LittleStreet, little_street

C = m.CommandType
KEY = "dlms/1"


def settings_of(receipt: m.CommandReceipt) -> list[AnySetting]:
    return [unpacked(Setting(kind, body)) for kind, body in cbor.loads(receipt.result)[0]]


@pytest.mark.covers("ETSI-5.2.4-configure-3")
@pytest.mark.parametrize("wanted", [DemandPeriod(1_800), BillingDate(5, 30), CapturePeriod(1_800)])
def test_a_setting_is_written_and_its_receipt_carries_what_was_read_back(tmp_path: Path, wanted: AnySetting) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        receipt = done(street, command(street, C.WRITE_SETTINGS, settings=(packed(wanted),)))
        assert settings_of(receipt) == [wanted]
        assert street.houses[KEY].setting(SettingKind(packed(wanted).kind)) == wanted
        assert [e.detail for e in street.events("settings_written")] == [SettingKind(packed(wanted).kind).name.lower()]


def test_diagnostics_run_again_after_a_setting_was_changed(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].inject(HouseFault.MEMORY)
        receipt = done(street, command(street, C.WRITE_SETTINGS, settings=(packed(DemandPeriod(1_800)),)))
        checks = {check: state for check, state, _, _ in cbor.loads(receipt.result)[1]}
        assert checks["memory"] == 1
        assert street.events("memory_failed")


def test_settings_are_read_on_demand_and_one_the_meter_lacks_comes_back_empty(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        asked = (Setting(SettingKind.DEMAND_PERIOD), Setting(SettingKind.FORM))
        receipt = done(street, command(street, C.READ_SETTINGS, settings=asked))
        assert settings_of(receipt) == [DemandPeriod(900), Form(1, 2)]


def test_a_setting_that_is_already_so_is_not_written_again(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        done(street, command(street, C.WRITE_SETTINGS, settings=(packed(DemandPeriod(900)),)))
        assert not street.events("settings_written")


def test_a_lost_answer_is_followed_by_a_look_and_not_by_a_second_write(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.deaf_after[KEY] = 6
        order = command(street, C.WRITE_SETTINGS, settings=(packed(DemandPeriod(1_800)),))
        street.down("command", order)
        assert last_receipt(street, order).state == CommandState.EXECUTING
        street.wind(60_000)
        street.beat()
        street.wind(60_000)
        street.beat()
        assert last_receipt(street, order).state == CommandState.DONE
        assert street.houses[KEY].setting(SettingKind.DEMAND_PERIOD) == DemandPeriod(1_800)


def keyed(street: LittleStreet, folder: Path) -> None:
    """The street's meter has keys, and the concentrator a durable book of what it sent under them."""
    keys = MeterKeys(b"GTYMETER")
    access = MeterAccess(Scheme.IS15959, Mechanism.HLS, b"ABCD0001", b"0123456789ABCDEF", True, keys)
    street.slaves[KEY] = DlmsSlave((DlmsUnit(street.houses[KEY], 1, access=access),))
    settings = Is15959Settings(
        1, password="ABCD0001", settings_client=48, settings_secret="0123456789ABCDEF", system_title=b"GTYDCU01",
        key=keys.unicast, auth_key=keys.authentication, master_key=keys.master,
    )  # fmt: skip
    street.make_port[KEY] = lambda: DlmsPort(settings, CounterBook(folder / "counters.json", street.clock.now_ms))
    street.ports[KEY] = street.make_port[KEY]()


def test_keys_are_changed_by_command_and_outlive_a_restart(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        keyed(street, tmp_path)
        ready(street)
        receipt = done(street, command(street, C.WRITE_SETTINGS, settings=(packed(KeyGeneration(1)),)))
        assert settings_of(receipt) == [KeyGeneration(1)]
        assert [e.detail for e in street.events("settings_written")] == ["keys"]
        street.ports[KEY] = street.make_port[KEY]()
        street.next_quarter()
        assert street.asked[-1][0] == KEY
        assert settings_of(done(street, command(street, C.READ_SETTINGS, settings=(Setting(SettingKind.KEYS),)))) == [KeyGeneration(1)]


@pytest.mark.parametrize("heard", range(8, 40, 3))
def test_a_change_of_keys_whose_answer_was_lost_ends_with_keys_that_let_us_in(tmp_path: Path, heard: int) -> None:
    """The line goes dead after any number of answers, and the concentrator restarts: the meter is never lost."""
    with little_street(tmp_path) as street:
        keyed(street, tmp_path)
        ready(street)
        street.deaf_after[KEY] = heard
        order = command(street, C.WRITE_SETTINGS, settings=(packed(KeyGeneration(1)),))
        street.down("command", order)
        street.ports[KEY] = street.make_port[KEY]()
        for _ in range(4):
            street.wind(60_000)
            street.beat()
        assert last_receipt(street, order).state == CommandState.DONE
        assert settings_of(last_receipt(street, order)) == [KeyGeneration(1)]


def test_a_restart_in_the_middle_looks_before_it_writes(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.drop_effects = True
        order = command(street, C.RESET, reset=ResetKind.MAXIMUM_DEMAND)
        street.down("command", order)
        signer, clock_ms = street.signer, street.clock.now_ms()
    with little_street(tmp_path, signer=signer, start_ms=clock_ms) as street:
        street.connect()
        street.beat()
        street.beat()
        last = last_receipt(street, order)
        assert (last.state, last.reason) == (CommandState.FAILED, Reason.NOT_READ_BACK)


@pytest.mark.parametrize("kind", [ResetKind.MAXIMUM_DEMAND, ResetKind.TAMPER, ResetKind.STATUS])
def test_a_reset_is_carried_out_and_its_register_looked_at(tmp_path: Path, kind: ResetKind) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].report_event(251)
        done(street, command(street, C.RESET, reset=kind))
        name = {ResetKind.MAXIMUM_DEMAND: "demand_reset", ResetKind.TAMPER: "tamper_reset", ResetKind.STATUS: "status_reset"}[kind]
        street.next_quarter()
        assert street.events(name)


def test_diagnostics_are_run_on_demand_and_all_results_come_back(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        receipt = done(street, command(street, C.RUN_DIAGNOSTICS))
        assert {check for check, _, _, _ in cbor.loads(receipt.result)[1]} >= {"checksum", "metrology", "memory"}


@pytest.mark.parametrize("kind", [C.SET_CLOCK, C.READ_SETTINGS, C.WRITE_SETTINGS, C.RESET, C.RUN_DIAGNOSTICS])
def test_a_meter_that_can_not_do_it_refuses(tmp_path: Path, kind: C) -> None:
    with little_street(tmp_path, dlms=0, modbus=1) as street:
        ready(street)
        order = command(street, kind, settings=(packed(DemandPeriod(900)),), reset=1)
        street.down("command", order)
        last = last_receipt(street, order)
        assert (last.state, last.reason) == (CommandState.REFUSED, Reason.UNSUPPORTED)


@pytest.mark.parametrize(
    ("kind", "settings", "reset"),
    [
        (C.WRITE_SETTINGS, (), 0),
        (C.WRITE_SETTINGS, (packed(Form(1, 2)),), 0),
        (C.WRITE_SETTINGS, (Setting(2, b"\xff"),), 0),
        (C.READ_SETTINGS, (Setting(99),), 0),
        (C.RESET, (), 9),
    ],
)
def test_a_command_of_unknown_shape_is_refused_before_the_meter_hears_of_it(
    tmp_path: Path, kind: C, settings: tuple[Setting, ...], reset: int
) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        order = command(street, kind, settings=settings, reset=reset)
        street.down("command", order)
        last = last_receipt(street, order)
        assert (last.state, last.reason) == (CommandState.REFUSED, Reason.MALFORMED)


# ---- settings of the utility --------------------------------------------------------------------------------

NIGHT = ActivityCalendar(
    "NIGHT", (Season("ALL", 1, 1, "ALL"),), (WeekProfile("ALL", (1,) * 7),),
    (DayProfile(1, (DayAction(0, 2), DayAction(360, 1), DayAction(1_320, 2))),),
)  # fmt: skip


@pytest.mark.covers_part("BYPL-8.2a")
def test_a_calendar_is_written_read_back_and_active_on_its_date(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        at_ms = (street.clock.now_ms() // 60_000 + 2 * 1_440) * 60_000
        wanted = replace(NIGHT, activate_at_ms=at_ms)
        receipt = done(street, command(street, C.WRITE_SETTINGS, settings=(packed(wanted),)))
        assert settings_of(receipt) == [wanted]
        active = street.houses[KEY].setting(SettingKind.ACTIVITY_CALENDAR)
        assert isinstance(active, ActivityCalendar)
        assert active.name == "BASIC"
        street.wind(2 * 86_400_000 + 60_000)
        street.beat()
        active = street.houses[KEY].setting(SettingKind.ACTIVITY_CALENDAR)
        assert isinstance(active, ActivityCalendar)
        assert (active.name, active.days) == ("NIGHT", NIGHT.days)


@pytest.mark.covers("ETSI-5.2.4-configure-2")
def test_settings_are_checked_for_schema_signature_target_and_age(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        good = (packed(DemandPeriod(1_800)),)
        schema = command(street, C.WRITE_SETTINGS, settings=(Setting(SettingKind.DEMAND_PERIOD, b"\xff"),))
        street.down("command", schema)
        assert last_receipt(street, schema).reason == Reason.MALFORMED
        own_key, street.signer = street.signer, KeySigner.from_seed(b"x" * 32)
        forged = command(street, C.WRITE_SETTINGS, settings=good)
        street.down("command", forged)
        street.signer = own_key
        street.down("command", replace(command(street, C.WRITE_SETTINGS, settings=good), dcu="dcu-2"))
        assert street.events("command_refused")
        old = replace(command(street, C.WRITE_SETTINGS, settings=good), expires_ms=street.clock.now_ms() - 1)
        street.down("command", old)
        assert (last_receipt(street, old).state, last_receipt(street, old).reason) == (CommandState.EXPIRED, Reason.TOO_LATE)
        answered = {r.cmd_id for r in street.entries(m.EntryKind.COMMAND_RECEIPT, m.CommandReceipt)}
        assert forged.cmd_id not in answered
        assert street.houses[KEY].setting(SettingKind.DEMAND_PERIOD) == DemandPeriod(900)


# ---- clocks -------------------------------------------------------------------------------------------------


def skew_of(street: LittleStreet) -> int:
    return street.houses[KEY].clock_ms() - street.clock.now_ms()


def test_a_clock_off_its_tolerance_is_set_just_after_a_boundary_and_both_times_are_logged(tmp_path: Path) -> None:
    with little_street(tmp_path, skew_ms=90_000) as street:
        ready(street)
        before_ms = street.houses[KEY].clock_ms()
        for _ in range(8):
            street.wind(60_000)
            street.beat()
            street.say_time()
        for _ in range(60):
            street.wind(15_000)
            street.beat()
        assert abs(skew_of(street)) <= DEFAULT.tolerance_ms
        (event,) = street.events("clock_corrected")
        old_ms, new_ms = (int(word.split("=")[1]) for word in event.detail.split()[:2])
        assert 80_000 <= old_ms - new_ms <= 100_000
        assert old_ms > before_ms
        assert old_ms // QUARTER_MS == new_ms // QUARTER_MS


def test_a_clock_hours_off_is_flagged_and_left_alone_until_a_person_orders_it(tmp_path: Path) -> None:
    with little_street(tmp_path, skew_ms=7_200_000) as street:
        ready(street)
        street.next_quarter(2)
        assert len(street.events("clock_jump_needed")) == 1
        assert abs(skew_of(street)) > 7_000_000
        street.say_time()
        receipt = done(street, command(street, C.SET_CLOCK))
        assert abs(skew_of(street)) <= 1_000
        old_ms, new_ms, left_ms = (cbor.loads(receipt.result)[i] for i in range(3))
        assert old_ms - new_ms > 7_000_000
        assert abs(left_ms) <= 1_000


def test_a_clock_is_not_set_while_our_own_is_not_trusted(tmp_path: Path) -> None:
    with little_street(tmp_path, skew_ms=90_000) as street:
        street.connect_untrusted()
        street.next_quarter(3)
        assert skew_of(street) == 90_000
        order = command(street, C.SET_CLOCK)
        street.down("command", order)
        last = last_receipt(street, order)
        assert (last.state, last.reason) == (CommandState.REFUSED, Reason.CLOCK_UNTRUSTED)


@pytest.mark.covers("I2FR6")
def test_a_meter_that_refuses_its_clock_three_times_is_reported(tmp_path: Path) -> None:
    with little_street(tmp_path, skew_ms=-60_000) as street:
        ready(street)
        street.houses[KEY].inject(HouseFault.TIME_SYNC, 9)
        for _ in range(90):
            street.wind(20_000)
            street.say_time()
            street.beat()
        ours = [e for e in street.events("time_sync_failed") if e.detail.startswith("refused=3")]
        assert len(ours) == 1
        assert skew_of(street) == -60_000


@pytest.mark.covers("BYPL-10.1")
def test_a_meter_and_a_concentrator_that_are_off_are_both_right_after_a_sync(tmp_path: Path) -> None:
    with little_street(tmp_path, skew_ms=90_000, own_skew_ms=-40_000) as street:
        true_ms = street.true_clock.now_ms
        street.connect(cloud_ms=true_ms())
        street.configure()
        assert abs(street.clock.now_ms() - true_ms()) <= DEFAULT.tolerance_ms
        for _ in range(160):
            street.wind(15_000)
            street.beat()
        assert abs(street.houses[KEY].clock_ms() - true_ms()) <= DEFAULT.tolerance_ms
        logged = {e.meter_no: [int(w.split("=")[1]) for w in e.detail.split()[:2]] for e in street.events("clock_corrected")}
        assert logged[0][1] - logged[0][0] == 40_000
        assert 80_000 <= logged[1][0] - logged[1][1] <= 100_000
        assert not street.events("clock_jump_needed")
        street.houses[KEY].set_clock(true_ms() + 7_200_000)
        for _ in range(30):
            street.next_quarter()
        assert [e.meter_no for e in street.events("clock_jump_needed")] == [1]
        assert street.houses[KEY].clock_ms() - true_ms() > 7_000_000


def test_a_concentrator_hours_off_is_flagged_and_not_set(tmp_path: Path) -> None:
    with little_street(tmp_path, own_skew_ms=7_200_000) as street:
        street.connect(cloud_ms=street.true_clock.now_ms())
        assert [e.meter_no for e in street.events("clock_jump_needed")] == [0]
        assert street.clock.now_ms() - street.true_clock.now_ms() == 7_200_000


def test_a_late_answer_to_an_older_hello_that_comes_right_behind_a_newer_one_sets_no_clock(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        street.handle(LinkUp())
        late = m.Welcome(b"s" * 16, street.dcu, street.boot_id, street.clock.now_ms(), hello_at_ms=street.hello_at_ms)
        street.wind(40_000)
        street.handle(LinkUp())
        street.wind(1_000)
        street.down("welcome", late)
        assert street.clock.now_ms() == street.true_clock.now_ms()
        assert not street.events("clock_corrected")


def test_the_interval_in_which_the_clock_was_set_says_so(tmp_path: Path) -> None:
    with little_street(tmp_path, skew_ms=-90_000) as street:
        ready(street)
        street.say_time()
        for _ in range(160):
            street.wind(15_000)
            street.beat()
        (event,) = street.events("clock_corrected")
        rows = street.core.journal._db.execute("SELECT start_ms FROM interval WHERE quality & 4 AND quantity = 11").fetchall()
        assert rows == [(event.at_ms // QUARTER_MS * QUARTER_MS,)]


def test_a_change_of_the_capture_period_is_noticed_and_both_lengths_are_right(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.next_quarter(3)
        done(street, command(street, C.WRITE_SETTINGS, settings=(packed(CapturePeriod(1_800)),)))
        changed_ms = street.clock.now_ms()
        street.next_quarter(12)
        assert [e.detail for e in street.events("capture_period_changed")] == ["old=900 new=1800 s"]
        rows = street.core.journal._db.execute("SELECT start_ms, period_s, value FROM interval WHERE quantity = 11").fetchall()
        after = [row for row in rows if row[0] > changed_ms]
        assert {row[1] for row in after} == {1_800}
        assert {row[1] for row in rows if row[0] < changed_ms - 2 * QUARTER_MS} == {900}
        for start_ms, period_s, value in rows:
            wh = [street.houses[KEY].registers_at(at)[0] for at in (start_ms, start_ms + period_s * 1_000)]
            assert value == wh[1] - wh[0]


def test_a_change_of_the_capture_period_waits_until_a_profile_that_will_be_emptied_is_read(tmp_path: Path) -> None:
    with little_street(tmp_path, forgets=True) as street:
        ready(street)
        street.next_quarter(2)
        street.mute.add(KEY)
        street.next_quarter(3)
        order = command(street, C.WRITE_SETTINGS, settings=(packed(CapturePeriod(1_800)),))
        street.down("command", order)
        waiting_ms = street.clock.now_ms()
        assert last_receipt(street, order).state == CommandState.EXECUTING
        assert street.houses[KEY].setting(SettingKind.CAPTURE_PERIOD) == CapturePeriod(900)
        street.mute.clear()
        for _ in range(20):
            street.wind(60_000)
            street.beat()
        assert last_receipt(street, order).state == CommandState.DONE
        rows = street.core.journal._db.execute("SELECT start_ms FROM interval WHERE quantity = 11 ORDER BY start_ms").fetchall()
        starts = [start for (start,) in rows if start < waiting_ms // QUARTER_MS * QUARTER_MS]
        assert starts == list(range(starts[0], waiting_ms // QUARTER_MS * QUARTER_MS, QUARTER_MS))


@pytest.mark.covers_part("I2FR2")
def test_a_meter_in_the_wrong_socket_is_reported_and_nothing_it_says_is_booked(tmp_path: Path) -> None:
    with little_street(tmp_path, phases=1, needs_phases=3) as street:
        ready(street)
        street.next_quarter(2)
        serial = street.houses[KEY].serial
        told = [(e.meter_no, e.detail) for e in street.events("wrong_form")]
        assert told == [(0, f"serial={serial} phases=1 expected=3"), (1, "phases=1 expected=3")]
        assert not street.entries(m.EntryKind.READINGS, m.Readings)
        assert not street.entries(m.EntryKind.INTERVALS, m.Intervals)
        order = command(street, C.WRITE_SETTINGS, settings=(packed(DemandPeriod(900)),))
        street.down("command", order)
        assert last_receipt(street, order).reason == Reason.WRONG_FORM


def test_the_form_is_looked_at_again_and_a_right_one_is_activated(tmp_path: Path) -> None:
    with little_street(tmp_path, phases=1, needs_phases=1) as street:
        street.houses[KEY].inject(HouseFault.FORM)
        ready(street)
        assert street.events("wrong_form")
        street.houses[KEY].inject(HouseFault.FORM, 0)
        street.next_quarter(2)
        assert street.entries(m.EntryKind.READINGS, m.Readings)
