"""The local topic's server: MQTT 3.1.1 and 5 for a consumer's own display device, in the process of the page.

* One retained topic per account, `gridtally/account/<number>`, readable with that account's number as user name and its PIN as
  password, and by nobody else; it is the page's door with the page's count of wrong tries.
* Read-only: nothing published here reaches anybody. No broker stands between, so no neighbour's data can leak through one.
* A change of money.db is seen within half a second and sent at once; what only time changes follows at least twice a minute.
* A changed PIN ends the connections that were opened with the old one.
* Off unless `display.topic_port` names a port; off the loopback only where the operator says so; TLS where there is a certificate.

Source: prepayment.md 6.4; safety.md 20; C3-S1.13, C3-FR3, C3-NFR1.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import socketserver
import sqlite3
import ssl
import threading
import time

from gridtally_edge.display import topic_wire as wire
from gridtally_edge.display.account import AccountView
from gridtally_edge.display.door import Door
from gridtally_edge.display.errands import Errands
from gridtally_edge.display.topic_document import document_of
from gridtally_edge.display.topic_session import Ended, Session
from gridtally_edge.display.topic_wire import Connect, Refusal, Type, WireError
from gridtally_shared.clock import Clock
from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.errors import ConfigError

LOOK_S = 0.5
RENEW_S = 30.0
MOST_CLIENTS = 256
CONNECT_WITHIN_S = 10.0
SEND_WITHIN_S = 10.0
LONGEST_SILENCE_S = 3_600.0
UNSEEN = -1

log = logging.getLogger("gridtally.display")


class TopicServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], door: Door, errands: Errands, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        self.door, self.errands, self.clock, self.tls = door, errands, clock, tls
        self.places = threading.BoundedSemaphore(MOST_CLIENTS)
        try:
            super().__init__(address, TopicHandler)
        except OSError as error:
            remedy = f"can not listen on {address[0]}:{address[1]} ({error.strerror}); stop the other program or choose another port"
            raise ConfigError("display.topic_port", address[1], remedy) from error

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away or speaks no TLS."""
        log.debug("a client of the local topic ended", exc_info=True)


class TopicHandler(socketserver.BaseRequestHandler):
    """One client: its thread reads what it asks and looks at the store in between."""

    server: TopicServer
    request: socket.socket

    def handle(self) -> None:
        if not self.server.places.acquire(blocking=False):
            return
        try:
            self._serve()
        finally:
            self.server.places.release()

    def _serve(self) -> None:
        self.request.settimeout(CONNECT_WITHIN_S)
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        version = wire.V3
        try:
            packets = Packets(self.request)
            asked = _connect(packets)
            version = asked.version
            account = self._welcome(asked)
            if account is not None:
                _Client(self.server, self.request, account, asked).stay(packets)
        except Ended as ended:
            if ended.refusal is not None:
                self._say(wire.goodbye(version, ended.refusal))
        except WireError as error:
            log.debug("the local topic: %s", error)
            self._say(wire.goodbye(version, Refusal.PROTOCOL_ERROR))
        except (ConfigError, sqlite3.Error) as error:
            log.warning("the balance can not be read: %s", error)
            self._say(wire.goodbye(version, Refusal.BUSY))
        finally:
            self.request.close()

    def _welcome(self, asked: Connect) -> AccountConfig | None:
        """The account whose PIN was given; everybody else is told why not."""
        if asked.version not in (wire.V3, wire.V5):
            self._say(wire.connack(wire.V3, Refusal.VERSION))
            return None
        visit = self.server.door.enter(asked.account, asked.pin, self.client_address[0])
        if visit.account is None:
            self._say(wire.connack(asked.version, Refusal.TOO_MANY_TRIES if visit.wait_ms else Refusal.WRONG_PIN))
            return None
        given_id = "" if asked.client_id else f"gridtally-{secrets.token_hex(6)}"
        self._say(wire.connack(asked.version, None, given_id))
        return visit.account

    def _say(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):
            self.request.sendall(packet)


