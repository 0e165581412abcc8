"""Balances by replay: the same fold at the edge and in the cloud.

`problem_of` says what is wrong with an entry (as data), `apply` folds a good one. The register is an independent
witness: each energy charge starts where the last one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field, replace

from gridtally_shared.ledger.entries import GENESIS, OWN, Kind, LedgerEntry, Pool
from gridtally_shared.ledger.window import UsedWindow
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Everything a replay yields. `register_wh` is the register up to which energy is charged, read at `register_at_ms`;
    `charged_day` the local day up to which days are charged. Both are None before OPEN. `carried_wh` was charged before
    `opened_wh`, behind an earlier meter or an earlier spell of prepayment. `time_period` is the last period in which the debt by
    time was collected, `payment_period` the last one for the debt by payment, with what was taken in it.
    `converted_ms`: the last change from regular billing to prepayment."""

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
    carried_wh: int = 0
    time_period: int = 0
    payment_period: int = 0
    payment_taken_nano: int = 0
    mode: int = 0
    converted_ms: int | None = None
    closed: bool = False

    @property
    def debt_nano(self) -> int:
        """What the consumer owes beside the balance, as a positive amount; emergency credit stands beside both."""
        return -sum(self.pools.get(pool, 0) for pool in DEBTS)

    @property
    def balance_nano(self) -> int:
        return sum(self.pools.get(pool, 0) for pool in OWN)

    @property
    def emergency_used_nano(self) -> int:
        return -self.pools.get(Pool.EMERGENCY, 0)

    @property
    def charged_wh(self) -> int:
        """Everything charged in this epoch, behind whatever meter."""
        return self.carried_wh + (self.register_wh or 0) - (self.opened_wh or 0)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an entry does not follow from the state before it."""

    seq: int
    code: str
    text: str


DEBTS = (Pool.DEBT, Pool.DEBT_TIME, Pool.DEBT_PAYMENT)
_NUMBERED = (Kind.CREDIT, Kind.REFUND)
_REBASING = (Kind.METER, Kind.MODE)


def problem_of(state: LedgerState, entry: LedgerEntry) -> Problem | None:
    """The first rule the entry breaks, or None."""
    holds = (
        entry.account_no == state.account_no and entry.epoch == state.epoch,
        entry.seq == state.seq + 1,
        entry.previous == state.head,
        sum([p.amount_nano for p in entry.postings]) == 0,
        not uses_instrument(entry) or state.used.accepts(entry.gseq),
        _register_follows(state, entry),
        _day_follows(state, entry),
        _period_follows(state, entry),
        entry.kind != Kind.OPEN or state.opened_wh is None,
        not state.closed,
    )
    return None if all(holds) else _named(state, entry, holds.index(False))


def _named(state: LedgerState, entry: LedgerEntry, rule: int) -> Problem:
    code, text = _RULES[rule]
    return Problem(entry.seq, code, text.format(expected=state.seq + 1, seq=entry.seq, gseq=entry.gseq))


_RULES = (
    ("account", "entry of another account or epoch"),
    ("gap", "expected entry {expected}, got {seq}"),
    ("chain", "the hash of the entry before it differs"),
    ("unbalanced", "the postings do not sum to zero"),
    ("reused", "instrument {gseq} used before"),
    ("register", "the register does not start where the last charge ended"),
    ("day", "the day is charged before, or the account is not open"),
    ("period", "the debt was collected in this period before"),
    ("opened", "the account was opened before"),
    ("closed", "the epoch is closed"),
)
"""In the order in which they are asked."""


def uses_instrument(entry: LedgerEntry) -> bool:
    """A credit and a refund always do; any other entry does when it carries an instrument's number."""
    return entry.kind in _NUMBERED or entry.gseq != 0


def _register_follows(state: LedgerState, entry: LedgerEntry) -> bool:
    before, after = entry.register_before_wh, entry.register_after_wh
    if entry.kind in _REBASING:
        return before == state.register_wh and after is not None
    if entry.kind != Kind.ENERGY:
        return True
    return before is not None and after is not None and before == state.register_wh and after >= before


