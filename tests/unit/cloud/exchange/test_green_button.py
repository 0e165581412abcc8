"""Green Button: the real files read to the answers beside them, what we write is valid against ESPI 4.0, bombs are refused."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
import xmlschema

from gridtally_cloud.exchange import green_button_write
from gridtally_cloud.exchange.formats import read
from gridtally_cloud.exchange.green_button_write import ESPI, write
from gridtally_cloud.exchange.record import Asked, Content, Row, Series
from gridtally_cloud.exchange.units import UNITS
from gridtally_shared.errors import ContractError
from gridtally_shared.quality import Quality
from support.required import data_path

START_MS = 1_741_413_600_000  # 2025-03-08 00:00 in Chicago, the day before clocks go forward
LITRES_PER_GALLON = UNITS["gal"].each


@cache
def answers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data_path("green_button/expected.json").read_text())
    return found


@cache
def content_of(name: str) -> Content:
    return read(data_path(f"green_button/{name}").read_bytes(), Asked())


def test_every_real_file_reads_to_the_answers_beside_it() -> None:
    for name, answer in answers().items():
        content = content_of(name)
        rows = [row for series in content.series for row in series.rows]
        assert len(rows) == answer["readings"], name
        first, last = (datetime.fromisoformat(answer[key]).timestamp() * 1000 for key in ("first_utc", "last_utc"))
        assert (min(row.start_ms for row in rows), max(row.start_ms for row in rows)) == (first, last), name
        gallons = answer["reading_types"][0]["uom"] == "128"
        each = 1000 * LITRES_PER_GALLON if gallons else 1
        assert sum(series.total for series in content.series) == pytest.approx(float(answer["sum_of_values"] * each), abs=2 * gallons), name
        if answer["overlaps"] == 0:
            assert content.problems == content.notes == (), name
            assert Counter(s.period_s for s in content.series for _ in s.rows) == {int(k): v for k, v in answer["durations"].items()}, name
            assert sum(len(list(s.runs())) - 1 for s in content.series) == answer["gaps"], name


def test_what_a_reference_file_has_twice_is_told_with_both_lines() -> None:
    """Its spring day has an interval of two hours and one start with two values, its autumn day an interval without length."""
    content = content_of("sdk_Coastal_Single_Family_Jan_1_2011_to_Jan_1_2012.xml.gz")
    assert [(p.line, p.value, p.text[:17]) for p in content.problems] == [(12146, "721", "line 12139 has 70")]
    assert [note.text[:30] for note in content.notes] == ["one value for two intervals of", "an interval without length: it"]


@cache
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(data_path("green_button/schema/espi.xsd")))


def test_what_is_written_is_valid_against_the_schema() -> None:
    kinds = ("interval_import_wh", "interval_export_wh", "interval_apparent_vah", "interval_reactive_q3_varh", "interval_voltage_mv",
             "interval_gas_l", "interval_water_l")  # fmt: skip
    flags = (Quality.OK, Quality.ESTIMATED, Quality.METER_INVALID, Quality.REVISED)
    rows = tuple(Row(START_MS + n * 900_000, n, flags[n % 4]) for n in range(96))
    series = tuple(Series("12 < & \"É\"", kind, 900, rows) for kind in kinds)
    data = write(series, Asked("America/Chicago"))
    resources = [child for content in ElementTree.fromstring(data).iter("{http://www.w3.org/2005/Atom}content") for child in content]
    assert Counter(node.tag.removeprefix(f"{{{ESPI}}}") for node in resources) == {
        "UsagePoint": 1, "LocalTimeParameters": 1, "MeterReading": 7, "ReadingType": 7, "IntervalBlock": 7}  # fmt: skip
    for node in resources:
        schema().validate(node)
    assert read(data, Asked("America/Chicago")).series == series
    resources[-1][0].tag = f"{{{ESPI}}}interwal"
    assert not schema().is_valid(resources[-1])


@pytest.mark.parametrize(
    ("zone", "rules"),
    [
        ("America/Chicago", ("B40E2000", "3600", "360E2000", "-21600")),  # as real files have them
        ("Europe/Berlin", ("AE0E3000", "3600", "3E0E2000", "3600")),
        ("Australia/Sydney", ("440E3000", "3600", "A40E2000", "36000")),
        ("Asia/Kolkata", ("00000000", "0", "00000000", "19800")),
    ],
)
def test_the_rules_of_summer_time_are_those_of_the_zone(zone: str, rules: tuple[str, ...]) -> None:
    assert tuple(value for _, value in green_button_write._summer(ZoneInfo(zone), 2025)) == rules


BOMB = b"""<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><feed>&b;</feed>"""
FILE = b"""<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY a SYSTEM "file:///etc/passwd">]><feed>&a;</feed>"""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (BOMB, "no entities of its own: refused"),
        (FILE, "no entities of its own: refused"),
        (b"<feed>" + b"<a>" * 100 + b"</a>" * 100 + b"</feed>", "lie too deep"),
        (b"<feed><entry></feed>", "not well-formed XML"),
        (b"<feed>&undefined;</feed>", "not well-formed XML"),
        (b"<feed/>", "no IntervalBlock"),
    ],
)
def test_xml_that_is_no_data_file_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        read(data, Asked())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("<uom>72<", "<uom>169<", "unit 169 is not one we keep"),
        ("<commodity>1<", "<commodity>12<", "commodity 12 in Wh is not one we keep"),
        ("<flowDirection>1<", "<flowDirection>4<", "net flow has to come as import and export"),
        ("<accumulationBehaviour>4<", "<accumulationBehaviour>3<", "readings of a register"),
        ("<value>2<", "<value>2.5<", "not a whole number"),
        ("<value>2<", "<value>-2<", "energy is never negative"),
        ("<start>1741414500<", "<start>yesterday<", "not a time in seconds"),
        ("<duration>900</duration><start>1741414500<", "<duration>9e9</duration><start>1741414500<", "not a number of seconds"),
    ],
)
def test_what_can_not_be_kept_is_told_with_its_line(old: str, new: str, told: str) -> None:
    rows = tuple(Row(START_MS + n * 900_000, n + 1) for n in range(4))
    text = write((Series("7", "interval_import_wh", 900, rows),), Asked()).decode()
    assert old in text
    content = read(text.replace(old, new).encode(), Asked())
    assert any(told in problem.text and problem.line > 5 for problem in content.problems), content.problems


def test_a_feed_of_several_usage_points_keeps_them_apart() -> None:
    rows = tuple(Row(START_MS + n * 900_000, n) for n in range(3))
    first, second = (write((Series(name, "interval_import_wh", 900, rows),), Asked()).decode() for name in "AB")
    both = first.replace("</feed>", second[second.index("<entry>") :])
    assert [(s.point, s.total) for s in read(both.encode(), Asked()).series] == [("A", 3), ("B", 3)]


def test_times_are_instants_whatever_the_zone() -> None:
    at = datetime.fromtimestamp(content_of("cew821_sample.xml").series[0].rows[0].start_ms / 1000, UTC)
    assert at.isoformat() == "2011-01-01T08:00:00+00:00"
