"""Scheduled files out: every run once, also those that were missed, whole files only, carried on after a kill."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.exchange import cli, sending
from gridtally_cloud.exchange.background import SendingOut
from gridtally_cloud.exchange.bringing import Habit, bring
from gridtally_cloud.exchange.formats import FORMATS, read
from gridtally_cloud.exchange.record import Asked
from gridtally_cloud.exchange.schedules import Schedule, all_schedules, due, latest_runs
from gridtally_cloud.exchange.sending import AGAIN_MS, LEASE_MS, send_due
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.days import EPOCH
from gridtally_cloud.store.tables import usage_point
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError
from gridtally_shared.signing import KeySigner
from support.cloud_store import Street, new_street
from support.waiting import wait_until


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


INSTALLED_MS = at("2026-01-20T00:00")
HEAD = "usage_point,start,kwh\n"


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path, installed_ms=INSTALLED_MS)
    (tmp_path / "out").mkdir()
    (tmp_path / "mdm.toml").write_text('zone = "Europe/Berlin"\n[exchange]\nin_dir = "in"\n')
    text = HEAD + "".join(f"{point},2026-02-{day:02}T{hour:02}:00+00:00,1.{point}{day:02}\n"
                          for point in (1, 2) for day in (1, 2, 3) for hour in range(24))  # fmt: skip
    assert bring(street.db, text.encode(), "seed", Habit(), "UTC", at("2026-02-10T00:00"), lambda *_: None).is_taken
    yield street
    street.db.close()


def typed(street: Street, tmp_path: Path, now_ms: int, *words: str) -> int:
    parser = argparse.ArgumentParser()
    parser.set_defaults(config=tmp_path / "mdm.toml")
    desk = Desk(street.db, Payments(KeySigner.from_seed(b"s" * 32)), ManualClock(now_ms))
    cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
    options = parser.parse_args(["export", *words])
    code: int = options.run(options)
    return code


def daily(street: Street, tmp_path: Path, *words: str, made: str = "2026-02-01T12:00", form: str = "ndjson") -> None:
    given = ("schedule", "market", "--format", form, "--every", "day", "--at", "06:00", "--folder", str(tmp_path / "out"))
    assert typed(street, tmp_path, at(made), *given, *words) == 0


def sent(street: Street, text: str, owner: str = "me") -> list[tuple[str, int, int]]:
    return [(run.state, run.files, run.intervals) for run in send_due(street.db, owner, lambda: at(text))]


def written(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir())


def test_each_day_goes_out_once_at_its_local_time_and_missed_ones_are_made_good(street: Street, tmp_path: Path) -> None:
    daily(street, tmp_path)
    assert sent(street, "2026-02-02T04:59") == [], "06:00 in Berlin is 05:00 UTC"
    assert sent(street, "2026-02-02T05:00") == [("done", 1, 48)]
    assert sent(street, "2026-02-02T23:00") == []
    assert sent(street, "2026-02-05T09:00") == [("done", 1, 48), ("done", 1, 48), ("done", 0, 0)], "three days were missed, one has nothing"
    assert sent(street, "2026-02-05T09:30") == []
    assert written(tmp_path) == [f"market_2026-02-0{day}_0001.ndjson" for day in (1, 2, 3)]
    content = read((tmp_path / "out" / "market_2026-02-02_0001.ndjson").read_bytes(), Asked("UTC"))
    assert [(s.point, len(s.rows), s.total) for s in content.series] == [("1", 24, 24 * 1102), ("2", 24, 24 * 1202)]


def test_a_month_goes_out_on_its_day_with_the_days_of_each_zone(street: Street, tmp_path: Path) -> None:
    with street.db.write() as conn:
        conn.execute(update(usage_point).where(usage_point.c.usage_point_no == 2).values(zone="Asia/Tokyo", label="NMI2"))
    daily(street, tmp_path, "--every", "month", "--ago", "3", "--by-label", made="2026-02-05T00:00", form="nem12")
    assert sent(street, "2026-03-03T04:59") == []
    assert sent(street, "2026-03-03T05:00") == [("done", 2, 144)]
    assert written(tmp_path) == ["market_2026-02_0001.csv", "market_2026-02_0002.csv"]
    first = (tmp_path / "out" / "market_2026-02_0001.csv").read_text()
    assert "\n200,NMI2,E1,E1,E1,E1,,kWh,60,\n300,20260201," in first


@pytest.mark.parametrize(("form", "files"), [("green-button", 2), ("lse", 1), ("nem12", 1), ("csv", 1), ("wide-csv", 1)])
def test_every_format_goes_out_and_says_whose_it_is(street: Street, tmp_path: Path, form: str, files: int) -> None:
    daily(street, tmp_path, form=form)
    assert sent(street, "2026-02-02T05:00") == [("done", files, 48)]
    points = {s.point for path in (tmp_path / "out").iterdir() for s in read(path.read_bytes(), Asked("UTC")).series}
    assert points == {"1", "2"}
    assert all(path.suffix == f".{FORMATS[form].ending}" for path in (tmp_path / "out").iterdir())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", ["put", "_noted", "_part"])
def test_killed_on_the_way_it_goes_on_and_writes_nothing_half(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    daily(street, tmp_path, form="green-button")
    real, calls = getattr(sending, where), iter(range(9))

    def dying(*words: object) -> object:
        if next(calls) == 1:
            raise Killed
        return real(*words)

    with monkeypatch.context() as patch:
        patch.setattr(sending, where, dying)
        with pytest.raises(Killed):
            sent(street, "2026-02-02T05:00")
    assert sent(street, "2026-02-02T05:00", "other") == [], "the lease of the one that was killed"
    later = at("2026-02-02T05:00") + LEASE_MS
    assert [run.files for run in send_due(street.db, "other", lambda: later)] == [2]
    assert written(tmp_path) == ["market_2026-02-01_0001.xml", "market_2026-02-01_0002.xml"]


def test_one_that_was_too_slow_leaves_the_run_to_who_has_it(street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daily(street, tmp_path)
    real, later = sending.put, at("2026-02-02T05:00") + LEASE_MS

    def slow(*words: object) -> None:
        monkeypatch.setattr(sending, "put", real)
        assert [run.state for run in send_due(street.db, "other", lambda: later)] == ["done"]
        real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(sending, "put", slow)
    sent(street, "2026-02-02T05:00")
    with street.db.read() as conn:
        (run,) = latest_runs(conn, "market", 9)
    assert (run.state, run.files, run.intervals) == ("done", 1, 48)


def test_a_folder_that_is_away_is_told_and_tried_again(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daily(street, tmp_path)
    (tmp_path / "out").rmdir()
    assert typed(street, tmp_path, at("2026-02-02T05:00"), "due") == 1
    told = capsys.readouterr().out
    assert f"market 2026-02-01 failed 2026-02-02T05:00:00Z: No such file or directory: {tmp_path / 'out'}; tried again" in told
    (tmp_path / "out").mkdir()
    assert typed(street, tmp_path, at("2026-02-02T05:00"), "due") == 0
    assert capsys.readouterr().out == "nothing is due\n"
    assert typed(street, tmp_path, at("2026-02-02T05:00") + AGAIN_MS, "due") == 0
    assert "done 2026-02-02T05:10:00Z: 1 files, 48 intervals" in capsys.readouterr().out


def test_the_command_line_lists_refuses_and_ends(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daily(street, tmp_path, "--usage-point", "1")
    sent(street, "2026-02-02T05:00")
    assert typed(street, tmp_path, at("2026-02-02T08:00"), "schedules") == 0
    told = capsys.readouterr().out
    assert "market: first run 2026-02-02T05:00:00Z" in told
    assert "market: profile as ndjson, 1 usage points, every day at 06:00 Europe/Berlin into" in told
    assert "next 2026-02-03T05:00:00Z" in told
    assert "market 2026-02-01 done 2026-02-02T05:00:00Z: 1 files, 24 intervals" in told
    typed(street, tmp_path, at("2026-02-02T08:00"), "schedules", "--json")
    assert json.loads(capsys.readouterr().out)["runs"][0]["intervals"] == 24
    (tmp_path / "in" / "back").mkdir(parents=True)
    for words, told in (
        ((), "there is a schedule of this name"),
        (("--at", "25:00"), "write a local time"),
        (("--ago", "0"), "write 1 to 28"),
        (("--usage-point", "99"), "no usage point has this number"),
        (("--folder", str(tmp_path / "nowhere")), "no such folder"),
        (("--folder", str(tmp_path / "in" / "back")), "what goes out would come in again"),
        (("--format", "lse", "--quantity", "interval_water_l"), "lse has no place for this"),
        (("--zone", "Mars/Base"), "Mars/Base"),
    ):
        with pytest.raises(ConfigError, match=told):
            daily(street, tmp_path, *words)
    assert typed(street, tmp_path, at("2026-02-02T08:00"), "unschedule", "market") == 0
    with pytest.raises(ConfigError, match="there are: none"):
        typed(street, tmp_path, at("2026-02-02T08:00"), "unschedule", "market")


def test_the_time_of_a_run_follows_the_clock_on_the_wall() -> None:
    schedule = Schedule("x", "csv", (), (), "day", 150, "Europe/Berlin", 1, "/", False, 0, "")
    days = [(day - EPOCH).days for day in (date(2026, 3, 28), date(2026, 3, 29), date(2026, 10, 25))]
    assert [schedule.at_ms(day) for day in days] == [at("2026-03-28T01:30"), at("2026-03-29T01:30"), at("2026-10-25T00:30")]
    assert schedule.data_days(days[1] + 1) == (days[1], days[1])


def test_the_worker_starts_it_when_something_is_due(street: Street, tmp_path: Path) -> None:
    daily(street, tmp_path)
    clock = ManualClock(at("2026-02-02T05:00"))
    with street.db.read() as conn:
        assert [(s.name, day) for s, day in due(conn, clock.now_ms())] == [(all_schedules(conn)[0].name, (date(2026, 2, 2) - EPOCH).days)]
    out = SendingOut(street.db, clock)
    out.start_if_due(clock.now_ms())
    wait_until(lambda: written(tmp_path) == ["market_2026-02-01_0001.ndjson"], 10, "the file is written")
