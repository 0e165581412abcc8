"""Judges the days that were closed or changed, keeps the findings, and puts estimates where nothing believable was measured.

* A close orders its channel-days (store/orders.py); a run replaces the findings of a day in one transaction, so that running
  twice changes nothing.
* Estimates are a version of their own (source `estimate`), each interval with its flag. What was measured is never altered, and what
  comes later wins over every estimate.
* What a person set stands as if measured (vee/edits.py). Each change of what stood for a billed period is told (vee/restated.py).
* Only energy is estimated: a voltage nobody measured stays unknown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict

from sqlalchemy import Connection, and_, delete, insert, select
from sqlalchemy.exc import OperationalError

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.close import next_version, save_version, standing_version
from gridtally_cloud.store.days import slots_of
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.inbox import SUMMED_UNITS, save_usage
from gridtally_cloud.store.intervals import EDIT, ESTIMATE, Slot, Slots, days_slots, hold_points
from gridtally_cloud.store.orders import PENDING, anything_waits, claim, is_closed, settle
from gridtally_cloud.store.tables import vee_finding, vee_run
from gridtally_cloud.store.work import Hand, in_other_hands, share, this_process
from gridtally_cloud.vee.across import across, whatever_the_day
from gridtally_cloud.vee.beside import beside, check_values
from gridtally_cloud.vee.checks import BY_RULE
from gridtally_cloud.vee.edits import given_by, laid_over, overtaken
from gridtally_cloud.vee.held import Around, around, with_history
from gridtally_cloud.vee.judge import Judgement, judge, waits
from gridtally_cloud.vee.model import Finding
from gridtally_cloud.vee.outcome import EDITED as EDITED
from gridtally_cloud.vee.outcome import ESTIMATED as ESTIMATED
from gridtally_cloud.vee.outcome import FAILED as FAILED
from gridtally_cloud.vee.outcome import VALIDATED as VALIDATED
from gridtally_cloud.vee.outcome import Outcome as Outcome
from gridtally_cloud.vee.outcome import Verdict, keep_verdicts
from gridtally_cloud.vee.passing import Passed, judge_lot
from gridtally_cloud.vee.repair import estimated_slot, repair
from gridtally_cloud.vee.restated import restate, version_slots
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass

log = logging.getLogger(__name__)

DAYS_A_TURN = 500
"""Channel-days that are looked at together; well within a second, for the worker takes in what arrived between two turns."""
ALONE_A_TURN = 200
"""Those of them that are judged by themselves: some milliseconds each."""


def run_pending(db: Database, now_ms: int, limit: int = DAYS_A_TURN, hand: Hand | None = None) -> tuple[Outcome, ...]:
    """Judge what was closed since the last run, and the neighbours of a day that is another than before: they looked at it. Usage
    points are shared by the workers: a lot at once, those that need a look of their own in one transaction each."""
    hand = hand or this_process()
    with db.read() as conn:
        held = in_other_hands(conn, "validate", now_ms, hand)
        if not anything_waits(conn, held):
            return ()
    passed, points = _together(db, limit, held, now_ms)
    pending: dict[int, list[tuple[int, int]]] = {}
    for name in passed.left[:ALONE_A_TURN]:
        pending.setdefault(points[name], []).append(name)

    def judge_point(conn: Connection, point: int) -> list[Outcome]:
        hold_points(conn, [number for _, number in pending.get(point, ())])
        days = [(day, number) for day, number in pending.get(point, ()) if status_of(conn, day, number) == PENDING]
        outcomes = [run_day(conn, day, number, now_ms) for day, number in days]
        return outcomes + _neighbours(conn, outcomes, now_ms)

    done = share(db, "validate", list(pending), judge_point, now_ms, hand)
    return (*passed.outcomes, *(outcome for outcomes in done for outcome in outcomes))


def _together(db: Database, limit: int, held: set[int], now_ms: int) -> tuple[Passed, dict[tuple[int, int], int]]:
    """The oldest days that wait, as far as they can be judged together, written down together; and the usage points of all of them. Where
    that comes to nothing, each is left to be judged by itself."""
    try:
        with db.write() as conn:
            return _claimed(conn, limit, held, lambda free: judge_lot(conn, free, now_ms))
    except OperationalError:
        raise
    except Exception:
        log.exception("days could not be judged together; each is judged by itself")
    with db.write() as conn:
        return _claimed(conn, limit, held, lambda free: Passed(left=tuple(free)))


def _claimed(
    conn: Connection, limit: int, held: set[int], judge: Callable[[list[tuple[int, int]]], Passed]
) -> tuple[Passed, dict[tuple[int, int], int]]:
    """What is judged of the days that are claimed, but of usage points that are in other hands. Whoever holds them sees that they wait no
    more."""
    claimed = claim(conn, limit, held)
    free = [name for name, point in claimed.points.items() if point not in held]
    hold_points(conn, [number for _, number in claimed.points])
    passed = judge(free)
    settle(conn, claimed, {(o.day, o.channel_no) for o in passed.outcomes})
    return passed, claimed.points


def _neighbours(conn: Connection, outcomes: list[Outcome], now_ms: int) -> list[Outcome]:
    done = {(o.day, o.channel_no) for o in outcomes}
    beside = {(o.day + step, o.channel_no) for o in outcomes if o.changed for step in (-1, 1)} - done
    return [run_day(conn, day, no, now_ms) for day, no in sorted(beside) if status_of(conn, day, no) not in ("raw", PENDING)]


def run_again(conn: Connection, channel_no: int, days: range, now_ms: int) -> tuple[Outcome, ...]:
    """Judge closed days once more, with their neighbours."""
    outcomes = [run_day(conn, day, channel_no, now_ms) for day in days]
    return tuple(outcomes + _neighbours(conn, outcomes, now_ms))


def run_day(conn: Connection, day: int, channel_no: int, now_ms: int) -> Outcome:
    """Judge one channel-day, replace its findings, let its estimates and edits stand, and tell of what stood otherwise for a bill. What
    comes in meanwhile waits until it is written down, and orders the day again."""
    hold_points(conn, [channel_no])
    near = around(conn, day, channel_no)
    findings, estimates, waiting = judged(conn, near, day)
    _keep_findings(conn, day, channel_no, findings, now_ms)
    stands = _keep_what_stands(conn, near, day, estimates, now_ms)
    holes = sum(not near.stretch.present[i] and near.stretch.start_of(i) not in estimates for i in range(near.first, near.after))
    status = FAILED if holes or waiting else EDITED if stands.edited else ESTIMATED if estimates else VALIDATED
    closed, stood = _said(conn, day, channel_no)
    before = version_slots(conn, channel_no, day, stood) if stood is not None else None
    grid = slots_of(day, near.ref.zone, near.stretch.period_s)
    is_other = restate(conn, channel_no, grid, stands.version, before, stands.slots, now_ms)
    keep_verdicts(conn, [Verdict(day, channel_no, closed, near.known.rules.name, status, len(findings), now_ms, stands.version)])
    return Outcome(day, channel_no, status, findings, len(estimates), is_other)


def judged(conn: Connection, near: Around, day: int) -> tuple[tuple[Finding, ...], dict[int, int], bool]:
    """(findings that touch the day, estimate by the start of its interval, whether a person has to look). History is only asked for
    where one is needed."""
    judgement = judge(near.stretch, near.known)
    findings, estimates = judgement.findings, {}
    if near.ref.unit in SUMMED_UNITS and any(judgement.failed[near.first : near.after]):
        whole, unfit = with_history(conn, near, day)
        done = repair(whole.stretch, near.known, check_values(conn, near.usage_point_no, near.ref.channel_no, day), unfit)
        findings = done.findings
        estimates = {whole.stretch.start_of(e.index): e.value for e in done.estimates if whole.first <= e.index < whole.after}
    late = overtaken(near.edits, days_slots(conn, near.ref.channel_no, [day]), near.stretch.period_s)
    mine = (*_touching((*findings, *late), near), *_across(conn, near, day, judgement))
    return mine, estimates, any(waits(judgement, near.stretch, f) for f in mine)


def _across(conn: Connection, near: Around, day_no: int, judgement: Judgement) -> tuple[Finding, ...]:
    """What other channels, registers and months say of the day; most of them only of one that is whole and believed."""
    known, ref = near.known, near.ref
    if not BY_RULE["high_low"].applies(ref.unit, known.direction):
        return ()
    day = near.stretch.part(near.first, near.after)
    others = beside(conn, day, day_no, ref.channel_no, near.usage_point_no, ref.zone)
    believed = not any(judgement.failed[near.first : near.after])
    found = (*(across(day, known.limit_w, others, known.rules) if believed else ()), *whatever_the_day(day, others, known.rules))
    return tuple(f for f in found if f.rule not in known.rules.off)


def _touching(findings: tuple[Finding, ...], near: Around) -> tuple[Finding, ...]:
    from_ms, to_ms = near.stretch.start_of(near.first), near.stretch.start_of(near.after)
    return tuple(f for f in findings if f.start_ms < to_ms and f.end_ms > from_ms)


def _keep_findings(conn: Connection, day: int, channel_no: int, findings: tuple[Finding, ...], now_ms: int) -> None:
    f = vee_finding.c
    conn.execute(delete(vee_finding).where(and_(f.shard == SHARD, f.day == day, f.channel_no == channel_no)))
    rows = [{"shard": SHARD, "day": day, "channel_no": channel_no, "at_ms": now_ms} | asdict(finding) for finding in findings]
    if rows:
        conn.execute(insert(vee_finding), rows)


@dataclass(frozen=True, slots=True)
class Stands:
    """What stands of a day from now on."""

    version: int
    slots: Slots
    edited: bool


def _keep_what_stands(conn: Connection, near: Around, day: int, estimates: dict[int, int], now_ms: int) -> Stands:
    """A further version where what stands is not what should."""
    no, period_s = near.ref.channel_no, near.stretch.period_s
    grid = slots_of(day, near.ref.zone, period_s)
    measured = days_slots(conn, no, [day])
    whole = {at: measured.get(at, Slot(None, int(Quality.MISSING))) for at in range(grid.start_ms, grid.end_ms, period_s * 1000)}
    guessed = whole | {at: estimated_slot(measured, at, value) for at, value in estimates.items()}
    should = laid_over(near.edits, guessed)
    is_edited, version = should != guessed, next_version(conn, day, no)
    if should != whole | days_slots(conn, no, [day], estimates=True):
        save_version(conn, near.ref, grid, version, should, EDIT if is_edited else ESTIMATE, True, now_ms)
        version += 1
    if near.ref.unit in SUMMED_UNITS:
        ours = (estimates.keys() | given_by(near.edits)) & should.keys()
        save_usage(conn, near.ref, day, period_s, should, len(ours))
    return Stands(standing_version(conn, day, no), should, is_edited)


def status_of(conn: Connection, day: int, channel_no: int) -> str:
    """'validated', 'estimated', 'edited', 'failed', 'pending', or 'raw' for a day that was never closed."""
    r = vee_run.c
    where = and_(r.shard == SHARD, r.day == day, r.channel_no == channel_no)
    status = conn.execute(select(r.status).where(where)).scalar_one_or_none()
    return status or (PENDING if is_closed(conn, day, channel_no) else "raw")


def _said(conn: Connection, day: int, channel_no: int) -> tuple[int, int | None]:
    """(the version of a day that was closed, the one that stood when it was judged last)"""
    r = vee_run.c
    row = conn.execute(select(r.version, r.stands).where(r.shard == SHARD, r.day == day, r.channel_no == channel_no)).first()
    return (row.version, row.stands) if row is not None else (0, None)


def findings_of(conn: Connection, channel_no: int, from_day: int, to_day: int) -> tuple[Finding, ...]:
    """Findings of a channel for the local days [from_day, to_day], in order of time."""
    f = vee_finding.c
    where = and_(f.shard == SHARD, f.day.between(from_day, to_day), f.channel_no == channel_no)
    rows = conn.execute(select(vee_finding).where(where).order_by(f.start_ms))
    return tuple(Finding(r.rule, r.rule_version, r.start_ms, r.end_ms, r.text, r.value, r.limit) for r in rows)
