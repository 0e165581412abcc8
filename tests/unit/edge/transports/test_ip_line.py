"""Meters with addresses of their own, over UDP and TCP, by one line."""

import contextlib
import socket
import threading
import time

import pytest

from gridtally_edge.protocols.conversation import Conversation, Exchange
from gridtally_edge.protocols.dlms.client import DlmsClient
from gridtally_edge.simulators.faults import Fault, FaultKind
from gridtally_edge.simulators.mesh import MeshHabits
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.ip_line import IpLine
from gridtally_edge.transports.ip_medium import key_of, sockaddr_of
from gridtally_edge.transports.ip_settings import NetworkSettings
from gridtally_edge.transports.line import LineState
from gridtally_edge.transports.places import Place, driver_part, place_of
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.errors import ConfigError, LinkDown
from support.waiting import wait_until
from unit.edge.transports.ip_bench import Peer, any_answer, ask, framed, mesh_of, read_serial, wrapped


@pytest.fixture
def line_to():
    with contextlib.ExitStack() as stack:

        def make(device="udp://", sink=lambda heard: None, **network):
            line = line_for(LineSettings("mesh", device, network=NetworkSettings(**{"hop_ms": 0, **network})), sink)
            line.start()
            stack.callback(line.close)
            return line

        yield make


@pytest.fixture
def peer():
    with contextlib.ExitStack() as stack:

        def make(react, host="127.0.0.1"):
            made = Peer(react, host)
            stack.callback(made.close)
            return made

        yield make


def read_all(line, mesh, client, count):
    futures = {}
    for number in range(1, count + 1):
        serial = str(30_000_000 + number)
        line.place(serial, Place(*mesh.address_of(serial)))
        futures[serial] = line.submit(read_serial(client()), Priority.PROFILE, serial)
    return {serial: future.result(20) for serial, future in futures.items()}


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
@pytest.mark.parametrize(("device", "datagrams"), [("udp://[::]:0", True), ("ip://", False)])
def test_meters_are_read_over_udp_and_tcp_and_both_families(tmp_path, line_to, host, device, datagrams):
    with mesh_of(tmp_path, 4, host=host) as mesh:
        found = read_all(line_to(device), mesh, lambda: wrapped(datagrams), 4)
    assert found == {serial: serial for serial in found}


def test_a_lossy_reordering_mesh_is_read_all_the_same(tmp_path, line_to):
    habits = MeshHabits(loss_percent=8, hop_ms=1, reorder_ms=20)
    with mesh_of(tmp_path, 12, habits) as mesh:
        line = line_to(in_flight=12)
        found = read_all(line, mesh, lambda: wrapped(True, answer_ms=500, retries=9), 12)
        lost = mesh.datagrams_lost
    assert found == {serial: serial for serial in found}
    assert lost > 0, "the network did lose something"


def test_a_protocol_may_repeat_by_itself_as_often_as_its_timing_says(tmp_path, line_to, peer):
    """A DLMS request is sealed anew for each try, so its client repeats it; 7 lost in a row are within its 9."""
    with mesh_of(tmp_path, 1) as mesh:
        slave = mesh._meters[0].slave
        deaf_then_well = peer(lambda n, data: [slave.receive(data)] if n % 8 == 0 else [])
        line = line_to()
        line.place("m", Place("127.0.0.1", deaf_then_well.port))
        assert line.submit(read_serial(wrapped(True, answer_ms=30, retries=9)), Priority.PROFILE, "m").result(10) == "30000001"
        with pytest.raises(LinkDown):
            line.submit(read_serial(wrapped(True, answer_ms=30, retries=6)), Priority.PROFILE, "m").result(10)


def test_a_second_answer_to_an_association_asked_for_twice_is_no_answer_to_a_get(tmp_path, line_to, peer):
    """Its bytes may differ (HLS: another challenge), so the network's own duplicates are not all of them."""
    with mesh_of(tmp_path, 1) as mesh:
        slave, asked = mesh._meters[0].slave, []

        def late(number, data):
            asked.append(data)
            answer = slave.receive(data)
            if number == 1:
                return []
            if number == 3:
                aare = bytearray(slave.receive(asked[0]))
                aare[-3] ^= 1  # the largest PDU it takes is another one
                return [bytes(aare), answer]
            return [answer]

        meter = peer(late)
        line = line_to()
        line.place("m", Place("127.0.0.1", meter.port))
        assert line.submit(read_serial(wrapped(True, answer_ms=60)), Priority.PROFILE, "m").result(10) == "30000001"
    assert len(asked) == 4, "AARQ twice, GET, RLRQ"


