"""Why a supply is on or off, from the account's mirrored journal: the last decision and switch action with their tests."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, entry_from
from gridtally_shared.ledger.evidence import DecisionEvidence, SwitchEvidence, evidence_of

KINDS = (int(Kind.DECISION), int(Kind.SWITCH))
LOOK_BACK = 500
"""A restore that is tried again and again leaves many entries between a cut and now."""


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """Exactly one of `decision` and `switch` is set; both None when the entry can not be read."""

    epoch: int
    seq: int
    at_ms: int
    decision: DecisionEvidence | None
    switch: SwitchEvidence | None


def evidence(conn: Connection, account_no: int, limit: int = 6) -> tuple[EvidenceRow, ...]:
    """Newest first; and, however far back it lies, the last action that opened the switch."""
    rows = _newest(conn, account_no, KINDS, limit)
    if any(_opened(row) for row in rows):
        return rows
    further = _newest(conn, account_no, (int(Kind.SWITCH),), LOOK_BACK)
    return (*rows, *(row for row in further if _opened(row)))[: len(rows) + 1]


def _newest(conn: Connection, account_no: int, kinds: tuple[int, ...], limit: int) -> tuple[EvidenceRow, ...]:
    j = journal_entry.c
    query = select(j.epoch, j.seq, j.at_ms, j.body).where(j.shard == SHARD, j.account_no == account_no, j.kind.in_(kinds))
    rows = conn.execute(query.order_by(j.epoch.desc(), j.seq.desc()).limit(limit))
    return tuple(_row(r.epoch, r.seq, r.at_ms, r.body) for r in rows)


def _opened(row: EvidenceRow) -> bool:
    return row.switch is not None and not row.switch.close


def _row(epoch: int, seq: int, at_ms: int, body: bytes) -> EvidenceRow:
    try:
        found = evidence_of(entry_from(body))
    except ContractError:
        found = None
    decision = found if isinstance(found, DecisionEvidence) else None
    return EvidenceRow(epoch, seq, at_ms, decision, found if isinstance(found, SwitchEvidence) else None)


def why(rows: tuple[EvidenceRow, ...], supply: str) -> str:
    """The key of the sentence that tells why a supply is as it is: on, off_balance, off_order, off_unknown, armed..."""
    if supply != "off":
        return supply
    last = next((r.switch for r in rows if r.switch and not r.switch.close), None)
    if last is None:
        return "off_unknown"
    return "off_order" if last.origin == "command" else "off_balance"