def _day_follows(state: LedgerState, entry: LedgerEntry) -> bool:
    return entry.kind != Kind.FIXED or (state.charged_day is not None and entry.day_after > state.charged_day)


def _period_follows(state: LedgerState, entry: LedgerEntry) -> bool:
    return entry.kind != Kind.DEBT or entry.period == 0 or entry.period > state.time_period


def apply(state: LedgerState, entry: LedgerEntry, entry_hash: bytes = b"") -> LedgerState:
    """Fold one entry that `problem_of` found good. `entry_hash`: its hash, where it is known."""
    pools = dict(state.pools)
    for posting in entry.postings:
        pools[posting.pool] = pools.get(posting.pool, 0) + posting.amount_nano
    period, taken_nano = _collected(state, entry)
    read = entry.register_after_wh is not None
    folded = LedgerState(
        state.account_no, state.epoch, entry.seq, entry_hash or entry.entry_hash, pools,
        state.used.use(entry.gseq) if uses_instrument(entry) else state.used, state.meter_no,
        entry.register_after_wh if read else state.register_wh, state.opened_wh, entry.at_ms, entry.at_ms if read else state.register_at_ms,
        state.opened_day, state.charged_day, state.carried_wh, state.time_period, period, taken_nano, state.mode, state.converted_ms,
        entry.kind == Kind.CLOSE,
    )  # fmt: skip
    special = _SPECIAL.get(entry.kind)
    return special(folded, state, entry) if special else folded


def _collected(state: LedgerState, entry: LedgerEntry) -> tuple[int, int]:
    """The newest period in which the debt by payment took something, and how much in all of it."""
    taken_nano = sum([p.amount_nano for p in entry.postings if p.pool == Pool.DEBT_PAYMENT and p.amount_nano > 0]) if entry.period else 0
    if not taken_nano:
        return state.payment_period, state.payment_taken_nano
    before_nano = state.payment_taken_nano if entry.period == state.payment_period else 0
    return entry.period, before_nano + taken_nano


def _open(folded: LedgerState, before: LedgerState, entry: LedgerEntry) -> LedgerState:
    return replace(
        folded, meter_no=entry.meter_no, opened_wh=entry.register_after_wh, opened_day=entry.day_after, charged_day=entry.day_after,
        mode=entry.mode,
    )  # fmt: skip


def _fixed(folded: LedgerState, before: LedgerState, entry: LedgerEntry) -> LedgerState:
    return replace(folded, charged_day=entry.day_after)


def _debt(folded: LedgerState, before: LedgerState, entry: LedgerEntry) -> LedgerState:
    return replace(folded, time_period=entry.period) if entry.period else folded


def _meter(folded: LedgerState, before: LedgerState, entry: LedgerEntry) -> LedgerState:
    return replace(folded, carried_wh=before.charged_wh, opened_wh=entry.register_after_wh, meter_no=entry.meter_no)


def _mode(folded: LedgerState, before: LedgerState, entry: LedgerEntry) -> LedgerState:
    day = max(entry.day_after, before.charged_day or 0) or None
    at_ms = before.converted_ms if entry.mode else entry.at_ms
    return replace(
        folded, carried_wh=before.charged_wh, opened_wh=entry.register_after_wh, mode=entry.mode, charged_day=day, converted_ms=at_ms
    )


_SPECIAL: dict[int, Callable[[LedgerState, LedgerState, LedgerEntry], LedgerState]] = {
    Kind.OPEN: _open,
    Kind.FIXED: _fixed,
    Kind.DEBT: _debt,
    Kind.METER: _meter,
    Kind.MODE: _mode,
}


def replay(account_no: int, epoch: int, entries: Iterable[LedgerEntry]) -> tuple[LedgerState, Problem | None]:
    """Fold entries from the start; stops at the first problem and returns the state before it."""
    return replay_on(LedgerState(account_no, epoch), entries)


def replay_on(state: LedgerState, entries: Iterable[LedgerEntry]) -> tuple[LedgerState, Problem | None]:
    """`replay` that goes on from a state."""
    for entry in entries:
        problem = problem_of(state, entry)
        if problem is not None:
            return state, problem
        state = apply(state, entry)
    return state, None
