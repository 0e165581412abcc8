"""Which managed accounts are to be run now: one question for all of them, however many there are.

* At once: where money was signed, a reading or a word of the meter or of somebody on site came, the record or its concentrator changed, a
  pause is over, or an order is under way.
* Every one once a minute: days begin, protections end, shares of an hour come free.
* Only *when* an account is run is told here. What is decided is decided by all that is known at that moment.

Source: safety.md 17.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay.handover_tables import CLOUD, account_swap
from gridtally_cloud.prepay.managed_tables import managed_supply
from gridtally_cloud.prepay.site_tables import site_entry
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import dcu, meter, meter_status, reading_latest
from gridtally_shared.quantities import ENERGY_IMPORT
from gridtally_shared.records import dataclass

REST_MS = 60_000

_a, _s, _m, _d, _r, _w, _i = account.c, managed_supply.c, meter.c, dcu.c, reading_latest.c, meter_status.c, instrument.c
_e = site_entry.c
_signed = (select(func.max(_i.gseq)).where(_i.shard == SHARD, _i.account_no == _a.account_no, _i.epoch == _a.account_epoch)
           .correlate(account).scalar_subquery())  # fmt: skip
_waits = (_e.shard == SHARD, _e.meter_no == _a.meter_no, _e.written_ms.is_(None), _e.over_ms.is_(None))
_on_site = select(func.max(_e.received_ms)).where(*_waits).correlate(account).scalar_subquery()
_INPUTS = (
    select(account, _signed.label("gseq"), _on_site.label("on_site_ms"), _d.online, _d.clock_state, _d.last_hello_ms,
           _r.at_ms.label("read_ms"), _w.at_ms.label("told_ms"), _w.received_ms, _w.answering, _s.epoch.label("run_epoch"), _s.order_id,
           _s.stuck_until_ms)
    .select_from(
        account.join(account_swap, account_swap.c.account_no == _a.account_no)
        .join(meter, _m.meter_no == _a.meter_no)
        .outerjoin(dcu, _d.dcu == _m.dcu)
        .outerjoin(reading_latest, and_(_r.shard == SHARD, _r.meter_no == _a.meter_no, _r.quantity == ENERGY_IMPORT.code))
        .outerjoin(meter_status, and_(_w.shard == SHARD, _w.meter_no == _a.meter_no))
        .outerjoin(managed_supply, _s.account_no == _a.account_no)
    )
    .where(account_swap.c.kind == CLOUD).order_by(_a.account_no)
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    run_ms: int
    inputs: tuple[Any, ...]


@dataclass(slots=True)
class Rounds:
    """What was known of each account when it was run last. It lives as long as its process: a new one runs all."""

    seen: dict[int, _Seen] = field(default_factory=dict)

    def due(self, conn: Connection, now_ms: int) -> tuple[int, ...]:
        """The accounts to be run now, which count as run."""
        found = {row.account_no: row for row in conn.execute(_INPUTS)}
        wanted = tuple(no for no, row in found.items() if self._is_due(no, row, now_ms))
        self.seen = {no: self.seen[no] for no in found if no in self.seen}
        self.seen |= {no: _Seen(now_ms, tuple(found[no])) for no in wanted}
        return wanted

    def _is_due(self, no: int, row: Row[Any], now_ms: int) -> bool:
        seen = self.seen.get(no)
        if seen is None or tuple(row) != seen.inputs or not 0 <= now_ms - seen.run_ms < REST_MS:
            return True
        return row.order_id is not None or seen.run_ms < (row.stuck_until_ms or 0) <= now_ms
