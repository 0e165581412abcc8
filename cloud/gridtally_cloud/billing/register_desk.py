"""What a person says of a register that went back: where it ends, or what was used while it was set back.

* Its end is kept with the meter: every roll-over of it, before and after, is counted by bills and validation without asking again.
* Set back: the two reads stay as they are; what was used between them is said by a person, with a reason, and may be said anew. Bills
  that stand are not touched by it: they are made again by `gridtally-mdm rebill`.

Source: mdm.md B.2 row 14; issue 5 line 4.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select, update

from gridtally_cloud.billing.counted import falls, known_of
from gridtally_cloud.billing.held import Held
from gridtally_cloud.billing.tables import register_set_back
from gridtally_cloud.billing.turns import How, Read, rolled
from gridtally_cloud.customers.audit import record
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import meter, reading
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.quantities import ENERGY_IMPORT
from gridtally_shared.records import dataclass

LEAST_END_WH, MOST_END_WH = 10**6, 1 << 53
EVER = 1 << 62
MOST_USED_WH = 10**9


@dataclass(frozen=True, slots=True)
class Fall:
    """Two reads next to each other of which the later shows less. `how` it is explained, '' where a person has to say. `used_wh`: what is
    counted over it."""

    before: Read
    now: Read
    how: str = ""
    used_wh: int = 0
    end_wh: int = 0


def ends(conn: Connection, serial: str, end_wh: int, at_ms: int, person: str) -> None:
    """The first number its register can not show, 0 for not known. Raises RefusedCommand (unknown_meter, register_shows_more),
    ConfigError."""
    row = _meter(conn, serial)
    if end_wh and not LEAST_END_WH <= end_wh <= MOST_END_WH:
        raise ConfigError("end", end_wh / 1000, f"write the first number it can not show in kWh, {LEAST_END_WH // 1000} or more, or 0")
    r = reading.c
    mine = (r.shard == SHARD, r.meter_no == row.meter_no, r.quantity == ENERGY_IMPORT.code, r.value >= end_wh)
    seen = conn.execute(select(r.value).where(*mine).order_by(r.value.desc()).limit(1)).scalar_one_or_none() if end_wh else None
    if seen is not None:
        raise RefusedCommand("register_shows_more", f"meter {serial} was read at {seen} Wh: its register does not end at {end_wh} Wh")
    conn.execute(update(meter).where(meter.c.meter_no == row.meter_no).values(register_end_wh=end_wh))
    record(conn, at_ms, person, "meter.register_ends", f"meter:{row.meter_no}", f"{end_wh} Wh, was {row.register_end_wh}")


def falls_of(conn: Connection, serial: str) -> tuple[Fall, ...]:
    """Every place where the register went back, oldest first. Raises RefusedCommand (unknown_meter)."""
    row, held = _meter(conn, serial), Held(conn)
    s = register_set_back.c
    settled = {x.at_ms: x.used_wh for x in conn.execute(select(s.at_ms, s.used_wh).where(s.meter_no == row.meter_no))}
    return tuple(_told(held, row, before, now, settled) for before, now in falls(conn, row.meter_no, -EVER, EVER))


def _told(held: Held, row: Row[Any], before: Read, now: Read, settled: dict[int, int]) -> Fall:
    if now.at_ms in settled:
        return Fall(before, now, How.DESK.value, settled[now.at_ms])
    turn = rolled(before, now, known_of(held, row.meter_no, row.usage_point_no or 0, before, now))
    return Fall(before, now, turn.how, turn.used_wh, turn.end_wh) if turn else Fall(before, now)


def settle(conn: Connection, serial: str, at_ms: int, used_wh: int, reason: str, now_ms: int, person: str) -> Fall:
    """It was set back at the fall of that second: so much was used between the two reads. Raises RefusedCommand (unknown_meter,
    register_did_not_fall), ConfigError."""
    row = _meter(conn, serial)
    found = next((f for f in falls_of(conn, serial) if f.now.at_ms // 1000 == at_ms // 1000), None)
    if found is None:
        raise RefusedCommand("register_did_not_fall", f"the register of meter {serial} did not go back then: see where it did by "
                             f"gridtally-mdm register show {serial}")  # fmt: skip
    if not 0 <= used_wh <= MOST_USED_WH or not reason.strip():
        raise ConfigError("used", used_wh / 1000, "write the kWh used between the two reads, 0 or more, and a reason")
    upsert(conn, register_set_back, {
        "meter_no": row.meter_no, "at_ms": found.now.at_ms, "before_ms": found.before.at_ms, "before_wh": found.before.value,
        "after_wh": found.now.value, "used_wh": used_wh, "reason": reason.strip(), "settled_by": person, "settled_ms": now_ms,
    })  # fmt: skip
    text = f"{found.before.value} to {found.now.value} Wh, {used_wh} Wh used; {reason.strip()}"
    record(conn, now_ms, person, "meter.register_settled", f"meter:{row.meter_no}", text)
    return Fall(found.before, found.now, How.DESK.value, used_wh)


def _meter(conn: Connection, serial: str) -> Row[Any]:
    row = conn.execute(select(meter).where(meter.c.serial == serial)).one_or_none()
    if row is None:
        raise RefusedCommand("unknown_meter", f"there is no meter {serial!r}: its serial stands on it and on the bill")
    return row
