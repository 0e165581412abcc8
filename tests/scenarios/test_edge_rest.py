"""Rows of events, reads and topology that stand for themselves, from the meter to the MDM's API and pages: load violations (BYPL 9.1),
the way to a meter (I2 IE16), what can not be reached (I2 S2),
what a meter says of itself (ETSI F2), gas (ETSI F4),
power quality (ETSI 5.2.6). What the API says is compared with what the simulated meter holds."""

from __future__ import annotations

import base64
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update
from werkzeug.test import TestResponse

from gridtally_cloud.assets import silence
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.seed import SeedUser
from gridtally_cloud.store.tables import meter
from gridtally_cloud.web.i18n import Language
from gridtally_cloud.web.results import rows
from gridtally_edge.display.account import view_account
from gridtally_edge.drivers import p1
from gridtally_edge.drivers.model import DiagnosticState, SwitchState
from gridtally_edge.drivers.wmbus import DRIVER, WmbusSettings, hears
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_edge.simulators.iec62056_21 import p1_telegram
from gridtally_edge.simulators.profile_slave import VALUES
from gridtally_edge.transports.heard import NodeChanged
from gridtally_edge.transports.nodes import Node
from gridtally_edge.transports.routes import Routes
from gridtally_shared import cbor
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType, Gone, NodeState
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.meter_settings import LoadLimit, Payment, SettingKind
from gridtally_shared.quantities import BY_CODE
from gridtally_shared.route import Route
from support.chain import Chain, chain
from support.little_street import DCU, MINUTE_MS, QUARTER_MS, START_MS
from support.unasked import house_of, ms_of, told, wait_for
from support.utilities import add_mbus, add_modbus
from support.web_person import Person
from support.web_street import PASSWORD

OTTO = (SeedUser("otto", "Otto Operations", Role.OPERATIONS, PASSWORD),)
LIMIT_W = 60
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PAYMENT_MODE = 20  # 0.0.94.96.20.255
PASSED, FAILED = DiagnosticState.PASSED.value, DiagnosticState.FAILED.value


@pytest.mark.covers("BYPL-9.1")
def test_a_load_violation_is_told_with_meter_demand_and_time_and_stands_on_the_staffs_load_page(tmp_path: Path) -> None:
    """Pre: a meter is given a load limit below what its home takes. Post: it trips; before its next turn the MDM has the event with the
    time of the meter's log and the maximum demand of its register; the load page has a row of meter, demand, limit and time."""
    with chain(tmp_path, users=OTTO) as c:
        limit = {"settings": {"load_limit": {"threshold_w": LIMIT_W, "over_s": 60}}}
        assert c.send("POST", "/meters/1/settings", "limit", json=limit).status_code == 202
        c.carry()
        wait_for(c, lambda: bool(told(c, "overloaded")), QUARTER_MS, MINUTE_MS)
        event = told(c, "overloaded")[0]
        logged = next(e for e in house_of(c).events() if e.code == EVENTS["overloaded"].code)
        demand_w = house_of(c).snapshot().demand_max_w
        assert abs(ms_of(event["at"]) - logged.at_ms) < 1_000
        assert f"md_w={demand_w}" in event["detail"].split()
        (row,) = [v for v in c.items("/load-violations") if v["event_no"] == event["event_no"]]
        assert (row["meter_no"], row["serial"], row["at"]) == (1, house_of(c).serial, event["at"])
        assert (row["demand_max_w"], row["limit_w"]) == (demand_w, LIMIT_W)
        page = Person(c.app, "otto").get("/staff/load")
        for shown in (house_of(c).serial, f"{demand_w // 1_000}.{demand_w % 1_000:03} kW", f"0.{LIMIT_W:03} kW"):
            assert shown in page


# ---- the way to a meter -----------------------------------------------------------------------------------------