def test_hdlc_goes_over_tcp_unchanged(tmp_path, line_to):
    with mesh_of(tmp_path, 2, hdlc=True) as mesh:
        found = read_all(line_to("ip://"), mesh, framed, 2)
    assert found == {serial: serial for serial in found}


def test_all_ip_lines_share_one_thread(line_to):
    before = {t.name for t in threading.enumerate()}
    lines = [line_to(), line_to("ip://"), line_to()]
    assert {t.name for t in threading.enumerate()} - before == {"ip lines"}
    for line in lines:
        line.close()
    assert "ip lines" not in {t.name for t in threading.enumerate()}


def test_only_so_many_meters_are_spoken_to_at_once(line_to, peer):
    peers = [peer(lambda n, data: []) for _ in range(5)]
    line = line_to(in_flight=2)
    futures = []
    for number, one in enumerate(peers):
        line.place(f"m{number}", Place("127.0.0.1", one.port))
        futures.append(line.submit(ask(b"hello", 150, 0), Priority.PROFILE, f"m{number}"))
    wait_until(lambda: sum(bool(p.heard) for p in peers) == 2, 5)
    assert line.in_flight() == 2
    urgent = line.submit(ask(b"now", 100, 0), Priority.SWITCH, "m4")
    wait_until(lambda: peers[4].heard == [b"now"], 5, "a switch command has a place of its own")
    for future in (*futures, urgent):
        with pytest.raises(LinkDown):
            future.result(5)


def test_an_urgent_conversation_goes_first(line_to, peer):
    slow = peer(lambda n, data: [b"ok"] if n > 1 else [])
    other = peer(lambda n, data: [b"ok"])
    line = line_to(in_flight=1)
    order = []
    line.place("slow", Place("127.0.0.1", slow.port))
    line.place("other", Place("127.0.0.1", other.port))
    first = line.submit(ask(b"1", 200), Priority.GAP_FILL, "slow")
    wait_until(lambda: slow.heard, 5)
    for priority, name in ((Priority.PROFILE, "profile"), (Priority.EVENTS, "events")):
        line.submit(ask(name.encode()), priority, "other").add_done_callback(lambda f, name=name: order.append(name))
    first.result(5)
    wait_until(lambda: len(order) == 2, 5)
    assert order == ["events", "profile"]


def test_a_get_is_repeated_and_a_set_is_not(line_to, peer):
    silent_once = peer(lambda n, data: [b"value"] if n > 1 else [])
    silent = peer(lambda n, data: [])
    line = line_to()
    line.place("get", Place("127.0.0.1", silent_once.port))
    line.place("set", Place("127.0.0.1", silent.port))
    assert line.submit(ask(b"get", 100), Priority.PROFILE, "get").result(5) == b"value"
    with pytest.raises(LinkDown, match=r"does not answer \(1 tries\)"):
        line.submit(ask(b"set", 50, repeatable=False), Priority.ON_DEMAND, "set").result(5)
    assert silent_once.heard == [b"get", b"get"]
    assert silent.heard == [b"set"]


def test_time_outs_grow_with_the_hops(line_to, peer):
    silent = peer(lambda n, data: [])
    line = line_to(hop_ms=60)
    line.place("far", Place("127.0.0.1", silent.port, hops=5))
    started_s = time.monotonic()
    with pytest.raises(LinkDown):
        line.submit(ask(b"x", 50, 0), Priority.PROFILE, "far").result(5)
    assert 0.35 <= time.monotonic() - started_s < 1.0


def test_an_answer_from_another_address_is_not_taken(line_to, peer):
    stranger = peer(lambda n, data: [])
    asked = []

    def by_another(number, data):
        asked.append(data)
        stranger.socket.sendto(b"false", meter.asker)
        return [b"true"] if number > 1 else []

    meter = peer(by_another)
    line = line_to()
    line.place("m", Place("127.0.0.1", meter.port))
    assert line.submit(ask(b"who", 100), Priority.PROFILE, "m").result(5) == b"true"
    assert len(asked) == 2
    assert line.medium.strangers >= 1


