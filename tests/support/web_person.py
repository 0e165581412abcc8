"""A browser without a screen and without JavaScript, for tests of pages."""

from __future__ import annotations

import re

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from support.web_street import PASSWORD

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


def token_of(html: str) -> str:
    """The CSRF token in a page."""
    found = TOKEN.search(html)
    assert found, "the page has no form"
    return found[1]


class Person:
    """A browser without JavaScript: follows forms as a person would."""

    def __init__(self, app: Flask, login: str = "") -> None:
        self.client: FlaskClient = app.test_client()
        if login:
            answer = self.post("/login", {"login": login, "password": PASSWORD}, form="/login")
            assert answer.status_code == 302, f"{login} could not sign in"

    def get(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, f"{path}: {answer.status_code}"
        return answer.get_data(as_text=True)

    def post(self, path: str, fields: dict[str, str] | None = None, form: str = "") -> TestResponse:
        """Send a form of the page `form` (by default the page of the same path)."""
        token = token_of(self.client.get(form or path).get_data(as_text=True))
        return self.client.post(path, data={**(fields or {}), "csrf_token": token})
