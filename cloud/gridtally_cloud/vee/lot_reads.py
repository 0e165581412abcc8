"""Reads of many meters around their midnights: the few that VEE looks at, not the hundreds there are.

* Most registers are read at midnight, whatever else they are read at: two rows a day say all there is to say of it.
* Where there is none, the first and the last read between two midnights count: the nearest to each midnight is among them, and so are the
  first and the last of any days (vee/held.py, `register_of`). Each is looked up from its midnight, so what lies between costs nothing.
* Rates and maximum demand are read as they are, of meters that have such; of the total only where there are rates, which it is compared
  with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Connection, and_, bindparam, or_, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import meter, reading
from gridtally_cloud.vee.among import Among
from gridtally_cloud.vee.beside import DEMAND, RATES, TOTAL
from gridtally_cloud.vee.model import RegisterSample

Of = tuple[int, int]
"""(meter, quantity)"""
Reads = dict[Of, list[RegisterSample]]
"""In order of time."""
AtMidnight = dict[tuple[int, int, int], int]
"""Value by (meter, quantity, time)."""

_r, _m = reading.c, meter.c
_quantities: BindParameter[Any] = bindparam("quantities", expanding=True)
_span = _r.at_ms.between(bindparam("from_ms"), bindparam("to_ms"))
_OF_THESE = and_(_r.shard == SHARD, _r.quantity.in_(_quantities), _r.quality == 0)
_COLUMNS = select(_r.meter_no, _r.quantity, _r.at_ms, _r.value)
_ALL = Among(_COLUMNS.where(_OF_THESE, _span), _r.meter_no, thin=True)
_AT = Among(_COLUMNS.where(_OF_THESE, _r.at_ms.in_(bindparam("midnights", expanding=True))), _r.meter_no, thin=True)


def _end(what: ColumnElement[int], order: ColumnElement[int]) -> Any:
    """Of the first or last read of a meter in a span, which is found from its end."""
    one = and_(_r.shard == SHARD, _r.meter_no == _m.meter_no, _r.quantity == bindparam("quantity"), _r.quality == 0, _span)
    return select(what).where(one).order_by(order).limit(1).correlate(meter).scalar_subquery()


_ENDS = Among(select(_m.meter_no, *(_end(what, order) for order in (_r.at_ms.asc(), _r.at_ms.desc()) for what in (_r.at_ms, _r.value))),
              _m.meter_no)  # fmt: skip


def _has(of: Any) -> Any:
    return select(_r.at_ms).where(_r.shard == SHARD, _r.meter_no == _m.meter_no, of).correlate(meter).exists()


_WITH_MORE = Among(select(_m.meter_no).where(or_(_has(_r.quantity == DEMAND), _has(_r.quantity.between(min(RATES), max(RATES))))),
                   _m.meter_no)  # fmt: skip


def at_midnights(conn: Connection, meters: Sequence[int], quantities: Sequence[int], midnights: Sequence[int]) -> AtMidnight:
    """Registers read at these very moments."""
    rows = _AT.rows(conn, meters, quantities=list(quantities), midnights=list(midnights))
    return {(meter_no, quantity, at_ms): value for meter_no, quantity, at_ms, value in rows}


def around_midnights(conn: Connection, meters: Sequence[int], quantities: Iterable[int], midnights: Sequence[int]) -> Reads:
    """The registers that intervals are held against: the first and the last read between each two of these midnights."""
    found: dict[Of, dict[int, RegisterSample]] = {}
    for quantity in quantities:
        for from_ms, to_ms in pairwise((*midnights, midnights[-1] + 1)):
            rows = _ENDS.rows(conn, meters, quantity=quantity, from_ms=from_ms, to_ms=to_ms - 1)
            for meter_no, first_ms, first, last_ms, last in rows:
                if first_ms is not None:
                    ends = {first_ms: RegisterSample(first_ms, first), last_ms: RegisterSample(last_ms, last)}
                    found.setdefault((meter_no, quantity), {}).update(ends)
    return {of: [samples[at] for at in sorted(samples)] for of, samples in found.items()}


def rates_and_demand(conn: Connection, meters: Sequence[int], from_ms: int, to_ms: int) -> Reads:
    """What the rules across registers are asked for."""
    span = {"from_ms": from_ms, "to_ms": to_ms}
    some = sorted(row[0] for row in _WITH_MORE.rows(conn, meters))
    found = _by_register(_ALL.rows(conn, some, quantities=sorted({DEMAND, *RATES}), **span))
    with_rates = sorted({meter_no for meter_no, quantity in found if quantity in RATES})
    return found | _by_register(_ALL.rows(conn, with_rates, quantities=[TOTAL], **span))


def _by_register(rows: Iterable[Any]) -> Reads:
    found: Reads = {}
    for row in rows:
        found.setdefault((row.meter_no, row.quantity), []).append(RegisterSample(row.at_ms, row.value))
    return {of: sorted(samples, key=lambda s: s.at_ms) for of, samples in found.items()}
