"""What is written is read back, in every format and over both days of summer time; and no bytes break a reader."""

from __future__ import annotations

import gzip
import json
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gridtally_cloud.exchange import formats
from gridtally_cloud.exchange.formats import FORMATS, read, recognised
from gridtally_cloud.exchange.record import Asked, Clock, Row, Series
from gridtally_cloud.store.days import EPOCH, midnight_ms
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality
from support.required import data_path

CHANGES = {
    "America/Chicago": (date(2025, 3, 9), date(2025, 11, 2)), "Europe/Berlin": (date(2025, 3, 30), date(2025, 10, 26)),
    "Australia/Sydney": (date(2025, 10, 5), date(2025, 4, 6)),
}  # fmt: skip
"""Clocks forward, clocks back."""


def around(zone: str, day: date, days: int) -> tuple[int, int]:
    first = (day - EPOCH).days
    return midnight_ms(first, zone), midnight_ms(first + days, zone)


def series_from(start_ms: int, end_ms: int, period_s: int, values: list[int | None], quantity: str = "interval_import_wh") -> Series:
    flags = (Quality.OK, Quality.ESTIMATED, Quality.OK)
    starts = range(start_ms, end_ms, period_s * 1000)
    held = [values[n % len(values)] for n in range(len(starts))]
    return Series("8001234567", quantity, period_s, tuple(
        Row(at, value, Quality.MISSING if value is None else flags[n % 3])
        for n, (at, value) in enumerate(zip(starts, held, strict=True))))  # fmt: skip


def there(series: Series) -> list[Row]:
    return [row for row in series.rows if row.value is not None]


def again(name: str, given: tuple[Series, ...], asked: Asked) -> tuple[Series, ...]:
    data = FORMATS[name].write(given, asked)
    assert recognised(data).name == name
    content = read(data, asked)
    assert content.problems == content.notes == ()
    assert FORMATS[name].write(content.series, asked) == data, "the same content is the same file"
    return content.series


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=4)
@given(data=st.data())
def test_a_round_trip_keeps_every_value_over_both_changes(name: str, zone: str, data: st.DataObject) -> None:
    day = data.draw(st.sampled_from(CHANGES[zone])) - timedelta(days=data.draw(st.integers(0, 1)))
    start_ms, end_ms = around(zone, day, data.draw(st.integers(1, 2)))
    period_s = data.draw(st.sampled_from((900, 1800, 3600)))
    values = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 10**9)), min_size=2, max_size=40).filter(lambda v: v[0] is not None))
    kinds = ("interval_import_wh", "interval_export_wh")
    before = tuple(series_from(start_ms, end_ms, period_s, values, kind) for kind in kinds)
    after = again(name, before, Asked(zone))
    assert [(s.point, s.quantity, s.period_s) for s in after] == [(s.point, s.quantity, s.period_s) for s in before]
    assert [there(s) for s in after] == [there(s) for s in before]
    assert [s.total for s in after] == [s.total for s in before]


def day_of_wall(zone: str, day: date, hours: list[tuple[str, str]]) -> bytes:
    return ("start,wh\n" + "\n".join(f"{day} {hour},{value}" for hour, value in hours) + "\n").encode()


@pytest.mark.parametrize("zone", CHANGES)
def test_each_habit_of_the_days_of_change_keeps_the_sum(zone: str) -> None:
    """The wall clock with its missing and its double hour, the clock without summer time, and 24 columns with a lost hour."""
    forward, back = CHANGES[zone]
    gone = {"America/Chicago": 2, "Europe/Berlin": 2, "Australia/Sydney": 2}[zone]
    twice = {"America/Chicago": 1, "Europe/Berlin": 2, "Australia/Sydney": 2}[zone]
    spring = [h for h in range(24) if h != gone]
    autumn = sorted([*range(24), twice])
    for day, hours in ((forward, spring), (back, autumn)):
        start_ms, end_ms = around(zone, day, 1)
        content = read(day_of_wall(zone, day, [(f"{h:02}:00", str(100 + h)) for h in hours]), Asked(zone))
        assert content.problems == ()
        assert [row.start_ms for row in content.series[0].rows] == list(range(start_ms, end_ms, 3_600_000))
        assert content.series[0].total == sum(100 + h for h in hours)
        standard = read(day_of_wall(zone, day, [(f"{h:02}:00", str(100 + h)) for h in range(24)]), Asked(zone, Clock.STANDARD))
        assert (standard.problems, len(standard.series[0].rows), standard.series[0].total) == ((), 24, sum(range(100, 124)))
        wide = "date,unit," + ",".join(f"{h:02}:00" for h in range(24)) + f"\n{day},Wh," + ",".join(
            "" if day == forward and h == gone else str(100 + h) for h in range(24))  # fmt: skip
        lost = read(wide.encode(), Asked(zone))
        assert lost.series[0].total == sum(100 + h for h in set(hours))
        assert [note.field for note in lost.notes] == ([f"{twice:02}:00"] if day == back else [])
    never = read(day_of_wall(zone, forward, [(f"{gone:02}:00", "5"), (f"{gone + 1:02}:00", "5")]), Asked(zone))
    assert "never came" in never.problems[0].text


