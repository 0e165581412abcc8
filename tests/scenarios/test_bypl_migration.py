"""Seed 000, use cases 13 and 14: a consumer moves from bills to prepayment and back, each step from the request to the notice at CIS.

Both ends are real, with one clock wound by hand; CIS, billing and work force management are one receiver of webhooks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gridtally_cloud.billing.model import BillKind
from gridtally_cloud.billing.service import list_bills
from gridtally_cloud.billing.store import load_bill
from gridtally_cloud.commands.model import CommandView
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.integrations import webhook_sending
from gridtally_cloud.integrations.stubs.receiver import Receiver
from gridtally_cloud.integrations.webhooks import Topic
from gridtally_cloud.prepay import migration, migration_reads, migration_rows, policies
from gridtally_cloud.prepay.held_credit import difference, held_in
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.settling import settle
from gridtally_cloud.prepay.wallet import balance
from gridtally_cloud.store.tables import account_mirror
from gridtally_cloud.web.site import WebSettings
from gridtally_cloud.web.tokens import create_token
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.sync.mqtt import Arrived
from gridtally_shared import cbor
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract.channels import parse_topic
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, Instrument, InstrumentType, Intervals, Readings
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.meter_settings import HeldCredit, Payment
from gridtally_shared.money import decimal_text, nano
from gridtally_shared.quantities import ENERGY_IMPORT
from gridtally_shared.signing import open_unverified
from support.chain import SIGNER, Chain, chain

MODE = CommandType.WRITE_SETTINGS
POLICY = json.dumps({"kind": "policy", "code": "cuts", "currency": "INR", "zero_action": "disconnect", "offline": {"cut": "allowed"}})
READS = {CommandType.READ_INSTANT, CommandType.READ_INTERVALS, CommandType.READ_EVENTS}


@contextmanager
def told(c: Chain) -> Iterator[Receiver]:
    """CIS, which wants to know everything of these use cases."""
    with Receiver() as cis:
        topics = [Topic.MIGRATION_CHANGED, Topic.MODE_CHANGED, Topic.ORDER_OPENED]
        made = c.send("POST", "/webhooks", json={"name": "cis", "url": cis.url, "topics": [t.value for t in topics]})
        cis.secret = made.get_json()["secret"]
        yield cis


def work(c: Chain) -> None:
    """What the worker does, until nothing changes."""
    for _ in range(4):
        migration.carry_out(c.db, SIGNER, c.now_ms)
        c.carry()
    while webhook_sending.send_due(c.db, c.now_ms):
        continue


def ask(c: Chain, account_no: int, mode: str, key: str = "", **more: Any) -> dict[str, Any]:
    """CIS posts a request."""
    answer = c.send("POST", f"/accounts/{account_no}/migrations", key or f"{account_no}-{mode}", json={"mode": mode, **more})
    assert answer.status_code == 202, answer.get_data(as_text=True)
    return dict(answer.get_json())


def state(c: Chain, asked: dict[str, Any]) -> dict[str, Any]:
    return dict(c.get(f"/migrations/{asked['migration_no']}"))


def held(c: Chain, account_no: int) -> AccountMode:
    """The way of paying as the meter's side has it."""
    entries = entries_of(c.street.core.prepay.outbox.connection, account_no, 1)
    return AccountMode([e.mode for e in entries if e.kind in (Kind.OPEN, Kind.MODE)][-1])


def changes(c: Chain, account_no: int) -> int:
    return sum(e.kind == Kind.MODE for e in entries_of(c.street.core.prepay.outbox.connection, account_no, 1))


def reads(c: Chain, asked: dict[str, Any], phase: str = "") -> dict[CommandType, CommandView]:
    with c.db.read() as conn:
        return {r.type: r for r in migration_reads.reads_of(conn, migration_rows.migration(conn, asked["migration_no"]), phase)}


def shown(c: Chain) -> int:
    """The way of paying in the simulated meter's own object."""
    return c.street.houses["dlms/1"].prepaid(20)


def tokens(c: Chain) -> list[tuple[str, bytes]]:
    """The engineering tokens that went down."""
    found = [(topic, payload) for topic, payload in c.sent_down if parse_topic(topic)[0].name == "instrument"]
    return [x for x in found if decode(Instrument, open_unverified(x[1])[1]).type == InstrumentType.MODE_SET]


