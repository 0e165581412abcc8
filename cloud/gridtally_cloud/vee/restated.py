"""What stood for a billed period and stands no more: kept, and told to other systems as `measurement.restated` (mdm.md B.4).

* Compared is what stood when the day was judged last with what stands now. A day that was billed before it was ever judged is compared
  with the use the bill shows for it.
* One row and one notice a change of a day, over the intervals that changed; an interval that is no longer trusted, or is again, counts.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, and_, insert, select

from gridtally_cloud.billing.tables import bill
from gridtally_cloud.billing.usage import channel_of
from gridtally_cloud.customers.tables import account
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.blocks import version_of
from gridtally_cloud.store.days import DaySlots, date_of, utc_text
from gridtally_cloud.store.intervals import Slot, Slots, slots_of_block
from gridtally_cloud.store.tables import channel
from gridtally_cloud.vee.tables import vee_restated
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

MATTERS = int(Quality.UNTRUSTWORTHY)


@dataclass(frozen=True, slots=True)
class Restated:
    """`old_total` and `new_total` are of the changed span [from_ms, to_ms)."""

    channel_no: int
    day: int
    version: int
    from_ms: int
    to_ms: int
    old_total: int
    new_total: int
    bills: tuple[str, ...]
    at_ms: int

    @property
    def delta(self) -> int:
        return self.new_total - self.old_total


def bills_of(conn: Connection, channel_no: int, from_ms: int, to_ms: int) -> tuple[str, ...]:
    """Numbers of the issued bills and statements that cover some of a span of a channel."""
    return tuple(row.bill_no for row in _bills(conn, channel_no, from_ms, to_ms))


def _bills(conn: Connection, channel_no: int, from_ms: int, to_ms: int) -> list[Any]:
    join = bill.join(account, account.c.account_no == bill.c.account_no).join(
        channel, channel.c.usage_point_no == account.c.usage_point_no
    )
    where = and_(channel.c.channel_no == channel_no, bill.c.from_ms < to_ms, bill.c.to_ms > from_ms)
    query = select(bill.c.bill_no, bill.c.document, bill.c.from_ms, bill.c.to_ms).select_from(join).where(where)
    return [*conn.execute(query.order_by(bill.c.from_ms, bill.c.bill_no))]


def version_slots(conn: Connection, channel_no: int, day: int, version: int) -> Slots:
    """One version of a day, as it is stored."""
    return slots_of_block(version_of(conn, channel_no, day, version))


def changed(before: Slots, after: Slots) -> list[int]:
    """Starts of intervals whose value or trust is another."""
    none = Slot(None, 0)
    pairs = ((at, before.get(at, none), after.get(at, none)) for at in sorted(before.keys() | after.keys()))
    return [at for at, old, new in pairs if old.value != new.value or (old.quality ^ new.quality) & MATTERS]


def restate(conn: Connection, channel_no: int, grid: DaySlots, version: int, stood: Slots | None, now: Slots, at_ms: int) -> bool:
    """Keep and tell that what stood is another now, where it was billed. Whether anything is another."""
    if stood is None:
        _restate_unseen(conn, channel_no, grid, version, now, at_ms)
        return False
    places = changed(stood, now)
    if places:
        from_ms, to_ms = places[0], places[-1] + grid.period_s * 1000
        old, new = (sum(s.value or 0 for at, s in slots.items() if from_ms <= at < to_ms) for slots in (stood, now))
        bills = bills_of(conn, channel_no, from_ms, to_ms)
        if bills:
            _keep(conn, Restated(channel_no, grid.day, version, from_ms, to_ms, old, new, bills, at_ms))
    return bool(places)


def _restate_unseen(conn: Connection, channel_no: int, grid: DaySlots, version: int, now: Slots, at_ms: int) -> None:
    """A day that is judged for the first time, though bills may show it."""
    total, day = sum(s.value or 0 for s in now.values()), date_of(grid.day).isoformat()
    bills = [row for row in _bills(conn, channel_no, grid.start_ms, grid.end_ms) if _is_within(grid, row)]
    if not bills or not _is_billed_channel(conn, channel_no):
        return
    shown = {row.bill_no: _shown(row.document, day) for row in bills}
    other = {no: wh for no, wh in shown.items() if wh != total}
    if other:
        _keep(conn, Restated(channel_no, grid.day, version, grid.start_ms, grid.end_ms, max(other.values()), total, tuple(other), at_ms))


def _is_within(grid: DaySlots, row: Any) -> bool:
    """The bill shows the whole day."""
    return bool(row.from_ms <= grid.start_ms and grid.end_ms <= row.to_ms)


def _is_billed_channel(conn: Connection, channel_no: int) -> bool:
    query = select(channel.c.usage_point_no).where(channel.c.channel_no == channel_no)
    return channel_of(conn, conn.execute(query).scalar_one()) == channel_no


def _shown(document: str, day: str) -> int:
    return next((use["used_wh"] or 0 for use in json.loads(document)["days"] if use["day"] == day), 0)


def _keep(conn: Connection, r: Restated) -> None:
    conn.execute(insert(vee_restated).values(
        shard=SHARD, channel_no=r.channel_no, day=r.day, version=r.version, from_ms=r.from_ms, to_ms=r.to_ms, old_total=r.old_total,
        new_total=r.new_total, bills=" ".join(r.bills), at_ms=r.at_ms))  # fmt: skip
    c = channel.c
    row = conn.execute(select(c.quantity, c.usage_point_no, c.unit).where(c.channel_no == r.channel_no)).one()
    meters = conn.execute(select(account.c.meter_no).where(account.c.usage_point_no == row.usage_point_no)).scalars().all()
    announce(conn, Topic.MEASUREMENT_RESTATED, f"{r.channel_no}/{r.day}/{r.version}", r.at_ms,
             f"/meters/{meters[0] if meters else 0}/intervals", {
        "usage_point_no": row.usage_point_no, "quantity": row.quantity, "unit": row.unit, "day": date_of(r.day).isoformat(),
        "from": utc_text(r.from_ms), "to": utc_text(r.to_ms), "old_total": r.old_total, "new_total": r.new_total, "delta": r.delta,
        "version": r.version, "bills": " ".join(r.bills),
    })  # fmt: skip


def restatements(conn: Connection, channel_no: int | None = None, after_ms: int = 0) -> tuple[Restated, ...]:
    """What was restated after a time, oldest first: billing asks for it."""
    r = vee_restated.c
    where = and_(r.shard == SHARD, r.at_ms > after_ms)
    query = select(vee_restated).where(where if channel_no is None else and_(where, r.channel_no == channel_no)).order_by(r.restated_no)
    return tuple(Restated(row.channel_no, row.day, row.version, row.from_ms, row.to_ms, row.old_total, row.new_total,
                          tuple(row.bills.split()), row.at_ms) for row in conn.execute(query))  # fmt: skip
