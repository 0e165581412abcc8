"""What keeps a supply off, as far as it is known here: holds of its record, holds that were ordered, and what people did on site.

* The concentrator has the last word: it refuses a close it knows to be held, whatever is said here (safety.md 1).
* A person on site sets and lifts safety and work holds at the box; the account's mirrored journal tells it. Where no box runs the account,
  the box tells it by itself (site_words.py).
* A later word about a reason replaces an earlier one, in the order in which the concentrator heard them. A hold of the record stands
  until it is taken out there, or lifted on site.
"""

from __future__ import annotations

from operator import itemgetter

from sqlalchemy import Connection, bindparam, func, select

from gridtally_cloud.customers.accounts import policy_from
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay import site_words
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import LIFTED_ON_SITE, Detail, HoldOrder, ProtectOrder
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.entries import Kind, entry_from
from gridtally_shared.ledger.standing_orders import Stands, order_of_entry
from gridtally_shared.lifecycle import Reason
from gridtally_shared.prepay.holds import holds_against_close, holds_against_cut
from gridtally_shared.signing import open_unverified

NOT_YET = 2**62
PREPAID = "prepaid"
Place = tuple[int, int]


def check_may_close(conn: Connection, meter_no: int) -> None:
    """Raises RefusedCommand (held) for a supply that is known to be held off."""
    a = account.c
    row = conn.execute(select(account).where(a.meter_no == meter_no, a.closed_ms.is_(None))).first()
    by_record = held_of(conn, row.account_no, row.account_epoch, policy_from(row).holds) if row is not None else ()
    by_meter = () if row is not None and row.mode == PREPAID else site_words.standing(conn, meter_no)
    held = holds_against_close(tuple(dict.fromkeys((*by_record, *by_meter))))
    if held:
        on_site = sorted(LIFTED_ON_SITE.intersection(held))
        how = [f"{' and '.join(on_site)}: only a named person at the box lifts it ('gridtally-dcu hold lift')"] if on_site else []
        others = [h for h in held if h not in LIFTED_ON_SITE]
        how += [f"{', '.join(others)}: lifted where it was set ('gridtally-mdm order hold')"] if others else []
        which = f"account {row.account_no}" if row is not None else f"meter {meter_no}"
        raise RefusedCommand(Reason.HELD, f"{which} is held off, so its supply is not switched on. {'; '.join(how)}")


def check_may_open(conn: Connection, meter_no: int, at_ms: int) -> None:
    """Raises RefusedCommand (protected) for a protected supply that is managed from here: its concentrator, which would refuse it, knows
    nothing of its holds."""
    a = account.c
    row = conn.execute(select(account).where(a.meter_no == meter_no, a.closed_ms.is_(None))).first()
    if row is None or not is_managed(conn, row.account_no):
        return
    held = held_of(conn, row.account_no, row.account_epoch, policy_from(row).holds)
    protected = holds_against_cut((*held, *protections_of(conn, row.account_no, row.account_epoch, at_ms)))
    if protected:
        by = ", ".join(protected)
        raise RefusedCommand(Reason.PROTECTED, f"account {row.account_no} is protected ({by}), so its supply is not switched off: lift the "
                             "protection first, or order it for safety or work")  # fmt: skip


def held_of(conn: Connection, account_no: int, epoch: int, recorded: tuple[str, ...]) -> tuple[str, ...]:
    """The holds of an account by all that is known here."""
    orders = _details(conn, account_no, epoch, InstrumentType.HOLD)
    words = [(place, order) for place, order in orders if isinstance(order, HoldOrder)]
    words += [(place, order) for place, order in given_there(conn, account_no, epoch) if isinstance(order, HoldOrder)]
    last = dict.fromkeys(recorded, True) | {order.reason: order.on for _, order in sorted(words, key=itemgetter(0))}
    stays = {reason for reason in recorded if reason not in LIFTED_ON_SITE}
    return tuple(sorted(stays | {reason for reason, on in last.items() if on}))


def protections_of(conn: Connection, account_no: int, epoch: int, at_ms: int) -> frozenset[str]:
    """The protections that are ordered for an account and not over: at its concentrator they are holds against a cut."""
    orders = _details(conn, account_no, epoch, InstrumentType.PROTECT)
    last = {order.reason: order for _, order in orders if isinstance(order, ProtectOrder)}
    return frozenset(reason for reason, order in last.items() if order.on and (not order.until_ms or at_ms <= order.until_ms))


def _details(conn: Connection, account_no: int, epoch: int, kind: InstrumentType) -> list[tuple[Place, Detail | None]]:
    """The orders of this type, with their place; oldest first."""
    i, places = instrument.c, places_of(conn, account_no, epoch)
    mine = (i.shard == SHARD, i.account_no == account_no, i.epoch == epoch, i.type == int(kind))
    rows = conn.execute(select(i.gseq, i.envelope).where(*mine).order_by(i.gseq))
    details = [(row.gseq, detail_of(decode(Instrument, open_unverified(bytes(row.envelope))[1]))) for row in rows]
    return [(places.get(gseq, (NOT_YET, gseq)), detail) for gseq, detail in details]


def places_of(conn: Connection, account_no: int, epoch: int) -> dict[int, Place]:
    """Where instruments took place among all that was ordered: in the order of the journal. Those that are not there yet come last."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == account_no, j.epoch == epoch, j.gseq > 0, j.verified)
    return {row.gseq: (row.seq, 0) for row in conn.execute(select(j.gseq, j.seq).where(*mine))}


def given_there(conn: Connection, account_no: int, epoch: int) -> list[tuple[Place, Stands]]:
    """What stands by no instrument, with its place: what people at the box ordered, what came as a command, and holds of a record that
    only a person there lifts; oldest first, what is still to be written last."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == account_no, j.epoch == epoch, j.kind == int(Kind.CONTROL), j.gseq == 0, j.verified)
    entries = [entry_from(bytes(body)) for body in conn.execute(select(j.body).where(*mine).order_by(j.seq)).scalars()]
    written = [((entry.seq, 0), order) for entry in entries if (order := order_of_entry(entry)) is not None]
    return [*written, *_said_on_site(conn, account_no, epoch)]


def _said_on_site(conn: Connection, account_no: int, epoch: int) -> list[tuple[Place, Stands]]:
    """What was said at a supply that is run from here and does not stand in its journal yet: behind what had been issued by then."""
    if not is_managed(conn, account_no):
        return []
    i = instrument.c
    meter_no = conn.execute(select(account.c.meter_no).where(account.c.account_no == account_no)).scalar_one()
    mine = (i.shard == SHARD, i.account_no == account_no, i.epoch == epoch)
    issued = select(func.coalesce(func.max(i.gseq), 0)).where(*mine, i.issued_ms <= bindparam("by_ms"))
    return [((NOT_YET, conn.execute(issued, {"by_ms": at_ms}).scalar_one()), order) for at_ms, order in site_words.waiting(conn, meter_no)]
