"""The end of the month begins by itself: each month once, after a downtime the missed ones, off by a setting. On SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.billing.month_end import months_after, newest_due, start_due
from gridtally_cloud.billing.rules import add_rule
from gridtally_cloud.config import load_config
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.runs import take_up
from gridtally_cloud.store import work
from gridtally_cloud.store.tables import store_meta
from gridtally_cloud.store.work import Hand
from gridtally_shared.errors import ConfigError
from support.cloud_store import Street, new_street

RULE = '{"kind": "late_payment", "currency": "EUR", "percent": "1.5", "per": "month"}'
ZONE = "Asia/Kolkata"


def at(text: str) -> int:
    """An instant in UTC, such as 2026-11-03 05:00."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(("now", "zone", "on_day", "newest"), [
    ("2026-11-02 18:29", ZONE, 3, "2026-09"), ("2026-11-02 18:30", ZONE, 3, "2026-10"), ("2027-01-05 00:00", ZONE, 3, "2026-12"),
    ("2026-11-01 11:59", ZONE, 1, "2026-09"), ("2026-11-01 12:00", ZONE, 1, "2026-10"),
    ("2026-10-31 23:59", "Pacific/Kiritimati", 1, "2026-09"), ("2026-11-01 12:00", "Pacific/Kiritimati", 1, "2026-10"),
    ("2027-01-01 11:59", "UTC", 1, "2026-11"), ("2027-03-28 00:00", "UTC", 28, "2027-02"), ("2027-03-27 23:59", "UTC", 28, "2027-01"),
])  # fmt: skip
def test_a_month_is_due_on_its_day_when_it_is_over_everywhere(now: str, zone: str, on_day: int, newest: str) -> None:
    assert newest_due(at(now), zone, on_day) == newest


def test_the_months_between_come_in_their_order() -> None:
    assert months_after("2026-10", "2027-01") == ("2026-11", "2026-12", "2027-01")
    assert months_after("2026-10", "2026-10") == months_after("2026-10", "2026-09") == ()


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """On 2 November, with a rule for late payment; it was switched on when September was the last month to end."""
    street = new_street(tmp_path, 2, ZONE)
    with street.db.write() as conn:
        add_rule(conn, RULE, "", 0, at("2026-09-01 00:00"), "desk")
    assert turn(street, "2026-11-02 00:00") == ()
    yield street
    street.db.close()


def turn(street: Street, now: str, on_day: int = 3) -> tuple[str, ...]:
    return start_due(street.db, at(now), ZONE, on_day)


def started(street: Street) -> list[str]:
    """Months of the runs, oldest first."""
    with street.db.read() as conn:
        return [run.arguments["month"] for run in reversed(work.runs(conn))]


def test_each_month_begins_once_on_its_day_and_is_carried_out(street: Street) -> None:
    assert turn(street, "2026-11-02 18:29") == ()
    assert turn(street, "2026-11-02 18:30") == ("2026-10",)
    assert turn(street, "2026-11-02 18:31") == turn(street, "2026-11-30 00:00") == ()
    assert turn(street, "2026-12-04 00:00") == ("2026-11",)
    assert turn(street, "2026-11-04 00:00") == (), "a clock that goes back begins nothing again"
    assert started(street) == ["2026-10", "2026-11"]
    for _ in range(4):
        take_up(street.db, at("2026-12-04 00:00"), Hand("ann:1"))
    with street.db.read() as conn:
        assert work.open_runs(conn) == []
        assert [(run.done, run.refused, run.failed, run.asked_by) for run in work.runs(conn)] == [(2, 0, 0, "system:worker")] * 2
        assert [row.detail for row in audit_rows(conn) if row.action == "run.started"][-1] == "month_end 2026-10, 2 usage points"


def test_after_a_downtime_the_missed_months_are_begun_the_oldest_first(street: Street) -> None:
    assert turn(street, "2027-02-10 00:00") == ("2026-10", "2026-11", "2026-12", "2027-01")
    assert started(street) == ["2026-10", "2026-11", "2026-12", "2027-01"]


def test_several_workers_at_once_begin_it_once(street: Street) -> None:
    begun: list[tuple[str, ...]] = []
    threads = [threading.Thread(target=lambda: begun.append(turn(street, "2026-11-05 00:00"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == [(), (), (), ("2026-10",)]
    assert started(street) == ["2026-10"]


def test_switched_off_it_begins_nothing_and_catches_nothing_up_later(street: Street) -> None:
    assert turn(street, "2026-11-05 00:00", 0) == turn(street, "2026-12-05 00:00", 0) == ()
    with street.db.read() as conn:
        assert conn.execute(select(store_meta.c.name).where(store_meta.c.name == "month_end")).first() is None
    assert turn(street, "2026-12-05 00:00") == ()
    assert turn(street, "2027-01-05 00:00") == ("2026-12",)


def test_where_nothing_is_to_be_looked_after_a_month_is_passed_over(tmp_path: Path) -> None:
    street = new_street(tmp_path, 1, ZONE)
    for now in ("2026-11-02 00:00", "2026-12-05 00:00"):
        assert turn(street, now) == ()
    with street.db.write() as conn:
        add_rule(conn, RULE, "", 0, at("2026-12-06 00:00"), "desk")
    assert turn(street, "2027-01-05 00:00") == ("2026-12",)
    street.db.close()


@pytest.mark.parametrize("day", ["-1", "29", "'3'", "true"])
def test_a_day_no_month_has_is_refused(tmp_path: Path, day: str) -> None:
    file = tmp_path / "mdm.toml"
    file.write_text(f"[billing]\nmonth_end_day = {day}\n")
    with pytest.raises(ConfigError, match=r"billing\.month_end_day"):
        load_config(file)
