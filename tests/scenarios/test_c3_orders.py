"""Seed 002 (prepayment), the requirements behind the scenarios: orders at their time and in their turn, their receipts, both logs.

Like the scenarios they run on both ends with one clock wound by hand (support/town.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gridtally_cloud.commands import service as commands
from gridtally_cloud.commands import states
from gridtally_cloud.commands.receipts import take_receipt
from gridtally_cloud.commands.service import limit_detail
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.prepay.instruments import OUTBOX_PRIORITY
from gridtally_cloud.store.tables import command_log, event, journal_entry, outbox_down, reading
from gridtally_shared.cbor import dumps, loads
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import parse_topic
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.errors import ContractError
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.lifecycle import COMMAND_RULES, RESEND_AFTER_MS, CommandState
from gridtally_shared.meter_settings import LoadLimit, SettingKind
from gridtally_shared.signing import verify1
from support.chain import SIGNER
from support.little_street import DCU, MINUTE_MS, QUARTER_MS, START_MS
from support.payday import DAY_MS, HOUR_MS
from support.receipt_watch import WATCH
from support.town import Town, town
from support.two_homes import two_homes

S = CommandState
KEYS = {SIGNER.key_id: SIGNER.public}
CONNECTED, DISCONNECTED = EVENTS["supply_connected"].code, EVENTS["supply_disconnected"].code


@pytest.fixture
def acacia(tmp_path: Path) -> Iterator[Town]:
    with two_homes(tmp_path) as made:
        yield made


def switched(t: Town, place: int, code: int) -> list[int]:
    """When the meter's own log says that its contactor moved."""
    return [e.at_ms for e in t.house(place).events() if e.code == code]


@pytest.mark.covers("C3-FR15")
def test_a_receipt_without_message_meter_or_time_is_no_receipt(acacia: Town) -> None:
    """Every receipt that any test of the suite makes is looked at (support/receipt_watch.py); an incomplete one fails its test."""
    looked_at = WATCH.seen
    whole = m.CommandReceipt(b"c" * 16, 1, S.DONE, acacia.now_ms)
    assert decode(m.CommandReceipt, encode(whole)) == whole
    keys = loads(encode(whole))
    for missing in (0, 1, 3):  # message id, meter id, completed date and time
        with pytest.raises(ContractError):
            decode(m.CommandReceipt, dumps({k: v for k, v in keys.items() if k != missing}))

    # every receipt of a run with orders of all kinds names its message, its meter and a time within the run
    began_ms = acacia.now_ms
    ids = {acacia.command(kind, place, **more): place for kind, place, more in all_orders(acacia)}
    acacia.carry()
    acacia.next_quarter()
    receipts = acacia.said_up(m.EntryKind.COMMAND_RECEIPT)
    assert {r.cmd_id for r in receipts} == set(ids)
    assert all(r.meter_no == acacia.meter_no(ids[r.cmd_id]) for r in receipts)
    assert all(began_ms <= r.at_ms <= acacia.now_ms for r in receipts)
    assert WATCH.seen == looked_at + len(receipts)
    acacia.pay("100")
    assert WATCH.seen == looked_at + len(receipts) + 1  # the instrument's, in the journal
    assert [e.meter_no for e in acacia.journal() if e.gseq] == [acacia.meter_no()] * 2  # the opening credit is the other one
    assert WATCH.faults == []
    with acacia.db.read() as conn:
        assert all(s.at_ms for cmd_id in ids for s in states.steps(conn, cmd_id))

    # an incomplete one is noticed where it is made and refused where it arrives
    for no_receipt in (m.CommandReceipt(b"", 1, S.DONE, acacia.now_ms), m.CommandReceipt(b"c" * 16, 0, S.DONE, acacia.now_ms),
                       m.CommandReceipt(b"c" * 16, 1, S.DONE, 0), m.CommandReceipt(b"c" * 16, 1, 99, acacia.now_ms)):  # fmt: skip
        acacia.street.core.prepay.outbox.append(m.EntryKind.COMMAND_RECEIPT, no_receipt, m.Lane.URGENT, acacia.now_ms)
        assert len(WATCH.taken()) == 1  # taken back here: it would fail this test
        with acacia.db.write() as conn, pytest.raises(ContractError, match="incomplete receipt"):
            take_receipt(Arrival(conn, StreamKey(DCU, b"s" * 16, m.Lane.URGENT), 1, acacia.now_ms), no_receipt)


