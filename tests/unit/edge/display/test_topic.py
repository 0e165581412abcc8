"""The local topic with a foreign client: its own account's document at once and at each change, and nobody else's ever."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.counter import Counter
from gridtally_edge.display import topic_wire as wire
from gridtally_edge.display.account import AccountView, view_account
from gridtally_edge.display.guesses import FREE
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import LANGUAGES, Words
from gridtally_edge.display.topic import LOOK_S
from gridtally_edge.display.topic_session import Ended, Session, matches, topic_of
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.pins import hash_pin
from support.display_device import V3, V5, Device, local_topic
from support.prepay_bench import HOUR_MS, Bench
from support.waiting import wait_until

PINS = {101: "4711", 102: "1234"}
OWN, OTHER = topic_of(101), topic_of(102)


def made(folder: Path) -> Bench:
    bench = Bench(folder, 2)
    configure(bench, "4711")
    bench.credit(1, "100")
    bench.credit(2, "222.22")
    for n in range(1, 5):
        bench.wait(HOUR_MS)
        bench.read(1, 1_000_000 + 500 * n)
    return bench


def configure(bench: Bench, pin: str) -> None:
    bench.configure(pin_hash=hash_pin(pin, b"s" * 16), language="es", label="Flat 7")


def view_of(bench: Bench) -> AccountView:
    view = view_account(bench.db, 101, bench.now_ms)
    assert view is not None
    return view


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Nothing changes here."""
    return made(tmp_path_factory.mktemp("still"))


@pytest.fixture
def port(still: Bench) -> Iterator[int]:
    with local_topic(still.path, ManualClock(still.now_ms)) as topic:
        yield int(topic.server_address[1])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return made(tmp_path)


@pytest.fixture
def live(bench: Bench) -> Iterator[int]:
    """The port of a topic beside a store that changes."""
    with local_topic(bench.path, ManualClock(bench.now_ms)) as topic:
        yield int(topic.server_address[1])


@pytest.mark.covers("C3-S1.13", "C3-FR3")
@pytest.mark.parametrize("version", [V3, V5], ids=["3.1.1", "5"])
def test_page_and_topic_carry_every_field_though_the_meters_display_is_off(still: Bench, port: int, version: object) -> None:
    """The meter's own display takes no part: nothing is shown on it and nothing asked of it here."""
    device = Device(port, "101", "4711", version)
    assert "1" in device.wish(OWN)
    told = device.document()
    assert device.documents[0][1], "a retained document comes with the subscription"
    assert {name: told[name] for name in ("balance", "currency", "energy_left_kwh", "cost_today", "price_per_kwh", "register_kwh")} == {
        "balance": "83.2", "currency": "INR", "energy_left_kwh": "9.904", "cost_today": "16.8", "price_per_kwh": "8.4",
        "register_kwh": "1002",
    }  # fmt: skip
    left = told["time_left"]
    assert (left["days"], 10 <= left["hours"] <= 23, 0 <= left["minutes"] <= 59, left["is_estimate"]) == (0, True, True, True)
    assert "2026-03-02T12" < left["cautious_until"] <= left["until"] < "2026-03-03T12"
    assert (told["as_of"], told["entry"], told["is_stale"]) == ("2026-03-02T09:40:00Z", 7, False)
    assert {"debt", "limit_w", "protected_until", "emergency_credit", "schedules", "event_credit", "topup"} <= told.keys()
    assert told["supply"]["state"] == "on"
    view = view_of(still)
    for language in LANGUAGES:
        page = unescape(balance_page(Words(language, "INR", zone_of("Asia/Kolkata")), view))
        shown = told["shown"][language]
        lines = [shown["balance"], shown["supply"], shown["as_of"], *shown["lasts"], *(text for fact in shown["facts"] for text in fact)]
        lines += [text for line in shown["charges_today"] for text in line]
        assert len(lines) >= 15
        assert [line for line in lines if line not in page] == []
    device.leave()


def test_each_change_follows_by_itself(bench: Bench, live: int) -> None:
    device = Device(live, "101", "4711")
    device.wish(OWN)
    device.document()
    bench.credit(1, "50")
    told = device.until(lambda d: d["balance"] == "133.2")
    assert LOOK_S <= 0.5
    assert not device.documents[-1][1], "it is no retained document for one that was there"
    assert told["messages"][0]["code"] == "CREDIT"
    assert told["messages"][0]["words"]["en"].replace("\xa0", " ") == "₹ 50.00 received. Balance ₹ 133.20."
    device.leave()


def test_a_message_a_device_acknowledged_was_displayed(bench: Bench, live: int) -> None:
    bench.send(bench.command(CommandType.MESSAGE, text="Water off tomorrow"))
    device = Device(live, "101", "4711")
    device.wish(OWN)
    newest = device.document()["messages"][0]
    assert (newest["words"]["hi"], newest["state"]) == ("Water off tomorrow", "delivered")
    device.wish(OWN)  # its answer comes after the acknowledgement was taken
    asked = [a.ask for a in Counter(bench.folder).waiting()]
    assert (asked[0].kind, asked[0].account_no) == ("messages", 101)
    assert f"{newest['number']}.displayed" in asked[0].text.split()
    device.leave()