def test_the_market_day_of_nem12_knows_no_summer_time() -> None:
    day = "20250406"  # clocks went back in Sydney, and not in Brisbane
    file = f"{NEM}300,{day},{VALUES},A,,,,\n900\n".encode()
    for zone, first in (("Australia/Sydney", "+10:00"), ("Australia/Brisbane", "+10:00"), ("Australia/Perth", "+08:00")):
        rows = read(file, Asked(zone)).series[0].rows
        assert rows[0].start_ms == 1_743_897_600_000 - int(first[1:3]) * 3_600_000
        assert (len(rows), sum(row.value or 0 for row in rows)) == (24, 36_000)


NEM = "100,NEM12,202504070000,MDP,RET\n200,N,E1B1,E1,E1,N1,M1,kWh,60,\n"
VALUES = ",".join(["1.5"] * 24)
LSE = ("00000001,1044,4,20250101000000,20250101010000,Y,N\n00000002,,,,,,,900,01,,,,\n00000003,\n00000004,20250102000000,M\n"
       "10000000,0.1,A,\n10000001,0.2,E,\n10000002,,9,\n10000003,0.4,,\n")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (NEM + f"300,20250406,{VALUES},A,,,,\n", 3, "half a file"),
        (NEM + "300,20250406,1.5,1.5,A,,,,\n900\n", 3, "has 9 fields and needs 27"),
        (NEM + f"300,20250431,{VALUES},A,,,,\n900\n", 3, "20250431 is not a day"),
        (NEM + f"300,20250406,{VALUES.replace('1.5', 'x', 1)},A,,,,\n900\n", 3, "interval 1: this is not a number"),
        (NEM + f"300,20250406,{VALUES},V,,,,\n400,1,20,A,,\n900\n", 3, "no record 400 covers interval 21"),
        (NEM + f"300,20250406,{VALUES},V,,,,\n400,1,25,A,,\n900\n", 4, "the range is not within 1 to 24"),
        (NEM + f"300,20250406,{VALUES},V,,,,\n400,1,0000249999999,A,,\n900\n", 4, "the range is not within 1 to 24"),
        (NEM + f"300,20250406,{VALUES},V,,,,\n400,1,²,A,,\n900\n", 4, "the range is not within 1 to 24"),
        (NEM + f"300,20250406,{VALUES},Q,,,,\n900\n", 3, "quality Q is not one of"),
        (NEM + f"300,20250406,{VALUES},S1,,,,\n900\n", 3, "a letter with the two digits of a method such as S14"),
        (NEM + "200,N,E1B1,E2,E2,N1,M1,kWh,60,\n900\n", 3, "choose one with --column E1"),
        (NEM.replace("kWh", "m3") + "900\n", 2, "is not counted in m3"),
        (NEM.replace("NEM12,", "NEM13,") + "900\n", 1, "NEM13 holds register readings"),
        (LSE.replace("10000001,0.2,E,", "10000001,0.2,E"), 6, "has 2 commas and needs 3"),
        (LSE.replace(",900,01,,,,", ",900,01,,,"), 2, "has 11 commas and needs 12"),
        (LSE.replace("10000001,0.2,E,\n", ""), 6, "10000001 should come here"),
        (LSE.replace("10000003,0.4,,\n", ""), 1, "make 4 intervals of 900 s and 3 came"),
        (LSE.replace("900,01", "900,03"), 2, "is not 01 (kWh)"),
        (LSE.replace(",4,2025", ",2,2025"), 1, "channel 2 is not 1 (generation) or 4"),
        (LSE.replace("0.4,,", "0.4,,20250101120000"), 8, "is not that of this interval"),
        ('{"start": "2025-01-01T00:00Z", "value": 1}\n', 1, "the unit is not told"),
        ('{"start": "2025-01-01T00:00Z", "kwh": 1}\n{"start": "soon", "kwh": 1}\n', 2, "this is not a time"),
        ('{"start": "2025-01-01T00:00Z", "kwh": NaN}\n', 1, "this is not a JSON object in one line"),
        ("date,unit," + ",".join(f"{h}:00" for h in range(24)) + "\n2025-13-01,kWh" + ",1" * 24, 2, "this is not a day"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, told: str) -> None:
    problems = read(text.encode(), Asked("America/Chicago")).problems
    assert any(told in problem.text and problem.line == line for problem in problems), problems


