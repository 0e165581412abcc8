"""Meters behind a coordinator on a pty: both modem interfaces, with nodes that come, go and move."""

import contextlib

import pytest

from gridtally_edge.protocols.dlms.client import DlmsClient
from gridtally_edge.protocols.dlms.link import Timing
from gridtally_edge.protocols.dlms.llc432 import Llc432Link
from gridtally_edge.protocols.dlms.wrapper import WrapperPdu
from gridtally_edge.simulators.coordinator import LlcSlave, SimCoordinator, SimNode
from gridtally_edge.simulators.coordinator_sides import AtSide, FramedSide
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit, WrapperSlave
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.mesh import MeshHabits
from gridtally_edge.simulators.ports import PtyPort
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.coordinator import CoordinatorLine
from gridtally_edge.transports.heard import Heard, NodeChanged
from gridtally_edge.transports.ip_settings import NetworkSettings
from gridtally_edge.transports.line import LineState
from gridtally_edge.transports.modem_at import AtModem
from gridtally_edge.transports.nodes import report_of
from gridtally_edge.transports.places import Place
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import NodeState
from gridtally_shared.errors import ConfigError, LinkDown
from support.waiting import wait_until
from unit.edge.transports.ip_bench import START_MS, framed, login, read_serial, wrapped

GUARD_S = 0.1
SIDES = {"framed": FramedSide, "at": lambda net: AtSide(net, GUARD_S)}
SLAVES = {"hdlc": lambda unit: DlmsSlave([unit]), "wrapper": WrapperSlave, "4-32": LlcSlave}
CLIENTS = {
    "hdlc": lambda: framed(answer_ms=700),
    "wrapper": lambda: wrapped(True, answer_ms=300, retries=5),
    "4-32": lambda: DlmsClient(Llc432Link(32, 1, Timing(700, 3)), login(), 1024),
}


def eui(number):
    return f"00124b00000000{number:02x}"


def serial_of(number):
    return str(40_000_000 + number)


class Net:
    def __init__(self, stack, folder, count, codec, carry, habits, waiting, **network):
        clock = ManualClock(START_MS)
        self.heard = []
        nodes = []
        for number in range(1, count + 1):
            house = HouseMeter(HouseSettings(serial=serial_of(number), seed=number), clock, folder / f"{number}.log")
            stack.callback(house.close)
            slave = SLAVES[carry](DlmsUnit(house, 17))
            nodes.append(SimNode(eui(number), serial_of(number), slave, 10 + number, allowed=number not in waiting))
        self.far = SimCoordinator("net", PtyPort(folder / "modem"), nodes, SIDES[codec], habits)
        self.far.start()
        stack.callback(self.far.close)
        settings = NetworkSettings(**{"codec": codec, "hop_ms": 20, "white_list": False, **network})
        device = LineSettings("net", self.far.address(), Speed(115_200), reopen_first_s=0.1, network=settings)
        modem = AtModem(0.06, GUARD_S, list_every_s=0.5, quiet_s=0.2) if codec == "at" else None
        self.line = CoordinatorLine(device, self.heard.append, modem)
        for number in range(1, count + 1):
            self.line.place(serial_of(number), Place(node=eui(number)))
        self.line.start()
        stack.callback(self.line.close)

    def ready(self):
        assert self.line.wait_ready(10)
        wait_until(lambda: len(self.line.nodes()) == len(self.far.nodes), 10, "the nodes are listed")

    def submit(self, number, carry, priority=Priority.PROFILE):
        return self.line.submit(read_serial(CLIENTS[carry]()), priority, serial_of(number))

    def changes(self, number):
        return [h for h in self.heard if isinstance(h, NodeChanged) and h.node == eui(number)]


@pytest.fixture
def net(tmp_path):
    with contextlib.ExitStack() as stack:

        def make(count=3, codec="framed", carry="hdlc", habits=None, waiting=(), **network):
            made = Net(stack, tmp_path, count, codec, carry, habits, waiting, **network)
            if not waiting:
                made.ready()
            return made

        yield make


@pytest.mark.parametrize("carry", SLAVES)
def test_meters_are_read_through_a_framed_coordinator(net, carry):
    made = net(carry=carry)
    futures = [made.submit(number, carry) for number in (1, 2, 3)]
    assert [f.result(20) for f in futures] == [serial_of(n) for n in (1, 2, 3)]


def test_meters_are_read_through_a_transparent_modem(net):
    """HDLC frames unchanged; the modem is switched from node to node."""
    made = net(codec="at")
    futures = [made.submit(number, "hdlc") for number in (1, 2, 3)]
    assert [f.result(30) for f in futures] == [serial_of(n) for n in (1, 2, 3)]
    assert made.submit(3, "hdlc", Priority.SWITCH).result(20) == serial_of(3)


def test_long_messages_go_in_pieces_and_lost_pieces_are_asked_again(net):
    made = net(2, carry="wrapper", habits=MeshHabits(loss_percent=3, hop_ms=1), mtu=32)
    for _ in range(4):
        futures = [made.submit(number, "wrapper") for number in (1, 2)]
        assert [f.result(30) for f in futures] == [serial_of(n) for n in (1, 2)]
    assert made.far.pieces_lost > 0


