"""Both brokers speak MQTT 5 the way the contract needs: QoS 1 delivery, a will, shared subscriptions, large payloads."""

from __future__ import annotations

import queue

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from support.brokers import Broker
from support.waiting import wait_until

pytestmark = pytest.mark.broker


def subscribe(reader: mqtt.Client, topic: str) -> None:
    """Subscribe and wait for the broker's word that it holds."""
    granted: list[int] = []
    reader.on_subscribe = lambda _c, _u, mid, _codes, _p: granted.append(mid)
    _, wanted = reader.subscribe(topic, qos=1)
    wait_until(lambda: wanted in granted, 5, f"subscribed to {topic}")


def client(broker: Broker, name: str, **options: object) -> tuple[mqtt.Client, queue.Queue[mqtt.MQTTMessage]]:
    inbox: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    made.on_message = lambda _c, _u, message: inbox.put(message)
    if "will" in options:
        made.will_set(str(options["will"]), b"gone", qos=1)
    made.connect(broker.host, broker.port, keepalive=5)
    made.loop_start()
    wait_until(made.is_connected, 5, "client is connected")
    return made, inbox


def test_delivers_a_payload_of_the_contracts_size(broker: Broker) -> None:
    reader, inbox = client(broker, "reader")
    subscribe(reader, "gt/1/+/up/live")
    writer, _ = client(broker, "writer")
    payload = bytes(200_000)
    wait_until(lambda: writer.publish("gt/1/d1/up/live", payload, qos=1).rc == 0, 5)
    assert inbox.get(timeout=5).payload == payload
    for each in (reader, writer):
        each.disconnect()
        each.loop_stop()


def test_the_will_is_said_when_a_client_vanishes(broker: Broker) -> None:
    reader, inbox = client(broker, "reader")
    subscribe(reader, "gt/1/+/up/gone")
    dying, _ = client(broker, "dying", will="gt/1/d1/up/gone")
    sock = dying.socket()
    assert sock is not None
    dying.loop_stop()
    sock.close()
    assert inbox.get(timeout=15).topic == "gt/1/d1/up/gone"
    reader.disconnect()
    reader.loop_stop()


def test_workers_share_one_stream(broker: Broker) -> None:
    first, inbox_1 = client(broker, "w1")
    second, inbox_2 = client(broker, "w2")
    for each in (first, second):
        subscribe(each, "$share/ingest/gt/1/+/up/live")
    writer, _ = client(broker, "writer")
    for number in range(20):
        writer.publish("gt/1/d1/up/live", str(number).encode(), qos=1)
    wait_until(lambda: inbox_1.qsize() + inbox_2.qsize() >= 20, 10, "20 messages in all")
    assert inbox_1.qsize() + inbox_2.qsize() == 20
    for each in (first, second, writer):
        each.disconnect()
        each.loop_stop()
