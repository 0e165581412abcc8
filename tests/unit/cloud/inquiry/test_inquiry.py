"""A customer calls about the balance (seed 003): who may ask, what is answered and how it is labelled, how often, and the bill to now."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, insert, select
from werkzeug.test import TestResponse

from gridtally_cloud.billing import service as billing
from gridtally_cloud.billing.model import DataQuality, Party, Reading
from gridtally_cloud.billing.postpaid import BillInputs, Paid, Stop
from gridtally_cloud.billing.tables import bill as bill_table
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.billing.usage import channel_of
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.inquiry import retailers
from gridtally_cloud.inquiry.consumption import LONGEST_RAW_MS, Label, Posting, consumption, raw_range
from gridtally_cloud.inquiry.provisional import provisional_bill
from gridtally_cloud.inquiry.requests import Kind
from gridtally_cloud.store.close import close_days, save_version
from gridtally_cloud.store.days import day_of, slots_of, utc_text
from gridtally_cloud.store.intervals import ESTIMATE, IntervalSeries, Slot, channel_ref, days_slots
from gridtally_cloud.store.tables import interval_block, meter, usage_point
from gridtally_cloud.vee import run as vee
from gridtally_cloud.web.api.schemas import SCHEMAS
from gridtally_cloud.web.tokens import create_token, list_tokens
from gridtally_native import encode_block
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import decimal_text, nano
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import INTERVAL_IMPORT
from gridtally_shared.supply_test import SupplyTest
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.running import Terms
from support.payday import DAY_MS, DCU, START_MS
from support.stores import Kept
from support.web_street import PER_DAY, QUARTER_MS, WebStreet, seeded_store, wh_of

HOUR_MS = 3_600_000


# ---- the pure middle ------------------------------------------------------------------------------------------


def series(values: list[int | None], estimated: range = range(0)) -> IntervalSeries:
    flags = [int(Quality.ESTIMATED) if i in estimated else 0 for i in range(len(values))]
    return IntervalSeries(0, 3600, array("q", [v or 0 for v in values]), array("H", flags), bytes(v is not None for v in values))


def posting(day: int, stands: bool = True) -> Posting:
    return Posting(day * DAY_MS, (day + 1) * DAY_MS, stands, (day + 1) * DAY_MS + HOUR_MS)


def test_parts_are_labelled_and_meet_at_the_last_posting() -> None:
    values: list[int | None] = [100] * 24 + [None] * 2 + [10] * 8
    found = consumption(series(values, range(3)), (posting(0),), 34 * HOUR_MS + 60_000, (DAY_MS, 34 * HOUR_MS))
    assert [(p.label, p.wh, p.measured, p.estimated, p.missing) for p in found.parts] == [
        (Label.VEE, 2400, 21, 3, 0), (Label.RAW, 80, 8, 0, 2)]  # fmt: skip
    assert (found.wh, found.to_ms, found.missing) == (2480, 34 * HOUR_MS, 2)
    assert [(r.start_ms // HOUR_MS, r.wh) for r in found.rows][:3] == [(24, None), (25, None), (26, 10)]


def test_without_a_request_for_raw_data_it_ends_with_the_last_posting() -> None:
    found = consumption(series([100] * 60), (posting(0), posting(1, stands=False)), 60 * HOUR_MS, None)
    assert (found.wh, found.to_ms, found.rows) == (2400, DAY_MS, ())
    later = consumption(series([100] * 80), (posting(0), posting(1, stands=False), posting(2)), 80 * HOUR_MS, None)
    assert (later.wh, later.doubtful) == (7200, (DAY_MS,))


def test_a_hole_between_ends_the_consumption_before_it() -> None:
    found = consumption(series([100] * 40), (posting(0),), 40 * HOUR_MS, (30 * HOUR_MS, 40 * HOUR_MS))
    assert (found.wh, found.to_ms, len(found.rows)) == (2400, DAY_MS, 10)


@pytest.mark.covers("SMT-N3")
def test_the_default_range_follows_the_last_posting_and_is_cut_at_48_hours() -> None:
    assert raw_range(DAY_MS, DAY_MS + 10 * HOUR_MS + 60_000, QUARTER_MS) == (DAY_MS, DAY_MS + 10 * HOUR_MS)
    assert raw_range(DAY_MS, 9 * DAY_MS, QUARTER_MS) == (DAY_MS, DAY_MS + LONGEST_RAW_MS)


# ---- the whole way --------------------------------------------------------------------------------------------


class Desk:
    """The retailers' side: two days that were posted, and a morning as the meters sent it. Home 0 has a hole in it."""

    def __init__(self, street: WebStreet) -> None:
        self.street, self.app = street, street.app()
        street.live(PER_DAY)
        street.live(PER_DAY)
        self.post_vee()
        self.morning_ms = street.now_ms
        street.live(40, missing=range(4, 8))
        self.acme, self.other = (self.token(code) for code in ("ACME", "OTHER"))
        self.keys = 0

    @property
    def db(self) -> Any:
        return self.street.pay.db

    def post_vee(self) -> None:
        close_days(self.db, self.street.now_ms)
        vee.run_pending(self.db, self.street.now_ms)

    def token(self, code: str) -> str:
        with self.db.write() as conn:
            retailers.add(conn, code, f"{code} Energy", "staff:ada", self.street.now_ms)
            text: str = create_token(conn, code, ("inquiries:write",), SystemClock().now_ms(), "test")
            retailers.bind_token(conn, list_tokens(conn)[0].token_no, code)
            return text

    def point(self, home: int) -> int:
        with self.db.read() as conn:
            return account_of(conn, self.street.pay.homes[home].account_no).usage_point_no

    def assign(self, home: int, code: str) -> None:
        with self.db.write() as conn:
            retailers.assign(conn, self.point(home), code, self.street.now_ms, "staff:ada", self.street.now_ms)

    def ask(self, home: int, kind: str, token: str = "", key: str = "", **more: str) -> TestResponse:
        self.keys += 1
        headers = {"Authorization": f"Bearer {token or self.acme}", "Idempotency-Key": key or str(self.keys)}
        path = f"/api/v1/usage-points/{self.point(home)}/inquiries"
        return client(self.app).post(path, headers=headers, json={"kind": kind, **more})

    def look(self, request_no: int, token: str = "") -> TestResponse:
        return client(self.app).get(f"/api/v1/inquiries/{request_no}", headers={"Authorization": f"Bearer {token or self.acme}"})

    def receipt(self, asked: dict[str, Any], state: CommandState, result: bytes = b"") -> None:
        receipt = m.CommandReceipt(bytes.fromhex(asked["cmd_id"]), asked["meter_no"], int(state), self.street.now_ms, "", result)
        self.street.send(m.Lane.URGENT, m.EntryKind.COMMAND_RECEIPT, receipt)

    def audit(self, home: int) -> list[tuple[str, str]]:
        with self.db.read() as conn:
            return [(row.action, row.detail) for row in audit_rows(conn, subject=f"usage-point:{self.point(home)}")]


