"""A display device in the home: paho as an independent MQTT client, for the local topic."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gridtally_edge.display.server import DisplayServer
from gridtally_edge.display.topic import TopicServer
from gridtally_shared.clock import Clock
from support.waiting import wait_until

V3, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5


class Device:
    """`documents` are what came, with their retain flag; `refused` is why the server said no, '' while it did not."""

    def __init__(self, port: int, account: str, pin: str, version: MQTTProtocolVersion = V5, trust: Path | None = None) -> None:
        self.documents: list[tuple[dict[str, Any], bool]] = []
        self.granted: list[Any] = []
        self.refused, self.is_in, self.is_out = "", False, False
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="screen", protocol=version, reconnect_on_failure=False)
        self.client.username_pw_set(account, pin)
        if trust is not None:
            self.client.tls_set_context(ssl.create_default_context(cafile=str(trust)))
        self.client.on_connect, self.client.on_message = self._connected, self._heard
        self.client.on_subscribe, self.client.on_disconnect = self._subscribed, self._gone
        self.client.connect("127.0.0.1", port, keepalive=30)
        self.client.loop_start()
        wait_until(lambda: self.is_in or bool(self.refused), 45, "an answer to CONNECT")

    def wish(self, topic: str, qos: int = 1) -> Any:
        """Subscribe; what was granted."""
        count = len(self.granted)
        self.client.subscribe(topic, qos)
        wait_until(lambda: len(self.granted) > count, 45, "an answer to SUBSCRIBE")
        return self.granted[-1]

    def document(self, number: int = 1) -> dict[str, Any]:
        """The newest, once so many came."""
        wait_until(lambda: len(self.documents) >= number, 45, f"document {number} of the local topic")
        return self.documents[-1][0]

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        wait_until(lambda: bool(self.documents) and holds(self.documents[-1][0]), 45, "a document of that kind")
        return self.documents[-1][0]

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _connected(self, _client: object, _data: object, _flags: object, reason: Any, _more: object) -> None:
        self.is_in = not reason.is_failure
        self.refused = str(reason) if reason.is_failure else ""

    def _subscribed(self, _client: object, _data: object, _mid: int, reasons: Any, _more: object) -> None:
        self.granted.append(str(reasons[0]))

    def _heard(self, _client: object, _data: object, message: Any) -> None:
        self.documents.append((json.loads(message.payload), bool(message.retain)))

    def _gone(self, _client: object, _data: object, _flags: object, reason: Any, _more: object) -> None:
        self.is_out = True
        self.refused = self.refused or str(reason)


@contextmanager
def local_topic(money_db: Path, clock: Clock, tls: ssl.SSLContext | None = None) -> Iterator[TopicServer]:
    """The topic's server beside the page's, as the display process has them."""
    page = DisplayServer(("127.0.0.1", 0), money_db, clock, tls)
    topic = TopicServer(("127.0.0.1", 0), page.door, page.errands, clock, tls)
    thread = threading.Thread(target=topic.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield topic
    finally:
        topic.shutdown()
        thread.join()
        topic.server_close()
        page.server_close()
