"""Where a concentrator left the supplies it ran, for the one that comes in its place: off for want of money, in a load trip,
or in a time that was booked.

It is told with the configuration until the new epoch has begun, as a standing of the engine (`prepay/standing.py`). Without it the new box
takes an open switch for one that nobody ordered, and never closes it: who was cut and pays would wait for somebody to come.
Off by a schedule is told as well, for the schedule goes along and ends there. A switch that a person opened is not told: nothing closes
that by itself.

Source: prepayment.md 5.8, T16, T23; `gridtally_shared.prepay.retold`.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.ledger.entries import entry_from
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.policy import Reclose
from gridtally_shared.prepay.regions import Entitlement, LoadLimit, Regions, Schedule
from gridtally_shared.prepay.retold import KINDS, OFF_BY_LIMIT, Retold, retold, standing_cut, standing_limited, standing_with
from gridtally_shared.prepay.standing import Standing, standing_text

LOOKED_AT = 300
"""So many of the newest entries on switch and limit tell where it stands; hundreds of trips in an hour there are none."""


def left_standing(conn: Connection, state: LedgerState, meter_no: int) -> str:
    """`state`: the mirror of the epoch that is over. An epoch in which nothing was ordered stands where the one before it stood. '' where
    nothing has to be told."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == state.account_no, j.epoch <= state.epoch, j.verified.is_(True))
    told = j.kind.in_([int(kind) for kind in KINDS])
    newest = conn.execute(select(j.body).where(*mine, told).order_by(j.epoch.desc(), j.seq.desc()).limit(LOOKED_AT)).scalars()
    return standing_text(_left(retold(reversed([entry_from(bytes(body)) for body in newest]), meter_no, Reclose()), state))


def _left(told: Retold, state: LedgerState) -> Standing:
    """How long ago it was is for the box to judge, by its own stopwatch: the clean period begins anew there. What had run out before a cut
    does not."""
    if told.limit in OFF_BY_LIMIT and told.off_reason is not OffReason.LIMIT:
        told = replace(told, limit=LoadLimit.IDLE, tripped_ms=None)
    begun = Standing()
    if told.off_reason is OffReason.BALANCE:
        cut = Standing(Regions(entitlement=Entitlement.CUT), owed_nano=max(0, -state.balance_nano))
        begun = standing_cut(cut, state.emergency_used_nano)
    elif told.off_reason is OffReason.SCHEDULE:
        begun = Standing(Regions(schedule=Schedule.RUNNING))
    elif told.off_reason is OffReason.LIMIT and told.limited_ms is not None:
        begun = standing_limited(begun, told.limited_ms, 0)  # which step that is, its policy tells the box
    return standing_with(begun, told, told.limit_ms, Reclose())
