"""A port that another program holds is said plainly; our own pages there are fine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gridtally_shared.doctor import port_check
from support.brokers import free_port


@contextmanager
def pages(name: str) -> Iterator[int]:
    class Page(BaseHTTPRequestHandler):
        server_version = name

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_free_port_is_fine() -> None:
    assert port_check("pages", "127.0.0.1", free_port(), "web.port").ok


@pytest.mark.parametrize(("server", "fine"), [("gridtally", True), ("somebody-else/1.0", False)])
def test_a_served_port_is_fine_when_it_is_ours(server: str, fine: bool) -> None:
    with pages(server) as port:
        found = port_check("pages", "127.0.0.1", port, "web.port")
    assert found.ok is fine
    assert fine or "web.port" in found.remedy


def test_a_port_held_by_something_that_is_no_web_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        found = port_check("pages", "127.0.0.1", held.getsockname()[1], "web.port")
    assert (found.ok, "choose another" in found.remedy) == (False, True)
