"""What keeps a supply off, as far as it is known here: holds of its record, holds that were ordered, and what people did on site.

* The concentrator has the last word: it refuses a close it knows to be held, whatever is said here (safety.md 1).
* A person on site sets and lifts safety and work holds at the box; the account's mirrored journal tells it.
* A later word about a reason replaces an earlier one. A hold of the record stands until it is taken out there, or lifted on site.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.customers.accounts import policy_from
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.instruments.details import LIFTED_ON_SITE, Detail, HoldOrder, ProtectOrder
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.entries import Kind, entry_from
from gridtally_shared.ledger.evidence import InstrumentEvidence, evidence_of
from gridtally_shared.lifecycle import Reason
from gridtally_shared.prepay.holds import holds_against_close
from gridtally_shared.signing import open_unverified

LIFTED = "lifted"


def check_may_close(conn: Connection, meter_no: int) -> None:
    """Raises RefusedCommand (held) for a supply that is known to be held off."""
    a = account.c
    row = conn.execute(select(account).where(a.meter_no == meter_no, a.closed_ms.is_(None))).first()
    if row is None:
        return
    held = holds_against_close(held_of(conn, row.account_no, row.account_epoch, policy_from(row).holds))
    if held:
        on_site = sorted(LIFTED_ON_SITE.intersection(held))
        how = [f"{' and '.join(on_site)}: only a named person at the box lifts it ('gridtally-dcu hold lift')"] if on_site else []
        others = [h for h in held if h not in LIFTED_ON_SITE]
        how += [f"{', '.join(others)}: lifted where it was set ('gridtally-mdm order hold')"] if others else []
        raise RefusedCommand(Reason.HELD, f"account {row.account_no} is held off, so its supply is not switched on. {'; '.join(how)}")


def held_of(conn: Connection, account_no: int, epoch: int, recorded: tuple[str, ...]) -> tuple[str, ...]:
    """The holds of an account by all that is known here."""
    words = sorted((*_ordered(conn, account_no, epoch), *on_site(conn, account_no, epoch)))
    last = dict.fromkeys(recorded, True) | {reason: on for _, reason, on in words}
    stays = {reason for reason in recorded if reason not in LIFTED_ON_SITE}
    return tuple(sorted(stays | {reason for reason, on in last.items() if on}))


def protections_of(conn: Connection, account_no: int, epoch: int, at_ms: int) -> frozenset[str]:
    """The protections that are ordered for an account and not over: at its concentrator they are holds against a cut."""
    orders = _details(conn, account_no, epoch, InstrumentType.PROTECT)
    last = {order.reason: order for _, order in orders if isinstance(order, ProtectOrder)}
    return frozenset(reason for reason, order in last.items() if order.on and (not order.until_ms or at_ms <= order.until_ms))


def _ordered(conn: Connection, account_no: int, epoch: int) -> list[tuple[int, str, bool]]:
    orders = _details(conn, account_no, epoch, InstrumentType.HOLD)
    return [(at_ms, order.reason, order.on) for at_ms, order in orders if isinstance(order, HoldOrder)]


def _details(conn: Connection, account_no: int, epoch: int, kind: InstrumentType) -> list[tuple[int, Detail | None]]:
    """When an order of this type was issued, and what it says; oldest first."""
    i = instrument.c
    mine = (i.shard == SHARD, i.account_no == account_no, i.epoch == epoch, i.type == int(kind))
    rows = conn.execute(select(i.issued_ms, i.envelope).where(*mine).order_by(i.gseq))
    return [(row.issued_ms, detail_of(decode(Instrument, open_unverified(bytes(row.envelope))[1]))) for row in rows]


def on_site(conn: Connection, account_no: int, epoch: int) -> list[tuple[int, str, bool]]:
    """When, which hold, and whether it was set: what people at the box did, oldest first."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == account_no, j.epoch == epoch, j.kind == int(Kind.CONTROL), j.gseq == 0, j.verified)
    found = []
    for (body,) in conn.execute(select(j.body).where(*mine).order_by(j.seq)):
        entry = entry_from(bytes(body))
        try:
            said = evidence_of(entry)
        except ContractError:
            continue
        if isinstance(said, InstrumentEvidence) and said.by and said.seen.startswith("hold "):
            found.append((entry.at_ms, said.reason, LIFTED not in said.seen))
    return found
