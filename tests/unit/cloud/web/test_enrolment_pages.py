"""Prepaying asked for at the portal, at the desk and by another program; events; choices of messages; in three languages."""

from __future__ import annotations

import argparse
import json
from contextlib import nullcontext
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gridtally_cloud.customers import outgoing
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.prepay import enrolment, enrolment_cli, offers
from gridtally_cloud.prepay.enrolment import Request, RequestState
from gridtally_cloud.prepay.policies import add_policy
from gridtally_cloud.programs import money
from gridtally_cloud.programs import reads as schedule_reads
from gridtally_cloud.programs.model import ScheduleView
from gridtally_cloud.web.tokens import SCOPES, create_token
from gridtally_shared.clock import SystemClock
from gridtally_shared.money import nano
from gridtally_shared.schedules.document import Programme
from support.payday import DAY_MS, HOUR_MS, SIGNER
from support.web_person import Person
from support.web_street import StreetClock, WebStreet
from support.web_words import plain

IST = ZoneInfo("Asia/Kolkata")


def local(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, IST).strftime("%Y-%m-%dT%H:%M")


class Office:
    """The street with a programme "home", and what people there type."""

    def __init__(self, street: WebStreet) -> None:
        self.street, self.pay = street, street.pay
        now_ms = street.now_ms - street.now_ms % 900_000
        with self.pay.db.write() as conn:
            for code, action in (("mild", "none"), ("strict", "disconnect")):
                text = json.dumps({"kind": "policy", "code": code, "currency": "INR", "zero_action": action})
                add_policy(conn, now_ms, text, now_ms, "ada")
            offers.set_option(conn, "home", "mild", (), now_ms, "ada")
            offers.set_option(conn, "home", "strict", ("not_protected",), now_ms, "ada")
        self.billed = self.pay.postpaid_account
        with self.pay.db.read() as conn:
            self.account = account_of(conn, self.billed)

    @property
    def form(self) -> dict[str, str]:
        return {"name": self.account.customer_name, "address": self.account.address, "from": local(self.street.now_ms), "to": "",
                "option": "home:disconnect", "amount": "250", "method": "card"}  # fmt: skip

    @property
    def answers(self) -> dict[str, str]:
        return {"name": self.account.customer_name, "address": self.account.address, "meter_serial": self.account.meter_serial}

    def requests(self) -> tuple[Request, ...]:
        with self.pay.db.read() as conn:
            return enrolment.requests(conn, self.billed)

    def schedules(self, account_no: int) -> tuple[ScheduleView, ...]:
        with self.pay.db.read() as conn:
            return schedule_reads.of_account(conn, account_no)

    def audit(self, account_no: int) -> list[tuple[str, str]]:
        with self.pay.db.read() as conn:
            return [(r.action, r.actor) for r in reversed(audit_rows(conn, subject=f"account:{account_no}"))]


@pytest.fixture
def office(street: WebStreet) -> Office:
    return Office(street)


