"""Rows of every table that a rule of retention is about, each with the answer whether it is to stay: the oracle of test_retention.py.

Times are given as distance from the cut: what lies before it is due, unless something refers to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Connection, Table, delete, insert, select

from gridtally_cloud.exchange.given_tables import data_given
from gridtally_cloud.exchange.recipient_tables import delivery, delivery_error, delivery_file, recipient, recipient_address
from gridtally_cloud.exchange.tables import exchange_file, exchange_run, missing_day
from gridtally_cloud.integrations.webhook_tables import webhook, webhook_notice
from gridtally_cloud.prepay.tables import late_credit
from gridtally_cloud.retention.due import INSTANTS, REGISTERS, SOURCES
from gridtally_cloud.store.tables import channel, command, outbox_down, poison, reading, usage_point
from gridtally_cloud.store.work import work_item, work_run
from gridtally_cloud.vee.tables import vee_edit, vee_restated
from gridtally_shared.lifecycle import CommandState

DAY_MS = 86_400_000
CUT_MS = 1_700_000_000_000
OFFSETS = (-40 * DAY_MS, -DAY_MS, -1, 0, 1, DAY_MS, 40 * DAY_MS)
offsets = st.sampled_from(OFFSETS)
maybe = st.none() | offsets
flags = st.booleans()
Draw = Callable[[Any], Any]
Stay = set[tuple[Any, ...]]


def at(offset: int | None) -> int | None:
    return None if offset is None else CUT_MS + offset


def old(offset: int | None) -> bool:
    return offset is not None and offset < 0


def since(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The second time of a row is none, or not before its first."""
    return [(n, off, None if after is None else max(off, after), *more) for n, off, after, *more in rows]


def rows_of(draw: Draw, *more: Any, most: int = 9) -> list[tuple[Any, ...]]:
    """(number, offset, ...), later ones with later times, as rows come."""
    drawn = draw(st.lists(st.tuples(offsets, *more), max_size=most))
    return [(n, *row) for n, row in enumerate(sorted(drawn, key=lambda row: row[0]), 1)]


def but_newest(rows: list[tuple[Any, ...]], goes: Callable[..., bool]) -> Stay:
    """The last number stays whatever it is."""
    return {(row[0],) for row in rows if row is rows[-1] or not goes(*row)}