def replay(c: Chain, token: tuple[str, bytes], account_no: int) -> None:
    """The same token once more is refused: the mode and the journal stay."""
    before = held(c, account_no), changes(c, account_no), len(entries_of(c.street.core.prepay.outbox.connection, account_no, 1))
    c.street.handle(Arrived(*token))
    c.next_quarter()
    after = held(c, account_no), changes(c, account_no)
    assert after == before[:2]
    controls = [e for e in entries_of(c.street.core.prepay.outbox.connection, account_no, 1)[before[2] :] if e.kind == Kind.CONTROL]
    assert controls == []


@pytest.mark.covers(
    "BYPL-13.1", "BYPL-13.5", "BYPL-13.7", "BYPL-13.9", "BYPL-14.1", "BYPL-14.2", "BYPL-14.6", "BYPL-14.8", "BYPL-14.9",
    "ETSI-5.2.5-basic-3",
)
@pytest.mark.covers_part("BYPL-13.2", "BYPL-14.3")
def test_to_prepayment_and_back_with_a_meter_that_can(tmp_path: Path) -> None:
    """Pre: a billed home with a switch. Post: prepaid, then billed again; CIS has both completions; nothing is lost on the way."""
    with chain(tmp_path, postpaid=1) as c, told(c) as cis:
        no, house = c.homes[0].account_no, c.street.houses["dlms/1"]
        c.next_quarter(4)

        # 13.1 the request with the profile; a wrong one is refused and changes nothing; the same one again is the same
        for body, status in (({"mode": "prepaid", "profile": {"policy_id": "nowhere"}}, 422), ({"mode": "sometimes"}, 422),
                             ({"mode": "postpaid"}, 409), ({"mode": "prepaid", "deposit": "-1"}, 422)):  # fmt: skip
            assert c.send("POST", f"/accounts/{no}/migrations", "bad", json=body).status_code == status
        asked = ask(c, no, "prepaid", profile={"low_balance": "33.00"}, deposit="80")
        assert ask(c, no, "prepaid")["migration_no"] == asked["migration_no"]
        assert c.send("POST", f"/accounts/{no}/migrations", "other", json={"mode": "prepaid"}).status_code == 409

        # 13.2 the profile is set up; the meter can, so no order; 13.5 the token
        work(c)
        assert state(c, asked)["state"] == "changing"
        with c.db.read() as conn:
            assert conn.execute(select(account_table.c.low_balance_nano)).scalar_one() == nano("33")
        assert c.items("/orders") == []
        assert held(c, no) is AccountMode.POSTPAID
        c.next_quarter(2)
        assert (held(c, no), changes(c, no)) == (AccountMode.PREPAID, 1)

        # 13.7 three reads by themselves, 13.8 with what was asked for, 13.9 completion only after them
        c.street.mute.add("dlms/1")
        migration.carry_out(c.db, SIGNER, c.now_ms)
        assert {kind: r.requested_by for kind, r in reads(c, asked).items()} == dict.fromkeys((*READS, MODE), migration_rows.ACTOR)
        assert state(c, asked)["state"] == "verifying"
        work(c)
        assert [x["data"]["state"] for x in cis.told("migration.changed")] == ["changing", "verifying"]
        c.street.mute.clear()
        c.wait(11 * 60_000)  # nobody answered: an order; closed, the reads are asked again
        work(c)
        (review,) = c.items("/orders", state="open")
        assert (review["kind"], review["reason"]) == ("migration_review", "reads_failed")
        c.send("POST", f"/orders/{review['order_no']}/close", json={})
        work(c)
        assert {r.state for r in reads(c, asked).values()} == {CommandState.DONE}
        asked_for = reads(c, asked)
        assert shown(c) == Payment.PREPAID  # 13.5 the meter itself says so
        assert ENERGY_IMPORT.code in {v.quantity for v in decode(Readings, asked_for[CommandType.READ_INSTANT].result).values}
        assert sum(b.n for b in decode(Intervals, asked_for[CommandType.READ_INTERVALS].result).blocks) > 0
        assert 0 in cbor.loads(asked_for[CommandType.READ_EVENTS].result)

        # 13.9 final bill to the switch time, opening wallet, notice at CIS with the profile
        done = cis.told("migration.changed")[-1]["data"]
        (change,) = [e for e in entries_of(c.street.core.prepay.outbox.connection, no, 1) if e.kind == Kind.MODE]
        assert (done["state"], done["mode"], done["low_balance"], done["changed_ms"], done["register_wh"]) == (
            "done", "prepaid", "33", change.at_ms, change.register_after_wh)  # fmt: skip
        assert [x["data"]["mode"] for x in cis.told("mode.changed")] == ["prepaid"]
        with c.db.read() as conn:
            (final,) = [load_bill(conn, row.bill_no) for row in list_bills(conn, no) if row.kind is BillKind.BILL]
        assert (final.bill.to_ms, final.bill.lines[0].last.register_wh) == (change.at_ms, change.register_after_wh)
        settle(c.db, SIGNER, c.now_ms)
        c.carry()
        balance = c.get(f"/accounts/{no}/balance")
        assert nano("75") < nano(balance["balance"]) <= nano("80")
        assert balance["outstanding"] == "0"
        replay(c, tokens(c)[0], no)

        # 14.1 back; 14.2 the meter is read first; 14.3 with its credit, which is the wallet's
        back = ask(c, no, "postpaid")
        held_paise, held_ms = house.shown_balance() or (0, 0)
        work(c)
        before = reads(c, back, "before")
        assert set(before) == {*READS, CommandType.READ_SETTINGS}
        assert held_in(before[CommandType.READ_SETTINGS].result) == HeldCredit(held_paise * 10**7, held_ms, 10**7)
        assert c.items("/orders", state="open") == []
        assert held(c, no) is AccountMode.PREPAID
        assert {r.state for r in before.values()} == {CommandState.DONE}
        c.next_quarter(2)

        # 14.6 the token, once: neither it nor the old one changes anything again
        assert (held(c, no), changes(c, no)) == (AccountMode.POSTPAID, 2)
        for token in tokens(c):
            replay(c, token, no)

        # 14.8 reads again, 14.9 with what was asked for; the supply is on
        work(c)
        assert state(c, back)["state"] == "done"
        after = reads(c, back)
        assert {r.cmd_id for r in after.values()}.isdisjoint({r.cmd_id for r in before.values()})
        assert {kind for kind, r in after.items() if r.state is CommandState.DONE} == {*READS, MODE}
        assert shown(c) == Payment.POSTPAID  # 14.6 credit
        assert ENERGY_IMPORT.code in {v.quantity for v in decode(Readings, after[CommandType.READ_INSTANT].result).values}
        assert house.switch() is SwitchState.CLOSED
        assert c.get("/meters/1")["supply"] == "on"
        done = cis.told("migration.changed")[-1]["data"]
        assert (done["state"], done["mode"]) == ("done", "postpaid")
        assert nano(done["carried"]) > nano("70")
        with c.db.read() as conn:
            assert reconcile(conn, no) == ()

        may_the_consumer_ask(c, no)


