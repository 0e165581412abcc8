"""Settings, resets and places of meters for staff and other systems: who may, what is refused and why, what is shown."""

from __future__ import annotations

from typing import Any

import pytest

from gridtally_cloud.meters import settings, topology
from gridtally_cloud.web.tokens import create_token
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.meter_settings import BillingDate
from support.web_person import Person
from support.web_street import WebStreet
from unit.cloud.web.test_api import Program, is_problem, program

METER = "/staff/meters/1"
CALENDAR = {
    "name": "TOU-2", "seasons": [{"name": "S", "month": 1, "day": 1, "week": "W"}], "weeks": [{"name": "W", "days": [1] * 7}],
    "days": [{"day_id": 1, "actions": [{"minute": 0, "rate": 1}, {"minute": 1080, "rate": 2}]}],
}  # fmt: skip


def settings_of(street: WebStreet) -> list[str]:
    with street.pay.db.read() as conn:
        return [f"{v.kind.name} {v.state.value}" for v in settings.of_meter(conn, 1, 0)]


def commands_of(street: WebStreet) -> list[CommandType]:
    from gridtally_cloud.commands import states

    with street.pay.db.read() as conn:
        return [c.type for c in states.of_meter(conn, 1)]


# ---- other systems --------------------------------------------------------------------------------------------


def test_settings_are_ordered_and_shown_with_their_state(street: WebStreet) -> None:
    client = program(street, street.app())
    body = {"settings": {"activity_calendar": CALENDAR, "billing_date": {"day": 5}}}
    answer = client.send("POST", "/meters/1/settings", "k1", json=body)
    assert answer.status_code == 202
    assert answer.headers["Location"].startswith("/api/v1/commands/")
    shown = {row["setting"]: (row["state"], row["reported"]) for row in client.get("/meters/1/settings")["items"]}
    assert shown == {"activity_calendar": ("queued", None), "billing_date": ("queued", None)}
    assert commands_of(street) == [CommandType.WRITE_SETTINGS]


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        ({}, "no-settings", "demand_period"),
        ({"settings": {"colour": {}}}, "bad-setting", "there is no such setting"),
        ({"settings": {"billing_date": {}}}, "bad-setting", "billing_date.day"),
        ({"settings": {"billing_date": {"day": 31}}}, "malformed", "1 to 28"),
        ({"settings": {"form": {"phases": 1, "wires": 2}}}, "malformed", "never written"),
        ({"settings": {"activity_calendar": CALENDAR | {"weeks": []}}}, "malformed", "at least one of each"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_and_nothing_is_ordered(
    street: WebStreet, body: dict[str, Any], kind: str, word: str
) -> None:
    answer = program(street, street.app()).send("POST", "/meters/1/settings", "k", json=body)
    assert is_problem(answer, 422, kind)
    assert word in answer.get_json()["detail"]
    assert (commands_of(street), settings_of(street)) == ([], [])


def test_a_customers_own_token_finds_no_settings_and_no_places(street: WebStreet) -> None:
    own = program(street, street.app(), customer_no=1)
    assert own.send("GET", "/meters/1/settings").status_code == 404
    assert own.send("POST", "/meters/1/settings", "k", json={"settings": {"billing_date": {"day": 5}}}).status_code == 404
    assert own.send("GET", "/topology").status_code == 403
    assert commands_of(street) == []


def test_a_campaign_orders_each_meter_once_and_says_who_was_refused(street: WebStreet) -> None:
    client = program(street, street.app())
    body = {"name": "spring", "meters": [1, 2, 99], "settings": {"capture_period": {"period_s": 900}}}
    for _ in range(2):
        answer = client.send("POST", "/settings-campaigns", json=body)
        assert answer.status_code == 202
        assert [r["meter_no"] for r in answer.get_json()["refused"]] == [99]
    assert client.get("/settings-campaigns/spring")["counts"]["queued"] == 2
    assert commands_of(street) == [CommandType.WRITE_SETTINGS]
    assert client.send("GET", "/settings-campaigns/autumn").status_code == 404
    assert is_problem(client.send("POST", "/settings-campaigns", json=body | {"meters": []}), 422, "no-meters")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"type": "reset", "reset": "maximum_demand"}, CommandType.RESET),
        ({"type": "set_clock"}, CommandType.SET_CLOCK),
        ({"type": "run_diagnostics"}, CommandType.RUN_DIAGNOSTICS),
        ({"type": "token", "token": "1234 5678 9012 3456 7890"}, CommandType.TOKEN),
        ({"type": "limit", "limit_w": 700}, CommandType.LIMIT),
        ({"type": "read_name_plate"}, CommandType.READ_NAME_PLATE),
        ({"type": "read_settings", "settings": ["billing_date", "load_limit"]}, CommandType.READ_SETTINGS),
        ({"type": "read_daily", "from": "2026-10-01T00:00:00Z", "to": "2026-10-02T00:00:00Z"}, CommandType.READ_DAILY),
        ({"type": "read_billing", "from": "2026-10-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"}, CommandType.READ_BILLING),
    ],
)
def test_every_service_command_is_taken_over_the_api(street: WebStreet, body: dict[str, Any], kind: CommandType) -> None:
    assert program(street, street.app()).send("POST", "/meters/1/commands", "k", json=body).status_code == 202
    assert commands_of(street) == [kind]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"type": "reset", "reset": "everything"}, "unknown-reset"),
        ({"type": "read_settings"}, "no-settings"),
        ({"type": "token", "token": "1234"}, "bad-token"),
        ({"type": "limit", "limit_w": -1}, "bad-limit"),
        ({"type": "read_settings", "settings": ["colour"]}, "bad-setting"),
        ({"type": "read_daily"}, "malformed"),
    ],
)
def test_an_incomplete_service_command_is_refused(street: WebStreet, body: dict[str, Any], problem: str) -> None:
    assert is_problem(program(street, street.app()).send("POST", "/meters/1/commands", "k", json=body), 422, problem)
    assert commands_of(street) == []