def all_orders(t: Town) -> list[tuple[m.CommandType, int, dict[str, Any]]]:
    """One of every kind for each home; the first one's switch is to open, the second one's to close."""
    span = {"from_ms": t.now_ms - 8 * QUARTER_MS, "to_ms": t.now_ms - QUARTER_MS}
    T = m.CommandType
    every: dict[m.CommandType, dict[str, Any]] = {
        T.MESSAGE: {"text": "Good morning."}, T.READ_INTERVALS: span, T.READ_EVENTS: span, T.READ_INSTANT: {}, T.READ_SWITCH: {},
    }  # fmt: skip
    switches = [(T.SWITCH_OPEN, 0, {"cause": "work"}), (T.SWITCH_CLOSE, 1, {})]
    return [*((kind, place, more) for kind, more in every.items() for place in (0, 1)), *switches]


@pytest.mark.covers("C3-FR25", "C3-FR26")
def test_head_end_and_meter_side_log_every_transaction(acacia: Town) -> None:
    """The message list of the run is what crossed the line between them, in its bytes; both logs are held against it."""
    acacia.pay("100")
    ids = [acacia.command(kind, place, **more) for kind, place, more in all_orders(acacia)]
    acacia.carry()
    acacia.next_quarter()
    acacia.house().report_event(EVENTS["cover_opened"].code)
    with acacia.offline():
        acacia.street.next_quarter(4)
        acacia.pay("120", place=1)
    acacia.next_quarter(2)
    down = [(parse_topic(topic)[0].name, payload) for topic, payload in acacia.sent_down]
    orders = [decode(m.Command, verify1(KEYS, "command", x)) for name, x in down if name == "command"]
    credits = [decode(m.Instrument, verify1(KEYS, "instrument", x)) for name, x in down if name == "instrument"]
    assert {o.cmd_id for o in orders} == set(ids)
    assert {(c.account_no, c.gseq) for c in credits} == {(acacia.account_no(0), 1), (acacia.account_no(0), 2),
                                                        (acacia.account_no(1), 1), (acacia.account_no(1), 2)}  # fmt: skip

    # the head end: what went down, with the time it went ...
    o = outbox_down.c
    with acacia.db.read() as conn:
        sent = {(r.channel, bytes(r.payload)): r.last_sent_ms for r in conn.execute(select(o.channel, o.payload, o.last_sent_ms))}
    assert {name for name, _ in down} == {"command", "instrument", "config"}
    assert all(sent[message] for message in down)

    # ... and what came up: receipts, events, journal, readings
    with acacia.db.read() as conn:
        c, e, j, r = command_log.c, event.c, journal_entry.c, reading.c
        steps = {(bytes(x.cmd_id), x.state, x.at_ms) for x in conn.execute(select(c.cmd_id, c.state, c.at_ms))}
        events = {(x.meter_no, x.code, x.at_ms, x.detail) for x in conn.execute(select(e.meter_no, e.code, e.at_ms, e.detail))}
        entries = {bytes(x) for x in conn.execute(select(j.body)).scalars()}
        values = {tuple(x) for x in conn.execute(select(r.meter_no, r.quantity, r.at_ms, r.value, r.quality))}
    kinds = m.EntryKind
    assert {(x.cmd_id, x.state, x.at_ms) for x in acacia.said_up(kinds.COMMAND_RECEIPT)} <= steps
    assert {(x.meter_no, x.code, x.at_ms, x.detail) for x in acacia.said_up(kinds.EVENT)} == events
    assert {body for x in acacia.said_up(kinds.JOURNAL) for body in x.entries} == entries
    came = {(v.meter_no, v.quantity, v.at_ms, v.value, v.quality) for x in acacia.said_up(kinds.READINGS) for v in x.values}
    assert came == values

    # the meter side: what came down ...
    rows = acacia.money.execute("SELECT cmd_id, body FROM command").fetchall()
    assert {(bytes(a), bytes(b)) for a, b in rows} == {(o.cmd_id, encode(o)) for o in orders}
    rows = acacia.money.execute("SELECT account_no, gseq, body FROM instrument").fetchall()
    assert {(a, b, bytes(x)) for a, b, x in rows} == {(c.account_no, c.gseq, encode(c)) for c in credits}
    configs = [decode(m.DcuConfig, verify1(KEYS, "config", x)) for name, x in down if name == "config"]
    rows = acacia.money.execute("SELECT version, body FROM config WHERE accepted_ms > 0").fetchall()
    assert {version: bytes(body) for version, body in rows} == {c.version: encode(c) for c in configs}

    assert {d for d, _ in down} == {"command", "instrument", "config"}  # and nothing else went down
    for log in ("command", "instrument"):  # each with the time it came
        moments = [row[0] for row in acacia.money.execute(f"SELECT at_ms FROM {log}")]
        assert all(START_MS <= at_ms <= acacia.now_ms for at_ms in moments)

    # ... and what went up, entry by entry, with its time
    logged = [
        (kind, bytes(body)) for store in (acacia.money, acacia.readings)
        for kind, body, at_ms in store.execute("SELECT kind, body, created_ms FROM outbox_entry") if at_ms
    ]  # fmt: skip
    assert sorted(logged) == sorted((x.kind, x.body) for x in acacia.entries_up())


