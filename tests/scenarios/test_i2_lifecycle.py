"""Seed 001 (life cycle of a meter), as far as it is built: reporting of events, their keeping, and who may read what.

Both ends share a clock wound by hand (support/town.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gridtally_cloud.customers import accounts
from gridtally_cloud.grid import register
from gridtally_cloud.grid.register import Level, Transformer
from gridtally_cloud.retention import passes
from gridtally_cloud.retention.rules import RULES
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import event
from gridtally_cloud.store.work import Hand
from gridtally_cloud.web.api.operations import OPERATIONS, Operation
from gridtally_cloud.web.tokens import SCOPES, create_token
from gridtally_edge.config import load_config
from gridtally_edge.journal.readings import LEAST_EVENTS_DAYS, ReadingsJournal
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import ConfigError
from gridtally_shared.events import BY_CODE
from gridtally_shared.events import BY_NAME as EVENTS
from support.little_street import QUARTER_MS
from support.payday import DAY_MS
from support.town import Town, town

HIGH = ("magnet_on", "cover_opened", "power_failed", "current_reversed")
LOW = ("over_voltage", "low_voltage", "over_current", "magnet_off")


@pytest.fixture
def acacia(tmp_path: Path) -> Iterator[Town]:
    """Two homes that also feed into the grid; online, read once."""
    with town(tmp_path, dlms=2, opening="150", pv_w=3_000) as made:
        made.connect()
        made.next_quarter()
        yield made


# ---- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.covers("I2FR16")
def test_over_a_slow_link_failures_of_safety_and_service_arrive_first(acacia: Town) -> None:
    """A mixed burst has gathered while the uplink was away; every message then needs two seconds."""
    acacia.cut()
    for low, high in zip(LOW, HIGH, strict=True):
        acacia.house(0).report_event(EVENTS[low].code)
        acacia.house(1).report_event(EVENTS[high].code)
        acacia.street.next_quarter(6)
    acacia.connect_slowly(2_000)

    e = event.c
    with acacia.db.read() as conn:
        came = {row.code: row.received_ms for row in conn.execute(select(e.code, e.received_ms))}
    high_ms = [came[EVENTS[name].code] for name in HIGH]
    low_ms = [came[EVENTS[name].code] for name in LOW]
    assert max(high_ms) < min(low_ms)
    assert {BY_CODE[EVENTS[name].code].urgent for name in HIGH} == {True}
    assert {BY_CODE[EVENTS[name].code].urgent for name in LOW} == {False}


@pytest.mark.covers("I2NFR5")
def test_events_are_kept_for_45_days_at_least(acacia: Town, tmp_path: Path) -> None:
    acacia.house().report_event(EVENTS["cover_opened"].code)
    acacia.next_quarter()
    ((at_ms,),) = acacia.readings.execute("SELECT at_ms FROM event WHERE code = ?", (EVENTS["cover_opened"].code,)).fetchall()

    # 44 days later, kept no longer than it must be: still to be read on both sides
    journal = ReadingsJournal(acacia.readings, LEAST_EVENTS_DAYS)
    then_ms = at_ms + 44 * DAY_MS
    journal.prune(then_ms)
    days = {rule.name: rule.least for rule in RULES}
    while passes.turn(acacia.db, then_ms, days, Hand("worker")):
        pass
    found = acacia.readings.execute("SELECT code FROM event WHERE at_ms = ?", (at_ms,)).fetchall()
    assert [tuple(row) for row in found] == [(EVENTS["cover_opened"].code,)]
    query = {"from": utc_text(at_ms - DAY_MS), "to": utc_text(then_ms)}
    served = acacia.items(f"/meters/{acacia.meter_no()}/events", **query)
    assert [x["at"] for x in served if x["name"] == "cover_opened"] == [utc_text(at_ms)]

    # a setting below 45 days is refused, with what to write
    def config(days: int) -> Path:
        path = tmp_path / f"{days}.toml"
        path.write_text(f'dcu = "dcu-1"\nkeep_events_days = {days}\n')
        return path

    assert load_config(config(45)).keep_events_days == 45
    for days in (44, 1, 0, -1):
        with pytest.raises(ConfigError, match="at least 45"):
            load_config(config(days))


# ---- data for others ------------------------------------------------------------------------------------------------


@pytest.mark.covers("I2-ACT13")
def test_a_read_only_token_reads_everything_and_changes_nothing(acacia: Town) -> None:
    order = acacia.pay("100")
    cmd_id = acacia.command(CommandType.READ_SWITCH)
    acacia.carry()
    scopes = tuple(s for s in SCOPES if s.endswith(":read"))
    with acacia.db.write() as conn:
        token = create_token(conn, "data user", scopes, SystemClock().now_ms(), "test")
    body = {"name": "day", "meters": [acacia.meter_no()], "settings": {"billing_date": {"day": 5}}}
    assert acacia.send("POST", "/settings-campaigns", json=body).status_code == 202
    moving = acacia.send("POST", f"/accounts/{acacia.account_no()}/migrations", "to bills", json={"mode": "postpaid"})
    span = {"start": utc_text(SystemClock().now_ms() + 2 * DAY_MS), "end": utc_text(SystemClock().now_ms() + 3 * DAY_MS), "title": "Hall"}
    booked = acacia.send("POST", f"/accounts/{acacia.account_no()}/schedules", "hall", json=span)
    assert booked.status_code == 202
    case = acacia.send("POST", f"/accounts/{acacia.account_no()}/no-power", "dark")
    yesterday = {"from": utc_text(acacia.now_ms - DAY_MS), "to": utc_text(acacia.now_ms)}
    asked = acacia.send("POST", "/billing-reads", "march", json=yesterday | {"meters": [acacia.meter_no()]})
    assert (moving.status_code, case.status_code, asked.status_code) == (202, 202, 202)
    with acacia.db.write() as conn:
        tariff_id = accounts.account(conn, acacia.account_no()).tariff_id
        register.put(conn, Transformer("day", "north"), acacia.now_ms, "test")
    names = {
        "meter_no": acacia.meter_no(), "account_no": acacia.account_no(), "cmd_id": cmd_id.hex(), "order_id": order.order_id, "name": "day",
        "schedule_no": booked.get_json()["schedule_no"], "migration_no": moving.get_json()["migration_no"],
        "order_no": case.get_json()["order_no"], "tariff_id": tariff_id, "version": 1, "job_no": asked.get_json()["job_no"],
        "level": Level.TRANSFORMER.value,
    }  # fmt: skip

    def call(operation: Operation, **more: Any) -> int:
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda place: str(names.get(place[1], 1)), operation.path)
        return acacia.send(operation.method, path, "a-key", token, **more).status_code

    reads = [o for o in OPERATIONS if o.method == "GET" and o.scope in (*scopes, "")]
    writes = [o for o in OPERATIONS if o not in reads]
    assert {o.scope for o in writes}.isdisjoint(scopes)
    assert {o.name for o in OPERATIONS if o.method != "GET"} <= {o.name for o in writes}
    young = {"estimate": 422, "determinants": 422}  # there is no history to estimate or to bill from yet
    assert {o.name: call(o) for o in reads} == {o.name: young.get(o.name, 200) for o in reads}

    before = (acacia.items(f"/accounts/{acacia.account_no()}/ledger"), acacia.get(f"/meters/{acacia.meter_no()}"))
    for o in writes:
        assert call(o, json={"type": "switch_open", "amount": "100", "reference": "A-1"}) == 403, o.name
    acacia.carry()
    assert (acacia.items(f"/accounts/{acacia.account_no()}/ledger"), acacia.get(f"/meters/{acacia.meter_no()}")) == before


@pytest.mark.covers("I2-ACT14")
def test_use_generation_and_the_meters_log_are_stored_and_served(acacia: Town) -> None:
    acacia.house().report_event(EVENTS["over_voltage"].code)
    start_ms = acacia.now_ms // QUARTER_MS * QUARTER_MS
    acacia.next_quarter(72)  # an evening, a night, a morning
    end_ms = acacia.now_ms // QUARTER_MS * QUARTER_MS
    span = {"from": utc_text(start_ms), "to": utc_text(end_ms)}
    rows = acacia.house().profile(start_ms + QUARTER_MS, end_ms)
    meter = f"/meters/{acacia.meter_no()}"

    # usage and generation, interval by interval, as the meter has them
    assert [x["wh"] for x in acacia.items(f"{meter}/intervals", **span)] == [row.import_wh for row in rows]
    exported = [x["wh"] for x in acacia.items(f"{meter}/intervals", direction="export", **span)]
    assert exported == [row.export_wh for row in rows]
    assert sum(exported) > 1_000

    # both registers
    newest = {x["quantity"]: x["value"] for x in acacia.items(f"{meter}/readings", **span | {"to": utc_text(acacia.now_ms + 1)})}
    shown = acacia.house().snapshot()
    assert newest["energy_import_wh"] == shown.energy_import_wh
    assert newest["energy_export_wh"] == shown.energy_export_wh

    # the log
    assert "over_voltage" in {x["name"] for x in acacia.items(f"{meter}/events", **span)}