def client(app: Flask) -> Any:
    return app.test_client()


def used(home: int, from_ms: int, to_ms: int) -> int:
    return sum(wh_of(home, at) for at in range(from_ms, to_ms, QUARTER_MS))


def owed(wh: int, days: int) -> str:
    """7 rupees a kWh and 2.50 a day, 5 percent tax, to the paisa."""
    exact = (wh * nano("7") // 1000 + days * nano("2.5")) * 105 // 100
    return decimal_text((exact + 5_000_000) // 10_000_000 * 10_000_000)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return seeded_store(tmp_path_factory.mktemp("seeded"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, seeded: Kept) -> Iterator[Desk]:
    street = WebStreet(tmp_path_factory.mktemp("street"), seeded)
    yield Desk(street)
    street.close()


@pytest.mark.covers_part("SMT-2", "SMT-3")
@pytest.mark.covers("SMT-6")
def test_steps_1_to_7_validated_data_then_the_gap_then_the_bill_to_now(desk: Desk) -> None:
    desk.assign(2, "ACME")
    with desk.db.read() as conn:
        before = conn.execute(select(func.count()).select_from(receivable)).scalar_one()
    first = desk.ask(2, "balance").get_json()
    assert set(first) == set(SCHEMAS["Inquiry"])
    posted_ms = START_MS + 2 * DAY_MS
    assert first["consumption"]["posted_to"] == first["consumption"]["not_covered_from"] == utc_text(posted_ms)
    assert (first["consumption"]["wh"], first["consumption"]["intervals"]) == (used(2, START_MS, posted_ms), [])
    assert first["bill"]["total"] == owed(used(2, START_MS, posted_ms), 2)
    asked = desk.ask(2, "read", key="call-1").get_json()
    assert (asked["state"], asked["cmd_id"]) == ("merged", None), "the intervals are held: the meter is left alone"
    whole = used(2, START_MS, desk.street.now_ms)
    assert [(p["label"], p["wh"]) for p in asked["consumption"]["parts"]] == [
        ("vee", used(2, START_MS, posted_ms)), ("raw", used(2, posted_ms, desk.street.now_ms))]  # fmt: skip
    assert [i["start"] for i in asked["consumption"]["intervals"]] == [utc_text(posted_ms + i * QUARTER_MS) for i in range(40)]
    assert {i["label"] for i in asked["consumption"]["intervals"]} == {"raw"}
    assert (asked["bill"]["provisional"], asked["bill"]["total"], asked["bill"]["energy_wh"]) == (True, owed(whole, 3), whole)
    assert desk.ask(2, "read", key="call-1").get_json()["request_no"] == asked["request_no"], "the same call once more"
    with desk.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(receivable)).scalar_one() == before
        assert conn.execute(select(func.count()).select_from(bill_table)).scalar_one() == 0


@pytest.mark.covers("SMT-N1")
def test_only_the_retailer_of_record_is_answered_and_a_refusal_is_noted(desk: Desk) -> None:
    desk.assign(1, "ACME")
    mine = desk.ask(1, "balance").get_json()
    refused = desk.ask(1, "balance", desk.other)
    assert (refused.status_code, refused.get_json()["type"].rsplit("/", 1)[1]) == (403, "not-retailer-of-record")
    assert desk.audit(1)[0] == ("inquiry.refused", "not_retailer_of_record: OTHER, balance")
    assert desk.look(mine["request_no"], desk.other).status_code == 404
    desk.street.pay.now_ms += 1
    desk.assign(1, "OTHER")
    assert (desk.ask(1, "balance").status_code, desk.look(mine["request_no"]).status_code) == (403, 403), "the former retailer"
    assert desk.ask(1, "balance", desk.other).status_code == 202
    assert mine["bill"] is None, "home 1 pays ahead"


@pytest.mark.covers("SMT-N2")
def test_48_hours_of_raw_data_and_no_quarter_more(desk: Desk) -> None:
    desk.assign(2, "ACME")
    desk.street.pay.now_ms = desk.morning_ms + 40 * QUARTER_MS
    to_ms = desk.street.now_ms
    long = desk.ask(2, "read", **{"from": utc_text(to_ms - LONGEST_RAW_MS - QUARTER_MS), "to": utc_text(to_ms)})
    assert (long.status_code, long.get_json()["type"].rsplit("/", 1)[1]) == (422, "span-too-long")
    with desk.db.write() as conn:
        retailers.set_limit(conn, retailers.Limit(desk.point(2), Kind.READ, 5), "staff:ada", to_ms)
    allowed = desk.ask(2, "read", **{"from": utc_text(to_ms - LONGEST_RAW_MS), "to": utc_text(to_ms)})
    assert allowed.status_code == 202
    assert allowed.get_json()["consumption"]["to"] == utc_text(to_ms)
    odd = desk.ask(2, "read", **{"from": utc_text(to_ms - 60_000), "to": utc_text(to_ms)})
    assert "whole intervals" in odd.get_json()["detail"]


@pytest.mark.covers_part("SMT-4")
@pytest.mark.covers("SMT-R1")
def test_a_hole_is_read_at_the_meter_and_only_what_is_answered_counts(desk: Desk) -> None:
    desk.assign(0, "ACME")
    first = fails_and_asks_again(desk, "read")
    assert first["lacking"] == 4
    assert desk.look(first["request_no"]).get_json()["consumption"]["intervals"] == [], "nothing raw before it is answered"
    hole_ms = desk.morning_ms + 4 * QUARTER_MS
    packed = encode_block(array("q", [wh_of(0, hole_ms + i * QUARTER_MS) for i in range(4)]))
    block = m.ChannelBlock(first["meter_no"], INTERVAL_IMPORT.code, hole_ms, 900, 4, packed, b"")
    desk.receipt(first, CommandState.DONE, encode(m.Intervals((block,))))
    done = desk.look(first["request_no"]).get_json()
    assert (done["state"], done["filled"], done["consumption"]["missing"]) == ("merged", 4, 0)
    assert done["consumption"]["wh"] == used(0, START_MS, desk.morning_ms + 40 * QUARTER_MS)
    is_used_up_until_midnight(desk, "read")


@pytest.mark.covers("SMT-R2")
def test_the_power_status_has_a_number_of_its_own(desk: Desk) -> None:
    desk.assign(1, "ACME")
    assert desk.ask(1, "read").status_code == 202, "counted apart"
    desk.assign(0, "ACME")
    asked = fails_and_asks_again(desk, "power_status")
    desk.receipt(asked, CommandState.DONE, encode(SupplyTest(True, desk.street.now_ms, 1, 231_000, None, 400, 92, "10000001")))
    found = desk.look(asked["request_no"]).get_json()
    assert (found["state"], found["power"]["connected"], found["power"]["voltage_mv"]) == ("merged", True, 231_000)
    is_used_up_until_midnight(desk, "power_status")


def fails_and_asks_again(desk: Desk, kind: str) -> dict[str, Any]:
    """Two at once, of which one is taken; it fails, and is asked again."""
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda n: desk.ask(0, kind, key=f"{kind} {n}"), range(2)))
    (failed,) = (answer.get_json() for answer in both if answer.status_code == 202)
    assert sorted(answer.status_code for answer in both) == [202, 429]
    desk.receipt(failed, CommandState.FAILED)
    assert desk.look(failed["request_no"]).get_json()["state"] == "gave_up"
    again: dict[str, Any] = desk.ask(0, kind).get_json()
    assert again["state"] == "asked"
    return again