@pytest.mark.covers("C3-S1.1", "C3-S1.2")
def test_portal_and_desk_ask_with_account_name_address_and_time_frame_and_the_desk_only_after_identity(office: Office) -> None:
    app, desk = office.street.app(), f"/desk/accounts/{office.billed}/enrol/"
    carmen, dora = Person(app, "carmen"), Person(app, "dora")
    portal = f"/account/{office.billed}/prepay/"
    assert "Solicitar prepago" in plain(carmen.get(portal))
    asked = carmen.post(portal, {**office.form, "to": local(office.street.now_ms + 30 * DAY_MS)})
    assert asked.status_code == 303
    (by_portal,) = office.requests()
    assert (by_portal.wish.account_no, by_portal.wish.name, by_portal.wish.address) == (
        office.billed, office.account.customer_name, office.account.address)  # fmt: skip
    assert by_portal.wish.to_ms is not None
    assert by_portal.wish.to_ms - by_portal.wish.from_ms == 30 * DAY_MS
    assert (by_portal.wish.source, by_portal.wish.credential, by_portal.asked_by) == ("portal", "session:carmen", "consumer:carmen")
    assert "Solicitud 1" in plain(carmen.get(portal))

    # the desk: nothing opens before the person is known; wrong answers refuse, right ones open it
    assert "Who is asking?" in plain(dora.get(desk))
    first = dora.post(desk, office.form)
    assert (first.status_code, len(office.requests())) == (422, 1)
    wrong = dora.post(desk + "identity", {**office.answers, "meter_serial": "1"}, form=desk)
    assert wrong.status_code == 422
    assert "not those on record" in plain(wrong.get_data(as_text=True))
    assert "Send the request" not in dora.get(desk)
    assert dora.post(desk + "identity", office.answers, form=desk).status_code == 303
    assert "Send the request" in dora.get(desk)
    assert [(a, who) for a, who in office.audit(office.billed) if a.startswith("identity")] == [
        ("identity.refused", "staff:dora"), ("identity.confirmed", "staff:dora"),
    ]  # fmt: skip
    assert "Who is asking?" in plain(Person(app, "ada").get(desk)), "it holds for whom the answers were given to"

    # the portal's request is carried out first; then the desk asks for another time
    enrolment.carry_out(office.pay.db, SIGNER, office.street.now_ms)
    with office.pay.db.write() as conn:
        started = office.requests()[0]
        enrolment._advance(conn, started, RequestState.ACTIVE, office.street.now_ms)
    assert dora.post(desk, {**office.form, "option": "home:none"}).status_code == 303
    by_desk = office.requests()[0]
    assert (by_desk.wish.source, by_desk.asked_by, by_desk.wish.name) == ("desk", "staff:dora", office.account.customer_name)
    assert by_desk.wish.credential.startswith("check ")
    assert by_desk.wish.from_ms > 0

    # and the confirmation of the first is acknowledged with a click
    assert dora.post(f"{desk}{started.request_no}/acknowledge", form=desk).status_code == 303
    assert "acknowledged by staff:dora" in plain(dora.get(desk))


@pytest.mark.covers("C3-IE1")
@pytest.mark.parametrize("missing", ["name", "address", "from", "option"])
def test_a_missing_field_is_named_at_the_portal_and_by_the_api(office: Office, missing: str) -> None:
    app = office.street.app()
    carmen, page = Person(app, "carmen"), f"/account/{office.billed}/prepay/"
    answer = carmen.post(page, {**office.form, missing: ""})
    names = {"name": "nombre", "address": "dirección", "from": "desde", "option": "opción con saldo cero"}
    assert answer.status_code == 422
    assert f"Falta: {names[missing]}" in plain(answer.get_data(as_text=True))
    with office.pay.db.write() as conn:
        token = create_token(conn, "cis", SCOPES, SystemClock().now_ms(), "test")
    whole = {"name": office.account.customer_name, "address": office.account.address, "from": "2026-11-01T10:00:00Z", "programme": "home",
             "option": "disconnect", "credentials": {"meter_serial": office.account.meter_serial}}  # fmt: skip
    client, path = app.test_client(), f"/api/v1/accounts/{office.billed}/prepay-requests"
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "a"}
    for name in (missing, "credentials", "programme"):
        refused = client.post(path, headers=headers, json={**whole, name: None})
        assert refused.status_code == 422
        assert refused.get_json()["detail"].startswith(f"{name}: missing")
    unknown = client.post(path, headers=headers, json={**whole, "credentials": {"meter_serial": "1"}})
    assert (unknown.status_code, unknown.get_json()["type"].rsplit("/", 1)[-1]) == (403, "wrong-identity")
    assert office.requests() == ()
    made = client.post(path, headers=headers, json=whole)
    assert (made.status_code, made.get_json()["state"], made.get_json()["policy_version"]) == (202, "asked", 1)
    assert client.post(path, headers=headers, json=whole).get_json() == made.get_json()
    assert client.get(path, headers=headers).get_json()["items"] == [made.get_json()]
    number = made.get_json()["request_no"]
    early = client.post(f"/api/v1/prepay-requests/{number}/acknowledge", headers=headers, json={})
    assert (early.status_code, early.get_json()["type"].rsplit("/", 1)[-1]) == (409, "nothing-confirmed")


