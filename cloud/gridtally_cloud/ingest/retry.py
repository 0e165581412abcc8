"""Entries that were set aside, tried again after their cause was mended: `gridtally-mdm set-aside --retry`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from sqlalchemy import Connection, and_, select

from gridtally_cloud.context import Context
from gridtally_cloud.ingest import poison
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.service import dispatch
from gridtally_cloud.store.tables import poison as poison_table
from gridtally_shared.contract.messages import Entry
from gridtally_shared.errors import ContractError


def print_set_aside(context: Context, options: argparse.Namespace) -> int:
    """Exit code 1 while something waits."""
    if options.retry:
        with context.db.write() as conn:
            print(f"{retry(conn, context.now_ms(), 'system:retry')} taken in after all")
    with context.db.read() as conn:
        rows = poison.waiting(conn)
    for row in rows:
        if options.json:
            print(json.dumps(asdict(row)))
        else:
            print(f"{row.poison_no:6} {row.dcu:20} {row.channel:8} {row.payload_bytes:7} bytes  x{row.times}  {row.reason}")
    return 1 if rows else 0


def retry(conn: Connection, now_ms: int, by: str) -> int:
    """Try every waiting entry once more. How many were taken in."""
    p = poison_table.c
    rows = conn.execute(select(poison_table).where(and_(p.resolved_ms.is_(None), p.channel == "entry")).order_by(p.poison_no))
    return sum(_again(conn, row, now_ms, by) for row in rows.all())


def _again(conn: Connection, row: object, now_ms: int, by: str) -> bool:
    r = row._mapping  # type: ignore[attr-defined]
    arrival = Arrival(conn, StreamKey(r["dcu"], bytes(r["stream_id"]), r["lane"]), r["seq"], now_ms)
    try:
        with conn.begin_nested():
            poison.resolve(conn, r["poison_no"], by, now_ms)
            dispatch(arrival, Entry(r["seq"], r["kind"], bytes(r["payload"])))
            if poison.came_back(conn, r["poison_no"], r["times"]):
                raise ContractError("still does not fit")
    except ContractError:
        return False
    return True
