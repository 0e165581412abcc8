"""The share of its homes a concentrator may cut within an hour: read and set by staff, with a line of audit.

* It travels with the next configuration. A change counts as a change of rules: the breaker that waits for a person lets go, and for a
  day after it the share stands above time (safety.md 13).
* Each concentrator may cut one home an hour at least, whatever the share.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.store.tables import dcu
from gridtally_shared.errors import RefusedCommand

MOST_PERMILLE = 1_000


class ShareReason(StrEnum):
    UNKNOWN_DCU = "unknown_dcu"
    BAD_SHARE = "bad_share"


def shares(conn: Connection) -> dict[str, int]:
    """Thousandths of the homes, by concentrator."""
    rows = conn.execute(select(dcu.c.dcu, dcu.c.cut_share_per_hour_permille).order_by(dcu.c.dcu))
    return {name: int(permille) for name, permille in rows}


def set_share(conn: Connection, name: str, permille: int, at_ms: int, actor: str) -> int:
    """Set a share; the one before. Raises RefusedCommand (unknown_dcu, bad_share)."""
    if not 0 < permille <= MOST_PERMILLE:
        raise RefusedCommand(ShareReason.BAD_SHARE, f"{permille} thousandths: write 1 to {MOST_PERMILLE}; 100 is a tenth of the homes")
    before = shares(conn).get(name)
    if before is None:
        raise RefusedCommand(ShareReason.UNKNOWN_DCU, f"there is no concentrator {name!r}: see 'gridtally-mdm cut-share'")
    conn.execute(update(dcu).where(dcu.c.dcu == name).values(cut_share_per_hour_permille=permille))
    record(conn, at_ms, actor, "dcu.cut_share", f"dcu:{name}", f"{before} to {permille} thousandths an hour")
    return before
