"""Policies and calendars at the edge: kept, never exchanged for an earlier version (I25); what a calendar says protects."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.prepay_messages import AccountMode, CalendarDocument, PolicyDocument
from gridtally_shared.instruments.details import ModeOrder
from gridtally_shared.prepay.calendars import canonical
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench

INDIA = timezone(timedelta(hours=5, minutes=30))
TODAY = datetime.fromtimestamp(START_MS // 1000, INDIA).date().isoformat()


def policy(version: int = 1, from_ms: int = 0, **rules: Any) -> PolicyDocument:
    body = {"kind": "policy", "code": "home", "currency": "INR", "offline": {"cut": "allowed"}, "low": {"money": ["10"]},
            "zero_action": "disconnect"} | rules  # fmt: skip
    return PolicyDocument("home", version, from_ms, json.dumps(body))


def calendar(version: int = 1, from_ms: int = 0, **more: Any) -> CalendarDocument:
    body = {"kind": "calendar", "code": "in", "zone": "Asia/Kolkata"} | more
    return CalendarDocument("in", version, from_ms, canonical(json.dumps(body), START_MS))


def exhausted(folder: Path, *policies: PolicyDocument, calendars: tuple[CalendarDocument, ...] = (), **account: Any) -> Bench:
    """A home under these documents, which has used up what was paid."""
    bench = Bench(folder, policy={"policy_id": "home", **account}, documents=policies, calendars=calendars)
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    return bench


def resend(bench: Bench, *policies: PolicyDocument, calendars: tuple[CalendarDocument, ...] = ()) -> None:
    bench.documents, bench.calendars = policies, calendars
    bench.configure()
    bench.wait(60_000)
    bench.read_all(1_001_000)


def blocked(bench: Bench) -> set[str]:
    found = bench.decisions()[-1]
    return {t.name for t in found.tests if not t.holds}


MILD, HARD = policy(2, zero_action="none"), policy(1)


def test_a_configuration_with_an_earlier_version_takes_nothing_back(tmp_path: Path) -> None:
    bench = exhausted(tmp_path, HARD, MILD)
    resend(bench, HARD)
    assert bench.orders() == []
    bench.restart()
    bench.trust()
    bench.online()
    bench.read_all(1_001_000)
    assert bench.orders() == []
    resend(bench, policy(3))
    assert bench.order(False)


def test_the_text_of_a_version_that_was_here_does_not_change(tmp_path: Path) -> None:
    bench = exhausted(tmp_path, MILD)
    resend(bench, replace(HARD, version=2))
    assert bench.orders() == []


def test_an_old_disk_image_gets_the_newer_version_again_and_no_old_configuration_after_it(tmp_path: Path) -> None:
    bench = exhausted(tmp_path, policy(1, zero_action="none"))
    bench.db.close()
    shutil.copy(bench.path, tmp_path / "image.db")
    bench.open()
    old = bench.version
    resend(bench, policy(1, zero_action="none"), policy(2, zero_action="none", notice={"lead_s": 60}))
    newest = bench.version
    bench.db.close()
    shutil.copy(tmp_path / "image.db", bench.path)
    bench.restart()
    bench.trust()
    bench.online()
    assert bench.core.config_version == old
    resend(bench, policy(1, zero_action="none"), policy(2, zero_action="none", notice={"lead_s": 60}))
    bench.version = old - 1
    resend(bench, policy(3))
    assert bench.core.config_version > newest
    assert bench.orders() == []


@pytest.mark.covers_part("C3-FR10")
def test_a_holiday_of_the_calendar_holds_the_cut_until_it_is_over(tmp_path: Path) -> None:
    bench = exhausted(tmp_path, policy(protected={"holidays": True}), calendars=(calendar(holidays=[{"date": TODAY}]),), calendar_id="in")
    assert bench.orders() == []
    assert blocked(bench) == {"protected_hours"}
    assert bench.decisions()[-1].verdict == "held"
    bench.now_ms += DAY_MS
    bench.trust()
    bench.online()
    bench.read_all(1_001_000)
    assert bench.order(False)


def test_a_calendar_that_is_not_here_protects(tmp_path: Path) -> None:
    bench = exhausted(tmp_path, policy(), calendar_id="in")
    assert (bench.orders(), blocked(bench)) == ([], {"protected_hours"})
    resend(bench, policy(), calendars=(calendar(),))
    assert bench.order(False)


@pytest.mark.covers_part("C3-FR10")
def test_announced_weather_holds_the_cut_and_ends_by_itself_without_the_cloud(tmp_path: Path) -> None:
    start, end = (datetime.fromtimestamp((START_MS + h * HOUR_MS) // 1000, UTC).isoformat() for h in (0, 6))
    storm = calendar(weather=[{"from": start, "to": end}])
    bench = exhausted(tmp_path, policy(protected={"weather": {"max_age_h": 24, "cap_days": 3}}), calendars=(storm,), calendar_id="in")
    assert (bench.orders(), blocked(bench)) == ([], {"weather"})
    bench.offline()
    bench.wait(6 * HOUR_MS)
    bench.trust()
    bench.read_all(1_001_000)
    assert bench.order(False)


@pytest.mark.covers_part("C3-FR27")
def test_after_a_conversion_nobody_is_cut_for_the_days_of_grace(tmp_path: Path) -> None:
    bench = Bench(tmp_path, policy={"policy_id": "home"}, documents=(policy(convert_grace_days=2),))
    bench.credit(1, "8.40")
    for mode in (AccountMode.POSTPAID, AccountMode.PREPAID):
        bench.credit(1, "0", type=m.InstrumentType.MODE_SET, detail=encode(ModeOrder(mode)))
        bench.wait(HOUR_MS)
        bench.trust()
        bench.read_all(1_000_000)
    bench.credit(1, "8.40")
    bench.restart()
    bench.trust()
    bench.online()
    bench.wait(HOUR_MS)
    bench.read_all(1_005_000)
    assert (bench.orders(), blocked(bench)) == ([], {"conversion"})
    bench.now_ms += 2 * DAY_MS
    bench.trust()
    bench.online()
    bench.read(1, 1_005_000, SwitchState.CLOSED)
    assert isinstance(bench.order(False), p.RunSwitch)
