"""The page's server over real HTTP: PIN, session, lock, one account only."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gridtally_edge.display.guesses import FIRST_LOCK_MS, FREE, LONGEST_LOCK_MS, Guesses
from gridtally_edge.display.server import DisplayServer, Sessions
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import ConfigError
from gridtally_shared.pins import hash_pin
from support.prepay_bench import Bench

ACCOUNT = AccountConfig(101, 1, 1, "INR", "Asia/Kolkata", "home", 0)


class Visitor:
    """A browser with cookies."""

    def __init__(self, server: DisplayServer) -> None:
        self.port = server.server_address[1]
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        cookie = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        body = urlencode(form) if form is not None else None
        connection.request(method, path, body, {"Cookie": cookie, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        for header in answer.headers.get_all("Set-Cookie", []):
            name, value = header.split(";")[0].split("=", 1)
            self.cookies[name] = value
        connection.close()
        return answer.status, text.replace("\xa0", " "), answer.headers

    def enter(self, account: str, pin: str) -> int:
        return self.ask("POST", "/open", {"account": account, "pin": pin})[0]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("site"), 2, {"pin_hash": hash_pin("4711", b"s" * 16), "language": "es"})
    bench.credit(1, "11.11")
    bench.credit(2, "22.22")
    return bench


@pytest.fixture
def server(bench: Bench) -> Iterator[DisplayServer]:
    server = DisplayServer(("127.0.0.1", 0), bench.path, ManualClock(bench.now_ms))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_without_a_pin_nothing_is_shown(server: DisplayServer) -> None:
    status, page, _ = Visitor(server).ask("GET", "/")
    assert status == 200
    assert 'type="password"' in page
    assert "11.11" not in page


def test_the_right_pin_shows_the_own_account_in_its_language(server: DisplayServer) -> None:
    visitor = Visitor(server)
    assert visitor.enter("101", "4711") == 303
    _, page, _ = visitor.ask("GET", "/")
    assert "₹ 11.11" in page
    assert "22.22" not in page
    assert '<html lang="es">' in page


@pytest.mark.parametrize(("account", "pin"), [("101", "4712"), ("101", ""), ("999", "4711"), ("1x", "4711"), ("", ""), ("9" * 40, "4711")])
def test_a_wrong_pin_or_account_says_the_same(server: DisplayServer, account: str, pin: str) -> None:
    visitor = Visitor(server)
    status, page, _ = visitor.ask("POST", "/open", {"account": account, "pin": pin})
    assert status == 403
    assert "do not match" in page
    assert "gt_session" not in visitor.cookies


def test_leaving_ends_the_session_for_good(server: DisplayServer) -> None:
    visitor = Visitor(server)
    visitor.enter("101", "4711")
    token = visitor.cookies["gt_session"]
    visitor.ask("POST", "/leave", {})
    visitor.cookies["gt_session"] = token
    assert "11.11" not in visitor.ask("GET", "/")[1]


def test_five_wrong_pins_lock_even_the_right_one(server: DisplayServer) -> None:
    visitor = Visitor(server)
    assert [visitor.enter("102", "0000") for _ in range(FREE)] == [403] * FREE
    status, page, _ = visitor.ask("POST", "/open", {"account": "102", "pin": "4711"})
    assert status == 429
    assert re.search(r"Wait \d+ seconds", page)


def test_locks_double_and_end() -> None:
    guesses, keys = Guesses(), ("account 1",)
    for _ in range(FREE):
        guesses.failed(keys, 0)
    assert guesses.wait_ms(keys, 0) == FIRST_LOCK_MS
    guesses.failed(keys, FIRST_LOCK_MS)
    assert guesses.wait_ms(keys, FIRST_LOCK_MS) == 2 * FIRST_LOCK_MS
    for _ in range(40):
        guesses.failed(keys, 0)
    assert guesses.wait_ms(keys, 0) == LONGEST_LOCK_MS
    guesses.succeeded(keys)
    assert guesses.wait_ms(keys, 0) == 0


def test_a_session_ends_after_half_a_day() -> None:
    sessions = Sessions()
    token = sessions.enter(ACCOUNT, 0.0)
    assert sessions.account_of(token, 12 * 3600 - 1) == ACCOUNT
    assert sessions.account_of(token, 12 * 3600 + 1) is None
    assert sessions.account_of("", 0.0) is None


def test_the_language_can_be_chosen(server: DisplayServer) -> None:
    visitor = Visitor(server)
    assert visitor.ask("GET", "/language/hi")[0] == 303
    assert '<html lang="hi">' in visitor.ask("GET", "/")[1]
    assert '<html lang="hi">' in visitor.ask("GET", "/", **{"Accept-Language": "es"})[1]
    assert visitor.ask("GET", "/language/xx")[0] == 303


def test_the_cookie_and_the_page_are_locked_down(server: DisplayServer) -> None:
    visitor = Visitor(server)
    headers = visitor.ask("POST", "/open", {"account": "101", "pin": "4711"})[2]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in headers["Set-Cookie"].split(";")}
    page_headers = visitor.ask("GET", "/")[2]
    assert "default-src 'none'" in page_headers["Content-Security-Policy"]
    assert page_headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/accounts", 404), ("POST", "/", 404), ("GET", "/style.css", 200)])
def test_there_is_nothing_else(server: DisplayServer, method: str, path: str, status: int) -> None:
    assert Visitor(server).ask(method, path, {} if method == "POST" else None)[0] == status


def test_a_form_that_is_too_large_is_refused(server: DisplayServer) -> None:
    assert Visitor(server).ask("POST", "/open", {"account": "1" * 5_000})[0] == 413


def test_a_store_that_is_away_is_said_in_words(tmp_path: Path) -> None:
    server = DisplayServer(("127.0.0.1", 0), tmp_path / "nothing.db", ManualClock(0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    visitor = Visitor(server)
    visitor.cookies["gt_session"] = server.sessions.enter(ACCOUNT, float("inf"))
    status, page, _ = visitor.ask("GET", "/")
    server.shutdown()
    thread.join()
    server.server_close()
    assert status == 503
    assert "not available at the moment" in page


def test_a_port_in_use_says_what_to_do(server: DisplayServer, bench: Bench) -> None:
    with pytest.raises(ConfigError, match="choose another port"):
        DisplayServer(("127.0.0.1", server.server_address[1]), bench.path, ManualClock(0))
