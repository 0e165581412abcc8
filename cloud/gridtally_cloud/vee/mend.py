"""Days of a lot in which something was found: estimates for what is not believed, findings, and what stands from now on.

* The same as vee/run.py does with a day by itself, out of what was read for the lot and with the same functions.
* Days before are only read where an estimate may need them (vee/repair.py, `needs_past`); then for all such days of one day together, when
  the days before it have been written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, field
from itertools import groupby

from sqlalchemy import Connection, bindparam, delete, insert

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.close import save_version
from gridtally_cloud.store.inbox import SUMMED_UNITS, save_usage
from gridtally_cloud.store.intervals import ESTIMATE, ChannelRef, Slots
from gridtally_cloud.store.tables import vee_finding
from gridtally_cloud.vee.columns import slots_of_day
from gridtally_cloud.vee.judge import waits
from gridtally_cloud.vee.lot import DayOf, Lot
from gridtally_cloud.vee.lot_beside import Compared, compared_months, is_asked
from gridtally_cloud.vee.lot_judge import Judged, against
from gridtally_cloud.vee.model import Finding
from gridtally_cloud.vee.outcome import ESTIMATED, FAILED, VALIDATED, Outcome, Verdict, keep_verdicts
from gridtally_cloud.vee.past import Past, past_of
from gridtally_cloud.vee.repair import Repaired, estimated_slot, needs_past, repaired
from gridtally_shared.records import dataclass

_found = vee_finding.c
NO_FINDINGS = delete(vee_finding).where(
    _found.shard == SHARD, _found.day == bindparam("of_day"), _found.channel_no == bindparam("of_channel"))  # fmt: skip


@dataclass(slots=True)
class _Mending:
    """`given_up` are usage points with a day that takes more than the lot holds: their later days wait for it."""

    conn: Connection
    lot: Lot
    now_ms: int
    outcomes: list[Outcome] = field(default_factory=list)
    left: list[DayOf] = field(default_factory=list)
    given_up: set[int] = field(default_factory=set)
    findings: list[dict[str, object]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def day(self, judgements: Sequence[Judged]) -> None:
        """All of one day."""
        pasts = past_of(self.conn, [j for j in judgements if _looks_back(j)])
        asked = [j.ref.channel_no for j in judgements if is_asked(j.ref)]
        compared = compared_months(self.conn, asked, judgements[0].name[0])
        for j in judgements:
            past = pasts.get(j.name, _NO_PAST)
            can = past is not None and j.ref.usage_point_no not in self.given_up
            if not (can and self._one(j, past or _NO_PAST, compared.get(j.name[1], (None, None)))):
                self.given_up.add(j.ref.usage_point_no)
                self.left.append(j.name)

    def _one(self, j: Judged, past: Past, compared: Compared) -> bool:
        across = against(self.conn, self.lot, j.ref, j.near, j.known.rules, compared, j.is_believed)
        if across is None:
            return False
        done = repaired(j.stretch, j.known, j.judgement, past, j.span) if _is_estimated(j) else Repaired(j.judgement.findings)
        places = range(past.n + j.first, past.n + j.after)
        estimates = {_start_of(j, e.index - places.start): e.value for e in done.estimates if e.index in places}
        findings = (*j.touching(done.findings), *across)
        waiting = any(waits(j.judgement, j.stretch, f) for f in findings)
        self._write(j, findings, estimates, waiting)
        return True

    def _write(self, j: Judged, findings: tuple[Finding, ...], estimates: dict[int, int], waiting: bool) -> None:
        (day, number), version = j.name, self._stands(j, estimates)
        holes = any(not there and _start_of(j, i) not in estimates for i, there in enumerate(j.near.day.present))
        status = FAILED if holes or waiting else ESTIMATED if estimates else VALIDATED
        self.findings += ({"shard": SHARD, "day": day, "channel_no": number, "at_ms": self.now_ms} | asdict(f) for f in findings)
        closed = self.lot.pending[j.name]
        self.verdicts.append(Verdict(day, number, closed, j.known.rules.name, status, len(findings), self.now_ms, version))
        self.outcomes.append(Outcome(day, number, status, findings, len(estimates)))

    def _stands(self, j: Judged, estimates: dict[int, int]) -> int:
        """A further version where what stands is not what should; the version that stands."""
        ref, grid = ChannelRef(j.ref.channel_no, j.ref.unit, j.ref.zone), j.near.grid
        measured = slots_of_day(j.near.day, grid)
        should: Slots = measured | {at: estimated_slot(measured, at, value) for at, value in estimates.items()}
        version = self.lot.versions[j.name]
        if should != measured:
            version += 1
            save_version(self.conn, ref, grid, version, should, ESTIMATE, True, self.now_ms)
        if ref.unit in SUMMED_UNITS:
            save_usage(self.conn, ref, grid.day, grid.period_s, should, len(estimates))
        return version

    def keep(self) -> None:
        if self.verdicts:
            self.conn.execute(NO_FINDINGS, [{"of_day": v.day, "of_channel": v.channel_no} for v in self.verdicts])
            keep_verdicts(self.conn, self.verdicts)
        if self.findings:
            self.conn.execute(insert(vee_finding), self.findings)


_NO_PAST = Past()


def mend(conn: Connection, lot: Lot, queue: Iterable[Judged], now_ms: int) -> tuple[list[Outcome], list[DayOf]]:
    """(what became of them, those that are for vee/run.py). They come in order of time."""
    mending = _Mending(conn, lot, now_ms)
    for _, of_day in groupby(queue, key=lambda j: j.name[0]):
        mending.day([*of_day])
    mending.keep()
    return mending.outcomes, mending.left


def _is_estimated(j: Judged) -> bool:
    return j.ref.unit in SUMMED_UNITS and not j.is_believed


def _looks_back(j: Judged) -> bool:
    return _is_estimated(j) and needs_past(j.stretch, j.known, j.judgement, j.span)


def _start_of(j: Judged, place: int) -> int:
    return j.near.grid.start_ms + place * j.ref.period_s * 1000
