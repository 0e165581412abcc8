"""Seed 002: load limits for who owes bills, orders of other systems, schedules from the booking to the money that goes back."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from gridtally_cloud.billing import receivables
from gridtally_cloud.billing.tables import bill
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.contact_tables import consumer_message
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.prepay import arrears, restores_cli
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.restores import restores
from gridtally_cloud.programs import money, reads
from gridtally_edge.drivers.model import SwitchState
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.meter_settings import SettingKind
from gridtally_shared.money import nano
from support.chain import SIGNER, Chain, chain
from support.little_street import MINUTE_MS, QUARTER_MS
from support.town import Town, town
from support.web_words import plain

HOUR_MS = 3_600_000


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def limit_w(t: Chain) -> int:
    """What the first meter's own limiter holds."""
    return int(t.street.houses["dlms/1"].setting(SettingKind.LOAD_LIMIT).threshold_w)


def post(t: Chain, path: str, key: str = "", **body: Any) -> tuple[int, dict[str, Any]]:
    answer = t.send("POST", path, key, json=body)
    t.carry()
    return answer.status_code, dict(answer.get_json())


@pytest.mark.covers("C3-N5")
def test_who_owes_bills_is_told_limited_and_free_with_the_payment(tmp_path: Path) -> None:
    """Pre: a postpaid home with an overdue bill, and one that is not due. Post: limited after its notice for the first, on all the time,
    free when it has paid that."""
    with chain(tmp_path, postpaid=1) as c:
        no = c.homes[0].account_no
        path = f"/accounts/{no}/arrears-limit"
        assert post(c, path, watts=900)[1]["type"].endswith("nothing-owed")
        with c.db.write() as conn:
            conn.execute(insert(bill).values(
                bill_no="B-2", account_no=no, kind="bill", from_ms=1, to_ms=2, currency="INR", charged_nano=nano("80"), document="{}",
                closing_nano=nano("80"), issued_ms=c.now_ms, due_ms=c.now_ms + 14 * 24 * HOUR_MS,
            ))  # fmt: skip
            receivables.post_bill(conn, account_of(conn, no), nano("80"), "B-2", c.now_ms)
        status, refused = post(c, path, watts=900)
        assert (status, refused["type"].rpartition("/")[2]) == (422, "not-due")
        assert "order again from that day on" in refused["detail"]
        with c.db.write() as conn:
            receivables.post_bill(conn, account_of(conn, no), nano("500"), "B-1", c.now_ms)
        assert post(c, path, watts=5)[1]["type"].endswith("bad-watts")
        status, told = post(c, path, watts=900, hours=1)
        assert (status, told["state"], told["owed"]) == (202, "told", "500")
        with c.db.read() as conn:
            said = conn.execute(select(consumer_message.c.text).where(consumer_message.c.code == "limit_soon")).scalar_one()
        assert "500.00" in said.replace("\xa0", " ")
        assert "900 W" in said
        assert post(c, path, watts=900)[1]["type"].endswith("limited-already")

        c.wait(30 * MINUTE_MS)
        arrears.carry_out(c.db, SIGNER, c.now_ms)
        c.carry()
        assert limit_w(c) == 0  # the notice runs
        c.wait(31 * MINUTE_MS)
        arrears.carry_out(c.db, SIGNER, c.now_ms)
        c.carry()
        c.wait(MINUTE_MS)
        assert limit_w(c) == 900
        assert c.get(f"/accounts/{no}")["mode"] == "postpaid"
        assert c.street.houses["dlms/1"].switch() is SwitchState.CLOSED

        with c.db.write() as conn:
            receivables.post_payment(conn, account_of(conn, no), nano("500"), 1, c.now_ms)
        arrears.carry_out(c.db, SIGNER, c.now_ms)
        c.carry()
        c.wait(MINUTE_MS)
        assert limit_w(c) == 0
        with c.db.read() as conn:
            assert [(x.state.value, x.reason) for x in arrears.limits(conn, no)] == [("lifted", "paid")]
            assert receivables.outstanding_nano(conn, no) == nano("80")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Town]:
    """A hall that lets others hold events (home 0), and who asks for one (home 1)."""
    with town(tmp_path, dlms=2, opening="150") as made:
        made.connect()
        made.next_quarter()
        with made.db.write() as conn:
            money.allow_events(conn, made.account_no(0), True, "test", made.now_ms)
        yield made