OURS = (
    (Quality.OK, 7, "A"), (Quality.VERIFIED, 7, "A"), (Quality.ESTIMATED, 7, "S14"), (Quality.ESTIMATED | Quality.VERIFIED, 7, "F14"),
    (Quality.ESTIMATED | Quality.POWER_FAIL, 0, "S19"), (Quality.ESTIMATED | Quality.POWER_FAIL, 7, "S14"), (Quality.EDITED, 7, "S18"),
    (Quality.EDITED | Quality.ESTIMATED, 7, "S18"), (Quality.EDITED | Quality.VERIFIED, 7, "F18"), (Quality.POWER_FAIL, 0, "A"),
    (Quality.UNTRUSTWORTHY, 7, "N"), (Quality.METER_INVALID, 7, "N"), (Quality.METER_INVALID | Quality.VERIFIED, 7, "A"),
    (Quality.METER_INVALID | Quality.ESTIMATED, 7, "S14"),
)  # fmt: skip


def test_nem12_says_what_was_measured_what_estimated_and_what_a_person_set() -> None:
    rows = tuple(Row(n * 3_600_000, value, int(flags)) for n, (flags, value, _) in enumerate(OURS))
    data = FORMATS["nem12"].write((Series("N", "interval_import_wh", 3600, rows),), Asked("UTC"))
    words = [""] * 24
    for line in data.decode().splitlines():
        if line.startswith("400,"):
            first, last, word = line.split(",")[1:4]
            words[int(first) - 1 : int(last)] = [word] * (int(last) - int(first) + 1)
    assert words == [word for _, _, word in OURS] + ["N"] * 10
    back = read(data, Asked("UTC")).series
    kept = {"A": Quality.OK, "S14": Quality.ESTIMATED, "F14": Quality.ESTIMATED | Quality.VERIFIED, "S18": Quality.EDITED,
            "S19": Quality.ESTIMATED | Quality.POWER_FAIL, "F18": Quality.EDITED | Quality.VERIFIED, "N": Quality.MISSING}  # fmt: skip
    assert [row.quality for row in back[0].rows[: len(OURS)]] == [kept[word] for _, _, word in OURS]
    assert FORMATS["nem12"].write(back, Asked("UTC")).splitlines()[3:] == data.splitlines()[3:]
    for name in ("lse", "wide-csv", "csv", "ndjson"):
        (series,) = read(FORMATS[name].write((Series("N", "interval_import_wh", 3600, rows),), Asked("UTC")), Asked("UTC")).series
        exact = name in ("csv", "ndjson")
        marked = [Quality.ESTIMATED if flags & (Quality.ESTIMATED | Quality.EDITED) else Quality.OK for flags, _, _ in OURS]
        assert [row.quality for row in series.rows[: len(OURS)]] == ([flags for flags, _, _ in OURS] if exact else marked)


def test_methods_of_others_are_read_for_what_they_are() -> None:
    final = Quality.ESTIMATED | Quality.VERIFIED
    for word, flags in (("E52", Quality.ESTIMATED), ("S11", Quality.ESTIMATED), ("F17", final), ("A", Quality.OK)):
        (series,) = read(f"{NEM}300,20250406,{VALUES},{word},,,,\n900\n".encode(), Asked("UTC")).series
        assert {row.quality for row in series.rows} == {flags}


@pytest.mark.covers_part("SMT-A4")
def test_an_lse_day_is_read_and_written_again_byte_for_byte() -> None:
    content = read(LSE.encode(), Asked("America/Chicago"))
    assert [(row.value, row.quality) for row in content.series[0].rows] == [(100, 0), (200, 128), (None, 1), (400, 0)]
    day = "".join(f"{10_000_000 + n},0.{n + 100},{'E' if n % 7 == 0 else 'A'},\n" for n in range(100))
    head = ("00000001,10443720000123456,4,20251102000000,20251102235959,Y,N\n00000002,,,,,,,900,01,,,,\n00000003,\n"
            "00000004,20251103000000,M\n")  # fmt: skip
    asked = Asked("America/Chicago")
    series = read((head + day).encode(), asked).series
    assert (len(series[0].rows), series[0].total) == (100, sum(range(100, 200)))
    assert FORMATS["lse"].write(series, asked).decode() == head + day


