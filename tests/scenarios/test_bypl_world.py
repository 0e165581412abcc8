"""Seed 000 (BYPL) with real processes, a real broker and serial lines, in fast virtual time: what takes more than one part.

The world is shared (conftest.py); each test leaves its home as it found it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.tokens import SCOPES, create_token
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.transports.breaker import FIRST_S
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.events import BY_NAME
from gridtally_shared.ledger.evidence import SwitchEvidence
from gridtally_shared.lifecycle import CommandState as State
from gridtally_shared.lifecycle import Reason
from support.visitor import Visitor
from support.world import Home, World

pytestmark = pytest.mark.slow
QUARTER_MS = 900_000
ALARM_TARGET_S = 60.0
"""From the head end to the MDM's API, in real seconds; the shortest time a seed asks of a message (C3-NFR9)."""


@dataclass(frozen=True, slots=True)
class Api:
    """Another system with a token, over real HTTP."""

    visitor: Visitor
    token: str

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        words = "&".join(f"{name}={value}" for name, value in {"limit": "1000", **query}.items())
        found: list[dict[str, Any]] = self.visitor.api(f"api/v1/{path}?{words}", self.token)["items"]
        return found

    def one(self, path: str) -> Any:
        return self.visitor.api(f"api/v1/{path}", self.token)


@pytest.fixture(scope="module")
def api(world: World) -> Api:
    with world.db.write() as conn:
        token = create_token(conn, "control room", SCOPES, SystemClock().now_ms(), "test")
    return Api(Visitor(world.deployment.mdm_url), token)


def at_edge(world: World, home: Home, code: int) -> int:
    """How often the head end has the event."""
    query = f"SELECT count(*) FROM event WHERE meter_no = {home.meter_no} AND code = {code}"
    return int(world.edge("readings.db", query)[0][0])


# ---- 3. disconnection and its status, 4. reconnection ---------------------------------------------------------


@pytest.mark.covers("BYPL-3.5", "BYPL-3.6", "BYPL-4.3")
def test_every_switch_command_ends_and_says_meter_and_state(world: World, api: Api) -> None:
    """Pre: a home with light. Post: its four commands have ended done, failed, done after an outage, expired; it has light."""
    home = world.homes[1]

    def told(cmd_id: bytes) -> tuple[int, str, str]:
        found = api.one(f"commands/{cmd_id.hex()}")
        return found["meter_no"], found["state"], found["reason"]

    def reported(cmd_id: bytes) -> SwitchEvidence:
        return decode(SwitchEvidence, world.command(cmd_id).result)

    opened = world.ended(world.order(home, CommandType.SWITCH_OPEN)).cmd_id  # 3.3 .. 3.5
    assert told(opened) == (home.meter_no, "done", "")
    assert (reported(opened).serial, reported(opened).state_after) == (home.serial, SwitchState.OPEN.value)
    world.until(lambda: api.one(f"meters/{home.meter_no}")["supply"] == "off", about="the MDM shows the switch open")

    world.spoil(f"jam {home.serial}")
    stuck = world.ended(world.order(home, CommandType.SWITCH_CLOSE)).cmd_id
    world.spoil(f"free {home.serial}")
    assert told(stuck) == (home.meter_no, "failed", Reason.SWITCH_STUCK)
    assert reported(stuck).state_after == SwitchState.OPEN.value

    with world.offline():
        waiting = world.order(home, CommandType.SWITCH_CLOSE)
        world.pass_hours(0.2)
        assert not world.command(waiting).ended
        assert world.house(home, world.now_ms()).switch() is SwitchState.OPEN
    assert world.ended(waiting).state is State.DONE  # delivered after the reconnect
    assert told(waiting) == (home.meter_no, "done", "")
    assert reported(waiting).state_after == SwitchState.CLOSED.value
    assert world.house(home, world.now_ms()).switch() is SwitchState.CLOSED  # 4.3: the relay of the meter itself
    world.until(lambda: api.one(f"meters/{home.meter_no}")["supply"] == "on", about="the MDM shows the switch closed")

    with world.offline():
        late = world.ended(world.order(home, CommandType.SWITCH_OPEN)).cmd_id
        assert told(late) == (home.meter_no, "expired", Reason.NO_RECEIPT)
    world.pass_hours(0.3)
    assert told(late) == (home.meter_no, "expired", Reason.NO_RECEIPT)
    assert world.house(home, world.now_ms()).switch() is SwitchState.CLOSED  # and it is never carried out