def test_joins_leaves_and_routes_are_told_and_reported(net):
    made = net(2)
    made.far.route(serial_of(2), parent=11, hops=2)
    wait_until(lambda: made.changes(2)[-1].hops == 2, 5)
    assert made.changes(2)[-1].parent == eui(1), "the parent by its lasting identity"
    made.far.leave(serial_of(2))
    wait_until(lambda: made.changes(2)[-1].state is NodeState.LEFT, 5)
    with pytest.raises(LinkDown, match="has left the network"):
        made.submit(2, "hdlc").result(5)
    report = report_of(made.changes(2)[-2], 1_000, serial_of(2))
    assert (report.node, report.parent, report.hops, report.serial, report.at_ms) == (eui(2), eui(1), 2, serial_of(2), 1_000)


@pytest.mark.parametrize("codec", SIDES)
def test_a_node_that_comes_back_with_a_new_address_is_the_same_meter(net, codec):
    made = net(2, codec)
    assert made.submit(2, "hdlc").result(20) == serial_of(2)
    made.far.leave(serial_of(2))
    made.far.join(serial_of(2), address=77)
    wait_until(lambda: made.changes(2) and made.changes(2)[-1].address == "77", 20)
    assert made.changes(2)[-1].state is NodeState.JOINED
    assert made.submit(2, "hdlc", Priority.ON_DEMAND).result(20) == serial_of(2)


def test_a_conversation_is_cut_off_when_its_node_leaves(net):
    made = net(1, habits=MeshHabits(hop_ms=500))
    future = made.submit(1, "hdlc")
    wait_until(lambda: made.line.in_flight() == 1, 5)
    made.far.leave(serial_of(1))
    with pytest.raises(LinkDown, match="has left the network"):
        future.result(5)


@pytest.mark.parametrize("codec", SIDES)
def test_a_node_waits_until_it_is_allowed(net, codec):
    made = net(2, codec, waiting=(2,), white_list=True)
    made.line.allow([eui(1)])
    made.ready()
    wait_until(lambda: made.changes(2), 5)
    assert made.changes(2)[-1].state is NodeState.WAITING
    with pytest.raises(LinkDown, match=f"nodes allow net/{eui(2)}"):
        made.submit(2, "hdlc").result(5)
    made.line.allow([eui(1), eui(2)])
    wait_until(lambda: made.changes(2)[-1].state is NodeState.JOINED, 10)
    assert made.submit(2, "hdlc", Priority.ON_DEMAND).result(20) == serial_of(2)
    made.line.allow([eui(1)])
    wait_until(lambda: made.changes(2)[-1].state is not NodeState.JOINED, 10)


def test_far_nodes_have_more_time(net):
    made = net(1, habits=MeshHabits(hop_ms=25), hop_ms=100)
    made.far.route(serial_of(1), parent=0, hops=8)
    wait_until(lambda: made.changes(1)[-1].hops == 8, 5)
    future = made.line.submit(read_serial(framed(answer_ms=300)), Priority.PROFILE, serial_of(1))
    assert future.result(30) == serial_of(1), "each answer takes 400 ms, the time-out alone is 300"
    assert made.line.health().statistics.timeouts == 0


def test_pushes_of_a_node_are_heard_with_its_identity(net):
    made = net(1, carry="wrapper")
    push = WrapperPdu(1, 64, bytes.fromhex("0f000000010002000000") * 20).octets()
    made.far.push(serial_of(1), push)
    wait_until(lambda: any(isinstance(h, Heard) for h in made.heard), 5)
    heard = next(h for h in made.heard if isinstance(h, Heard))
    assert (heard.source, heard.data, heard.quality) == (eui(1), push, 200)


def test_one_message_for_all_nodes(net):
    made = net(1)
    assert made.line.send_to_all(b"clock set")
    wait_until(lambda: made.far.broadcasts == [b"clock set"], 5)


def test_a_pulled_modem_comes_back(net):
    made = net(1)
    made.far.unplug()
    wait_until(lambda: made.line.health().state is LineState.DOWN, 5)
    with pytest.raises(LinkDown):
        made.submit(1, "hdlc").result(5)
    made.far.plug()
    wait_until(lambda: made.line.health().state is LineState.UP, 10)
    made.ready()
    assert made.submit(1, "hdlc").result(20) == serial_of(1)


def test_a_meter_without_a_node_is_refused(net):
    made = net(1)
    with pytest.raises(ConfigError, match="write the node's lasting identity"):
        made.line.place("m", Place("::1"))
    with pytest.raises(ConfigError, match="modem:///dev"):
        line_for(LineSettings("net", "modem://"))
    made.line.place("m", Place(node="ffffffffffffffff"))
    with pytest.raises(LinkDown, match="was never seen"):
        made.line.submit(read_serial(framed()), Priority.PROFILE, "m").result(5)


@pytest.mark.parametrize("codec", SIDES)
def test_who_asks_before_the_nodes_are_listed_waits_for_the_list(tmp_path, codec):
    with contextlib.ExitStack() as stack:
        made = Net(stack, tmp_path, 1, codec, "hdlc", None, ())
        made.line.place("nobody", Place(node="ffffffffffffffff"))
        nobody = made.line.submit(read_serial(framed()), Priority.PROFILE, "nobody")
        assert made.submit(1, "hdlc").result(20) == serial_of(1)
        with pytest.raises(LinkDown, match="was never seen"):
            nobody.result(5)
