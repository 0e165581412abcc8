"""A register that comes to its end behind a postpaid account: billed to the watt-hour where something tells of it, held and settled by a
person where nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from gridtally_cloud.billing import register_cli, service
from gridtally_cloud.billing.counted import counted_on, shown_by
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.model import BillView, LineKind, Reading
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.rate_registers import RateRegisters
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.billing.turns import Between, How, Known, Read, rolled
from gridtally_cloud.billing.usage import channel_of
from gridtally_cloud.customers.accounts import account
from gridtally_cloud.ingest.measurements import take_intervals, take_readings
from gridtally_cloud.prepay.closing import WIDTHS_WH
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.tables import meter
from gridtally_cloud.vee.run import run_pending
from gridtally_shared.contract.messages import Intervals, Readings, Value
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.money import nano
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME, ENERGY_IMPORT
from support.edge_peer import block
from support.payday import DAY_MS, HOUR_MS, START_MS, Payday
from support.typed import typed

END_WH = 1_000_000_000
QUARTERS = [40 + place % 7 for place in range(96)]
DAY_WH = sum(QUARTERS)
CROSSED = 28
DAYS = 4
BEGAN_WH = END_WH - DAY_WH - 1_234


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    yield town
    town.close()


def lived(town: Payday, *, intervals: bool = False, first: int = 0, days: int = DAYS, mark: bool = False, began_wh: int = BEGAN_WH,
          hole: bool = False) -> None:  # fmt: skip
    """Days read at each midnight; the register comes to its end during the second one. `mark`: who read it saw that. `hole`: who made
    intervals of the register could not say the one in which it did."""
    for day in range(first, first + days + 1):
        town.now_ms = START_MS + day * DAY_MS
        if day > first and intervals:
            send(town, day - 1, hole and day == 2)
        shown = (began_wh + day * DAY_WH) % END_WH
        rolled_over = mark and day and shown < (began_wh + (day - 1) * DAY_WH) % END_WH
        read(town, shown, Quality.ROLLOVER if rolled_over else Quality.OK)
    town.now_ms = START_MS + (first + days) * DAY_MS + GRACE_MS + HOUR_MS
    if intervals:
        close_days(town.db, town.now_ms)
        while run_pending(town.db, town.now_ms):
            pass


def read(town: Payday, register_wh: int, quality: Quality = Quality.OK) -> None:
    with town.db.write() as conn:
        value = Value(town.homes[2].meter_no, ENERGY_IMPORT.code, town.now_ms, register_wh, int(quality))
        take_readings(town.arrival(conn), Readings((value,)))


def send(town: Payday, day: int, hole: bool = False) -> None:
    present = bytes(not hole or place != CROSSED for place in range(len(QUARTERS)))
    with town.db.write() as conn:
        made = block(town.homes[2].meter_no, START_MS + day * DAY_MS, QUARTERS, present=present)
        take_intervals(town.arrival(conn), Intervals((made,)))


def bill(town: Payday, first: int = 0, until: int = DAYS) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, START_MS + first * DAY_MS, START_MS + until * DAY_MS, town.now_ms, "desk")


def on_record(town: Payday, end_wh: int = END_WH) -> None:
    with town.db.write() as conn:
        conn.execute(update(meter).where(meter.c.meter_no == town.homes[2].meter_no).values(register_end_wh=end_wh))


def checked(town: Payday, view: BillView, how: How) -> None:
    """Every watt-hour at its price, and the bill says why in three languages."""
    assert view.bill.used_wh == DAYS * DAY_WH
    energy = next(line for line in view.bill.lines if line.kind is LineKind.ENERGY)
    assert energy.amount_nano == DAYS * DAY_WH * nano("7") // 1000
    assert view.bill.last is not None
    assert view.bill.last.shown_wh == (BEGAN_WH + DAYS * DAY_WH) % END_WH
    assert [(turn.how, turn.end_wh, turn.used_wh) for turn in view.bill.turns] == [(how.value, END_WH, DAY_WH)]
    assert from_json(to_json(view.bill)) == view.bill
    for language in TEXTS:
        notes = " ".join(bill_page(view, language).notes)
        assert TEXTS[language][f"note.turn_{how.value}"] in notes
    assert "1,000,000" in " ".join(bill_page(view, "en").notes)
    assert bill_page(view, "en").rows[0].how[-1].startswith("Meter 999,994.")


def test_an_end_on_record_is_counted_over_to_the_watt_hour(town: Payday) -> None:
    on_record(town)
    lived(town)
    checked(town, bill(town), How.METER)


def test_what_the_device_that_reads_saw_is_enough(town: Payday) -> None:
    lived(town, mark=True)
    checked(town, bill(town), How.CONCENTRATOR)


def test_the_intervals_measured_meanwhile_tell(town: Payday) -> None:
    lived(town, intervals=True)
    checked(town, bill(town), How.INTERVALS)


@pytest.mark.parametrize("known", [True, False])
def test_intervals_with_a_hole_where_it_happened_tell_too(town: Payday, known: bool) -> None:
    """With its end on record the hole is filled to the watt-hour, without it by the register of the bill."""
    if known:
        on_record(town)
    lived(town, intervals=True, hole=True)
    checked(town, bill(town), How.METER if known else How.INTERVALS)
    with town.db.read() as conn:
        series = read_intervals(conn, channel_of(conn, 3) or 0, START_MS + DAY_MS, START_MS + 2 * DAY_MS)
    assert (sum(series.values) == DAY_WH) is known
    assert series.quality[CROSSED] & Quality.ESTIMATED


def test_without_any_of_them_the_bill_is_held_until_a_person_says(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    lived(town)
    with pytest.raises(RefusedCommand, match="register_went_back") as caught:
        bill(town)
    assert f"gridtally-mdm register ends {town.homes[2].serial} 1000000" in caught.value.detail
    serial = town.homes[2].serial
    assert typed(town, register_cli, "register", "show", serial) == 0
    assert "1 to be settled" in capsys.readouterr().out
    assert typed(town, register_cli, "register", "ends", serial, "1000000") == 0
    assert typed(town, register_cli, "register", "show", serial) == 0
    assert f"rolled over at {END_WH} Wh, {DAY_WH} Wh used (by meter)" in capsys.readouterr().out
    checked(town, bill(town), How.METER)


def test_one_that_was_set_back_is_settled_with_what_was_used(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    lived(town, days=1, began_wh=5_000_000)
    town.now_ms = START_MS + 2 * DAY_MS
    read(town, 100)
    town.now_ms += 2 * DAY_MS
    read(town, 8_000)
    town.now_ms += HOUR_MS
    with pytest.raises(RefusedCommand, match="register_went_back"):
        bill(town)
    words = ("register", "settle", town.homes[2].serial)
    assert typed(town, register_cli, *words, "2026-11-02T18:30:00Z", "--used", "3.100", "--reason", "a new board") == 0
    assert "set back, 3100 Wh used (by desk)" in capsys.readouterr().out
    view = bill(town)
    assert view.bill.used_wh == DAY_WH + 3_100 + 7_900
    assert view.bill.last == Reading(START_MS + 4 * DAY_MS, 5_000_000 + view.bill.used_wh, ahead_wh=5_000_000 + view.bill.used_wh - 8_000)
    assert "set back from" in " ".join(bill_page(view, "en").notes)
    with pytest.raises(RefusedCommand, match="register_did_not_fall"):
        typed(town, register_cli, *words, "2026-11-01T18:30:00Z", "--used", "1", "--reason", "x")


def test_the_next_bill_begins_where_the_register_stands(town: Payday) -> None:
    on_record(town)
    lived(town)
    first = bill(town)
    lived(town, first=DAYS + 1, days=DAYS - 1)
    second = bill(town, DAYS, 2 * DAYS)
    assert second.bill.first == first.bill.last
    assert second.bill.used_wh == DAYS * DAY_WH
    assert second.bill.turns == ()
    assert second.bill.last is not None
    assert second.bill.last.shown_wh == (BEGAN_WH + 2 * DAYS * DAY_WH) % END_WH


def test_an_end_of_a_period_estimated_over_the_roll_over_loses_nothing(town: Payday) -> None:
    on_record(town)
    read(town, END_WH - 3_000)
    town.now_ms = START_MS + 36 * HOUR_MS
    read(town, END_WH - 1_200)
    town.now_ms = START_MS + 60 * HOUR_MS
    read(town, 1_200)
    town.now_ms = START_MS + 3 * DAY_MS
    read(town, 1_800)
    first, second = bill(town, 0, 2), bill(town, 2, 3)
    assert (first.bill.used_wh, second.bill.used_wh) == (3_000, 1_800)
    assert first.bill.last == Reading(START_MS + 2 * DAY_MS, END_WH, estimated=True, ahead_wh=END_WH)


@pytest.mark.parametrize("known", [True, False], ids=["its end on record", "a power of ten"])
def test_a_journal_that_counts_past_the_end_is_gone_on_with(town: Payday, known: bool) -> None:
    """The reading of the change to bills is the journal's, which the concentrator counts on; those after it are the meter's own."""
    if known:
        on_record(town)
    read(town, 10)
    town.now_ms += DAY_MS
    read(town, 500)
    with town.db.read() as conn:
        here = account(conn, town.postpaid_account)
        begun = shown_by(conn, here.meter_no, Reading(START_MS, 2 * END_WH + 10))
        end, turns = counted_on(Held(conn), here, begun, Reading(town.now_ms, 500))
        other = shown_by(conn, here.meter_no, Reading(START_MS, 2 * END_WH + 11))
    assert (begun.shown_wh, end.register_wh, end.shown_wh, turns) == (10, 2 * END_WH + 500, 500, ())
    assert other.ahead_wh == 0, "no end explains it"


def test_an_estimated_bill_goes_over_the_roll_over_before_its_last_reading(town: Payday) -> None:
    on_record(town)
    for day in range(-9, DAYS + 1):
        town.now_ms = START_MS + day * DAY_MS
        read(town, (BEGAN_WH + day * DAY_WH) % END_WH)
    town.now_ms = START_MS + 6 * DAY_MS + GRACE_MS + HOUR_MS
    with town.db.write() as conn:
        view = service.issue_bill(conn, town.postpaid_account, START_MS, START_MS + 6 * DAY_MS, town.now_ms, "desk", estimate=True)
    assert view.bill.tail is not None
    assert (view.bill.used_wh, view.bill.tail.used_wh) == (6 * DAY_WH, 2 * DAY_WH)
    assert [turn.used_wh for turn in view.bill.turns] == [DAY_WH]


def test_rate_registers_go_over_the_end_on_record_and_say_nothing_without_it(town: Payday) -> None:
    rate = BY_NAME["energy_import_rate1_wh"]
    town.now_ms += DAY_MS
    with town.db.write() as conn:
        values = (Value(town.homes[2].meter_no, rate.code, at_ms, wh) for at_ms, wh in ((START_MS, END_WH - 40), (START_MS + DAY_MS, 60)))
        take_readings(town.arrival(conn), Readings(tuple(values)))
        meter_no = town.homes[2].meter_no
        moved = [RateRegisters(conn, meter_no, 0, end_wh)._moved(rate, START_MS, START_MS + DAY_MS) for end_wh in (END_WH, 0, END_WH // 10)]
    assert moved == [100, None, None]


def test_a_misread_number_is_no_roll_over_whatever_is_on_record(town: Payday) -> None:
    on_record(town)
    lived(town, began_wh=500_000_000)
    town.now_ms = START_MS + DAYS * DAY_MS + 2 * HOUR_MS
    read(town, 499_999_999)
    town.now_ms += HOUR_MS
    with pytest.raises(RefusedCommand, match="register_went_back"), town.db.write() as conn:
        service.issue_bill(conn, town.postpaid_account, START_MS, START_MS + DAYS * DAY_MS + 2 * HOUR_MS, town.now_ms, "desk")


@pytest.mark.parametrize(("kwh", "error"), [("999999", RefusedCommand), ("10", ConfigError), ("-1", ConfigError), ("1e6", ConfigError),
                                            ("9" * 30, ConfigError)])  # fmt: skip
def test_an_end_that_can_not_be_is_refused(town: Payday, kwh: str, error: type[Exception]) -> None:
    read(town, END_WH - 1)
    with pytest.raises(error):
        typed(town, register_cli, "register", "ends", town.homes[2].serial, "--", kwh)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(WIDTHS_WH), st.integers(0, 5_000), st.integers(0, 5_000), st.integers(-3_000, 3_000))
def test_intervals_tell_one_end_or_none(end_wh: int, short: int, over: int, wrong: int) -> None:
    """What moved is what they sum to; else nothing is concluded."""
    before, now = Read(0, end_wh - 1 - short), Read(900_000, over)
    used_wh = short + 1 + over
    found = rolled(before, now, Known(0, WIDTHS_WH, 10**5, Between(max(0, used_wh + wrong))))
    agrees = abs(max(0, used_wh + wrong) - used_wh) <= max(2, used_wh * 2 // 1000)
    assert (found is not None) is agrees
    assert found is None or (found.end_wh, found.used_wh) == (end_wh, used_wh)