# ---- 5. tamper events -----------------------------------------------------------------------------------------


@pytest.mark.covers("BYPL-5.2")
def test_an_urgent_event_reaches_the_api_in_time_and_once_after_an_outage(world: World, api: Api) -> None:
    """Pre: the meter has logged a tamper event. Post: the MDM shows it within the target, also after a lost link, once."""
    home = world.homes[2]
    codes = BY_NAME["cover_opened"].code, BY_NAME["magnet_on"].code

    def shown(code: int) -> list[dict[str, Any]]:
        return [e for e in api.items(f"meters/{home.meter_no}/events") if e["code"] == code]

    world.spoil(f"event {home.serial} {codes[0]}")
    world.until(lambda: at_edge(world, home, codes[0]), about="the head end has the event")
    since_s = time.monotonic()
    world.until(lambda: shown(codes[0]), ALARM_TARGET_S, "the API shows the event")
    assert time.monotonic() - since_s < ALARM_TARGET_S
    assert shown(codes[0])[0]["urgent"]

    with world.offline():
        world.spoil(f"event {home.serial} {codes[1]}")
        world.until(lambda: at_edge(world, home, codes[1]), about="the head end has the second event")
        assert shown(codes[1]) == []  # buffered
    world.until(lambda: shown(codes[1]), ALARM_TARGET_S, "the API shows the event after the outage")
    world.pass_hours(0.6)  # the log is read again meanwhile, and the link was renewed
    assert [len(shown(code)) for code in codes] == [1, 1]  # once


# ---- 1. collection of the daily profile -----------------------------------------------------------------------


def complete(values: list[int | None]) -> bool:
    return bool(values) and None not in values


def attempts(world: World, key: str, since_s: float) -> list[tuple[float, int]]:
    """(real time, failures so far) of each failed poll in which the head end spoke, as it logged them; what the line's breaker
    held back is not among them."""
    lines = (json.loads(line) for line in (world.deployment.folder / "logs" / "dcu.log").read_text().splitlines())
    told = [(datetime.fromisoformat(x["time"]).timestamp(), x) for x in lines if x["text"].startswith(f"meter {key}: ")]
    return [(at_s, x["failures"]) for at_s, x in told if at_s >= since_s and "asked again in" not in x["text"]]


@pytest.mark.covers("BYPL-1.2a")
def test_a_meter_that_is_mute_three_times_is_asked_with_growing_patience_until_its_record_is_complete(world: World, api: Api) -> None:
    """Pre: a meter stops answering. Post: the MDM has all its intervals, as the meter had them, though they came late."""
    home = world.homes[3]
    key = next(f"{m.line}/{m.address}" for m in world.deployment.street.meters if m.serial == home.serial)
    since_s, from_ms = time.time(), world.now_ms() // QUARTER_MS * QUARTER_MS + QUARTER_MS
    world.spoil(f"mute {home.serial}")
    world.until(lambda: len(attempts(world, key, since_s)) >= 3, 90, "three polls without an answer")
    world.spoil(f"clear {home.serial}")
    world.go_on()  # virtual time had slowed down for the meter that was late
    tried = attempts(world, key, since_s)[:3]
    gaps_s = [later - earlier for (earlier, _), (later, _) in pairwise(tried)]
    assert gaps_s[0] >= FIRST_S  # back-off ...
    assert gaps_s[1] >= 2 * FIRST_S  # ... that doubles
    assert [failures for _, failures in tried] == sorted({failures for _, failures in tried})  # each attempt is logged
    to_ms = max(world.now_ms() // QUARTER_MS, from_ms // QUARTER_MS + 5) * QUARTER_MS
    span = {"from": utc_text(from_ms), "to": utc_text(to_ms)}
    path = f"meters/{home.meter_no}/intervals"
    world.until(lambda: world.now_ms() >= to_ms and complete([i["wh"] for i in api.items(path, **span)]), 90, "the record is complete")
    truth = world.house(home, world.now_ms()).profile(from_ms + QUARTER_MS, to_ms)
    assert [i["wh"] for i in api.items(path, **span)] == [row.import_wh for row in truth]
    assert len(truth) >= 4
