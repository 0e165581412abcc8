"""Meters of one lot: where one of them was found wrong, the others are looked at for the same.

* The rules are those that have something against the meter in the span, or one that is named. They are asked again of every judged day
  of the others, also where a rule set has them switched off. Nothing is written: what is found is for a person.
* Compared are channels of the same quantity.

Source: I2-S6.11.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, and_, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import channel, meter, vee_finding, vee_run
from gridtally_cloud.vee.checks import BY_RULE
from gridtally_cloud.vee.held import around
from gridtally_cloud.vee.model import Finding
from gridtally_cloud.vee.run import judged
from gridtally_cloud.vee.sibling_tables import meter_lot
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A finding at another meter of the lot."""

    serial: str
    day: int
    channel_no: int
    finding: Finding


@dataclass(frozen=True, slots=True)
class Looked:
    """`others`: meters of the lot that were looked at; `days`: channel-days of theirs that were judged."""

    lot: str
    rules: tuple[str, ...]
    others: int
    days: int
    suspects: tuple[Suspect, ...]


def put(conn: Connection, lot: str, serials: Sequence[str], by: str, now_ms: int) -> int:
    """These meters are of a lot. How many. Raises RefusedCommand (no_lot, unknown_meter)."""
    if not lot.strip():
        raise RefusedCommand("no_lot", "name the lot, as the delivery note does")
    numbers = {serial: _number(conn, serial) for serial in serials}
    for serial, number in numbers.items():
        upsert(conn, meter_lot, {"meter_no": number, "lot": lot.strip()})
        record(conn, now_ms, by, "meter.lot", f"meter:{serial}", lot.strip())
    return len(numbers)


def check(conn: Connection, serial: str, days: tuple[int, int], rule: str = "", progress: Progress = lambda _done, _all: None) -> Looked:
    """What the rules that doubt a meter on the local days [first, last] say of the others of its lot. Raises RefusedCommand
    (unknown_meter, no_lot, unknown_rule, nothing_found)."""
    number = _number(conn, serial)
    lot = conn.execute(select(meter_lot.c.lot).where(meter_lot.c.meter_no == number)).scalar_one_or_none()
    if lot is None:
        raise RefusedCommand("no_lot", f"the lot of meter {serial} is not known: gridtally-mdm vee siblings lot NAME {serial} ... tells it")
    rules = _rules(conn, serial, number, days, rule)
    others = _judged_days(conn, lot, number, days)
    found: list[Suspect] = []
    for done, (other, day, channel_no) in enumerate(others, 1):
        found += [Suspect(other, day, channel_no, finding) for finding in _found(conn, day, channel_no, frozenset(rules))]
        progress(done, len(others))
    return Looked(lot, rules, len({other for other, *_ in others}), len(others), tuple(found))


def _number(conn: Connection, serial: str) -> int:
    number = conn.execute(select(meter.c.meter_no).where(meter.c.serial == serial)).scalar_one_or_none()
    if number is None:
        raise RefusedCommand("unknown_meter", f"there is no meter {serial!r}")
    return int(number)


def _rules(conn: Connection, serial: str, number: int, days: tuple[int, int], rule: str) -> tuple[str, ...]:
    """The one that is named, or those that found something at the meter."""
    if rule:
        if rule not in BY_RULE:
            raise RefusedCommand("unknown_rule", f"there is no rule {rule!r}: gridtally-mdm vee checks lists them")
        return (rule,)
    f, c, m = vee_finding.c, channel.c, meter.c
    join = vee_finding.join(channel, c.channel_no == f.channel_no).join(meter, m.usage_point_no == c.usage_point_no)
    where = and_(f.shard == SHARD, f.day.between(*days), m.meter_no == number)
    found = tuple(conn.execute(select(f.rule).select_from(join).where(where).distinct().order_by(f.rule)).scalars())
    if not found:
        raise RefusedCommand("nothing_found", f"no rule has anything against meter {serial} in that time: name one with --rule")
    return found


def _judged_days(conn: Connection, lot: str, number: int, days: tuple[int, int]) -> list[tuple[str, int, int]]:
    """(serial, day, channel) of the other meters of a lot, for the quantities of this one."""
    r, c, m, its, this = vee_run.c, channel.c, meter.c, channel.alias(), meter.alias()
    quantities = select(its.c.quantity).join(this, this.c.usage_point_no == its.c.usage_point_no).where(this.c.meter_no == number)
    join = (meter.join(meter_lot, meter_lot.c.meter_no == m.meter_no).join(channel, c.usage_point_no == m.usage_point_no)
            .join(vee_run, and_(r.shard == SHARD, r.channel_no == c.channel_no)))  # fmt: skip
    where = and_(meter_lot.c.lot == lot, m.meter_no != number, r.day.between(*days), r.status != "pending", c.quantity.in_(quantities))
    rows = conn.execute(select(m.serial, r.day, r.channel_no).select_from(join).where(where).order_by(m.serial, r.day, r.channel_no))
    return [(row.serial, row.day, row.channel_no) for row in rows]


def _found(conn: Connection, day: int, channel_no: int, rules: frozenset[str]) -> list[Finding]:
    near = around(conn, day, channel_no)
    asked = replace(near.known.rules, off=near.known.rules.off - rules)
    findings, _, _ = judged(conn, replace(near, known=replace(near.known, rules=asked)), day)
    return [finding for finding in findings if finding.rule in rules]
