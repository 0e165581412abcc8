"""What is read of meters, from the meter to the MDM's API: daily and billing rows, blocks, on demand, ciphered, of four utilities
(BYPL 1, 2, 7.5, 21; I2 S3, S5; ETSI 3.1, 5.2.3, 5.2.6, F1b). What the API says is compared with what the simulated meter holds."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.seed import SeedUser
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import journal_entry, meter, reading
from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_edge.simulators.mbus import HEAT, LITRES_PER_KWH
from gridtally_edge.simulators.meter import RegisterRow
from gridtally_edge.status import meter_rows
from gridtally_shared import cbor
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, Intervals, Readings
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.lifecycle import COMMAND_RULES
from gridtally_shared.meter_settings import CapturePeriod
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE
from support.chain import Chain, chain
from support.little_street import MINUTE_MS, QUARTER_MS
from support.unasked import house_of, ms_of, told
from support.utilities import MEDIA, add_mbus
from support.web_person import Person
from support.web_street import PASSWORD

DAY_MS = 86_400_000
ZONE_MS = 330 * MINUTE_MS
PING_WITHIN_MS = MINUTE_MS
OTTO = (SeedUser("otto", "Otto Operations", Role.OPERATIONS, PASSWORD),)


def midnight(c: Chain, days: int = 0) -> int:
    """Local midnight in Kolkata."""
    return ((c.now_ms + ZONE_MS) // DAY_MS + days) * DAY_MS - ZONE_MS


def at(c: Chain, moment_ms: int, meter_no: int = 1) -> dict[str, tuple[int, str]]:
    """Everything the API has of that moment: quantity to value and unit."""
    rows = c.items(f"/meters/{meter_no}/readings", **{"from": utc_text(moment_ms), "to": utc_text(moment_ms + 1_000)})
    assert len(rows) == len({row["quantity"] for row in rows})  # each once
    return {row["quantity"]: (row["value"], row["unit"]) for row in rows}


# ---- 1. the daily profile ---------------------------------------------------------------------------------------


@pytest.mark.covers("BYPL-1.1")
def test_a_day_over_twenty_meters_gives_each_exactly_one_daily_record(tmp_path: Path) -> None:
    """Post: one record at midnight for each meter: its number, date and time, kW, kVA, kWh, kVAh, power factor as the meter's own, and
    the events of that day, with their codes and times, that are not critical."""
    with chain(tmp_path, dlms=20) as c:
        house_of(c, 7).report_event(EVENTS["over_voltage"].code)
        happened_ms, end_ms = c.now_ms, midnight(c, 1)
        c.wait(end_ms - c.now_ms + QUARTER_MS)
        span = {"from": utc_text(end_ms - 3_600_000), "to": utc_text(end_ms + 3_600_000)}
        for number in range(1, 21):
            (truth,) = house_of(c, number).daily(end_ms, end_ms)
            (record,) = c.get(f"/meters/{number}/daily", **span)["items"]
            then = at(c, ms_of(record["momentary_at"]), number)
            assert (record["meter_no"], ms_of(record["at"])) == (number, end_ms)
            assert (record["energy_wh"], record["apparent_vah"]) == (truth.import_wh, truth.apparent_vah)
            assert 0 <= ms_of(record["momentary_at"]) - end_ms <= QUARTER_MS
            assert [record[q] for q in ("power_w", "apparent_va", "power_factor_milli")] == [
                then[q][0] for q in ("power_w", "apparent_va", "power_factor_milli")
            ]
            assert record["power_w"] > 0
            if number == 7:
                (event,) = [e for e in record["events"] if e["code"] == EVENTS["over_voltage"].code]
                assert abs(ms_of(event["at"]) - happened_ms) <= MINUTE_MS
        stored = [c.street.core.journal.stored_rows(number, "daily").count(end_ms) for number in range(1, 21)]
        assert stored == [1] * 20


@pytest.mark.covers("BYPL-1.2b")
@pytest.mark.parametrize(("period_s", "blocks"), [(900, 96), (1_800, 48)])
def test_a_day_has_96_blocks_of_15_or_48_of_30_minutes(tmp_path: Path, period_s: int, blocks: int) -> None:
    with chain(tmp_path, connected=False) as c:
        house_of(c).take_setting(CapturePeriod(period_s))
        c.street.wind(DAY_MS + QUARTER_MS)
        with c.db.write() as conn:
            conn.execute(update(meter).values(interval_s=period_s))
        c.connect()
        first_ms = midnight(c, 1)
        c.wait(first_ms - c.now_ms + 12 * 3_600_000)
        house_of(c).report_event(EVENTS["over_voltage"].code)
        c.wait(first_ms + DAY_MS - c.now_ms + 2 * QUARTER_MS)
        c.next_quarter(2)
        rows = c.items("/meters/1/intervals", **{"from": utc_text(first_ms), "to": utc_text(first_ms + DAY_MS)})
        truth = house_of(c).profile(first_ms + period_s * 1_000, first_ms + DAY_MS)
        assert len(rows) == len(truth) == blocks
        assert [(ms_of(r["start"]), r["seconds"], r["wh"]) for r in rows] == [
            (row.end_ms - period_s * 1_000, period_s, row.import_wh) for row in truth
        ]
        (event,) = told(c, "over_voltage")
        (block,) = [ms_of(r["start"]) for r in rows if "over_voltage" in r["events"]]
        assert block == first_ms + 12 * 3_600_000
        assert block <= ms_of(event["at"]) < block + period_s * 1_000


# ---- 2. the monthly billing profile -----------------------------------------------------------------------------


def billing_truth(house: HouseMeter, moment_ms: int) -> RegisterRow:
    (row,) = house.billing(moment_ms, moment_ms)
    return row


@pytest.mark.covers("BYPL-2.2")
def test_passing_the_billing_day_gives_one_snapshot_a_meter(tmp_path: Path) -> None:
    """Post: maximum demand, kWh, kVAh, power factor and the time-of-use registers of 00:00 of the billing day, as the meter closed
    them, once for each meter."""
    with chain(tmp_path, dlms=2) as c:
        before = [len(c.street.core.journal.stored_rows(number, "billing")) for number in (1, 2)]
        closing_ms = midnight(c, 1)
        while not house_of(c).billing(closing_ms, closing_ms):
            closing_ms += DAY_MS
            c.wait(max(0, closing_ms - c.now_ms + QUARTER_MS))
        c.next_quarter()
        for number in (1, 2):
            truth, row = billing_truth(house_of(c, number), closing_ms), at(c, closing_ms, number)
            assert row["energy_import_wh"] == (truth.import_wh, "Wh")
            assert row["apparent_import_vah"] == (truth.apparent_vah, "VAh")
            assert 0 < row["billing_power_factor_milli"][0] <= 1_000
            assert [row[f"energy_import_rate{rate}_wh"][0] for rate in range(1, 9)] == list(truth.rates_wh)
            demand = c.items(f"/meters/{number}/readings", **{"from": utc_text(closing_ms - 40 * DAY_MS), "to": utc_text(closing_ms + 1)})
            assert truth.demand_w in [r["value"] for r in demand if r["quantity"] == "demand_max_w"]
        after = [len(c.street.core.journal.stored_rows(number, "billing")) for number in (1, 2)]
        assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]


@pytest.mark.covers("BYPL-2.3")
def test_a_billing_row_that_is_late_is_collected_when_the_meter_answers_again(tmp_path: Path) -> None:
    with chain(tmp_path) as c:
        day = datetime.fromtimestamp((c.now_ms + ZONE_MS) / 1_000, UTC).date()
        closing_ms = midnight(c, (day.replace(day=1) + timedelta(days=32)).replace(day=1).toordinal() - day.toordinal())
        c.wait(closing_ms - c.now_ms - QUARTER_MS)
        c.street.mute.add("dlms/1")
        c.wait(QUARTER_MS + MINUTE_MS)
        c.next_quarter(3)
        assert "billing_power_factor_milli" not in at(c, closing_ms)
        assert billing_state(c) == "late"
        c.street.mute.discard("dlms/1")
        c.wait(QUARTER_MS)
        c.next_quarter(5)
        row = at(c, closing_ms)
        assert row["energy_import_wh"][0] == billing_truth(house_of(c), closing_ms).import_wh
        assert row["billing_power_factor_milli"][0] > 0
        assert billing_state(c) == "collected"


def billing_state(c: Chain) -> str:
    """As the concentrator's status has it."""
    (row,) = meter_rows(c.street.core)
    return dict(row.rows)["billing"]