@pytest.mark.parametrize("version", [V3, V5], ids=["3.1.1", "5"])
@pytest.mark.parametrize(("account", "pin"), [("101", "1234x"), ("102", "0000"), ("999", "4711"), ("", ""), ("101 ", "4711")])
def test_without_the_own_pin_nobody_comes_in(port: int, account: str, pin: str, version: object) -> None:
    device = Device(port, account, pin, version)
    assert not device.is_in
    assert "user name or password" in device.refused.lower()
    device.leave()


@pytest.mark.parametrize(("version", "no"), [(V3, "Unspecified"), (V5, "Not authorized")], ids=["3.1.1", "5"])
def test_a_neighbours_topic_is_refused_and_wildcards_hold_the_own_alone(bench: Bench, live: int, version: object, no: str) -> None:
    device = Device(live, "101", "4711", version)
    for topic in (OTHER, "gridtally/account", "gt/#", "$SYS/#", "+"):
        assert no in device.wish(topic), topic
    assert "1" in device.wish("gridtally/account/#")
    device.document()
    bench.credit(2, "1")
    bench.credit(1, "1")
    device.until(lambda d: d["balance"] == "84.2")
    assert {d["account"] for d, _ in device.documents} == {101}
    assert "222" not in str(device.documents)
    device.leave()


def test_who_publishes_is_sent_away_and_nobody_hears_of_it(port: int) -> None:
    listener, intruder = Device(port, "101", "4711"), Device(port, "102", "4711")
    listener.wish(OWN)
    listener.document()
    intruder.client.publish(OWN, b'{"balance":"0"}', qos=1)
    listener.wish("#")
    assert {d["balance"] for d, _ in listener.documents} == {"83.2"}
    intruder.client.loop_stop()
    assert intruder.is_out
    listener.leave()


def test_a_changed_pin_ends_what_the_old_one_opened(bench: Bench, live: int) -> None:
    device = Device(live, "101", "4711")
    device.wish(OWN)
    device.document()
    configure(bench, "9999")
    bench.credit(1, "5")
    wait_until(lambda: device.is_out, 10, "the end of the connection")
    assert all(d["balance"] == "83.2" for d, _ in device.documents)
    assert not Device(live, "101", "4711").is_in
    assert Device(live, "101", "9999").is_in


def test_wrong_pins_at_the_topic_lock_the_account(port: int) -> None:
    for _ in range(FREE):
        assert not Device(port, "102", "0000").is_in
    device = Device(port, "102", "4711")
    assert not device.is_in
    assert "rate exceeded" in device.refused.lower()


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\x7f", b"\x30\x02\0\0", b"\x10\x04\0\x04MQTT"])
def test_what_is_not_mqtt_is_hung_up(port: int, octets: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(octets)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) in (b"", b"\x20\x02\0\x01")


def test_an_unknown_version_is_told_so(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"\x10\x0c\0\x04MQTT\x06\x02\0\x3c\0\0")
        assert connection.recv(100) == b"\x20\x02\0\x01"


@given(st.binary(max_size=80), st.sampled_from((wire.V3, wire.V5)))
def test_no_octets_break_the_reader(octets: bytes, version: int) -> None:
    readers = (
        lambda: wire.connect_of(b"\0\x04MQTT" + bytes((version,)) + octets), lambda: wire.subscribe_of(octets, version),
        lambda: wire.unsubscribe_of(octets, version), lambda: wire.acknowledged_of(octets),
    )  # fmt: skip
    for read in readers:
        with contextlib.suppress(wire.WireError):
            read()


@pytest.mark.parametrize(
    ("topic_filter", "holds"),
    [(OWN, True), ("#", True), ("gridtally/+/101", True), ("gridtally/account/101/#", True), ("gridtally/#/101", False),
     ("gridtally/account/+/x", False), ("gridtally/account/1", False), ("", False)],
)  # fmt: skip
def test_filters_hold_by_the_rule_of_mqtt(topic_filter: str, holds: bool) -> None:
    assert matches(topic_filter, OWN) is holds


def test_one_document_is_under_way_at_a_time() -> None:
    session = Session(101, wire.V5)
    session.take(wire.Type.SUBSCRIBE, b"\0\x01\0" + len(OWN).to_bytes(2, "big") + OWN.encode() + b"\x01")
    assert session.offer(b"one")
    assert session.offer(b"two") == b""
    assert session.take(wire.Type.PUBACK, b"\0\x01") == (b"", True)
    assert session.offer(b"two").endswith(b"two")
    session.take(wire.Type.PUBACK, b"\0\x02")
    assert session.offer(b"two") == b""


def test_a_client_of_short_packets_is_told_why_it_gets_none() -> None:
    session = Session(101, wire.V5, largest=100)
    session.take(wire.Type.SUBSCRIBE, b"\0\x01\0" + len(OWN).to_bytes(2, "big") + OWN.encode() + b"\0")
    with pytest.raises(Ended) as ended:
        session.offer(b"x" * 200)
    assert ended.value.refusal is wire.Refusal.TOO_LARGE