@pytest.mark.covers("C3-NFR3")
@pytest.mark.covers_part("C3-FR14")
def test_orders_are_carried_out_at_once_or_at_their_appointed_time(acacia: Town) -> None:
    # at once
    at_once = acacia.command(m.CommandType.SWITCH_OPEN, cause="work")
    acacia.carry()
    assert switched(acacia, 0, DISCONNECTED) == [acacia.now_ms]
    assert acacia.commanded(at_once).state is S.DONE

    # by schedule: open the other one in two hours, close both in four
    began_ms = acacia.now_ms
    later = {
        acacia.command(m.CommandType.SWITCH_OPEN, 1, cause="work", not_before_ms=began_ms + 2 * HOUR_MS): (1, DISCONNECTED, 2),
        acacia.command(m.CommandType.SWITCH_CLOSE, 0, not_before_ms=began_ms + 4 * HOUR_MS): (0, CONNECTED, 4),
        acacia.command(m.CommandType.SWITCH_CLOSE, 1, not_before_ms=began_ms + 4 * HOUR_MS): (1, CONNECTED, 4),
    }
    acacia.carry()
    assert {acacia.commanded(cmd_id).state for cmd_id in later} == {S.DELIVERED}
    while acacia.now_ms < began_ms + 4 * HOUR_MS + MINUTE_MS:
        acacia.wait(MINUTE_MS)
    for cmd_id, (place, code, hours) in later.items():
        done_ms = switched(acacia, place, code)[-1]
        assert 0 <= done_ms - began_ms - hours * HOUR_MS <= MINUTE_MS
        assert acacia.commanded(cmd_id).state is S.DONE


@pytest.mark.covers("C3-FR14")
def test_disconnect_connect_and_limit_for_later_run_at_their_time_or_a_new_one_or_not_at_all(tmp_path: Path) -> None:
    """Three runs at one meter: as scheduled, moved after delivery, cancelled after delivery. What was never sent stays in the MDM."""
    step_ms = 10 * MINUTE_MS
    with town(tmp_path, opening="150") as acacia:
        acacia.connect()
        acacia.next_quarter()

        def ordered(watts: int, begins_ms: int) -> list[bytes]:
            detail = {"detail": limit_detail(watts), "not_before_ms": begins_ms + 2 * step_ms}
            return [
                acacia.command(m.CommandType.SWITCH_OPEN, cause="work", not_before_ms=begins_ms),
                acacia.command(m.CommandType.SWITCH_CLOSE, not_before_ms=begins_ms + step_ms),
                acacia.command(m.CommandType.LIMIT, **detail),
            ]

        def done() -> tuple[list[int], int]:
            """When the meter's contactor moved, off and on in turn (a look comes a minute after each time), and the limit it keeps."""
            kept = acacia.house().setting(SettingKind.LOAD_LIMIT)
            assert isinstance(kept, LoadLimit)
            moved = sorted(switched(acacia, 0, DISCONNECTED) + switched(acacia, 0, CONNECTED))
            return [at_ms - MINUTE_MS for at_ms in moved], kept.threshold_w

        def pass_time(steps: int) -> None:
            for _ in range(steps):
                acacia.wait(step_ms)

        def all_are(state: S, ids: list[bytes]) -> bool:
            return {acacia.commanded(cmd_id).state for cmd_id in ids} == {state}

        # as scheduled
        begins_ms = acacia.now_ms + 2 * step_ms - MINUTE_MS
        ids = ordered(700, begins_ms)
        acacia.carry()
        assert all_are(S.DELIVERED, ids)
        pass_time(1)
        assert done() == ([], 0)
        pass_time(4)
        assert done() == ([begins_ms, begins_ms + step_ms], 700)
        assert all_are(S.DONE, ids)

        # moved, when it was already at the concentrator
        moved_ms = acacia.now_ms + 6 * step_ms - MINUTE_MS
        ids = ordered(900, acacia.now_ms + 2 * step_ms)
        acacia.carry()
        with acacia.db.write() as conn:
            late = [commands.reschedule(conn, SIGNER, x, moved_ms + n * step_ms, "staff:dora", acacia.now_ms) for n, x in enumerate(ids)]
        acacia.carry()
        assert all_are(S.CANCELLED, ids)
        pass_time(5)
        assert done() == ([begins_ms, begins_ms + step_ms], 700)
        pass_time(4)
        assert done() == ([begins_ms, begins_ms + step_ms, moved_ms, moved_ms + step_ms], 900)
        assert all_are(S.DONE, late)

        # cancelled, when it was already at the concentrator
        before = done()
        ids = ordered(500, acacia.now_ms + 2 * step_ms)
        acacia.carry()
        assert all_are(S.DELIVERED, ids)
        with acacia.db.write() as conn:
            for cmd_id in ids:
                commands.cancel(conn, SIGNER, cmd_id, "staff:dora", acacia.now_ms)
        acacia.carry()
        pass_time(6)
        assert done() == before
        assert all_are(S.CANCELLED, ids)

        # not sent yet: more than a day ahead
        ids = ordered(500, acacia.now_ms + 3 * DAY_MS)
        acacia.sent_down.clear()
        with acacia.db.write() as conn:
            same = [commands.reschedule(conn, SIGNER, cmd_id, acacia.now_ms + 4 * DAY_MS, "staff:dora", acacia.now_ms) for cmd_id in ids]
            for cmd_id in ids:
                commands.cancel(conn, SIGNER, cmd_id, "staff:dora", acacia.now_ms)
        acacia.carry()
        assert same == ids
        assert all_are(S.CANCELLED, ids)
        assert not [topic for topic, _ in acacia.sent_down if parse_topic(topic)[0].name == "command"]


