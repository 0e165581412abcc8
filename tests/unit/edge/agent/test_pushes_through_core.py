"""What meters send unasked: taken at any time, once, whoever sent it, and urgent things at once."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from gridtally_edge.core_events import MetersChanged
from gridtally_edge.fitting import fit
from gridtally_edge.registry import MeterEntry
from gridtally_edge.simulators.dlms_push import Push, PushKind
from gridtally_edge.simulators.dlms_slave import DlmsSlave
from gridtally_edge.status import PushStatus, push_status
from gridtally_edge.transports.heard import Heard, NodeChanged
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.messages import NodeState
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.events import event_type
from support.brokers import running
from support.commands import ready
from support.data import data_path
from support.edge_site import DCU as DCU_TEST
from support.edge_site import edge_site, loopback
from support.little_cloud import LittleCloud
from support.little_street import LittleStreet, little_street
from support.waiting import wait_until

COVER, MAGNET = 83, 81
KEY = "dlms/1"


def pushes(street: LittleStreet, push: Push, key: str = KEY) -> list[Heard]:
    slave = street.slaves[key]
    assert isinstance(slave, DlmsSlave)
    return [Heard("dlms", "[fe80::1]:4059", frame, street.mono_s) for frame in slave.push(push)]


def hear(street: LittleStreet, messages: list[Heard]) -> None:
    for message in messages:
        street.handle(message)


@pytest.mark.covers_part("BYPL-5.1")
def test_an_alarm_reaches_the_cloud_at_once_and_not_at_the_next_poll(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        asked = len(street.asked)
        street.houses[KEY].report_event(EVENTS["cover_opened"].code)
        hear(street, pushes(street, Push(PushKind.ALERT, bits=(COVER,))))
        assert len(street.asked) == asked
        (event,) = street.events("cover_opened")
        assert event.meter_no == 1
        assert abs(event.at_ms - street.clock.now_ms()) <= 1_000
        lanes = {b.lane for b in street.batches() for e in b.entries if e.kind == m.EntryKind.EVENT}
        assert m.Lane.URGENT in lanes


def test_repeats_and_swapped_order_are_one_event_each(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        first = pushes(street, Push(PushKind.ALERT, bits=(COVER,)))
        street.wind(5_000)
        second = pushes(street, Push(PushKind.ALERT, bits=(COVER, MAGNET)))
        hear(street, [*second, *first, *second, *first])
        assert len(street.events("cover_opened")) == 1
        assert len(street.events("magnet_on")) == 1


def test_the_log_entry_of_an_alarm_that_was_pushed_is_no_second_event(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.houses[KEY].report_event(EVENTS["cover_opened"].code)
        hear(street, pushes(street, Push(PushKind.ALERT, bits=(COVER,))))
        street.beat()
        street.next_quarter()
        assert len(street.events("cover_opened")) == 1


def test_an_alert_has_the_log_read_at_once(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.asked.clear()
        hear(street, pushes(street, Push(PushKind.ALERT, bits=(COVER,))))
        street.beat()
        (asked,) = [request for _, request in street.asked]
        assert asked.events_after_ms is not None
        assert not asked.instant


def test_what_stood_before_is_not_reported_again(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        hear(street, pushes(street, Push(PushKind.ALERT, bits=(COVER,))))
        street.wind(120_000)
        hear(street, pushes(street, Push(PushKind.ALERT, bits=(COVER, MAGNET))))
        assert len(street.events("cover_opened")) == 1
        assert len(street.events("magnet_on")) == 1


def test_whoever_is_named_gets_it_and_not_whoever_sent_it(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=3) as street:
        ready(street)
        hear(street, pushes(street, Push(PushKind.ALERT, bits=(COVER,)), "dlms/3"))
        assert [e.meter_no for e in street.events("cover_opened")] == [3]


def test_a_stranger_becomes_a_proposal(tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    with little_street(tmp_path) as street, little_street(other_folder, dlms=2) as other:
        ready(street)
        messages = pushes(other, Push(PushKind.INSTANT), "dlms/2")
        hear(street, messages)
        seen = street.entries(m.EntryKind.METER_SEEN, m.MeterSeen)
        assert [(s.serial, s.address) for s in seen] == [("10000002", "[fe80::1]:4059")]


def test_nonsense_is_passed_over_and_its_sender_left_alone_for_a_while(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        for _ in range(50):
            street.handle(Heard("dlms", "[fe80::9]:1", b"\x00\x01\x02nonsense", street.mono_s))
        assert street.core.ears.unread == 1
        hear(street, pushes(street, Push(PushKind.ALERT, bits=(COVER,))))
        assert street.events("cover_opened")


def test_a_stranger_on_the_air_is_logged_once_an_hour_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with little_street(tmp_path) as street, caplog.at_level(logging.WARNING, "gridtally.pushes"):
        ready(street)

        def told_in(minutes: int) -> int:
            caplog.clear()
            for minute in range(minutes):
                for neighbour in (1, 2):
                    street.handle(Heard("dlms", f"[fe80::{neighbour}]:1", b"\x00\x01\x02nonsense%d" % minute, street.mono_s))
                street.wind(60_000)
            return len([record for record in caplog.records if "nobody can read" in record.message])

        assert told_in(60) == 2
        assert told_in(60) == 2
        assert push_status(street.core) == PushStatus(strangers=2, unread=240, refused=0, replayed=0)


# ---- meters that only send ----------------------------------------------------------------------------------


def add_p1(street: LittleStreet, channel: int = 0) -> str:
    fitted = fit(MeterEntry("p1", "p1", {"channel": channel}, ""))
    street.handle(MetersChanged((fitted.on_line,)))
    return fitted.on_line.key


def dsmr() -> bytes:
    cases = json.loads((data_path("iec62056_21") / "p1_d0_telegrams.json").read_text())
    telegram: str = next(case["telegram"] for case in cases if case["id"] == "dsmr_parser/TELEGRAM_V5")
    return telegram.encode()


def test_a_meter_that_only_sends_is_never_asked_and_is_silent_when_nothing_comes(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        key = add_p1(street)
        street.say_time()
        street.connect()
        street.handle(Heard("p1", "", dsmr(), street.mono_s))
        meter = street.core.street.meters[key]
        assert meter.on_line.listens_only
        assert meter.serial
        houses = tuple(m.MeterConfig(no, house.serial) for no, house in enumerate(street.houses.values(), start=1))
        meters = (*houses, m.MeterConfig(9, meter.serial, interval_s=900))
        street.down("config", m.DcuConfig(1, "dcu-1", street.clock.now_ms(), meters))
        street.handle(Heard("p1", "", dsmr(), street.mono_s))
        street.next_quarter(2)
        assert key not in {asked for asked, _ in street.asked}
        assert not [e for e in street.events("meter_silent") if e.meter_no == 9]
        street.next_quarter(4)
        assert [e.meter_no for e in street.events("meter_silent")] == [9]
        street.handle(Heard("p1", "", dsmr(), street.mono_s))
        street.next_quarter()
        assert [e.meter_no for e in street.events("meter_answers_again")] == [9]


def test_the_values_of_a_broadcast_go_up_and_are_thinned(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        key = add_p1(street)
        street.connect()
        street.handle(Heard("p1", "", dsmr(), street.mono_s))
        serial = street.core.street.meters[key].serial
        street.down("config", m.DcuConfig(1, "dcu-1", street.clock.now_ms(), (m.MeterConfig(9, serial),)))
        for _ in range(30):
            street.handle(Heard("p1", "", dsmr(), street.mono_s))
            street.wind(2_000)
        street.next_quarter()
        values = [v for r in street.entries(m.EntryKind.READINGS, m.Readings) for v in r.values if v.meter_no == 9]
        assert {v.value for v in values if v.quantity == 1} == {6_825}
        assert len([v for v in values if v.quantity == 1]) == 1


@pytest.mark.covers_part("ETSI-3.1")
def test_one_telegram_speaks_of_two_meters_of_two_utilities(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=0) as street:
        keys = [add_p1(street, channel) for channel in (0, 1)]
        street.connect()
        street.handle(Heard("p1", "", dsmr(), street.mono_s))
        serials = [street.core.street.meters[key].serial for key in keys]
        assert len(set(serials)) == 2
        configs = tuple(
            m.MeterConfig(no, serial, commodity=commodity)
            for no, serial, commodity in zip((1, 2), serials, ("electricity", "gas"), strict=True)
        )
        street.down("config", m.DcuConfig(1, "dcu-1", street.clock.now_ms(), configs))
        street.handle(Heard("p1", "", dsmr(), street.mono_s))
        street.next_quarter()
        values = {(v.meter_no, v.quantity): v.value for r in street.entries(m.EntryKind.READINGS, m.Readings) for v in r.values}
        gas = {key: value for key, value in values.items() if key[0] == 2}
        assert gas == {(2, 81): 107}
        assert values[1, 1] == 6_825


# ---- nodes --------------------------------------------------------------------------------------------------


@pytest.mark.covers_part("BYPL-11.1")
def test_a_node_that_moves_is_reported_with_its_meter(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.handle(NodeChanged("dlms", "1", NodeState.JOINED, "0007", "0001", 2, 200))
        street.handle(NodeChanged("dlms", "1", NodeState.LEFT))
        reports = street.entries(m.EntryKind.NODE, m.NodeReport)
        assert [(r.node, r.state, r.parent, r.hops) for r in reports] == [("1", 1, "0001", 2), ("1", 2, "", 0)]
        assert reports[0].serial == street.houses[KEY].serial


def covers_opened(cloud: LittleCloud) -> list[m.Event]:
    events = cloud.of_kind(m.EntryKind.EVENT)
    return [e for e in events if isinstance(e, m.Event) and e.code == EVENTS["cover_opened"].code]


@pytest.mark.covers("BYPL-5.1")
def test_an_alarm_over_the_air_is_with_the_cloud_within_seconds(tmp_path: Path) -> None:
    with running("embedded") as broker:
        cloud = LittleCloud(broker.port, DCU_TEST)
        try:
            with edge_site(tmp_path, broker.port, cloud.signer.public, dlms=0, modbus=0, mesh=1, factor=1.0) as site:
                cloud.now_ms, cloud.config = site.clock.now_ms, site.cloud_config()
                site.tell_street(f"loss {site.street.lines[0].name} 0")
                site.start_agent()
                wait_until(lambda: any(row["meter_no"] and row["samples"] for row in site.status().get("meters", [])), 30, "read once")
                serial, at = site.street.meters[0].serial, f"[{loopback()}]" if ":" in loopback() else loopback()
                site.tell_street(f"push {serial} alert bits={COVER} repeats=2 to={at}:{site.push_port}")
                wait_until(lambda: covers_opened(cloud), 5, "the event in the cloud")
                assert site.stop_agent() == 0
                (event,) = covers_opened(cloud)
                assert (event.meter_no, event_type(event.code).text) == (1, "Meter cover opened")
                assert abs(event.at_ms - site.clock.now_ms()) < 30_000
        finally:
            cloud.close()
