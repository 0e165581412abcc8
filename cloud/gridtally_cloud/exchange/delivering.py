"""The worker's part of deliveries: what is due is claimed, sent outside a transaction, and noted.

* A worker that dies leaves what it claimed for the next after `CLAIM_MS`.
* One process delivers at a time: another would take up what the first finds an address is there for, and has in its hands.
* Once an address can not be reached in a turn, the rest of what waits for it is put off with it, untried.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from gridtally_cloud.exchange.deliveries import ErrorType, FileKind, anything_due, report_error
from gridtally_cloud.exchange.recipient_tables import delivery, delivery_file, recipient_address
from gridtally_cloud.exchange.recipients import DeliveryState, hold_all, is_folder
from gridtally_cloud.exchange.sending import put
from gridtally_cloud.integrations.patience import ERROR_NOTICES, RECEIVERS, Patience
from gridtally_cloud.integrations.posting import Fault, post
from gridtally_cloud.store.db import Database
from gridtally_shared.records import dataclass

log = logging.getLogger(__name__)

CLAIM_MS = 120_000
AT_ONCE = 20
NUMBER = "Gridtally-Delivery"
PATIENCE: dict[str, Patience] = {FileKind.DATA.value: RECEIVERS, FileKind.NOTICE.value: ERROR_NOTICES}
WAITING, TAKEN, DEAD = (state.value for state in (DeliveryState.WAITING, DeliveryState.TAKEN, DeliveryState.DEAD))


@dataclass(frozen=True, slots=True)
class Tried:
    """A delivery and what became of it; `fault` None: it was taken."""

    row: Any
    fault: Fault | None


def deliver_due(db: Database, now_ms: int) -> int:
    """Send what is due; how many deliveries were taken. Nothing where another process does."""
    with db.alone("deliveries") as allowed:
        return _deliver(db, now_ms) if allowed else 0


def _deliver(db: Database, now_ms: int) -> int:
    taken = 0
    while True:
        with db.write() as conn:
            claimed = _claimed(conn, now_ms)
        if not claimed:
            return taken
        tried = tuple(_tried(claimed))
        with db.write() as conn:
            hold_all(conn, {each.row.recipient for each in tried})
            for each in tried:
                _note(conn, each, now_ms)
        taken += sum(each.fault is None for each in tried)


def _claimed(conn: Connection, now_ms: int) -> list[Any]:
    if not anything_due(conn, now_ms):
        return []
    d, f, a = delivery.c, delivery_file.c, recipient_address.c
    join = delivery.join(delivery_file, f.file_no == d.file_no).join(recipient_address, a.address_no == d.address_no)
    columns = (delivery, f.recipient, f.kind, f.name, f.media, f.body, a.target, a.secret, a.attempts.label("address_attempts"))
    query = select(*columns).select_from(join).where(d.state == WAITING, d.next_ms <= now_ms).order_by(d.delivery_no).limit(AT_ONCE)
    rows = list(conn.execute(query.with_for_update(skip_locked=True, of=delivery)))
    conn.execute(update(delivery).where(d.delivery_no.in_([r.delivery_no for r in rows])).values(next_ms=now_ms + CLAIM_MS))
    return rows


def _tried(rows: list[Any]) -> Iterable[Tried]:
    away: set[int] = set()
    for row in rows:
        if row.address_no not in away:
            fault = _sent(row)
            if fault is not None and not fault.reached:
                away.add(row.address_no)
            yield Tried(row, fault)


def _sent(row: Any) -> Fault | None:
    if is_folder(row.target):
        return _put(Path(row.target), row.name, bytes(row.body))
    headers = {"Content-Type": row.media, "Content-Disposition": f'attachment; filename="{row.name}"', NUMBER: str(row.delivery_no)}
    return post(row.target, row.secret, headers, bytes(row.body))


def _put(folder: Path, name: str, body: bytes) -> Fault | None:
    try:
        put(folder, name, body)
    except OSError as error:
        return Fault(f"{error.strerror}: {folder}", reached=False)
    return None


# ---- what became of it ----------------------------------------------------------------------------------------


def _note(conn: Connection, tried: Tried, now_ms: int) -> None:
    row, fault = tried.row, tried.fault
    mine = (delivery.c.delivery_no == row.delivery_no, delivery.c.state == WAITING)
    if fault is None:
        if conn.execute(update(delivery).where(*mine).values(state=TAKEN, fault="", taken_ms=now_ms, attempts=row.attempts + 1)).rowcount:
            _is_here(conn, row.address_no, now_ms)
            _forget_body(conn, row.file_no)
        return
    patience = PATIENCE[row.kind]
    next_ms = patience.next_ms(row.attempts if fault.reached else max(row.attempts, row.address_attempts), now_ms)
    is_over = patience.is_over(row.made_ms, next_ms)
    values = {"state": DEAD if is_over else WAITING, "fault": fault.text[:200], "attempts": row.attempts + 1, "next_ms": next_ms}
    conn.execute(update(delivery).where(*mine).values(values))
    log.warning("a delivery waits", extra={"delivery_no": row.delivery_no, "fault": fault.text})
    if row.kind == FileKind.DATA.value:
        _report(conn, row, fault, is_over, now_ms)
    if not fault.reached:  # last, so that the notice of it waits for this address too
        _is_away(conn, row.address_no, now_ms, next_ms)


def _report(conn: Connection, row: Any, fault: Fault, is_over: bool, now_ms: int) -> None:
    """Once that it failed, and once that nobody tries any more."""
    ref, detail = f"delivery:{row.delivery_no}", f"{row.name} to {row.target}: {fault.text}"
    report_error(conn, row.recipient, ErrorType.NOT_SENT, ref, detail, now_ms)
    if is_over:
        report_error(conn, row.recipient, ErrorType.GIVEN_UP, f"{ref} of {row.made_ms}", detail, now_ms)


def _is_away(conn: Connection, address_no: int, now_ms: int, next_ms: int) -> None:
    """The address answers no more: what waits for it waits together."""
    a, d = recipient_address.c, delivery.c
    mine = update(recipient_address).where(a.address_no == address_no)
    conn.execute(mine.where(a.away_ms.is_(None)).values(away_ms=now_ms))
    conn.execute(mine.values(attempts=a.attempts + 1))
    conn.execute(update(delivery).where(d.address_no == address_no, d.state == WAITING).values(next_ms=next_ms))


def _is_here(conn: Connection, address_no: int, now_ms: int) -> None:
    """It is reached again: all that waits for it goes now."""
    a, d = recipient_address.c, delivery.c
    back = update(recipient_address).where(a.address_no == address_no, a.away_ms.is_not(None)).values(away_ms=None, attempts=0)
    if conn.execute(back).rowcount:
        conn.execute(update(delivery).where(d.address_no == address_no, d.state == WAITING).values(next_ms=now_ms))


def _forget_body(conn: Connection, file_no: int) -> None:
    """A file that everybody has is kept no more; its name, size and digest stay."""
    d = delivery.c
    if conn.execute(select(d.delivery_no).where(d.file_no == file_no, d.state != TAKEN).limit(1)).first() is None:
        conn.execute(update(delivery_file).where(delivery_file.c.file_no == file_no).values(body=b""))
