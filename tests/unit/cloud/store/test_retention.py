"""Retention: what is due goes and nothing else, in lots, by any number of workers, and at little cost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, func, insert, select

from gridtally_cloud.cli import main
from gridtally_cloud.config import load_config
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.exchange.given import is_noted, note
from gridtally_cloud.exchange.given_tables import data_given
from gridtally_cloud.exchange.recipient_tables import delivery, delivery_file
from gridtally_cloud.exchange.schedules import CATCH_UP
from gridtally_cloud.exchange.tables import exchange_file
from gridtally_cloud.integrations import webhooks
from gridtally_cloud.integrations.webhook_tables import webhook_notice
from gridtally_cloud.integrations.webhooks import Topic
from gridtally_cloud.retention import deleting, passes
from gridtally_cloud.retention.due import SOURCES, Source
from gridtally_cloud.retention.rules import BY_NAME, NEVER, RULES, Rule
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.schema import metadata
from gridtally_cloud.store.work import Hand, work_item, work_run
from gridtally_shared.errors import ConfigError
from support.kept_rows import CUT_MS, DAY_MS, MADE, forget, keys, parties
from support.required import ROOT
from support.stores import ON_POSTGRES, fresh_store
from support.waiting import wait_until

ANN, BOB = Hand("ann:1", 10_000), Hand("bob:2", 10_000)
DAYS = {rule.name: rule.days for rule in RULES}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = fresh_store(tmp_path)
    with db.write() as conn:
        parties(conn)
    yield db
    db.close()


def _pass_over(conn: Connection, name: str, most: int) -> int:
    """A whole pass of a rule; the rows that went."""
    deleted, after = 0, ()
    for _ in range(200):
        step = deleting.delete_lot(conn, SOURCES[name], after, CUT_MS, most)
        deleted += step.deleted
        if step.after is None:
            return deleted
        after = tuple(step.after)
    raise AssertionError("the pass comes to no end")


# ---- what goes ------------------------------------------------------------------------------------------------


@settings(max_examples=7, phases=[Phase.generate])
@given(data=st.data(), most=st.integers(1, 12))
def test_what_is_due_goes_and_nothing_else_whatever_the_lots(db_once: Database, data: st.DataObject, most: int) -> None:
    for name, make in MADE.items():
        with db_once.write() as conn:
            forget(conn)
            stay = make(conn, data.draw)
            before = keys(conn, name)
            count = deleting.counted(conn, SOURCES[name], CUT_MS)
            assert stay <= before
            assert count.due == len(before) - len(stay)
            assert _pass_over(conn, name, most) == count.with_parts
            assert keys(conn, name) == stay
            assert _pass_over(conn, name, most) == 0


@pytest.fixture(scope="module")
def db_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    db = fresh_store(tmp_path_factory.mktemp("store"))
    with db.write() as conn:
        parties(conn)
    yield db
    db.close()


def test_of_a_run_its_rows_go_and_those_of_other_runs_and_of_daily_work_stay(db: Database) -> None:
    with db.write() as conn:
        for run_no in (1, 2):
            conn.execute(insert(work_run).values(run_no=run_no, kind="bill", arguments="{}", total=5, asked_by="t", asked_ms=0, ended_ms=0))
        conn.execute(insert(work_item), [
            {"shard": 0, "kind": kind, "run_no": run_no, "usage_point_no": point, "state": "done"}
            for kind, run_no in (("bill", 1), ("bill", 2), ("close", 0)) for point in range(5)
        ])  # fmt: skip
        assert _pass_over(conn, "runs", 2) == 6
        assert sorted(conn.execute(select(work_item.c.run_no)).scalars()) == [0] * 5 + [2] * 5


def test_a_number_is_never_given_twice(db: Database) -> None:
    """A receiver leaves out a notice whose number it knows: SQLite would give that of the last one again, were it deleted."""
    with db.write() as conn:
        webhooks.add(conn, "b", "https://b.example.org/in", (Topic.ORDER_OPENED.value,), 0, "test")
        for ref in ("first", "second"):
            webhooks.announce(conn, Topic.ORDER_OPENED, ref, 0, "/orders/1", {})
        conn.execute(webhook_notice.update().values(state="taken"))
        (_, last) = conn.execute(select(webhook_notice.c.notice_no).order_by(webhook_notice.c.notice_no)).scalars()
        assert _pass_over(conn, "webhook_notices", 10) == 1
        webhooks.announce(conn, Topic.ORDER_OPENED, "third", CUT_MS, "/orders/1", {})
        numbers = conn.execute(select(webhook_notice.c.notice_no).order_by(webhook_notice.c.notice_no)).scalars().all()
    assert numbers == [last, last + 1]


def test_what_is_given_again_a_month_later_is_noted_anew_and_kept_from_then_on(db: Database) -> None:
    with db.write() as conn:
        note(conn, "token:app", [1], 0, DAY_MS, CUT_MS - 40 * DAY_MS)
        assert is_noted(conn, "token:app", 1, 0, DAY_MS, CUT_MS - 40 * DAY_MS)
        assert not is_noted(conn, "token:app", 1, 0, DAY_MS, CUT_MS - 30 * DAY_MS)
        note(conn, "token:app", [1], 0, DAY_MS, CUT_MS)
        assert _pass_over(conn, "data_given", 10) == 0
        assert conn.execute(select(data_given.c.last_ms)).scalars().all() == [CUT_MS]


# ---- passes ---------------------------------------------------------------------------------------------------


def _notices(conn: Connection, n: int, at_ms: int, first: int = 1) -> None:
    conn.execute(insert(webhook_notice), [
        {"notice_no": no, "webhook_no": 1, "topic": "x", "ref": str(no), "body": "{}", "state": "taken", "next_ms": 0, "created_ms": at_ms}
        for no in range(first, first + n)
    ])  # fmt: skip


def _left(db: Database) -> int:
    with db.read() as conn:
        return conn.execute(select(func.count()).select_from(webhook_notice)).scalar_one()


NOW_MS = CUT_MS + DAYS["webhook_notices"] * DAY_MS


def _lot(db: Database, hand: Hand, now_ms: int = NOW_MS) -> int | None:
    step = passes.one_lot(db, "webhook_notices", DAYS["webhook_notices"], now_ms, hand, "test")
    return None if step is None else step.deleted


@pytest.fixture
def small_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "ROWS_A_LOT", 10)


@pytest.mark.usefixtures("small_lots")
def test_a_pass_that_was_killed_goes_on_with_the_next_worker_when_the_lease_has_ended(db: Database) -> None:
    with db.write() as conn:
        _notices(conn, 25, CUT_MS - 1)
        _notices(conn, 1, CUT_MS, 100)

    class Killed(BaseException):
        """In the middle of a transaction: its rows are deleted, nothing is committed."""

    def kill(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("UPDATE retention_pass"):
            raise Killed

    assert _lot(db, ANN) == 10
    event.listen(db.engine, "before_cursor_execute", kill)
    with pytest.raises(Killed):
        _lot(db, ANN)
    event.remove(db.engine, "before_cursor_execute", kill)
    assert _left(db) == 16
    assert _lot(db, BOB, NOW_MS + ANN.lease_ms - 1) is None
    assert [_lot(db, BOB, NOW_MS + ANN.lease_ms) for _ in range(3)] == [10, 5, None]
    assert _left(db) == 1
    with db.read() as conn:
        assert [(row.action, row.subject, row.detail) for row in audit_rows(conn)] == [
            ("retention.deleted", "retention:webhook_notices", "25 rows older than 90 days")
        ]


WORKER = """
import sys
from gridtally_cloud.retention import passes
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.work import Hand
db = Database(sys.argv[1])
while passes.turn(db, int(sys.argv[2]), {name: 90 * (name == "webhook_notices") for name in passes.SOURCES}, Hand("killed:1")):
    pass