@pytest.mark.parametrize(
    ("path", "query"),
    [("/event-groups", {"by": "maker"}), ("/chronic-failures", {"least": "2"}), ("/topology", {"dcu": "x"}), ("/meters/1/places", {})],
)
def test_what_is_empty_is_an_empty_list(street: WebStreet, path: str, query: dict[str, str]) -> None:
    assert program(street, street.app()).get(path, **query)["items"] == []


@pytest.mark.parametrize(("path", "kind"), [("/event-groups?by=colour", "unknown-group"), ("/chronic-failures?least=1", "bad-least")])
def test_a_wrong_question_is_a_problem(street: WebStreet, path: str, kind: str) -> None:
    assert is_problem(program(street, street.app()).send("GET", path), 422, kind)


# ---- staff ----------------------------------------------------------------------------------------------------


@pytest.mark.covers_part("BYPL-8.2c")
@pytest.mark.parametrize(("login", "status"), [("otto", 303), ("dora", 403), ("asha", 403)])
def test_only_staff_of_operations_may_reset(street: WebStreet, login: str, status: int) -> None:
    person = Person(street.app(), login)
    form = METER if login == "otto" else "/password"
    sent = person.post(f"{METER}/commands", {"kind": "reset", "reset": "tamper", "reason": "after the visit"}, form=form)
    assert sent.status_code == status
    assert commands_of(street) == ([CommandType.RESET] if login == "otto" else [])


def test_a_reset_without_a_reason_or_a_name_sends_nothing(street: WebStreet) -> None:
    otto = Person(street.app(), "otto")
    for fields in ({"reset": "tamper"}, {"reason": "why not", "reset": "everything"}):
        assert otto.post(f"{METER}/commands", {"kind": "reset"} | fields, form=METER).status_code == 422
    assert commands_of(street) == []


def test_the_meters_page_shows_settings_and_how_far_they_are(street: WebStreet) -> None:
    with street.pay.db.write() as conn:
        settings.order(conn, street.pay.payments.signer, 1, (BillingDate(5, 0),), "staff:otto", SystemClock().now_ms())
    page = Person(street.app(), "otto").get(METER)
    assert "Billing date" in page
    assert "Queued" in page
    assert "day 5" in page


def test_the_topology_names_concentrator_line_and_parent(street: WebStreet) -> None:
    with street.pay.db.write() as conn:
        topology._move(conn, "M-1", {"dcu": "d", "line": "plc", "address": "1", "parent": "p", "hops": 2, "node": "n"}, 1_000)
        token = create_token(conn, "map", ("meters:read",), SystemClock().now_ms(), "test")
    [place] = Program(street.app(), token).get("/topology")["items"]
    assert (place["serial"], place["dcu"], place["line"], place["parent"], place["hops"], place["to"]) == ("M-1", "d", "plc", "p", 2, None)