def put(conn: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        conn.execute(insert(table), rows)


def parties(conn: Connection) -> None:
    """Those that rows refer to by foreign key."""
    told = {"name": "a", "url": "https://a.example", "topics": "x", "secret": "s", "created_by": "t", "created_ms": 0}
    put(conn, webhook, [told | {"ended_ms": None}, told | {"ended_ms": 1}])
    known = (("market", None), ("former", 1))
    put(conn, recipient, [{"name": name, "made_ms": 0, "made_by": "t", "ended_ms": ended} for name, ended in known])
    put(conn, recipient_address, [{"address_no": n, "recipient": "market", "target": f"/out/{n}", "secret": "s"} for n in (1, 2)])
    put(conn, usage_point, [{"usage_point_no": n, "created_ms": 0} for n in (1, 2, 3)])


def notices(conn: Connection, draw: Draw) -> Stay:
    """To the first receiver, or to the second, which was ended."""
    topics = st.sampled_from(("usage.closed", "measurement.restated", "measurement.doubted"))
    rows = rows_of(draw, st.sampled_from(("waiting", "taken", "dead")), topics, st.integers(1, 2))
    put(conn, webhook_notice, [
        {"notice_no": n, "webhook_no": to, "topic": topic, "ref": str(n), "body": "{}", "state": state, "next_ms": 0, "created_ms": at(off)}
        for n, off, state, topic, to in rows
    ])  # fmt: skip

    def goes(_n: int, off: int, state: str, topic: str, to: int) -> bool:
        untold = state == "dead" and topic != "usage.closed" and to == 1
        return old(off) and state != "waiting" and not untold

    return but_newest(rows, goes)


def files(conn: Connection, draw: Draw) -> Stay:
    sent = st.tuples(st.sampled_from(("waiting", "taken", "dead")), maybe, offsets)
    names, parties_ = st.sampled_from(("data_issue_7_doubted.json", "a.csv")), st.sampled_from(("market", "former"))
    rows = rows_of(draw, st.lists(sent, max_size=2), names, parties_)
    put(conn, delivery_file, [
        {"file_no": n, "recipient": to, "kind": "data", "name": name, "media": "m", "body": b"", "size": 1, "digest": "d",
         "made_ms": at(off)} for n, off, _, name, to in rows
    ])  # fmt: skip
    sendings = [
        {"file_no": n, "address_no": a, "state": state, "next_ms": 0, "made_ms": at(made), "taken_ms": at(taken)}
        for n, _, each, _, _ in rows for a, (state, taken, made) in enumerate(each, 1)
    ]  # fmt: skip
    put(conn, delivery, [{"delivery_no": n, **row} for n, row in enumerate(sendings, 1)])
    last = sendings[-1]["file_no"] if sendings else 0

    def goes(n: int, off: int, each: list[Any], name: str, to: str) -> bool:
        untold = name.startswith("data_issue_") and to == "market" and "dead" in [state for state, *_ in each]
        return n != last and old(off) and not untold and all(s != "waiting" and (t is None or old(t)) and old(m) for s, t, m in each)

    return but_newest(rows, goes)


def errors(conn: Connection, draw: Draw) -> Stay:
    rows = rows_of(draw)
    put(conn, delivery_error, [
        {"error_no": n, "recipient": "market", "type": "not_sent", "ref": str(n), "detail": "", "at_ms": at(off)} for n, off in rows
    ])  # fmt: skip
    return but_newest(rows, lambda _n, off: old(off))


def given(conn: Connection, draw: Draw) -> Stay:
    """Usage points 1 to 3 have channels 11 to 13; spans are days 0 to 5."""
    span = st.tuples(st.integers(0, 3), st.integers(1, 2))
    put(conn, channel, [
        {"channel_no": 10 + p, "usage_point_no": p, "quantity": 1, "direction": "import", "unit": "Wh", "exponent": 0, "period_s": 900}
        for p in (1, 2, 3)
    ])  # fmt: skip
    whole = st.tuples(st.integers(1, 3), st.sampled_from(("token:a", "folder:b")), st.integers(0, 4))
    rows = draw(st.dictionaries(whole, offsets, max_size=9))
    put(conn, data_given, [
        {"shard": 0, "usage_point_no": p, "taker": who, "from_ms": day, "to_ms": day + 2, "last_ms": at(off)}
        for (p, who, day), off in rows.items()
    ])  # fmt: skip
    tools, states = st.sampled_from(("untrust", "set")), st.sampled_from(("proposed", "applied", "refused", "leaving", "undone"))
    edits = draw(st.lists(st.tuples(st.integers(1, 3), span, tools, states), max_size=3))
    put(conn, vee_edit, [
        {"channel_no": 10 + p, "from_ms": first, "to_ms": first + n, "period_s": 900, "n": 1, "blob": b"", "quality": b"", "measured": b"",
         "tool": tool, "reason": "r", "old_total": 0, "new_total": 0, "state": state, "made_by": "t", "made_ms": 0}
        for p, (first, n), tool, state in edits
    ])  # fmt: skip
    changes = draw(st.lists(st.tuples(st.integers(1, 3), span, offsets), max_size=2))
    put(conn, vee_restated, [
        {"channel_no": 10 + p, "day": 0, "version": 1, "from_ms": first, "to_ms": first + n, "old_total": 0, "new_total": 0, "bills": "",
         "at_ms": at(off)} for p, (first, n), off in changes
    ])  # fmt: skip

    def held(point: int, day: int) -> bool:
        marks = [(p, s) for p, s, tool, state in edits if tool == "untrust" and state in ("proposed", "applied", "leaving")]
        marks += [(p, s) for p, s, off in changes if not old(off)]
        return any(p == point and first < day + 2 and first + n > day for p, (first, n) in marks)

    return {key for key, off in rows.items() if not old(off) or held(key[0], key[2])}


def taken(conn: Connection, draw: Draw) -> Stay:
    rows = since(rows_of(draw, maybe))
    put(conn, exchange_file, [
        {"file_no": n, "source": "", "name": "f", "digest": "d", "size": 1, "state": "taken", "tries": 1, "seen_ms": at(off),
         "moved_ms": at(moved)} for n, off, moved in rows
    ])  # fmt: skip
    return but_newest(rows, lambda _n, _off, moved: old(moved))


def exports(conn: Connection, draw: Draw) -> Stay:
    keys, states = st.tuples(st.sampled_from(("a", "b")), st.integers(0, 9)), st.sampled_from(("working", "done", "failed"))
    rows = draw(st.dictionaries(keys, st.tuples(offsets, states), max_size=9))
    put(conn, exchange_run, [{"name": name, "day": day, "state": state, "until_ms": 0, "at_ms": at(off)}
                             for (name, day), (off, state) in rows.items()])  # fmt: skip
    return {key for key, (off, state) in rows.items() if not old(off) or state == "working"}


def late(conn: Connection, draw: Draw) -> Stay:
    rows = draw(st.dictionaries(st.tuples(st.sampled_from(("a", "b")), st.integers(0, 3), st.integers(1, 3)), maybe, max_size=9))
    put(conn, missing_day, [{"schedule": name, "day": day, "usage_point_no": p, "noted_ms": 0, "sent_ms": at(off)}
                            for (name, day, p), off in rows.items()])  # fmt: skip
    return {key for key, off in rows.items() if not old(off)}


def messages(conn: Connection, draw: Draw) -> Stay:
    rows = since(rows_of(draw, maybe, st.sampled_from(("command", "instrument", "config")), flags))
    refs = {n: bytes([n, 0xAB]).hex() if channel_ == "command" else f"7/1/{n}" for n, _, _, channel_, _ in rows}
    put(conn, outbox_down, [
        {"outbox_no": n, "dcu": "d", "channel": channel_, "ref": refs[n], "payload": b"", "created_ms": at(off), "next_send_ms": 0,
         "done_ms": at(done)} for n, off, done, channel_, _ in rows
    ])  # fmt: skip
    numbers = ("meter_no", "type", "safety", "priority", "counter", "issued_at_ms", "not_before_ms", "expires_ms", "state_at_ms")
    zeroes = dict.fromkeys(numbers, 0)
    put(conn, command, [
        {**zeroes, "cmd_id": bytes([n, 0xAB]), "dcu": "d", "order_id": b"", "requested_by": "t",
         "state": int(CommandState.EXECUTING if is_open else CommandState.DONE)}
        for n, _, _, channel_, is_open in rows if channel_ == "command"
    ])  # fmt: skip
    put(conn, late_credit, [
        {"account_no": 7, "epoch": 1, "gseq": n, "level": "late", "raised_ms": 0, "cleared_ms": None if is_open else 1}
        for n, _, _, channel_, is_open in rows if channel_ == "instrument"
    ])  # fmt: skip
    return but_newest(rows, lambda _n, _off, done, channel_, is_open: old(done) and not (is_open and channel_ != "config"))


def worked(conn: Connection, draw: Draw) -> Stay:
    rows = rows_of(draw, st.none() | st.just(0), st.lists(st.sampled_from(("done", "refused", "failed")), max_size=7), most=5)
    put(conn, work_run, [
        {"run_no": n, "kind": "bill", "arguments": "{}", "total": len(items), "asked_by": "t", "asked_ms": at(off),
         "ended_ms": None if later is None else at(off)} for n, off, later, items in rows
    ])  # fmt: skip
    put(conn, work_item, [{"shard": 0, "kind": "bill", "run_no": n, "usage_point_no": p, "state": state}
                          for n, _, _, items in rows for p, state in enumerate(items)])  # fmt: skip
    put(conn, work_item, [{"shard": 0, "kind": "close", "run_no": 0, "usage_point_no": 1, "state": "open"}])
    return but_newest(rows, lambda _n, off, later, items: old(off) and later is not None and "failed" not in items)


def aside(conn: Connection, draw: Draw) -> Stay:
    rows = since(rows_of(draw, maybe))
    put(conn, poison, [
        {"poison_no": n, "dcu": "d", "channel": "live", "reason": "r", "payload": b"", "payload_bytes": 0, "digest": bytes([n]),
         "at_ms": at(off), "last_ms": at(off), "resolved_ms": at(resolved)} for n, off, resolved in rows
    ])  # fmt: skip
    return but_newest(rows, lambda _n, _off, resolved: old(resolved))


def measured(codes: frozenset[int]) -> Callable[[Connection, Draw], Stay]:
    def make(conn: Connection, draw: Draw) -> Stay:
        quantities = (min(INSTANTS), max(INSTANTS), min(REGISTERS))
        keys = draw(st.sets(st.tuples(st.integers(1, 3), st.sampled_from(quantities), offsets), max_size=20))
        put(conn, reading, [{"shard": 0, "meter_no": m, "quantity": q, "at_ms": at(off), "value": 1} for m, q, off in keys])
        return {(m, q, at(off)) for m, q, off in keys if not (q in codes and old(off))}

    return make


MADE: Mapping[str, Callable[[Connection, Draw], Stay]] = {
    "momentary_values": measured(INSTANTS), "register_readings": measured(REGISTERS), "webhook_notices": notices, "deliveries": files,
    "delivery_errors": errors, "data_given": given, "files_taken": taken, "export_runs": exports, "late_days": late, "way_down": messages,
    "runs": worked, "set_aside": aside,
}  # fmt: skip
TABLES = (delivery, delivery_file, delivery_error, webhook_notice, data_given, exchange_file, exchange_run, missing_day, outbox_down,
          work_item, work_run, poison, reading, command, late_credit, vee_edit, vee_restated, channel)  # fmt: skip


def forget(conn: Connection) -> None:
    for table in TABLES:
        conn.execute(delete(table))


def keys(conn: Connection, name: str) -> Stay:
    """What is there, by key; readings with their instant."""
    source = SOURCES[name]
    columns = (*source.key, reading.c.at_ms) if source.series else source.key
    return {tuple(row) for row in conn.execute(select(*columns))}
