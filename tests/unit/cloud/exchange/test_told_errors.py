"""ETSI 5.2.3, alternative flow, on the whole chain: each of the four failures is recorded with type and instant and told."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path

import pytest

from gridtally_cloud.exchange import recipients
from gridtally_cloud.exchange.delivering import deliver_due
from gridtally_cloud.exchange.read_errors import tell_recipients
from gridtally_cloud.exchange.sending import send_due
from gridtally_cloud.integrations.stubs.receiver import Receiver
from gridtally_edge.simulators.house_checks import HouseFault
from support.chain import Chain, chain

TWO_HOURS_MS = 7_200_000


def turn(c: Chain) -> None:
    """What the MDM's worker does."""
    tell_recipients(c.db, c.now_ms)
    send_due(c.db, "me", lambda: c.now_ms)
    deliver_due(c.db, c.now_ms)


def until_event(c: Chain, name: str) -> None:
    for _ in range(6):
        c.wait(TWO_HOURS_MS)
        if name in [e["name"] for e in c.items("/events")]:
            return
    raise AssertionError(f"no {name}")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def posted(c: Chain, path: str, status: int, **body: object) -> dict[str, str]:
    answer = c.send("POST", path, json=body)
    assert answer.status_code == status, answer.get_data(as_text=True)
    found: dict[str, str] = answer.get_json()
    return found


@pytest.mark.covers("ETSI-5.2.3-alt-2", "ETSI-5.2.3-alt-3+post")
def test_each_failure_is_recorded_with_its_type_and_instant_and_told_to_the_recipient(tmp_path: Path) -> None:
    """Pre: a recipient with a schedule. The meter's clock is invalid (1a), its memory fails (1b), the recipient is down (1c), and asks for
    what is not there (1d). Post: an error of each with type and instant; when the recipient is there it has a notice of each, and its
    data."""
    with chain(tmp_path) as c, Receiver() as market:
        with c.db.write() as conn:
            _, secrets = recipients.add(conn, "market", (market.url,), "", c.now_ms, "test")
        market.secret = secrets[market.url]
        due = c.now_ms // 60_000 % 1_440 + 60
        posted(c, "/recipients/market/schedules", 201, name="daily", kind="reads", format="csv", at=f"{due // 60:02}:{due % 60:02}")
        house, began_ms = c.street.houses["dlms/1"], c.now_ms
        house.inject(HouseFault.MEMORY)
        until_event(c, "memory_failed")
        house.inject(HouseFault.MEMORY, 0)
        house.inject(HouseFault.CLOCK)
        until_event(c, "clock_invalid")
        market.refuse = 1_000
        turn(c)
        asked = posted(c, "/recipients/market/requests", 422, usage_points=["99"], **{"from": "2026-09-20", "to": "2026-09-20"})
        assert (asked["type"].rsplit("/", 1)[1], ms(asked["at"])) == ("unknown-usage-point", c.now_ms)

        errors = {e["type"]: e for e in c.items("/recipients/market/errors")}
        assert sorted(errors) == ["not_recorded", "not_registered", "not_sent", "not_valid"]
        assert [e["detail"].partition(" at ")[0] for e in (errors["not_recorded"], errors["not_registered"])] \
            == ["memory_failed", "clock_invalid"]
        assert all(began_ms < ms(e["at"]) <= c.now_ms for e in errors.values())
        assert market.files == {}

        market.refuse = 0
        c.wait(60_000)
        turn(c)
        notices = [json.loads(body) for name, body in market.files.items() if name.startswith("error")]
        assert {n["error"]: (n["at"], n["ref"], n["detail"]) for n in notices} \
            == {kind: (e["at"], e["ref"], e["detail"]) for kind, e in errors.items()}
        assert {d["state"] for d in c.items("/recipients/market/deliveries")} == {"taken"}
        (data,) = [d for d in c.items("/recipients/market/deliveries") if d["kind"] == "data"]
        assert hashlib.sha256(market.files[data["name"]]).hexdigest() == data["sha256"]