@pytest.mark.covers("C3-FR32")
def test_other_systems_order_by_token_and_each_request_is_on_record(pair: Town) -> None:
    """Schedules, connect, disconnect, limit, tests: accepted, carried out, and logged with who asked."""
    meter, no = pair.meter_no(), pair.account_no()
    assert pair.order(meter, "d", type="switch_open", reason="moved out")["state"] == "done"
    assert pair.is_dark()
    assert pair.order(meter, "c", type="switch_close")["state"] == "done"
    assert not pair.is_dark()
    assert pair.order(meter, "t", type="test_supply")["test"]["verdict"] == "passed"
    assert post(pair, f"/accounts/{no}/limit", watts=900)[0] == 202
    pair.wait(MINUTE_MS)
    assert limit_w(pair) == 900
    assert post(pair, f"/accounts/{no}/limit", watts=0)[0] == 202
    pair.wait(MINUTE_MS)
    assert limit_w(pair) == 0
    start_ms = pair.now_ms + HOUR_MS
    status, booked = post(pair, f"/accounts/{no}/schedules", "s", programme="A", start=iso(start_ms), end=iso(start_ms + HOUR_MS))
    assert status == 202
    pair.carry()

    commands = pair.items(f"/meters/{meter}/commands")
    assert {c["type"] for c in commands} >= {"switch_open", "switch_close", "test_supply", "schedule"}
    assert {c["requested_by"] for c in commands} == {"api:town"}
    assert all(c["steps"][0]["by"] == "api:town" for c in commands)
    assert pair.get(f"/schedules/{booked['schedule_no']}")["state"] == "held"
    with pair.db.read() as conn:
        found = audit_rows(conn, subject=f"account:{no}")
    assert [(r.actor, r.action) for r in found if "limit" in r.action] == [("api:town", "instrument.limit_set")] * 2
    assert post(pair, f"/accounts/{no}/limit", watts=-1)[0] == 422
    assert pair.send("POST", f"/accounts/{no}/limit", token="gt1_nobody", json={"watts": 1}).status_code == 401


@pytest.mark.covers("C3-S3.7", "C3-S3.9")
def test_an_event_is_paid_by_who_asked_ended_early_or_overrun_and_the_hall_pays_nothing(pair: Town) -> None:
    hall, asker = pair.account_no(0), pair.account_no(1)

    def book(key: str, credit: str, minutes: int) -> int:
        start_ms = pair.now_ms - pair.now_ms % QUARTER_MS + 2 * QUARTER_MS
        status, made = post(pair, f"/accounts/{hall}/schedules", key, programme="B", requester_no=asker, credit=credit,
                            start=iso(start_ms), end=iso(start_ms + minutes * MINUTE_MS), title="Wedding")  # fmt: skip
        assert status == 202, made
        return int(made["schedule_no"])

    def own() -> int:
        """The hall's own balance, as its display has it."""
        return pair.display(0).balance_nano

    def until(number: int, state: str) -> dict[str, Any]:
        for _ in range(20):
            found = pair.get(f"/schedules/{number}")
            if found["state"] == state:
                return dict(found)
            pair.next_quarter()
            with pair.db.write() as conn:
                money.settle_ended(conn, SIGNER, pair.now_ms)
            pair.carry()
        raise AssertionError(f"schedule {number} is {found['state']}, not {state}")

    # funded by who asked, ended early: the charges stop, the rest goes back
    before = nano(pair.get(f"/accounts/{asker}/balance")["balance"])
    event = book("e1", "40", 240)
    until(event, "running")
    assert nano(pair.get(f"/accounts/{asker}/balance")["balance"]) <= before - nano("40")
    pair.next_quarter(2)
    before = own()
    pair.next_quarter(2)
    assert own() == before  # the hall pays nothing while it runs
    assert post(pair, f"/schedules/{event}/cancel")[0] == 202
    ended = until(event, "ended")
    used = nano(ended["spent"])
    assert 0 < used < nano("40")
    with pair.db.read() as conn:
        rows = money_rows(conn, event)
        back = conn.execute(select(receivables.receivable.c.amount_nano)).all()
    assert rows["event"] == 0
    assert rows["energy"] == used
    assert rows["requester"] == -used
    assert back == []  # nobody owes anything
    before = own()
    pair.next_quarter(2)
    assert pair.get(f"/schedules/{event}")["spent"] == ended["spent"]  # stopped
    assert own() < before  # the hall uses for itself again

    # overrun: what is above the credit is the requester's, until the event ends; the hall's bill stays untouched
    short = book("e2", "0.50", 90)
    until(short, "running")
    pair.next_quarter()
    before = own()
    pair.next_quarter(3)
    assert own() == before
    over = until(short, "ended")
    assert nano(over["spent"]) > nano("0.50")
    assert not pair.is_dark()
    with pair.db.read() as conn:
        assert receivables.outstanding_nano(conn, asker) == nano(over["spent"]) - nano("0.50")
        assert receivables.outstanding_nano(conn, hall) == 0
        assert reconcile(conn, hall) == ()


