"""A stand-in of a system that is told by webhook (CIS, billing, work force): checks each signature and keeps what came.

* `refuse` answers 503 to that many notices first; what can not be verified is answered 401 and not kept.
* A number that comes again is kept once, as a real receiver would.
* Files of a delivery are kept by their names (exchange/delivering.py).
"""

from __future__ import annotations

import hmac
import json
import threading
from dataclasses import field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from gridtally_cloud.integrations.posting import SIGNATURE, signature
from gridtally_cloud.integrations.webhook_sending import NUMBER
from gridtally_shared.records import dataclass

MOST = 1_000_000


@dataclass
class Receiver:
    """Use it in a `with` block; `secret` may be set later, when the MDM has given it."""

    secret: str = ""
    refuse: int = 0
    notices: dict[int, dict[str, Any]] = field(default_factory=dict)
    unverified: int = 0
    files: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> Receiver:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="webhook receiver", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/gridtally"

    def told(self, topic: str) -> list[dict[str, Any]]:
        """Notices of a topic, in the order of their numbers."""
        return [body for _, body in sorted(self.notices.items()) if body["topic"] == topic]

    def take(self, number: int, sealed: str, body: bytes, file: str = "") -> int:
        """The HTTP status of an arrival: a notice, or a file where it has a name."""
        if self.refuse:
            self.refuse -= 1
            return 503
        at_s = sealed.partition(",")[0].removeprefix("t=")
        if not at_s.isdecimal() or not hmac.compare_digest(signature(self.secret, int(at_s), body), sealed):
            self.unverified += 1
            return 401
        if file:
            self.files.setdefault(file, body)
        else:
            self.notices.setdefault(number, json.loads(body))
        return 204


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MOST))
            file = self.headers.get_filename("")
            status = receiver.take(int(self.headers.get(NUMBER) or 0), self.headers.get(SIGNATURE) or "", body, file)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """The log of a stand-in is what it kept."""

    return Handler
