"""Seed 000 (BYPL, use cases of a meter data management): collection, gaps, events, disconnection, reconnection, credit.

Step numbers are those of the seed. Most tests run the whole chain in one thread by a wound clock (support/chain.py), so that a
value can be compared with the meter's own to the digit; the stories with real processes are in test_bypl_world.py.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from demo.facts import ledger_mismatches
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import day_of, utc_text
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.tables import channel, interval_block
from gridtally_cloud.vee.run import run_pending, status_of
from gridtally_native import decode_block
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_LANE
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.events import BY_NAME, EVENT_TYPES
from gridtally_shared.lifecycle import COMMAND_RULES
from gridtally_shared.money import nano
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME as QUANTITIES
from support.chain import GATEWAY, SIGNER, Chain, chain
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block
from support.little_street import QUARTER_MS

DAY_MS = 86_400_000
MINUTE_MS = 60_000
IMPORT, APPARENT = QUANTITIES["interval_import_wh"].code, QUANTITIES["interval_apparent_vah"].code


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


# ---- 1. collection of the daily meter profile -----------------------------------------------------------------


@pytest.mark.covers("BYPL-1.3", "ETSI-5.2.3-req-2a", "ETSI-5.2.3-req-2c")
def test_what_the_api_answers_is_what_the_meter_showed_field_by_field(tmp_path: Path) -> None:
    """Pre: a meter is read at its turn. Post: who asks the MDM gets meter number, date and time, kW, kVA, kWh, kVAh and PF
    as the meter showed them at that moment, and its blocks of 15 minutes."""
    with chain(tmp_path) as c:
        c.next_quarter(3)  # 1.1, 1.2: the head end reads
        house = c.street.houses["dlms/1"]
        shown = house.snapshot()
        # 1.3: the head end has passed it on; a recipient asks the API for it
        asked = c.items("/meters/1/readings", **{"from": utc_text(c.now_ms), "to": utc_text(c.now_ms + 1)})
        assert c.get("/meters/1")["serial"] == house.serial
        assert {ms(r["at"]) for r in asked} == {shown.at_ms}
        assert {r["quality"] for r in asked} == {0}
        got = {r["quantity"]: (r["value"], r["exponent"], r["unit"]) for r in asked}
        assert got["power_w"] == (shown.power_w, 0, "W")
        assert got["apparent_va"] == (shown.voltage_mv * shown.current_ma // 1_000_000, 0, "VA")
        assert got["energy_import_wh"] == (shown.energy_import_wh, 0, "Wh")
        assert got["apparent_import_vah"] == (shown.apparent_import_vah, 0, "VAh")
        assert got["power_factor_milli"] == (shown.power_factor_milli, -3, "1")
        blocks = [i for i in c.items("/meters/1/intervals") if i["wh"] is not None]
        rows = house.profile(ms(blocks[0]["start"]) + QUARTER_MS, c.now_ms)
        assert [(ms(i["start"]), i["wh"]) for i in blocks] == [(r.end_ms - QUARTER_MS, r.import_wh) for r in rows]
        assert len(blocks) >= 3


# ---- 6. missed interval readings ------------------------------------------------------------------------------


def rows_of(answer: dict[str, Any], quantity: int) -> list[tuple[int, int]]:
    """(start, value) of a quantity in the answer to an interval read."""
    blocks = decode(m.Intervals, base64.b64decode(answer["result_cbor"])).blocks
    return [
        (b.start_ms + i * b.period_s * 1000, value)
        for b in blocks if b.quantity == quantity for i, value in enumerate(decode_block(b.values)[0])
    ]  # fmt: skip


@pytest.mark.covers("BYPL-6.2", "SMT-pre2")
def test_a_profile_read_on_demand_answers_the_range_and_nothing_else(tmp_path: Path) -> None:
    """Pre: intervals from 5 to 2 hours ago are wanted. Post: the meter's own rows of that range, none before, none after."""
    with chain(tmp_path) as c:
        to_ms = c.now_ms // QUARTER_MS * QUARTER_MS - 8 * QUARTER_MS
        from_ms = to_ms - 12 * QUARTER_MS
        answer = c.order(1, "gap", type="read_intervals", **{"from": utc_text(from_ms), "to": utc_text(to_ms)})  # 6.1
        assert answer["state"] == "done"
        starts = list(range(from_ms, to_ms, QUARTER_MS))
        assert [start for start, _ in rows_of(answer, IMPORT)] == starts
        truth = c.street.houses["dlms/1"].profile(from_ms + QUARTER_MS, to_ms)
        assert rows_of(answer, IMPORT) == [(r.end_ms - QUARTER_MS, r.import_wh) for r in truth]  # 6.2: kWh
        assert rows_of(answer, APPARENT) == [(r.end_ms - QUARTER_MS, r.apparent_vah) for r in truth]  # 6.2: kVAh
        assert sum(value for _, value in rows_of(answer, IMPORT)) > 0


