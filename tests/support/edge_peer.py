"""The wire side of an edge, for cloud tests: sends batches again until their receipt covers them, as an edge must."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gridtally_native import encode_block
from gridtally_shared.contract import channels
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import (
    Batch,
    ChannelBlock,
    Entry,
    EntryKind,
    Hello,
    Intervals,
    Lane,
    Receipt,
    StreamHead,
)
from gridtally_shared.quantities import INTERVAL_IMPORT

PERIOD_S = 900


def block(
    meter_no: int, start_ms: int, values: list[int], period_s: int = PERIOD_S, quality: bytes = b"", present: bytes | None = None
) -> ChannelBlock:
    """Intervals of imported energy."""
    packed = encode_block(array("q", values), present)
    return ChannelBlock(meter_no, INTERVAL_IMPORT.code, start_ms, period_s, len(values), packed, quality)


def intervals_entry(seq: int, *blocks: ChannelBlock) -> Entry:
    return Entry(seq, EntryKind.INTERVALS, encode(Intervals(blocks)))


@dataclass
class EdgePeer:
    """One stream of an edge with its own outbox in memory. `down` collects (channel name, payload)."""

    dcu: str
    port: int
    stream_id: bytes = b"\x01" * 16
    lane: Lane = Lane.LIVE
    waiting: dict[int, Entry] = field(default_factory=dict)
    receipted: int = 0
    next_seq: int = 1
    down: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited, self._sent_s = 0, 0.0
        self._connected = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"peer-{self.dcu}", protocol=paho.MQTTv5)
        self._client.max_inflight_messages_set(channels.MAX_IN_FLIGHT)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message

    def start(self) -> EdgePeer:
        self._client.connect("127.0.0.1", self.port, 30)
        self._client.loop_start()
        assert self._connected.wait(10)
        return self

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *_rest: Any) -> None:
        client.subscribe(f"gt/1/{self.dcu}/down/+", qos=1)
        self._connected.set()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        channel, _ = channels.parse_topic(message.topic)
        with self._lock:
            self.down.append((channel.name, bytes(message.payload)))
            if channel.name == "receipt":
                receipt = decode(Receipt, bytes(message.payload))
                if (receipt.stream_id, receipt.lane) == (self.stream_id, self.lane):
                    self.receipted = max(self.receipted, receipt.upto)
                    self.waiting = {seq: e for seq, e in self.waiting.items() if seq > self.receipted}

    def add(self, make: Callable[[int], Entry]) -> int:
        """Queue one entry under the next number."""
        with self._lock:
            seq = self.next_seq
            self.next_seq += 1
            self.waiting[seq] = make(seq)
        return seq

    def send_waiting(self, at_ms: int, limit: int = 50) -> None:
        """Publish the oldest entries that have no receipt, as one batch."""
        with self._lock:
            entries = tuple(self.waiting[seq] for seq in sorted(self.waiting)[:limit])
        if entries:
            self.publish(channels.BY_LANE[self.lane].name, encode(Batch(self.stream_id, int(self.lane), entries, at_ms)))

    def send_when_quiet(self, at_ms: int, limit: int, again_s: float) -> None:
        """Send the oldest entries if the last batch was receipted, or was sent `again_s` ago."""
        now_s = time.monotonic()
        if self.receipted >= self._awaited or now_s - self._sent_s > again_s:
            self._awaited, self._sent_s = min(self.receipted + limit, self.next_seq - 1), now_s
            self.send_waiting(at_ms, limit)

    def hello(self, at_ms: int, config_version: int = 0, boot_id: bytes = b"\x07" * 16) -> None:
        heads = (StreamHead(self.stream_id, int(self.lane), self.next_seq, self.receipted),)
        self.publish("hello", encode(Hello(1, self.dcu, boot_id, "test", at_ms, 0, config_version, heads)))

    def publish(self, channel: str, payload: bytes) -> None:
        self._client.publish(channels.BY_NAME[channel].topic(self.dcu), payload, qos=1)

    def got(self, channel: str) -> list[bytes]:
        with self._lock:
            return [payload for name, payload in self.down if name == channel]
