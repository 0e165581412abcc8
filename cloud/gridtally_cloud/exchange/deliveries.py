"""What goes to recipients: an outbox of files, one delivery an address, and the record of what went wrong.

* A file is queued in the transaction of what made it, and goes to every address of its recipient. It is posted like a webhook, signed, with
  its name in Content-Disposition; or put into the folder, whole or not at all.
* A failure is recorded once a delivery with its type and instant, and a notice of it goes to every address: at once where another one is
  reached, and to the failing one when it is there again.
* Deliveries of an address that is away wait together, tried with the patience of webhooks; when it is back all of them go. Dead ones stay
  with their file to be seen and sent again.

Source: ETSI TR 102 691, 5.2.3 (alternative flow).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.exchange.recipient_tables import delivery, delivery_error, delivery_file, recipient_address
from gridtally_cloud.exchange.recipients import DeliveryState, RecipientReason, find, known
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.db import insert_new
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

S = DeliveryState
MEDIA = {"xml": "application/xml", "ndjson": "application/x-ndjson", "csv": "text/csv", "lse": "text/plain", "json": "application/json"}


class FileKind(StrEnum):
    DATA = "data"
    NOTICE = "notice"


class ErrorType(StrEnum):
    """What can go wrong on the way from a meter to a recipient. Values are sent and stored: never renamed."""

    NOT_REGISTERED = "not_registered"
    NOT_RECORDED = "not_recorded"
    NOT_SENT = "not_sent"
    GIVEN_UP = "given_up"
    NOT_VALID = "not_valid"
    MISSING_DAY = "missing_day"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One file on its way to one address."""

    delivery_no: int
    recipient: str
    target: str
    kind: FileKind
    name: str
    size: int
    digest: str
    state: DeliveryState
    fault: str
    attempts: int
    next_ms: int
    made_ms: int
    taken_ms: int | None


@dataclass(frozen=True, slots=True)
class DeliveryError:
    error_no: int
    recipient: str
    type: ErrorType
    ref: str
    detail: str
    at_ms: int


def queue(conn: Connection, to: str, files: Mapping[str, bytes], now_ms: int, kind: FileKind = FileKind.DATA) -> None:
    """Each file to each address of a recipient. Raises RefusedCommand (unknown_recipient)."""
    addresses = known(conn, to, hold=True).addresses
    for name, body in files.items():
        media = MEDIA.get(name.rpartition(".")[2], "application/octet-stream")
        row = {"recipient": to, "kind": kind.value, "name": name, "media": media, "body": body, "size": len(body),
               "digest": hashlib.sha256(body).hexdigest(), "made_ms": now_ms}  # fmt: skip
        file_no = conn.execute(insert(delivery_file).values(row).returning(delivery_file.c.file_no)).scalar_one()
        conn.execute(insert(delivery), [
            {"file_no": file_no, "address_no": address.address_no, "state": S.WAITING.value, "fault": "", "attempts": 0,
             "next_ms": now_ms, "made_ms": now_ms} for address in addresses
        ])  # fmt: skip


def report_error(conn: Connection, to: str, what: ErrorType, ref: str, detail: str, now_ms: int) -> bool:
    """Record an error once and queue its notice; False where it was recorded before, or the recipient was ended. Raises RefusedCommand
    (unknown_recipient)."""
    row, e = {"recipient": to, "type": what.value, "ref": ref, "detail": detail[:500], "at_ms": now_ms}, delivery_error.c
    recorded = select(e.error_no).where(e.recipient == to, e.type == what.value, e.ref == ref)
    if find(conn, to, hold=True).ended_ms is not None or not insert_new(conn, delivery_error, [row]):
        return False
    number = conn.execute(recorded).scalar_one()
    said = {"error": what.value, "at": utc_text(now_ms), "ref": ref, "detail": row["detail"], "recipient": to, "error_no": number}
    queue(conn, to, {f"error_{number}.json": json.dumps(said, ensure_ascii=False).encode()}, now_ms, FileKind.NOTICE)
    return True


def send_again(conn: Connection, delivery_no: int, now_ms: int, actor: str) -> Delivery:
    """A dead or waiting delivery from its first try on, now. Raises RefusedCommand (unknown_delivery, unknown_recipient)."""
    conn.execute(select(delivery.c.state).where(delivery.c.delivery_no == delivery_no).with_for_update())
    found = _one(conn, delivery_no)
    known(conn, found.recipient)
    if found.state is S.TAKEN:
        raise RefusedCommand(RecipientReason.UNKNOWN_DELIVERY, f"delivery {delivery_no} was taken, and its file is kept no more: ask anew")
    again = {"state": S.WAITING.value, "attempts": 0, "next_ms": now_ms, "made_ms": now_ms, "fault": ""}
    conn.execute(update(delivery).where(delivery.c.delivery_no == delivery_no).values(again))
    record(conn, now_ms, actor, "delivery.again", f"delivery:{delivery_no}", found.name)
    return _one(conn, delivery_no)


def deliveries(conn: Connection, to: str = "", state: DeliveryState | None = None, limit: int = 100) -> tuple[Delivery, ...]:
    """Newest first. Raises RefusedCommand (unknown_recipient)."""
    if to:
        find(conn, to)
    query = _QUERY.order_by(delivery.c.delivery_no.desc()).limit(limit)
    query = query.where(delivery_file.c.recipient == to) if to else query
    query = query.where(delivery.c.state == state.value) if state else query
    return tuple(_delivery(row) for row in conn.execute(query))


def errors(conn: Connection, to: str, limit: int = 100) -> tuple[DeliveryError, ...]:
    """Newest first. Raises RefusedCommand (unknown_recipient)."""
    find(conn, to)
    e = delivery_error.c
    rows = conn.execute(select(delivery_error).where(e.recipient == to).order_by(e.error_no.desc()).limit(limit))
    return tuple(DeliveryError(r.error_no, r.recipient, ErrorType(r.type), r.ref, r.detail, r.at_ms) for r in rows)


_QUERY = (
    select(delivery, delivery_file.c.recipient, delivery_file.c.kind, delivery_file.c.name, delivery_file.c.size, delivery_file.c.digest,
           recipient_address.c.target)
    .select_from(delivery.join(delivery_file, delivery_file.c.file_no == delivery.c.file_no)
                 .join(recipient_address, recipient_address.c.address_no == delivery.c.address_no))
)  # fmt: skip


def _one(conn: Connection, delivery_no: int) -> Delivery:
    row = conn.execute(_QUERY.where(delivery.c.delivery_no == delivery_no)).one_or_none()
    if row is None:
        raise RefusedCommand(RecipientReason.UNKNOWN_DELIVERY, f"there is no delivery {delivery_no}: see those of the recipient")
    return _delivery(row)


def _delivery(r: Any) -> Delivery:
    return Delivery(r.delivery_no, r.recipient, r.target, FileKind(r.kind), r.name, r.size, r.digest, S(r.state), r.fault, r.attempts,
                    r.next_ms, r.made_ms, r.taken_ms)  # fmt: skip


def anything_due(conn: Connection, now_ms: int) -> bool:
    d = delivery.c
    waits = and_(d.state == S.WAITING.value, d.next_ms <= now_ms)
    return conn.execute(select(d.delivery_no).where(waits).limit(1)).first() is not None
