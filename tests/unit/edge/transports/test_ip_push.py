"""What meters send unasked: on the push port, on an open association, and too much of it."""

import contextlib
import socket

import pytest

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Frame
from gridtally_edge.protocols.dlms.wrapper import WrapperPdu
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.heard import Heard
from gridtally_edge.transports.ip_settings import NetworkSettings
from gridtally_edge.transports.ip_unasked import MOST_SOURCES, FloodGate, take_unasked, whole_messages
from gridtally_edge.transports.places import Place
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.errors import ConfigError
from support.waiting import wait_until
from unit.edge.transports.ip_bench import ask, mesh_of, read_serial, wrapped

PUSH = WrapperPdu(1, 64, bytes.fromhex("0f0000000100") + b"\x02\x00").octets()
ANSWER = WrapperPdu(1, 32, bytes.fromhex("c401c1000a0131")).octets()


def free_port():
    with contextlib.closing(socket.socket(socket.AF_INET6)) as one:
        one.bind(("::", 0))
        return one.getsockname()[1]


@pytest.fixture
def listening():
    heard = []
    with contextlib.ExitStack() as stack:

        def make(device="udp://", **network):
            settings = NetworkSettings(**{"hop_ms": 0, "push_port": free_port(), **network})
            line = line_for(LineSettings("mesh", device, network=settings), heard.append)
            line.start()
            stack.callback(line.close)
            return line, settings.push_port

        yield make, heard


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
@pytest.mark.parametrize("by_tcp", [False, True])
def test_a_push_comes_in_by_udp_and_tcp_over_both_families(tmp_path, listening, host, by_tcp):
    make, heard = listening
    _, port = make()
    with mesh_of(tmp_path, 1, host=host) as mesh:
        mesh.push("30000001", PUSH, (host, port), by_tcp)
        wait_until(lambda: heard, 5)
        own = mesh.address_of("30000001")
    (message,) = heard
    assert isinstance(message, Heard)
    assert (message.line, message.data) == ("mesh", PUSH)
    assert message.source.startswith("[::1]:" if host == "::1" else "127.0.0.1:")
    assert by_tcp or message.source == str(Place(*own))


def test_a_push_in_pieces_and_two_in_one_go_are_whole_messages(listening):
    make, heard = listening
    _, port = make()
    with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as caller:
        caller.sendall(PUSH[:5])
        caller.sendall(PUSH[5:] + PUSH)
        wait_until(lambda: len(heard) == 2, 5)
    assert [h.data for h in heard] == [PUSH, PUSH]


def test_a_push_amid_a_conversation_is_heard_and_the_answer_too(tmp_path, listening):
    """On an open TCP association, where the meter speaks before its answer."""
    make, heard = listening
    line, _ = make("ip://", push_port=0)
    with mesh_of(tmp_path, 1) as mesh:
        line.place("m", Place(*mesh.address_of("30000001")))

        def interrupted():
            client = wrapped(False)
            yield from client.open()
            mesh.say_on_connection("30000001", PUSH)
            serial = yield from _serial_of(client)
            yield from client.close()
            return serial

        assert line.submit(interrupted(), Priority.PROFILE, "m").result(5) == "30000001"
        wait_until(lambda: heard, 5)
        mesh.say_on_connection("30000001", PUSH)
        wait_until(lambda: len(heard) == 2, 5, "also while nobody speaks")
    assert {h.data for h in heard} == {PUSH}
    assert heard[0].source == str(Place(*mesh.address_of("30000001")))


def _serial_of(client):
    from gridtally_edge.protocols.dlms import axdr
    from unit.edge.transports.ip_bench import SERIAL

    return axdr.text_of((yield from client.get(SERIAL)))


