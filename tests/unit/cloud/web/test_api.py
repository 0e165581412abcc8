"""`/api/v1`: tokens and scopes, problems, paging, values field by field, orders that happen once, a document that is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from gridtally_cloud.exchange import given
from gridtally_cloud.prepay.resend import MINUTE_MS, progress
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import meter
from gridtally_cloud.web.api.openapi import document, open_path
from gridtally_cloud.web.api.operations import OPERATIONS
from gridtally_cloud.web.api.schemas import SCHEMAS
from gridtally_cloud.web.tokens import SCOPES, create_token, list_tokens, revoke_token
from gridtally_edge.prepay.events import InstrumentArrived
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, SystemClock
from gridtally_shared.money import NANO, nano
from support.payday import START_MS
from support.two_people import all_rows
from support.web_person import Person
from support.web_street import PER_DAY, QUARTER_MS, WebStreet, wh_of

BASE = "/api/v1"


@dataclass
class Program:
    """Another system with a token."""

    app: Flask
    token: str

    def send(self, method: str, path: str, key: str = "", **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": key} if key else {})
        return self.app.test_client().open(BASE + path, method=method, headers=headers, **more)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.send("GET", path, query_string=query)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json()

    def all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Every page, one after the other."""
        items: list[dict[str, Any]] = []
        following: str | None = ""
        while following is not None:
            page = self.get(path, **query, **({"cursor": following} if following else {}))
            items, following = items + page["items"], page["next"]
        return items


def program(street: WebStreet, app: Flask, *scopes: str, customer_no: int | None = None) -> Program:
    with street.pay.db.write() as conn:
        now_ms = SystemClock().now_ms()
        return Program(app, create_token(conn, "test", scopes or SCOPES, now_ms, "test", customer_no=customer_no))


@pytest.fixture(scope="session")
def reader(old_street: WebStreet, old_app: Flask) -> Program:
    return program(old_street, old_app)


# ---- tokens and problems --------------------------------------------------------------------------------------


def is_problem(answer: TestResponse, status: int, kind: str) -> bool:
    body = answer.get_json()
    return (answer.status_code, answer.mimetype, body["status"], body["type"].rsplit("/", 1)[1]) == (
        status, "application/problem+json", status, kind)  # fmt: skip


PLACES = {"meter_no": 1, "account_no": 1, "cmd_id": "00", "order_id": "x", "name": "x", "payment_no": 1, "schedule_no": 1,
          "request_no": 1, "migration_no": 1, "order_no": 1, "webhook_no": 1, "notice_no": 1, "tariff_id": "home",
          "version": 1, "usage_point_no": 1, "delivery_no": 1, "level": "feeders", "job_no": 1}  # fmt: skip
CALLS = [(o, open_path(o.path).format_map(PLACES)) for o in OPERATIONS if o.scope]


@pytest.mark.parametrize(("operation", "path"), CALLS, ids=lambda c: getattr(c, "name", ""))
def test_every_operation_wants_a_token_with_its_scope(operation: Any, path: str, old_street: WebStreet, old_app: Flask) -> None:
    bare = old_app.test_client().open(BASE + path, method=operation.method)
    assert is_problem(bare, 401, "token-missing")
    assert bare.headers["WWW-Authenticate"].startswith("Bearer")
    others = tuple(s for s in SCOPES if s != operation.scope)
    assert is_problem(program(old_street, old_app, *others).send(operation.method, path), 403, "scope-missing")


@pytest.mark.parametrize(
    "body", [b"[" * 5_000, b'{"name": ' * 3_000, b'{"name": "\\ud800"}', b'{"\\udfff": 1}', b"\xff", b"", b"[]", b"1", b'{"name"'],
    ids=["brackets without end", "objects without end", "half a character", "half a name", "no text", "nothing", "list", "number", "half"],
)  # fmt: skip
def test_a_body_that_can_not_be_read_is_a_bad_request(reader: Program, body: bytes) -> None:
    for path in ("/webhooks", "/accounts/1/orders", "/meters/1/commands", "/accounts/1/schedules"):
        answer = reader.send("POST", path, "b-1", data=body, content_type="application/json")
        assert is_problem(answer, 400, "bad-body"), path


