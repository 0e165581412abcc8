"""The first page of the staff: is the fleet speaking, is data complete, is anything stuck, does the money add up."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, Table, and_, case, func, select

from gridtally_cloud.customers.tables import account
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import (
    command,
    dcu,
    ledger_problem,
    meter,
    meter_seen,
    meter_status,
    outbox_down,
    poison,
    stream_head,
    usage_day,
)
from gridtally_shared.lifecycle import TERMINAL
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many meters there are, answer, are silent, and how many have an open switch."""

    meters: int
    answering: int
    silent: int
    off: int
    prepaid: int
    postpaid: int

    @property
    def never(self) -> int:
        return self.meters - self.answering - self.silent

    @property
    def answering_permille(self) -> int:
        return self.answering * 1000 // self.meters if self.meters else 0


@dataclass(frozen=True, slots=True)
class Queues:
    """Work that waits: messages on their way down, open commands, what could not be read, broken ledger equations."""

    outbox: int
    outbox_oldest_ms: int | None
    commands_open: int
    poison: int
    ledger_problems: int
    proposals: int


@dataclass(frozen=True, slots=True)
class DcuRow:
    dcu: str
    serial: str
    label: str
    site: str
    state: str
    online: bool
    agent_version: str
    clock_state: int | None
    config_held: int
    last_hello_ms: int | None
    last_contact_ms: int | None
    meters: int
    answering: int
    waiting: int
    gaps: int


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A meter a DCU found that nobody has adopted yet."""

    dcu: str
    serial: str
    line: str
    driver: str
    address: str
    last_seen_ms: int
    state: str


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """A broken step of an account's journal. The mirror stopped there."""

    problem_no: int
    account_no: int
    epoch: int
    seq: int
    code: str
    text: str
    dcu: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class PoisonRow:
    """A message that could not be read; it is kept whole and never blocks what comes after it."""

    poison_no: int
    dcu: str
    channel: str
    reason: str
    payload_bytes: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Completeness:
    """Intervals of one local day over all channels."""

    day: int
    present: int
    expected: int

    @property
    def permille(self) -> int:
        return min(1000, self.present * 1000 // self.expected) if self.expected else 0


def _count(conn: Connection, table: Table, *where: Any) -> int:
    return int(conn.execute(select(func.count()).select_from(table).where(*where)).scalar_one())


def _counts(conn: Connection, query: Select[Any]) -> dict[str, int]:
    """Rows (name, number) as a table."""
    return {str(row[0]): int(row[1] or 0) for row in conn.execute(query)}


def fleet(conn: Connection) -> Fleet:
    s = meter_status
    joined = meter.outerjoin(s, and_(s.c.shard == SHARD, s.c.meter_no == meter.c.meter_no))
    query = select(
        func.count(), func.count(case((s.c.answering.is_(True), 1))), func.count(case((s.c.answering.is_(False), 1))),
        func.count(case((s.c.switch == 0, 1))),
    ).select_from(joined).where(meter.c.removed_ms.is_(None))  # fmt: skip
    total, answering, silent, off = conn.execute(query).one()
    by_mode = select(account.c.mode, func.count()).where(account.c.closed_ms.is_(None)).group_by(account.c.mode)
    modes = _counts(conn, by_mode)
    return Fleet(total, answering, silent, off, modes.get("prepaid", 0), modes.get("postpaid", 0))


def queues(conn: Connection) -> Queues:
    o = outbox_down.c
    waiting, oldest = conn.execute(select(func.count(), func.min(o.created_ms)).where(o.done_ms.is_(None))).one()
    return Queues(
        waiting, oldest, _count(conn, command, command.c.state.not_in([int(s) for s in TERMINAL])),
        _count(conn, poison, poison.c.resolved_ms.is_(None)),
        _count(conn, ledger_problem, ledger_problem.c.resolved_ms.is_(None)),
        _count(conn, meter_seen, meter_seen.c.state == "proposed"),
    )  # fmt: skip


def completeness(conn: Connection, first_day: int, last_day: int) -> tuple[Completeness, ...]:
    """Complete share of each local day in the range, in its order."""
    u = usage_day.c
    query = select(u.day, func.sum(u.present), func.sum(u.expected)).where(u.shard == SHARD, u.day.between(first_day, last_day))
    return tuple(Completeness(*row) for row in conn.execute(query.group_by(u.day).order_by(u.day)))


def dcus(conn: Connection) -> tuple[DcuRow, ...]:
    s, o, h = meter_status, outbox_down.c, stream_head.c
    per_meter = meter.outerjoin(s, and_(s.c.shard == SHARD, s.c.meter_no == meter.c.meter_no))
    counted = select(meter.c.dcu, func.count(), func.count(case((s.c.answering.is_(True), 1)))).select_from(per_meter)
    meters = {r[0]: (r[1], r[2]) for r in conn.execute(counted.where(meter.c.removed_ms.is_(None)).group_by(meter.c.dcu))}
    waiting = _counts(conn, select(o.dcu, func.count()).where(o.done_ms.is_(None)).group_by(o.dcu))
    behind = select(h.dcu, func.sum(h.highest - h.upto)).where(h.retired.is_(False)).group_by(h.dcu)
    gaps = _counts(conn, behind)
    return tuple(
        DcuRow(r.dcu, r.serial or "", r.label, r.site, r.state, r.online, r.agent_version, r.clock_state, r.config_held,
               r.last_hello_ms, r.last_contact_ms, *meters.get(r.dcu, (0, 0)), waiting.get(r.dcu, 0), gaps.get(r.dcu, 0))
        for r in conn.execute(select(dcu).order_by(dcu.c.dcu))
    )  # fmt: skip


def proposals(conn: Connection, limit: int = 100) -> tuple[SeenRow, ...]:
    s = meter_seen.c
    rows = conn.execute(select(meter_seen).where(s.state == "proposed").order_by(s.last_seen_ms.desc()).limit(limit))
    return tuple(SeenRow(r.dcu, r.serial, r.line, r.driver, r.address, r.last_seen_ms, r.state) for r in rows)


def problems(conn: Connection, limit: int = 50) -> tuple[ProblemRow, ...]:
    p = ledger_problem.c
    rows = conn.execute(select(ledger_problem).where(p.resolved_ms.is_(None)).order_by(p.problem_no.desc()).limit(limit))
    return tuple(ProblemRow(r.problem_no, r.account_no, r.epoch, r.seq, r.code, r.text, r.dcu, r.at_ms) for r in rows)


def poisoned(conn: Connection, limit: int = 50) -> tuple[PoisonRow, ...]:
    p = poison.c
    rows = conn.execute(select(poison).where(p.resolved_ms.is_(None)).order_by(p.poison_no.desc()).limit(limit))
    return tuple(PoisonRow(r.poison_no, r.dcu, r.channel, r.reason, r.payload_bytes, r.at_ms) for r in rows)