# ---- 2.4 decryption and validation ------------------------------------------------------------------------------

RIGHT, WRONG = bytes(range(16)), bytes(range(1, 17))
KEYED = {
    "physical_address": 1, "password": "ABCD0001", "system_title": b"GTYDCU01".hex(), "key": RIGHT.hex(),
    "auth_key": bytes(range(0xD0, 0xE0)).hex(), "protection": "both",
}  # fmt: skip


def cipher(c: Chain, key: bytes = RIGHT) -> None:
    """From now on the meter speaks ciphered; the concentrator uses `key`."""
    access = MeterAccess(Scheme.IS15959, ciphered=True, keys=MeterKeys(b"GTYMETER"))
    c.street.slaves["dlms/1"] = DlmsSlave((DlmsUnit(house_of(c), 1, access=access),))
    driver = driver_named("is15959")
    c.street.ports["dlms/1"] = driver.make_port(settings_from(driver, {**KEYED, "key": key.hex()}))


def with_one_bit_turned(data: bytes) -> bytes:
    """In the ciphered content of an answer; the frame's own check is right again."""
    frames = [placed.frame for placed in hdlc.scan(data)]
    turned = [
        replace(f, information=f.information[:-1] + bytes([f.information[-1] ^ 1])) if f.information[3:4] == b"\xcc" else f
        for f in frames
    ]  # fmt: skip
    return b"".join(hdlc.encode_frame(frame) for frame in turned)