@pytest.mark.parametrize("until", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_no_calendar_holds_is_a_bad_request(reader: Program, until: str) -> None:
    limit = reader.send("POST", "/accounts/1/limit", json={"watts": 1000, "until": until})
    assert is_problem(limit, 400, "bad-time")
    assert is_problem(reader.send("GET", "/events", query_string={"to": until}), 400, "bad-time")


def test_a_number_that_no_store_holds_is_a_bad_request(reader: Program) -> None:
    for path in ("/meters/100000000000000000000", "/accounts/100000000000000000000/bills"):
        assert is_problem(reader.send("GET", path), 400, "bad-request"), path


def test_a_revoked_an_old_and_a_made_up_token_are_refused(street: WebStreet) -> None:
    app = street.app()
    client = program(street, app, "meters:read")
    assert client.send("GET", "/meters").status_code == 200
    with street.pay.db.write() as conn:
        revoke_token(conn, list_tokens(conn)[0].token_no, SystemClock().now_ms(), "test")
        short = create_token(conn, "short", ("meters:read",), SystemClock().now_ms() - 2, "test", life_ms=1)
    for token in (client.token, short, "gt1_guess", ""):
        assert Program(app, token).send("GET", "/meters").status_code == 401


def test_a_token_is_never_stored_as_it_is(street: WebStreet) -> None:
    token = program(street, street.app()).token
    files = b"".join(p.read_bytes() for p in street.folder.glob("mdm.db*"))
    assert token.encode() not in files
    assert token not in repr(all_rows(street.pay.db))


def test_an_administrator_makes_and_ends_tokens(street: WebStreet) -> None:
    app = street.app()
    ada = Person(app, "ada")
    page = ada.post("/staff/tokens", {"name": "outage map", "scope": "events:read"}).get_data(as_text=True)
    token = next(word for word in page.replace("<", " ").replace(">", " ").split() if word.startswith("gt1_"))
    assert Program(app, token).send("GET", "/events").status_code == 200
    assert token not in ada.get("/staff/tokens"), "shown once"
    ada.post("/staff/tokens/1/revoke", form="/staff/tokens")
    assert Program(app, token).send("GET", "/events").status_code == 401
    assert ada.post("/staff/tokens", {"name": "nothing"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "query", "status", "kind"),
    [
        ("/meters", {"limit": "0"}, 400, "bad-limit"),
        ("/meters", {"limit": "1001"}, 400, "bad-limit"),
        ("/meters", {"limit": "ten"}, 400, "bad-limit"),
        ("/meters", {"limit": "²"}, 400, "bad-limit"),
        ("/meters", {"limit": "9" * 5000}, 400, "bad-limit"),
        ("/meters", {"cursor": "nonsense"}, 400, "bad-cursor"),
        ("/events", {"cursor": "WzFd"}, 400, "bad-cursor"),
        ("/meters/1/intervals", {"from": "2026-11-02"}, 400, "bad-time"),
        ("/meters/1/intervals", {"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, 400, "bad-span"),
        ("/meters/99", {}, 404, "not-found"),
        ("/accounts/99/balance", {}, 404, "not-found"),
        ("/commands/zz", {}, 404, "not-found"),
    ],
)
def test_problems_say_what_is_wrong(path: str, query: dict[str, str], status: int, kind: str, reader: Program) -> None:
    assert is_problem(reader.send("GET", path, query_string=query), status, kind)


def test_unknown_addresses_and_methods_are_problems_too(old_app: Flask) -> None:
    client = old_app.test_client()
    assert is_problem(client.get(f"{BASE}/nothing"), 404, "not-found")
    assert is_problem(client.delete(f"{BASE}/meters"), 405, "method-not-allowed")


# ---- values ---------------------------------------------------------------------------------------------------


@pytest.mark.covers_part("BYPL-1.3")
def test_intervals_equal_what_the_meter_had_field_by_field(reader: Program) -> None:
    from_ms, to_ms = START_MS, START_MS + 3 * PER_DAY * QUARTER_MS
    rows = reader.all("/meters/1/intervals", **{"from": utc_text(from_ms), "to": utc_text(to_ms), "limit": 7})
    gap, guessed = {PER_DAY + 60, PER_DAY + 61}, set(range(PER_DAY + 40, PER_DAY + 44))
    assert rows == [
        {
            "start": utc_text(at), "seconds": 900, "wh": None if i in gap else wh_of(0, at), "estimated": i in guessed, "events": [],
            "quality": 1 if i in gap else 128 if i in guessed else 0,
        }
        for i, at in enumerate(range(from_ms, to_ms, QUARTER_MS))
    ]  # fmt: skip


def test_who_fetches_intervals_is_kept_in_whole_days_and_once(old_street: WebStreet, reader: Program) -> None:
    from_ms = START_MS + 3 * QUARTER_MS
    for _ in range(2):
        reader.all("/meters/1/intervals", **{"from": utc_text(from_ms), "to": utc_text(from_ms + MS_PER_HOUR), "limit": 2})
    with old_street.pay.db.read() as conn:
        point = conn.execute(select(meter.c.usage_point_no).where(meter.c.meter_no == 1)).scalar_one()
        (taker,) = given.takers(conn, point, from_ms, from_ms + MS_PER_HOUR)
    assert (taker.kind, taker.name) == ("token", "test")
    assert taker.from_ms <= from_ms < from_ms + MS_PER_HOUR <= taker.to_ms
    assert taker.from_ms % MS_PER_DAY == taker.to_ms % MS_PER_DAY == 0



def test_registers_equal_what_was_read(old_street: WebStreet, reader: Program) -> None:
    rows = reader.all("/meters/1/readings", **{"from": utc_text(START_MS), "to": utc_text(old_street.now_ms + 1), "limit": 3})
    energy = [r for r in rows if r["quantity"] == "energy_import_wh"]
    assert energy[-1]["value"] == old_street.register[0]
    assert [r["value"] for r in energy] == sorted(r["value"] for r in energy)
    assert (rows[-1]["quantity"], rows[-1]["value"], rows[-1]["exponent"]) == ("voltage_mv", 231_400, -3)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_any_size_give_the_same_rows(limit: int, reader: Program) -> None:
    assert [m["meter_no"] for m in reader.all("/meters", limit=limit)] == [1, 2, 3]
    assert len(reader.all("/events", limit=limit)) == 2
    assert [a["account_no"] for a in reader.all("/accounts", limit=limit)] == [1, 2, 3]
    seqs = [line["seq"] for line in reader.all("/accounts/1/ledger", limit=limit * 4)]
    assert seqs == list(range(seqs[0], 0, -1))


def test_balance_and_ledger_are_the_mirrors(old_street: WebStreet, reader: Program) -> None:
    balance, mirror = reader.get("/accounts/1/balance"), old_street.pay.balance()
    assert nano(balance["balance"]) == mirror.balance_nano
    assert (balance["seq"], balance["as_of"]) == (mirror.seq, utc_text(mirror.as_of_ms))
    newest = reader.get("/accounts/1/ledger", limit=1)["items"][0]
    assert (newest["seq"], nano(newest["balance"])) == (mirror.seq, mirror.balance_nano)


def test_answers_have_exactly_the_fields_of_the_document(reader: Program) -> None:
    items = {
        "Meter": reader.get("/meters/1"), "Account": reader.get("/accounts/1"), "Balance": reader.get("/accounts/1/balance"),
        "Event": reader.get("/events")["items"][0], "LedgerLine": reader.get("/accounts/1/ledger")["items"][0],
        "Reading": reader.get("/meters/1/readings")["items"][0], "Interval": reader.get("/meters/1/intervals")["items"][0],
    }  # fmt: skip
    for name, item in items.items():
        assert set(item) == set(SCHEMAS[name]), name
        for field, (kind, _) in SCHEMAS[name].items():
            good: dict[str, type | tuple[type, ...]] = {"integer": int, "boolean": bool, "list": list, "steps": list}
            assert (item[field] is None and kind.endswith("?")) or isinstance(item[field], good.get(kind.rstrip("?"), str)), field


@pytest.mark.covers_part("BYPL-5.2")
def test_an_urgent_event_is_there_as_soon_as_it_came(street: WebStreet) -> None:
    client = program(street, street.app(), "events:read")
    street.send_event(1, 251)
    (event,) = client.get("/meters/2/events")["items"]
    assert (event["code"], event["name"], event["cim"], event["urgent"]) == (251, "cover_opened", "3.12.29.39", True)


# ---- orders ---------------------------------------------------------------------------------------------------


@pytest.mark.covers_part("BYPL-3.3", "C3-FR32")
def test_a_command_is_taken_once_and_can_be_followed(street: WebStreet) -> None:
    client = program(street, street.app())
    order = {"type": "switch_open", "reason": "vacant"}
    first = client.send("POST", "/meters/1/commands", "k-1", json=order)
    again = client.send("POST", "/meters/1/commands", "k-1", json=order)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.get_json()["cmd_id"] == again.get_json()["cmd_id"]
    assert first.get_json()["meter_no"] == 1
    assert first.get_json()["expires_at"] == utc_text(street.now_ms + 15 * 60_000)
    followed = client.get(first.headers["Location"].removeprefix(BASE))
    assert (followed["state"], followed["requested_by"]) == ("queued", "api:test")
    assert [s["state"] for s in followed["steps"]] == ["accepted", "queued"]
    assert client.send("POST", "/meters/1/commands", "k-2", json=order).get_json()["cmd_id"] != followed["cmd_id"]


@pytest.mark.parametrize(
    ("key", "body", "status", "kind"),
    [
        ("", {"type": "read_instant"}, 400, "key-missing"),
        ("k", {"type": "explode"}, 422, "unknown-type"),
        ("k", {"type": "read_intervals"}, 422, "malformed"),
        ("k", {"type": "message", "text": "x" * 161}, 422, "text-too-long"),
        ("k", {"type": "read_instant", "not_before": "tomorrow"}, 400, "bad-time"),
        ("k", ["read_instant"], 400, "bad-body"),
    ],
)
def test_an_unclear_command_is_a_problem(street: WebStreet, key: str, body: Any, status: int, kind: str) -> None:
    assert is_problem(program(street, street.app()).send("POST", "/meters/1/commands", key, json=body), status, kind)


def test_the_same_key_for_another_command_is_a_mistake(street: WebStreet) -> None:
    client = program(street, street.app())
    client.send("POST", "/meters/1/commands", "k", json={"type": "read_instant"})
    assert is_problem(client.send("POST", "/meters/2/commands", "k", json={"type": "read_instant"}), 409, "key-reused")


def test_two_programs_may_use_the_same_key(street: WebStreet) -> None:
    app = street.app()
    ids = {program(street, app).send("POST", "/meters/1/commands", "k", json={"type": "read_instant"}).get_json()["cmd_id"] for _ in "ab"}
    assert len(ids) == 2


def test_a_scheduled_command_waits(street: WebStreet) -> None:
    later, soon = (utc_text(street.now_ms + hours * 3_600_000) for hours in (48, 1))
    caller = program(street, street.app())
    answers = [caller.send("POST", "/meters/1/commands", at, json={"type": "read_instant", "not_before": at}) for at in (later, soon)]
    assert [a.get_json()["state"] for a in answers] == ["scheduled", "queued"]
    cmd_id = answers[0].get_json()["cmd_id"]
    moved = caller.send("POST", f"/commands/{cmd_id}/move", "m", json={"not_before": utc_text(street.now_ms + 72 * 3_600_000)})
    assert (moved.status_code, moved.get_json()["cmd_id"]) == (202, cmd_id)
    assert caller.send("POST", f"/commands/{cmd_id}/cancel", "c", json={}).get_json()["state"] == "cancelled"
    assert caller.send("POST", f"/commands/{cmd_id}/cancel", "c", json={}).status_code == 409


@pytest.mark.covers_part("C3-FR30", "C3-FR31", "C3-FR32")
def test_schedules_are_booked_seen_sent_and_cancelled(street: WebStreet) -> None:
    caller = program(street, street.app())
    wish = {"start": utc_text(street.now_ms + 48 * 3_600_000), "end": utc_text(street.now_ms + 50 * 3_600_000), "title": "Hall"}
    made = caller.send("POST", "/accounts/1/schedules", "s", json=wish)
    assert (made.status_code, made.get_json()["state"]) == (202, "planned")
    number = made.get_json()["schedule_no"]
    taken = caller.send("POST", "/accounts/1/schedules", "t", json=wish)
    assert (taken.status_code, taken.get_json()["type"].rsplit("/", 1)[-1]) == (409, "already-scheduled")
    assert f"schedule {number}" in taken.get_json()["detail"]
    assert caller.send("POST", f"/schedules/{number}/send", "n", json={}).get_json()["state"] == "sent"
    assert caller.send("POST", f"/schedules/{number}/cancel", "c", json={}).get_json()["state"] == "cancelled"
    assert [s["schedule_no"] for s in caller.get("/accounts/1/schedules")["items"]] == [number]


@pytest.mark.covers_part("BYPL-0c")
def test_a_mobile_app_recharges_with_its_customers_token(street: WebStreet) -> None:
    app = street.app()
    phone = program(street, app, customer_no=1)
    body = {"amount": "200"}
    first = phone.send("POST", "/accounts/1/orders", "r-1", json=body)
    again = phone.send("POST", "/accounts/1/orders", "r-1", json=body)
    assert (first.status_code, first.get_json()["order_id"]) == (201, again.get_json()["order_id"])
    assert is_problem(phone.send("POST", "/accounts/1/orders", "r-1", json={"amount": "300"}), 409, "key-reused")
    assert is_problem(phone.send("POST", "/accounts/1/orders", "r-2", json={"amount": "1"}), 422, "payment-too-small")
    assert is_problem(phone.send("POST", "/accounts/1/orders", "r-3", json={"amount": "1e3"}), 422, "bad-amount")
    Person(app, "asha").post(first.get_json()["pay_path"], {"choice": "card"})
    where = first.headers["Location"].removeprefix(BASE)
    assert (phone.get(where)["state"], phone.get(where)["credit"]) == ("paid", "issued")
    assert nano(phone.get("/accounts/1/balance")["pending"]) == 200 * NANO
    street.pay.carry_down()
    street.send_journal()
    assert phone.get(where)["credit"] == "applied"
    assert phone.get(where)["applied_seq"] == street.pay.balance().seq - 1, "the entry of the credit; the message comes after it"


def test_a_customers_token_reaches_nothing_else(street: WebStreet) -> None:
    phone = program(street, street.app(), customer_no=1)
    assert [m["meter_no"] for m in phone.get("/meters")["items"]] == [1]
    assert [a["account_no"] for a in phone.get("/accounts")["items"]] == [1]
    for path in ("/meters/2", "/meters/2/intervals", "/meters/2/readings", "/meters/2/events", "/accounts/2", "/accounts/2/balance",
                 "/accounts/2/ledger", "/accounts/2/bills"):  # fmt: skip
        assert is_problem(phone.send("GET", path), 404, "not-found"), path
    assert is_problem(phone.send("GET", "/events"), 403, "not-for-customers")
    assert is_problem(phone.send("GET", "/commands/00"), 403, "not-for-customers")
    assert is_problem(phone.send("POST", "/meters/1/commands", "k", json={"type": "switch_open"}), 403, "not-for-customers")
    assert is_problem(phone.send("POST", "/accounts/2/orders", "k", json={"amount": "200"}), 404, "not-found")


# ---- the document ---------------------------------------------------------------------------------------------


def test_every_route_is_in_the_document_and_the_other_way_round(old_app: Flask) -> None:
    routes = {
        (open_path(rule.rule).removeprefix(BASE), method.lower())
        for rule in old_app.url_map.iter_rules() if rule.rule.startswith(BASE)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }  # fmt: skip
    served = old_app.test_client().get(f"{BASE}/openapi.json").get_json()
    assert served == document()
    assert {(path, method) for path, methods in served["paths"].items() for method in methods} == routes


def test_every_reference_in_the_document_leads_somewhere() -> None:
    whole = document()

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    found = set(references(whole))
    assert found
    assert {r.rsplit("/", 1)[1] for r in found} <= set(whole["components"]["schemas"])
    assert all(o.scope in SCOPES for o in OPERATIONS if o.scope)


FIELDS: list[tuple[Callable[[Program], TestResponse], str]] = [
    (lambda c: c.send("POST", "/meters/1/commands", "k", json={"type": "read_instant"}), "Command"),
    (lambda c: c.send("POST", "/accounts/1/orders", "k", json={"amount": "100"}), "Order"),
]


@pytest.mark.parametrize(("call", "schema"), FIELDS, ids=["command", "order"])
def test_made_things_have_the_fields_of_the_document(street: WebStreet, call: Callable[[Program], TestResponse], schema: str) -> None:
    assert set(call(program(street, street.app())).get_json()) == set(SCHEMAS[schema])


# ---- pay stations ---------------------------------------------------------------------------------------------


@pytest.mark.covers_part("C3-BR3")
def test_a_pay_station_looks_up_quotes_pays_and_takes_back(street: WebStreet) -> None:
    app = street.app()
    counter, other = program(street, app, "station:write"), program(street, app, "station:write")
    account_no = street.pay.account
    found = counter.get(f"/station/accounts/{account_no}")
    assert counter.get(f"/station/accounts/{found['meter_serial']}") == found
    assert "•••" in found["name"]
    small = counter.send("POST", "/station/quotes", json={"account_no": account_no, "amount": "1"})
    assert is_problem(small, 422, "payment-too-small")
    assert "100.00" in small.get_json()["detail"]
    wanted = {"account_no": account_no, "amount": "250", "method": "card"}
    assert counter.send("POST", "/station/quotes", json=wanted).get_json()["amount"] == "250"
    first, again = (counter.send("POST", "/station/payments", "till-1", json=wanted) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    receipt = first.get_json()
    assert receipt == again.get_json()
    assert (receipt["amount"], receipt["method"], receipt["credit"]) == ("250", "card", "issued")
    assert is_problem(counter.send("POST", "/station/payments", "till-1", json=wanted | {"amount": "251"}), 409, "reference-used")
    assert is_problem(counter.send("POST", "/station/payments", json=wanted), 422, "bad-key")
    path = f"/station/payments/{receipt['payment_no']}"
    assert is_problem(other.send("GET", path), 404, "unknown-payment")
    assert is_problem(other.send("POST", f"{path}/reversal", json={"reason": "mine"}), 404, "unknown-payment")
    back = counter.send("POST", f"{path}/reversal", json={"reason": "wrong account"}).get_json()
    assert back["reversed_at"] == counter.get(path)["reversed_at"] != None  # noqa: E711
    day = counter.get(f"/station/days/{receipt['day']}")
    assert day["totals"] == [{"currency": "INR", "payments": 1, "taken": "250", "reversals": 1, "returned": "250", "owed": "0"}]
    closed = counter.send("POST", f"/station/days/{receipt['day']}/close").get_json()
    assert (closed["closed"], closed["sha256"]) == (True, day["sha256"])
    file = counter.send("GET", f"/station/days/{receipt['day']}", query_string={"format": "csv"})
    assert file.get_data(as_text=True).splitlines()[-1].startswith("total,")


def test_a_pay_station_that_guesses_is_held_up(street: WebStreet) -> None:
    counter = program(street, street.app(), "station:write")
    answers = [counter.send("GET", f"/station/accounts/9{n:07d}") for n in range(11)]
    assert [a.status_code for a in answers] == [404] * 10 + [429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert counter.send("GET", f"/station/accounts/{street.pay.account}").status_code == 429


@pytest.mark.covers("C3-BR3")
def test_a_payment_at_a_station_reaches_the_meter_in_the_same_minute(street: WebStreet) -> None:
    """The first message is lost on its way: the second one comes in time."""
    counter, pay = program(street, street.app(), "station:write"), street.pay
    before_nano, lost = pay.balance().balance_nano, []
    wanted = {"account_no": pay.account, "amount": "250"}
    receipt = counter.send("POST", "/station/payments", "till-1", json=wanted).get_json()
    Publisher(pay.db, "worker", lambda topic, payload: not lost.append(payload) if topic.endswith("instrument") else True).send_due(
        pay.now_ms, 1.0)  # fmt: skip
    pay.now_ms += MINUTE_MS
    heard: list[bytes] = []
    Publisher(pay.db, "worker", lambda topic, payload: not heard.append(payload) if topic.endswith("instrument") else True).send_due(
        pay.now_ms, 1.0)  # fmt: skip
    assert len(lost) == len(heard) == 1
    pay.tell(InstrumentArrived(heard[0]))
    street.send_journal()
    after = counter.get(f"/station/payments/{receipt['payment_no']}")
    assert (receipt["credit"], after["credit"]) == ("issued", "applied")
    assert pay.balance().balance_nano == before_nano + nano("250")
    with pay.db.read() as conn:
        life = progress(conn, 0, pay.now_ms + 1)[-1]
    assert life.applied_ms is not None
    assert life.captured_ms is not None
    assert life.applied_ms - life.captured_ms <= MINUTE_MS


@pytest.mark.covers_part("C3-S1.3", "C3-S2.4")
def test_an_estimate_comes_with_its_lines_and_its_basis(reader: Program, old_street: WebStreet) -> None:
    found = reader.get(f"/accounts/{old_street.pay.account}/estimate")
    assert found["energy_wh"] > 0
    assert sum(nano(line["amount"]) for line in found["lines"]) == nano(found["amount"]) > 0
    assert (found["known_hours"] > 60, found["basis_to"] <= found["from"]) == (True, True)
    to = utc_text(old_street.now_ms + 3_600_000)
    hour = reader.get(f"/accounts/{old_street.pay.account}/estimate", to=to)
    assert 0 < nano(hour["amount"]) < nano(found["amount"])
    assert is_problem(reader.send("GET", "/accounts/4711/estimate"), 404, "unknown-account")
    back = reader.send("GET", f"/accounts/{old_street.pay.account}/estimate", query_string={"to": "2020-01-01T00:00:00Z"})
    assert is_problem(back, 422, "bad-span")
