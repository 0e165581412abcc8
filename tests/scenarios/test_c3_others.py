"""Seed 002: what other systems are told, and a customer without power. Both ends are real; the receiver is a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gridtally_cloud.integrations import webhook_sending
from gridtally_cloud.integrations.stubs.receiver import Receiver
from gridtally_cloud.integrations.webhooks import Topic
from gridtally_cloud.store import close
from gridtally_cloud.workorders import no_power
from gridtally_cloud.workorders.service import OrderKind
from gridtally_shared.contract import messages as m
from gridtally_shared.money import nano
from support.town import Town, town
from support.web_words import plain

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


@pytest.fixture
def acacia(tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path, opening="150") as made:
        made.connect()
        made.next_quarter()
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def listen(t: Town, receiver: Receiver, *topics: Topic) -> int:
    """Add the receiver through the API, as an administrator would."""
    answer = t.send("POST", "/webhooks", json={"name": "billing", "url": receiver.url, "topics": [x.value for x in topics]})
    assert answer.status_code == 201, answer.get_data(as_text=True)
    receiver.secret = answer.get_json()["secret"]
    return int(answer.get_json()["webhook_no"])


def tell(t: Town) -> int:
    return webhook_sending.send_due(t.db, t.now_ms)


def fetch(t: Town, notice: dict[str, Any]) -> Any:
    """What a notice points at, as the receiver would ask for it."""
    return t.get(notice["href"].removeprefix("/api/v1"))


# ---- receipts, tests, schedules, balances and usage are offered ---------------------------------------------------


@pytest.mark.covers("C3-S1.10", "C3-S2.12", "C3-A2.5")
def test_a_receipt_is_logged_and_shown_by_the_api_and_by_a_webhook(acacia: Town, receiver: Receiver) -> None:
    """Of money, of a schedule and of a message: the MDM has the receipt, and offers it both ways."""
    listen(acacia, receiver, Topic.CREDIT_APPLIED, Topic.COMMAND_ENDED, Topic.SCHEDULE_CHANGED)
    receiver.refuse = 1  # the first try is lost
    acacia.pay("100")
    entry = next(e for e, _ in acacia.mirrored() if e.gseq == 2)
    assert tell(acacia) == 0
    acacia.wait(5_000)
    assert tell(acacia) == 1
    (told,) = receiver.told("credit.applied")
    assert (told["data"]["account_no"], told["data"]["meter_no"]) == (acacia.account_no(), acacia.meter_no())
    assert (told["data"]["amount"], told["data"]["seq"]) == ("100", entry.seq + 1)  # the message follows its credit
    ledger = fetch(acacia, told)["items"]
    assert next(x for x in ledger if x["seq"] == entry.seq)["amount"] == "100"

    start_ms = acacia.now_ms + 2 * HOUR_MS
    made = acacia.send("POST", f"/accounts/{acacia.account_no()}/schedules", "s1", json={
        "programme": "A", "start": iso(start_ms), "end": iso(start_ms + HOUR_MS)})  # fmt: skip
    assert made.status_code == 202
    acacia.carry()
    tell(acacia)
    assert [x["data"]["schedule_no"] for x in receiver.told("schedule.changed")] == [made.get_json()["schedule_no"]]
    acacia.next_quarter(13)
    tell(acacia)
    ended = [x for x in receiver.told("command.ended") if x["data"]["type"] == "schedule"]
    assert [(x["data"]["state"], fetch(acacia, x)["state"]) for x in ended] == [("done", "done")]

    message = acacia.command(m.CommandType.SWITCH_OPEN)
    acacia.carry()
    tell(acacia)
    told = next(x for x in receiver.told("command.ended") if x["data"]["cmd_id"] == message.hex())
    logged = fetch(acacia, told)
    assert (told["data"]["state"], logged["state"], logged["meter_no"]) == ("done", "done", acacia.meter_no())
    assert "done" in [s["state"] for s in logged["steps"]]
    assert receiver.unverified == 0


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


@pytest.mark.covers("C3-FR31", "C3-A3.7", "C3-A3.4")
def test_usage_logs_tests_schedules_and_balance_are_offered_both_ways(acacia: Town, receiver: Receiver) -> None:
    """Each has its resource, and its notice that points there."""
    listen(acacia, receiver, *Topic)
    test = acacia.command(m.CommandType.TEST_SUPPLY)
    acacia.carry()
    start_ms = acacia.now_ms + 3 * DAY_MS
    acacia.send("POST", f"/accounts/{acacia.account_no()}/schedules", "s2", json={
        "programme": "A", "start": iso(start_ms), "end": iso(start_ms + HOUR_MS)})  # fmt: skip
    acacia.next_quarter(8)
    with acacia.db.write() as conn:
        close.close_day(conn, acacia.now_ms // DAY_MS, 1, acacia.now_ms)
    while tell(acacia):
        continue

    (found,) = receiver.told("supply.tested")
    assert found["data"]["cmd_id"] == test.hex()
    assert (found["data"]["verdict"], found["data"]["connected"]) == ("passed", True)
    assert found["data"]["voltage_mv"] > 200_000
    assert found["data"]["load_side_mv"] > 200_000  # with connection, energised and current: the four results ...
    assert found["data"]["current_ma"] > 0
    asked = fetch(acacia, found)
    took = datetime.fromisoformat(asked["state_at"]) - datetime.fromisoformat(asked["issued_at"])
    assert 0 <= took.total_seconds() <= 60  # ... within a minute
    result = asked["test"]
    assert {name: found["data"][name] for name in result} == result  # test results

    commands = acacia.items(f"/meters/{acacia.meter_no()}/commands")  # logs
    assert {x["data"]["cmd_id"] for x in receiver.told("command.ended") if x["data"]["meter_no"] == acacia.meter_no()} \
        == {c["cmd_id"] for c in commands if c["state"] in ("done", "failed", "refused")}
    assert all(c["steps"] for c in commands)

    (planned,) = receiver.told("schedule.changed")
    assert fetch(acacia, planned)["state"] == planned["data"]["state"] == "planned"

    balance = [x for x in receiver.told("balance.reported") if x["data"]["account_no"] == acacia.account_no()][-1]
    assert nano(fetch(acacia, balance)["balance"]) <= nano(balance["data"]["balance"]) <= nano("150")

    usage = receiver.told("usage.closed")[0]
    assert usage["data"]["meter_no"] == acacia.meter_no()
    assert fetch(acacia, usage)["items"]


def test_a_receiver_is_told_what_it_asked_for_and_nobody_else_can_speak_for_us(acacia: Town, receiver: Receiver) -> None:
    """A wrong address or topic is refused and named; a forged notice is not taken; what was ended is told no more."""
    for body, why in (({"url": "http://billing.example.org/"}, "bad-url"), ({"topics": ["everything"]}, "unknown-topic"),
                      ({"url": "https://user:word@example.org/"}, "bad-url"), ({"name": " "}, "no-name")):  # fmt: skip
        asked = {"name": "x", "url": receiver.url, "topics": ["order.opened"]} | body
        answer = acacia.send("POST", "/webhooks", json=asked)
        assert (answer.status_code, answer.get_json()["type"].rsplit("/", 1)[1]) == (422, why)
    number = listen(acacia, receiver, Topic.COMMAND_ENDED)
    assert receiver.take(999, "t=1,v1=00", b"{}") == 401
    acacia.command(m.CommandType.READ_SWITCH)
    acacia.carry()
    assert tell(acacia) == 1
    (notice,) = acacia.items(f"/webhooks/{number}/notices")
    assert (notice["state"], notice["attempts"]) == ("taken", 1)
    acacia.send("POST", f"/webhook-notices/{notice['notice_no']}/send")
    assert tell(acacia) == 1
    assert len(receiver.notices) == 1  # the same number: a receiver leaves out what it has
    acacia.send("POST", f"/webhooks/{number}/end")
    acacia.command(m.CommandType.READ_SWITCH)
    acacia.carry()
    assert tell(acacia) == 0


# ---- no power ------------------------------------------------------------------------------------------------------


def orders(t: Town) -> dict[str, dict[str, Any]]:
    return {o["kind"]: o for o in t.items("/orders", state="open")}


@pytest.mark.covers("C3-A3.1")
def test_a_customer_reports_no_power_and_the_supply_is_tested_at_once(acacia: Town) -> None:
    """On the portal, by the desk and by an app: one case of the type no-power; the desk sees the answer of the meter on it."""
    asha, no = acacia.person("asha"), acacia.account_no()
    said = asha.post(f"/account/{no}/no-power", {}, form=f"/account/{no}/")
    assert said.status_code == 303
    case = orders(acacia)["no_power"]
    assert (case["account_no"], case["meter_no"], case["reason"]) == (no, acacia.meter_no(), "reported")
    assert f"Case {case['order_no']} is open" in plain(asha.get(f"/account/{no}/"))
    acacia.carry()
    no_power.judge(acacia.db, acacia.now_ms)
    page = plain(acacia.person("dora").get("/desk/work/"))
    assert "No power" in page
    assert "Test of the supply" in page
    assert " V " in page  # volts, as the meter said
    assert set(orders(acacia)) == {"no_power"}  # the test passed: nobody is sent

    answer = acacia.send("POST", f"/accounts/{no}/no-power")
    assert answer.get_json()["order_no"] == case["order_no"]  # the same case while it is open
    acacia.person("dora").post(f"/desk/work/{case['order_no']}/done", {"note": "fuse"}, form="/desk/work/")
    assert orders(acacia) == {}
    acacia.person("dora").post(f"/desk/work/no-power/{no}", {}, form=f"/desk/accounts/{no}")
    assert orders(acacia)["no_power"]["opened_by"] == "staff:dora"
    assert acacia.send("POST", "/accounts/999/no-power").status_code == 404


@pytest.mark.covers("C3-A3.10")
def test_a_test_that_failed_and_a_supply_that_stays_dark_send_people_by_themselves(acacia: Town, receiver: Receiver) -> None:
    """Silent meter; passed and still dark; ordered on and stuck: a field order and a trouble order each, once, told to others."""
    listen(acacia, receiver, Topic.ORDER_OPENED)
    acacia.send("POST", f"/accounts/{acacia.account_no()}/no-power")
    acacia.carry()
    no_power.judge(acacia.db, acacia.now_ms)
    assert set(orders(acacia)) == {"no_power"}  # the test passed, and it is dark all the same
    acacia.person("dora").post(f"/desk/work/{orders(acacia)['no_power']['order_no']}/dark", {}, form="/desk/work/")
    assert {kind: o["reason"] for kind, o in orders(acacia).items()} == {
        "no_power": "reported", "field": "still_no_power", "trouble": "still_no_power"}  # fmt: skip
    for found in orders(acacia).values():
        acacia.send("POST", f"/orders/{found['order_no']}/close", json={})

    acacia.street.mute.add("dlms/1")
    acacia.send("POST", f"/accounts/{acacia.account_no()}/no-power")
    acacia.carry()
    acacia.wait(3 * 60_000)
    for _ in range(2):
        no_power.judge(acacia.db, acacia.now_ms)
    found = orders(acacia)
    assert set(found) == {"field", "no_power", "trouble"}
    assert {found[kind]["opened_by"] for kind in ("field", "trouble")} == {no_power.ACTOR}
    assert {found[kind]["reason"] for kind in ("field", "trouble")} <= {"test_silent", "test_unanswered"}
    while tell(acacia):
        continue
    told = receiver.told("order.opened")
    assert sorted(x["data"]["kind"] for x in told) == sorted(2 * ["field", "no_power", "trouble"])
    assert {o["order_no"] for o in found.values()} <= {fetch(acacia, x)["order_no"] for x in told}

    # an order to switch on that fails
    acacia.street.mute.clear()
    for closed in found.values():
        acacia.send("POST", f"/orders/{closed['order_no']}/close", json={})
    acacia.command(m.CommandType.SWITCH_OPEN)
    acacia.carry()
    acacia.house().jam(True)
    acacia.command(m.CommandType.SWITCH_CLOSE)
    acacia.carry()
    acacia.next_quarter(2)
    no_power.judge(acacia.db, acacia.now_ms)
    assert set(orders(acacia)) == {"field", "trouble"}
    assert {o["reason"] for o in orders(acacia).values()} == {"restore_failed"}
    number = orders(acacia)[OrderKind.FIELD.value]["order_no"]
    done = acacia.send("POST", f"/orders/{number}/close", json={"note": "contactor changed", "result": {"seal": "S-17"}})
    assert (done.status_code, done.get_json()["state"]) == (200, "done")
    assert acacia.send("POST", f"/orders/{number}/close", json={}).status_code == 409
    assert acacia.send("POST", "/orders/999/close", json={}).status_code == 404
    assert acacia.send("POST", f"/orders/{number}/close", json={"state": "lost"}).status_code == 422
    no_power.judge(acacia.db, acacia.now_ms)
    assert set(orders(acacia)) == {"trouble"}  # the same failure opens nothing twice
