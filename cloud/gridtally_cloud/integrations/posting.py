"""One signed request to another system: what is sent by webhook and to recipients goes out here, and comes to its end in a bounded time.

* `Gridtally-Signature: t=<seconds>,v1=<hex>` is HMAC-SHA-256 of `<seconds>.<body>` under the receiver's secret. The seconds are the
  machine's own clock, for a receiver that refuses what is old.
* No redirect is followed and no proxy of the environment is used: it goes where it was told to, or nowhere.
* Silence ends it after `TIMEOUT_S`, whatever comes meanwhile after `WHOLE_S`: who answers a byte at a time is cut off.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from gridtally_shared.records import dataclass

TIMEOUT_S, WHOLE_S, AGAIN_S = 5.0, 10.0, 0.5
SIGNATURE = "Gridtally-Signature"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something was not taken. `reached`: the receiver is there, and answered that it does not take it."""

    text: str
    reached: bool


def signature(secret: str, at_s: int, body: bytes) -> str:
    """The value of the signature header."""
    mark = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mark}"


def post(url: str, secret: str, headers: Mapping[str, str], body: bytes, whole_s: float = WHOLE_S) -> Fault | None:
    """None where the receiver took it."""
    parts = urlsplit(url)
    sealed = {**headers, SIGNATURE: signature(secret, int(time.time()), body)}
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, min(TIMEOUT_S, whole_s))
    late = threading.Event()
    try:
        with _cut_off(connection, whole_s, late):
            connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, sealed)
            status = connection.getresponse().status
        fault = None
    except (OSError, http.client.HTTPException) as error:
        fault = getattr(error, "strerror", None) or error  # without its number
    finally:
        connection.close()
    if fault is not None or late.is_set():  # an answer that was cut off in its headers is read as a whole one
        why = f"no answer within {whole_s:g} s" if late.is_set() else fault
        return Fault(f"{parts.hostname} can not be reached ({why})", reached=False)
    return None if 200 <= status < 300 else Fault(f"{parts.hostname} answered {status}", reached=True)


def _connection(scheme: str, host: str, port: int | None, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


@contextlib.contextmanager
def _cut_off(connection: http.client.HTTPConnection, after_s: float, late: threading.Event) -> Iterator[None]:
    """Ends the connection after a time, however busy it is."""
    done = threading.Event()

    def watch() -> None:
        wait_s = after_s
        while not done.wait(wait_s):
            late.set()
            _shut(connection.sock)
            wait_s = AGAIN_S

    watcher = threading.Thread(target=watch, name="cut-off", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _shut(sock: socket.socket | None) -> None:
    """Both ways, below TLS: the other thread reads an end and raises."""
    if sock is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