def may_the_consumer_ask(c: Chain, no: int) -> None:
    """From the consumer's own app: only where the utility lets him, and only for the mode."""
    with c.db.write() as conn:
        scopes, customer_no = ("accounts:write", "accounts:read"), c.homes[0].customer_no
        own = create_token(conn, "app", scopes, SystemClock().now_ms(), "test", customer_no=customer_no)

    def post(body: dict[str, Any]) -> int:
        return c.send("POST", f"/accounts/{no}/migrations", "app", token=own, json=body).status_code

    assert post({"mode": "prepaid"}) == 403
    site = c.app.extensions["gridtally"]
    allowed = WebSettings(site.settings.secret_key, False, "Asia/Kolkata", consumers_change_mode=True)
    object.__setattr__(site, "settings", allowed)
    assert post({"mode": "prepaid", "deposit": "80"}) == 403
    assert post({"mode": "prepaid"}) == 202
    work(c)
    c.next_quarter(2)
    work(c)
    assert held(c, no) is AccountMode.PREPAID


@pytest.mark.covers("BYPL-13.2", "BYPL-13.3")
def test_a_meter_that_can_not_waits_for_its_installation(tmp_path: Path) -> None:
    """Two billed homes ask at once: the one with a switch skips the order, the other's is at work force management first."""
    with chain(tmp_path, dlms=2, modbus=1, postpaid=3) as c, told(c) as wfm:
        capable, spare, bare = (h.account_no for h in c.homes)
        with c.db.write() as conn:  # the second home moved out, its meter is free
            conn.execute(update(account_table).where(account_table.c.account_no == spare).values(closed_ms=c.now_ms))
            from_ms = c.now_ms - c.now_ms % policies.BOUNDARY_MS
            policies.add_policy(conn, from_ms, POLICY, c.now_ms, "test")
        profile = {"low_balance": "33.00", "policy_id": "cuts"}
        asked = [ask(c, no, "prepaid", profile=profile) for no in (capable, bare)]
        work(c)
        assert [state(c, x)["state"] for x in asked] == ["changing", "installing"]
        (order,) = wfm.told("order.opened")
        assert (order["data"]["kind"], order["data"]["account_no"], order["data"]["reason"]) == ("install_prepaid", bare, "no_switch")
        assert order["data"]["customer"]
        assert order["data"]["address"]
        number = order["data"]["order_no"]
        assert number == state(c, asked[1])["order_no"]
        with c.db.read() as conn:
            low = conn.execute(select(account_table.c.account_no, account_table.c.low_balance_nano)).all()
            assert policies.followed(conn) == {capable: "cuts", bare: "cuts"}
        assert {no: nano_ for no, nano_ in low if no != spare} == {capable: nano("33"), bare: nano("33")}  # both profiles are set up
        c.next_quarter(2)
        work(c)
        assert [state(c, x)["state"] for x in asked] == ["done", "installing"]
        assert held(c, capable) is AccountMode.PREPAID

        report = {"meter_serial": c.homes[1].serial, "transformer": "DT-7", "feeder": "F-3", "register_wh": 0}
        for wrong, why in (({"feeder": ""}, "missing-field"), ({"register_wh": -1}, "bad-field")):
            bad = c.send("POST", f"/orders/{number}/close", json={"result": report | wrong})
            assert (bad.status_code, bad.get_json()["type"].rsplit("/", 1)[1]) == (422, why)
        c.send("POST", f"/orders/{number}/close", json={"result": report | {"meter_serial": "NOWHERE"}})
        work(c)
        again = state(c, asked[1])
        assert (again["state"], again["order_no"] != number) == ("installing", True)
        house = c.street.houses["dlms/2"]
        report["register_wh"] = house.snapshot().energy_import_wh
        c.send("POST", f"/orders/{again['order_no']}/close", json={"result": report})
        work(c)
        assert state(c, asked[1])["state"] == "changing"
        assert c.get(f"/accounts/{bare}")["meter_serial"] == c.homes[1].serial
        c.next_quarter(3)
        work(c)
        assert state(c, asked[1])["state"] == "done"
        assert held(c, bare) is AccountMode.PREPAID


