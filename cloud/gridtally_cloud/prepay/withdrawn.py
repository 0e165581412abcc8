"""A change of the way of paying that the meter refused: its concentrator withdrew it, and the journal says which order ended and why.

* The account stays in its present mode; the order is on its way no more, and does not go on at another concentrator.
* An order for a person says what the meter answered; other systems hear of it as of every order (ETSI 5.2.5, alternative 2).
* A change can be ordered again: then the meter is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_cloud.workorders.service import OrderKind, open_order
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from
from gridtally_shared.ledger.evidence import InstrumentEvidence, evidence_of

REASON = "meter_refused"
ACTOR = "edge"


def withdrawn(conn: Connection, account_no: int, epoch: int) -> Mapping[int, str]:
    """By the number of the instrument that ordered it (0: a configuration): why the meter refused."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == account_no, j.epoch == epoch, j.kind == int(Kind.CONTROL), j.gseq == 0, j.verified)
    found = (_said(entry_from(bytes(body))) for body in conn.execute(select(j.body).where(*mine).order_by(j.seq)).scalars())
    return {said.gseq: said.refused for said in found if said is not None}


def mirrored(conn: Connection, entry: LedgerEntry) -> None:
    """The mirror shows an entry that no instrument used: where it withdraws a change, a person is told."""
    said = _said(entry)
    if said is None:
        return
    text = f"order {entry.epoch}/{said.gseq}: {said.seen}, the meter answered {said.refused}"
    record(conn, entry.at_ms, ACTOR, "account.conversion_refused", f"account:{entry.account_no}", text)
    ref = f"mode {entry.account_no}/{entry.epoch}/{entry.seq}"
    open_order(conn, OrderKind.MODE_REVIEW, entry.account_no, ref, REASON, entry.at_ms, ACTOR, said.refused)


def _said(entry: LedgerEntry) -> InstrumentEvidence | None:
    try:
        said = evidence_of(entry)
    except ContractError:
        return None
    if not isinstance(said, InstrumentEvidence) or entry.gseq:
        return None
    return said if said.type == InstrumentType.MODE_SET and said.refused else None