class Day:
    """A channel-day in the MDM that an edge sends to, block by block."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self.ingest = Ingest(street.db, SIGNER)
        self.seq = 0
        with street.db.write() as conn:
            conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=IMPORT, direction="import", unit="Wh",
                                                exponent=0, period_s=900))  # fmt: skip

    def send(self, part: m.ChannelBlock) -> None:
        self.seq += 1
        entry = m.Entry(self.seq, m.EntryKind.INTERVALS, encode(m.Intervals((part,))))
        batch = m.Batch(b"\x01" * 16, m.Lane.BACKLOG, (entry,), START_MS)
        assert self.ingest.handle(BY_LANE[m.Lane.BACKLOG].topic(self.street.dcu), encode(batch), START_MS + DAY_MS)

    def settle(self) -> str:
        """The regular jobs; the verdict of validation."""
        close_days(self.street.db, START_MS + DAY_MS + GRACE_MS)
        run_pending(self.street.db, START_MS + 2 * DAY_MS)
        with self.street.db.read() as conn:
            return status_of(conn, day_of(START_MS, "UTC"), 1)

    def slots(self, first: int, last: int) -> list[tuple[int | None, int]]:
        """(value, quality) of some quarters."""
        with self.street.db.read() as conn:
            found = read_intervals(conn, 1, START_MS + first * QUARTER_MS, START_MS + last * QUARTER_MS)
        return [(v if p else None, q) for v, p, q in zip(found.values, found.present, found.quality, strict=True)]

    def versions(self) -> list[tuple[int, str]]:
        query = select(interval_block.c.version, interval_block.c.source).order_by(interval_block.c.version)
        with self.street.db.read() as conn:
            return [(row.version, row.source) for row in conn.execute(query)]


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    street = new_street(tmp_path)
    yield Day(street)
    street.db.close()


@pytest.mark.covers("BYPL-6.3")
@pytest.mark.parametrize("held", [None, 4], ids=["missing", "estimated"])
def test_late_intervals_close_the_gap_as_a_new_version_and_the_day_is_judged_again(day: Day, held: int | None) -> None:
    """Pre: two quarters of a closed day are missing, or were estimated. Post: the meter's own values are in force."""
    day.send(block(1, START_MS, [10, 9] * 47))
    if held is not None:
        words = int(Quality.ESTIMATED).to_bytes(2, "little") * 2
        day.send(block(1, START_MS + 94 * QUARTER_MS, [held, held], quality=words))
    before = day.settle()
    guessed = 9 if held is None else held  # by the MDM from the quarter before, or by the concentrator
    assert day.slots(94, 96) == [(guessed, Quality.ESTIMATED)] * 2
    assert before == ("estimated" if held is None else "validated")
    day.send(block(1, START_MS + 94 * QUARTER_MS, [11, 12]))  # 6.3: what was read again arrives
    assert day.slots(94, 96) == [(11, Quality.OK), (12, Quality.OK)]  # the gap is closed, the quality is actual
    runs = day.street.db
    with runs.read() as conn:
        assert status_of(conn, day_of(START_MS, "UTC"), 1) == before  # not judged again yet
    assert day.settle() == "validated"  # validation ran again
    kept = ["raw", "estimate", "late"] if held is None else ["raw", "late"]
    assert day.versions() == list(enumerate(kept))  # a new version, and the first one kept
    assert day.slots(94, 96) == [(11, Quality.OK), (12, Quality.OK)]


# ---- 0. Indian Standards, 7. outage and restoration -----------------------------------------------------------


@pytest.mark.covers("BYPL-0b")
def test_events_of_the_indian_standard_keep_their_code_and_get_a_cim_code(tmp_path: Path) -> None:
    """Pre: a meter with the IS 15959 objects has one event of each kind in its logs. Post: the API names each by both codes."""
    standard = {e.code: e for e in EVENT_TYPES if e.code < 1000}
    with chain(tmp_path) as c:
        meter = c.street.houses["dlms/1"]
        for code in standard:
            c.street.wind(1_000)
            meter.report_event(code)
        c.next_quarter()  # polled by the companion profile: instantaneous, block and event profiles
        polled = {r["quantity"] for r in c.items("/meters/1/readings")}
        assert polled >= {"energy_import_wh", "apparent_import_vah", "voltage_mv", "power_w"}
        told = {e["code"]: e for e in c.items("/meters/1/events") if e["code"] in standard}
        assert set(told) == set(standard)
        assert {code: e["cim"] for code, e in told.items()} == {code: e.cim for code, e in standard.items()}
        assert {code: e["name"] for code, e in told.items()} == {code: e.name for code, e in standard.items()}


