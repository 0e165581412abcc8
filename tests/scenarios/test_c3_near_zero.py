"""Seed 002, alternate scenario 1, read aloud: near its end reads, the meter's face and the display follow the interval."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gridtally_cloud.prepay import policies
from gridtally_edge.polling.plans import PollPlan
from gridtally_edge.transports.arbiter import Priority
from gridtally_shared.money import NANO, nano
from support.little_street import QUARTER_MS
from support.town import Town, town

QUARTERS_BEFORE, READINGS = 10, 4


@pytest.mark.covers("C3-A1.3")
def test_near_its_end_the_meters_face_and_the_display_are_refreshed_with_every_reading(tmp_path: Path) -> None:
    with town(tmp_path, opening="5") as acacia:
        acacia.connect()
        for _ in range(QUARTERS_BEFORE):
            acacia.next_quarter()
        faces, pages, moments = [], [], []
        for _ in range(READINGS):
            acacia.next_quarter()
            view, face = acacia.display(), acacia.house().shown_balance()
            assert face is not None
            # received and logged: the journal's newest charge is what the face and the page were made from
            assert acacia.journal()[-1].at_ms <= view.as_of_ms
            assert face == (view.balance_nano * 100 // NANO, view.as_of_ms)
            faces.append(face)
            pages.append(acacia.display_page())
            moments.append(view.as_of_ms)
        assert len(set(faces)) == len(set(pages)) == READINGS
        assert [b - a for a, b in pairwise(moments)] == [QUARTER_MS] * (READINGS - 1)


@pytest.mark.covers("C3-FR7")
def test_below_the_threshold_interval_data_is_fetched_once_each_interval_and_after_a_top_up_as_before(tmp_path: Path) -> None:
    """Pre: a plan that reads the meter once an hour, four recording intervals at a time. Post: the same, after a spell near zero
    in which each interval was fetched by itself, once, before what others wait for."""
    with town(tmp_path, opening="150", plan=PollPlan(turn_s=3_600, watch_s=-1)) as acacia:
        acacia.connect()
        acacia.next_quarter(3)  # the first poll looks back a day
        far = fetched(acacia, 8)
        acacia.live(lambda: acacia.meter_no() in acacia.street.core.prepay.near)
        near = fetched(acacia, 8)
        assert acacia.site().balance_nano > nano("100")  # it is the time left that is short
        acacia.pay("3000")
        again = fetched(acacia, 8)
    assert [n for n, _ in far if n] == [n for n, _ in again if n] == [4, 4]
    assert [n for n, _ in near] == [1] * 8
    assert {p for n, p in far + again if n} == {Priority.PROFILE}
    assert {p for _, p in near} == {Priority.PREPAID_LOW}


def fetched(acacia: Town, quarters: int) -> list[tuple[int, Priority | None]]:
    """Quarter by quarter, how many intervals were asked for, and how urgently."""
    found: list[tuple[int, Priority | None]] = []
    for _ in range(quarters):
        before = len(acacia.street.planned)
        acacia.next_quarter()
        polls = [poll for poll in acacia.street.planned[before:] if poll.request.spans]
        intervals = sum(span.count(QUARTER_MS) for poll in polls for span in poll.request.spans)
        found.append((intervals, polls[0].priority if polls else None))
    return found


@pytest.mark.covers("C3-FR9")
def test_each_day_the_balance_goes_to_the_meter_at_the_time_the_policy_names(tmp_path: Path) -> None:
    """Pre: money for weeks, the uplink cut; after a day the policy names another time. Post: the meter's face is written
    once a day, at the local time in force."""
    with town(tmp_path, opening="2000") as acacia:
        follow_policy(acacia, "06:30")
        acacia.connect()
        acacia.next_quarter(2)
        faces: list[int] = []
        for at, halves in (("06:30", 2), ("21:00", 1)):
            follow_policy(acacia, at)
            acacia.carry()
            acacia.cut()
            for _ in range(halves * 48):
                acacia.next_quarter()
                face = acacia.house().shown_balance()
                assert face is not None
                faces += [face[1]] * (face[1] not in faces)
            acacia.connect()
        local = [datetime.fromtimestamp(at_ms / 1_000, ZoneInfo("Asia/Kolkata")) for at_ms in faces[1:]]
        assert [(f"{moment:%H:%M}", moment.toordinal() - local[0].toordinal()) for moment in local] == [("06:36", 0), ("21:06", 0)]


def follow_policy(acacia: Town, show_at: str) -> None:
    rules = {"kind": "policy", "code": "home", "currency": "INR", "show_at": show_at}
    with acacia.db.write() as conn:
        policies.add_policy(conn, acacia.now_ms // QUARTER_MS * QUARTER_MS, json.dumps(rules), acacia.now_ms, "test")
        policies.follow(conn, acacia.account_no(), "home", acacia.now_ms, "test")