class Packets:
    """Cuts the octets of a connection into packets."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._buffer = connection, bytearray()

    def next(self, wait_s: float) -> tuple[int, bytes] | None:
        """Type and body of the next packet, None where nothing whole came in time. Raises Ended, WireError or OSError."""
        found = self._cut()
        if found is not None:
            return found
        self._connection.settimeout(wait_s)
        try:
            received = self._connection.recv(2_048)
        except TimeoutError:
            return None
        if not received:
            raise Ended
        self._buffer += received
        return self._cut()

    def _cut(self) -> tuple[int, bytes] | None:
        size = shift = 0
        for place in range(1, min(5, len(self._buffer))):
            size |= (self._buffer[place] & 0x7F) << shift
            shift += 7
            if self._buffer[place] < 0x80:
                return self._whole(place + 1, size)
        if len(self._buffer) >= 5:
            raise WireError("a length has more than four bytes")
        return None

    def _whole(self, head: int, size: int) -> tuple[int, bytes] | None:
        if size > wire.LARGEST_PACKET:
            raise WireError("a packet is too large")
        if len(self._buffer) < head + size:
            return None
        kind, body = self._buffer[0] >> 4, bytes(self._buffer[head : head + size])
        del self._buffer[: head + size]
        return kind, body


def _connect(packets: Packets) -> Connect:
    """The first packet, which has to come soon."""
    until_s = time.monotonic() + CONNECT_WITHIN_S
    while time.monotonic() < until_s:
        found = packets.next(CONNECT_WITHIN_S)
        if found is not None and found[0] != Type.CONNECT:
            raise Ended
        if found is not None:
            return wire.connect_of(found[1])
    raise Ended


class _Client:
    """Stays until the client leaves, falls silent or may no longer be here."""

    def __init__(self, server: TopicServer, connection: socket.socket, account: AccountConfig, asked: Connect) -> None:
        self._server, self._connection, self._account = server, connection, account
        self._session = Session(account.account_no, asked.version, asked.largest)
        self._silence_s = asked.keepalive_s * 1.5 if asked.keepalive_s else LONGEST_SILENCE_S
        self._db: sqlite3.Connection | None = None
        self._version, self._renew_s = UNSEEN, 0.0
        self._under_way: AccountView | None = None

    def stay(self, packets: Packets) -> None:
        heard_s = time.monotonic()
        try:
            while time.monotonic() - heard_s < self._silence_s:
                found = packets.next(LOOK_S)
                if found is not None:
                    heard_s = time.monotonic()
                    self._answer(*found)
                self._look()
        finally:
            self._close()

    def _answer(self, kind: int, body: bytes) -> None:
        answer, was_shown = self._session.take(kind, body)
        self._send(answer)
        if kind == Type.SUBSCRIBE:
            self._version = UNSEEN
        if was_shown and self._under_way is not None:
            self._server.errands.shown(self._account.account_no, self._under_way.messages)

    def _look(self) -> None:
        """Send what has changed. The store is opened anew now and then, so that a file put in its place is seen."""
        if time.monotonic() >= self._renew_s:
            self._close()
            if not self._server.door.still(self._account):
                raise Ended(Refusal.PIN_CHANGED)
            self._db, self._version, self._renew_s = self._server.door.reader(), UNSEEN, time.monotonic() + RENEW_S
        if self._db is not None and self._session.is_waiting and self._data_version(self._db) != self._version:
            self._tell(self._db)

    def _tell(self, db: sqlite3.Connection) -> None:
        self._version = self._data_version(db)
        view = self._server.door.view(db, self._account.account_no, self._server.clock.now_ms())
        if view is None or view.config.pin_hash != self._account.pin_hash:
            raise Ended(Refusal.PIN_CHANGED)
        packet = self._session.offer(document_of(view))
        if packet:
            self._under_way = view
            self._send(packet)

    @staticmethod
    def _data_version(db: sqlite3.Connection) -> int:
        return int(db.execute("PRAGMA data_version").fetchone()[0])

    def _send(self, packet: bytes) -> None:
        if packet:
            self._connection.settimeout(SEND_WITHIN_S)
            self._connection.sendall(packet)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