def test_a_late_answer_is_not_taken_for_the_next_request(line_to, peer):
    def react(number, data):
        if data == b"one":
            return [b"answer one", b"answer one, late"] if number == 2 else []
        return [b"answer two"]

    meter = peer(react)
    line = line_to()
    line.place("m", Place("127.0.0.1", meter.port))

    def two():
        first = yield Exchange(b"one", any_answer, None, 100)
        second = yield Exchange(b"two", any_answer, None, 300)
        return first, second

    assert line.submit(two(), Priority.PROFILE, "m").result(5) == (b"answer one", b"answer two")
    assert line.health().statistics.late_answers == 1


def test_a_dead_meter_costs_the_others_one_time_out_and_is_then_left_alone(line_to, peer):
    dead, alive = peer(lambda n, data: []), peer(lambda n, data: [b"ok"])
    line = line_to(in_flight=1)
    line.place("dead", Place("127.0.0.1", dead.port))
    line.place("alive", Place("127.0.0.1", alive.port))
    started_s = time.monotonic()
    gone = line.submit(ask(b"x", 150), Priority.PROFILE, "dead")
    assert line.submit(ask(b"y"), Priority.PROFILE, "alive").result(5) == b"ok"
    assert time.monotonic() - started_s < 0.3, "one time-out, not three"
    with pytest.raises(LinkDown, match="3 tries"):
        gone.result(5)
    assert line.health().silent == ("dead",)
    with pytest.raises(LinkDown, match="asked again in"):
        line.submit(ask(b"x"), Priority.PROFILE, "dead").result(5)
    assert len(dead.heard) == 3


def test_one_conversation_at_a_time_to_one_address(line_to, peer):
    meter = peer(lambda n, data: [data])
    line = line_to(in_flight=50)
    for name in ("a", "b"):
        line.place(name, Place("127.0.0.1", meter.port))
    futures = [line.submit(ask(f"{name}{n}".encode()), Priority.PROFILE, name) for n in range(10) for name in ("a", "b")]
    assert [f.result(5) for f in futures] == [f"{name}{n}".encode() for n in range(10) for name in ("a", "b")]


def test_a_tcp_connection_is_kept_and_closed_when_idle(tmp_path, line_to):
    with mesh_of(tmp_path, 1) as mesh:
        line = line_to("ip://", idle_s=0.2)
        line.place("m", Place(*mesh.address_of("30000001")))
        for _ in range(3):
            assert line.submit(read_serial(wrapped(False)), Priority.PROFILE, "m").result(5) == "30000001"
        station = mesh._stations["30000001"]
        assert len(station.callers) == 1, "one connection for three conversations"
        wait_until(lambda: not station.callers, 5, "closed when idle")
        assert line.submit(read_serial(wrapped(False)), Priority.PROFILE, "m").result(5) == "30000001"


def test_the_silence_of_a_device_beside_the_meter_is_not_the_meters(tmp_path, line_to):
    heard: list[str] = []

    def beside_a_mute_board(client: DlmsClient) -> Conversation[str]:
        yield from client.open()
        try:
            yield Exchange(b"\x28", lambda received: None, timeout_ms=30, retries=1, device="board-40")
        except LinkDown as error:
            heard.append(str(error))
        yield from client.close()
        return "done"

    with mesh_of(tmp_path, 1) as mesh:
        line = line_to("udp://", hop_ms=0)
        line.place("m", Place(*mesh.address_of("30000001")))
        assert line.submit(beside_a_mute_board(wrapped(True)), Priority.PROFILE, "m").result(5) == "done"
        assert heard == ["board-40 on line mesh does not answer (2 tries)"]
        assert line.health().silent == ()
        assert line.submit(read_serial(wrapped(True)), Priority.PROFILE, "m").result(5) == "30000001"


def test_a_meter_that_refuses_a_second_connection_is_said_so(tmp_path, line_to):
    with mesh_of(tmp_path, 1) as mesh:
        address = mesh.address_of("30000001")
        with contextlib.closing(socket.create_connection(address)):
            wait_until(lambda: mesh._stations["30000001"].callers, 5)
            line = line_to("ip://")
            line.place("m", Place(*address))
            with pytest.raises(LinkDown, match="it may take one connection only"):
                line.submit(read_serial(wrapped(False)), Priority.PROFILE, "m").result(5)


