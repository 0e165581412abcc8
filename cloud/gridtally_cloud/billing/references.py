"""What the money behind an instrument is called on the statement of a prepaid account: the payment, or the event it is for.

An event's transfers are told by what their instrument stands for (`programs/money.py` signs its number into it), in whichever epoch.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.billing.names import event_name, payment_name
from gridtally_cloud.prepay.instruments import reference_hash
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.programs.model import transfer_reference
from gridtally_cloud.programs.tables import schedule, schedule_posting
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.signing import open_unverified

Names = dict[tuple[int, int], str]
_i = instrument.c


def references(conn: Connection, account_no: int) -> Names:
    """By (epoch, gseq)."""
    mine = select(_i.epoch, _i.gseq, _i.payment_no).where(_i.shard == SHARD, _i.account_no == account_no)
    rows = conn.execute(mine.where(_i.payment_no.is_not(None)))
    return {(r.epoch, r.gseq): payment_name(r.payment_no) for r in rows} | _events(conn, account_no)


def _events(conn: Connection, account_no: int) -> Names:
    p = schedule_posting.c
    query = select(p.schedule_no, p.kind).join(schedule, schedule.c.schedule_no == p.schedule_no)
    moved = conn.execute(query.where(schedule.c.requester_no == account_no, p.kind.in_(("funding", "return")))).all()
    by_hash = {reference_hash(transfer_reference(r.schedule_no, r.kind)): event_name(r.schedule_no) for r in moved}
    if not by_hash:
        return {}
    brought = select(_i.epoch, _i.gseq, _i.envelope).where(_i.shard == SHARD, _i.account_no == account_no)
    rows = conn.execute(brought.where(_i.type == int(InstrumentType.OPENING)))
    made = ((r, decode(Instrument, open_unverified(bytes(r.envelope))[1]).payment_ref) for r in rows)
    return {(r.epoch, r.gseq): by_hash[ref] for r, ref in made if ref in by_hash}
