"""Data a person doubts: everyone who was given them is told; and the other meters of the lot are looked at."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from gridtally_cloud.cli import main
from gridtally_cloud.customers.tables import app_user, audit_row
from gridtally_cloud.exchange import asking, given, recipients
from gridtally_cloud.exchange.asking import Queued
from gridtally_cloud.exchange.given import Given
from gridtally_cloud.exchange.recipient_tables import delivery_file
from gridtally_cloud.integrations import webhooks
from gridtally_cloud.integrations.webhook_tables import webhook_notice
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import date_of, utc_text
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.tables import channel, vee_finding, vee_run
from gridtally_cloud.vee.edit import Asked, Reason, decide, make
from gridtally_cloud.vee.edits import Edit, EditState, Step
from gridtally_cloud.vee.run import run_pending
from gridtally_cloud.vee.siblings import check, put
from gridtally_cloud.vee.tools import Tool
from gridtally_shared.errors import RefusedCommand
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block

QUARTER_MS, DAY_MS = 900_000, 86_400_000
DAY, NOW_MS = START_MS // DAY_MS, START_MS + 3 * DAY_MS
TODAY = date_of(DAY).isoformat()
DAYLIGHT = [50 + place * (95 - place) // 10 + place % 3 for place in range(96)]
SPIKED = [*DAYLIGHT[:40], 3_400, *DAYLIGHT[41:]]
ASHA, RAVI = "asha", "ravi"


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """Four meters, a judged day: the first and the third have a peak that nobody believes."""
    street = new_street(tmp_path, 4)
    with street.db.write() as conn:
        for n in street.meters:
            conn.execute(insert(channel).values(channel_no=n, usage_point_no=n, quantity=11, direction="import", unit="Wh", exponent=0,
                                                period_s=900))  # fmt: skip
            store_block(conn, ChannelRef(n, "Wh", "UTC"), block(n, START_MS, SPIKED if n in (1, 3) else DAYLIGHT), START_MS)
        for login, role in ((ASHA, "operations"), (RAVI, "admin")):
            conn.execute(insert(app_user).values(login=login, name=login, role=role, password_hash="", created_ms=0))
        webhooks.add(conn, "partners", "https://partners.example.org/in", ("measurement.doubted",), NOW_MS, "test")
        for name in ("market", "owner", "former", "elsewhere"):
            recipients.add(conn, name, [f"https://{name}.example.org/in"], "", NOW_MS, "test")
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    run_pending(street.db, NOW_MS)
    yield street
    street.db.close()


def _fetched(street: Street, who: str, point: int, day: int = DAY) -> None:
    text = date_of(day).isoformat()
    with street.db.write() as conn:
        assert isinstance(asking.ask(conn, who, asking.Question("intervals", "csv", (str(point),), text, text), NOW_MS, "test"), Queued)


def _doubt(street: Street, first: int = 40, after: int = 41) -> Edit:
    asked = Asked(1, START_MS + first * QUARTER_MS, START_MS + after * QUARTER_MS, Tool.UNTRUST, "", Reason.METER_FAULT, ASHA,
                  "seal broken", "T-9")  # fmt: skip
    with street.db.write() as conn:
        return make(conn, asked, NOW_MS)


def _notices(street: Street) -> dict[tuple[str, str], dict[str, object]]:
    """(recipient, name of the file): what it says"""
    with street.db.read() as conn:
        rows = conn.execute(select(delivery_file).where(delivery_file.c.kind == "notice"))
        return {(row.recipient, row.name): json.loads(bytes(row.body)) for row in rows}


@pytest.mark.covers_part("I2-S6.11.4")
def test_everyone_who_had_fetched_the_range_is_told_meter_period_and_issue(street: Street) -> None:
    _fetched(street, "market", 1)
    _fetched(street, "owner", 1)
    _fetched(street, "former", 1)
    _fetched(street, "elsewhere", 2)
    with street.db.write() as conn:
        recipients.end(conn, "former", NOW_MS, "test")
        given.note(conn, "retailer:ACME", [1], START_MS, START_MS + DAY_MS, NOW_MS)
        given.note(conn, "token:app", [1], START_MS + DAY_MS, START_MS + 2 * DAY_MS, NOW_MS)
    edit = _doubt(street)
    told = _notices(street)
    assert set(told) == {(who, f"data_issue_{edit.edit_no}_doubted.json") for who in ("market", "owner")}
    said = told["market", f"data_issue_{edit.edit_no}_doubted.json"]
    assert (said["meter"], said["usage_point_no"], said["from"], said["to"]) == ("M-1", 1, utc_text(edit.from_ms), utc_text(edit.to_ms))
    assert (said["issue"], said["reason"], said["note"], said["ticket"]) == ("untrustworthy", "meter_fault", "seal broken", "T-9")
    with street.db.read() as conn:
        notice = json.loads(conn.execute(select(webhook_notice.c.body)).scalar_one())
        (audit,) = conn.execute(select(audit_row).where(audit_row.c.action == "vee.doubted")).all()
    assert notice["topic"] == "measurement.doubted"
    assert notice["data"]["given_to"] == "recipient:former recipient:market recipient:owner retailer:ACME"
    assert "recipient:market" in audit.detail


def test_a_mark_that_is_taken_back_is_told_too_and_other_edits_are_not(street: Street) -> None:
    _fetched(street, "market", 1)
    edit = _doubt(street)
    with street.db.write() as conn:
        assert decide(conn, edit.edit_no, Step.UNDO, ASHA, NOW_MS).state is EditState.UNDONE
        make(conn, Asked(1, START_MS, START_MS + QUARTER_MS, Tool.SET, "5", Reason.SITE_VISIT, ASHA), NOW_MS)
    assert [name for _, name in _notices(street)] == [f"data_issue_{edit.edit_no}_{word}.json" for word in ("doubted", "withdrawn")]


def test_what_is_fetched_day_by_day_is_one_row_that_grows(street: Street) -> None:
    with street.db.write() as conn:
        for day in (0, 2, 1, 5):
            given.note(conn, "recipient:market", [1, 2], START_MS + day * DAY_MS, START_MS + (day + 1) * DAY_MS, NOW_MS + day)
        given.note(conn, "folder:daily", [1], START_MS, START_MS + DAY_MS, NOW_MS)
    with street.db.read() as conn:
        assert given.takers(conn, 1, START_MS, START_MS + 4 * DAY_MS) == (
            Given("folder:daily", START_MS, START_MS + DAY_MS, NOW_MS),
            Given("recipient:market", START_MS, START_MS + 3 * DAY_MS, NOW_MS + 1),
        )  # fmt: skip
        assert given.takers(conn, 1, START_MS + 3 * DAY_MS, START_MS + 5 * DAY_MS) == ()
        assert given.is_noted(conn, "recipient:market", 2, START_MS + DAY_MS, START_MS + 3 * DAY_MS)
        assert not given.is_noted(conn, "recipient:market", 2, START_MS + DAY_MS, START_MS + 4 * DAY_MS)


def test_two_that_fetch_at_once_both_find_their_row(street: Street) -> None:
    def fetch() -> None:
        for day in range(8):
            with street.db.write() as conn:
                given.note(conn, "token:app", [1, 2], START_MS + day * DAY_MS, START_MS + (day + 1) * DAY_MS, NOW_MS)
                done.append(day)

    done: list[int] = []
    threads = [threading.Thread(target=fetch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 24
    with street.db.read() as conn:
        assert given.takers(conn, 2, START_MS, START_MS + DAY_MS) == (Given("token:app", START_MS, START_MS + 8 * DAY_MS, NOW_MS),)


@pytest.mark.covers("I2-S6.11.5")
def test_the_same_rule_finds_the_planted_second_bad_meter_of_the_lot(street: Street) -> None:
    with street.db.write() as conn:
        put(conn, "PO-2291", ["M-1", "M-2", "M-3"], ASHA, NOW_MS)
        put(conn, "PO-3000", ["M-4"], ASHA, NOW_MS)
    with street.db.read() as conn:
        found = check(conn, "M-1", (DAY, DAY))
        kept = [conn.execute(select(table)).all() for table in (vee_run, vee_finding)]
    assert (found.lot, found.others, found.days) == ("PO-2291", 2, 2)
    assert "spike" in found.rules
    assert {(s.serial, s.day) for s in found.suspects} == {("M-3", DAY)}
    with street.db.read() as conn:
        assert check(conn, "M-1", (DAY, DAY), "gap").suspects == (), "another rule is another question"
        assert [conn.execute(select(table)).all() for table in (vee_run, vee_finding)] == kept, "nothing is written"


def test_what_can_not_be_looked_at_is_refused_with_the_way_on(street: Street) -> None:
    with street.db.write() as conn:
        put(conn, "PO-2291", ["M-2"], ASHA, NOW_MS)
        for serial, rule, said in (("M-9", "", "there is no meter"), ("M-1", "", "siblings lot"), ("M-2", "", "--rule"),
                                   ("M-2", "spikes", "vee checks")):  # fmt: skip
            with pytest.raises(RefusedCommand, match=said):
                check(conn, serial, (DAY, DAY), rule)
        with pytest.raises(RefusedCommand, match="name the lot"):
            put(conn, " ", ["M-1"], ASHA, NOW_MS)


def test_the_command_prints_who_shows_it_and_says_so_in_its_exit_code(tmp_path: Path, street: Street, capsys: pytest.CaptureFixture[str]
                                                                      ) -> None:  # fmt: skip
    config = tmp_path / "mdm.toml"
    config.write_text(f'data_dir = "."\n[store]\nurl = "{street.db.url}"\n')
    said = ["--config", str(config), "vee", "siblings"]
    assert main([*said, "lot", "PO-2291", "M-1", "M-2", "M-3"]) == 0
    assert main([*said, "check", "M-1", TODAY, TODAY]) == 1
    printed = capsys.readouterr().out
    assert "3 meters are of lot PO-2291" in printed
    assert "1 of 2 other meters show it" in printed
    assert f"{TODAY}  M-3" in printed
    assert main([*said, "check", "M-1", TODAY, TODAY, "--rule", "gap", "--json"]) == 0
