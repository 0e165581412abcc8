"""The code and parameters inside a NOTICE, DECISION or SWITCH entry of the journal. Texts are local to whoever shows them."""

from __future__ import annotations

from gridtally_cloud.prepay.model import Notice
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import LedgerEntry
from gridtally_shared.ledger.evidence import DecisionEvidence, Evidence, MessageEvidence, evidence_of

UNREADABLE = "unreadable"


def notice_of(entry: LedgerEntry, kind: str) -> Notice:
    """The entry as a notice; one whose evidence can not be read keeps its place with the code 'unreadable'."""
    try:
        evidence = evidence_of(entry)
    except ContractError:
        return Notice(entry.seq, entry.at_ms, kind, UNREADABLE)
    code, params = _said(evidence)
    return Notice(entry.seq, entry.at_ms, kind, code, params)


def _said(evidence: Evidence | None) -> tuple[str, tuple[tuple[str, str], ...]]:
    match evidence:
        case None:
            return "", ()
        case MessageEvidence():
            return evidence.code, tuple((p.name, p.value) for p in evidence.params)
        case DecisionEvidence():
            return evidence.verdict, tuple((t.name, t.seen) for t in evidence.tests if not t.holds)
        case _:
            return "close" if evidence.close else "open", (("result", evidence.result), ("origin", evidence.origin))