@pytest.mark.covers("I2-IE16")
def test_the_answer_to_a_status_check_holds_the_route_through_the_network(tmp_path: Path) -> None:
    """Pre: one meter hangs two hops down in a mesh, the other on a bus. Post: the answer to a check of the first names concentrator, line,
    address, hops and the node between, and the page shows it; when it is reached another way the next answer says so, also where no
    answer came; the second is directly on its line."""
    with chain(tmp_path, modbus=1) as c:

        def joins(node: str, parent: str, hops: int) -> None:
            c.street.handle(NodeChanged("dlms", node, NodeState.JOINED, f"00{node}", parent, hops, 190))

        joins("7a", "", 1)
        joins("1", "7a", 2)
        checked = c.order(1, "first", type="test_supply")
        route = {"dcu": DCU, "line": "dlms", "address": "1", "node": "1", "short": "001", "hops": 2, "via": ["7a"], "quality": 190}
        assert (checked["state"], checked["test"]["connected"], checked["test"]["route"]) == ("done", True, route)
        with c.app.test_request_context():
            shown = dict(rows(CommandType.TEST_SUPPLY, base64.b64decode(checked["result_cbor"]), Language("en", ZoneInfo("UTC"))))
        assert shown["Route"] == f"{DCU} › dlms › 7a › 001 · 2 hops"
        joins("8b", "7a", 2)
        joins("1", "8b", 3)
        c.street.mute.add("dlms/1")
        silent = c.order(1, "second", type="test_supply")
        assert (silent["test"]["connected"], silent["test"]["route"]["via"], silent["test"]["route"]["hops"]) == (False, ["8b", "7a"], 3)
        direct = c.order(2, "third", type="test_supply")["test"]["route"]
        assert (direct["line"], direct["address"], direct["hops"], direct["via"], direct["node"]) == ("modbus", "2", 0, [], "")


def test_routes_are_known_again_after_a_restart_and_a_node_that_left_is_on_none() -> None:
    routes = Routes()
    routes.remember("plc", (Node("a", NodeState.JOINED, "10", "0", 1, 200), Node("b", NodeState.JOINED, "11", "10", 2, 90)))
    assert routes.route_to("d", "plc", "b") == Route("d", "plc", "b", "b", "11", 2, ("a",), 90)
    routes.note(NodeChanged("plc", "b", NodeState.LEFT))
    assert routes.route_to("d", "plc", "b") == Route("d", "plc", "b")
    routes.note(NodeChanged("plc", "a", NodeState.JOINED, "10", "b", 2))
    routes.note(NodeChanged("plc", "b", NodeState.JOINED, "11", "a", 2))
    assert routes.route_to("d", "plc", "b").via == ("a",)


# ---- what can not be reached ------------------------------------------------------------------------------------


@pytest.mark.covers("I2-S2-trig")
def test_a_mute_meter_is_one_report_and_a_dead_concentrator_one_and_none_of_its_meters(tmp_path: Path) -> None:
    """Pre: one concentrator with three meters. Post: one of them mute is one report, of it alone, however long it lasts; the concentrator
    killed is one report of it and none of a meter; when it is back that is told once, and its next death is another report."""
    with chain(tmp_path, dlms=3) as c:

        def reports() -> list[tuple[int, str]]:
            silence.watch(c.db, c.now_ms)
            names = ("meter_silent", "meter_answers_again", "dcu_silent", "dcu_back")
            return [(e["meter_no"], e["name"]) for e in c.items("/events") if e["name"] in names][::-1]

        assert reports() == []
        c.street.mute.add("dlms/2")
        c.next_quarter(8)
        assert reports() == [(2, "meter_silent")]

        will = (BY_NAME["gone"].topic(DCU), encode(Gone(c.street.boot_id)))
        c.connected = False
        c.ingest.handle(*will, c.now_ms)
        assert reports() == [(2, "meter_silent")]  # it may be back in a moment
        for hours in (1, 1, 24):
            c.street.true_clock.advance(hours * HOUR_MS)
            assert reports() == [(2, "meter_silent"), (0, "dcu_silent")]
        c.connect()
        assert reports() == [(2, "meter_silent"), (0, "dcu_silent"), (0, "dcu_back")]
        c.ingest.handle(*will, c.now_ms)
        c.street.true_clock.advance(HOUR_MS)
        assert reports()[3:] == [(0, "dcu_silent")]


def test_a_concentrator_that_says_nothing_though_its_connection_stands_is_reported_too(tmp_path: Path) -> None:
    with chain(tmp_path) as c:
        c.street.true_clock.advance(silence.UNHEARD_MS - HOUR_MS)
        assert silence.watch(c.db, c.now_ms) == 0
        c.street.true_clock.advance(HOUR_MS)
        assert silence.watch(c.db, c.now_ms, factor=100.0) == 0  # two hours of a fast clock are a minute
        assert [silence.watch(c.db, c.now_ms) for _ in range(2)] == [1, 0]


