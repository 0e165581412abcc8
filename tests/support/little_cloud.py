"""The cloud's end of the MQTT contract, as small as it can be: welcome, receipts, one configuration. For tests of the edge.

It keeps every entry by its only key (stream_id, lane, seq) and notes each number that came a second time with other bytes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gridtally_native import decode_block
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_NAME, parse_topic
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.signing import KeySigner, sign1

Key = tuple[bytes, int, int]


class LittleCloud:
    """Start it beside a broker. `now_ms` is the time of its messages; `config` is sent at each hello that asks for it."""

    def __init__(self, port: int, dcu: str, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.signer = KeySigner.from_seed(os.urandom(32))
        self.store_id = os.urandom(16)
        self.dcu, self.now_ms = dcu, now_ms
        self.config: m.DcuConfig | None = None
        self.entries: dict[Key, m.Entry] = {}
        self.reused: list[Key] = []
        self.hellos: list[m.Hello] = []
        self.gone = 0
        self.repeats = 0
        self.batches = 0
        self.silent = False
        self._heads: dict[tuple[bytes, int], int] = {}
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"cloud-{dcu}", protocol=paho.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"gt/1/{dcu}/up/#", qos=1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port, clean_start=True)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, name: str, message: object) -> None:
        channel = BY_NAME[name]
        payload = encode(message)
        self._client.publish(
            channel.topic(self.dcu), sign1(self.signer, name, payload) if channel.signed else payload, qos=1
        )

    def of_kind(self, kind: m.EntryKind) -> list[object]:
        """All decoded entries of a kind, in order of stream, lane and number."""
        with self._lock:
            found = sorted((key, e) for key, e in self.entries.items() if e.kind == kind)
        return [decode(m.ENTRY_TYPES[kind], entry.body) for _, entry in found]

    def intervals(self) -> dict[tuple[int, int, int], list[tuple[int, int]]]:
        """(meter_no, quantity, start_ms) -> every (value, quality) that came for it."""
        found: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        for message in self.of_kind(m.EntryKind.INTERVALS):
            for block in message.blocks:  # type: ignore[attr-defined]
                for i, value in enumerate(decode_block(block.values)[0]):
                    quality = int.from_bytes(block.quality[2 * i : 2 * i + 2], "little")
                    key = (block.meter_no, block.quantity, block.start_ms + i * block.period_s * 1000)
                    found.setdefault(key, []).append((value, quality))
        return found

    def forget_after(self, upto: dict[tuple[bytes, int], int]) -> None:
        """As if restored from a backup made when the heads were `upto`; a new store id."""
        with self._lock:
            self.entries = {k: e for k, e in self.entries.items() if k[2] <= upto.get(k[:2], 0)}
            self._heads = dict(upto)
            self.store_id = os.urandom(16)

    def heads(self) -> dict[tuple[bytes, int], int]:
        with self._lock:
            return dict(self._heads)

    def _on_message(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        channel, _ = parse_topic(message.topic)
        if self.silent:
            return
        if channel.name == "hello":
            self._greet(decode(m.Hello, message.payload))
        elif channel.message is m.Batch:
            self._take(decode(m.Batch, message.payload))
        elif channel.name == "gone":
            self.gone += 1

    def _greet(self, hello: m.Hello) -> None:
        self.hellos.append(hello)
        heads = tuple(m.StreamHead(s, lane, upto + 1, upto) for (s, lane), upto in self.heads().items())
        self.send("welcome", m.Welcome(self.store_id, self.dcu, hello.boot_id, self.now_ms(), heads, hello_at_ms=hello.at_ms))
        if self.config is not None and hello.config_version < self.config.version:
            self.send("config", self.config)

    def _take(self, batch: m.Batch) -> None:
        with self._lock:
            self.batches += 1
            for entry in batch.entries:
                self._keep((batch.stream_id, batch.lane, entry.seq), entry)
            head = (batch.stream_id, batch.lane)
            upto = self._heads.get(head, 0)
            while (*head, upto + 1) in self.entries:
                upto += 1
            self._heads[head] = upto
        self.send("receipt", m.Receipt(self.store_id, *head, upto, self.now_ms(), batch.sent_at_ms))

    def _keep(self, key: Key, entry: m.Entry) -> None:
        known = self.entries.setdefault(key, entry)
        if known is not entry:
            self.repeats += 1
            if known != entry:
                self.reused.append(key)
