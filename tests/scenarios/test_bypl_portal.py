"""Seed 000 (BYPL), the portal: first login, bills and their payment, what staff may see. Pages and API of a street with life in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from gridtally_cloud.billing import service as billing
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.customers import service
from gridtally_cloud.customers.model import Role
from gridtally_cloud.web.access import ACCESS, PUBLIC, allowed
from gridtally_cloud.web.site import EXTENSION
from gridtally_shared.clock import ManualClock, SystemClock
from gridtally_shared.money import display, nano
from support.payday import DAY_MS, START_MS
from support.pdf_text import text_of
from support.web_person import Person
from support.web_street import PER_DAY, WebStreet
from support.web_words import plain

MINUTE_MS = 60_000
GIVEN, CHOSEN = "given by the desk 77", "violet harbour lanterns"
POSTPAID = 3
LOGINS = {Role.CONSUMER: "asha", Role.DESK: "dora", Role.OPERATIONS: "otto", Role.ADMIN: "ada"}
HOME = {Role.CONSUMER: "/account/1/profile", Role.DESK: "/desk/", Role.OPERATIONS: "/staff/", Role.ADMIN: "/staff/"}
SAMPLE = {"bill_no": "S-0000000", "order_id": "none", "cmd_id": "00", "token_no": "99", "what": "cancel",
          "gateway_order": "none", "gateway": "test", "filename": "style.css"}  # fmt: skip
PLACE = re.compile(r"<(?:any\((\w+)[^)]*\):\w+|(?:\w+(?:\([^)]*\))?:)?(\w+))>")
"""A variable part of a rule: the first word it may be, or its name."""
WITHOUT_PASSWORD = {"auth.password", "auth.logout", "auth.choose_language"}


@pytest.fixture
def street(tmp_path: Path) -> Iterator[WebStreet]:
    made = WebStreet(tmp_path)
    yield made
    made.close()


def routes(app: Flask, method: str) -> list[tuple[str, str]]:
    """(endpoint, path) of every page a browser may call with a method, with sample values."""
    rules = [r for r in app.url_map.iter_rules() if method in (r.methods or ()) and not r.endpoint.startswith("api.")]
    return [(r.endpoint, PLACE.sub(lambda m: m[1] or SAMPLE.get(m[2], "1"), r.rule)) for r in rules]


# ---- 15. registration: the first login ------------------------------------------------------------------------


def newcomer(street: WebStreet, role: Role = Role.CONSUMER) -> None:
    """Login id and default password were sent (15.4)."""
    customer_no = street.pay.homes[0].customer_no if role is Role.CONSUMER else None
    service.create_user(street.pay.db, "nia", "Nia", role, GIVEN, SystemClock().now_ms(), "test", customer_no=customer_no,
                        must_change=True)  # fmt: skip


def enter(app: Flask, password: str) -> Person:
    """15.5: a browser after a login as Nia."""
    person = Person(app)
    assert person.post("/login", {"login": "nia", "password": password}).status_code == 302
    return person


@pytest.mark.covers("BYPL-15.6")
@pytest.mark.parametrize("role", [Role.CONSUMER, Role.ADMIN])
def test_until_the_password_is_changed_every_other_page_leads_there(street: WebStreet, role: Role) -> None:
    newcomer(street, role)
    app = street.app()
    nia = enter(app, GIVEN)
    pages = [(e, p) for e, p in routes(app, "GET") if ACCESS[e] != PUBLIC and e not in WITHOUT_PASSWORD and allowed(e, role)]
    assert len(pages) > 10
    led = {endpoint: nia.client.get(path).headers.get("Location") for endpoint, path in pages}
    assert led == dict.fromkeys(led, "/password")
    nia.post("/password", {"old": GIVEN, "new": CHOSEN, "again": CHOSEN})
    assert nia.client.get(HOME[role]).status_code == 200


@pytest.mark.covers("BYPL-15.7")
def test_the_new_password_follows_the_policy_and_ends_what_the_old_one_opened(street: WebStreet) -> None:
    newcomer(street)
    app = street.app()
    nia, elsewhere = enter(app, GIVEN), enter(app, GIVEN)
    for weak in ("short", "password1234", "nia nia nia nia", GIVEN):  # policy: long enough, not common, not about her, not the same
        answer = nia.post("/password", {"old": GIVEN, "new": weak, "again": weak})
        assert (answer.status_code, 'id="new-error"' in answer.get_data(as_text=True)) == (422, True), weak
    assert nia.post("/password", {"old": GIVEN, "new": CHOSEN, "again": CHOSEN}).status_code == 302
    assert nia.client.get("/account/1/").status_code == 200
    assert elsewhere.client.get("/account/1/").headers["Location"].startswith("/login")  # other sessions ended
    assert Person(app).post("/login", {"login": "nia", "password": GIVEN}).status_code == 401  # the old one is dead
    assert enter(app, CHOSEN).client.get("/account/1/").status_code == 200


# ---- 18. post-paid bill payment -------------------------------------------------------------------------------


def bill(street: WebStreet, first_day: int, last_day: int) -> str:
    """Bill the days to the post-paid home; the bill's number."""
    with street.pay.db.write() as conn:
        span = START_MS + first_day * DAY_MS, START_MS + last_day * DAY_MS
        return billing.issue_bill(conn, POSTPAID, *span, street.now_ms, "test").bill_no


