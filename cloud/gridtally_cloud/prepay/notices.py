"""Messages to the consumer: those inside NOTICE, DECISION and SWITCH entries of the journal, and what the cloud itself has to say.

* A code and its parameters travel; texts are local to whoever shows them (prepayment.md 6.3).
* The cloud tells the same thing about the same thing once: (account, code, ref) is unique. What it tells also leaves the house
  (customers/outgoing.py).
"""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from gridtally_cloud.customers import outgoing
from gridtally_cloud.prepay.model import Notice
from gridtally_cloud.prepay.tables import consumer_notice
from gridtally_cloud.store.db import insert_new
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import LedgerEntry
from gridtally_shared.ledger.evidence import DecisionEvidence, Evidence, MessageEvidence, SwitchEvidence, evidence_of

UNREADABLE = "unreadable"
REACHED = frozenset({"done", "already"})
"""Results of a switch action after which the switch was read where it was to be."""
TOLD = "told"
"""`kind` of a message of the cloud's own; its `seq` is 0, for it is no entry of a journal."""


def tell(conn: Connection, account_no: int, code: str, ref: str, at_ms: int, **params: str) -> bool:
    """Tell a consumer something about `ref`; False where it was told before."""
    row = {"account_no": account_no, "code": code, "params": json.dumps(sorted(params.items())), "ref": ref, "at_ms": at_ms}
    is_new = insert_new(conn, consumer_notice, [row]) > 0
    if is_new:
        outgoing.put(conn, account_no, code, ref, at_ms, sorted(params.items()))
    return is_new


def told(conn: Connection, account_no: int, limit: int = 10) -> tuple[Notice, ...]:
    """What the cloud told a consumer, newest first."""
    n = consumer_notice.c
    rows = conn.execute(select(consumer_notice).where(n.account_no == account_no).order_by(n.notice_no.desc()).limit(limit))
    return tuple(Notice(0, r.at_ms, TOLD, r.code, tuple((k, v) for k, v in json.loads(r.params)), f"{TOLD}/{r.notice_no}")
                 for r in rows)  # fmt: skip


def notice_of(entry: LedgerEntry, kind: str) -> Notice:
    """The entry as a notice; one whose evidence can not be read keeps its place with the code 'unreadable'."""
    try:
        evidence = evidence_of(entry)
    except ContractError:
        return Notice(entry.seq, entry.at_ms, kind, UNREADABLE)
    code, params = _said(evidence)
    return Notice(entry.seq, entry.at_ms, kind, code, params, f"{entry.epoch}/{entry.seq}")


def switch_code(evidence: SwitchEvidence) -> str:
    """What the switch did; one that was not seen to follow did nothing that may be told as done."""
    did = "close" if evidence.close else "open"
    return did if evidence.result in REACHED else f"{did}_failed"


def _said(evidence: Evidence | None) -> tuple[str, tuple[tuple[str, str], ...]]:
    match evidence:
        case None:
            return "", ()
        case MessageEvidence():
            return evidence.code, tuple((p.name, p.value) for p in evidence.params)
        case DecisionEvidence():
            return evidence.verdict, tuple((t.name, t.seen) for t in evidence.tests if not t.holds)
        case SwitchEvidence():
            return switch_code(evidence), (("result", evidence.result), ("origin", evidence.origin))
        case _:
            return "", ()