@pytest.mark.covers("BYPL-7.2")
def test_outage_and_restoration_reach_the_mdm_in_order_and_once(tmp_path: Path) -> None:
    """Pre: the meter has logged an outage and its end. Post: the MDM holds both, in their order, each once."""
    with chain(tmp_path) as c:
        meter = c.street.houses["dlms/1"]
        failed, restored = BY_NAME["power_failed"].code, BY_NAME["power_restored"].code
        meter.report_event(failed)
        c.street.wind(3 * MINUTE_MS)
        meter.report_event(restored)
        c.next_quarter()

        def told() -> list[tuple[int, int]]:
            return sorted((ms(e["at"]), e["code"]) for e in c.items("/meters/1/events") if e["code"] in (failed, restored))

        assert [code for _, code in told()] == [failed, restored]
        (failed_ms, _), (restored_ms, _) = told()
        assert restored_ms - failed_ms == 3 * MINUTE_MS
        c.again("urgent")  # the same batches again, as after a lost receipt
        c.next_quarter()  # and the meter's log is read over its last entry again
        assert [code for _, code in told()] == [failed, restored]


# ---- 3. disconnection, 4. reconnection ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        pytest.param("switch_open", marks=pytest.mark.covers("BYPL-3.3")),
        pytest.param("switch_close", marks=pytest.mark.covers("BYPL-4.2")),
    ],
)
def test_every_meter_gets_a_command_record_of_its_own_and_a_repeated_order_is_the_same(tmp_path: Path, action: str) -> None:
    """Pre: an engine orders an action for two meters and repeats each request. Post: one record a meter, signed and sent."""
    with chain(tmp_path, dlms=2) as c:
        c.cut()  # so that the records are seen as they wait
        body = {"type": action, "reason": "balance"}
        made = [c.send("POST", f"/meters/{meter_no}/commands", f"{action} {meter_no}", json=body).get_json() for meter_no in (1, 2)]
        again = [c.send("POST", f"/meters/{meter_no}/commands", f"{action} {meter_no}", json=body).get_json() for meter_no in (1, 2)]
        kept = [c.get(f"/commands/{record['cmd_id']}") for record in made]
        assert [record["meter_no"] for record in kept] == [1, 2]
        assert len({record["cmd_id"] for record in kept}) == 2  # id
        assert {record["type"] for record in kept} == {action}  # action
        life_ms = COMMAND_RULES[m.CommandType[action.upper()]][2]
        assert {ms(record["expires_at"]) for record in kept} == {c.now_ms + life_ms}  # expiry
        assert [record["cmd_id"] for record in again] == [record["cmd_id"] for record in made]
        c.connect()
        envelopes = {payload for topic, payload in c.sent_down if topic.endswith("/command")}
        assert len(envelopes) == 2  # the head end got one order a meter


# ---- 17. prepaid consumer recharge ----------------------------------------------------------------------------


def recharge(c: Chain, amount: str) -> None:
    """The consumer pays at the gateway, which tells the MDM."""
    order = prepay.order_payment(c.db, c.payments, c.homes[0].account_no, nano(amount), c.now_ms, "asha")
    with c.db.write() as conn:
        hook = GATEWAY.choose(conn, order.gateway_order, "card", c.now_ms)
        prepay.handle_webhook(conn, c.payments, hook.body, hook.signature, c.now_ms)


def instruments_sent(c: Chain) -> int:
    return sum(topic.endswith("/instrument") for topic, _ in c.sent_down)


@pytest.mark.covers("BYPL-17.5b")
def test_the_meters_credit_rises_once_also_when_the_acknowledgement_is_lost(tmp_path: Path) -> None:
    """Pre: a prepaid meter shows its credit. Post: it shows the amount more, once; MDM and edge agree to the nano."""
    with chain(tmp_path) as c:
        meter = c.street.houses["dlms/1"]
        c.wait(MINUTE_MS)
        shown = meter.shown_balance()
        held = c.street.core.prepay.heads()[0].seq
        before = nano(c.get("/accounts/1/balance")["balance"])
        sent = instruments_sent(c)
        c.lose = {"urgent"}  # the journal that acknowledges the credit is lost on its way
        recharge(c, "123.45")
        c.carry()
        risen = meter.shown_balance()
        assert shown is not None
        assert risen is not None
        assert risen[0] - shown[0] == 12_345  # minor units: exactly the amount
        assert c.get("/accounts/1/balance")["pending"] == "123.45"
        for _ in range(3):
            c.wait(MINUTE_MS)
        assert instruments_sent(c) - sent >= 3  # the MDM tried again
        assert meter.shown_balance() == risen
        c.lose = set()
        for _ in range(3):
            c.wait(MINUTE_MS)  # the edge sends its journal again, the MDM sees the credit and is quiet
        quiet = instruments_sent(c)
        c.wait(2 * MINUTE_MS)
        assert instruments_sent(c) == quiet
        balance = c.get("/accounts/1/balance")
        assert (nano(balance["balance"]), balance["pending"]) == (before + nano("123.45"), "0")
        assert ledger_mismatches(c.db, c.street.folder / "money.db") == []
        credits = [line for line in c.items("/accounts/1/ledger") if line["kind"] == "credit" and line["seq"] > held]
        assert [line["amount"] for line in credits] == ["123.45"]
        again = meter.shown_balance()
        assert again is not None
        assert again[0] == risen[0]