def is_used_up_until_midnight(desk: Desk, kind: str) -> None:
    now_ms, midnight_ms = desk.street.now_ms, START_MS + 3 * DAY_MS
    third = desk.ask(0, kind)
    assert (third.status_code, third.get_json()["type"].rsplit("/", 1)[1]) == (429, "daily-limit")
    assert utc_text(midnight_ms) in third.get_json()["detail"]
    assert third.headers["Retry-After"] == str((midnight_ms - now_ms) // 1000)
    desk.street.pay.now_ms = midnight_ms
    assert desk.ask(0, kind).status_code == 202, "the next local day"
    desk.street.pay.now_ms = now_ms


@pytest.mark.covers("SMT-A2")
@pytest.mark.covers_part("SMT-A1")
def test_a_supply_without_a_meter_in_service_or_without_intervals(desk: Desk) -> None:
    with desk.db.write() as conn:
        for number in (71, 72):
            conn.execute(insert(usage_point).values(usage_point_no=number, zone="UTC", created_ms=0))
        conn.execute(insert(meter).values(meter_no=72, serial="72", dcu=DCU, usage_point_no=72, installed_ms=0))
    headers = {"Authorization": f"Bearer {staff_token(desk)}"}
    kinds = []
    for number in (71, 72, 73):
        path = f"/api/v1/usage-points/{number}/inquiries"
        answer = client(desk.app).post(path, headers=headers | {"Idempotency-Key": str(number)}, json={})
        kinds.append((answer.status_code, answer.get_json()["type"].rsplit("/", 1)[1]))
    assert kinds == [(422, "not-provisioned"), (422, "not-available"), (404, "unknown-usage-point")]


def test_the_utility_asks_only_where_no_retailer_is_of_record(desk: Desk) -> None:
    desk.assign(1, "ACME")
    assert desk.ask(1, "balance", token=staff_token(desk)).status_code == 403
    desk.assign(1, retailers.UTILITY)
    assert desk.ask(1, "balance", token=staff_token(desk)).status_code == 202


def staff_token(desk: Desk) -> str:
    with desk.db.write() as conn:
        text: str = create_token(conn, "utility", ("inquiries:write", "readings:read"), SystemClock().now_ms(), "test")
        return text


def test_completeness_and_requests_through_the_api(desk: Desk) -> None:
    headers = {"Authorization": f"Bearer {staff_token(desk)}"}
    rows = client(desk.app).get("/api/v1/completeness?from=2026-11-01&to=2026-11-03", headers=headers).get_json()["items"]
    assert {set(row) == set(SCHEMAS["Completeness"]) for row in rows} == {True}
    assert [(row["day"], row["expected"], row["missing"]) for row in rows if row["meter_no"] == desk.street.pay.homes[2].meter_no][:2] == [
        ("2026-11-01", 96, 0), ("2026-11-02", 96, 0)]  # fmt: skip
    desk.assign(1, "ACME")
    desk.ask(1, "balance")
    asked = client(desk.app).get("/api/v1/data-requests", headers=headers).get_json()["items"]
    assert set(asked[0]) == set(SCHEMAS["DataRequest"])
    assert client(desk.app).get("/api/v1/completeness?from=nonsense", headers=headers).status_code == 400


# ---- the bill to now ------------------------------------------------------------------------------------------


def test_the_bill_to_now_goes_on_where_the_last_bill_ended(desk: Desk) -> None:
    desk.assign(2, "ACME")
    account_no, day_ms = desk.street.pay.homes[2].account_no, START_MS + DAY_MS
    with desk.db.write() as conn:
        issued = billing.issue_bill(conn, account_no, START_MS, day_ms, desk.street.now_ms, "desk")
    now_on = desk.ask(2, "balance").get_json()["bill"]
    assert (now_on["from"], now_on["opening"]) == (utc_text(day_ms), decimal_text(issued.bill.closing_nano))
    assert abs(nano(now_on["total"]) - nano(owed(used(2, START_MS, START_MS + 2 * DAY_MS), 2))) <= nano("0.01"), "each bill rounds once"


NIGHT_AND_DAY = """{"kind": "tariff", "code": "t", "currency": "EUR", "zone": "UTC", "versions": [{"from": "1970-01-01",
    "hours": [{"bands": [{"from": "00:00", "to": "06:00", "period": "night"}, {"from": "06:00", "to": "24:00", "period": "day"}]}],
    "items": [{"kind": "energy", "code": "e",
        "rates": [{"periods": ["night"], "price": "0.10"}, {"periods": ["day"], "price": "0.40"}]}]}]}"""


def test_each_interval_is_priced_in_the_period_in_which_it_was_used() -> None:
    plan = tariff_plan([NIGHT_AND_DAY], "UTC")
    party = Party(1, "Ada", "", "1", "t", "UTC", "en", "EUR")
    stops = (Stop(0, Reading(0, 500)), Stop(12 * HOUR_MS, Reading(12 * HOUR_MS, 500 + 11_000, True)))
    inputs = BillInputs(party, 0, 12 * HOUR_MS, plan, Terms("t", "UTC"), stops, nano("3"), (Paid(1, -nano("1"), "P-1"),), (), DataQuality())
    bill = provisional_bill(inputs, series([1000] * 3 + [None] + [1000] * 8))
    assert bill.closing_nano == nano("3") - nano("1") + 5 * nano("0.10") + 6 * nano("0.40")


@pytest.mark.covers("SMT-5")
def test_what_was_raw_is_validated_later_and_its_versions_stay(desk: Desk) -> None:
    """The last one of this street: its day ends."""
    street = desk.street
    desk.assign(2, "ACME")
    with desk.db.write() as conn:
        retailers.set_limit(conn, retailers.Limit(desk.point(2), Kind.READ, 9), "staff:ada", street.now_ms)
    raw = desk.ask(2, "read").get_json()
    assert {row["label"] for row in raw["consumption"]["intervals"]} == {"raw"}
    street.live(PER_DAY - 40)
    desk.post_vee()
    later = desk.look(raw["request_no"]).get_json()["consumption"]
    assert [part["label"] for part in later["parts"]] == ["vee"]
    assert (later["intervals"], later["wh"], later["to"]) == ([], raw["consumption"]["wh"], raw["consumption"]["to"])
    with desk.db.write() as conn:
        day, number = day_of(desk.morning_ms, "Asia/Kolkata"), channel_of(conn, desk.point(2)) or 0
        edited = days_slots(conn, number, [day]) | {desk.morning_ms: Slot(7_777, int(Quality.ESTIMATED))}
        ref, period_s = channel_ref(conn, number)
        save_version(conn, ref, slots_of(day, ref.zone, period_s), 1, edited, ESTIMATE, True, street.now_ms)
        versions = conn.execute(select(interval_block.c.source).where(interval_block.c.day == day, interval_block.c.channel_no == number))
        assert list(versions.scalars()) == ["raw", ESTIMATE]
    again = desk.look(raw["request_no"]).get_json()["consumption"]
    assert again["wh"] == raw["consumption"]["wh"] - wh_of(2, desk.morning_ms) + 7_777
