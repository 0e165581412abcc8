"""A meter's module is moved from the network of one DCU to that of another: both tell the head end."""

import contextlib
import subprocess

import pytest

from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.simulators.coordinator import SimCoordinator, SimNode
from gridtally_edge.simulators.coordinator_sides import FramedSide
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.ports import PtyPort
from gridtally_shared.clock import SharedClock
from gridtally_shared.contract.messages import EntryKind, NodeState
from support.brokers import running
from support.edge_site import START_MS, dcu_command, dcu_environment
from support.little_cloud import LittleCloud
from support.waiting import wait_until

NODE, SERIAL = "00124b0000000001", "40000001"
ADDRESSES = {"dcu-a": 11, "dcu-b": 52}


class Edge:
    """One DCU with a coordinator line, as real processes and a pty; `here`: whether the node begins in its network."""

    def __init__(self, stack, folder, broker_port, clock, clock_file, house, name, here):
        self.cloud = LittleCloud(broker_port, name, clock.now_ms)
        stack.callback(self.cloud.close)
        node = SimNode(NODE, SERIAL, DlmsSlave([DlmsUnit(house, 17)]), ADDRESSES[name], here=here)
        self.net = SimCoordinator("plc", PtyPort(folder / name / "modem"), [node], FramedSide)
        self.net.start()
        stack.callback(self.net.close)
        base = folder / name
        (base / "command-key.pub").write_bytes(self.cloud.signer.public)
        (base / "dcu.toml").write_text(
            f'dcu = "{name}"\nvirtual_clock_file = "{clock_file}"\n[broker]\nport = {broker_port}\n'
            f'[[line]]\nname = "plc"\ndevice = "{self.net.address()}"\nbaud = 115200\n'
        )
        (base / "data").mkdir()
        words = {"physical_address": 17, "password": "ABCD0001", "node": NODE}
        Registry(base / "data" / "registry.json").add_meter(MeterEntry("plc", "is15959", words))
        with (base / "agent.log").open("wb") as log:
            command = dcu_command("run", "--config", str(base / "dcu.toml"))
            agent = subprocess.Popen(command, env=dcu_environment(), stdout=log, stderr=log)
        stack.callback(lambda: agent.wait(20))
        stack.callback(agent.terminate)

    def told(self):
        return self.cloud.of_kind(EntryKind.NODE)


@pytest.mark.covers("BYPL-11.1")
def test_the_old_parent_drops_a_moved_node_and_the_new_one_reports_it_with_its_network_ids(tmp_path):
    with running("mosquitto") as broker, contextlib.ExitStack() as stack:
        clock = SharedClock.create(tmp_path / "clock.json", START_MS, 60.0)
        house = HouseMeter(HouseSettings(serial=SERIAL, seed=1), clock, tmp_path / "house.log")
        stack.callback(house.close)
        old = Edge(stack, tmp_path, broker.port, clock, tmp_path / "clock.json", house, "dcu-a", here=True)
        new = Edge(stack, tmp_path, broker.port, clock, tmp_path / "clock.json", house, "dcu-b", here=False)
        wait_until(lambda: old.told(), 60, "the old parent reports the node")
        (first,) = old.told()
        assert (first.node, first.state, first.address) == (NODE, NodeState.JOINED, "11")
        assert new.told() == []

        old.net.leave(SERIAL)
        new.net.join(SERIAL)
        wait_until(lambda: any(r.state == NodeState.LEFT for r in old.told()), 30, "the old parent drops it")
        wait_until(lambda: new.told(), 30, "the new parent reports it")
        (joined,) = new.told()
        assert (joined.line, joined.node, joined.state, joined.address) == ("plc", NODE, NodeState.JOINED, "52")
        assert {report.node for report in old.told()} == {NODE}
        assert joined.at_ms >= first.at_ms
