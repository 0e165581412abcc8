"""A street with a bus, a mesh and a coordinator line, read by one agent and disturbed through the control socket."""

import json
import subprocess

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_edge.simulators.running import INVENTORY, open_street
from gridtally_edge.simulators.street import Street, StreetLine, StreetMeter, StreetProtocol, default_street
from gridtally_edge.transports import line_for
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.ip_settings import NetworkSettings
from gridtally_edge.transports.settings import LineSettings, Speed
from gridtally_shared.clock import ManualClock, SharedClock
from gridtally_shared.errors import ConfigError, LinkDown
from support.edge_site import START_MS, dcu_command, dcu_environment
from support.waiting import wait_until

KINDS = ("dlms-1", "mesh-1", "coordinator-1")


def entries(inventory):
    return [MeterEntry(m["line"], m["driver"], m["settings"]) for m in inventory["meters"]]


def read_one(entry, line):
    driver = driver_named(entry.driver)
    port = driver.make_port(settings_from(driver, entry.driver_settings))
    line.place(entry.key, entry.place)

    def talk():
        yield from port.open()
        serial = yield from port.read_serial()
        yield from port.close()
        return serial

    return line.submit(talk(), Priority.ON_DEMAND, entry.key)


def lines_of(inventory):
    for row in inventory["lines"]:
        network = NetworkSettings(hop_ms=row["hop_ms"], codec=row["codec"], white_list=row["white_list"]) if "codec" in row else None
        yield line_for(LineSettings(row["name"], row["device"], Speed(row["baud"]), network=network or NetworkSettings()))


@pytest.mark.covers("ETSI-3.2")
def test_one_agent_reads_a_bus_a_mesh_and_a_coordinator_line(tmp_path):
    clock = SharedClock.create(tmp_path / "clock.json", START_MS, 60.0)
    with open_street(default_street(2, 0, mesh=2, coordinator=2), tmp_path / "street", clock):
        inventory = json.loads((tmp_path / "street" / INVENTORY).read_text())
        assert {row["name"] for row in inventory["lines"]} == set(KINDS)
        lines = "".join("[[line]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in row.items()) for row in inventory["lines"])
        (tmp_path / "command-key.pub").write_bytes(bytes(32))
        (tmp_path / "dcu.toml").write_text(f'dcu = "dcu-1"\nvirtual_clock_file = "clock.json"\n{lines}')
        (tmp_path / "data").mkdir()
        registry = Registry(tmp_path / "data" / "registry.json")
        for entry in entries(inventory):
            registry.add_meter(entry)
        command = dcu_command("run", "--config", str(tmp_path / "dcu.toml"))
        with (tmp_path / "agent.log").open("wb") as log:
            agent = subprocess.Popen(command, env=dcu_environment(), stdout=log, stderr=log)
        try:
            status_file = tmp_path / "data" / "status.json"
            rows = wait_until(lambda: _all_serials(status_file), 60, "the serials of all meters")
        finally:
            agent.terminate()
            assert agent.wait(20) == 0, (tmp_path / "agent.log").read_text()
    assert {(row["line"], row["serial"]) for row in rows} == {(m["line"], m["serial"]) for m in inventory["meters"]}


def _all_serials(status_file):
    if not status_file.exists():
        return None
    rows = json.loads(status_file.read_text())["meters"]
    return rows if rows and all(row["serial"] for row in rows) else None


@pytest.fixture
def networks(tmp_path):
    with open_street(default_street(0, 0, mesh=2, coordinator=2), tmp_path, ManualClock(START_MS)) as running:
        yield running, json.loads((tmp_path / INVENTORY).read_text())


def test_commands_disturb_networks(networks):
    running, inventory = networks
    lines = {line.settings.name: line for line in lines_of(inventory)}
    by_serial = {m["serial"]: entry for m, entry in zip(inventory["meters"], entries(inventory), strict=True)}
    for line in lines.values():
        line.start()
    try:
        coordinator = lines["coordinator-1"]
        wait_until(lambda: len(coordinator.nodes()) == 2, 10)
        for serial in by_serial:
            assert read_one(by_serial[serial], lines[by_serial[serial].line]).result(20) == serial
        assert running.obey("join 40000002 address=99") == "40000002 is there"
        wait_until(lambda: any(n.address == "99" for n in coordinator.nodes()), 5)
        assert read_one(by_serial["40000002"], coordinator).result(20) == "40000002"
        assert running.obey("route 40000001 parent=99 hops=3") == "40000001 is 3 hops away"
        wait_until(lambda: any(n.hops == 3 for n in coordinator.nodes()), 5)
        running.obey("leave 40000001")
        wait_until(lambda: isinstance(read_one(by_serial["40000001"], coordinator).exception(20), LinkDown), 5)
        assert running.obey("loss mesh-1 100") == "100 % are lost"
        with pytest.raises(LinkDown):
            read_one(by_serial["30000001"], lines["mesh-1"]).result(30)
        assert running.obey("slow coordinator-1 5") == "a hop takes 5 ms"
        assert running.obey("restart coordinator-1") == "the modem has started anew"
    finally:
        for line in lines.values():
            line.close()


@pytest.mark.parametrize(
    "command", ["leave", "route 40000001", "route 30000001 parent=1 hops=2", "join 40000001 address=x", "loss mesh-1", "restart mesh-1"]
)
def test_a_wrong_command_says_what_to_write(networks, command):
    with pytest.raises(ConfigError):
        networks[0].obey(command)


def test_a_bus_is_no_network(tmp_path):
    with open_street(default_street(1, 0), tmp_path, ManualClock(START_MS)) as running, pytest.raises(ConfigError, match="is a bus"):
        running.obey("loss dlms-1 5")


def test_a_mesh_starts_again_at_its_ports(tmp_path):
    found = []
    for _ in range(2):
        with open_street(default_street(0, 0, mesh=2), tmp_path, ManualClock(START_MS)):
            found.append([m["settings"]["port"] for m in json.loads((tmp_path / INVENTORY).read_text())["meters"]])
    assert found[0] == found[1]


@pytest.mark.parametrize(("key", "value"), [("carry", "smoke"), ("codec", "morse")])
def test_a_wrong_way_of_a_line_is_refused(tmp_path, key, value):
    line = StreetLine("net", StreetProtocol.COORDINATOR, **{key: value})
    street = Street((line,), (StreetMeter("net", "40000001", 17),))
    with pytest.raises(ConfigError, match=f"lines.{key}"), open_street(street, tmp_path, ManualClock(START_MS)):
        pass
