"""The balance page's server: the standard library's, read-only on money.db, in a process of its own.

* A visitor sees nothing without account number and PIN; a session belongs to one account and ends after half a day.
* GET never changes anything but the language; forms are posted, cookies are HttpOnly and SameSite=Strict.
* What a button asks for goes to the agent over the counter; the page says what came of it, or that it is kept for later.
* No script and no outside resource: the content security policy allows the own style sheet and nothing else.
* Meant for the home's own network behind the DCU; off the loopback only where the operator says so (safety.md 20).
"""

from __future__ import annotations

import logging
import secrets
import socket
import sqlite3
import ssl
import time
from dataclasses import field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

from gridtally_edge.display.account import AccountView
from gridtally_edge.display.door import Door
from gridtally_edge.display.errands import Errands
from gridtally_edge.display.page import ANSWERS, SAID, balance_page, login_page, trouble_page
from gridtally_edge.display.texts import LANGUAGES, Words, accepted, language_of
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.clock import Clock
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import ConfigError
from gridtally_shared.messages.order import FILED
from gridtally_shared.records import dataclass

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
WISHES = {"/emergency": "emergency", "/reclose": "reclose", "/message": "messages"}
"""Path of a button, and the word of it at the counter."""

log = logging.getLogger("gridtally.display")


@dataclass(slots=True)
class Sessions:
    """Who is in: token -> account as it was then, and end, in real monotonic seconds."""

    _open: dict[str, tuple[AccountConfig, float]] = field(default_factory=dict)

    def enter(self, account: AccountConfig, now_s: float) -> str:
        self._open = {t: s for t, s in self._open.items() if s[1] > now_s}
        if len(self._open) >= MOST_SESSIONS:
            self._open.pop(min(self._open, key=lambda t: self._open[t][1]))
        token = secrets.token_urlsafe(24)
        self._open[token] = (account, now_s + SESSION_S)
        return token

    def account_of(self, token: str, now_s: float) -> AccountConfig | None:
        account, until_s = self._open.get(token, (None, 0.0))
        return account if until_s > now_s else None

    def leave(self, token: str) -> None:
        self._open.pop(token, None)


class DisplayServer(ThreadingHTTPServer):
    """`serve_forever` in the process's main thread; `shutdown` from another."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], money_db: Path, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        self.door, self.errands, self.clock, self.tls = Door(money_db), Errands(money_db.parent), clock, tls
        self.sessions = Sessions()
        self.style = resources.files("gridtally_edge.display").joinpath("style.css").read_bytes()
        try:
            super().__init__(address, DisplayHandler)
        except OSError as error:
            remedy = f"can not listen on {address[0]}:{address[1]} ({error.strerror}); stop the other program or choose another port"
            raise ConfigError("display.port", address[1], remedy) from error

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """With a certificate the visitor's thread shakes hands, so that a slow one holds up nobody."""
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A visitor who went away or speaks no TLS."""
        log.debug("a visit ended early", exc_info=True)


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
        elif self.path.partition("?")[0] == "/":
            self._show(self.path.partition("?said=")[2])
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
        elif self.path in WISHES:
            self._wish(WISHES[self.path], form)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"There is only one page here: /\n", "text/plain; charset=utf-8")

    def _wish(self, kind: str, form: dict[str, str]) -> None:
        """A button of the own account; without a session nothing is asked for."""
        try:
            account_no = self._guest()
        except (ConfigError, sqlite3.Error) as error:
            log.warning("the accounts can not be read: %s", error)
            account_no = None
        word = form.get("answer", "")[:40]
        if account_no is None or (kind == "messages" and word.partition(".")[2] not in ("read", *ANSWERS, *FILED)):
            self._redirect("")
            return
        said = self.server.errands.ask(kind, account_no, word)
        shown = "asked" if (kind, said) == ("reclose", "noted") else said
        self._redirect("", f"/?said={shown}" if shown in SAID else "/")

    def _guest(self) -> int | None:
        """The account whose page this visitor may see. A changed PIN ends what the old one opened."""
        token = self._cookie(SESSION)
        account = self.server.sessions.account_of(token, time.monotonic())
        if account is None:
            return None
        if self.server.door.still(account):
            return account.account_no
        self.server.sessions.leave(token)
        return None

    def _show(self, said: str = "") -> None:
        try:
            view = self._own_view()
        except (ConfigError, sqlite3.Error) as error:
            log.warning("the balance can not be read: %s", error)
            self._html(HTTPStatus.SERVICE_UNAVAILABLE, trouble_page(Words(self._language())))
            return
        if view is None:
            self._html(HTTPStatus.OK, login_page(Words(self._language())))
            return
        words = Words(self._language(view.config.language), view.config.currency, zone_of(view.config.zone))
        self._html(HTTPStatus.OK, balance_page(words, view, said))
        self.server.errands.shown(view.config.account_no, view.messages)

    def _own_view(self) -> AccountView | None:
        """None without a session. Raises ConfigError or sqlite3.Error where the store is away."""
        account_no = self._guest()
        if account_no is None:
            return None
        db = self.server.door.reader()
        try:
            return self.server.door.view(db, account_no, self.server.clock.now_ms())
        finally:
            db.close()

    def _open(self, account: str, pin: str) -> None:
        words = Words(self._language())
        visit = self.server.door.enter(account, pin, self.client_address[0])
        if visit.account is not None:
            token = self.server.sessions.enter(visit.account, time.monotonic())
            self._redirect(f"{SESSION}={token}; Max-Age={SESSION_S}")
        elif visit.wait_ms:
            locked = words.label("locked", s=str(visit.wait_ms // 1000 + 1))
            self._html(HTTPStatus.TOO_MANY_REQUESTS, login_page(words, account, locked))
        else:
            self._html(HTTPStatus.FORBIDDEN, login_page(words, account, words.label("wrong")))

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

    def _redirect(self, cookie: str, location: str = "/") -> None:
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", location)
        if cookie:
            secure = "; Secure" if self.server.tls is not None else ""
            self.send_header("Set-Cookie", f"{cookie}; Path=/; HttpOnly; SameSite=Strict{secure}")
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
