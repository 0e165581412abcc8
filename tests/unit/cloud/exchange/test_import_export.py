"""Files in and out through the command line: all of it or nothing, the same again changes nothing, what contradicts is told."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError

from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.exchange import cli, progress
from gridtally_cloud.exchange.exporting import series_of, span
from gridtally_cloud.exchange.formats import FORMATS
from gridtally_cloud.exchange.points import point_of
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import EPOCH
from gridtally_cloud.store.tables import interval_block, interval_inbox, usage_day, usage_point
from gridtally_cloud.store.totals import COMPLETE
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, ContractError
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street
from support.vee_left import waiting_days

HEAD = "start,kwh\n"
DAY = HEAD + "".join(f"2026-02-01T{n // 4:02}:{n % 4 * 15:02}+00:00,0.{n + 100}\n" for n in range(96))

REGISTER = HEAD + "".join(f"2026-02-01T{n // 4:02}:{n % 4 * 15:02}+00:00,{7100 + n}.0\n" for n in range(40))


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


def typed(street: Street, *words: str, now_ms: int = START_MS + 30 * 86_400_000) -> int:
    parser = argparse.ArgumentParser()
    desk = Desk(street.db, Payments(KeySigner.from_seed(b"s" * 32)), ManualClock(now_ms))
    cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
    options = parser.parse_args(words)
    code: int = options.run(options)
    return code


def put(tmp_path: Path, text: str) -> str:
    (tmp_path / "in.csv").write_text(text)
    return str(tmp_path / "in.csv")


def imported(street: Street, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    typed(street, "import", "intervals", *words, "--usage-point", "1", "--json")
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def exported(street: Street, tmp_path: Path, *words: str) -> str:
    out = tmp_path / "out.file"
    span = ("--from", "2026-02-01", "--to", "2026-02-01", "--out", str(out))
    assert typed(street, "export", "intervals", "--usage-point", "1", *span, *words) == 0
    return out.read_text()


def rows_held(street: Street) -> int:
    with street.db.read() as conn:
        return sum(conn.execute(select(func.count()).select_from(t)).scalar_one() for t in (interval_inbox, interval_block))


def test_a_file_goes_in_once_and_comes_out_again(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = put(tmp_path, DAY)
    first, again = (imported(street, capsys, name)["series"][0] for _ in range(2))
    assert (first["intervals"], first["total"], first["new"]) == (96, sum(range(100, 196)), 96)
    assert (again["new"], again["unchanged"], again["conflicts"]) == (0, 96, [])
    assert rows_held(street) == 1
    lines = exported(street, tmp_path).splitlines()
    assert lines[0] == "usage_point,quantity,start,end,wh,quality"
    assert lines[1] == "1,interval_import_wh,2026-02-01T00:00:00+00:00,2026-02-01T00:15:00+00:00,100,0"
    assert imported(street, capsys, put(tmp_path, "\n".join(lines)))["series"][0]["unchanged"] == 96


def test_whole_days_are_closed_at_once_and_the_rest_waits(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.replace("2026-02-01", f"2026-02-{day:02}") for day in (1, 2, 3) for line in DAY.removeprefix(HEAD).splitlines()]
    report = imported(street, capsys, put(tmp_path, HEAD + "\n".join(lines[:-40])))
    assert report["series"][0]["new"] == 3 * 96 - 40
    with street.db.read() as conn:
        held = [conn.execute(select(t.c.day).order_by(t.c.day)).scalars().all() for t in (interval_block, interval_inbox)]
        held.append([day for day, _ in waiting_days(conn)])
    first = (date(2026, 2, 1) - EPOCH).days
    assert held == [[first, first + 1], [first + 2], [first, first + 1]]
    assert imported(street, capsys, put(tmp_path, HEAD + "\n".join(lines)))["series"][0]["new"] == 40


def test_an_interval_without_a_value_stays_missing(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also in a file that names every interval of the day."""
    blank = DAY.replace("T04:00+00:00,0.116", "T04:00+00:00,")
    assert blank != DAY
    imported(street, capsys, put(tmp_path, blank))
    close_days(street.db, START_MS + 30 * 86_400_000)
    with street.db.read() as conn:
        usage = conn.execute(select(usage_day.c.present, usage_day.c.expected, COMPLETE)).one()
    assert tuple(usage) == (95, 96, False)