# ---- what a meter says of itself --------------------------------------------------------------------------------


@pytest.mark.covers("ETSI-F2c", "I2-N9")
def test_tamper_diagnostics_battery_and_the_way_of_paying_are_each_at_the_api(tmp_path: Path) -> None:
    """Pre: an electricity meter and a gas meter on M-Bus, in order. Post: an opened cover, a self-test that failed, and a weak battery
    (of either meter, of the gas meter by its status octet, once) are events; the self-test's result names every check, the way of paying
    is an attribute as the meter has it; a fresh battery is told too. Each meter's maintenance status stands on its page."""
    with chain(tmp_path, users=OTTO) as c:
        gas, otto = add_mbus(c, 2), Person(c.app, "otto")
        c.next_quarter()
        assert ["In order" in otto.get(f"/staff/meters/{no}") for no in (1, 2)] == [True, True]
        house_of(c).report_event(EVENTS["cover_opened"].code)
        house_of(c).inject(HouseFault.MEMORY)
        for house in (house_of(c), gas):
            house.inject(HouseFault.BATTERY)
        c.wait(DAY_MS)
        c.next_quarter(2)
        assert len(told(c, "cover_opened")) == len(told(c, "memory_failed")) == 1
        assert [len(told(c, "battery_low", no)) for no in (1, 2)] == [1, 1]
        page = otto.get("/staff/meters/1").partition("Maintenance")[2].partition("</dl>")[0]
        assert [word in page for word in ("Needs attention", "Memory failure", "Battery of the meter low")] == [True] * 3
        tested = cbor.loads(base64.b64decode(c.order(1, "test", type="run_diagnostics")["result_cbor"]))
        checks = {check: state for check, state, _, _ in tested[1]}
        assert (checks["memory"], checks["battery"], checks["metrology"]) == (FAILED, FAILED, PASSED)
        gas.inject(HouseFault.BATTERY, 0)
        c.wait(DAY_MS)
        c.next_quarter(2)
        assert len(told(c, "battery_good", 2)) == 1
        assert ["In order" in otto.get(f"/staff/meters/{no}") for no in (1, 2)] == [False, True]

        for mode in (Payment.PREPAID, Payment.POSTPAID):
            house_of(c).set_prepaid(PAYMENT_MODE, mode.value)
            c.order(1, f"mode {mode}", type="read_settings", settings=["payment_mode"])
            (told_by_meter,) = [s for s in c.items("/meters/1/settings") if s["setting"] == "payment_mode"]
            assert told_by_meter["reported"] == {"mode": mode.value}


def test_a_radio_meter_tells_of_its_weak_battery_in_every_telegram() -> None:
    """The telegram of EN 13757-3, annex P, and the same with the bit "power low" in its status octet."""
    data = DRIVER.vectors[0].data
    weak = data.replace(bytes.fromhex("7A2A00"), bytes.fromhex("7A2A04"))
    settings = WmbusSettings("12345678")
    heard = [hears(settings, telegram, START_MS) for telegram in (data, weak)]
    assert [[e.code for e in pushed.events] if pushed else None for pushed in heard] == [[], [EVENTS["battery_low"].code]]


# ---- gas --------------------------------------------------------------------------------------------------------


def recorded_as(c: Chain, commodity: str) -> None:
    with c.db.write() as conn:
        conn.execute(update(meter).where(meter.c.meter_no == 2).values(commodity=commodity))


