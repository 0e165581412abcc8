"""Clocks and places, from the meter to the MDM's API: time synchronisation (BYPL 10, ETSI NR2), the hierarchy of meters and concentrators
(BYPL 11, I2 ACT12), how far a setting or a campaign is (BYPL 8.3), strategies of polling (ETSI NR6c), gaps (BYPL 6.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import dcu
from gridtally_edge.polling.plans import PollPlan, Strategy
from gridtally_edge.polling.timesync import DEFAULT
from gridtally_edge.transports.heard import NodeChanged
from gridtally_shared.contract.messages import NodeState
from gridtally_shared.signing import KeySigner
from support.chain import SIGNER, Chain, chain
from support.commands import ready
from support.little_street import MINUTE_MS, QUARTER_MS, LittleStreet, little_street
from support.unasked import house_of, ms_of, told

DAY_MS = 86_400_000
OTHER = "dcu-2"


def live(c: Chain, ms: int, step_ms: int = 15_000) -> None:
    for _ in range(ms // step_ms):
        c.street.wind(step_ms)
        c.street.beat()
        c.carry()


# ---- 10. clocks -------------------------------------------------------------------------------------------------


def corrections(c: Chain) -> dict[int, tuple[int, int]]:
    """Old and new time of every correction in the MDM, by meter (0: the concentrator)."""
    found = [e for e in c.items("/events") if e["name"] == "clock_corrected"]
    return {e["meter_no"]: tuple(int(word.split("=")[1]) for word in e["detail"].split()[:2]) for e in found}  # type: ignore[misc]


@pytest.mark.covers("BYPL-10.1", "ETSI-NR2")
def test_meter_and_concentrator_are_synchronised_each_correction_logged_and_a_jump_flagged(tmp_path: Path) -> None:
    """Pre: a meter is 90 s ahead, its concentrator 40 s behind. Post: both are within tolerance, the MDM has old and new time of each
    correction; a meter two hours off is flagged and left alone; a forged time changes nothing."""
    with chain(tmp_path, connected=False, skew_ms=90_000, own_skew_ms=-40_000) as c:
        c.connect()
        assert abs(c.street.clock.now_ms() - c.now_ms) <= DEFAULT.tolerance_ms
        live(c, 40 * MINUTE_MS)
        assert abs(house_of(c).clock_ms() - c.now_ms) <= DEFAULT.tolerance_ms
        made = corrections(c)
        assert made[0][1] - made[0][0] == 40_000
        assert 80_000 <= made[1][0] - made[1][1] <= 100_000
        assert told(c, "clock_jump_needed") == []
        house_of(c).set_clock(c.now_ms + 7_200_000)
        c.next_quarter(30)
        assert len(told(c, "clock_jump_needed")) == 1
        assert house_of(c).clock_ms() - c.now_ms > 7_000_000
        # ETSI-NR2: a time that the cloud did not sign
        refused, shown_ms = c.street.core.refused_messages, c.street.clock.now_ms()
        c.street.signer = KeySigner.from_seed(b"x" * 32)
        c.street.connect(cloud_ms=c.now_ms + 300_000)
        assert c.street.core.refused_messages == refused + 1
        assert c.street.clock.now_ms() == shown_ms


# ---- 11. hierarchy ----------------------------------------------------------------------------------------------


@contextmanager
def two_concentrators(folder: Path) -> Iterator[tuple[Chain, LittleStreet]]:
    """One MDM; the meter 10000001 can be heard behind either."""
    (folder / "other").mkdir()
    with chain(folder) as c, little_street(folder / "other", 1, 0, SIGNER, start_ms=c.now_ms, dcu=OTHER) as other:
        with c.db.write() as conn:
            conn.execute(insert(dcu).values(dcu=OTHER, site="Birch Lane", created_ms=c.now_ms, state="active"))
        c.others.append(other)
        other.say_time()
        c.connect()
        yield c, other


def joins(street: LittleStreet, address: str, parent: str, hops: int) -> None:
    street.handle(NodeChanged("dlms", "1", NodeState.JOINED, address, parent, hops, 200))


@pytest.mark.covers("BYPL-11.2", "I2-ACT12")
def test_a_meter_that_moves_behind_another_concentrator_has_its_new_parent_with_date_and_keeps_the_old_one(tmp_path: Path) -> None:
    """Pre: the MDM has a meter behind one concentrator. Post: the old parent has dropped it, the new one reported it with its network
    ids; the topology shows the new place from its date on, the history the old one with its end; each device has state and last
    contact."""
    with two_concentrators(tmp_path) as (c, other):
        serial = house_of(c).serial
        joins(c.street, "0011", "00aa", 2)
        c.carry()
        (before,) = c.items("/topology")
        assert (before["serial"], before["dcu"], before["address"], before["parent"]) == (serial, "dcu-1", "0011", "00aa")
        c.street.wind(10 * MINUTE_MS)
        other.wind(10 * MINUTE_MS)
        moved_ms = c.now_ms
        c.street.handle(NodeChanged("dlms", "1", NodeState.LEFT))  # the old parent drops it
        other.beat()  # the meter answers behind the new one,
        joins(other, "0042", "00bb", 3)  # which reports it with its network ids
        c.carry()
        (now,) = c.items("/topology")
        assert (now["serial"], now["dcu"], now["address"], now["parent"], now["hops"]) == (serial, OTHER, "0042", "00bb", 3)
        assert abs(ms_of(now["from"]) - moved_ms) <= 1_000
        history = c.items("/meters/1/places")
        assert (history[0]["dcu"], history[0]["address"]) == (OTHER, "0042")
        old = next(p for p in history if (p["dcu"], p["address"]) == ("dcu-1", "0011"))
        assert abs(ms_of(old["to"]) - moved_ms) <= 1_000
        # I2-ACT12: state and last contact of each device
        nodes = c.get("/topology", dcu=OTHER)["nodes"]
        assert [(n["node"], n["state"], n["serial"]) for n in nodes] == [("1", "joined", serial)]
        assert abs(ms_of(nodes[0]["at"]) - moved_ms) <= 1_000
        assert c.get("/topology", dcu="dcu-1")["items"] == []
        row = c.get("/meters/1")
        assert row["answering"] is True
        assert moved_ms - 30 * MINUTE_MS <= ms_of(row["status_at"]) <= c.now_ms


def test_the_state_and_the_last_contact_of_a_meter_are_at_the_api(tmp_path: Path) -> None:
    with chain(tmp_path) as c:
        assert c.get("/meters/1")["answering"] is True
        last_ms = c.now_ms
        c.street.mute.add("dlms/1")
        c.next_quarter(4)
        row = c.get("/meters/1")
        assert row["answering"] is False
        assert ms_of(row["status_at"]) >= last_ms


# ---- 8.3 the state of a configuration ---------------------------------------------------------------------------


@pytest.mark.covers("BYPL-8.3")
def test_a_configuration_is_queued_sent_verified_active_or_failed_by_meter_and_by_campaign(tmp_path: Path) -> None:
    """Pre: a calendar for two meters, one of which refuses to answer. Post: each state is shown when it is reached, for the meter and for
    the campaign."""
    with chain(tmp_path, dlms=2) as c:
        at_ms = (c.now_ms // DAY_MS + 2) * DAY_MS - 330 * MINUTE_MS
        calendar = {
            "name": "FLAT2", "activate_at_ms": at_ms, "seasons": [{"name": "S1", "month": 1, "day": 1, "week": "W1"}],
            "weeks": [{"name": "W1", "days": [1] * 7}], "days": [{"day_id": 1, "actions": [{"minute": 0, "rate": 2}]}],
        }  # fmt: skip

        def states() -> tuple[dict[int, str], dict[int, str], dict[str, int]]:
            campaign = c.get("/settings-campaigns/tou")
            by_meter = {no: c.get(f"/meters/{no}/settings")["items"][0]["state"] for no in (1, 2)}
            counts = {state: n for state, n in campaign["counts"].items() if n}
            return by_meter, {row["meter_no"]: row["state"] for row in campaign["items"]}, counts

        c.cut()
        body = {"name": "tou", "meters": [1, 2], "settings": {"activity_calendar": calendar}}
        assert c.send("POST", "/settings-campaigns", json=body).status_code == 202
        assert states() == ({1: "queued", 2: "queued"}, {1: "queued", 2: "queued"}, {"queued": 2})
        c.street.mute.add("dlms/2")
        c.connect()
        assert states() == ({1: "verified", 2: "sent"}, {1: "verified", 2: "sent"}, {"verified": 1, "sent": 1})
        c.wait(at_ms - c.now_ms + MINUTE_MS)
        assert states()[0][1] == "active"
        c.wait(8 * DAY_MS)
        assert states() == ({1: "active", 2: "failed"}, {1: "active", 2: "failed"}, {"active": 1, "failed": 1})


# ---- polling ----------------------------------------------------------------------------------------------------


def poll_times(folder: Path, plan: PollPlan, quarters: int, meters: int = 6) -> list[dict[str, int]]:
    """Quarter by quarter: when each meter had its turn, in ms from the quarter's start."""
    with little_street(folder, dlms=meters, plan=plan) as street:
        ready(street)
        found: list[dict[str, int]] = []
        for _ in range(quarters):
            start_ms = (street.clock.now_ms() // QUARTER_MS + 1) * QUARTER_MS
            street.wind(start_ms - street.clock.now_ms())
            times: dict[str, int] = {}
            for at_ms in range(0, QUARTER_MS // 3, 5_000):
                street.asked.clear()
                street.beat()
                times |= {key: at_ms for key, request in street.asked if request.instant}
                street.wind(5_000)
            found.append(times)
        return found


@pytest.mark.covers("ETSI-NR6c")
def test_round_robin_random_and_grouped_polling_by_order_and_spread(tmp_path: Path) -> None:
    """Round robin: the same order, another first each time. Random: moments all over the window, others each time. Groups: round robin by
    group, within its part of the window at random."""
    folders = [tmp_path / name for name in ("robin", "random", "group-1", "group-2")]
    for folder in folders:
        folder.mkdir()
    window_ms = QUARTER_MS * 25 // 100
    robin = [sorted(times, key=times.__getitem__) for times in poll_times(folders[0], PollPlan(Strategy.ROUND_ROBIN, watch_s=-1), 3)]
    for earlier, later in pairwise(robin):
        assert later != earlier
        assert later in [earlier[n:] + earlier[:n] for n in range(1, len(earlier))]
    random = poll_times(folders[1], PollPlan(Strategy.RANDOM, seed=7, watch_s=-1), 3)
    for times in random:
        assert len(set(times.values())) >= 4
        assert 0 <= min(times.values()) < max(times.values()) <= window_ms + 10_000
    assert len({tuple(sorted(times.items())) for times in random}) == 3
    groups = [poll_times(folder, PollPlan(Strategy.GROUPED, group=n, groups=2, watch_s=-1), 3) for n, folder in enumerate(folders[2:])]
    for turn in range(3):
        first, second = sorted((group[turn] for group in groups), key=lambda times: min(times.values()))
        assert max(first.values()) <= window_ms // 2 + 10_000  # each group has its own part of the window
        assert min(second.values()) >= window_ms // 2
        assert len(set(first.values())) >= 3  # in which the moments are drawn
        assert len(set(second.values())) >= 3
    assert len({min(groups[0][turn].values()) < min(groups[1][turn].values()) for turn in range(3)}) == 2  # each is first in its turn


# ---- 6. gaps ----------------------------------------------------------------------------------------------------


def interval_values(c: Chain, from_ms: int, to_ms: int) -> list[tuple[int, Any]]:
    rows = c.items("/meters/1/intervals", **{"from": utc_text(from_ms), "to": utc_text(to_ms)})
    return [(ms_of(row["start"]), row["wh"]) for row in rows]


@pytest.mark.covers("BYPL-6.1")
def test_a_missing_stretch_is_noticed_and_read_again_for_exactly_that_range_up_to_the_api(tmp_path: Path) -> None:
    """Pre: a meter answers nothing for three hours. Post: exactly the missing range is asked for, and the MDM has every interval as the
    meter had it."""
    with chain(tmp_path) as c:
        c.next_quarter(2)
        silent_ms = c.now_ms // QUARTER_MS * QUARTER_MS
        c.street.mute.add("dlms/1")
        c.next_quarter(12)
        c.street.mute.discard("dlms/1")
        c.street.asked.clear()
        c.wait(QUARTER_MS)
        c.next_quarter(2)
        back_ms = c.now_ms // QUARTER_MS * QUARTER_MS
        spans = [(s.from_ms, s.to_ms) for _, request in c.street.asked for s in request.spans]
        assert spans[0][0] == silent_ms
        assert all(later[0] == earlier[1] for earlier, later in pairwise(spans))  # nothing twice, nothing left out
        truth = house_of(c).profile(silent_ms + QUARTER_MS, back_ms)
        assert interval_values(c, silent_ms, back_ms) == [(row.end_ms - QUARTER_MS, row.import_wh) for row in truth]