def test_a_dry_run_says_what_would_be_and_does_nothing(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = imported(street, capsys, put(tmp_path, DAY), "--dry-run")
    assert (report["taken"], report["series"][0]["new"], rows_held(street)) == (False, 96, 0)


def test_one_wrong_line_and_nothing_is_taken(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoilt = DAY.replace("0.107", "0.1o7").replace("2026-02-01T05:00", "2026-02-31T05:00")
    report = imported(street, capsys, put(tmp_path, spoilt))
    assert not report["taken"]
    assert [(p["line"], p["field"], p["value"]) for p in report["problems"]] == [
        (9, "kwh", "0.1o7"), (22, "start", "2026-02-31T05:00+00:00")]  # fmt: skip
    assert rows_held(street) == 0
    assert typed(street, "import", "intervals", str(tmp_path / "in.csv"), "--usage-point", "1") == 1
    told = capsys.readouterr().out
    assert "line 9, kwh = '0.1o7': this is not a number" in told
    assert "nothing was taken" in told


def test_what_contradicts_is_told_kept_once_and_changes_nothing(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imported(street, capsys, put(tmp_path, DAY))
    before = exported(street, tmp_path)
    other = put(tmp_path, DAY.replace("0.107", "0.777"))
    assert imported(street, capsys, other)["series"][0]["conflicts"] == [
        {"line": 9, "start": "2026-02-01T01:45:00Z", "value": 777, "held": 107}]  # fmt: skip
    held = rows_held(street)
    again = imported(street, capsys, other)["series"][0]
    assert (again["conflicts"], again["waiting"], rows_held(street)) == ([], 1, held)
    close_days(street.db, START_MS + 60 * 86_400_000 + GRACE_MS)
    held = rows_held(street)
    again = imported(street, capsys, other)["series"][0]
    assert (again["conflicts"], again["waiting"], rows_held(street)) == ([], 1, held)
    assert exported(street, tmp_path) == before


def test_a_store_that_fails_on_the_way_holds_nothing_of_the_file(street: Street, tmp_path: Path) -> None:
    days = "".join(DAY.removeprefix(HEAD).replace("2026-02-01", f"2025-{month:02}-{day:02}") for month in (11, 12) for day in range(10, 29))
    last = (date(2025, 12, 28) - EPOCH).days
    with street.db.write() as conn:
        if not street.db.is_sqlite:
            conn.exec_driver_sql("CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'disk full'; END$$")
        then = "BEGIN SELECT RAISE(ABORT, 'disk full'); END" if street.db.is_sqlite else "EXECUTE FUNCTION is_full()"
        conn.exec_driver_sql(f"CREATE TRIGGER is_full BEFORE INSERT ON interval_block FOR EACH ROW WHEN (NEW.day = {last}) {then}")
    with pytest.raises(DBAPIError, match="disk full"):
        typed(street, "import", "intervals", put(tmp_path, HEAD + days), "--usage-point", "1")
    with street.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(usage_day)).scalar_one() == rows_held(street) == 0


def test_the_file_of_another_meter_is_refused_unless_it_is_meant(street: Street, tmp_path: Path) -> None:
    for words, file, code in (((), DAY, 0), (("--contradict",), DAY.replace(",0.", ",0.9"), 0)):
        if words:
            for dry in ((), ("--dry-run",)):
                with pytest.raises(ConfigError, match="96 of the 96 intervals held there contradict this file"):
                    typed(street, "import", "intervals", put(tmp_path, file), "--usage-point", "1", *dry)
            assert rows_held(street) == 1
        assert typed(street, "import", "intervals", put(tmp_path, file), "--usage-point", "1", *words) == code
    assert rows_held(street) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + "2026-02-01T00:00Z,0.1\n2026-02-01T00:15Z,0.2\n2026-02-01T00:00Z,0.3\n", "line 2 has 0.1 for the same interval"),
        (HEAD + "2026-02-01T00:00Z,0.1\n2026-02-01T00:15Z,-0.2\n2026-02-01T00:30Z,0.2\n", "energy is never negative"),
        (HEAD + "2026-02-01T00:05Z,0.1\n2026-02-01T00:20Z,0.2\n", "not on the grid of 15 minutes"),
        (HEAD + "2027-02-01T00:00Z,0.1\n2027-02-01T00:15Z,0.2\n", "lies in the future"),
        (HEAD + "2026-02-01T00:00Z,0.1\n", "how long one interval alone is"),
        (HEAD + "2026-02-01T00:00Z,0.1,7\n2026-02-01T00:15Z,0.1\n", "this line has 3 cells and the header 2"),
        (HEAD + "2026-02-01T00:00Z,900\n2026-02-01T00:15Z,800\n", "is the unit right"),
        (HEAD + "2026-02-01T00:00Z,1\n2026-02-01T00:07Z,1\n", "intervals of 420 s are not kept"),
        (HEAD, "there is no interval in this file"),
        (REGISTER, "these values rise by little from row to row, as a register does. Bring the energy of each interval"),
        (REGISTER.replace("7107.0", "12.0"), "as a register does; it goes back at line 9. Bring the energy"),
    ],
)
def test_bad_rows_are_told_and_nothing_is_taken(
    street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    report = imported(street, capsys, put(tmp_path, text))
    assert any(told in problem["text"] for problem in report["problems"]), report["problems"]
    assert rows_held(street) == 0


def test_overlapping_files_agree_and_each_interval_counts_once(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = DAY.removeprefix(HEAD).splitlines(keepends=True)
    first, second = (imported(street, capsys, put(tmp_path, HEAD + "".join(part)))["series"][0] for part in (lines[:60], lines[40:]))
    assert [(s["new"], s["unchanged"], s["conflicts"]) for s in (first, second)] == [(60, 0, []), (36, 20, [])]
    assert imported(street, capsys, put(tmp_path, DAY))["series"][0]["unchanged"] == 96


def test_a_file_of_another_time_zone_contradicts_and_is_refused(street: Street, tmp_path: Path) -> None:
    typed(street, "import", "intervals", put(tmp_path, DAY), "--usage-point", "1")
    shifted = DAY.replace("+00:00", "+05:30").replace("2026-02-01", "2026-02-02")
    for file in (shifted, DAY.replace("+00:00", "+01:00")):
        with pytest.raises(ConfigError, match="is it of another usage point, unit or clock"):
            typed(street, "import", "intervals", put(tmp_path, file), "--usage-point", "1")
    assert rows_held(street) == 1


def test_the_wrong_usage_point_and_the_wrong_file_are_refused(street: Street, tmp_path: Path) -> None:
    of_two = put(tmp_path, "usage_point,start,wh\n2,2026-02-01T00:00Z,5\n2,2026-02-01T00:15Z,5\n")
    with pytest.raises(ConfigError, match="the file is of usage point 2"):
        typed(street, "import", "intervals", of_two, "--usage-point", "1")
    assert typed(street, "import", "intervals", of_two, "--usage-point", "1", "--file-id", "2") == 0
    with pytest.raises(ConfigError, match="no usage point has this number"):
        typed(street, "import", "intervals", of_two, "--usage-point", "77")
    with pytest.raises(ContractError, match="looks like none of"):
        typed(street, "import", "intervals", put(tmp_path, "dear sirs,\nplease find enclosed\n"), "--usage-point", "1")
    with pytest.raises(ContractError, match="does not tell its unit"):
        typed(street, "import", "intervals", put(tmp_path, "start,value\n2026-02-01T00:00Z,5\n"), "--usage-point", "1")
    assert rows_held(street) == 1


def test_a_local_time_that_never_came_is_refused(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with street.db.write() as conn:
        conn.execute(update(usage_point).values(zone="Europe/Berlin"))
    text = HEAD + "2025-03-30 01:30,0.1\n2025-03-30 02:00,0.2\n2025-03-30 02:30,0.3\n"
    report = imported(street, capsys, put(tmp_path, text))
    assert [p["line"] for p in report["problems"]] == [3, 4]
    assert "never came in Europe/Berlin" in report["problems"][0]["text"]
    assert imported(street, capsys, put(tmp_path, text), "--clock", "standard")["series"][0]["total"] == 600


CHANGES = {"America/Chicago": ("2025-03-09", "2025-11-02"), "Europe/Berlin": ("2025-03-30", "2025-10-26"),
           "Australia/Sydney": ("2025-10-05", "2025-04-06")}  # fmt: skip


@pytest.mark.parametrize("zone", CHANGES)
def test_every_format_carries_both_days_of_change_from_one_store_to_another(
    street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str], zone: str
) -> None:
    with street.db.write() as conn:
        conn.execute(update(usage_point).values(zone=zone))
    text = "start_utc,wh,quality\n"
    for day in CHANGES[zone]:
        midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        intervals = 92 if day == CHANGES[zone][0] else 100
        text += "".join(f"{midnight + timedelta(minutes=15 * n)},{n},{128 * (n % 5 == 0)}\n" for n in range(intervals))
    report = imported(street, capsys, put(tmp_path, text))["series"][0]
    assert (report["intervals"], report["total"]) == (192, sum(range(92)) + sum(range(100)))
    days, out = sorted(CHANGES[zone]), str(tmp_path / "out.file")
    for number, name in enumerate(FORMATS):
        for day in days:
            typed(street, "export", "intervals", "--usage-point", "1", "--from", day, "--to", day, "--format", name, "--file-id", "P1",
                  "--out", out)  # fmt: skip
            typed(street, "import", "intervals", out, "--usage-point", "2", "--json")
        again = json.loads(capsys.readouterr().out.split("\n}\n")[1] + "\n}")["series"][0]
        there = again["intervals"] - again["missing"]
        assert (again["new"], again["unchanged"], again["conflicts"]) == ((0, there, []) if number else (there, 0, [])), name
    with street.db.read() as conn:
        one, two = (series_of(conn, point_of(conn, n), "", *span(days[0], days[1], zone), (), lambda *_: None)[0] for n in "12")
    assert one.rows == two.rows
    assert one.total == report["total"]


def test_an_lse_file_comes_out_byte_for_byte_as_it_went_in(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with street.db.write() as conn:
        conn.execute(update(usage_point).values(zone="America/Chicago"))
    head = ("00000001,10443720000123456,4,20260201000000,20260201235959,Y,N\n00000002,,,,,,,900,01,,,,\n00000003,\n"
            "00000004,20260202000000,M\n")  # fmt: skip
    text = head + "".join(f"{10_000_000 + n},0.{n + 100},{'E' if n % 7 == 0 else 'A'},\n" for n in range(96))
    assert imported(street, capsys, put(tmp_path, text), "--format", "lse")["taken"]
    assert exported(street, tmp_path, "--format", "lse", "--file-id", "10443720000123456") == text
    report = imported(street, capsys, put(tmp_path, text.replace("0.120,A,", "0.120,A")))
    assert next((p["line"], p["text"]) for p in report["problems"]) == (25, "this row has 2 commas and needs 3")


def test_what_can_not_be_exported_is_said_and_leaves_no_file(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.csv"
    asked = ("export", "intervals", "--usage-point", "1", "--out", str(out), "--from", "2026-02-01", "--to")
    with pytest.raises(ConfigError, match="no such intervals are held there; channels: none"):
        typed(street, *asked, "2026-02-02")
    imported(street, capsys, put(tmp_path, DAY))
    for to_text, told in (("2026-01-31", "this is not after --from"), ("soon", "write a local day"), ("9999-12-31", "write a local day")):
        with pytest.raises(ConfigError, match=told):
            typed(street, *asked, to_text)
    with pytest.raises(ConfigError, match="no interval is held"):
        typed(street, *asked[:-3], "--from", "2026-01-01", "--to", "2026-01-02")
    with pytest.raises(ConfigError, match="it can not be written"):
        typed(street, *asked[:4], "--out", str(tmp_path / "no" / "out.csv"), "--from", "2026-02-01", "--to", "2026-02-02")
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix in (".csv", ".part")) == ["in.csv"]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_shows_a_bar_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_AFTER_S", 0)
    monkeypatch.setattr(progress, "EVERY_S", 0)
    for out, shown in ((Terminal(), "\rintervals [###############...............]  50% 48 of 96"), (StringIO(), "")):
        bar = progress.Bar(out, "intervals")
        bar.at(48, 96)
        assert out.getvalue() == shown
        bar.end()


def test_the_bar_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_AFTER_S", 0)
    monkeypatch.setenv("COLUMNS", "45")
    out = Terminal()
    bar = progress.Bar(out, "intervals")
    bar.at(43_200, 67_200)
    shown = out.getvalue().removeprefix("\r")
    assert shown.endswith("64% 43200 of 67200")
    assert len(shown) < 45