"""


def test_after_a_kill_9_the_rest_goes_and_each_row_was_counted_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.write() as conn:
        _notices(conn, 12_000, CUT_MS - 1)
        _notices(conn, 5, NOW_MS, 12_001)
    with subprocess.Popen([sys.executable, "-c", WORKER, db.url, str(NOW_MS)]) as child:
        wait_until(lambda: _left(db) < 12_005, 30)
        child.kill()
    assert 5 < _left(db) < 12_005
    assert _lot(db, ANN) is None  # its lease has not ended
    monkeypatch.setattr(passes, "ROWS_A_LOT", 12_000)
    while _lot(db, ANN, NOW_MS + ANN.lease_ms) is not None:
        pass
    assert _left(db) == 5
    with db.read() as conn:
        assert [row.detail for row in audit_rows(conn)] == ["12000 rows older than 90 days"]


@pytest.mark.usefixtures("small_lots")
def test_two_workers_at_once_share_the_rules_and_delete_each_row_once(db: Database) -> None:
    with db.write() as conn:
        _notices(conn, 101, CUT_MS - 1)
        row = {"source": "", "name": "f", "digest": "d", "size": 1, "state": "taken", "tries": 1, "seen_ms": 0, "moved_ms": 0}
        conn.execute(insert(exchange_file), [row] * 101)
    days = dict.fromkeys(DAYS, 0) | {"webhook_notices": 90, "files_taken": 365}

    def work(hand: Hand) -> None:
        while passes.turn(db, NOW_MS, days, hand):
            pass

    threads = [threading.Thread(target=work, args=(hand,)) for hand in (ANN, BOB)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not passes.turn(db, NOW_MS + ANN.lease_ms, days, ANN)
    assert _left(db) == 1
    with db.read() as conn:
        assert sorted(row.detail for row in audit_rows(conn)) == ["100 rows older than 365 days", "100 rows older than 90 days"]


@pytest.mark.usefixtures("small_lots")
def test_a_turn_does_some_lots_of_what_waits_and_a_pass_is_made_once_a_day(db: Database) -> None:
    with db.write() as conn:
        _notices(conn, 65, CUT_MS - 1)
    days = dict.fromkeys(DAYS, 0) | {"webhook_notices": 90, "files_taken": 365}
    turns = [passes.turn(db, NOW_MS, days, ANN) for _ in range(3)]
    assert turns == [True, False, False]
    assert _left(db) == 1
    with db.read() as conn:
        assert set(passes.known_passes(conn)) == {"webhook_notices", "files_taken"}  # 0 days: kept for ever
    with db.write() as conn:
        _notices(conn, 9, CUT_MS - 1, 100)
    assert not passes.turn(db, NOW_MS + passes.EVERY_MS - 1, days, ANN)
    assert _left(db) == 10
    assert not passes.turn(db, NOW_MS + passes.EVERY_MS, days, ANN)
    assert _left(db) == 1


def test_a_rule_that_fails_stops_no_other(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.write() as conn:
        _notices(conn, 5, CUT_MS - 1)

    def fails_for_readings(conn: Connection, source: Source, *more: Any, **named: Any) -> deleting.Step:
        if source.series:
            raise ValueError("as a defect of ours")
        return deleting.delete_lot(conn, source, *more, **named)

    monkeypatch.setattr(passes, "delete_lot", fails_for_readings)
    days = dict.fromkeys(DAYS, 0) | {"momentary_values": 45, "webhook_notices": 90}
    assert not passes.turn(db, NOW_MS, days, ANN)
    assert _left(db) == 1


# ---- what it costs --------------------------------------------------------------------------------------------


def test_what_is_young_is_not_looked_at(db: Database) -> None:
    """Of 3,000 notices 10 are due: two lots are looked at, and the statements go by key, never through the table."""
    with db.write() as conn:
        _notices(conn, 10, CUT_MS - 1)
        _notices(conn, 2_990, CUT_MS, 11)
        after, looked = deleting.delete_lot(conn, SOURCES["webhook_notices"], (), CUT_MS, 100), 1
        while after.after is not None:
            after, looked = deleting.delete_lot(conn, SOURCES["webhook_notices"], tuple(after.after), CUT_MS, 100), looked + 1
    assert looked == 2
    assert _left(db) == 2_990


@pytest.mark.skipif(ON_POSTGRES, reason="the words of SQLite's planner")
@settings(max_examples=3, phases=[Phase.generate])
@given(data=st.data())
def test_no_deletion_searches_a_table(db_once: Database, data: st.DataObject) -> None:
    """Each step is a search by key; whole are read only receivers, credits that were late, and the newest delivery: its first row."""
    plans: dict[str, list[str]] = {}

    def explain(conn: Connection, _cursor: object, statement: str, parameters: object, _context: object, many: bool) -> None:
        if not many and statement.startswith(("SELECT", "DELETE")) and statement not in plans:
            raw = conn.connection.driver_connection
            assert raw is not None
            plans[statement] = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]

    for name, make in MADE.items():
        with db_once.write() as conn:
            forget(conn)
            make(conn, data.draw)
            event.listen(db_once.engine, "before_cursor_execute", explain)
            _pass_over(conn, name, 3)
            event.remove(db_once.engine, "before_cursor_execute", explain)
    whole = {(plan, _is_cut(statement)) for statement, steps in plans.items() for plan in steps if plan.startswith("SCAN")}
    assert {plan for plan, is_cut in whole if not is_cut} <= {"SCAN late_credit", "SCAN newest_delivery", "SCAN webhook", "SCAN recipient"}


def _is_cut(statement: str) -> bool:
    """A first lot: so many rows from the beginning, in the order of the key."""
    return statement.startswith("SELECT") and "WHERE 1 = 1" in statement and " LIMIT " in statement


# ---- rules, settings, the command -----------------------------------------------------------------------------


def test_no_rule_is_about_what_must_never_be_deleted() -> None:
    ruled = {source.table.name for source in SOURCES.values()} | {part.table.name for s in SOURCES.values() for part in s.parts}
    kept = {name for names in NEVER.values() for name in names}
    assert set(SOURCES) == set(BY_NAME) == {rule.name for rule in RULES}
    assert kept <= set(metadata.tables)
    assert not ruled & kept
    referred = {key.column.table.name for table in metadata.tables.values() if table.name not in ruled for key in table.foreign_keys}
    assert not ruled & referred
    assert all(source.rule.column in source.table.c for source in SOURCES.values())


def test_the_page_has_every_rule_as_it_is() -> None:
    page = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
    rows = [f"| `{rule.name}` | {rule.what} | {rule.days} | {rule.least} | {rule.why} |" for rule in RULES]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def test_runs_of_a_monthly_schedule_are_known_as_long_as_they_would_be_made_good() -> None:
    assert BY_NAME["export_runs"].least > CATCH_UP * 31


def _config(folder: Path, name: str, days: int) -> Path:
    path = folder / "mdm.toml"
    path.write_text(f"[retention]\n{name} = {days}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_days_below_the_least_are_refused_with_the_reason_and_0_is_for_ever(tmp_path: Path, rule: Rule) -> None:
    assert rule.days >= rule.least
    for days in (0, rule.least, 10_000):
        assert load_config(_config(tmp_path, rule.name, days)).retention[rule.name] == days
    for days in (rule.least - 1, 1, -1):
        with pytest.raises(ConfigError, match=f"write {rule.least} or more, or 0 to keep for ever") as refused:
            load_config(_config(tmp_path, rule.name, days))
        assert rule.why in str(refused.value)
        assert rule.setting in str(refused.value)


def _pointed_at(db: Database, folder: Path, more: str = "") -> Path:
    path = folder / "mdm.toml"
    path.write_text(f"store.url = '{db.url}'\n{more}", encoding="utf-8")
    return path


def test_the_command_shows_each_rule_and_deletes_what_is_due(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = fresh_store(tmp_path)
    path = _pointed_at(db, tmp_path, "[retention]\nfiles_taken = 0\n")
    with db.write() as conn:
        parties(conn)
        _notices(conn, 1_503, CUT_MS)
        _notices(conn, 2, int(time.time() * 1000), 5_000)

    assert main(["--config", str(path), "retention", "--json"]) == 0
    shown = {row["rule"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert list(shown) == [rule.name for rule in RULES]
    row = shown["webhook_notices"]
    assert (row["days"], row["least_days"], row["rows"], row["due"], row["oldest_ms"]) == (90, 30, 1_505, 1_503, CUT_MS)
    assert shown["files_taken"]["days"] == 0

    assert main(["--config", str(path), "retention", "--apply"]) == 0
    assert "webhook_notices           1,503 rows deleted" in capsys.readouterr().out
    assert main(["--config", str(path), "retention", "--why"]) == 0
    told = capsys.readouterr().out
    assert "webhook_notices         90            2           0" in told
    assert "1,503 deleted" in told
    assert all(rule.why in told for rule in RULES)
    assert "never deleted: bills and the books" in told
    db.close()


def test_the_command_also_finds_what_came_while_a_clock_was_wrong(db: Database, tmp_path: Path) -> None:
    with db.write() as conn:
        _notices(conn, 2_000, int(time.time() * 1000))
        _notices(conn, 3, CUT_MS, 2_001)
    assert _lot(db, ANN, int(time.time() * 1000)) == 0
    assert main(["--config", str(_pointed_at(db, tmp_path)), "retention", "--apply"]) == 0
    assert _left(db) == 2_001


def test_the_command_says_who_is_at_a_rule_and_leaves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], db: Database) -> None:
    path = _pointed_at(db, tmp_path)
    with db.write() as conn:
        _notices(conn, 3_000, CUT_MS)
    assert _lot(db, ANN, int(time.time() * 1000)) == 1_000
    assert main(["--config", str(path), "retention", "--apply"]) == 1
    assert "webhook_notices               0 rows deleted; ann:1 is at it" in capsys.readouterr().out
    assert _left(db) == 2_000


def test_a_file_with_two_deliveries_goes_with_both(db: Database) -> None:
    with db.write() as conn:
        row = {"recipient": "market", "kind": "data", "name": "f", "media": "m", "body": b"", "size": 1, "digest": "d", "made_ms": 0}
        conn.execute(insert(delivery_file), [row] * 3)
        sent = {"state": "taken", "next_ms": 0, "made_ms": 0, "taken_ms": 0}
        conn.execute(insert(delivery), [{"file_no": no, "address_no": a, **sent} for no in (1, 2, 3) for a in (1, 2)])
        assert _pass_over(conn, "deliveries", 2) == 6
        assert conn.execute(select(delivery.c.file_no)).scalars().all() == [3, 3]