def test_the_real_households_read_to_the_answers_beside_them() -> None:
    name, answer = min(json.loads(data_path("interval_data/expected_sgsc.json").read_text()).items(), key=lambda item: int(item[1]["rows"]))
    rows = read(data_path(f"interval_data/{name}").read_bytes(), Asked("Australia/Sydney", Clock.STANDARD)).series[0].rows
    assert len(rows) == answer["rows"]
    assert Decimal(sum(row.value or 0 for row in rows)) / 1000 == Decimal(str(answer["total_kwh"]))
    assert max(row.value or 0 for row in rows) == round(answer["max_kwh"] * 1000)


SAMPLES = [FORMATS[name].write((series_from(1_741_413_600_000, 1_741_417_200_000, 900, [1, None, 3]),), Asked("America/Chicago"))
           for name in FORMATS]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40)
@given(data=st.data())
@example(data=None)
def test_any_bytes_are_read_or_refused_in_one_clean_error(name: str, data: st.DataObject | None) -> None:
    spoilt = [b"", b"\n", b"\0", b"\xff", b"{" * 50_000, b"[" * 100_000, b"\x1f\x8b\x08"] if data is None else [_spoilt(data)]
    for each in spoilt:
        try:
            content = read(each, Asked("Europe/Berlin"), name)
        except ContractError:
            continue
        assert content.series or content.problems


def _spoilt(data: st.DataObject) -> bytes:
    whole = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from(
            (b"9" * 30, b"-", b"E9999999", b",", b"\n", b"0001-01-01", b"99991231", b"NaN", b"\"", b"+14:00"))))  # fmt: skip
    return bytes(whole)


def test_a_gzip_that_ends_early_or_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match="it ends too early"):
        read(gzip.compress(b"start,wh\n" * 100)[:-9], Asked())
    monkeypatch.setattr(formats, "LARGEST_BYTES", 1_000_000)
    with pytest.raises(ContractError, match="more than 1 MB"):
        read(gzip.compress(bytes(1_000_001)), Asked())


def test_the_other_real_files_read_to_the_answers_beside_them() -> None:
    answers = json.loads(data_path("interval_data/expected_other.json").read_text())
    minutes = read(data_path("interval_data/uci_1min_2007-02-01.csv").read_bytes(),
                   Asked("Europe/Paris", unit="kW", column="Global_active_power", dates="dmy")).series[0]  # fmt: skip
    answer = answers["uci_1min_2007-02-01.csv"]
    assert (minutes.period_s, len(minutes.rows), minutes.total) == (60, answer["minutes"], round(answer["total_kwh"] * 1000))
    quarters = [sum(row.value or 0 for row in minutes.rows[n : n + 15]) for n in range(0, 1440, 15)]
    assert quarters == pytest.approx([kwh * 1000 for kwh in answer["kwh_15min"]], abs=1)
    name = "uk-electricity-hdd-only-hourly-sample-0.csv.gz"
    hours = read(data_path(f"interval_data/{name}").read_bytes(), Asked("Europe/London", unit="kWh"))
    assert (hours.problems, len(hours.series[0].rows)) == ((), answers[name]["rows"])


@pytest.mark.parametrize(
    ("written", "order", "value"),
    [("02/03/2025 13:00", "dmy", 1), ("03/02/2025 1:00 PM", "mdy", 1), ("2025/03/02 13:00", "", 1), ("2.3.25 13:00", "dmy", 1),
     ("02/03/2025 13:00", "", "is the day 02 or 03"), ("02/03/2025 13:00 PM", "dmy", "hours are 1 to 12")],
)  # fmt: skip
def test_a_date_is_read_as_people_write_it_once_its_order_is_told(written: str, order: str, value: int | str) -> None:
    content = read(f"start,end,wh\n{written},2025-03-02T13:15Z,5\n".encode(), Asked(dates=order))
    if isinstance(value, str):
        assert value in content.problems[0].text
    else:
        assert [row.start_ms for row in content.series[0].rows] == [1_740_920_400_000]
