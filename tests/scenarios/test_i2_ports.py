"""I2 FR26: a meter with a local port and a network port, and several sessions at it. The concentrator reads over the network, a
technician's reader sits at the optical port; which of them gives way is a setting ordered through the API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gridtally_cloud.store.days import utc_text
from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.client import DlmsClient, Login
from gridtally_edge.protocols.dlms.hdlc import Address
from gridtally_edge.protocols.dlms.link import HdlcLink, WrapperLink
from gridtally_edge.simulators.dlms_push import Push, PushKind
from gridtally_edge.simulators.dlms_slave import DlmsUnit, WrapperSlave, two_ports
from gridtally_edge.transports.heard import Heard
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.meter_settings import Preemption
from support.chain import Chain, chain
from support.dlms_bench import Bench
from support.dlms_meters import SERIAL
from support.little_street import MINUTE_MS, QUARTER_MS
from support.unasked import BIT_OF, house_of, ms_of, told

READER = Login(Mechanism.LLS, b"ABCD0001")


@dataclass
class Site:
    """`local` sits at the optical port; the chain's concentrator reads over the network."""

    chain: Chain
    bench: Bench
    local: DlmsClient
    network: WrapperSlave

    def ask(self) -> str:
        """The serial, as the technician's reader shows it."""
        return bytes(self.bench.run(self.local.get(SERIAL)).value).decode()

    def set_rule(self, rule: Preemption, sessions: int = 1) -> None:
        body = {"settings": {"local_port": {"preemption": int(rule), "sessions": sessions}}}
        answer = self.chain.send("POST", "/meters/1/settings", f"{rule} {sessions}", json=body)
        assert answer.status_code == 202
        self.chain.carry()
        (row,) = self.chain.get("/meters/1/settings")["items"]
        assert row["state"] == "active"

    def missing(self, from_ms: int) -> list[int]:
        """Starts of the intervals since then that the MDM has otherwise than the meter, or not at all."""
        to_ms = self.chain.now_ms // QUARTER_MS * QUARTER_MS
        rows = self.chain.items("/meters/1/intervals", **{"from": utc_text(from_ms), "to": utc_text(to_ms)})
        held = {ms_of(row["start"]): row["wh"] for row in rows}
        truth = house_of(self.chain).profile(from_ms + QUARTER_MS, to_ms)
        return [row.end_ms for row in truth if held.get(row.end_ms - QUARTER_MS) != row.import_wh]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with chain(tmp_path, modbus=1, connected=False) as c:
        optical, network = two_ports(DlmsUnit(house_of(c), 1))
        driver = driver_named("is15959")
        settings: dict[str, Any] = {"physical_address": 1, "password": "ABCD0001", "transport": "wrapper-tcp"}
        c.street.slaves["dlms/1"] = network
        c.street.make_port["dlms/1"] = lambda: driver.make_port(settings_from(driver, settings))
        c.street.ports["dlms/1"] = c.street.make_port["dlms/1"]()
        c.connect()
        c.next_quarter()
        link = HdlcLink(Address(32), Address(1, 1, 2))
        yield Site(c, Bench(optical.receive), DlmsClient(link, READER), network)


@pytest.mark.covers("I2FR26a")
def test_the_network_gives_way_to_the_local_port_and_recovers(site: Site) -> None:
    """Pre: the local port wins. Post: while a technician reads, the concentrator finds the meter busy, says so and stores nothing; the
    technician is not disturbed; afterwards everything is read that was missed."""
    c = site.chain
    began_ms = c.now_ms // QUARTER_MS * QUARTER_MS
    site.set_rule(Preemption.LOCAL_WINS)
    site.bench.run(site.local.open())
    c.next_quarter()
    assert site.missing(began_ms) != []
    trouble = c.street.core.street.meters["dlms/1"].trouble
    assert "busy with another session" in trouble  # the loser is told
    assert told(c, "protection_failed") == []
    assert site.ask() == house_of(c).serial  # the winner goes on
    site.bench.run(site.local.close())
    c.next_quarter(2)
    assert c.street.core.street.meters["dlms/1"].trouble == ""  # the loser recovers
    assert site.missing(began_ms) == []
    assert len(told(c, "port_preempted")) >= 1


