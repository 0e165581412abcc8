"""The MDM's link to the broker; the only module of this side that knows paho.

* MQTT 5, QoS 1, a clean session at each connect: nothing relies on the broker remembering anything.
* Workers share the up channels by `$share/<group>/`.
* Messages wait in a bounded queue for the worker; when it is full they are dropped and counted, because an edge sends again
  until it has a receipt. Publishing refuses while the link is down; the outbox row then stays due.
* Reconnects by itself, with back-off from 1 s to 60 s and jitter (all in real time).
"""

from __future__ import annotations

import logging
import queue
import random
import ssl
import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gridtally_shared.contract import channels
from gridtally_shared.records import dataclass

log = logging.getLogger(__name__)

QUEUE_LIMIT = 2_000
BACK_OFF_S = (1.0, 60.0)
KEEPALIVE_S = 30


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is. TLS where `ca_file` is named, with a client certificate where `cert_file` is."""

    host: str
    port: int
    client_id: str
    group: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    topic: str
    payload: bytes


class BrokerLink:
    """Runs paho's thread. `received` is read by one worker thread."""

    def __init__(self, settings: BrokerSettings, subscriptions: tuple[str, ...]) -> None:
        self.settings = settings
        self.received: queue.Queue[Received] = queue.Queue(QUEUE_LIMIT)
        self.dropped = 0
        self._subscriptions = subscriptions
        self._up = threading.Event()
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._keep_connected, name="mqtt-reconnect", daemon=True)

    def start(self) -> None:
        """Connect in the background and stay connected."""
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._lost.set()
        self._thread.join(timeout=5)
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    def wait_up(self, within_s: float) -> bool:
        return self._up.wait(within_s)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand a message to the broker. False when the link is down or its window is full: try again later."""
        if not self._up.is_set() or len(payload) > channels.MAX_PAYLOAD_BYTES:
            return False
        return self._client.publish(topic, payload, qos=1).rc == paho.MQTT_ERR_SUCCESS

    # ---- paho's side

    def _new_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self.settings.client_id, protocol=paho.MQTTv5)
        client.max_inflight_messages_set(channels.MAX_IN_FLIGHT)
        client.max_queued_messages_set(QUEUE_LIMIT)
        if self.settings.ca_file:
            client.tls_set(self.settings.ca_file, self.settings.cert_file or None, self.settings.key_file or None,
                           tls_version=ssl.PROTOCOL_TLS_CLIENT)  # fmt: skip
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    def _keep_connected(self) -> None:
        wait_s = BACK_OFF_S[0]
        while not self._stop.is_set():
            self._lost.clear()
            if self._connect():
                self._lost.wait()
                wait_s = BACK_OFF_S[0]
            else:
                wait_s = min(wait_s * 2, BACK_OFF_S[1])
            self._client.loop_stop()
            self._stop.wait(wait_s * random.uniform(0.5, 1.0))

    def _connect(self) -> bool:
        settings = self.settings
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 0
        try:
            self._client.connect(settings.host, settings.port, KEEPALIVE_S, clean_start=True, properties=session)
        except (OSError, ValueError) as error:
            log.warning("broker not reached", extra={"host": settings.host, "port": settings.port, "reason": str(error)})
            return False
        self._client.loop_start()
        return True

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            log.error("the broker refuses us", extra={"reason": str(reason)})
            self._lost.set()
            return
        client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._subscriptions])

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            log.error("the broker refuses a subscription", extra={"reasons": [str(r) for r in reasons]})
        self._up.set()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._up.clear()
        if not self._stop.is_set():
            log.warning("link to the broker lost", extra={"reason": str(reason)})
        self._lost.set()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            self.received.put_nowait(Received(message.topic, bytes(message.payload)))
        except queue.Full:
            self.dropped += 1
