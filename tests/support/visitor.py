"""A browser without a screen that talks real HTTP to a running MDM or balance page, as a person's phone would."""

from __future__ import annotations

import json
import re
from http.client import HTTPException
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, Request, build_opener

TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
TIMEOUT_S = 20.0


class NoAnswer(Exception):
    """Nobody there, or the connection ended before the answer: whether it was done is not known."""


class Visitor:
    """Keeps cookies, follows redirects, fills the CSRF token in. `get` and `post` give (status, text)."""

    def __init__(self, base_url: str, jar: CookieJar | None = None) -> None:
        self.base_url, self.at = base_url, ""
        self.jar = CookieJar() if jar is None else jar
        self._opener = build_opener(HTTPCookieProcessor(self.jar))

    def another_tab(self) -> Visitor:
        """The same person in another window, for use in another thread."""
        return Visitor(self.base_url, self.jar)

    def get(self, path: str) -> tuple[int, str]:
        return self._ask(Request(urljoin(self.base_url, path)))

    def post(self, path: str, fields: dict[str, str], form: str = "") -> tuple[int, str]:
        """Send a form of the page `form` (by default the page of the same path); a page without a token gets none."""
        token = TOKEN.search(self.get(form or path)[1])
        secret = {"csrf_token": token[1]} if token else {}
        return self._ask(Request(urljoin(self.base_url, path), urlencode({**fields, **secret}).encode()))

    def sign_in(self, login: str, password: str) -> None:
        status, text = self.post("login", {"login": login, "password": password})
        assert status == 200, f"{login} could not sign in: {text[:300]}"

    def api(self, path: str, token: str) -> Any:
        """A JSON answer of the API."""
        status, text = self._ask(Request(urljoin(self.base_url, path), headers={"Authorization": f"Bearer {token}"}))
        assert status == 200, f"{path}: {status} {text[:300]}"
        return json.loads(text)

    def _ask(self, request: Request) -> tuple[int, str]:
        try:
            with self._opened(request) as answer:
                self.at = str(answer.url)
                return int(answer.status), answer.read().decode(errors="replace")
        except (URLError, OSError, ValueError, HTTPException) as error:  # HTTPException: it ended in the middle of an answer
            raise NoAnswer(str(error)) from error

    def _opened(self, request: Request) -> Any:
        """The answer, also one that says no."""
        try:
            return self._opener.open(request, timeout=TIMEOUT_S)
        except HTTPError as error:
            return error
