"""Balances by replay: the same fold at the edge and in the cloud.

`problem_of` says what is wrong with an entry (as data), `apply` folds a good one. The register is an independent
witness: each energy charge starts where the last one ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry, Pool
from gridtally_shared.ledger.window import UsedWindow


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Everything a replay yields. `register_wh` is the register up to which energy is charged, read at `register_at_ms`;
    `charged_day` the local day up to which days are charged. Both are None before OPEN."""

    account_no: int
    epoch: int
    seq: int = 0
    head: bytes = GENESIS
    pools: dict[int, int] = field(default_factory=dict)
    used: UsedWindow = field(default_factory=UsedWindow)
    meter_no: int = 0
    register_wh: int | None = None
    opened_wh: int | None = None
    at_ms: int = 0
    register_at_ms: int = 0
    opened_day: int | None = None
    charged_day: int | None = None

    @property
    def debt_nano(self) -> int:
        """What the consumer owes beside the balance, as a positive amount."""
        return -self.pools.get(Pool.DEBT, 0)

    @property
    def balance_nano(self) -> int:
        return self.pools.get(Pool.PAID, 0)

    @property
    def charged_wh(self) -> int:
        return (self.register_wh or 0) - (self.opened_wh or 0)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an entry does not follow from the state before it."""

    seq: int
    code: str
    text: str


_INSTRUMENT_KINDS = (Kind.CREDIT, Kind.REFUND)


def problem_of(state: LedgerState, entry: LedgerEntry) -> Problem | None:
    """The first rule the entry breaks, or None."""
    rules = (
        ("account", entry.account_no == state.account_no and entry.epoch == state.epoch, "entry of another account or epoch"),
        ("gap", entry.seq == state.seq + 1, f"expected entry {state.seq + 1}, got {entry.seq}"),
        ("chain", entry.previous == state.head, "the hash of the entry before it differs"),
        ("unbalanced", sum(p.amount_nano for p in entry.postings) == 0, "the postings do not sum to zero"),
        ("reused", entry.kind not in _INSTRUMENT_KINDS or state.used.accepts(entry.gseq), f"instrument {entry.gseq} used before"),
        ("register", _register_follows(state, entry), "the register does not start where the last charge ended"),
        ("day", _day_follows(state, entry), "the day is charged before, or the account is not open"),
        ("opened", entry.kind != Kind.OPEN or state.opened_wh is None, "the account was opened before"),
    )
    return next((Problem(entry.seq, code, text) for code, holds, text in rules if not holds), None)


def _register_follows(state: LedgerState, entry: LedgerEntry) -> bool:
    if entry.kind != Kind.ENERGY:
        return True
    before, after = entry.register_before_wh, entry.register_after_wh
    return before is not None and after is not None and before == state.register_wh and after >= before


def _day_follows(state: LedgerState, entry: LedgerEntry) -> bool:
    return entry.kind != Kind.FIXED or (state.charged_day is not None and entry.day_after > state.charged_day)


def apply(state: LedgerState, entry: LedgerEntry) -> LedgerState:
    """Fold one entry that `problem_of` found good."""
    pools = dict(state.pools)
    for posting in entry.postings:
        pools[posting.pool] = pools.get(posting.pool, 0) + posting.amount_nano
    opened = entry.kind == Kind.OPEN
    has_register = entry.register_after_wh is not None
    has_day = entry.kind in (Kind.OPEN, Kind.FIXED)
    return replace(
        state,
        seq=entry.seq,
        head=entry.entry_hash,
        pools=pools,
        used=state.used.use(entry.gseq) if entry.kind in _INSTRUMENT_KINDS else state.used,
        meter_no=entry.meter_no if opened else state.meter_no,
        register_wh=entry.register_after_wh if has_register else state.register_wh,
        register_at_ms=entry.at_ms if has_register else state.register_at_ms,
        opened_wh=entry.register_after_wh if opened else state.opened_wh,
        opened_day=entry.day_after if opened else state.opened_day,
        charged_day=entry.day_after if has_day else state.charged_day,
        at_ms=entry.at_ms,
    )


def replay(account_no: int, epoch: int, entries: Iterable[LedgerEntry]) -> tuple[LedgerState, Problem | None]:
    """Fold entries from the start; stops at the first problem and returns the state before it."""
    state = LedgerState(account_no, epoch)
    for entry in entries:
        problem = problem_of(state, entry)
        if problem is not None:
            return state, problem
        state = apply(state, entry)
    return state, None
