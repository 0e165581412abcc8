"""The story of one home, read from its journal: told of a low balance, emergency credit, a cut, a code, supply again. Pure.

Only the first spell is a chapter each; `off_since_ms` and `spells` go on, for what the story does next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool
from gridtally_shared.ledger.evidence import DecisionEvidence, Evidence, MessageEvidence, SwitchEvidence, evidence_of

LOW = ("LOW", "LOW_BARE")
OPEN_STATE = 0


@dataclass(frozen=True, slots=True)
class Notice:
    at_ms: int
    seq: int
    code: str
    params: dict[str, str]


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut the meter confirmed, and the decision it carried out. `is_open`: the meter itself said so afterwards."""

    ordered_ms: int
    done_ms: int
    seq: int
    is_open: bool
    decision: DecisionEvidence

    def seen(self, test: str) -> str:
        """What a test of the decision saw."""
        return next((t.seen for t in self.decision.tests if t.name == test), "")

    def param(self, test: str, name: str) -> str:
        tests = (t for t in self.decision.tests if t.name == test)
        return next((p.value for t in tests for p in t.params if p.name == name), "")


@dataclass(frozen=True, slots=True)
class Credit:
    at_ms: int
    seq: int
    gseq: int


@dataclass(slots=True)
class Chapters:
    """Filled entry by entry; what has not happened is None."""

    low: Notice | None = None
    offer: Notice | None = None
    taken: Notice | None = None
    emergency_used_nano: int = 0
    cut: Cut | None = None
    credit: Credit | None = None
    restored_ms: int | None = None
    off_since_ms: int | None = None
    spells: int = 0
    credits: list[Credit] = field(default_factory=list)
    _decided: tuple[LedgerEntry, DecisionEvidence] | None = None

    def take(self, entry: LedgerEntry) -> None:
        """One more entry, in the journal's order."""
        self._money(entry)
        try:
            evidence = evidence_of(entry)
        except ContractError:
            return
        self._told(entry, evidence)
        if isinstance(evidence, DecisionEvidence) and evidence.verdict == "cut":
            self._decided = (entry, evidence)
        elif isinstance(evidence, SwitchEvidence) and evidence.result == "done":
            self._switched(entry, evidence)

    def _money(self, entry: LedgerEntry) -> None:
        if self.cut is None:
            self.emergency_used_nano -= sum(p.amount_nano for p in entry.postings if p.pool == Pool.EMERGENCY)
        if entry.kind == Kind.CREDIT and entry.gseq:
            self.credits.append(Credit(entry.at_ms, entry.seq, entry.gseq))
            if self.cut is not None and self.credit is None:
                self.credit = self.credits[-1]

    def _told(self, entry: LedgerEntry, evidence: Evidence | None) -> None:
        if not isinstance(evidence, MessageEvidence):
            return
        notice = Notice(entry.at_ms, entry.seq, evidence.code, {p.name: p.value for p in evidence.params})
        if evidence.code in LOW and self.low is None:
            self.low = notice
        elif evidence.code == "EC_OFFER" and self.offer is None:
            self.offer = notice
        elif evidence.code == "EC_ON" and self.taken is None:
            self.taken = notice

    def _switched(self, entry: LedgerEntry, evidence: SwitchEvidence) -> None:
        if evidence.close:
            self.off_since_ms = None
            if self.credit is not None and self.restored_ms is None:
                self.restored_ms = entry.at_ms
            return
        self.off_since_ms, self.spells = entry.at_ms, self.spells + 1
        if self.cut is None and self._decided is not None:
            decided, decision = self._decided
            self.cut = Cut(decided.at_ms, entry.at_ms, decided.seq, evidence.state_after == OPEN_STATE, decision)


def chapters(entries: Iterable[LedgerEntry]) -> Chapters:
    found = Chapters()
    for entry in entries:
        found.take(entry)
    return found
