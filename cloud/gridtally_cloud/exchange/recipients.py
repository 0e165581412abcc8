"""The register of recipients: who gets data, and at which addresses.

* An address is an https address (signed like a webhook; its secret is shown once) or a folder of this machine. Each file goes to every
  address of its recipient.
* Nothing goes to a name that is not in the register. An ended recipient gets nothing more, and what waited for it is dead.

Source: ETSI TR 102 691, 5.2.3 (pre-conditions).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.exchange.places import out_folder
from gridtally_cloud.exchange.recipient_tables import delivery, recipient, recipient_address
from gridtally_cloud.exchange.tables import exchange_schedule
from gridtally_cloud.integrations.webhooks import check_url
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class DeliveryState(StrEnum):
    WAITING = "waiting"
    TAKEN = "taken"
    DEAD = "dead"


class RecipientReason(StrEnum):
    UNKNOWN_RECIPIENT = "unknown_recipient"
    UNKNOWN_DELIVERY = "unknown_delivery"
    BAD_NAME = "bad_name"
    NAME_TAKEN = "name_taken"
    NO_ADDRESS = "no_address"
    HAS_SCHEDULES = "has_schedules"


@dataclass(frozen=True, slots=True)
class Address:
    """`away_ms`: since when it can not be reached; None while it can. The secret is not in here."""

    address_no: int
    target: str
    away_ms: int | None


@dataclass(frozen=True, slots=True)
class Recipient:
    name: str
    addresses: tuple[Address, ...]
    made_ms: int
    made_by: str
    ended_ms: int | None


def add(conn: Connection, name: str, targets: Sequence[str], in_dir: str, now_ms: int, actor: str) -> tuple[Recipient, dict[str, str]]:
    """A new recipient, and the secret of each https address, shown this once. Raises RefusedCommand and, for a folder, ConfigError."""
    if not NAME.fullmatch(name):
        raise RefusedCommand(RecipientReason.BAD_NAME, f"{name!r}: a recipient's name is up to 40 letters, digits, - and _")
    if conn.execute(select(recipient.c.name).where(recipient.c.name == name)).first():
        raise RefusedCommand(RecipientReason.NAME_TAKEN, f"there is a recipient {name!r}, or was one: choose another name")
    if not targets:
        raise RefusedCommand(RecipientReason.NO_ADDRESS, "name an address at least: https://..., or a folder")
    known = {target: (_is_url(target), _checked(target, in_dir)) for target in dict.fromkeys(targets)}
    conn.execute(insert(recipient).values(name=name, made_ms=now_ms, made_by=actor))
    given: dict[str, str] = {}
    for target, (by_web, place) in known.items():
        secret = secrets.token_urlsafe(32) if by_web else ""
        conn.execute(insert(recipient_address).values(recipient=name, target=place, secret=secret))
        given |= {target: secret} if by_web else {}
    record(conn, now_ms, actor, "recipient.added", f"recipient:{name}", ", ".join(known))
    return find(conn, name), given


def is_folder(target: str) -> bool:
    return not _is_url(target)


def _is_url(target: str) -> bool:
    return "://" in target


def _checked(target: str, in_dir: str) -> str:
    if not _is_url(target):
        return str(out_folder(Path(target), in_dir, "--to"))
    check_url(target)
    return target


def end(conn: Connection, name: str, now_ms: int, actor: str) -> Recipient:
    """Raises RefusedCommand (unknown_recipient, has_schedules)."""
    conn.execute(select(recipient.c.name).where(recipient.c.name == name).with_for_update())  # what is queued or booked is seen
    found = known(conn, name)
    s = exchange_schedule.c
    schedules = conn.execute(select(s.name).where(s.recipient == name).order_by(s.name)).scalars().all()
    if schedules:
        raise RefusedCommand(RecipientReason.HAS_SCHEDULES, f"end its schedules first: export unschedule {' '.join(schedules)}")
    conn.execute(update(recipient).where(recipient.c.name == name).values(ended_ms=now_ms))
    numbers = [address.address_no for address in found.addresses]
    waiting = (delivery.c.address_no.in_(numbers), delivery.c.state == DeliveryState.WAITING.value)
    conn.execute(update(delivery).where(*waiting).values(state=DeliveryState.DEAD.value, fault="the recipient was ended"))
    record(conn, now_ms, actor, "recipient.ended", f"recipient:{name}")
    return find(conn, name)


def known(conn: Connection, name: str, hold: bool = False) -> Recipient:
    """A recipient that data may go to; with `hold` nobody ends it until the end of the transaction. Raises RefusedCommand
    (unknown_recipient)."""
    found = find(conn, name, hold)
    if found.ended_ms is not None:
        raise RefusedCommand(RecipientReason.UNKNOWN_RECIPIENT, f"the recipient {name!r} was ended: nothing goes to it")
    return found


def hold_all(conn: Connection, names: Collection[str]) -> None:
    """Until the end of the transaction nobody ends them: before anything of theirs is written."""
    r = recipient.c.name
    conn.execute(select(r).where(r.in_(names)).order_by(r).with_for_update(read=True)).all()


def find(conn: Connection, name: str, hold: bool = False) -> Recipient:
    """Raises RefusedCommand (unknown_recipient)."""
    query = select(recipient).where(recipient.c.name == name)
    row = conn.execute(query.with_for_update(read=True) if hold else query).one_or_none()
    if row is None:
        raise RefusedCommand(RecipientReason.UNKNOWN_RECIPIENT,
                             f"there is no recipient {name!r}: add it first with 'gridtally-mdm recipient add'")  # fmt: skip
    return _recipient(conn, row)


def recipients(conn: Connection) -> tuple[Recipient, ...]:
    """By name, those that were ended too."""
    return tuple(_recipient(conn, row) for row in conn.execute(select(recipient).order_by(recipient.c.name)).all())


def _recipient(conn: Connection, row: Any) -> Recipient:
    a = recipient_address.c
    rows = conn.execute(select(recipient_address).where(a.recipient == row.name).order_by(a.address_no))
    return Recipient(row.name, tuple(Address(r.address_no, r.target, r.away_ms) for r in rows), row.made_ms, row.made_by, row.ended_ms)