@pytest.mark.covers("ETSI-F4b")
def test_a_gas_meter_refuses_a_limit_and_accepts_disable(tmp_path: Path) -> None:
    """Pre: the second meter is a gas meter with a valve. Post: the MDM refuses a limit for it, in the meter and of its account, and says
    why; one that was ordered while the MDM had it for an electricity meter is refused by the concentrator; disable and enable are done."""
    with chain(tmp_path, dlms=2) as c:
        recorded_as(c, "gas")
        c.carry()
        limit, of_account = {"settings": {"load_limit": {"threshold_w": 500}}}, {"watts": 500}

        def limited() -> list[TestResponse]:
            sent = c.send("POST", "/meters/2/settings", f"limit {c.now_ms}", json=limit)
            return [sent, c.send("POST", "/accounts/2/limit", json=of_account)]

        for refused in limited():
            assert (refused.status_code, refused.get_json()["type"].rpartition("/")[2]) == (422, "no-flow-limit")
            assert "gas meter" in refused.get_json()["detail"]

        c.cut()
        c.wait(MINUTE_MS)
        recorded_as(c, "electricity")
        assert [sent.status_code for sent in limited()] == [202, 202]
        recorded_as(c, "gas")
        c.connect()
        (command,) = [x for x in c.items("/meters/2/commands") if x["type"] == "write_settings"]
        assert (command["state"], command["reason"]) == ("refused", "no_flow_limit")
        assert [e["detail"] for e in told(c, "instrument_refused", 2)] == ["account=2 limit_w=500 no_flow_limit"]
        for _ in range(3):
            c.next_quarter()
        assert house_of(c, 2).setting(SettingKind.LOAD_LIMIT) == LoadLimit(0)
        shown = view_account(c.street.core.prepay.outbox.connection, 2, c.now_ms)
        assert shown is not None
        assert shown.now.limit_w is None

        for kind, state in (("switch_open", SwitchState.OPEN), ("switch_close", SwitchState.CLOSED)):
            assert c.order(2, kind, type=kind)["state"] == "done"
            assert house_of(c, 2).switch() is state
            c.wait(MINUTE_MS)


# ---- power quality ----------------------------------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.6-basic-3")
def test_power_quality_is_retrieved_with_its_stamps_and_counts(tmp_path: Path) -> None:
    """Pre: a three-phase meter that measures distortion, and a meter whose log has two sags, a swell, and a sag that lasts. Post: of the
    first voltage, current and power of each phase, power factor, frequency and distortion are there as the meter has them at the moment
    of each; of the second each disturbance with start and end by the meter's log, and how many."""
    with chain(tmp_path) as c:
        house, street = add_modbus(c, 2, "eastron-sdm630"), house_of(c)
        c.carry()
        planted = []
        for minutes, began, ended in ((3, "low_voltage", "low_voltage_ended"), (1, "over_voltage", "over_voltage_ended"),
                                      (4, "low_voltage", "low_voltage_ended")):  # fmt: skip
            at_ms = c.now_ms
            street.report_event(EVENTS[began].code)
            c.street.wind(minutes * MINUTE_MS)
            street.report_event(EVENTS[ended].code)
            planted.append(({"low_voltage": "sag", "over_voltage": "swell"}[began], at_ms // 1_000, c.now_ms // 1_000))
            c.street.wind(MINUTE_MS)
        street.report_event(EVENTS["low_voltage"].code)
        c.next_quarter(2)

        told_by = c.get("/meters/2/power-quality")
        values = {v["quantity"]: v for v in told_by["items"]}
        (at_ms,) = {ms_of(v["at"]) for v in values.values()}
        assert 0 <= c.now_ms - at_ms <= QUARTER_MS
        seen = house.conditions_at(at_ms)
        for name, of_house in VALUES.items():
            if name.startswith(("voltage_", "current_")) or name in ("power_factor_milli", "frequency_mhz"):
                assert abs(values[name]["value"] - of_house(seen)) <= 1, name
        assert {name for name in values if name.endswith("permille")} == {"voltage_thd_permille"}

        told_by = c.get("/meters/1/power-quality")
        found = [(d["kind"], ms_of(d["from"]) // 1_000, d["to"] and ms_of(d["to"]) // 1_000) for d in told_by["disturbances"]]
        assert found[:3] == planted
        assert [(kind, end) for kind, _, end in found[3:]] == [("sag", None)]
        assert told_by["counts"] == {"sag": 3, "swell": 1, "interruption": 0}
        assert {"voltage_mv", "current_ma", "power_factor_milli", "frequency_mhz"} <= {v["quantity"] for v in told_by["items"]}


def test_a_p1_meter_tells_its_own_counts_of_sags_and_swells() -> None:
    clock = ManualClock(START_MS)
    house = HouseMeter(HouseSettings("E0001", 1), clock)
    for name in ("low_voltage", "low_voltage_ended", "low_voltage", "over_voltage", "power_failed"):
        house.report_event(EVENTS[name].code)
    pushed = p1.hears(p1.P1Settings(), p1_telegram(house), START_MS)
    house.close()
    assert pushed is not None
    counts = {BY_CODE[r.quantity].name: r.value for r in pushed.readings}
    assert (counts["voltage_sags_l1"], counts["voltage_swells_l1"], counts["power_failures"]) == (2, 1, 1)