def test_a_push_from_the_meters_own_udp_port_is_heard(tmp_path, listening):
    make, heard = listening
    line, port = make()
    with mesh_of(tmp_path, 1) as mesh:
        line.place("m", Place(*mesh.address_of("30000001")))
        assert line.submit(read_serial(wrapped(True)), Priority.PROFILE, "m").result(5) == "30000001"
        mesh.push("30000001", PUSH, ("::1", port))
        wait_until(lambda: heard, 5)
        assert heard[0].source == str(Place(*mesh.address_of("30000001")))


def test_a_flood_is_cut_and_counted_and_spares_the_others(listening):
    make, heard = listening
    line, port = make(push_per_s=5)
    with contextlib.ExitStack() as stack:
        loud, quiet = (stack.enter_context(contextlib.closing(socket.socket(type=socket.SOCK_DGRAM))) for _ in range(2))
        for _ in range(200):
            loud.sendto(PUSH, ("127.0.0.1", port))
        quiet.sendto(PUSH, ("127.0.0.1", port))
        wait_until(lambda: any(h.source.endswith(f":{quiet.getsockname()[1]}") for h in heard), 5)
    assert 5 <= len(heard) <= 12
    statistics = line.health().statistics
    assert statistics.pushes_dropped >= 185
    assert statistics.pushes == len(heard)


def test_nonsense_on_the_push_port_does_no_harm(listening):
    make, heard = listening
    _, port = make()
    with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\n\r\n" * 50)
    with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as caller:
        caller.sendall(PUSH)
        wait_until(lambda: heard, 5)
    assert [h.data for h in heard] == [PUSH]


def test_a_port_in_use_is_a_setting_to_change(listening):
    make, _ = listening
    _, port = make()
    with pytest.raises(ConfigError, match="choose another port, or 0"):
        make(push_port=port)


def test_without_a_push_port_nothing_listens(listening):
    make, _ = listening
    port = free_port()
    make(push_port=0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_unasked_messages_are_taken_out_of_a_stream():
    ui = hdlc.encode_frame(Frame(Address(64), Address(1, 17, 2), hdlc.UI, hdlc.LLC_RESPONSE + b"\x0f"))
    i = hdlc.encode_frame(Frame(Address(32), Address(1, 17, 2), hdlc.information(0, 1), b"x"))
    assert take_unasked(PUSH + ANSWER + PUSH) == ([PUSH, PUSH], ANSWER)
    assert take_unasked(ANSWER + PUSH[:9]) == ([], ANSWER + PUSH[:9])
    assert take_unasked(ui + i) == ([ui], b"\x7e" + i)
    assert take_unasked(ui + i[1:]) == ([ui], i), "a flag may close one frame and open the next"
    assert take_unasked(i) == ([], i)
    assert take_unasked(b"\x01\x02\x90\x0f\x00") == ([b"\x01\x02\x90\x0f\x00"], b"")
    assert take_unasked(b"\x01\x02\x90\xc4\x00") == ([], b"\x01\x02\x90\xc4\x00")
    assert whole_messages(PUSH + ANSWER[:3]) == ([PUSH], ANSWER[:3])
    assert whole_messages(ui + i[:4])[0] == [ui]


def test_the_flood_gate_is_fair_and_bounded():
    gate = FloodGate(2)
    assert [gate.may_pass("a", 0.0) for _ in range(3)] == [True, True, False]
    assert gate.may_pass("b", 0.0)
    assert gate.may_pass("a", 0.6)
    for number in range(3 * MOST_SOURCES):
        gate.may_pass(str(number), 1.0)
    assert len(gate._buckets) == MOST_SOURCES


def test_an_answer_is_never_heard_as_a_push(tmp_path, listening):
    make, heard = listening
    line, _ = make()
    with mesh_of(tmp_path, 1) as mesh:
        line.place("m", Place(*mesh.address_of("30000001")))
        line.submit(read_serial(wrapped(True)), Priority.PROFILE, "m").result(5)
        line.submit(ask(b"\x00\x01junk", 50, 0), Priority.PROFILE, "m").exception(5)
    assert heard == []
