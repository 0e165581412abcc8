"""BYPL 8 and 10, I2 FR1 and NFR6 through the whole chain: settings, resets, self-tests, from a page or the API to the meter and
back. Simulated meters, the real edge core, ingest, stores, API and pages; the clock is wound by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest

from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.seed import SeedUser
from gridtally_shared.contract.channels import BY_NAME as CHANNELS
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Command, CommandType
from gridtally_shared.events import BY_NAME
from gridtally_shared.lifecycle import COMMAND_RULES
from gridtally_shared.meter_settings import ResetKind, unpacked
from gridtally_shared.meter_settings_json import from_json
from gridtally_shared.signing import verify1
from support.chain import SIGNER, Chain, chain
from support.little_street import DCU, MINUTE_MS, QUARTER_MS
from support.web_person import Person
from support.web_street import PASSWORD

DAY_MS = 86_400_000
ROOT = Path(__file__).parents[2]
STAFF = (
    SeedUser("otto", "Otto Operations", Role.OPERATIONS, PASSWORD),
    SeedUser("dora", "Dora Desk", Role.DESK, PASSWORD),
)


def local_midnight(c: Chain, days: int) -> int:
    """Local midnight in Kolkata (UTC+5:30), `days` ahead."""
    offset_ms = 330 * MINUTE_MS
    return (c.now_ms + offset_ms) // DAY_MS * DAY_MS + days * DAY_MS - offset_ms


def evening_calendar(activate_at_ms: int) -> dict[str, Any]:
    """All day at rate 2."""
    return {
        "name": "FLAT2", "activate_at_ms": activate_at_ms, "seasons": [{"name": "S1", "month": 1, "day": 1, "week": "W1"}],
        "weeks": [{"name": "W1", "days": [1] * 7}], "days": [{"day_id": 1, "actions": [{"minute": 0, "rate": 2}]}],
    }  # fmt: skip


def setting(c: Chain, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in c.get("/meters/1/settings")["items"] if row["setting"] == name)
    return found


def rates(c: Chain) -> tuple[int, int]:
    """What the meter has counted at rate 1 and rate 2, read on demand."""
    by_rate = c.street.houses["dlms/1"].registers().rates_wh
    return by_rate[0], by_rate[1]


# ---- 8.2a tariff parameters -----------------------------------------------------------------------------------


@pytest.mark.covers("BYPL-8.2a")
def test_a_calendar_is_written_read_back_equal_and_active_on_its_date(tmp_path: Path) -> None:
    """Pre: a meter without a calendar of ours. Post: read back equal; before its date nothing changes, from then on energy is
    counted at the new rate."""
    with chain(tmp_path) as c:
        at_ms = local_midnight(c, 1)
        body = {"settings": {"activity_calendar": evening_calendar(at_ms)}}
        assert c.send("POST", "/meters/1/settings", "tou", json=body).status_code == 202
        c.carry()
        row = setting(c, "activity_calendar")
        assert row["reported"] == row["wanted"]
        assert row["state"] == "verified"
        before = rates(c)
        c.wait(at_ms - c.now_ms - MINUTE_MS)
        assert rates(c)[1] == before[1]
        c.wait(6 * QUARTER_MS)
        assert rates(c)[1] > before[1]
        assert setting(c, "activity_calendar")["state"] == "active"


# ---- 8.2c register resets -------------------------------------------------------------------------------------


@pytest.mark.covers("BYPL-8.2c")
@pytest.mark.parametrize("what", ["maximum_demand", "tamper", "status"])
def test_staff_with_the_right_reset_a_register_and_others_are_refused(tmp_path: Path, what: str) -> None:
    """Pre: a meter with a demand, tampers counted and a status bit. Post: the desk's order is refused and changes nothing; that of
    operations clears what was named."""
    with chain(tmp_path, users=STAFF) as c:
        house = c.street.houses["dlms/1"]
        for name in ("magnet_on", "magnet_off", "cover_opened"):
            house.report_event(BY_NAME[name].code)
        c.next_quarter(2)
        before = shown(house)
        assert before[what]
        desk = Person(c.app, "dora")
        refused = desk.post("/staff/meters/1/commands", {"kind": "reset", "reset": what, "reason": "x"}, form="/password")
        c.carry()
        assert (refused.status_code, shown(house)[what]) == (403, before[what])
        staff = Person(c.app, "otto")
        sent = staff.post("/staff/meters/1/commands", {"kind": "reset", "reset": what, "reason": "visit"}, form="/staff/meters/1")
        assert sent.status_code == 303
        c.carry()
        command = c.get(f"/commands/{sent.headers['Location'].rsplit('/', 1)[1]}")
        assert (command["state"], command["reason"]) == ("done", "")
        assert not shown(house)[what]


def shown(house: Any) -> dict[str, int]:
    """What each reset is to clear, as the simulated meter itself holds it."""
    return {"maximum_demand": house.snapshot().demand_max_w, "tamper": house.counts().tampers, "status": len(house.status_bits())}


# ---- 8.2d the content of a command ----------------------------------------------------------------------------


@pytest.mark.covers("BYPL-8.2d")
def test_an_urgent_command_overtakes_the_queued_ones_and_each_says_what_it_is_about(tmp_path: Path) -> None:
    """Pre: the uplink is away; a self-test, a calendar, two resets and then a reconnect are ordered. Post: when it is back, the
    reconnect goes first; each command is what the published schema says, and names meter, tariff parameters, register, event type
    and priority."""
    calendar = evening_calendar(0)
    with chain(tmp_path) as c:
        c.cut()
        c.order(1, "a", type="run_diagnostics")
        c.send("POST", "/meters/1/settings", "b", json={"settings": {"activity_calendar": calendar}})
        for reset in ("maximum_demand", "status"):
            c.order(1, reset, type="reset", reset=reset)
        c.order(1, "c", type="switch_close")
        c.connect()
        raw = raw_commands_in(c)
        sent = [decode(Command, body) for body in raw]
        assert sorted(CommandType(x.type).name for x in sent) == ["RESET", "RESET", "RUN_DIAGNOSTICS", "SWITCH_CLOSE", "WRITE_SETTINGS"]
        assert sent[0].type == CommandType.SWITCH_CLOSE
        assert {x.meter_no for x in sent} == {1}
        assert [x.priority for x in sent] == sorted(x.priority for x in sent)
        assert all(x.priority == COMMAND_RULES[CommandType(x.type)][1] for x in sent)
        tariff = next(unpacked(x.settings[0]) for x in sent if x.type == CommandType.WRITE_SETTINGS)
        assert tariff == from_json("activity_calendar", calendar)
        assert {x.reset for x in sent if x.type == CommandType.RESET} == {ResetKind.MAXIMUM_DEMAND, ResetKind.STATUS}
        assert [fault for body in raw for fault in schema_faults("Command", cbor2.loads(body))] == []


def raw_commands_in(c: Chain) -> list[bytes]:
    topic = CHANNELS["command"].topic(DCU)
    return [verify1({SIGNER.key_id: SIGNER.public}, "command", payload) for where, payload in c.sent_down if where == topic]


def schema_faults(name: str, found: dict[int, Any]) -> list[str]:
    """Where a message on the wire is not what docs/asyncapi.json publishes."""
    schema = json.loads((ROOT / "docs" / "asyncapi.json").read_text())["components"]["schemas"][name]
    by_key = {rule["x-key"]: (field, rule) for field, rule in schema["properties"].items()}
    missing = [field for field in schema["required"] if schema["properties"][field]["x-key"] not in found]
    foreign = [f"key {key}" for key in found if key not in by_key]
    wrong = [by_key[key][0] for key, value in found.items() if key in by_key and type(value) not in JSON_TYPES[by_key[key][1]["type"]]]
    return missing + foreign + wrong


JSON_TYPES = {"integer": (int,), "string": (str, bytes), "array": (list,)}


# ---- 8.3 the state of a configuration -------------------------------------------------------------------------


@pytest.mark.covers_part("BYPL-8.3")
def test_a_campaign_goes_from_queued_to_active_and_names_the_meter_that_failed(tmp_path: Path) -> None:
    """Pre: two meters, one of which has stopped answering. Post: one is active, the other failed with its reason."""
    with chain(tmp_path, dlms=2) as c:
        c.cut()
        body = {"name": "cycle", "meters": [1, 2], "settings": {"billing_date": {"day": 7}}}
        assert c.send("POST", "/settings-campaigns", json=body).get_json()["counts"]["queued"] == 2
        c.street.mute.add("dlms/2")
        c.connect()
        c.next_quarter()
        states = {row["meter_no"]: row["state"] for row in c.get("/settings-campaigns/cycle")["items"]}
        assert states[1] == "active"
        c.wait(8 * DAY_MS)
        row = next(r for r in c.get("/settings-campaigns/cycle")["items"] if r["meter_no"] == 2)
        assert row["state"] == "failed"
        assert row["reason"]


# ---- I2: failures of the meter itself -------------------------------------------------------------------------

CRITICAL = ("checksum_failed", "firmware_upgrade_failed", "metrology_failed", "program_failed", "memory_failed", "time_sync_failed")


@pytest.mark.covers_part("I2FR1c")
@pytest.mark.parametrize("name", CRITICAL)
def test_a_critical_failure_is_at_the_mdm_as_urgent_with_its_cim_code(tmp_path: Path, name: str) -> None:
    """Pre: the meter logs the failure. Post: it is in the MDM with the next contact, urgent, once."""
    with chain(tmp_path) as c:
        c.street.houses["dlms/1"].report_event(BY_NAME[name].code)
        c.next_quarter()
        told = [e for e in c.items("/events") if e["code"] == BY_NAME[name].code]
        assert [(e["meter_no"], e["urgent"], e["cim"]) for e in told] == [(1, True, BY_NAME[name].cim)]


def test_a_self_test_on_demand_names_every_check_and_its_result(tmp_path: Path) -> None:
    with chain(tmp_path, users=STAFF) as c:
        sent = c.order(1, "t", type="run_diagnostics")
        assert sent["state"] == "done"
        page = Person(c.app, "otto").get(f"/staff/commands/{sent['cmd_id']}")
        assert "metrology" in page
        assert "passed" in page


# ---- billing and daily values on demand -----------------------------------------------------------------------


def test_daily_values_on_demand_are_the_meters_own(tmp_path: Path) -> None:
    with chain(tmp_path, users=STAFF) as c:
        c.wait(local_midnight(c, 1) - c.now_ms + QUARTER_MS)
        midnight = local_midnight(c, 0)
        from_, to = (_utc(ms) for ms in (midnight - DAY_MS, midnight + MINUTE_MS))
        sent = c.order(1, "d", type="read_daily", **{"from": from_, "to": to})
        assert sent["state"] == "done"
        page = Person(c.app, "otto").get(f"/staff/commands/{sent['cmd_id']}")
        assert "Active energy import" in page


def _utc(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_name_plate_read_on_demand_is_kept_and_shown(tmp_path: Path) -> None:
    with chain(tmp_path, users=STAFF) as c:
        sent = c.order(1, "p", type="read_name_plate")
        assert sent["state"] == "done"
        assert "Gridtally" in Person(c.app, "otto").get(f"/staff/commands/{sent['cmd_id']}")


