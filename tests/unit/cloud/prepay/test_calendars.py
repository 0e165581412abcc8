"""Calendars as stored and published: versions, which account goes by which, what travels to the edge."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from gridtally_cloud.assets.config_publisher import build
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.prepay import calendar_cli
from gridtally_cloud.prepay.calendars import add_calendar, go_by, is_aged, versions
from gridtally_cloud.prepay.settings import Payments
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.prepay_messages import CalendarDocument
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.prepay.calendars import canonical, region_of
from gridtally_shared.signing import KeySigner
from support.cloud_store import DCU, START_MS, Street, new_street

HOUR_MS = 3_600_000


@pytest.fixture
def street(tmp_path: Path) -> Street:
    return new_street(tmp_path)


def document(zone: str = "Europe/Berlin", **more: object) -> str:
    return json.dumps({"kind": "calendar", "code": "here", "zone": zone} | more)


def zone_of_account(street: Street, account_no: int = 1) -> str:
    with street.db.read() as conn:
        return next(a.zone for a in build(conn, DCU, START_MS).accounts if a.account_no == account_no)


def test_the_calendar_travels_with_every_account_of_its_zone_in_a_new_configuration(street: Street) -> None:
    zone = zone_of_account(street)
    with street.db.write() as conn:
        before = build(conn, DCU, START_MS)
        add_calendar(conn, START_MS, document(zone, holidays=[{"date": "2026-05-01"}]), START_MS, "desk")
        add_calendar(conn, START_MS + HOUR_MS, document(zone), START_MS, "desk")
        assert go_by(conn, "here", None, START_MS, "desk") >= len(before.accounts)
        config = build(conn, DCU, START_MS)
        later = build(conn, DCU, START_MS + HOUR_MS)
    assert ({a.calendar_id for a in before.accounts}, before.calendars) == ({""}, ())
    assert {a.calendar_id for a in config.accounts} == {"here"}
    assert ([d.version for d in config.calendars], [d.version for d in later.calendars]) == ([1, 2], [2])
    region = region_of(config.accounts[0], config.calendars, START_MS)
    assert (region.known, len(region.holidays)) == (True, 1)


def test_a_calendar_that_can_not_be_is_refused(street: Street) -> None:
    zone = zone_of_account(street)
    other = "Asia/Kolkata" if zone != "Asia/Kolkata" else "Europe/Berlin"
    with street.db.write() as conn:
        with pytest.raises(ConfigError, match="Mars"):
            add_calendar(conn, START_MS, document("Mars/Base"), START_MS, "desk")
        with pytest.raises(RefusedCommand, match="later time"):
            add_calendar(conn, START_MS - 1, document(zone), START_MS, "desk")
        with pytest.raises(RefusedCommand, match="load it first"):
            go_by(conn, "here", None, START_MS, "desk")
        add_calendar(conn, START_MS, document(other), START_MS, "desk")
        with pytest.raises(RefusedCommand, match="another zone"):
            add_calendar(conn, START_MS + 1, document(zone), START_MS, "desk")
        with pytest.raises(RefusedCommand, match="not of the zone"):
            go_by(conn, "here", 1, START_MS, "desk")
        assert len(versions(conn)) == 1


def test_rules_that_have_changed_since_are_seen() -> None:
    text = canonical(document("Europe/Berlin"), START_MS)
    body = json.loads(text)
    body["rules"]["changes"] = [c for c in body["rules"]["changes"] if c["at"] * 1000 < START_MS]
    fresh, aged = (CalendarDocument("here", 1, START_MS, each) for each in (text, json.dumps(body)))
    assert (is_aged(fresh, START_MS), is_aged(aged, START_MS)) == (False, True)


def test_the_commands_load_list_and_follow(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(street.db, Payments(KeySigner.from_seed(b"s" * 32)), ManualClock(START_MS))
    file = tmp_path / "here.json"
    file.write_text(document(zone_of_account(street)), encoding="utf-8")
    parser = argparse.ArgumentParser()
    calendar_cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
    for words in (["list"], ["load", str(file)], ["follow", "here", "--account", "1"], ["list"]):
        options = parser.parse_args(["calendar", *words])
        assert options.run(options) == 0
    said = capsys.readouterr().out
    assert "no calendar is loaded" in said
    assert "version 1 begins" in said
    assert "1 account goes by here" in said
    assert "changed since" not in said
