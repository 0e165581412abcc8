"""Asks for missing data by itself, where the setting `readings.ask_missing` is on.

* Concentrators fill their gaps themselves. What is still missing a day after its day has ended they have given up, or never knew.
* The last days are looked through, each range asked for again after some hours, three times in all (requests.py). What comes wins over
  every estimate.

Source: mdm.md B.3 row 1; issue 5, line 7.
"""

from __future__ import annotations

from gridtally_cloud.inquiry.received import report
from gridtally_cloud.inquiry.requests import Asked, ask_gaps
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.signing import Signer

DAYS = 3
UNSETTLED_MS = 36 * MS_PER_HOUR
"""A day, and half a day for zones behind UTC."""
AGAIN_MS = 6 * MS_PER_HOUR
BY = "system:missing-data"


def ask_missing(db: Database, signer: Signer, now_ms: int) -> Asked:
    """Ask for what is missing of the days that ended a day ago or more, wherever the meter is."""
    last = (now_ms - UNSETTLED_MS) // MS_PER_DAY - 1
    with db.read() as conn:
        lines = tuple(line for line in report(conn, last - DAYS + 1, last, now_ms) if line.counted.gaps)
    if not lines:
        return Asked()
    with db.write() as conn:
        return ask_gaps(conn, signer, lines, BY, now_ms, AGAIN_MS)