def stored(c: Chain) -> int:
    with c.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(reading)).scalar_one())


@pytest.mark.covers("BYPL-2.4a")
@pytest.mark.parametrize("what", ["wrong key", "one bit"])
def test_a_ciphered_meter_is_read_in_plain_and_a_wrong_key_or_a_turned_bit_stores_nothing(tmp_path: Path, what: str) -> None:
    """Post: the plain values reach the MDM; afterwards, with a wrong key or one bit turned, nothing is stored and a security event is
    raised, once."""
    with chain(tmp_path, postpaid=1) as c:
        cipher(c)
        c.next_quarter()
        shown = house_of(c).snapshot()
        assert at(c, shown.at_ms // 1_000 * 1_000)["energy_import_wh"] == (shown.energy_import_wh, "Wh")
        assert told(c, "protection_failed") == []
        before = stored(c)
        if what == "wrong key":
            cipher(c, WRONG)
        else:
            c.street.spoil["dlms/1"] = with_one_bit_turned
        c.next_quarter(2)
        assert stored(c) == before
        (event,) = told(c, "protection_failed")
        assert event["urgent"] is True
        c.street.spoil.clear()
        cipher(c)
        c.next_quarter()
        assert stored(c) > before
        assert len(told(c, "protection_failed")) == 1


# ---- 3.1 several utilities --------------------------------------------------------------------------------------

@pytest.mark.covers("ETSI-3.1")
def test_electricity_gas_water_and_heat_of_one_concentrator_keep_their_units_up_to_the_api(tmp_path: Path) -> None:
    with chain(tmp_path) as c:
        houses = {number: add_mbus(c, number) for number in MEDIA}
        c.carry()
        c.next_quarter(3)
        values = {no: {r["quantity"]: r for r in c.items(f"/meters/{no}/readings")} for no in (1, *MEDIA)}
        assert values[1]["energy_import_wh"]["unit"] == "Wh"
        for number, (medium, _, quantity, unit) in MEDIA.items():
            row = values[number][quantity]
            wh = houses[number].registers_at(ms_of(row["at"]))[0]
            expected = 3 * wh if medium == HEAT else wh * LITRES_PER_KWH[medium] // 1_000
            assert row["unit"] == unit
            assert abs(row["value"] - expected) <= max(10, expected // 100)
            assert "energy_import_wh" not in values[number]
            assert quantity not in values[1]


# ---- on demand --------------------------------------------------------------------------------------------------


def content(answer: dict[str, Any]) -> bytes:
    return base64.b64decode(answer["result_cbor"])


@pytest.mark.covers("BYPL-21.2", "BYPL-12.5", "I2-S5.3.1")
def test_what_is_asked_for_comes_with_its_parameters_and_a_mute_meter_is_an_error(tmp_path: Path) -> None:
    """Instantaneous values, intervals, load profile of a day and events of a range, and a self-test. Post: each answer holds what was
    asked for and nothing else; a failure of the meter is shown as such; no answer ends as an error."""
    with chain(tmp_path) as c:
        house = house_of(c)
        house.report_event(EVENTS["over_voltage"].code)
        to_ms = c.now_ms // QUARTER_MS * QUARTER_MS
        span = {"from": utc_text(to_ms - 4 * QUARTER_MS), "to": utc_text(to_ms)}
        day = {"from": utc_text(to_ms - DAY_MS), "to": utc_text(to_ms)}

        instant = c.order(1, "i", type="read_instant")
        shown, told_values = house.snapshot(), {BY_CODE[v.quantity].name: v.value for v in decode(Readings, content(instant)).values}
        assert {"power_w", "voltage_mv", "current_ma", "energy_import_wh"} <= told_values.keys()
        assert told_values["energy_import_wh"] == shown.energy_import_wh
        for key, asked, n in (("n", span, 4), ("p", day, 96)):
            answer = c.order(1, key, type="read_intervals", **asked)
            starts = {b.start_ms + k * b.period_s * 1_000 for b in decode(Intervals, content(answer)).blocks for k in range(b.n)}
            assert starts == {to_ms - (k + 1) * QUARTER_MS for k in range(n)}
        events = c.order(1, "e", type="read_events", **{"from": utc_text(to_ms), "to": utc_text(c.now_ms + 1_000)})
        assert [row[0] for row in cbor.loads(content(events))[0]] == [EVENTS["over_voltage"].code]
        house.inject(HouseFault.MEMORY)
        tested = c.order(1, "t", type="run_diagnostics")
        assert {row[0]: row[1] for row in cbor.loads(content(tested))[1]}["memory"] == 1  # failed, and said so
        assert {x["state"] for x in (instant, events, tested)} == {"done"}

        c.street.mute.add("dlms/1")
        answer = c.order(1, "m", type="read_instant")
        assert (answer["state"], answer["reason"]) == ("failed", "no_answer")


@pytest.mark.covers("ETSI-5.2.6-alt3")
@pytest.mark.covers_part("ETSI-5.2.7-unplanned-alt2")
def test_data_that_can_not_be_retrieved_are_an_error_with_date_and_time(tmp_path: Path) -> None:
    with chain(tmp_path, modbus=1) as c:
        c.street.mute.add("dlms/1")
        span = {"from": utc_text(c.now_ms - DAY_MS), "to": utc_text(c.now_ms)}
        for key, asked in (("v", {"type": "read_instant"}), ("e", {"type": "read_events", **span})):
            answer = c.order(1, key, **asked)
            assert (answer["state"], answer["reason"]) == ("failed", "no_answer")
            assert abs(ms_of(answer["state_at"]) - c.now_ms) <= MINUTE_MS
        refused = c.order(2, "r", type="run_diagnostics")
        assert (refused["state"], refused["reason"]) == ("refused", "unsupported")


@pytest.mark.covers("I2-S3.2a")
@pytest.mark.parametrize(("mute", "words"), [(False, ("memory", "passed")), (True, ("answer",))])
def test_a_self_test_on_demand_shows_its_result_or_a_clear_error_on_the_screen(tmp_path: Path, mute: bool, words: tuple[str, ...]) -> None:
    with chain(tmp_path, users=OTTO) as c:
        c.street.mute |= {"dlms/1"} if mute else set()
        otto = Person(c.app, "otto")
        sent = otto.post("/staff/meters/1/commands", {"kind": "run_diagnostics", "reason": "visit"}, form="/staff/meters/1")
        assert sent.status_code == 303
        c.carry()
        for ms in (COMMAND_RULES[CommandType.RUN_DIAGNOSTICS][2], MINUTE_MS) if mute else ():
            c.wait(ms)
        page = otto.get(sent.headers["Location"])
        for word in words:
            assert word in page


@pytest.mark.covers("BYPL-7.5")
def test_a_live_a_dead_and_a_mute_meter_give_three_different_answers(tmp_path: Path) -> None:
    """Live: voltage on both sides. Dead: the meter answers, and there is no voltage behind it. No answer: an error. Each within the
    time that the command has."""
    with chain(tmp_path, dlms=3) as c:
        assert house_of(c, 2).operate_switch(False)
        c.street.mute.add("dlms/3")

        def told_by(number: int) -> tuple[str, bool | None]:
            answer = c.order(number, f"ping {number}", type="read_instant")
            if answer["state"] != "done":
                return answer["reason"], None
            values = {BY_CODE[v.quantity].name: v.value for v in decode(Readings, content(answer)).values}
            return "done", values["load_side_voltage_mv"] > 100_000

        for number, expected in ((1, ("done", True)), (2, ("done", False)), (3, ("no_answer", None))):
            began_ms = c.now_ms
            assert told_by(number) == expected
            assert c.now_ms - began_ms <= PING_WITHIN_MS


@pytest.mark.covers_part("SMT-A1")
def test_a_meter_without_a_profile_says_that_it_has_none(tmp_path: Path) -> None:
    with chain(tmp_path, modbus=1) as c:
        span = {"from": utc_text(c.now_ms - DAY_MS), "to": utc_text(c.now_ms)}
        for kind in ("read_daily", "read_intervals"):
            assert c.order(1, f"{kind} 1", type=kind, **span)["state"] == "done"
            assert c.order(2, f"{kind} 2", type=kind, **span)["reason"] == "unsupported"


@pytest.mark.covers("ETSI-F1b")
def test_a_meter_that_counts_both_ways_gives_import_export_and_what_is_left(tmp_path: Path) -> None:
    with chain(tmp_path, pv_w=4_000) as c:
        c.wait(midnight(c, 1) + 12 * 3_600_000 - c.now_ms)
        c.next_quarter()
        span = {"from": utc_text(midnight(c)), "to": utc_text(c.now_ms // QUARTER_MS * QUARTER_MS)}
        taken, given, net = (
            [row["wh"] for row in c.items("/meters/1/intervals", direction=way, **span)] for way in ("import", "export", "net")
        )  # fmt: skip
        truth = house_of(c).profile(midnight(c) + QUARTER_MS, c.now_ms // QUARTER_MS * QUARTER_MS)
        assert taken == [row.import_wh for row in truth]
        assert given == [row.export_wh for row in truth]
        assert net == [row.import_wh - row.export_wh for row in truth]
        assert min(net) < 0  # at noon more goes out than comes in


# ---- values that are no values ----------------------------------------------------------------------------------


def charges(c: Chain) -> int:
    with c.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(journal_entry).where(journal_entry.c.account_no == 1)).scalar_one())


def another_meter(c: Chain, serial: str = "99999999", seed: int = 9) -> Callable[[], None]:
    """The meter at this address is exchanged without a word; gives the way back."""
    before = c.street.slaves["dlms/1"]
    stranger = HouseMeter(HouseSettings(serial, seed=seed), c.street.true_clock)
    c.street.slaves["dlms/1"] = DlmsSlave((DlmsUnit(stranger, 1),))

    def back() -> None:
        c.street.slaves["dlms/1"] = before
        stranger.close()

    return back


def lower_seed(c: Chain) -> int:
    """Of a meter whose register stands below that of ours."""
    ours = house_of(c).registers().import_wh
    return next(seed for seed in range(2, 50) if made_register(c, seed) < ours)


def made_register(c: Chain, seed: int) -> int:
    house = HouseMeter(HouseSettings("x", seed=seed), c.street.true_clock)
    try:
        return house.registers().import_wh
    finally:
        house.close()


@pytest.mark.covers("BYPL-2.4b")
def test_what_a_stranger_a_spoilt_line_or_a_register_that_went_back_says_is_set_aside_and_not_billed(tmp_path: Path) -> None:
    """Pre: another meter answers at the address; then every answer has a wrong check sum; then a lower register answers under the right
    serial. Post: the first two are not stored, the third is marked; each is told; no money moves until the right register is back."""
    with chain(tmp_path) as c:
        c.next_quarter()
        back = another_meter(c)
        before, entries = stored(c), charges(c)
        c.next_quarter(2)
        assert (stored(c), charges(c)) == (before, entries)
        assert len(told(c, "serial_mismatch")) >= 1
        back()

        c.street.spoil["dlms/1"] = lambda data: data[:-2] + bytes([data[-2] ^ 0xFF]) + data[-1:]
        c.next_quarter(2)
        assert (stored(c), charges(c)) == (before, entries)
        c.street.spoil.clear()
        c.wait(QUARTER_MS)
        c.next_quarter()
        assert stored(c) > before

        entries = charges(c)
        back = another_meter(c, house_of(c).serial, lower_seed(c))
        c.next_quarter(2)
        assert charges(c) == entries
        assert len(told(c, "register_went_back")) >= 1
        marked = [r for r in c.items("/meters/1/readings") if r["quality"] & (Quality.RESET | Quality.ROLLOVER)]
        assert "energy_import_wh" in {r["quantity"] for r in marked}
        back()
        c.next_quarter(2)
        assert charges(c) > entries
