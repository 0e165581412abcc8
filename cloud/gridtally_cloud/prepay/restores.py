"""How long a payment takes to bring a supply back: from its capture to the relay that was read back closed (BYPL-4.5, prepayment.md 7).

* The last payment that was credited before the relay closed is the one that brought it back.
* The end is the concentrator's clock, the beginning ours. An entry that can not be read counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, select

from gridtally_cloud.prepay.tables import instrument, payment
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Restored:
    """A supply that came back with a payment."""

    account_no: int
    payment_no: int
    paid_ms: int
    closed_ms: int

    @property
    def took_ms(self) -> int:
        return self.closed_ms - self.paid_ms


def restores(conn: Connection, since_ms: int) -> tuple[Restored, ...]:
    """Supplies that came back since, account by account."""
    j, i, p = journal_entry.c, instrument.c, payment.c
    wanted = (j.shard == SHARD, j.verified, j.kind.in_((int(Kind.CREDIT), int(Kind.SWITCH))), j.at_ms >= since_ms)
    rows = conn.execute(select(j.body).where(*wanted).order_by(j.account_no, j.epoch, j.seq)).scalars()
    paid = select(i.account_no, i.epoch, i.gseq, p.payment_no, p.captured_ms).join(payment, p.payment_no == i.payment_no)
    payments = {(r.account_no, r.epoch, r.gseq): (r.payment_no, r.captured_ms) for r in conn.execute(paid.where(p.captured_ms >= since_ms))}
    return tuple(_restored((entry_from(bytes(body)) for body in rows), payments))


def _restored(entries: Iterable[LedgerEntry], payments: dict[tuple[int, int, int], tuple[int, int]]) -> Iterator[Restored]:
    dark: set[int] = set()
    brought: dict[int, tuple[int, int]] = {}
    for entry in entries:
        no, moved = entry.account_no, _moved(entry)
        if moved is None and no in dark:
            brought[no] = payments.get((no, entry.epoch, entry.gseq), brought.get(no, (0, 0)))
        if moved is False:
            dark.add(no)
            brought.pop(no, None)
        if moved is True and no in dark:
            dark.discard(no)
            payment_no, paid_ms = brought.pop(no, (0, 0))
            if payment_no:
                yield Restored(no, payment_no, paid_ms, entry.at_ms)


def _moved(entry: LedgerEntry) -> bool | None:
    """Whether a relay was seen to close (True) or open (False); None for anything else."""
    if entry.kind != Kind.SWITCH:
        return None
    try:
        seen = evidence_of(entry)
    except ContractError:
        return None
    return seen.close if isinstance(seen, SwitchEvidence) and seen.result in ("done", "already") else None
