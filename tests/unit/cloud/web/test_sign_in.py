"""Login, lock-out, sessions, passwords, language, and the headers of every answer."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from flask import Flask

from gridtally_cloud.app import create_app
from gridtally_cloud.customers import service
from gridtally_cloud.customers.model import Role
from gridtally_cloud.web.security import HEADERS
from gridtally_cloud.web.site import EXTENSION, WebSettings
from gridtally_shared.clock import ManualClock, SystemClock
from support.web_person import Person, token_of
from support.web_street import PASSWORD, StreetClock, WebStreet

MINUTE_MS = 60_000


def on_a_wound_clock(app: Flask) -> ManualClock:
    """Sessions and lock-outs of this app follow the returned clock."""
    clock = ManualClock(SystemClock().now_ms())
    app.extensions[EXTENSION] = replace(app.extensions[EXTENSION], real=clock)
    return clock


@pytest.mark.covers("BYPL-16.1", "BYPL-17.1", "BYPL-18.1")
@pytest.mark.parametrize(("login", "account_no", "shown"), [("asha", 1, "Balance"), ("carmen", 3, "Por pagar")])
def test_good_and_bad_login_lock_out_and_log_out(street: WebStreet, login: str, account_no: int, shown: str) -> None:
    app = street.app()
    clock = on_a_wound_clock(app)
    person = Person(app)
    for _ in range(5):
        answer = person.post("/login", {"login": login, "password": "wrong wrong wrong"})
        assert answer.status_code == 401
    assert "Too many attempts" in answer.get_data(as_text=True)
    locked = person.post("/login", {"login": login, "password": PASSWORD})
    assert locked.status_code == 401
    clock.advance(MINUTE_MS + 1)
    good = person.post("/login", {"login": login, "password": PASSWORD})
    assert good.status_code == 302
    home = f"/account/{account_no}/"
    assert shown in person.get(home)
    person.post("/logout", form=f"{home}profile")
    assert person.client.get(home).status_code == 302


def test_an_unknown_login_gets_the_same_answer(old_app: Flask) -> None:
    def said(login: str) -> str:
        page = Person(old_app).post("/login", {"login": login, "password": "wrong wrong wrong"}).get_data(as_text=True)
        return re.sub(r'value="[^"]*"', "", page)

    assert said("nobody-here") == said("carmen")


@pytest.mark.parametrize(("login", "idle_min", "longest_h"), [("asha", 30, 12), ("otto", 15, 8)])
def test_sessions_end_idle_and_at_last(street: WebStreet, login: str, idle_min: int, longest_h: int) -> None:
    app = street.app()
    clock = on_a_wound_clock(app)
    person, page = Person(app, login), "/account/1/" if login == "asha" else "/staff/"
    for _ in range(longest_h * 60 // (idle_min - 1)):
        clock.advance((idle_min - 1) * MINUTE_MS)
        person.get(page)
    clock.advance((idle_min - 1) * MINUTE_MS)
    assert person.client.get(page).status_code == 302, "the absolute limit"
    other = Person(app, login)
    clock.advance(idle_min * MINUTE_MS)
    assert other.client.get(page).status_code == 302, "the idle limit"


def test_the_cookie_of_a_session_that_was_signed_out_is_worth_nothing(street: WebStreet) -> None:
    app = street.app()
    person = Person(app, "asha")
    stolen = person.client.get_cookie("gt_session")
    assert stolen is not None
    assert stolen.http_only
    person.post("/logout", form="/account/1/profile")
    thief = app.test_client()
    thief.set_cookie("gt_session", stolen.value)
    assert thief.get("/account/1/").status_code == 302


def test_signing_in_makes_a_new_session_and_a_new_form_token(street: WebStreet) -> None:
    person = Person(street.app())
    before = token_of(person.get("/login"))
    person.post("/login", {"login": "asha", "password": PASSWORD})
    assert token_of(person.get("/account/1/profile")) != before


def test_a_disabled_login_is_out_at_once(street: WebStreet) -> None:
    person = Person(street.app(), "asha")
    with street.pay.db.write() as conn:
        service.set_active(conn, "asha", False, SystemClock().now_ms(), "test")
    assert person.client.get("/account/1/").status_code == 302


def test_other_devices_can_be_signed_out(street: WebStreet) -> None:
    app = street.app()
    here, there = Person(app, "asha"), Person(app, "asha")
    answer = here.post("/account/1/profile/end-sessions", form="/account/1/profile")
    assert answer.status_code == 302
    assert there.client.get("/account/1/").status_code == 302
    assert "1 other device is signed out" in here.get("/account/1/profile")


SAFE = {"GET", "HEAD", "OPTIONS"}
OWN_PROOF = "payments.webhook"
"""Signed by the gateway; the API's calls are by token."""


def unsafe_paths(app: Flask) -> list[str]:
    """A path for every rule that takes more than reading, by the application's own map."""
    rules = [r for r in app.url_map.iter_rules() if (r.methods or set()) - SAFE]
    forms = [r for r in rules if r.endpoint != OWN_PROOF and not r.endpoint.startswith("api.")]
    return [re.sub(r"<[^>]+>", "1", re.sub(r"<any\((\w+)[^>]*>", r"\1", r.rule)) for r in forms]