def test_nobody_at_the_address_is_said_so(line_to):
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = line_to("ip://")
    line.place("m", Place("127.0.0.1", port))
    with pytest.raises(LinkDown, match=f"meter at 127.0.0.1:{port}: Connection refused"):
        line.submit(ask(b"x"), Priority.PROFILE, "m").result(5)


def test_a_stream_is_not_asked_twice_and_dropped_after_silence(tmp_path, line_to):
    with mesh_of(tmp_path, 1) as mesh:
        mesh.faults.add(Fault(FaultKind.MUTE, "30000001", times=1))
        line = line_to("ip://")
        line.place("m", Place(*mesh.address_of("30000001")))
        with pytest.raises(LinkDown, match="1 tries"):
            line.submit(read_serial(wrapped(False, answer_ms=100, retries=1)), Priority.ON_DEMAND, "m").result(5)
        wait_until(lambda: not mesh._stations["30000001"].callers, 5, "the connection of a lost answer is dropped")
        assert line.health().statistics.retries == 0


def test_closing_settles_everything(line_to, peer):
    silent = peer(lambda n, data: [])
    line = line_to(in_flight=1)
    line.place("m", Place("127.0.0.1", silent.port))
    line.place("n", Place("127.0.0.1", silent.port))
    futures = [line.submit(ask(b"x", 5_000), Priority.PROFILE, name) for name in ("m", "n", "m")]
    wait_until(lambda: silent.heard, 5)
    line.close()
    for future in futures:
        with pytest.raises(LinkDown, match="the line is closed"):
            future.result(5)
    with pytest.raises(LinkDown, match="the line is closed"):
        line.submit(ask(b"x"), Priority.PROFILE, "m").result(5)
    assert line.health().state is LineState.CLOSED


def test_a_fault_in_a_protocol_spares_the_line(line_to, peer):
    meter = peer(lambda n, data: [b"ok"])
    line = line_to()
    line.place("m", Place("127.0.0.1", meter.port))

    def broken():
        yield Exchange(b"x", any_answer)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        line.submit(broken(), Priority.PROFILE, "m").result(5)
    assert line.submit(ask(b"y"), Priority.PROFILE, "m").result(5) == b"ok"


def test_the_device_may_name_the_one_meter(line_to, peer):
    meter = peer(lambda n, data: [b"ok"], "::1")
    assert line_to(f"udp://[::1]:{meter.port}").submit(ask(b"x"), Priority.ON_DEMAND, "meter").result(5) == b"ok"


def test_link_local_addresses_are_told_apart_by_their_scope():
    name = socket.if_indextoname(1)
    _, address = sockaddr_of(f"fe80::1%{name}", 4059)
    assert key_of(address) == ("fe80::1", 4059, 1)
    assert key_of(("fe80::1", 4059, 0, 2)) != key_of(address)
    with pytest.raises(ConfigError, match="with its interface"):
        sockaddr_of("fe80::1%nosuch0", 4059)
    with pytest.raises(ConfigError, match="numeric"):
        sockaddr_of("meter.example", 4059)


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"port": 0}, "port"), ({"port": "4059"}, "port"), ({"host": 5}, "host"), ({"hops": -1}, "hops"), ({"over": "x"}, "over")],
)
def test_a_wrong_place_is_refused(settings, key):
    with pytest.raises(ConfigError) as caught:
        place_of(settings)
    assert caught.value.key == key


def test_a_place_is_the_lines_and_the_rest_the_drivers():
    settings = {"host": "::1", "port": 4061, "unit": 3}
    assert str(place_of(settings)) == "[::1]:4061"
    assert driver_part(settings) == {"unit": 3}


def test_places_that_do_not_fit_the_line_are_refused(line_to):
    line = line_to()
    with pytest.raises(ConfigError, match="an IP line knows hosts, not nodes"):
        line.place("m", Place(node="0011223344556677"))
    with pytest.raises(ConfigError, match="numeric address"):
        line.place("m", Place())
    serial = line_for(LineSettings("bus", "/dev/nosuch"))
    with pytest.raises(ConfigError, match="this line has no addresses of its own"):
        serial.place("m", Place("::1"))
    assert isinstance(line, IpLine)


@pytest.mark.parametrize("device", ["udp://host", "udp://meter.example:4059", "ip://::1", "udp://127.0.0.1:70000"])
def test_a_wrong_device_is_refused(device):
    with pytest.raises(ConfigError):
        line_for(LineSettings("mesh", device))
