"""The balance page's server: the standard library's, read-only on money.db, in a process of its own.

* A visitor sees nothing without account number and PIN; a session belongs to one account and ends after half a day.
* GET never changes anything but the language; forms are posted, cookies are HttpOnly and SameSite=Strict.
* No script and no outside resource: the content security policy allows the own style sheet and nothing else.
* Meant for the home's own network behind the DCU; off the loopback only where the operator says so (safety.md 20).
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

from gridtally_edge.display.account import find_account, view_account
from gridtally_edge.display.guesses import Guesses
from gridtally_edge.display.page import balance_page, login_page, trouble_page
from gridtally_edge.display.texts import LANGUAGES, Words, accepted, language_of
from gridtally_edge.journal.sqlite import open_reader
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.clock import Clock
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import ConfigError
from gridtally_shared.pins import hash_pin, pin_matches

SESSION_S = 12 * 3600
MOST_SESSIONS = 2_000
LONGEST_FORM = 1_024
REQUEST_TIMEOUT_S = 20
SESSION, LANGUAGE = "gt_session", "gt_language"
HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
NOBODY = hash_pin("0", bytes(16))

log = logging.getLogger("gridtally.display")


@dataclass(slots=True)
class Sessions:
    """Who is in: token -> account and end, in real monotonic seconds."""

    _open: dict[str, tuple[int, float]] = field(default_factory=dict)

    def enter(self, account_no: int, now_s: float) -> str:
        self._open = {t: s for t, s in self._open.items() if s[1] > now_s}
        if len(self._open) >= MOST_SESSIONS:
            self._open.pop(min(self._open, key=lambda t: self._open[t][1]))
        token = secrets.token_urlsafe(24)
        self._open[token] = (account_no, now_s + SESSION_S)
        return token

    def account_of(self, token: str, now_s: float) -> int | None:
        account_no, until_s = self._open.get(token, (0, 0.0))
        return account_no if until_s > now_s else None

    def leave(self, token: str) -> None:
        self._open.pop(token, None)


class DisplayServer(ThreadingHTTPServer):
    """`serve_forever` in the process's main thread; `shutdown` from another."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], money_db: Path, clock: Clock) -> None:
        self.money_db, self.clock = money_db, clock
        self.sessions, self.guesses = Sessions(), Guesses()
        self.lock = threading.Lock()
        self.style = resources.files("gridtally_edge.display").joinpath("style.css").read_bytes()
        try:
            super().__init__(address, DisplayHandler)
        except OSError as error:
            remedy = f"can not listen on {address[0]}:{address[1]} ({error.strerror}); stop the other program or choose another port"
            raise ConfigError("display.port", address[1], remedy) from error

    def reader(self) -> sqlite3.Connection:
        return open_reader(self.money_db, MONEY_STORE)


class DisplayHandler(BaseHTTPRequestHandler):
    server: DisplayServer
    timeout: ClassVar[float] = REQUEST_TIMEOUT_S
    server_version = "gridtally"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path == "/style.css":
            self._answer(HTTPStatus.OK, self.server.style, "text/css; charset=utf-8")
        elif self.path.startswith("/language/"):
            self._choose_language(self.path.removeprefix("/language/"))
        elif self.path == "/":
            self._show()
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"There is only one page here: /\n", "text/plain; charset=utf-8")

    def do_POST(self) -> None:
        form = self._form()
        if form is None:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"That is too much.\n", "text/plain; charset=utf-8")
        elif self.path == "/open":
            self._open(form.get("account", ""), form.get("pin", ""))
        elif self.path == "/leave":
            self.server.sessions.leave(self._cookie(SESSION))
            self._redirect(f"{SESSION}=; Max-Age=0")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"There is only one page here: /\n", "text/plain; charset=utf-8")

    def _show(self) -> None:
        account_no = self.server.sessions.account_of(self._cookie(SESSION), time.monotonic())
        if account_no is None:
            self._html(HTTPStatus.OK, login_page(Words(self._language())))
            return
        try:
            db = self.server.reader()
            try:
                view = view_account(db, account_no, self.server.clock.now_ms())
            finally:
                db.close()
        except (ConfigError, sqlite3.Error) as error:
            log.warning("the balance can not be read: %s", error)
            self._html(HTTPStatus.SERVICE_UNAVAILABLE, trouble_page(Words(self._language())))
            return
        if view is None:
            self._html(HTTPStatus.OK, login_page(Words(self._language())))
            return
        words = Words(self._language(view.config.language), view.config.currency, zone_of(view.config.zone))
        self._html(HTTPStatus.OK, balance_page(words, view))

    def _open(self, account: str, pin: str) -> None:
        words = Words(self._language())
        keys = (f"account {account[:18]}", f"from {self.client_address[0]}")
        now_ms = time.monotonic_ns() // 1_000_000
        with self.server.lock:  # one scrypt at a time: a small box, and no race around the count
            wait_ms = self.server.guesses.wait_ms(keys, now_ms)
            found = None if wait_ms else self._checked(account, pin)
            if found is None and not wait_ms:
                self.server.guesses.failed(keys, now_ms)
            elif found is not None:
                self.server.guesses.succeeded(keys)
        if found is not None:
            token = self.server.sessions.enter(found.account_no, time.monotonic())
            self._redirect(f"{SESSION}={token}; Max-Age={SESSION_S}")
        elif wait_ms:
            self._html(HTTPStatus.TOO_MANY_REQUESTS, login_page(words, account, words.label("locked", s=str(wait_ms // 1000 + 1))))
        else:
            self._html(HTTPStatus.FORBIDDEN, login_page(words, account, words.label("wrong")))

    def _checked(self, account: str, pin: str) -> AccountConfig | None:
        """The account if the PIN is its own. Takes the same time whether or not there is such an account."""
        try:
            db = self.server.reader()
            try:
                found = find_account(db, int(account)) if account.isascii() and account.isdigit() and len(account) <= 18 else None
            finally:
                db.close()
        except (ConfigError, sqlite3.Error) as error:
            log.warning("the accounts can not be read: %s", error)
            return None
        matches = pin_matches(pin, found.pin_hash if found and found.pin_hash else NOBODY)
        return found if matches and found is not None and found.pin_hash else None

    def _choose_language(self, code: str) -> None:
        if code in LANGUAGES:
            self._redirect(f"{LANGUAGE}={code}; Max-Age=31536000")
        else:
            self._redirect("")

    def _language(self, preferred: str = "") -> str:
        return language_of(self._cookie(LANGUAGE), preferred, accepted(self.headers.get("Accept-Language", "")))

    def _cookie(self, name: str) -> str:
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")[:2_000]).get(name)
        except CookieError:
            return ""
        return morsel.value if morsel else ""

    def _form(self) -> dict[str, str] | None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > LONGEST_FORM:
            return None
        try:
            fields = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"), max_num_fields=8)
        except ValueError:
            return None
        return {name: values[0] for name, values in fields.items()}

    def _redirect(self, cookie: str) -> None:
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        if cookie:
            self.send_header("Set-Cookie", f"{cookie}; Path=/; HttpOnly; SameSite=Strict")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _html(self, status: HTTPStatus, text: str) -> None:
        self._answer(status, text.encode(), "text/html; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests name accounts; they go to the debug log only."""
        log.debug(format, *args)