@pytest.mark.covers("BYPL-14.3")
def test_credit_in_the_meter_that_is_not_the_wallets_opens_an_exception_and_moves_nothing(tmp_path: Path) -> None:
    """Somebody put a rupee more into the meter's own object. With the data it comes up, is compared, and waits for a person."""
    with chain(tmp_path) as c, told(c) as cis:
        no, house = c.homes[0].account_no, c.street.houses["dlms/1"]
        held_paise, held_ms = house.shown_balance() or (0, 0)
        with c.db.read() as conn:
            before = balance(conn, no).balance_nano
            assert difference(conn, account_of(conn, no), HeldCredit(held_paise * 10**7, held_ms, 10**7)) == ""
        house.show_balance(held_paise + 100, held_ms)
        asked = ask(c, no, "postpaid")
        work(c)
        assert state(c, asked)["state"] == "checking"
        assert {r.state for r in reads(c, asked).values()} == {CommandState.DONE}
        (found,) = cis.told("order.opened")
        assert (found["data"]["kind"], found["data"]["reason"]) == ("balance_review", "meter_credit")
        (order,) = c.items("/orders", state="open")
        meter = decimal_text((held_paise + 100) * 10**7)
        assert order["detail"] == f"the meter holds {meter}, the books stood at {decimal_text(before)} then"
        c.next_quarter()
        work(c)
        assert (held(c, no), state(c, asked)["state"], len(tokens(c))) == (AccountMode.PREPAID, "checking", 0)
        with c.db.read() as conn:
            assert reconcile(conn, no) == ()
        c.send("POST", f"/orders/{order['order_no']}/close", json={})
        work(c)
        assert state(c, asked)["state"] == "changing"


@pytest.mark.covers_part("BYPL-14.3")
def test_books_that_disagree_open_an_exception_and_nothing_changes_before_a_person_looked(tmp_path: Path) -> None:
    with chain(tmp_path) as c, told(c) as cis:
        no = c.homes[0].account_no
        with c.db.write() as conn:  # the wallet's balance is not the one the meter's entries come to
            conn.execute(update(account_mirror).where(account_mirror.c.account_no == no).values(balance_nano=nano("1")))
        asked = ask(c, no, "postpaid")
        work(c)
        assert state(c, asked)["state"] == "checking"
        (found,) = cis.told("order.opened")
        assert (found["data"]["kind"], found["data"]["reason"]) == ("balance_review", "books_disagree")
        c.next_quarter()
        work(c)
        assert held(c, no) is AccountMode.PREPAID
        c.send("POST", f"/orders/{found['data']['order_no']}/close", json={"state": "dropped"})
        work(c)
        assert (state(c, asked)["state"], held(c, no)) == ("refused", AccountMode.PREPAID)
