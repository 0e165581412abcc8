"""Reads of many meters around their midnights: the few that VEE looks at, not the hundreds there are.

* Between two midnights only the first and the last read of a register count: the nearest to each midnight is among them, and so are the
  first and the last of any days (vee/held.py, `register_of`).
* Rates and maximum demand are read as they are; of the total only where there are rates, which it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import BindParameter, Connection, and_, bindparam, func, or_, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import reading
from gridtally_cloud.vee.beside import DEMAND, RATES, TOTAL
from gridtally_cloud.vee.held import REGISTER_OF
from gridtally_cloud.vee.model import RegisterSample

Of = tuple[int, int]
"""(meter, quantity)"""
Reads = dict[Of, list[RegisterSample]]
"""In order of time."""

_r = reading.c
_meters: BindParameter[Any] = bindparam("meters", expanding=True)
_quantities: BindParameter[Any] = bindparam("quantities", expanding=True)
_SPAN = and_(_r.shard == SHARD, _r.meter_no.in_(_meters), _r.quantity.in_(_quantities), _r.quality == 0,
             _r.at_ms.between(bindparam("from_ms"), bindparam("to_ms")))  # fmt: skip
_COLUMNS = (_r.meter_no, _r.quantity, _r.at_ms, _r.value)
_ENDS = (select(_r.meter_no, _r.quantity, func.min(_r.at_ms).label("first_ms"), func.max(_r.at_ms).label("last_ms"))
         .where(_SPAN).group_by(_r.meter_no, _r.quantity).subquery())  # fmt: skip
_AT_ENDS = select(*_COLUMNS).select_from(reading.join(_ENDS, and_(
    _r.shard == SHARD, _r.meter_no == _ENDS.c.meter_no, _r.quantity == _ENDS.c.quantity,
    or_(_r.at_ms == _ENDS.c.first_ms, _r.at_ms == _ENDS.c.last_ms))))  # fmt: skip
_ALL = select(*_COLUMNS).where(_SPAN)


def around_midnights(conn: Connection, meters: Sequence[int], midnights: Sequence[int]) -> Reads:
    """The registers that intervals are held against: the first and the last read between each two of these midnights."""
    found: dict[Of, dict[int, RegisterSample]] = {}
    asked = {"meters": list(meters), "quantities": sorted(set(REGISTER_OF.values()))}
    for from_ms, to_ms in pairwise((*midnights, midnights[-1] + 1)):
        for row in conn.execute(_AT_ENDS, asked | {"from_ms": from_ms, "to_ms": to_ms - 1}):
            found.setdefault((row.meter_no, row.quantity), {})[row.at_ms] = RegisterSample(row.at_ms, row.value)
    return {of: [samples[at] for at in sorted(samples)] for of, samples in found.items()}


def rates_and_demand(conn: Connection, meters: Sequence[int], from_ms: int, to_ms: int) -> Reads:
    """What the rules across registers are asked for."""
    span = {"from_ms": from_ms, "to_ms": to_ms}
    found = _by_register(conn.execute(_ALL, {"meters": list(meters), "quantities": sorted({DEMAND, *RATES})} | span))
    with_rates = sorted({meter for meter, quantity in found if quantity in RATES})
    if with_rates:
        found |= _by_register(conn.execute(_ALL, {"meters": with_rates, "quantities": [TOTAL]} | span))
    return found


def _by_register(rows: Iterable[Any]) -> Reads:
    found: Reads = {}
    for row in rows:
        found.setdefault((row.meter_no, row.quantity), []).append(RegisterSample(row.at_ms, row.value))
    return {of: sorted(samples, key=lambda s: s.at_ms) for of, samples in found.items()}
