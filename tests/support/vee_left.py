"""What VEE leaves in a store, to be compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, or_, select

from gridtally_cloud.store.tables import interval_block, usage_day, usage_month, vee_finding, vee_run
from gridtally_cloud.vee.tables import vee_restated


def stored(conn: Connection) -> dict[str, Any]:
    """What VEE leaves, but for running numbers."""
    tables = (vee_run, usage_day, usage_month, interval_block, vee_restated, vee_finding)
    queries = {t.name: select(*(c for c in t.c if c.name not in ("finding_no", "restated_no"))) for t in tables}
    return {name: sorted((tuple(row) for row in conn.execute(query)), key=str) for name, query in queries.items()}


def waiting_days(conn: Connection) -> list[tuple[int, int]]:
    """(day, channel) of what waits for VEE: each closed day of which it has said nothing, or not since its last version."""
    b, r = interval_block.c, vee_run.c
    join = interval_block.outerjoin(vee_run, and_(r.shard == b.shard, r.day == b.day, r.channel_no == b.channel_no))
    query = select(b.day, b.channel_no).select_from(join).where(b.version == 0, or_(r.day.is_(None), r.status == "pending"))
    return [(row.day, row.channel_no) for row in conn.execute(query.order_by(b.day, b.channel_no))]
