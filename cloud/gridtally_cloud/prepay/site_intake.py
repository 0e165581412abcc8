"""What people did on site at a supply whose account no concentrator runs comes in (safety.md 1, 17).

* An entry holds the evidence that a concentrator's journal would hold. The same entry again is the same entry.
* Only the concentrator that serves the meter may say it, and only a hold that is lifted on site; a lift names who lifted it.
* Where a concentrator runs the account by now, its journal says what stands: what was said before is kept as evidence.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, or_, select

from gridtally_cloud.commands.receipts import note_switch_evidence
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import hold, hold_meter
from gridtally_cloud.customers.tables import account
from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.ingest.measurements import served
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.prepay.site_tables import site_entry
from gridtally_cloud.prepay.site_words import hold_in
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import insert_new
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.prepay_messages import SiteEntry
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.details import LIFTED_ON_SITE
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import InstrumentEvidence, SwitchEvidence

ENTRY_ID_BYTES = 16
ON_SITE = "site"
_S, _A = site_entry.c, account.c


def take_site_entry(arrival: Arrival, entry: SiteEntry) -> None:
    """Keep what was done on site. Raises ContractError for what nobody on site does, or of a meter of another concentrator."""
    _check(entry)
    if entry.meter_no not in served(arrival, (entry.meter_no,)):
        raise ContractError(f"meter {entry.meter_no} is not served by {arrival.dcu}")
    over_ms = arrival.now_ms if _has_journal_there(arrival.conn, entry) else None
    insert_new(arrival.conn, site_entry, [{
        "shard": SHARD, "entry_id": entry.entry_id, "meter_no": entry.meter_no, "kind": entry.kind, "at_ms": entry.at_ms,
        "detail": entry.detail, "dcu": arrival.dcu, "place": _next_place(arrival.conn, entry.meter_no), "received_ms": arrival.now_ms,
        "written_ms": None, "over_ms": over_ms,
    }])  # fmt: skip
    if entry.kind == Kind.SWITCH:
        note_switch_evidence(arrival.conn, entry.meter_no, entry.detail)


def _has_journal_there(conn: Connection, entry: SiteEntry) -> bool:
    """Whether a concentrator runs the account of this supply, which stays so until this transaction ends. The account may have got another
    meter meanwhile."""
    meant = or_(_A.meter_no == entry.meter_no, _A.account_no == entry.account_no)
    numbers = conn.execute(select(_A.account_no).where(meant, _A.closed_ms.is_(None)).order_by(_A.account_no)).scalars().all()
    hold(conn, *numbers)
    return any(account_of(conn, no).is_prepaid and not is_managed(conn, no) for no in numbers)


def _next_place(conn: Connection, meter_no: int) -> int:
    hold_meter(conn, meter_no)
    mine = (_S.shard == SHARD, _S.meter_no == meter_no)
    return int(conn.execute(select(func.coalesce(func.max(_S.place), 0) + 1).where(*mine)).scalar_one())


def _check(entry: SiteEntry) -> None:
    if len(entry.entry_id) != ENTRY_ID_BYTES:
        raise ContractError(f"an entry of meter {entry.meter_no} made on site has no number of its own")
    check = CHECKS.get(entry.kind)
    if check is None:
        raise ContractError(f"an entry of kind {entry.kind} is not made on site")
    check(entry.detail)


def _check_hold(detail: bytes) -> None:
    order, said = hold_in(detail), decode(InstrumentEvidence, detail)
    if order is not None and order.reason not in LIFTED_ON_SITE:
        raise ContractError(f"a {order.reason!r} hold is neither set nor lifted on site")
    if not said.by and (order is None or not order.on):
        raise ContractError("nobody is named who did it on site")


def _check_switch(detail: bytes) -> None:
    if decode(SwitchEvidence, detail).origin != ON_SITE:
        raise ContractError("a switch action that nobody on site asked for has its own receipt")


CHECKS = {int(Kind.CONTROL): _check_hold, int(Kind.SWITCH): _check_switch}
