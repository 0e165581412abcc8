"""The watched folder: every complete file once, with a report beside it; a kill at any point leaves nothing half and nothing twice."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gridtally_cloud.config import ExchangeConfig
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.exchange import cli, folder_in, folder_rows, importing
from gridtally_cloud.exchange.background import TakingIn
from gridtally_cloud.exchange.folder_in import Watched, turn, waiting
from gridtally_cloud.exchange.folder_rows import FileRow, State
from gridtally_cloud.exchange.points import Point, channels_of
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.tables import interval_block, interval_inbox
from gridtally_shared.clock import MS_PER_DAY, ManualClock
from gridtally_shared.errors import ConfigError
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street
from support.waiting import wait_until

NOW_MS = START_MS + 30 * MS_PER_DAY
LATER_S = 4_000_000_000.0
"""Long after any file of these tests was changed."""
HEAD = "usage_point,start,kwh\n"


def day_of_values(point: str, first: int = 100) -> str:
    return "".join(f"{point},2026-02-01T{n // 4:02}:{n % 4 * 15:02}+00:00,0.{n + first}\n" for n in range(96))


DAY = HEAD + day_of_values("1")


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "in" / "retailer").mkdir(parents=True)
    return Watched(tmp_path / "in", 10, "UTC")


def turned(street: Street, watched: Watched) -> tuple[FileRow, ...]:
    return turn(street.db, watched, NOW_MS, LATER_S)


def total(street: Street, point: int = 1) -> tuple[int, int]:
    """(intervals held, their sum)."""
    with street.db.read() as conn:
        channels = channels_of(conn, Point(point, "", "UTC", 0, point))
        held = [read_intervals(conn, c.ref.channel_no, START_MS - 40 * MS_PER_DAY, START_MS + 40 * MS_PER_DAY) for c in channels]
    return sum(sum(series.present) for series in held), sum(series.total for series in held)


def rows_held(street: Street) -> int:
    with street.db.read() as conn:
        return sum(conn.execute(select(func.count()).select_from(t)).scalar_one() for t in (interval_inbox, interval_block))


def names(watched: Watched, place: str) -> list[str]:
    return sorted(path.name for path in (watched.folder / place).iterdir())


ALL = (96, sum(range(100, 196)))


def test_a_complete_file_is_taken_once_and_told_beside_it(street: Street, watched: Watched) -> None:
    for n in (1, 2):
        (watched.folder / "day.csv").write_text(DAY)
        (row,) = turned(street, watched)
        assert (row.state, row.added) == (State.TAKEN, 96 if n == 1 else 0)
    assert turned(street, watched) == ()
    assert (total(street), rows_held(street)) == (ALL, 1)
    assert names(watched, "done") == ["1-day.csv", "1-day.csv.report.txt", "2-day.csv", "2-day.csv.report.txt"]
    first, second = ((watched.folder / "done" / f"{n}-day.csv.report.txt").read_text() for n in (1, 2))
    assert "usage point 1: interval_import_wh: 96 intervals of 15 min, 14160 Wh\n  taken: 96 new\n" in first
    assert "  taken: 96 unchanged\n" in second
    assert (watched.folder / "done" / "1-day.csv").read_text() == DAY


def test_a_file_that_is_still_written_waits(street: Street, watched: Watched) -> None:
    for name in ("a.csv.part", ".b.csv", "c.tmp"):
        (watched.folder / name).write_text(DAY)
    path = watched.folder / "d.csv"
    path.write_text(DAY[:500])
    changed_s = path.stat().st_mtime
    assert turn(street.db, watched, NOW_MS, changed_s + 5) == ()
    path.write_text(DAY)
    assert turn(street.db, watched, NOW_MS, changed_s + 9) == ()
    (watched.folder / "folder.toml").write_text("")
    os.symlink("/etc/hostname", watched.folder / "link.csv")
    assert [row.name for row in turned(street, watched)] == ["d.csv"]
    (watched.folder / "a.csv.part").rename(watched.folder / "a.csv")
    assert [row.name for row in turned(street, watched)] == ["a.csv"]
    assert total(street) == ALL


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (DAY.replace("0.107", "0.1o7").replace("2026-02-01T05:00", "2026-02-31T05:00"), "line 9, kwh = '0.1o7': this is not a number"),
        (DAY + day_of_values("77"), "line 98, usage point = '77': no usage point has this number or label"),
        (DAY.replace("usage_point,", "note,"), "the file does not say whose it is: write usage_point into folder.toml"),
        (DAY.replace("2026-", "2027-"), "line 2, start = '2027-02-01T00:00:00Z': this lies in the future"),
        (DAY.replace("kwh", "furlongs"), "a column"),
        ("100,NEM12,202602010000,A,B\n200,1,E1,E1,E1,E1,,kWh,30,\n", "the file ends without its record 900: this is half a file"),
        ("%PDF-1.4", "this looks like none of green-button"),
        ("", "file"),
    ],
)
def test_what_is_wrong_is_refused_with_line_and_field_and_nothing_of_it_is_taken(
    street: Street, watched: Watched, text: str, told: str
) -> None:
    (watched.folder / "bad.csv").write_text(HEAD.join(["", day_of_values("2")]))
    turned(street, watched)
    before = rows_held(street)
    (watched.folder / "bad.csv").write_text(text)
    (row,) = turned(street, watched)
    assert (row.state, rows_held(street)) == (State.REFUSED, before)
    report = (watched.folder / "refused" / "2-bad.csv.report.txt").read_text()
    assert report == row.report
    assert told in report
    assert "Nothing of this file was taken. Mend it" in report
    assert (watched.folder / "refused" / "2-bad.csv").read_text() == text


def test_a_source_has_its_own_habits(street: Street, watched: Watched) -> None:
    place = watched.folder / "retailer"
    (place / "folder.toml").write_text('usage_point = 2\nunit = "kWh"\n')
    (place / "x.csv").write_text(DAY.replace("usage_point,", "note,").replace(",kwh", ",value"))
    assert [(row.source, row.state) for row in turned(street, watched)] == [("retailer", State.TAKEN)]
    assert (total(street, 1), total(street, 2)) == ((0, 0), ALL)
    (place / "x.csv").write_text(DAY)
    assert "this is another usage point than 2" in turned(street, watched)[0].report
    for text, told in (("units = 'kWh'", "folder.toml, units = 'kWh': write one of"), ("clock = 'moon'", "write local, standard, utc"),
                       ("[", "it can not be read")):  # fmt: skip
        (place / "folder.toml").write_text(text)
        (place / "x.csv").write_text(DAY)
        assert told in turned(street, watched)[0].report


def test_several_usage_points_go_in_together_or_not_at_all(street: Street, watched: Watched) -> None:
    (watched.folder / "two.csv").write_text(HEAD + day_of_values("1") + day_of_values("2"))
    turned(street, watched)
    assert total(street, 1) == total(street, 2) == ALL
    (watched.folder / "three.csv").write_text(HEAD + day_of_values("3") + day_of_values("2", 200))
    (row,) = turned(street, watched)
    assert "96 of the 96 intervals held there contradict this file" in row.report
    assert (row.state, total(street, 3), total(street, 2)) == (State.REFUSED, (0, 0), ALL)


class Killed(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


STEPS = ((folder_in, "_finish"), (folder_in, "_bytes"), (folder_rows, "taken_up"), (folder_in, "_result"), (importing, "take"),
         (folder_rows, "keep"), (folder_rows, "row_of"), (folder_in, "_move"), (os, "fsync"), (Path, "replace"),
         (folder_rows, "mark_moved"), (Path, "rename"))  # fmt: skip


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, work: Callable[[], object]) -> bool:
    """Whether the work came to that step, and died there."""
    passed = itertools.count()

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if next(passed) == number:
                raise Killed
            return real(*args, **kwargs)

        return step

    with monkeypatch.context() as patch:
        for of, name in STEPS:
            patch.setattr(of, name, dying(getattr(of, name)))
        try:
            work()
        except Killed:
            return True
    return False


def test_ended_before_any_step_it_goes_on_where_it_was(street: Street, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(30):
        (watched.folder / "k.csv").write_text(DAY)
        was_killed = killed_at(monkeypatch, step, lambda: turned(street, watched))
        turned(street, watched)
        assert (total(street), rows_held(street), waiting(watched)) == (ALL, 1, [])
        assert names(watched, "done") == sorted(f"{n}-k.csv{end}" for n in range(1, step + 2) for end in ("", ".report.txt"))
        if not was_killed:
            break
    assert step == 14, "each step of a turn was one to die at"
    with street.db.read() as conn:
        told = folder_rows.latest(conn, 100)
    assert [row.added for row in reversed(told)] == [96] + [0] * step
    assert {row.state for row in told} == {State.TAKEN}


CHILD = """
import os, signal, sys
from pathlib import Path
from gridtally_cloud.exchange import folder_in
from gridtally_cloud.store.db import Database
folder_in._move = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
folder_in.turn(Database(sys.argv[1]), folder_in.Watched(Path(sys.argv[2]), 10, "UTC"), int(sys.argv[3]), 4e9)
"""


def test_killed_with_its_values_committed_it_is_moved_and_told_once(street: Street, watched: Watched) -> None:
    """kill -9 in a process of its own: the lock goes with it."""
    (watched.folder / "k.csv").write_text(DAY)
    words = [sys.executable, "-c", CHILD, street.db.url, str(watched.folder), str(NOW_MS)]
    assert subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode == -9
    assert (total(street), names(watched, ".work/_"), names(watched, "done")) == (ALL, ["k.csv"], [])
    (row,) = turned(street, watched)
    assert (row.added, row.tries, names(watched, "done")) == (96, 1, ["1-k.csv", "1-k.csv.report.txt"])
    assert total(street) == ALL


def test_a_file_that_ends_the_process_each_time_is_refused(street: Street, watched: Watched) -> None:
    (watched.folder / ".work" / "_").mkdir(parents=True)
    (watched.folder / ".work" / "_" / "bomb.csv").write_text(DAY)
    digest = hashlib.sha256(DAY.encode()).hexdigest()
    for tries in (1, 2, 3):
        assert folder_rows.taken_up(street.db, "", "bomb.csv", digest, len(DAY), NOW_MS).tries == tries
    (row,) = turned(street, watched)
    assert (row.state, total(street)) == (State.REFUSED, (0, 0))
    assert "3 times the MDM ended while it took this in" in row.report


def test_the_thread_takes_turns_and_a_folder_that_can_not_be_used_is_said(street: Street, watched: Watched, tmp_path: Path) -> None:
    (watched.folder / "day.csv").write_text(DAY)
    taking = TakingIn(street.db, ExchangeConfig(str(watched.folder), 1), "UTC")
    wait_until(lambda: (taking.start_turn(NOW_MS), total(street) == ALL)[1], 10, "the file is taken")
    assert total(street) == ALL
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="this folder can not be used"):
        turn(street.db, Watched(tmp_path / "file", 10, "UTC"), NOW_MS, LATER_S)


def test_the_command_line_takes_and_tells(street: Street, watched: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mdm.toml"
    config.write_text('[exchange]\nin_dir = "in"\nstill_s = 10\n')
    desk = Desk(street.db, Payments(KeySigner.from_seed(b"s" * 32)), ManualClock(NOW_MS))
    parser = argparse.ArgumentParser()
    parser.set_defaults(config=config)
    cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))

    def typed(*words: str) -> tuple[int, str]:
        options = parser.parse_args(["import", *words])
        return options.run(options), capsys.readouterr().out

    for name, text in (("good.csv", DAY), ("bad.csv", DAY.replace("0.107", "0.1o7"))):
        (watched.folder / name).write_text(text)
    assert typed("folder") == (0, "2 files wait until nobody has changed them for 10 s\n")
    turned(street, watched)
    code, told = typed("status")
    assert code == 0
    assert "refused  bad.csv" in told
    assert "line 9, kwh = '0.1o7': this is not a number" in told
    assert "taken    good.csv  96 new, 0 contradict" in told
    assert told.endswith(f"0 wait in {watched.folder}\n")
    (line,) = typed("status", "--refused", "--json")[1].splitlines()
    assert (json.loads(line)["name"], json.loads(line)["state"]) == ("bad.csv", "refused")
    assert typed("folder") == (0, f"nothing waits in {watched.folder}\n")
    config.write_text("")
    assert "no folder is watched" in typed("status")[1]
    with pytest.raises(ConfigError, match="no folder is watched"):
        typed("folder")
