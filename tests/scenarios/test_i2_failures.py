"""I2 FR2 and FR10 to FR13: a meter in the wrong socket, and the logs of meters by account, by meter, by type, from the simulated meters
to the MDM's API."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from gridtally_cloud.customers.tables import account
from gridtally_cloud.store.tables import meter, usage_point
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_shared.events import BY_NAME as EVENTS
from support.chain import Chain, chain
from support.little_street import MINUTE_MS
from support.unasked import house_of, ms_of, told

DAY_MS = 86_400_000


def happens(c: Chain, name: str, number: int = 1) -> None:
    """It is in the meter's log and in the MDM."""
    house_of(c, number).report_event(EVENTS[name].code)
    c.next_quarter()


@pytest.mark.covers("I2FR2")
def test_a_meter_in_the_wrong_socket_is_told_at_registration_and_not_activated(tmp_path: Path) -> None:
    """Pre: a meter of one phase sits where three are needed. Post: the event is in the MDM, and the meter stays without readings and takes
    no settings, until it fits."""
    with chain(tmp_path, needs_phases=3) as c:
        c.next_quarter()
        assert len(told(c, "wrong_form")) == 1
        assert c.items("/meters/1/readings") == []
        assert c.items("/meters/1/intervals") == []
        answer = c.send("POST", "/meters/1/settings", "s", json={"settings": {"billing_date": {"day": 5}}})
        c.carry()
        command = c.get(answer.headers["Location"].removeprefix("/api/v1"))
        assert (command["state"], command["reason"]) == ("refused", "wrong_form")
        house_of(c).inject(HouseFault.FORM)  # the other socket: it fits now
        c.wait(7 * 3_600_000)
        c.next_quarter()
        assert c.items("/meters/1/readings") != []


@pytest.mark.covers("I2FR10")
def test_the_log_of_an_account_spans_the_meters_it_had(tmp_path: Path) -> None:
    """Pre: an account's meter is replaced by another. Post: its log has the events of the first until it went and of the second from then
    on, and nothing of either before or after."""
    with chain(tmp_path, dlms=2) as c:
        happens(c, "cover_opened", 1)
        happens(c, "over_voltage", 2)  # while the second meter was elsewhere
        point = c.homes[0]
        with c.db.write() as conn:
            number = conn.execute(meter.select().where(meter.c.meter_no == 1)).one().usage_point_no
            conn.execute(update(account).where(account.c.account_no == c.homes[1].account_no).values(closed_ms=c.now_ms))
            conn.execute(update(meter).where(meter.c.meter_no == 1).values(removed_ms=c.now_ms))
            conn.execute(update(meter).where(meter.c.meter_no == 2).values(usage_point_no=number, installed_ms=c.now_ms))
            conn.execute(update(account).where(account.c.account_no == point.account_no).values(meter_no=2))
        happens(c, "magnet_on", 2)
        found = c.items(f"/accounts/{point.account_no}/events")
        names = {(e["meter_no"], e["name"]) for e in found}
        assert {(1, "cover_opened"), (2, "magnet_on")} <= names
        assert (2, "over_voltage") not in names
        assert [ms_of(e["at"]) for e in found] == sorted((ms_of(e["at"]) for e in found), reverse=True)


@pytest.mark.covers("I2FR11")
def test_the_log_of_a_meter_spans_the_service_points_it_was_at(tmp_path: Path) -> None:
    with chain(tmp_path) as c:
        happens(c, "cover_opened")
        with c.db.write() as conn:
            conn.execute(insert(usage_point).values(usage_point_no=77, zone="Asia/Kolkata", created_ms=c.now_ms))
            conn.execute(update(meter).values(usage_point_no=77))
        happens(c, "magnet_on")
        assert {"cover_opened", "magnet_on"} <= {e["name"] for e in c.items("/meters/1/events")}


@pytest.mark.covers("I2FR12")
def test_events_are_grouped_by_type_module_and_maker_and_can_be_taken_away(tmp_path: Path) -> None:
    """Three meters, two of one kind. Post: counts by driver, maker and firmware; the same as a table."""
    with chain(tmp_path, dlms=2, modbus=1) as c:
        for number in (1, 2, 2):
            house_of(c, number).report_event(EVENTS["over_voltage"].code)
            c.wait(MINUTE_MS)
        c.next_quarter()
        for number in (1, 2):
            assert c.order(number, f"plate {number}", type="read_name_plate")["state"] == "done"

        def counts(by: str) -> dict[str, tuple[int, int]]:
            groups = c.get("/event-groups", by=by)["items"]
            return {g["group"]: (g["count"], g["meters"]) for g in groups if g["name"] == "over_voltage"}

        assert counts("driver") == {"is15959": (3, 2)}  # meter type
        assert counts("firmware") == {"GT1.04": (3, 2)}  # module
        assert counts("maker") == {"Gridtally": (3, 2)}
        answer = c.send("GET", "/event-groups", query_string={"by": "maker", "format": "csv"})
        assert answer.mimetype == "text/csv"
        rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
        assert [(r["maker"], r["count"], r["meters"]) for r in rows if r["name"] == "over_voltage"] == [("Gridtally", "3", "2")]


@pytest.mark.covers("I2FR13")
def test_five_repeats_in_thirty_days_are_chronic_and_four_are_not(tmp_path: Path) -> None:
    with chain(tmp_path, dlms=2) as c:
        for day in range(5):
            house_of(c, 1).report_event(EVENTS["magnet_on"].code)
            if day < 4:
                house_of(c, 2).report_event(EVENTS["magnet_on"].code)
            c.wait(5 * DAY_MS)
        c.next_quarter()
        rows = [r for r in c.get("/chronic-failures")["items"] if r["name"] == "magnet_on"]
        assert [(r["meter_no"], r["count"]) for r in rows] == [(1, 5)]