@pytest.mark.parametrize("login", ["asha", "ada"])
def test_no_form_is_taken_without_its_token(login: str, old_app: Flask, sign_in) -> None:  # type: ignore[no-untyped-def]
    paths = unsafe_paths(old_app)
    assert {"/login", "/account/1/recharge", "/desk/accounts/1/credit"} < set(paths)
    browser = sign_in(login).client
    assert {path: status for path in paths if (status := browser.post(path, data={"login": login}).status_code) != 400} == {}


@pytest.mark.parametrize("path", ["/login", "/", "/static/style.css", "/no-such-page", "/api/v1/openapi.json", "/api/v1/meters", "/staff/"])
def test_every_answer_carries_the_headers(path: str, old_app: Flask) -> None:
    headers = old_app.test_client().get(path).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS
    assert "script-src" not in headers["Content-Security-Policy"]
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_pages_carry_no_script_and_no_inline_style(old_app: Flask, sign_in) -> None:  # type: ignore[no-untyped-def]
    for login, paths in (("asha", ("/account/1/", "/account/1/usage")), ("ada", ("/staff/", "/staff/meters/1", "/desk/accounts/1"))):
        for path in paths:
            page = sign_in(login).get(path)
            assert "<script" not in page
            assert not re.search(r"\s(style|on\w+)=", page), path


def test_over_https_cookies_are_locked_to_the_host(street: WebStreet) -> None:
    settings = WebSettings(b"k" * 32, https=True)
    app = create_app(settings, street.pay.db, StreetClock(street.pay), street.pay.payments)
    client = app.test_client()
    page = client.get("/login", base_url="https://localhost")
    token = token_of(page.get_data(as_text=True))
    fields = {"login": "asha", "password": PASSWORD, "csrf_token": token}
    answer = client.post("/login", data=fields, base_url="https://localhost", headers={"Referer": "https://localhost/login"})
    cookies = answer.headers.getlist("Set-Cookie")
    mine = next(c for c in cookies if c.startswith("__Host-gt_session="))
    assert all(part in mine for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))
    assert "Domain" not in mine
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/\nevil"])
def test_login_leads_nowhere_else(target: str, old_app: Flask) -> None:
    answer = Person(old_app).post("/login", {"login": "asha", "password": PASSWORD, "next": target})
    assert answer.headers["Location"] == "/"


def test_login_goes_on_to_the_page_asked_for(old_app: Flask) -> None:
    client = old_app.test_client()
    asked = client.get("/account/1/usage?span=month").headers["Location"]
    assert asked == "/login?next=/account/1/usage?span%3Dmonth"
    token = token_of(client.get(asked).get_data(as_text=True))
    fields = {"login": "asha", "password": PASSWORD, "next": "/account/1/usage?span=month", "csrf_token": token}
    assert client.post("/login", data=fields).headers["Location"] == "/account/1/usage?span=month"


@pytest.mark.covers_part("BYPL-15.5")
def test_a_first_login_must_choose_a_password(street: WebStreet) -> None:
    app = street.app()
    given, now_ms = "given by the desk 77", SystemClock().now_ms()
    service.create_user(street.pay.db, "newcomer", "Nia", Role.DESK, given, now_ms, "test", must_change=True)
    person = Person(app)
    person.post("/login", {"login": "newcomer", "password": "given by the desk 77"})
    assert person.client.get("/desk/").headers["Location"] == "/password"
    fields = {"old": "given by the desk 77", "new": "violet harbour lanterns", "again": "violet harbour lanterns"}
    assert person.post("/password", fields).status_code == 302
    assert person.client.get("/desk/").status_code == 200
    again = Person(app).post("/login", {"login": "newcomer", "password": "given by the desk 77"})
    assert again.status_code == 401, "the given password works once"


@pytest.mark.parametrize(
    ("old", "new", "again", "field"),
    [
        ("not the password", "violet harbour lanterns", "violet harbour lanterns", "old"),
        (PASSWORD, "password1234", "password1234", "new"),
        (PASSWORD, "violet harbour lanterns", "violet harbour lantern", "again"),
    ],
)
def test_a_password_that_will_not_do_is_explained(street: WebStreet, old: str, new: str, again: str, field: str) -> None:
    answer = Person(street.app(), "asha").post("/password", {"old": old, "new": new, "again": again})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in page
    assert f'href="#{field}"' in page


def test_language_follows_the_person_and_the_browser(street: WebStreet) -> None:
    app = street.app()
    assert '<html lang="es"' in app.test_client().get("/login", headers={"Accept-Language": "es-MX"}).get_data(as_text=True)
    person = Person(app, "asha")
    person.post("/language", {"language": "hi", "next": "/account/1/"}, form="/account/1/")
    assert '<html lang="hi"' in person.get("/account/1/")
    assert '<html lang="hi"' in Person(app, "asha").get("/account/1/"), "it is kept with the login"
    assert person.post("/language", {"language": "xx"}, form="/account/1/").status_code == 400


def test_a_defect_shows_no_inside(street: WebStreet) -> None:
    app = street.app()
    street.pay.db.close()
    app.extensions[EXTENSION] = replace(app.extensions[EXTENSION], db=None)
    client = app.test_client()
    client.set_cookie("gt_session", "x")
    answer = client.get("/account/1/")
    assert answer.status_code == 500
    assert "Traceback" not in answer.get_data(as_text=True)


@pytest.mark.parametrize("path", ["/login", "/password", "/account/1/recharge", "/account/1/"])
def test_asking_for_the_head_only_does_nothing(path: str, sign_in) -> None:  # type: ignore[no-untyped-def]
    assert sign_in("asha").client.head(path).status_code in (200, 302)
