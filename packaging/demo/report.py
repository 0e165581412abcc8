"""The headless demo's report: counted from the stores after the chain has come to rest. Exit 0 only if nothing is amiss."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from demo import facts
from demo.shown import Shown
from demo.story import Story
from gridtally_cloud.store.db import Database
from gridtally_edge.simulators.street import Street

QUARTER_MS = 900_000


@dataclass(frozen=True, slots=True)
class Report:
    """`intervals_*` count quarter hours of consumption that lie wholly in the demo; `energy_mismatches` are meters whose
    intervals do not add up to the movement of their register."""

    meters: int
    protocols: tuple[str, ...]
    broker: str
    days: float
    intervals_expected: int
    intervals_stored: int
    intervals_duplicated: int
    intervals_conflicting: int
    uplink_outages: int
    cuts: int
    cuts_while_offline: int
    restores: int
    ledger_mismatches: int
    checkpoints: int
    bills: int
    wall_s: float
    shown: Shown
    mismatches: tuple[str, ...] = ()

    @property
    def amiss(self) -> list[str]:
        """What makes the run a failure, in words."""
        tests = (
            (self.intervals_stored < self.intervals_expected, f"{self.intervals_expected - self.intervals_stored} intervals lost"),
            (self.intervals_duplicated > 0, f"{self.intervals_duplicated} intervals stored twice"),
            (self.intervals_conflicting > 0, f"{self.intervals_conflicting} days with contradicting intervals"),
            (self.checkpoints == 0, "no checkpoint of a journal was countersigned"),
            (self.ledger_mismatches > 0, f"{self.ledger_mismatches} ledger mismatches: {'; '.join(self.mismatches[:3])}"),
        )
        return [text for failed, text in tests if failed] + self.shown.missing

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def span_of(start_ms: int, end_ms: int) -> tuple[int, int]:
    """Whole quarter hours of the run: the first that began after every meter had been read once, up to the end."""
    return -(-(start_ms + 2 * QUARTER_MS) // QUARTER_MS) * QUARTER_MS, end_ms // QUARTER_MS * QUARTER_MS


def make(db: Database, money_db: Path, street: Street, story: Story, end_ms: int, broker: str, bills: int, wall_s: float,
         shown: Shown) -> Report:  # fmt: skip
    from_ms, to_ms = span_of(story.start_ms, end_ms)
    mismatches = facts.ledger_mismatches(db, money_db)
    with db.read() as conn:
        counts = facts.counts(conn, from_ms, to_ms)
        actions = facts.switch_actions(conn)
        checkpoints = facts.checkpoints(conn)
    cuts = [a for a in actions if not a.close]
    return Report(
        meters=len(street.meters),
        protocols=tuple(sorted({_NAMES[line.protocol.value] for line in street.lines})),
        broker=broker,
        days=story.days or 0,
        intervals_expected=len(street.meters) * (to_ms - from_ms) // QUARTER_MS,
        intervals_stored=sum(c.stored for c in counts),
        intervals_duplicated=sum(c.duplicates for c in counts),
        intervals_conflicting=sum(c.conflicts for c in counts),
        uplink_outages=len(story.outages),
        cuts=len(cuts),
        cuts_while_offline=sum(story.is_offline(a.at_ms) for a in cuts),
        restores=sum(a.close for a in actions),
        ledger_mismatches=len(mismatches),
        checkpoints=checkpoints,
        bills=bills,
        wall_s=round(wall_s, 1),
        shown=shown,
        mismatches=tuple(mismatches[:20]),
    )


_NAMES = {
    "dlms": "DLMS/COSEM over HDLC",
    "modbus": "Modbus RTU",
    "mesh": "DLMS/COSEM over UDP (mesh)",
    "coordinator": "DLMS/COSEM behind a coordinator modem",
}
