"""Both streams of an account side by side, replayed: what the cloud took and sent, what the edge did with it.

* The balance is replayed here from the entries themselves, not read from a column: from the newest countersigned checkpoint below
  the lines shown, or from the first entry. It is the number the display showed at that entry and time (prepayment.md 5.1).
* Each line carries what a person needs to follow it: where the money went, the register, the charge's own lines, the message or
  the tests of a decision, and which payment an instrument stands for.
* What the cloud paid and the replay does not show is named line by line: in transit. Any other difference is a finding.

Source: prepayment.md 5.9 (last row); seed 002 C3-A3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from heapq import merge
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.ingest.mirror import state_from, verified
from gridtally_cloud.ingest.tables import checkpoint
from gridtally_cloud.prepay.history import AS_DEBT, instruments
from gridtally_cloud.prepay.instruments import waiting_payments
from gridtally_cloud.prepay.model import InstrumentState, InstrumentView, Notice
from gridtally_cloud.prepay.notices import notice_of
from gridtally_cloud.prepay.tables import payment, refund
from gridtally_cloud.prepay.wallet import TELLING, posted
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.charges import charge_of, lines_of
from gridtally_shared.ledger.entries import OWN, Kind, LedgerEntry, Pool
from gridtally_shared.ledger.replay import LedgerState, apply, problem_of
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.lines import Line

SHOWN = 60
_j, _m, _c = journal_entry.c, account_mirror.c, checkpoint.c


class Side(StrEnum):
    CLOUD = "cloud"
    EDGE = "edge"


@dataclass(frozen=True, slots=True)
class Part:
    """What an entry moved into a pool; 'paid' is the balance."""

    pool: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class ReplayLine:
    """One fact of either side. `amount_nano`: of an edge's line its effect on the balance, of a cloud's the money it is about.
    `balance_nano` stands on the edge's lines only. `payment_no` 0: none."""

    side: Side
    at_ms: int
    kind: str
    amount_nano: int
    number: int
    gseq: int = 0
    payment_no: int = 0
    method: str = ""
    balance_nano: int | None = None
    parts: tuple[Part, ...] = ()
    charges: tuple[Line, ...] = ()
    notice: Notice | None = None
    register_before_wh: int | None = None
    register_after_wh: int | None = None
    tariff_version: int = 0

    @property
    def energy_wh(self) -> int:
        before, after = self.register_before_wh, self.register_after_wh
        return after - before if before is not None and after is not None else 0


@dataclass(frozen=True, slots=True)
class Transit:
    """Money the replay does not show yet. `gseq` 0: it waits for an instrument."""

    payment_no: int
    gseq: int
    amount_nano: int
    since_ms: int
    state: str


@dataclass(frozen=True, slots=True)
class Replay:
    """`lines` oldest first. `from_seq`: the entry the replay began behind (0: the first). `finding`: what does not fit, else ''.
    `unread`: entries received behind a gap or a finding."""

    account_no: int
    currency: str
    epoch: int
    balance_nano: int
    debt_nano: int
    as_of_ms: int
    seq: int
    head: str
    from_seq: int
    lines: tuple[ReplayLine, ...]
    in_transit: tuple[Transit, ...]
    finding: str
    unread: int

    @property
    def known(self) -> bool:
        return self.seq > 0

    @property
    def transit_nano(self) -> int:
        return sum(t.amount_nano for t in self.in_transit)


def replayed(conn: Connection, account_no: int, shown: int = SHOWN) -> Replay:
    """Both streams of an account's present epoch. Raises RefusedCommand (unknown_account)."""
    account = account_of(conn, account_no)
    epoch = account.account_epoch
    mirror = conn.execute(select(account_mirror).where(_m.shard == SHARD, _m.account_no == account_no, _m.epoch == epoch)).one_or_none()
    begin = _begin(conn, account_no, epoch, max(0, (mirror.seq if mirror else 0) - shown))
    sent = instruments(conn, account_no)
    state, edge, problem = _edge_lines(conn, begin, {(i.epoch, i.gseq): i.payment_no or 0 for i in sent})
    edge = edge[-shown:]
    since_ms = edge[0].at_ms if edge and edge[0].number > 1 else 0
    cloud = sorted(_cloud_lines(conn, account_no, sent, since_ms), key=_when)
    return Replay(account_no, account.currency, epoch, state.balance_nano, state.debt_nano, state.at_ms, state.seq,
                  state.head.hex()[:16], begin.seq, tuple(merge(cloud, edge, key=_when)), _transit(conn, account_no, sent),
                  problem or _differs(mirror, state), _unread(conn, state))  # fmt: skip


def _when(line: ReplayLine) -> tuple[int, bool]:
    """The cloud's facts of an instant stand before the edge's; the edge's stay in the order of their numbers."""
    return line.at_ms, line.side is Side.EDGE


