"""One account's mirror while uploaded entries are taken in: what is kept, how far it reaches, what has to be written.

* Pure: it is given what the store holds and says what changes; `journal.py` reads and writes for many accounts at once.
* Every entry is kept as its bytes; the mirror folds them in order of their number, whatever order they came in. Each is read and
  hashed once: what this transaction has proved it does not prove again.
* An entry that does not follow from the one before stops the mirror of that account. What comes later is kept, unverified. Another
  entry under a number already verified stops it too.
* A stopped mirror goes on where what comes again, or anew, follows from its head: an entry that was never verified gives way to
  one that comes later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from gridtally_shared.ledger.entries import LedgerEntry, entry_from, hash_of
from gridtally_shared.ledger.replay import LedgerState, Problem, apply, problem_of
from gridtally_shared.records import dataclass

REWRITTEN = "rewritten"


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry as its bytes; `entry` where it was read already."""

    data: bytes
    entry: LedgerEntry | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The mirror can not go on beyond `state`: one row for staff, with the bytes that do not fit."""

    state: LedgerState
    problem: Problem
    data: bytes


@dataclass(frozen=True, slots=True)
class Resolve:
    """What stopped the mirror after `state` is over: an entry that follows took its place."""

    state: LedgerState


@dataclass(slots=True)
class Fold:
    """`known`: what the store holds above the mirror, and below it of what comes again. The rest is what changed, to be written:
    entries `added` and `replaced` by number, the balance after each entry `proved`, findings in their order."""

    before: LedgerState
    stopped: bool
    known: dict[int, Kept]
    state: LedgerState = field(init=False)
    added: dict[int, Kept] = field(default_factory=dict)
    replaced: dict[int, Kept] = field(default_factory=dict)
    proved: dict[int, int] = field(default_factory=dict)
    findings: list[Stop | Resolve] = field(default_factory=list)
    followed: list[LedgerEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = self.before

    def take(self, entries: Sequence[Kept], first_seq: int) -> None:
        """Keep the entries of one range, then go as far as there is no gap."""
        for seq, kept in enumerate(entries, first_seq):
            self._keep(seq, kept)
        self._advance()

    def _keep(self, seq: int, kept: Kept) -> None:
        held = self.known.get(seq)
        if held is None or (held.data != kept.data and self.stopped and seq > self.state.seq):
            place = self.added if held is None or seq in self.added else self.replaced
            place[seq] = self.known[seq] = kept
        elif held.data != kept.data:
            self._stop(Problem(seq, REWRITTEN, f"entry {seq} came again with other content"), kept.data)

    def _advance(self) -> None:
        """Bring the mirror as far as the kept entries reach without a gap."""
        stood, problem = self.state, None
        while problem is None and (kept := self.known.get(self.state.seq + 1)) is not None:
            entry = kept.entry or entry_from(kept.data)
            problem = problem_of(self.state, entry)
            if problem is None:
                self._follow(entry, kept.data)
        if self.stopped and self.state is stood:
            return
        if self.stopped:
            self.findings.append(Resolve(stood))
        self.stopped = False
        if problem is not None:
            self._stop(problem, kept.data)  # type: ignore[union-attr]

    def _follow(self, entry: LedgerEntry, data: bytes) -> None:
        self.state = apply(self.state, entry, hash_of(data))
        self.proved[entry.seq] = self.state.balance_nano
        self.followed.append(entry)

    def _stop(self, problem: Problem, data: bytes) -> None:
        self.stopped = True
        self.findings.append(Stop(self.state, problem, data))