def in_the_ledger(street: WebStreet) -> int:
    """What the account owes by the double-entry ledger, added up here."""
    r = receivable.c
    with street.pay.db.read() as conn:
        rows = conn.execute(select(r.debit_account, r.credit_account, r.amount_nano).where(r.account_no == POSTPAID)).all()
    return sum(x.amount_nano * ((x.debit_account == "receivable") - (x.credit_account == "receivable")) for x in rows)


def spanish(amount_nano: int) -> str:
    """As Carmen's pages write it."""
    sign, figures = ("−" if amount_nano < 0 else ""), display(abs(amount_nano), "INR").lstrip("₹ \xa0")
    return f"{sign}{figures.replace(',', ' ').replace('.', ',').replace(' ', '.')} ₹"


@pytest.mark.covers("BYPL-18.2")
def test_history_and_the_outstanding_amount_which_is_the_ledgers(street: WebStreet) -> None:
    street.live(PER_DAY * 5)
    numbers = [bill(street, 0, 2), bill(street, 2, 4)]
    street.pay.pay("100", POSTPAID)
    carmen = Person(street.app(), "carmen")
    page = plain(carmen.get(f"/account/{POSTPAID}/bills"))
    assert all(number in page for number in numbers)  # history
    owed_nano = in_the_ledger(street)
    assert owed_nano > 0
    assert f"Por pagar {spanish(owed_nano)}" in plain(carmen.get(f"/account/{POSTPAID}/"))  # current outstanding = ledger


@pytest.mark.covers("BYPL-18.3")
def test_paying_starts_at_the_gateway_and_the_bill_can_be_taken_home(street: WebStreet) -> None:
    street.live(PER_DAY * 5)
    number = bill(street, 0, 4)
    carmen = Person(street.app(), "carmen")
    path = f"/account/{POSTPAID}/bills/{number}"
    with street.pay.db.read() as conn:
        view = billing.bill(conn, number)
    started = carmen.post(f"{path}/pay", form=path).headers["Location"]
    assert started.startswith("/pay/test/")
    assert spanish(view.due_nano) in plain(carmen.get(started))  # at the gateway, with the amount
    download = carmen.client.get(f"{path}.pdf")
    assert download.mimetype == "application/pdf"
    text = re.sub(r"\s+", " ", text_of(download.data))
    assert number in text  # bill no.
    assert "1 nov 2026 – 4 nov 2026" in text  # period
    assert f"A pagar {spanish(view.due_nano)}" in text  # amounts
    assert [spanish(line.shown_nano) in text for line in view.bill.lines] == [True] * len(view.bill.lines)