def _begin(conn: Connection, account_no: int, epoch: int, below: int) -> LedgerState:
    good = and_(_c.shard == SHARD, _c.account_no == account_no, _c.epoch == epoch, _c.seq <= below, _c.ledger_state.is_not(None))
    kept = conn.execute(select(_c.ledger_state).where(good).order_by(_c.seq.desc()).limit(1)).scalar_one_or_none()
    return state_from(conn, account_no, epoch, bytes(kept)) if kept is not None else LedgerState(account_no, epoch)


def _differs(mirror: Row[Any] | None, state: LedgerState) -> str:
    if mirror is None or (mirror.seq, mirror.balance_nano, bytes(mirror.head)) == (state.seq, state.balance_nano, state.head):
        return ""
    return f"the mirror is on record with entry {mirror.seq} and {mirror.balance_nano} nano, the replay ends with {state.seq}"


def _unread(conn: Connection, state: LedgerState) -> int:
    more = and_(_j.shard == SHARD, _j.account_no == state.account_no, _j.epoch == state.epoch, _j.seq > state.seq)
    return int(conn.execute(select(func.count()).select_from(journal_entry).where(more)).scalar_one())


# ---- the edge's side ------------------------------------------------------------------------------------------


def _edge_lines(conn: Connection, begin: LedgerState, paid_by: dict[tuple[int, int], int]) -> tuple[LedgerState, list[ReplayLine], str]:
    state, latest_ms = begin, 0
    lines: list[ReplayLine] = []
    for entry in verified(conn, begin.account_no, begin.epoch, begin.seq + 1):
        problem = problem_of(state, entry)
        if problem is not None:
            return state, lines, f"entry {problem.seq}: {problem.text}"
        state, latest_ms = apply(state, entry), max(latest_ms, entry.at_ms)
        lines.append(_edge_line(entry, state, latest_ms, paid_by.get((entry.epoch, entry.gseq), 0)))
    return state, lines, ""


def _edge_line(entry: LedgerEntry, state: LedgerState, at_ms: int, payment_no: int) -> ReplayLine:
    kind = Kind(entry.kind)
    own = sum(posted(entry, pool) for pool in OWN)
    parts = tuple(Part(Pool(p.pool).name.lower(), p.amount_nano) for p in entry.postings)
    notice = notice_of(entry, TELLING[kind]) if kind in TELLING else None
    return ReplayLine(Side.EDGE, at_ms, kind.name.lower(), own, entry.seq, entry.gseq, payment_no if entry.gseq else 0, "",
                      state.balance_nano, parts, _charges(entry), notice, entry.register_before_wh, entry.register_after_wh,
                      entry.tariff_version)  # fmt: skip


def _charges(entry: LedgerEntry) -> tuple[Line, ...]:
    """The tariff's own lines; none where the entry is older than them. The postings beside them say where the money went."""
    try:
        record = charge_of(entry)
        return lines_of(record) if record else ()
    except ContractError:
        return ()


# ---- the cloud's side -----------------------------------------------------------------------------------------


def _cloud_lines(conn: Connection, account_no: int, sent: tuple[InstrumentView, ...], since_ms: int) -> Iterator[ReplayLine]:
    p, r = payment.c, refund.c
    for row in conn.execute(select(payment).where(p.account_no == account_no, p.captured_ms >= since_ms)):
        yield ReplayLine(Side.CLOUD, row.captured_ms, "payment", row.amount_nano, row.payment_no, 0, row.payment_no, row.method)
    back = select(refund, p.account_no).join(payment).where(p.account_no == account_no, r.at_ms >= since_ms)
    for row in conn.execute(back):
        yield ReplayLine(Side.CLOUD, row.at_ms, "refund", -row.amount_nano, row.refund_no, 0, row.payment_no)
    for i in sent:
        if i.issued_at_ms >= since_ms:
            yield ReplayLine(Side.CLOUD, i.issued_at_ms, "instrument", i.amount_nano, i.gseq, i.gseq, i.payment_no or 0)


def _transit(conn: Connection, account_no: int, sent: tuple[InstrumentView, ...]) -> tuple[Transit, ...]:
    open_ones = [Transit(i.payment_no or 0, i.gseq, i.amount_nano, i.issued_at_ms, i.state.value) for i in sent
                 if i.state is not InstrumentState.APPLIED and i.amount_nano and (i.amount_nano > 0 or i.type not in AS_DEBT)]  # fmt: skip
    waiting = [Transit(w.payment_no, 0, w.amount_nano, w.captured_ms, "waiting") for w in waiting_payments(conn, account_no)]
    return tuple(sorted([*open_ones, *waiting], key=lambda t: t.since_ms))