@pytest.mark.covers("I2-IE18")
def test_a_self_test_and_a_read_on_demand_end_with_a_result_or_say_why_not(site: Site) -> None:
    """Pre: the meter is free; then a technician has it; then it is silent; a simple meter is asked for what it has not. Post: success,
    busy, no answer, refused: four different ends, for the test and for the read."""
    c = site.chain
    site.set_rule(Preemption.LOCAL_WINS)

    def ends(when: str) -> list[tuple[str, str]]:
        orders = [{"type": "run_diagnostics"}, {"type": "read_instant"}]
        ids = [c.send("POST", "/meters/1/commands", f"{when} {o['type']}", json=o).get_json()["cmd_id"] for o in orders]
        c.carry()
        for _ in range(12):
            c.wait(MINUTE_MS)
        found = [c.get(f"/commands/{cmd_id}") for cmd_id in ids]
        return [(command["state"], command["reason"]) for command in found]

    assert ends("free") == [("done", "")] * 2
    site.bench.run(site.local.open())
    assert ends("busy") == [("failed", "meter_busy")] * 2
    site.bench.run(site.local.close())
    c.street.mute.add("dlms/1")
    assert ends("mute") == [("failed", "no_answer")] * 2
    c.street.mute.clear()
    day = {"from": utc_text(c.now_ms - QUARTER_MS), "to": utc_text(c.now_ms)}
    for order in ({"type": "run_diagnostics"}, {"type": "read_daily", **day}):
        refused = c.order(2, f"simple {order['type']}", **order)
        assert refused["state"] in ("refused", "failed")
        assert refused["reason"] == "unsupported"


@pytest.mark.covers("I2FR26a")
def test_the_local_port_gives_way_to_the_network_and_recovers(site: Site) -> None:
    """Pre: the network wins. Post: the concentrator reads as ever; the technician's session is ended cleanly and can be opened again."""
    c = site.chain
    site.set_rule(Preemption.LOCAL_WINS)
    site.set_rule(Preemption.NETWORK_WINS)
    site.bench.run(site.local.open())
    assert site.ask() == house_of(c).serial
    c.next_quarter()
    assert c.street.core.street.meters["dlms/1"].trouble == ""
    with pytest.raises(MeterFault, match="the meter refuses the service"):
        site.ask()
    site.bench.run(site.local.close())
    site.bench.run(site.local.open())
    assert site.ask() == house_of(c).serial
    c.next_quarter()
    assert len(told(c, "port_preempted")) >= 1


@pytest.mark.covers("I2FR26b")
def test_both_ports_serve_at_once_where_that_is_configured(site: Site) -> None:
    """Pre: a technician reads at the local port. Post: with both allowed a push of the meter gets through and his reading goes on; where
    the local port wins, the push waits."""
    c = site.chain

    def push() -> int:
        frames = site.network.push(Push(PushKind.ALERT, bits=(BIT_OF["cover_opened"],)))
        for frame in frames:
            c.street.handle(Heard("dlms", "[fe80::1]:4059", frame, c.street.mono_s))
        c.carry()
        return len(frames)

    site.set_rule(Preemption.LOCAL_WINS)
    site.bench.run(site.local.open())
    assert push() == 0
    assert site.ask() == house_of(c).serial
    site.bench.run(site.local.close())
    site.set_rule(Preemption.BOTH)
    site.bench.run(site.local.open())
    assert push() == 1
    assert [e["code"] for e in told(c, "cover_opened")] == [EVENTS["cover_opened"].code]
    assert site.ask() == house_of(c).serial
    c.next_quarter()  # and a poll over the network
    assert c.street.core.street.meters["dlms/1"].trouble == ""
    assert site.ask() == house_of(c).serial


@pytest.mark.covers("I2FR26c")
def test_two_network_sessions_run_in_parallel_where_two_are_configured(site: Site) -> None:
    c = site.chain

    def client(port: int) -> tuple[Bench, DlmsClient]:
        return Bench(site.network.receive), DlmsClient(WrapperLink(port, 1), READER)

    site.set_rule(Preemption.BOTH, 1)
    (one_bench, one), (two_bench, two) = client(32), client(48)
    one_bench.run(one.open())
    with pytest.raises(LinkDown, match="busy"):
        two_bench.run(two.open())
    one_bench.run(one.close())
    site.set_rule(Preemption.BOTH, 2)
    one_bench.run(one.open())
    two_bench.run(two.open())
    for _ in range(2):  # turn by turn
        for bench, session in ((one_bench, one), (two_bench, two)):
            assert bytes(bench.run(session.get(SERIAL)).value).decode() == house_of(c).serial