@pytest.mark.covers("BYPL-18.5")
def test_a_payment_is_acknowledged_in_part_in_full_and_as_credit(street: WebStreet) -> None:
    street.live(PER_DAY * 5)
    number = bill(street, 0, 4)
    carmen = Person(street.app(), "carmen")
    path = f"/account/{POSTPAID}/bills/{number}"
    due_nano = in_the_ledger(street)
    street.pay.pay("100", POSTPAID)
    assert "Pagada en parte" in plain(carmen.get(path))  # part-paid
    assert in_the_ledger(street) == due_nano - nano("100")
    street.pay.pay("100", POSTPAID)
    assert "Pagada" in plain(carmen.get(path))  # paid
    assert "Pagada en parte" not in plain(carmen.get(path))
    over_nano = nano("200") - due_nano
    assert over_nano > 0
    assert in_the_ledger(street) == -over_nano  # the over-payment is a credit ...
    assert spanish(-over_nano) in plain(carmen.get(f"/account/{POSTPAID}/"))
    street.live(PER_DAY * 3)
    following = bill(street, 4, 7)
    with street.pay.db.read() as conn:
        view = billing.bill(conn, following)
    used_nano = sum(line.shown_nano for line in view.bill.lines if line.shown_nano > 0)
    assert abs(view.due_nano - (used_nano - over_nano)) <= nano("0.01")  # ... the next bill takes it off
    assert in_the_ledger(street) == view.due_nano


# ---- 22. staff users ------------------------------------------------------------------------------------------


BESIDE = {"operations.load": "operations.events"}
"""Pages that are a tab of another page, not a line of the menu."""


@pytest.mark.covers("BYPL-22.2")
@pytest.mark.parametrize("role", list(Role))
def test_each_role_reaches_its_functions_no_other_and_its_menu_shows_them(street: WebStreet, role: Role) -> None:
    app = street.app()
    person = Person(app, LOGINS[role])
    wrong: dict[str, int] = {}
    for method in ("GET", "POST"):
        for endpoint, path in routes(app, method):
            if ACCESS[endpoint] == PUBLIC or endpoint == "auth.logout":
                continue
            answer = person.client.get(path) if method == "GET" else person.post(path, form=HOME[role])
            at_login = answer.headers.get("Location", "").startswith("/login")
            good = answer.status_code < 500 and not at_login and (answer.status_code != 403) is allowed(endpoint, role)
            if not good:
                wrong[f"{method} {endpoint}"] = answer.status_code
            if endpoint == "consumer.end_sessions":
                person = Person(app, LOGINS[role])
    assert wrong == {}
    page = person.get(HOME[role])
    menu = re.search(r'<nav aria-label="[^"]+">(.*?)</nav>', page, re.S) or re.search(r"<nav [^>]*>(.*?)</nav>", page, re.S)
    assert menu
    links = set(re.findall(r'href="([^"]+)"', menu[1]))
    assert {path: person.client.get(path).status_code for path in links} == dict.fromkeys(links, 200)
    for page, parent in BESIDE.items():
        if allowed(page, role):
            assert f'href="{path_of(app, page)}"' in person.get(path_of(app, parent))
    staff = [(e, p) for e, p in routes(app, "GET") if e.startswith(("operations.", "desk.", "programmes.", "work."))]
    areas = {p for e, p in staff if "<" not in _rule(app, e) and allowed(e, role) and e not in BESIDE}
    assert links == areas if role is not Role.CONSUMER else not areas


def _rule(app: Flask, endpoint: str) -> str:
    return next(r.rule for r in app.url_map.iter_rules() if r.endpoint == endpoint)


def path_of(app: Flask, endpoint: str) -> str:
    return dict(routes(app, "GET"))[endpoint]


@pytest.mark.covers("BYPL-22.3")
@pytest.mark.parametrize("login", ["dora", "otto", "ada"])
def test_a_staff_session_is_dead_after_the_log_out_and_after_idleness(street: WebStreet, login: str) -> None:
    app = street.app()
    clock = ManualClock(SystemClock().now_ms())
    app.extensions[EXTENSION] = replace(app.extensions[EXTENSION], real=clock)
    person, page = Person(app, login), "/desk/" if login == "dora" else "/staff/"
    cookie = person.client.get_cookie("gt_session")
    assert cookie is not None
    assert person.post("/logout", form=page).status_code == 302
    kept = app.test_client()
    kept.set_cookie("gt_session", cookie.value)
    assert kept.get(page).headers["Location"].startswith("/login")  # the cookie is dead
    idle = Person(app, login)
    clock.advance(14 * MINUTE_MS)
    assert idle.client.get(page).status_code == 200
    clock.advance(15 * MINUTE_MS)
    assert idle.client.get(page).headers["Location"].startswith("/login")  # idle time-out
