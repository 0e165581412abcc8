"""Listens to everything that edges send, as a tap on the broker: which number carried which bytes."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from demo.deployment import Deployment
from gridtally_shared.contract import channels
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Batch

Number = tuple[bytes, int, int]
"""Stream, lane, seq: the only idempotency key there is."""


class Eavesdropper:
    """Comes back by itself when the broker does; what it misses meanwhile it misses. A secured broker lets no stranger listen:
    there it hears nothing."""

    def __init__(self, deployment: Deployment) -> None:
        self._heard: dict[Number, set[bytes]] = defaultdict(set)
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "eavesdropper", protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", deployment.broker_port, clean_start=True)
        if not deployment.secured:
            self._client.loop_start()

    def heard(self) -> dict[Number, frozenset[bytes]]:
        """Number -> hashes of the entries that were sent under it."""
        with self._lock:
            return {number: frozenset(bodies) for number, bodies in self._heard.items()}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        lanes = [c for c in channels.CHANNELS if c.message is Batch]
        client.subscribe([(c.wildcard(), SubscribeOptions(qos=1)) for c in lanes])

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        batch = decode(Batch, bytes(message.payload))
        with self._lock:
            for entry in batch.entries:
                self._heard[batch.stream_id, batch.lane, entry.seq].add(fingerprint(entry.kind, entry.body))


def fingerprint(kind: int, body: bytes) -> bytes:
    return hashlib.sha256(bytes([kind]) + body).digest()
