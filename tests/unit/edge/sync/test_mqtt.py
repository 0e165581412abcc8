"""The session with real brokers: up, down, back again by itself; the will; nothing is remembered."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gridtally_edge.sync.mqtt import Arrived, BrokerAddress, LinkLost, LinkUp, MqttEvent, MqttLink, Tls, back_off_s, down_topics
from gridtally_edge.sync.mqtt import tls_context as make_context
from gridtally_shared.errors import ConfigError
from support.brokers import Broker

WILL = ("gt/1/dcu-1/up/gone", b"\xa1\x00\x41x")


class Listener:
    """Another client, which sees what the DCU says."""

    def __init__(self, port: int) -> None:
        self.seen: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "listener", protocol=paho.MQTTv5)
        self.client.on_message = lambda _c, _u, message: self.seen.put((message.topic, message.payload))
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_connect = lambda client, *_: client.subscribe("gt/1/#", qos=1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def link_to(port: int) -> tuple[MqttLink, queue.SimpleQueue[MqttEvent]]:
    events: queue.SimpleQueue[MqttEvent] = queue.SimpleQueue()
    link = MqttLink("dcu-1", BrokerAddress("127.0.0.1", port), WILL, events.put)
    link.start()
    return link, events


@pytest.mark.broker
def test_messages_both_ways_and_a_clean_end(broker: Broker) -> None:
    listener = Listener(broker.port)
    link, events = link_to(broker.port)
    try:
        assert events.get(timeout=10) == LinkUp()
        assert link.publish("gt/1/dcu-1/up/live", b"hello")
        assert listener.seen.get(timeout=10) == ("gt/1/dcu-1/up/live", b"hello")
        listener.client.publish("gt/1/dcu-1/down/receipt", b"thanks", qos=1)
        assert events.get(timeout=10) == Arrived("gt/1/dcu-1/down/receipt", b"thanks")
        assert listener.seen.get(timeout=10)[0] == "gt/1/dcu-1/down/receipt"
    finally:
        link.stop()
        assert listener.seen.get(timeout=10) == WILL
        listener.close()
    assert not link.publish("gt/1/dcu-1/up/live", b"late")


@pytest.mark.broker
def test_a_broker_that_dies_is_noticed_and_found_again(broker: Broker) -> None:
    link, events = link_to(broker.port)
    try:
        assert events.get(timeout=10) == LinkUp()
        broker.kill()
        assert isinstance(events.get(timeout=10), LinkLost)
        assert not link.publish("gt/1/dcu-1/up/live", b"nobody")
        broker.start()
        found = events.get(timeout=20)
        while isinstance(found, LinkLost):
            found = events.get(timeout=20)
        assert found == LinkUp()
    finally:
        link.stop()


def test_without_a_broker_the_reason_is_told() -> None:
    link, events = link_to(1)
    try:
        lost = events.get(timeout=10)
        assert isinstance(lost, LinkLost)
        assert "127.0.0.1:1" in lost.why
    finally:
        link.stop()


def test_back_off_grows_is_spread_and_ends() -> None:
    assert back_off_s(0, 0.0) == 0.5
    assert back_off_s(0, 1.0) == 1.0
    assert [back_off_s(n, 1.0) for n in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert back_off_s(50, 0.0) == 30.0


def test_only_the_topics_of_this_concentrator() -> None:
    assert set(down_topics("dcu-1")) == {
        f"gt/1/dcu-1/down/{name}"
        for name in ("receipt", "welcome", "instrument", "command", "config", "activated", "checkpoint", "mirror")
    }


def test_missing_certificate_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        make_context(Tls(tmp_path / "ca.pem", tmp_path / "dcu.pem", tmp_path / "dcu.key"))
    for name in ("ca.pem", "dcu.pem", "dcu.key"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(ConfigError, match="do not fit"):
        make_context(Tls(tmp_path / "ca.pem", tmp_path / "dcu.pem", tmp_path / "dcu.key"))


