"""Runs the rules over the days that were closed or changed, and keeps the findings.

* A close marks its channel-day as pending; a run replaces the findings of that day in one transaction, so that running
  twice changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, and_, delete, insert, select, update

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.close import PENDING
from gridtally_cloud.store.days import slots_of
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.intervals import channel_ref, day_slots, inbox_slots, series, slots_from
from gridtally_cloud.store.tables import channel, interval_block, meter, reading, usage_point, vee_finding, vee_run
from gridtally_cloud.vee.model import DayBlock, DayContext, Finding, RegisterSample, RuleSet
from gridtally_cloud.vee.rules import validate
from gridtally_shared.quantities import BY_NAME

RULE_SET = RuleSet()
VALIDATED, FAILED = "validated", "failed"

REGISTER_OF = {
    BY_NAME["interval_import_wh"].code: BY_NAME["energy_import_wh"].code,
    BY_NAME["interval_export_wh"].code: BY_NAME["energy_export_wh"].code,
    BY_NAME["interval_apparent_vah"].code: BY_NAME["apparent_import_vah"].code,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    day: int
    channel_no: int
    status: str
    findings: tuple[Finding, ...]


def run_pending(db: Database, now_ms: int, limit: int = 200) -> tuple[Outcome, ...]:
    """Validate what was closed since the last run."""
    r = vee_run.c
    with db.read() as conn:
        query = select(r.day, r.channel_no).where(r.shard == SHARD, r.status == PENDING).order_by(r.day).limit(limit)
        pending = [(row.day, row.channel_no) for row in conn.execute(query)]
    if not pending:
        return ()
    with db.write() as conn:
        return tuple(run_day(conn, day, channel_no, now_ms) for day, channel_no in pending)


def run_day(conn: Connection, day: int, channel_no: int, now_ms: int) -> Outcome:
    """Judge one channel-day and replace its findings."""
    block = day_block(conn, day, channel_no)
    findings = validate(block, context_of(conn, block))
    f = vee_finding.c
    conn.execute(delete(vee_finding).where(and_(f.shard == SHARD, f.day == day, f.channel_no == channel_no)))
    for finding in findings:
        row = {"shard": SHARD, "day": day, "channel_no": channel_no, "at_ms": now_ms} | asdict(finding)
        conn.execute(insert(vee_finding).values(row))
    status = FAILED if findings else VALIDATED
    values = {"rule_set": RULE_SET.name, "status": status, "findings": len(findings), "at_ms": now_ms}
    r = vee_run.c
    where = and_(r.shard == SHARD, r.day == day, r.channel_no == channel_no)
    conn.execute(update(vee_run).where(where).values(**values))
    return Outcome(day, channel_no, status, findings)


def day_block(conn: Connection, day: int, channel_no: int) -> DayBlock:
    """What the store holds of a channel-day, on its full grid."""
    ref, period_s = channel_ref(conn, channel_no)
    grid = slots_of(day, ref.zone, period_s)
    held = series(day_slots(conn, channel_no, day), grid.start_ms, period_s, grid.n)
    return DayBlock(channel_no, day, grid.start_ms, period_s, ref.unit, held.values, held.quality, held.present)


def context_of(conn: Connection, block: DayBlock) -> DayContext:
    """What else the rules need to know of that day."""
    c, u = channel.c, usage_point.c
    join = channel.join(usage_point, u.usage_point_no == c.usage_point_no)
    query = select(c.usage_point_no, c.quantity, u.limit_w).select_from(join)
    row = conn.execute(query.where(c.channel_no == block.channel_no)).one()
    step, samples = _registers(conn, row.usage_point_no, row.quantity, block)
    return DayContext(RULE_SET, row.limit_w, step, samples, _contradictions(conn, block))


def _registers(conn: Connection, usage_point_no: int, quantity: int, block: DayBlock) -> tuple[int, tuple[RegisterSample, ...]]:
    """Register step and samples of the one meter of the usage point; none where there were two."""
    meters = conn.execute(
        select(meter.c.meter_no, meter.c.register_step_wh).where(meter.c.usage_point_no == usage_point_no)
    ).all()
    if len(meters) != 1 or quantity not in REGISTER_OF:
        return 1, ()
    r = reading.c
    where = and_(r.shard == SHARD, r.meter_no == meters[0].meter_no, r.quantity == REGISTER_OF[quantity],
                 r.at_ms >= block.start_ms, r.at_ms <= block.end_ms, r.quality == 0)  # fmt: skip
    rows = conn.execute(select(r.at_ms, r.value).where(where).order_by(r.at_ms)).all()
    ends = rows if len(rows) < 2 else [rows[0], rows[-1]]
    return meters[0].register_step_wh, tuple(RegisterSample(row.at_ms, row.value) for row in ends)


def _contradictions(conn: Connection, block: DayBlock) -> tuple[tuple[int, int], ...]:
    """Values that came for intervals already held with another one: in the inbox, and in conflict versions."""
    b = interval_block.c
    where = and_(b.shard == SHARD, b.day == block.day, b.channel_no == block.channel_no, b.source == "conflict", ~b.approved)
    others, _ = inbox_slots(conn, block.channel_no, block.day, conflict=True)
    for row in conn.execute(select(interval_block).where(where).order_by(b.version)):
        others |= slots_from(row.start_utc_ms, row.period_s, bytes(row.blob), bytes(row.quality), row.n)
    period_ms = block.period_s * 1000
    pairs = ((at, slot.value, (at - block.start_ms) // period_ms) for at, slot in sorted(others.items()))
    here = ((at, value, i) for at, value, i in pairs if value is not None and 0 <= i < len(block.values))
    return tuple((at, value) for at, value, i in here if block.present[i] and block.values[i] != value)


def status_of(conn: Connection, day: int, channel_no: int) -> str:
    """'validated', 'failed', 'pending', or 'raw' for a day that was never closed."""
    r = vee_run.c
    where = and_(r.shard == SHARD, r.day == day, r.channel_no == channel_no)
    return conn.execute(select(r.status).where(where)).scalar_one_or_none() or "raw"


def findings_of(conn: Connection, channel_no: int, from_day: int, to_day: int) -> tuple[Finding, ...]:
    """Findings of a channel for the local days [from_day, to_day], in order of time."""
    f = vee_finding.c
    where = and_(f.shard == SHARD, f.day.between(from_day, to_day), f.channel_no == channel_no)
    rows = conn.execute(select(vee_finding).where(where).order_by(f.start_ms))
    return tuple(Finding(r.rule, r.rule_version, r.start_ms, r.end_ms, r.text, r.value, r.limit) for r in rows)
