"""The provisioner's MQTT link: messages in, `ProvisioningService` decides, answers and broker orders out.

Runs as a process of its own (`gridtally-mdm provisioner`): it holds the CA, the portal does not.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from gridtally_cloud.provisioning import broker_admin
from gridtally_cloud.provisioning.service import Answer, ProvisioningService
from gridtally_shared.clock import Clock
from gridtally_shared.contract import channels, codec
from gridtally_shared.contract import messages as m
from gridtally_shared.errors import ContractError, LinkDown
from gridtally_shared.records import dataclass

log = logging.getLogger("gridtally.provisioner")

MAX_REQUEST_BYTES = 8 * 1024
LISTENS_TO = ("prov-hello", "prov-enrol", "activate")


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """How to reach the broker. TLS files are paths; all empty on the embedded broker, which also has no `control`."""

    host: str
    port: int
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    control: bool = False


def new_client(client_id: str, access: BrokerAccess) -> mqtt.Client:
    """An MQTT 5 client with the access's TLS settings, not connected yet."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(channels.MAX_IN_FLIGHT)
    if access.ca_file:
        client.tls_set(ca_certs=access.ca_file, certfile=access.cert_file or None, keyfile=access.key_file or None)
    return client


class Provisioner:
    """Connects, listens, answers. One request at a time, in the order of arrival."""

    def __init__(self, service: ProvisioningService, access: BrokerAccess, clock: Clock) -> None:
        self._service, self._access, self._clock = service, access, clock
        self._inbox: queue.Queue[tuple[str, bytes]] = queue.Queue(maxsize=200)
        self._handlers: dict[str, Callable[[str, bytes, int], Answer | None]] = {
            "prov-hello": lambda who, raw, now: service.hello(who, codec.decode(m.ProvisionHello, raw), now),
            "prov-enrol": lambda who, raw, now: service.enrol(who, codec.decode(m.ProvisionEnrol, raw), now),
            "activate": lambda who, raw, now: service.activate(who, codec.decode(m.Activate, raw), now),
        }
        self._client = new_client("provisioner", access)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set. Raises LinkDown when the broker can not be reached at the start."""
        try:
            self._client.connect(self._access.host, self._access.port, keepalive=30)
        except OSError as error:
            raise LinkDown(f"broker {self._access.host}:{self._access.port} does not answer: {error}; is it running?") from None
        self._client.loop_start()
        try:
            while not stop.is_set():
                self._serve_one()
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _serve_one(self) -> None:
        try:
            topic, payload = self._inbox.get(timeout=0.2)
        except queue.Empty:
            return
        try:
            channel, who = channels.parse_topic(topic)
            answer = self._handlers[channel.name](who, payload, self._clock.now_ms())
        except ContractError as error:
            log.warning("provisioning request on %s refused: %s", topic, error)
            return
        if answer is not None:
            self._say(answer)

    def _say(self, answer: Answer) -> None:
        topic = channels.BY_NAME[answer.channel].topic(answer.to)
        spoken = [(topic, codec.encode(answer.message))]
        if answer.broker_orders and self._access.control:
            order = (broker_admin.CONTROL_TOPIC, answer.broker_orders)
            spoken = [*spoken, order] if answer.orders_last else [order, *spoken]
        for where, payload in spoken:
            self._client.publish(where, payload, qos=1).wait_for_publish(5)

    def _on_connect(self, client: mqtt.Client, _user: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            log.error("broker refuses the provisioner: %s", reason)
            return
        client.subscribe([(channels.BY_NAME[name].wildcard(), SubscribeOptions(qos=1)) for name in LISTENS_TO])

    def _on_message(self, _client: mqtt.Client, _user: Any, message: mqtt.MQTTMessage) -> None:
        if len(message.payload) > MAX_REQUEST_BYTES or self._inbox.full():
            log.warning("provisioning request on %s dropped: %d bytes", message.topic, len(message.payload))
            return
        self._inbox.put((message.topic, bytes(message.payload)))
