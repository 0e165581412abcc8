"""What VEE leaves in a store, to be compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from gridtally_cloud.store.tables import interval_block, usage_day, usage_month, vee_finding, vee_run
from gridtally_cloud.vee.tables import vee_restated


def stored(conn: Connection) -> dict[str, Any]:
    """What VEE leaves, but for running numbers."""
    tables = (vee_run, usage_day, usage_month, interval_block, vee_restated, vee_finding)
    queries = {t.name: select(*(c for c in t.c if c.name not in ("finding_no", "restated_no"))) for t in tables}
    return {name: sorted((tuple(row) for row in conn.execute(query)), key=str) for name, query in queries.items()}


def waiting_days(conn: Connection) -> list[tuple[int, int]]:
    """(day, channel) of what waits for VEE."""
    query = select(vee_run.c.day, vee_run.c.channel_no).where(vee_run.c.status == "pending").order_by(vee_run.c.day, vee_run.c.channel_no)
    return [(row.day, row.channel_no) for row in conn.execute(query)]