@pytest.mark.covers("C3-S2.1", "C3-S3.1")
def test_a_household_books_its_own_time_and_an_event_elsewhere(office: Office) -> None:
    asha, page = Person(office.street.app(), "asha"), f"/account/{office.pay.account}/prepay/"
    hall, start_ms = office.pay.homes[1].account_no, office.street.now_ms // 60_000 * 60_000 + 2 * DAY_MS
    times = {"start": local(start_ms), "end": local(start_ms + 3 * HOUR_MS)}
    assert asha.post(page + "event", {**times, "title": "Holiday"}, form=page).status_code == 303
    (own,) = office.schedules(office.pay.account)
    assert (own.programme, own.start_ms, own.end_ms, own.created_by) == (
        Programme.A, start_ms, start_ms + 3 * HOUR_MS, "consumer:asha")  # fmt: skip

    # a place that takes no events, and one that does not exist, look the same
    for place in (str(hall), "999"):
        refused = asha.post(page + "event", {**times, "place": place, "credit": "50"}, form=page)
        assert refused.status_code == 422
    with office.pay.db.write() as conn:
        money.allow_events(conn, hall, True, "staff:dora", office.street.now_ms)
    booked = asha.post(page + "event", {**times, "title": "Wedding", "place": str(hall), "credit": "50"}, form=page)
    assert booked.status_code == 303
    event = office.schedules(hall)[0]
    assert (event.programme, event.requester_no, event.credit_nano) == (Programme.B, office.pay.account, nano("50"))
    taken = asha.post(page + "event", {**times, "place": str(hall), "credit": "50"}, form=page)
    assert taken.status_code == 422


def test_a_household_chooses_by_what_it_is_told(office: Office) -> None:
    asha, page = Person(office.street.app(), "asha"), f"/account/{office.pay.account}/prepay/"
    assert asha.post(page + "contact", {"sms": "1"}, form=page).status_code == 303
    with office.pay.db.read() as conn:
        assert outgoing.choices(conn, office.pay.account) == {outgoing.Channel.SMS: True, outgoing.Channel.EMAIL: False}


def test_nobody_asks_for_a_neighbour(office: Office) -> None:
    bilal = Person(office.street.app(), "bilal")
    assert bilal.client.get(f"/account/{office.billed}/prepay/").status_code == 404
    own = bilal.get(f"/account/{office.pay.homes[1].account_no}/prepay/")
    assert "प्रीपेड" in own
    form = f"/account/{office.pay.homes[1].account_no}/prepay/"
    assert bilal.post(f"/account/{office.billed}/prepay/", office.form, form=form).status_code == 404
    assert office.requests() == ()


def test_the_command_line_offers_options_and_lists_messages(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    desk = Desk(office.pay.db, office.pay.payments, StreetClock(office.pay))
    enrolment_cli.add_parser(parser.add_subparsers(), lambda _: nullcontext(desk))

    def run(*words: str) -> str:
        options = parser.parse_args(words)
        assert options.run(options) == 0
        return capsys.readouterr().out

    assert "programme hall offers none by policy mild" in run("programme", "offer", "hall", "mild")
    assert "may be chosen" in run("programme", "show", str(office.billed))
    with office.pay.db.write() as conn:
        outgoing.put(conn, office.billed, "prepay_active", "1", office.street.now_ms)
    assert "waiting" in run("messages")
    (line,) = json.loads(run("messages", "--account", str(office.billed), "--json"))
    assert (line["code"], line["channel"]) == ("prepay_active", "log")


