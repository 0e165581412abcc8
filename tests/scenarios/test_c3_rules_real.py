"""Seed 002 (prepayment), the requirements behind the scenarios: on a day with faults, on a real line, with real processes."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gridtally_cloud.store.days import day_of, midnight_ms
from gridtally_cloud.store.report import interval_counts
from gridtally_cloud.store.tables import journal_entry
from gridtally_cloud.web.reads.overview import completeness
from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.switching import switch_conversation
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.simulators.bus import SimBus, Station, Timing
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.ports import PtyPort
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.clock import ManualClock
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.quantities import INTERVAL_IMPORT
from support.little_street import START_MS
from support.payday import DAY_MS, HOUR_MS
from support.town import town
from support.waiting import wait_until
from support.web_words import plain
from support.world import World

ZONE = "Asia/Kolkata"


@pytest.mark.covers("C3-FR20")
def test_after_a_day_with_faults_the_report_says_complete(tmp_path: Path) -> None:
    """All meters, with and without a load profile of their own; a silent meter, a cut uplink, a restarted link."""
    with town(tmp_path, dlms=2, modbus=1, opening="500") as acacia:
        acacia.connect()
        today = day_of(acacia.now_ms, ZONE) + 1
        while day_of(acacia.now_ms - HOUR_MS, ZONE) < today:
            acacia.next_quarter()

        acacia.next_quarter(16)
        acacia.street.mute.add("dlms/1")
        acacia.next_quarter(12)
        acacia.street.mute.clear()
        with acacia.offline():
            acacia.street.next_quarter(20)
        acacia.next_quarter(8)
        acacia.lose = {"live", "backlog"}
        acacia.next_quarter(4)
        acacia.lose = set()
        while day_of(acacia.now_ms - HOUR_MS, ZONE) == today:
            acacia.next_quarter()

        with acacia.db.read() as conn:
            (day,) = completeness(conn, today, today)
            rows = interval_counts(conn, midnight_ms(today, ZONE), midnight_ms(today + 1, ZONE), INTERVAL_IMPORT.code)
        assert [(x.meter_no, x.stored, x.missing, x.duplicates) for x in rows] == [(x.meter_no, 96, 0, 0) for x in acacia.homes]
        assert (day.present, day.expected % 96) == (day.expected, 0)
        page = plain(acacia.person("otto").get("/staff/"))
        assert f"{day.present:,} {day.expected:,} 100.0" in page


@pytest.mark.covers("C3-NFR5")
def test_a_switch_order_overtakes_bulk_reads_on_the_bus(tmp_path: Path) -> None:
    """Four meters on one RS-485 line, each asked for four days of profile; then the last one is to be switched."""
    clock = ManualClock(START_MS)
    houses = [HouseMeter(HouseSettings(f"100{n}", n, history_days=5), clock) for n in range(1, 5)]
    units = [DlmsUnit(house, n) for n, house in enumerate(houses, start=1)]
    sim = SimBus("line", PtyPort(tmp_path / "line"), [Station(DlmsSlave(units), lambda answer: "")], Timing(paced=False, turnaround_ms=3))
    sim.start()
    line = SerialBus(LineSettings("line", str(tmp_path / "line")))
    line.start()
    ports = [DlmsPort(Is15959Settings(n, password="ABCD0001", answer_ms=2_000)) for n in range(1, 5)]
    done: list[str] = []
    try:
        def bulk(port: DlmsPort) -> Conversation[int]:
            yield from port.open()
            rows = yield from port.read_intervals(START_MS - 4 * DAY_MS, START_MS)
            yield from port.close()
            return len(rows)

        reads = [line.submit(bulk(port), Priority.PROFILE, str(n)) for n, port in enumerate(ports)]
        for n, read in enumerate(reads):
            read.add_done_callback(partial(lambda name, _: done.append(name), f"bulk {n}"))
        order = p.RunSwitch(b"a" * 16, 4, houses[3].serial, False, START_MS + HOUR_MS)
        switch = line.submit(switch_conversation(ports[3], clock.now_ms, order), Priority.SWITCH, "3")
        switch.add_done_callback(lambda _: done.append("switch"))
        assert switch.result(30).result is p.SwitchResult.DONE
        assert [len_ > 4 * 96 for len_ in (read.result(60) for read in reads)] == [True] * 4
        wait_until(lambda: len(done) == 5, 10, "the line has told all ends")
    finally:
        line.close()
        sim.close()
    assert houses[3].switch() is SwitchState.OPEN
    assert done.index("switch") <= 1
    assert {done.index(f"bulk {n}") > done.index("switch") for n in (1, 2, 3)} == {True}


@pytest.mark.slow
@pytest.mark.covers("C3-NFR6")
def test_a_balance_is_in_the_mdm_as_soon_as_the_concentrator_has_it(world: World, record_property: Any) -> None:
    """Real processes and a real broker: real seconds from the commit at the edge to the commit in the cloud."""
    home, credit = world.homes[2], int(Kind.CREDIT)
    cloud = select(func.count()).where(journal_entry.c.account_no == home.account_no, journal_entry.c.kind == credit)

    def at_edge() -> int:
        query = f"SELECT count(*) FROM journal WHERE account_no = {home.account_no} AND kind = {credit}"
        return int(world.edge("money.db", query)[0][0])

    def in_cloud() -> int:
        with world.db.read() as conn:
            return int(conn.execute(cloud).scalar_one())

    def latency_s() -> float:
        world.until(lambda: at_edge() == in_cloud(), about="both sides agree")
        before = at_edge()
        world.pay(home, "100")
        world.until(lambda: at_edge() > before, about="the credit is at the edge")
        began_s = time.monotonic()
        world.until(lambda: in_cloud() > before, about="the credit is in the mirror")
        return time.monotonic() - began_s

    latencies_s = [latency_s() for _ in range(3)]
    record_property("latencies_s", latencies_s)
    assert max(latencies_s) < 5.0
    assert sorted(latencies_s)[1] < 2.0