@pytest.mark.covers("C3-NFR4")
def test_a_mixed_burst_leaves_in_the_order_of_the_table(acacia: Town) -> None:
    """Ordered in the worst order while the concentrator is away."""
    acacia.cut()
    for kind, place, more in sorted(all_orders(acacia), key=lambda o: -COMMAND_RULES[o[0]][1]):
        acacia.command(kind, place, **more)
    acacia.bank_answers(acacia.order_recharge("100"))
    acacia.sent_down.clear()
    acacia.connect()

    down = [(parse_topic(topic)[0].name, payload) for topic, payload in acacia.sent_down]
    sent = [decode(m.Command, verify1(KEYS, "command", x)) for name, x in down if name == "command"]
    priorities = [COMMAND_RULES[m.CommandType(c.type)][1] for c in sent]
    assert len(sent) == 12
    assert priorities == sorted(priorities)
    assert len(set(priorities)) >= 5
    assert [c.priority for c in sent] == priorities

    # money comes with the restores, before everything else
    place = [name for name, _ in down if name in ("command", "instrument")].index("instrument")
    assert priorities[:place] == [x for x in priorities if x <= OUTBOX_PRIORITY]


@pytest.mark.covers("C3-NFR10")
@pytest.mark.parametrize("kind", [m.CommandType.SWITCH_OPEN, m.CommandType.SWITCH_CLOSE])
def test_a_switch_order_whose_answer_is_lost_goes_again_at_45_seconds_and_acts_once(acacia: Town, kind: m.CommandType) -> None:
    assert RESEND_AFTER_MS == 45_000
    opens = kind is m.CommandType.SWITCH_OPEN
    if not opens:
        acacia.command(m.CommandType.SWITCH_OPEN, cause="work")
        acacia.carry()
        acacia.wait(5 * MINUTE_MS)
    moved = DISCONNECTED if opens else CONNECTED

    # the order arrives, every answer is lost
    acacia.lose = {"urgent"}
    cmd_id = acacia.command(kind, cause="work")
    acacia.carry()
    began_ms = acacia.now_ms

    def copies() -> int:
        found = [x for topic, x in acacia.sent_down if parse_topic(topic)[0].name == "command"]
        return sum(decode(m.Command, verify1(KEYS, "command", x)).cmd_id == cmd_id for x in found)

    assert switched(acacia, 0, moved) == [began_ms]
    assert copies() == 1
    for _ in range(44):
        acacia.wait(1_000)
    assert copies() == 1
    assert acacia.commanded(cmd_id).state is S.QUEUED

    # at 45 seconds it goes again; this time the answer comes
    acacia.lose = set()
    acacia.wait(1_000)
    assert copies() == 2
    assert acacia.commanded(cmd_id).state is S.DONE
    assert switched(acacia, 0, moved) == [began_ms]
    assert acacia.is_dark() is opens
    acacia.wait(10 * MINUTE_MS)
    assert copies() == 2
