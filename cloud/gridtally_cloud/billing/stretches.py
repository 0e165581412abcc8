"""When an account was billed and when it paid ahead: the stretches of regular billing, with the readings they begin and end with.

* A change of the way of paying is a MODE entry of the journal; its one reading ends the one stretch and begins the other (T3).
* The day of a change to regular billing is charged in the journal already; the bill's days begin with the next one.
* An account without a journal was billed from its opening, if it is billed now.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, select

from gridtally_cloud.billing.model import Reading
from gridtally_cloud.customers.model import Account
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """Regular billing from `from_ms` on. `first` and `last`: the readings of the changes around it, None where there was none."""

    from_ms: int
    first: Reading | None = None
    until_ms: int | None = None
    last: Reading | None = None

    def holds(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)


def stretches(conn: Connection, account: Account) -> tuple[Stretch, ...]:
    """Oldest first."""
    entries = _changes(conn, account.account_no)
    opening = next((e for e in entries if e.kind == Kind.OPEN), None)
    billed = opening.mode == AccountMode.POSTPAID if opening else not account.is_prepaid
    found = [Stretch(account.opened_at_ms)] if billed else []
    for entry in (e for e in entries if e.kind == Kind.MODE):
        reading = Reading(entry.at_ms, entry.register_after_wh or 0)
        if entry.mode == AccountMode.POSTPAID:
            found.append(Stretch(entry.at_ms, reading))
        elif found:
            found[-1] = replace(found[-1], until_ms=entry.at_ms, last=reading)
    return tuple(found)


def stretch_at(conn: Connection, account: Account, at_ms: int) -> Stretch | None:
    """The stretch that holds an instant; None where the account paid ahead then. Before the first one: the first."""
    found = stretches(conn, account)
    if found and at_ms < found[0].from_ms == account.opened_at_ms:
        return found[0]
    return next((s for s in found if s.holds(at_ms)), None)


def _changes(conn: Connection, account_no: int) -> list[LedgerEntry]:
    j = journal_entry.c
    wanted = (j.shard == SHARD, j.account_no == account_no, j.verified, j.kind.in_((int(Kind.OPEN), int(Kind.MODE))))
    return [entry_from(bytes(body)) for body in conn.execute(select(j.body).where(*wanted).order_by(j.epoch, j.seq)).scalars()]
