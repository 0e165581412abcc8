"""Sends what waits in `outbox_down`, and sends it again until the edge has shown that it has it.

* A row is leased, published, and marked with its next time; a process that dies in between leaves a lease that ends.
* Resend times are clock time (virtual in a simulation), but never closer than one real second: switch commands 45 s
  (C3-NFR10); other commands and instruments 45 s once, so that one loss still leaves them within the minute they are given, then
  commands 60 s and instruments two minutes growing to 16; configurations 60 s growing to an hour. A hello of the edge sends all of
  it at once.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_cloud.store import outbox
from gridtally_cloud.store.db import Database
from gridtally_shared.contract import channels
from gridtally_shared.lifecycle import RESEND_AFTER_MS

LEASE_REAL_MS = 10_000
MINUTE_MS = 60_000
SWITCH_PRIORITY = 10
"""Switch commands have this priority or a lower number (lifecycle.COMMAND_RULES)."""

GROWTH_LIMIT = 6
GROWTH: dict[str, int] = {"config": GROWTH_LIMIT, "instrument": 4}
"""How often the pause doubles, by channel."""

Publish = Callable[[str, bytes], bool]


class Publisher:
    """`owner` names the process in its leases. `publish` gives False while the broker is away."""

    def __init__(self, db: Database, owner: str, publish: Publish) -> None:
        self._db, self._owner, self._publish = db, owner, publish

    def send_due(self, now_ms: int, factor: float) -> int:
        """Publish all that is due. How many messages the broker took."""
        with self._db.read() as conn:
            if not outbox.any_due(conn, now_ms):
                return 0
        with self._db.write() as conn:
            rows = outbox.claim(conn, self._owner, now_ms, max(LEASE_REAL_MS, int(LEASE_REAL_MS * factor)))
        taken = [row for row in rows if self._publish(channels.BY_NAME[row.channel].topic(row.dcu), row.payload)]
        numbers = {row.outbox_no for row in taken}
        with self._db.write() as conn:
            for row in rows:
                if row.outbox_no in numbers:
                    next_ms = now_ms + max(resend_after_ms(row), int(1000 * factor))
                    outbox.sent(conn, self._owner, row.outbox_no, now_ms, next_ms)
                else:
                    outbox.release(conn, self._owner, row.outbox_no)
        return len(taken)


def resend_after_ms(row: outbox.Due) -> int:
    """How long to wait for a sign of life before the same message goes again."""
    is_switch = row.channel == "command" and row.priority <= SWITCH_PRIORITY
    if is_switch or (row.channel != "config" and row.attempts == 0):
        return RESEND_AFTER_MS
    return MINUTE_MS << min(row.attempts, GROWTH.get(row.channel, 0))