@pytest.mark.covers("C3-FR16", "C3-FR30")
def test_five_schedules_of_one_supply_all_run_and_a_sixth_is_sent_by_the_button(pair: Town) -> None:
    no, numbers = pair.account_no(), []
    begin_ms = pair.now_ms - pair.now_ms % QUARTER_MS + 2 * QUARTER_MS
    for n in range(5):
        start_ms = begin_ms + 2 * n * QUARTER_MS
        status, made = post(pair, f"/accounts/{no}/schedules", f"f{n}", programme="A", start=iso(start_ms), end=iso(start_ms + QUARTER_MS))
        assert status == 202
        numbers.append(made["schedule_no"])
    far_ms = begin_ms + 72 * HOUR_MS
    _, far = post(pair, f"/accounts/{no}/schedules", "far", programme="A", start=iso(far_ms), end=iso(far_ms + HOUR_MS))
    assert far["state"] == "planned"
    held = "SELECT count(*) FROM command WHERE type = ?"
    before = pair.money.execute(held, (int(CommandType.SCHEDULE),)).fetchone()[0]

    dora = pair.person("dora")
    assert "Send now" in plain(dora.get("/desk/schedules/"))
    assert dora.post(f"/desk/schedules/{far['schedule_no']}/send", {}, form="/desk/schedules/").status_code == 303
    pair.carry()
    assert pair.get(f"/schedules/{far['schedule_no']}")["state"] == "held"  # three days ahead, at the concentrator now
    assert pair.money.execute(held, (int(CommandType.SCHEDULE),)).fetchone()[0] == before + 1

    pair.next_quarter(14)
    assert [pair.get(f"/schedules/{number}")["state"] for number in numbers] == ["ended"] * 5


def money_rows(conn: Any, number: int) -> dict[str, int]:
    """What each holder has put in or has of an event's money."""
    totals: dict[str, int] = {}
    for row in reads.money(conn, number):
        name = row.holder.partition(":")[0]
        totals[name] = totals.get(name, 0) + row.amount_nano
    return totals


@pytest.mark.covers("BYPL-4.5")
def test_from_the_payment_to_the_closed_relay_is_measured_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A home that was cut at zero pays; and a command of the desk closes it again later. Both are done; the first one is measured."""
    with town(tmp_path, opening="5") as t:
        t.connect()
        t.live(t.is_dark)
        t.wait(MINUTE_MS)
        paid_ms = t.now_ms
        t.pay("250")
        assert not t.is_dark()
        closed = [e for e, _ in t.mirrored() if e.kind == Kind.SWITCH][-1]
        with t.db.read() as conn:
            (found,) = restores(conn, 0)
        assert (found.account_no, found.paid_ms, found.closed_ms) == (t.account_no(), paid_ms, closed.at_ms)
        assert 0 <= found.took_ms <= 60_000

        opened = t.command(CommandType.SWITCH_OPEN)
        t.carry()
        ordered = t.command(CommandType.SWITCH_CLOSE)
        t.carry()
        assert [t.commanded(x).state for x in (opened, ordered)] == [CommandState.DONE] * 2  # forwarded, and done
        with t.db.read() as conn:
            assert len(restores(conn, 0)) == 1  # that one was not a payment's

        parser = argparse.ArgumentParser()
        desk = Desk(t.db, t.payments, t.street.clock)
        restores_cli.add_parser(parser.add_subparsers(), lambda _: nullcontext(desk))
        chosen = parser.parse_args(["restores"])
        assert chosen.run(chosen) == 0
        assert capsys.readouterr().out.startswith("1 of 1 supplies were back within 60 s of the payment;")
