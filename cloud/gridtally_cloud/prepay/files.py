"""Instruments as a signed file: for a concentrator that the network does not reach, carried by hand or as QR codes.

What the mirror has not shown yet goes in, in the order of the numbers; a file may be made and brought as often as one likes.

Source: prepayment.md 5.2 (carriers).
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, or_, select

from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import account_mirror, dcu
from gridtally_shared.contract.messages import CONTRACT_VERSION
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.carrier import InstrumentBatch, batch_text
from gridtally_shared.signing import Signer

i, m = instrument.c, account_mirror.c
MOST = 2_000


def file_for(conn: Connection, signer: Signer, name: str, at_ms: int, account_no: int | None = None) -> tuple[str, int]:
    """The text of the file and how many instruments are in it, for a concentrator or one of its accounts. Raises
    RefusedCommand (unknown_dcu, nothing_to_carry)."""
    if conn.execute(select(dcu.c.dcu).where(dcu.c.dcu == name)).first() is None:
        raise RefusedCommand("unknown_dcu", f"there is no concentrator {name}: 'gridtally-mdm inventory list' names them")
    envelopes = _waiting(conn, name, account_no)
    if not envelopes:
        raise RefusedCommand("nothing_to_carry", f"every instrument for {name} has been seen in its journal: there is nothing to carry")
    return batch_text(signer, InstrumentBatch(CONTRACT_VERSION, name, at_ms, envelopes)), len(envelopes)


def _waiting(conn: Connection, name: str, account_no: int | None) -> tuple[bytes, ...]:
    mirrored = and_(m.shard == i.shard, m.account_no == i.account_no, m.epoch == i.epoch)
    query = select(i.envelope).outerjoin(account_mirror, mirrored)
    query = query.where(i.shard == SHARD, i.dcu == name, or_(m.gseq_prefix.is_(None), i.gseq > m.gseq_prefix))
    if account_no is not None:
        query = query.where(i.account_no == account_no)
    rows = conn.execute(query.order_by(i.account_no, i.epoch, i.gseq).limit(MOST))
    return tuple(bytes(row.envelope) for row in rows)
