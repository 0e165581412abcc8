"""Who may call what: every route declared, every role tried on every page, another person's account invisible."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask

from gridtally_cloud.customers.model import Role
from gridtally_cloud.web.access import ACCESS, PUBLIC, allowed
from support.stores import ON_POSTGRES
from support.web_street import WebStreet

LOGINS = {Role.CONSUMER: "asha", Role.DESK: "dora", Role.OPERATIONS: "otto", Role.ADMIN: "ada"}
SAMPLE = {"account_no": "1", "meter_no": "1", "bill_no": "S-0000000", "order_id": "none", "cmd_id": "00", "token_no": "1",
          "gateway_order": "none", "gateway": "test", "filename": "style.css"}  # fmt: skip


def pages(app: Flask) -> list[tuple[str, str]]:
    """(endpoint, path) of everything a browser can GET, with sample values."""
    found = []
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and not rule.endpoint.startswith("api.") and rule.endpoint != "auth.login":
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda m: SAMPLE[m[1]], rule.rule)
            found.append((rule.endpoint, path))
    return found


def test_every_route_is_declared_and_every_declaration_is_a_route(old_app: Flask) -> None:
    routes = {rule.endpoint for rule in old_app.url_map.iter_rules() if not rule.endpoint.startswith("api.")}
    assert routes == set(ACCESS)


def test_an_undeclared_route_is_refused(old_street: WebStreet) -> None:
    app = old_street.app()
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    assert app.test_client().get("/forgotten").status_code == 403


@pytest.mark.parametrize("role", list(Role))
def test_every_role_gets_its_pages_and_no_other(role: Role, old_app: Flask, sign_in: Callable) -> None:  # type: ignore[type-arg]
    person = sign_in(LOGINS[role])
    wrong = {}
    for endpoint, path in pages(old_app):
        status = person.client.get(path).status_code
        good = status in (200, 302, 400, 404) if allowed(endpoint, role) else status == 403
        if not good:
            wrong[endpoint] = status
    assert wrong == {}


def test_what_no_store_holds_is_the_mistake_of_the_asker(sign_in: Callable) -> None:  # type: ignore[type-arg]
    """Numbers beyond 64 bits; NUL in a text, which SQLite takes and PostgreSQL does not."""
    beyond = 10**20
    for login, path in (("otto", f"/staff/meters/{beyond}"), ("otto", f"/staff/meters?after={beyond}"),
                        ("dora", f"/desk/accounts/{beyond}")):  # fmt: skip
        assert sign_in(login).client.get(path).status_code == 400, path
    for login, path in (("otto", "/staff/meters?q=%00"), ("otto", "/staff/meters?dcu=a%00b"), ("dora", "/desk/?q=a%00b")):
        assert sign_in(login).client.get(path).status_code == (400 if ON_POSTGRES else 200), path


def test_nobody_is_sent_to_the_login(old_app: Flask) -> None:
    client = old_app.test_client()
    for endpoint, path in pages(old_app):
        answer = client.get(path)
        if ACCESS[endpoint] != PUBLIC:
            assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/login"), endpoint


@pytest.mark.covers_part("BYPL-16.2")
def test_another_consumers_account_does_not_exist(old_app: Flask, sign_in: Callable) -> None:  # type: ignore[type-arg]
    asha = sign_in("asha")
    own = [p for e, p in pages(old_app) if e.startswith("consumer.")]
    for path in own:
        assert asha.client.get(path.replace("/account/1/", "/account/2/")).status_code == 404, path
    assert asha.client.get("/account/999/").status_code == 404


@pytest.mark.parametrize("path", ["/account/2/recharge", "/account/2/profile/end-sessions", "/account/2/bills/S-0000000/pay",
                                  "/account/2/orders/x/pay", "/account/1/orders/x/pay", "/account/2/mode"])  # fmt: skip
def test_another_consumers_account_takes_no_orders(path: str, sign_in: Callable) -> None:  # type: ignore[type-arg]
    assert sign_in("asha").post(path, {"choice": "100"}, form="/account/1/recharge").status_code == 404


@pytest.mark.parametrize(
    ("login", "path"),
    [
        ("asha", "/staff/meters/1/commands"), ("dora", "/staff/meters/1/commands"), ("otto", "/desk/accounts/1/credit"),
        ("otto", "/staff/tokens"), ("dora", "/staff/tokens/1/revoke"), ("asha", "/desk/accounts/1/credit"),
    ],
)  # fmt: skip
def test_orders_of_another_role_are_refused(login: str, path: str, sign_in: Callable) -> None:  # type: ignore[type-arg]
    page = {"asha": "/account/1/recharge", "dora": "/desk/accounts/1", "otto": "/staff/meters/1"}[login]
    assert sign_in(login).post(path, {"kind": "read_instant"}, form=page).status_code == 403
