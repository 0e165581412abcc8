"""Seed 004 (ETSI TR 102 691, smart metering over M2M): obtaining data, configuring, tariffs, enabling and disabling supply.

Step numbers are those of the seed's use cases (5.2.3 .. 5.2.13) and of its new requirements (NR). The whole chain runs in one
thread by a wound clock (support/chain.py); what needs real processes is in test_etsi_world.py.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gridtally_cloud.commands import service as commands
from gridtally_cloud.customers import tariffs
from gridtally_cloud.customers.seed import DEMO_TARIFF
from gridtally_cloud.customers.tables import account
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import config_version, dcu
from gridtally_cloud.web.reads.meters import meter_row
from gridtally_cloud.web.tokens import create_token
from gridtally_edge.display.account import view_account
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import Words
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.plan import stored_plan
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_edge.sync.mqtt import Arrived
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.ledger.entries import Kind, entry_from
from gridtally_shared.lifecycle import COMMAND_RULES, CommandState, Reason
from gridtally_shared.money import NANO
from gridtally_shared.signing import KeySigner, sign1
from support.chain import SIGNER, Chain, chain
from support.little_street import DCU, QUARTER_MS, little_street

MINUTE_MS = 60_000
STRANGER = KeySigner.from_seed(b"not the utility's key, 32 bytes!")
SENDER = "api:chain"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Chain]:
    with chain(tmp_path) as made:
        yield made


def events_of(c: Chain, name: str, meter_no: int = 0) -> list[dict[str, Any]]:
    """Events of that name in the MDM, of the concentrator itself (0) or of a meter."""
    return [e for e in c.items("/events") if (e["name"], e["meter_no"]) == (name, meter_no)]


# ---- 5.2.3 obtain meter reading data --------------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.3-sched-1a")
def test_a_reading_is_registered_with_the_stamp_of_the_meters_own_clock_and_its_quality(c: Chain) -> None:
    """Pre: the clock of the meter is seven minutes ahead. Post: its intervals stand at the meter's own times, each with a
    quality, and hold what the meter counted between these times."""
    house = c.street.houses["dlms/1"]
    house.set_clock(house.clock_ms() + 7 * MINUTE_MS)
    set_ms = c.now_ms
    c.next_quarter(4)
    blocks = [i for i in c.items("/meters/1/intervals") if ms(i["start"]) > set_ms]
    assert len(blocks) >= 3
    own = house.profile(ms(blocks[0]["start"]) + QUARTER_MS, ms(blocks[-1]["start"]) + QUARTER_MS)
    assert [(ms(i["start"]), i["wh"]) for i in blocks if i["wh"] is not None] == [(r.end_ms - QUARTER_MS, r.import_wh) for r in own]
    assert [i["quality"] for i in blocks if i["wh"] is not None] == [0] * len(own)
    assert [i["quality"] for i in blocks if i["wh"] is None] == [1] * (len(blocks) - len(own))


REQUESTS = (
    ("a meter that is not there", "GET", "/meters/99/readings", {}, {}, 404, "not-found"),
    ("a meter that is not there", "POST", "/meters/99/commands", {}, {"type": "read_instant"}, 404, "not-found"),
    ("from after to", "GET", "/meters/1/intervals", {"from": "2026-09-21T10:00:00Z", "to": "2026-09-21T09:00:00Z"}, {}, 400, "bad-span"),
    ("from after to", "POST", "/meters/1/commands", {},
     {"type": "read_intervals", "from": "2026-09-21T10:00:00Z", "to": "2026-09-21T09:00:00Z"}, 422, "malformed"),
    ("a time that is none", "GET", "/meters/1/readings", {"from": "yesterday"}, {}, 400, "bad-time"),
    ("a limit that is none", "GET", "/meters/1/readings", {"limit": "many"}, {}, 400, "bad-limit"),
    ("a kind nobody knows", "POST", "/meters/1/commands", {}, {"type": "read_mind"}, 422, "unknown-type"),
)  # fmt: skip


@pytest.mark.covers("ETSI-5.2.3-req-2b", "ETSI-5.2.3-alt-1d")
def test_a_request_for_data_is_validated(c: Chain) -> None:
    """Pre: a recipient asks for data it may not have, or in a way that makes no sense. Post: it is told which, and the meter
    is not asked."""
    asked = len(c.street.asked)

    def answered(method: str, path: str, query: dict[str, str], body: dict[str, str], token: str | None = None) -> tuple[int, str]:
        more = {"json": body} if body else {"query_string": query}
        answer = c.send(method, path, f"{method} {path} {body}", token, **more)
        assert answer.mimetype == "application/problem+json"
        assert answer.get_json()["detail"]
        return answer.status_code, answer.get_json()["type"].rsplit("/", 1)[1]

    for about, method, path, query, body, status, kind in REQUESTS:  # wrong meter, range, format
        assert answered(method, path, query, body) == (status, kind), about
    with c.db.write() as conn:
        events_only = create_token(conn, "events", ("events:read",), SystemClock().now_ms(), "test")
    for method, path, body in (("GET", "/meters/1/readings", {}), ("POST", "/meters/1/commands", {"type": "read_instant"})):
        assert answered(method, path, {}, body, events_only) == (403, "scope-missing")  # wrong right
        assert answered(method, path, {}, body, "gt1_somebody") == (401, "token-unknown")
    c.carry()
    assert len(c.street.asked) == asked


@pytest.mark.covers("ETSI-5.2.3-alt-1a")
def test_a_reading_of_a_meter_that_has_lost_the_time_is_not_registered_under_a_wrong_one_and_not_lost(c: Chain) -> None:
    """Pre: the meter's clock says itself that it is invalid. Post: the error is in the MDM once, with type, date and time; no interval
    is registered meanwhile; when the clock is right again every interval is there, as the meter had it."""
    c.next_quarter(2)
    house, lost_ms = c.street.houses["dlms/1"], c.now_ms
    house.inject(HouseFault.CLOCK)
    c.next_quarter(26)
    (event,) = events_of(c, "clock_invalid", 1)
    assert lost_ms < ms(event["at"]) <= c.now_ms
    assert "time" in event["detail"]
    assert [i["wh"] for i in c.items("/meters/1/intervals") if ms(i["start"]) > lost_ms and i["wh"] is not None] == []
    house.inject(HouseFault.CLOCK, 0)
    c.next_quarter(26)
    until_ms = c.now_ms - 2 * QUARTER_MS
    blocks = {ms(i["start"]): i["wh"] for i in c.items("/meters/1/intervals") if lost_ms < ms(i["start"]) < until_ms}
    own = house.profile(min(blocks) + QUARTER_MS, max(blocks) + QUARTER_MS)
    assert blocks == {row.end_ms - QUARTER_MS: row.import_wh for row in own}
    assert len(blocks) >= 50
    assert len(events_of(c, "clock_invalid", 1)) == 1


@pytest.mark.covers("ETSI-5.2.3-alt-1b")
def test_a_reading_that_finds_no_room_is_said_and_not_lost(tmp_path: Path) -> None:
    """Pre: the disk of the concentrator is full. Post: what could not be recorded is a failure, not half a record; with room again
    and after a restart everything is there, as the meter had it."""
    with little_street(tmp_path, signer=SIGNER) as street:
        street.connect()
        street.configure()
        street.next_quarter()
        store = street.core.journal.outbox.connection
        before = store.execute("SELECT count(*), max(at_ms) FROM sample").fetchone()
        store.execute(f"PRAGMA max_page_count = {store.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            street.next_quarter(400)
        now_ms = street.clock.now_ms()
        kept = store.execute("SELECT count(*), max(at_ms) FROM sample").fetchone()
        bodies = store.execute("SELECT body FROM outbox_entry WHERE kind = ?", (int(m.EntryKind.READINGS),))
        assert kept[0] >= before[0]
        assert sum(len(decode(m.Readings, row[0]).values) for row in bodies) == kept[0]  # no sample without its message
    with little_street(tmp_path, signer=SIGNER) as again:
        again.wind(now_ms - again.clock.now_ms())
        again.connect()
        again.next_quarter(2)
        rows = again.core.journal.outbox.connection.execute("SELECT start_ms, value FROM interval WHERE quantity = 11 ORDER BY start_ms")
        held = dict(rows.fetchall())
        truth = again.houses["dlms/1"].profile(min(held) + QUARTER_MS, max(held) + QUARTER_MS)
        assert held == {row.end_ms - QUARTER_MS: row.import_wh for row in truth}
        assert max(held) > now_ms


@pytest.mark.covers("ETSI-F2a")
def test_one_of_each_kind_of_data_is_retrieved(c: Chain) -> None:
    """Usage, supply quality, events, status and data that are no measurement, all of one meter, from the MDM."""
    house = c.street.houses["dlms/1"]
    house.set_clock(house.clock_ms() - 150_000)
    house.report_event(EVENTS["over_voltage"].code)
    c.wait(7 * 60 * MINUTE_MS)
    c.next_quarter(2)
    values = {r["quantity"]: r["value"] for r in c.items("/meters/1/readings")}
    assert sum(i["wh"] or 0 for i in c.items("/meters/1/intervals")) > 0  # usage
    assert values["energy_import_wh"] > 0
    assert 200_000 < values["voltage_mv"] < 260_000  # network and supply quality
    assert 49_000 < values["frequency_mhz"] < 51_000
    assert 0 < values["power_factor_milli"] <= 1_000
    assert len(events_of(c, "over_voltage", 1)) == 1  # events
    row = c.get("/meters/1")
    assert (row["answering"], row["supply"]) == (True, "on")  # status
    with c.db.read() as conn:
        found = meter_row(conn, 1)
    assert found is not None
    assert (found.serial, found.clock_offset_ms) == (house.serial, -150_000)  # identity and clock: no measurement


# ---- 5.2.4 install, configure, maintain -----------------------------------------------------------------------


def change_policy(c: Chain, **values: Any) -> None:
    """Somebody decides otherwise about the account of meter 1."""
    with c.db.write() as conn:
        conn.execute(update(account).where(account.c.meter_no == 1).values(**values))


def versions(c: Chain) -> tuple[int, int]:
    """Newest configuration of the concentrator, and the one it says it holds."""
    newest = select(config_version.c.version).order_by(config_version.c.version.desc()).limit(1)
    with c.db.read() as conn:
        return conn.execute(newest).scalar_one(), conn.execute(select(dcu.c.config_held)).scalar_one()


@pytest.mark.covers("ETSI-5.2.4-configure-1", "ETSI-5.2.4-configure-4", "ETSI-5.2.12-basic-1")
def test_settings_and_prices_travel_as_versions_and_the_version_held_is_reported(c: Chain) -> None:
    """Pre: a policy and a price are changed. Post: each change was sent as the next version, is in force at the edge, and the
    edge reports the version that is wanted."""
    before = versions(c)[0]
    change_policy(c, low_balance_nano=33 * NANO)
    c.carry()
    assert versions(c)[0] == before + 1  # configure-1: versioned
    assert stored_plan(c.street.core.prepay.outbox.connection).accounts[1].low_balance_nano == 33 * NANO
    from_ms = c.now_ms + 24 * 60 * MINUTE_MS
    with c.db.write() as conn:
        tariffs.add_tariff(conn, "home", from_ms, DEMO_TARIFF.replace("7.00", "8.00"), c.now_ms, "test")
    c.carry()
    assert versions(c)[0] == before + 2  # 5.2.12 step 1: the new price is a version of its tariff, pushed by the next one
    held = stored_plan(c.street.core.prepay.outbox.connection).tariffs["home"]
    assert [(v.from_ms, v.version) for v in held] == [(0, 1), (from_ms, 2)]
    assert c.street.core.config_version == before + 2
    assert versions(c) == (before + 2, before + 2)  # configure-4: reported = wanted, without waiting for the next session


@pytest.mark.covers("ETSI-5.2.4-configure-2", "ETSI-5.2.4-alt-1")
def test_settings_are_validated_at_the_edge(c: Chain) -> None:
    """Pre: settings arrive that are damaged, signed by a stranger, meant for another or older than those in force. Post: those in
    force stand."""
    held, street = c.street.core.config_version, c.street
    topic = BY_NAME["config"].topic(DCU)
    newer = m.DcuConfig(held + 5, DCU, c.now_ms)

    def refused(payload: bytes) -> int:
        before = street.core.refused_messages
        street.handle(Arrived(topic, payload))
        assert street.core.config_version == held
        assert street.meters_bound() == {"10000001"}
        return street.core.refused_messages - before

    assert refused(sign1(SIGNER, "config", encode(newer)[:-4])) == 1  # schema: not a message
    assert refused(sign1(SIGNER, "config", encode(m.Gone(b"x")))) == 1  # schema: another message
    assert refused(sign1(STRANGER, "config", encode(newer))) == 1  # signature
    flipped = bytearray(sign1(SIGNER, "config", encode(newer)))
    flipped[-1] ^= 1
    assert refused(bytes(flipped)) == 1  # signature
    assert refused(sign1(SIGNER, "config", encode(replace(newer, dcu="dcu-2")))) == 1  # target
    refused(sign1(SIGNER, "config", encode(replace(newer, version=held))))  # age: no newer than ours
    refused(sign1(SIGNER, "config", encode(replace(newer, version=held - 1))))  # age: older
    street.handle(Arrived(topic, sign1(SIGNER, "config", encode(newer))))
    assert street.core.config_version == held + 5  # and a good one is taken


@pytest.mark.covers("ETSI-5.2.4-alt-2")
def test_settings_that_could_not_be_written_leave_the_old_ones_also_after_a_power_cut(tmp_path: Path) -> None:
    """Pre: writing new settings breaks off in the middle, then the power goes. Post: the old values are in force."""
    meters = (m.MeterConfig(1, "10000001", 1),)
    old = m.AccountConfig(1, 1, 1, "INR", "Asia/Kolkata", "home", 20 * NANO)
    config = m.DcuConfig(1, DCU, 1, meters, (old,), (m.TariffDocument("home", 1, 0, DEMO_TARIFF),))
    newer = replace(config, version=2, accounts=(replace(old, low_balance_nano=50 * NANO),))
    with little_street(tmp_path, signer=SIGNER) as street:
        street.connect()
        street.down("config", config)
        readings, money = street.core.journal.outbox.connection, street.core.prepay.outbox.connection
        readings.set_progress_handler(lambda: 1, 1)  # SQLite gives up within the statement
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            street.down("config", newer)
        readings.set_progress_handler(None, 1)
        assert street.core.config_version == 1
        assert stored_plan(money).accounts[1].low_balance_nano == 20 * NANO  # the old value is still there
    with little_street(tmp_path, signer=SIGNER) as again:  # the power came back
        assert again.core.config_version == 1
        assert stored_plan(again.core.prepay.outbox.connection).accounts[1].low_balance_nano == 20 * NANO
        again.connect()
        again.down("config", newer)
        assert stored_plan(again.core.prepay.outbox.connection).accounts[1].low_balance_nano == 50 * NANO  # sent again, it is taken


# ---- 5.2.11 interference and malfunctions ---------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.11-basic-2", "ETSI-5.2.11-basic-3")
def test_details_and_history_of_malfunctions_are_given_to_who_may_have_them(c: Chain) -> None:
    """Pre: a cover was opened today and a magnet came near an hour later. Post: the asset entity has both with time and text; an
    entity without the right, and a customer for the street, have nothing."""
    house = c.street.houses["dlms/1"]
    codes = EVENTS["cover_opened"].code, EVENTS["magnet_on"].code
    opened_ms = c.now_ms
    house.report_event(codes[0])
    c.wait(60 * MINUTE_MS)
    magnet_ms = c.now_ms
    house.report_event(codes[1])
    c.next_quarter()
    history = [e for e in c.items("/meters/1/events") if e["code"] in codes]  # step 2: the history, newest first
    assert [(e["code"], ms(e["at"])) for e in history] == [(codes[1], magnet_ms // 1000 * 1000), (codes[0], opened_ms // 1000 * 1000)]
    detail = c.items("/meters/1/events", **{"from": utc_text(opened_ms), "to": utc_text(opened_ms + 1000)})  # details of one
    assert [(e["code"], e["name"], e["urgent"]) for e in detail] == [(codes[0], "cover_opened", True)]
    with c.db.write() as conn:
        now_ms = SystemClock().now_ms()
        bills_only = create_token(conn, "bills", ("bills:read",), now_ms, "test")
        customers = create_token(conn, "app", ("events:read",), now_ms, "test", customer_no=c.homes[0].customer_no)
    answers = [c.send("GET", path, token=token) for path, token in (("/meters/1/events", bills_only), ("/events", customers))]
    assert [(a.status_code, a.get_json()["type"].rsplit("/", 1)[1]) for a in answers] == [  # step 3: validated by scope
        (403, "scope-missing"), (403, "not-for-customers"),
    ]  # fmt: skip


# ---- 5.2.12 tariff settings -----------------------------------------------------------------------------------


@pytest.mark.covers_part("ETSI-5.2.12-basic-3", "ETSI-5.2.12-basic-4")
def test_a_new_price_is_in_force_from_its_instant_on_and_shown(c: Chain) -> None:
    """Pre: a price of 9.00 from the middle of the next interval on. Post: energy before it cost 7.00, after it 9.00; the page says so."""
    start_ms = c.now_ms + 10 * MINUTE_MS
    with c.db.write() as conn:
        tariffs.add_tariff(conn, "home", start_ms, DEMO_TARIFF.replace("7.00", "9.00"), c.now_ms, "test")
    c.carry()
    money = c.street.core.prepay.outbox.connection

    def page() -> str:
        view = view_account(money, 1, c.now_ms)
        assert view is not None
        return balance_page(Words("en", "INR", zone_of("Asia/Kolkata")), view).replace("\xa0", " ")

    assert "7.35" in page()  # with 5 % tax
    c.next_quarter(2)
    assert "7.35" not in page()
    assert "9.45" in page()
    bodies = money.execute("SELECT body FROM journal WHERE kind = ? ORDER BY seq", (int(Kind.ENERGY),)).fetchall()
    charged = [entry_from(body) for (body,) in bodies]
    assert {e.tariff_version for e in charged} == {1, 2}
    last_old = [e for e in charged if e.tariff_version == 1][-1]
    first_new = next(e for e in charged if e.tariff_version == 2)
    assert last_old.seq < first_new.seq


# ---- 5.2.13 enable and disable --------------------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.13-basic-2", "ETSI-5.2.13-alt2")
def test_who_may_not_or_what_is_not_safe_is_refused_with_a_reason_and_a_time(c: Chain) -> None:
    """Pre: a stranger, then the utility, order the supply of a protected customer off. Post: it stays on; both are on record."""
    house = c.street.houses["dlms/1"]
    safety, priority, life_ms = COMMAND_RULES[m.CommandType.SWITCH_OPEN]
    forged = m.Command(1, os.urandom(16), DCU, 1, m.CommandType.SWITCH_OPEN, safety, priority, 9, c.now_ms, c.now_ms,
                       c.now_ms + life_ms, bytes(16), switch_counter=9)  # fmt: skip
    c.street.handle(Arrived(BY_NAME["command"].topic(DCU), sign1(STRANGER, "command", encode(forged))))
    c.carry()
    assert house.switch() is SwitchState.CLOSED  # authority
    assert [ms(e["at"]) for e in events_of(c, "command_refused")] == [c.now_ms]  # notice with type and stamp

    change_policy(c, holds="medical")
    c.carry()
    c.wait(MINUTE_MS)
    answer = c.order(1, "cut", type="switch_open", reason="debt")
    assert (answer["state"], answer["reason"]) == ("refused", Reason.PROTECTED)  # safety rule: protected customer
    assert ms(answer["state_at"]) == c.now_ms
    assert house.switch() is SwitchState.CLOSED
    with c.db.read() as conn:
        told = commands.notices(conn, SENDER)
    assert [(n.state, n.reason, n.at_ms) for n in told] == [(CommandState.REFUSED, Reason.PROTECTED, c.now_ms)]
    assert "protected" in told[0].text


@pytest.mark.covers("ETSI-5.2.13-alt5")
def test_an_order_nobody_confirmed_expires_and_its_sender_is_told(c: Chain) -> None:
    """Pre: the order to disable a supply goes out while the concentrator is away. Post: its sender knows that it expired."""
    c.cut()
    made = c.order(1, "cut", type="switch_open", reason="debt")
    assert made["state"] == "queued"
    c.wait(COMMAND_RULES[m.CommandType.SWITCH_OPEN][2] + 2 * MINUTE_MS)
    assert c.get(f"/commands/{made['cmd_id']}")["state"] == "expired"
    with c.db.read() as conn:
        told = commands.notices(conn, SENDER)
    assert [(n.cmd_id.hex(), n.state, n.reason, n.seen) for n in told] == [(made["cmd_id"], CommandState.EXPIRED, Reason.NO_RECEIPT, False)]
    assert "expired" in told[0].text
    c.connect()
    c.next_quarter()
    assert c.street.houses["dlms/1"].switch() is SwitchState.CLOSED


# ---- new requirements -----------------------------------------------------------------------------------------


@pytest.mark.covers("ETSI-NR8")
@pytest.mark.parametrize("kind", list(m.CommandType), ids=lambda k: k.name.lower())
def test_an_application_with_a_wrong_key_is_not_obeyed(c: Chain, kind: m.CommandType) -> None:
    """Pre: a command as the utility would write it, signed with another key. Post: nothing was done, the refusal is reported."""
    asked, shown = len(c.street.asked), len(c.street.published)
    safety, priority, life_ms = COMMAND_RULES[kind]
    command = m.Command(1, os.urandom(16), DCU, 1, kind, safety, priority, 5, c.now_ms, c.now_ms, c.now_ms + life_ms, bytes(16),
                        c.now_ms - QUARTER_MS, c.now_ms, 5, "hello")  # fmt: skip
    c.street.handle(Arrived(BY_NAME["command"].topic(DCU), sign1(STRANGER, "command", encode(command))))
    kinds = [e.kind for _, batch in c.street.published[shown:] if isinstance(batch, m.Batch) for e in batch.entries]
    assert kinds == [m.EntryKind.EVENT]  # no receipt, an event
    c.carry()
    assert len(events_of(c, "command_refused")) == 1
    assert c.street.houses["dlms/1"].switch() is SwitchState.CLOSED
    assert len(c.street.asked) == asked
    stored = c.street.core.prepay.outbox.connection.execute("SELECT count(*) FROM command").fetchone()
    assert stored == (0,)


@pytest.mark.covers("ETSI-NR19")
def test_a_switch_works_without_the_prepay_application_and_its_presence_is_known(tmp_path: Path) -> None:
    """Pre: two homes on credit, one with a switch, one without. Post: one was cut and restored from afar, the other refused."""
    with chain(tmp_path, dlms=1, modbus=1, postpaid=2) as c:
        c.next_quarter()
        assert [c.get(f"/accounts/{no}")["mode"] for no in (1, 2)] == ["postpaid", "postpaid"]
        assert [c.get(f"/meters/{no}")["supply"] for no in (1, 2)] == ["on", "not_fitted"]  # its presence is made known
        house = c.street.houses["dlms/1"]
        assert c.order(1, "off", type="switch_open", reason="moved out")["state"] == "done"
        assert house.switch() is SwitchState.OPEN
        at_cut_wh = house.snapshot().energy_import_wh
        c.next_quarter()
        assert (c.get("/meters/1")["supply"], house.snapshot().energy_import_wh) == ("off", at_cut_wh)
        assert c.order(1, "on", type="switch_close")["state"] == "done"
        assert house.switch() is SwitchState.CLOSED
        for kind in ("switch_open", "switch_close"):
            answer = c.order(2, kind, type=kind, reason="test")
            assert (answer["state"], answer["reason"]) == ("refused", Reason.UNSUPPORTED)
