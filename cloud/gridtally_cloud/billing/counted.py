"""The register of a meter as bills count it: on from the reading before, over every turn between the two.

* A reading that shows no less than the one before says itself what moved, and nothing else is asked. Only where it shows less are the
  reads between looked at, for each place where the register went back (`turns.py`).
* What a person settled counts wherever it lies in the time (`register_desk.py`).
* An estimate between two reads goes over a turn between them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from gridtally_cloud.billing.checks import BillReason
from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.model import Reading, Turn
from gridtally_cloud.billing.tables import register_set_back
from gridtally_cloud.billing.turns import Between, How, Known, Read, rolled
from gridtally_cloud.billing.usage import UNUSABLE, around, register_at
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.closing import WIDTHS_WH, most_wh
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import meter, reading, usage_point
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import ENERGY_IMPORT, INTERVAL_IMPORT

_r, _s = reading.c, register_set_back.c
_BETWEEN: Select[Any] = select(_r.at_ms, _r.value, _r.quality).where(
    _r.shard == SHARD, _r.meter_no == bindparam("meter"), _r.quantity == ENERGY_IMPORT.code, _r.quality.op("&")(int(UNUSABLE)) == 0,
    _r.at_ms > bindparam("from_ms"), _r.at_ms < bindparam("to_ms")).order_by(_r.at_ms)  # fmt: skip
_SEEN: Select[Any] = select(func.max(_r.value)).where(_r.shard == SHARD, _r.meter_no == bindparam("meter"),
                                                      _r.quantity == ENERGY_IMPORT.code,
                                                      _r.quality.op("&")(int(UNUSABLE)) == 0)  # fmt: skip
_SET_BACK: Select[Any] = select(register_set_back).where(
    _s.meter_no == bindparam("meter"), _s.at_ms > bindparam("from_ms"), _s.at_ms <= bindparam("to_ms")).order_by(_s.at_ms)  # fmt: skip
_METER: Select[Any] = (select(meter.c.interval_s, meter.c.register_end_wh, usage_point.c.limit_w)
                       .outerjoin(usage_point, usage_point.c.usage_point_no == meter.c.usage_point_no)
                       .where(meter.c.meter_no == bindparam("meter")))  # fmt: skip


def meter_of(conn: Connection, meter_no: int) -> Row[Any]:
    """interval_s, register_end_wh and limit_w of a meter."""
    return conn.execute(_METER, {"meter": meter_no}).one()


def counted_on(held: Held, account: Account, first: Reading, last: Reading) -> tuple[Reading, tuple[Turn, ...]]:
    """`last` counted on from `first`, with the turns between them. Raises RefusedCommand (register_went_back)."""
    span = {"meter": account.meter_no, "from_ms": first.at_ms, "to_ms": last.at_ms}
    settled = {row.at_ms: row for row in held.conn.execute(_SET_BACK, span)}
    turns: tuple[Turn, ...] = ()
    if settled or last.shown_wh < first.shown_wh:
        turns = tuple(_turns(held, account, first, last, settled))
    moved_wh = last.shown_wh - first.shown_wh + sum(turn.ahead_wh for turn in turns)
    register_wh = first.register_wh + moved_wh
    return replace(last, register_wh=register_wh, ahead_wh=register_wh - last.shown_wh), turns


def register_near(held: Held, account: Account, at_ms: int, slack_ms: int) -> Reading | None:
    """As `usage.register_at`, over a turn too: what the meter showed then, or would have. Raises RefusedCommand (register_went_back)."""
    found = register_at(held.conn, account.meter_no, at_ms, slack_ms)
    if found is None or not found.estimated:
        return found
    before, after = around(held.conn, account.meter_no, at_ms)
    if before is None or after is None or after.value >= before.value:
        return found
    turn = _explained(held, account, _read(before), _read(after), _settled(held.conn, account.meter_no, after.at_ms))
    counted_wh = before.value + turn.used_wh * (at_ms - before.at_ms) // (after.at_ms - before.at_ms)
    over = turn.end_wh and counted_wh >= turn.end_wh
    return Reading(at_ms, counted_wh, estimated=True, ahead_wh=turn.end_wh if over else 0)


def shown_by(conn: Connection, meter_no: int, found: Reading) -> Reading:
    """A reading of the journal, which counts on behind an end of the register: with what the meter showed then."""
    before, _ = around(conn, meter_no, found.at_ms)
    if before is None or before.at_ms != found.at_ms or before.value >= found.register_wh:
        return found
    ahead_wh, known_wh = found.register_wh - before.value, meter_of(conn, meter_no).register_end_wh
    ends = (known_wh,) if known_wh else WIDTHS_WH
    return replace(found, ahead_wh=ahead_wh) if any(ahead_wh % end == 0 for end in ends) else found


def falls(conn: Connection, meter_no: int, from_ms: int, to_ms: int) -> tuple[tuple[Read, Read], ...]:
    """Reads next to each other of which the later one shows less, oldest first."""
    rows = conn.execute(_BETWEEN, {"meter": meter_no, "from_ms": from_ms, "to_ms": to_ms})
    return tuple((before, now) for before, now in pairwise(map(_read, rows)) if now.value < before.value)


def _turns(held: Held, account: Account, first: Reading, last: Reading, settled: dict[int, Row[Any]]) -> Iterator[Turn]:
    span = {"meter": account.meter_no, "from_ms": first.at_ms, "to_ms": last.at_ms}
    between = [_read(row) for row in held.conn.execute(_BETWEEN, span)]
    for before, now in pairwise((Read(first.at_ms, first.shown_wh), *between, _ended(held, account, last))):
        if now.value < before.value or now.at_ms in settled:
            yield _explained(held, account, before, now, settled.get(now.at_ms))


def _ended(held: Held, account: Account, last: Reading) -> Read:
    """The last read with its mark; of an estimated one behind a turn with what that is."""
    before, after = around(held.conn, account.meter_no, last.at_ms)
    if before is not None and before.at_ms == last.at_ms:
        return replace(_read(before), value=last.shown_wh)
    if not last.ahead_wh or before is None or after is None:
        return Read(last.at_ms, last.shown_wh)
    turn = _explained(held, account, _read(before), _read(after), _settled(held.conn, account.meter_no, after.at_ms))
    return Read(last.at_ms, last.shown_wh, turn=turn)


def _explained(held: Held, account: Account, before: Read, now: Read, settled: Row[Any] | None) -> Turn:
    if settled is not None:
        return Turn(now.at_ms, How.DESK.value, settled.before_wh, settled.after_wh, settled.used_wh, 0, settled.before_ms)
    found = rolled(before, now, known_of(held, account.meter_no, account.usage_point_no, before, now))
    if found is None:
        raise RefusedCommand(BillReason.REGISTER_WENT_BACK, held_because(account.meter_serial, before, now))
    return found


def held_because(serial: str, before: Read, now: Read) -> str:
    """What stands against a bill, and what to do."""
    return (f"the register of meter {serial} went back from {before.value} to {now.value} Wh, and nothing tells whether it rolled over: "
            f"look at the meter. Where it shows up to, say, 999999.9 kWh: gridtally-mdm register ends {serial} 1000000. Where it was set "
            f"back: gridtally-mdm register settle {serial}. Then issue the bill again")  # fmt: skip


def known_of(held: Held, meter_no: int, usage_point_no: int, before: Read, now: Read) -> Known:
    found = meter_of(held.conn, meter_no)
    seen_wh = held.conn.execute(_SEEN, {"meter": meter_no}).scalar_one() or 0
    most = most_wh(found.limit_w or 0, now.at_ms - before.at_ms)
    ends = tuple(end for end in WIDTHS_WH if end > seen_wh)
    return Known(found.register_end_wh, ends, most, _between(held, usage_point_no, before.at_ms, now.at_ms, found.limit_w or 0))


def _between(held: Held, usage_point_no: int, from_ms: int, to_ms: int, limit_w: int) -> Between | None:
    """The intervals that two reads lie in and those between; None where any is not there, or more than a day of them is estimated."""
    number = held.channel(usage_point_no, INTERVAL_IMPORT)
    if number is None:
        return None
    step = held.series(number, from_ms, to_ms).period_s * 1000
    begin_ms, end_ms = from_ms // step * step, -(-to_ms // step) * step
    series = held.series(number, begin_ms, end_ms)
    estimated_ms = sum(step for word in series.quality if word & Quality.ESTIMATED)
    if series.start_ms != begin_ms or len(series) * step != end_ms - begin_ms or not all(series.present) or estimated_ms > MS_PER_DAY:
        return None
    measured = [value for value, word in zip(series.values, series.quality, strict=True) if not word & Quality.ESTIMATED]
    cut = (*([series.values[0]] if begin_ms < from_ms else []), *([series.values[-1]] if end_ms > to_ms else []))
    return Between(sum(measured), sum(map(abs, cut)), most_wh(limit_w, estimated_ms) if estimated_ms else 0)


def _settled(conn: Connection, meter_no: int, at_ms: int) -> Row[Any] | None:
    return conn.execute(_SET_BACK, {"meter": meter_no, "from_ms": at_ms - 1, "to_ms": at_ms}).one_or_none()


def _read(row: Any) -> Read:
    return Read(row.at_ms, row.value, bool(row.quality & Quality.ROLLOVER))
