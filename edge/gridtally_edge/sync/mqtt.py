"""The MQTT 5 session with the broker; the only module that imports paho.

* Each session is a new paho client: clean start, nothing kept from before. What must not be lost is in the outbox.
* Own back-off with jitter between sessions, so that a street of DCUs does not come back in one second.
* The will says Gone; QoS 1 everywhere; at most 20 messages wait for the broker (set before connect).
* paho and ssl are imported by the thread of the session: meters are asked before that.
* A session counts as up when the broker has confirmed our subscriptions. The core thread hears of it through `deliver`.

Source: architecture.md 4; reliability-security.md 1.5 and 6.1 (paho in practice).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gridtally_shared.contract.channels import CHANNELS, MAX_IN_FLIGHT, Direction
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

if TYPE_CHECKING:
    import ssl

    from paho.mqtt import client as paho
    from paho.mqtt.properties import Properties

BACK_OFF_FIRST_S = 1.0
BACK_OFF_LONGEST_S = 60.0
KEEPALIVE_S = 20
CONNECT_TIMEOUT_S = 10.0
GOODBYE_S = 2.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Mutual TLS: the broker's CA, and our own certificate and key."""

    ca_file: Path
    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    host: str
    port: int
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class LinkUp:
    """Connected and subscribed."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """No session; `why` is for the operator."""

    why: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message of a down topic, as it came."""

    topic: str
    payload: bytes


MqttEvent = LinkUp | LinkLost | Arrived


def down_topics(dcu: str) -> tuple[str, ...]:
    return tuple(c.topic(dcu) for c in CHANNELS if c.direction is Direction.DOWN and c.pattern.startswith("gt/"))


class MqttLink:
    """Keeps a session up until `stop`. `publish` may be called from any thread; `deliver` is called from ours."""

    def __init__(self, dcu: str, address: BrokerAddress, will: tuple[str, bytes], deliver: Callable[[MqttEvent], None]) -> None:
        self._dcu, self._address, self._will, self._deliver = dcu, address, will, deliver
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._client: paho.Client | None = None
        self._was_up = False
        self._why = ""
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand a message to the session, QoS 1. False when there is none."""
        client = self._client
        if client is None or not client.is_connected():
            return False
        return client.publish(topic, payload, qos=1).rc == 0  # MQTT_ERR_SUCCESS

    def stop(self) -> None:
        """Say goodbye and end. The will is published by ourselves, since a clean DISCONNECT takes it back."""
        self._stopping.set()
        client = self._client
        if client is not None and client.is_connected():
            client.publish(*self._will, qos=1).wait_for_publish(GOODBYE_S)
            client.disconnect()
        self._ended.set()
        self._thread.join(CONNECT_TIMEOUT_S + GOODBYE_S)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._was_up = False
            self._session()
            failures = 0 if self._was_up else failures + 1
            if not self._stopping.is_set():
                self._deliver(LinkLost(self._why))
                self._stopping.wait(back_off_s(failures, random.random()))

    def _session(self) -> None:
        self._ended.clear()
        self._why = f"no connection to {self._address.host}:{self._address.port}"
        client = self._new_client()
        try:
            client.connect(
                self._address.host, self._address.port, KEEPALIVE_S, clean_start=True, properties=_connect_properties()
            )
        except (OSError, ValueError) as error:
            self._why = f"{self._address.host}:{self._address.port}: {error}"
            return
        self._client = client
        client.loop_start()
        self._ended.wait()
        self._client = None
        client.loop_stop()

    def _new_client(self) -> paho.Client:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        client = paho.Client(
            CallbackAPIVersion.VERSION2, self._dcu, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.will_set(*self._will, qos=1)
        if self._address.tls is not None:
            client.tls_set_context(tls_context(self._address.tls))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _on_connect(self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._why = f"the broker refused the connection: {reason}"
            self._ended.set()
            return
        from paho.mqtt.subscribeoptions import SubscribeOptions

        options = SubscribeOptions(qos=1)
        client.subscribe([(topic, options) for topic in down_topics(self._dcu)])

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._why = f"the broker refused our subscriptions: {refused[0]}; check its access list for {self._dcu}"
            self._ended.set()
            return
        self._was_up = True
        self._deliver(LinkUp())

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        self._deliver(Arrived(message.topic, bytes(message.payload)))

    def _on_disconnect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._was_up:
            self._why = f"the session ended: {reason}"
        self._ended.set()


def back_off_s(failures: int, chance: float) -> float:
    """Wait after `failures` sessions in a row that never came up; `chance` (0..1) spreads it over half its length."""
    full = min(BACK_OFF_LONGEST_S, BACK_OFF_FIRST_S * 2.0 ** min(failures, 10))
    return full / 2 + full / 2 * chance


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Mutual TLS from files. Raises ConfigError naming the file that does not fit."""
    for key, path in (("ca_file", tls.ca_file), ("certificate_file", tls.certificate_file), ("key_file", tls.key_file)):
        if not path.is_file():
            raise ConfigError(f"broker.{key}", str(path), "no such file; enrol the DCU, or correct the path")
    import ssl

    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(tls.ca_file))
        context.load_cert_chain(tls.certificate_file, tls.key_file)
    except ssl.SSLError as error:
        remedy = f"certificate, key and CA do not fit: {error}"
        raise ConfigError("broker.certificate_file", str(tls.certificate_file), remedy) from None
    return context


def _connect_properties() -> Properties:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    return properties
