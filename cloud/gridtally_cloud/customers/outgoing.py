"""Messages to consumers by SMS and e-mail: an outbox, written in the transaction of what led to it.

* One row for each channel the household wants and has an address for. Where it has neither, or wants none, a row of the channel
  `log` keeps what it would have been told, with its time, and leaves the house for nobody but the file of messages.
* The same code about the same thing is told once by each channel, whoever writes it and however often.
* What an edge told a day ago or longer is kept and not sent: it is no news any more.
* Nothing here is needed for a meter to act; a message that can not be written never undoes what it is about.

Source: BYPL-3.2, BYPL-17.6; C3-N5; prepayment.md 6.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, select

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import customer as customer_of
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.contact_tables import consumer_message, contact_choice
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.wording import subject_of, text_of
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.store.db import insert_new, upsert
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.ledger.entries import LedgerEntry
from gridtally_shared.ledger.evidence import MessageEvidence, evidence_of
from gridtally_shared.money import decimal_text
from gridtally_shared.records import dataclass

STALE_MS = MS_PER_DAY
CREDITED = "CREDIT"


class Channel(StrEnum):
    SMS = "sms"
    EMAIL = "email"
    LOG = "log"


class MessageState(StrEnum):
    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"


class ContactReason(StrEnum):
    UNKNOWN_CHANNEL = "unknown_channel"


CHOSEN = (Channel.SMS, Channel.EMAIL)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message by one channel. `via` is the sender that took it; `fault` why it did not leave yet, or never will."""

    message_no: int
    account_no: int
    code: str
    channel: Channel
    address: str
    language: str
    subject: str
    text: str
    state: MessageState
    via: str
    fault: str
    attempts: int
    created_ms: int
    sent_ms: int | None


def put(conn: Connection, account_no: int, code: str, ref: str, at_ms: int, params: Iterable[tuple[str, str]] = ()) -> int:
    """Write a message for every channel of an account's household; how many rows are new."""
    account, pairs = account_of(conn, account_no), tuple(params)
    text = text_of(account, code, pairs)
    if not text:
        return 0
    rows = [_row(account, code, ref, channel, address, text, pairs, at_ms) for channel, address in ways(conn, account)]
    return insert_new(conn, consumer_message, rows)


def _row(account: Account, code: str, ref: str, channel: Channel, address: str, text: str, params: tuple[tuple[str, str], ...],
         at_ms: int) -> dict[str, Any]:  # fmt: skip
    return {
        "account_no": account.account_no, "code": code, "params": json.dumps(params), "ref": ref, "channel": channel.value,
        "address": address, "language": account.language, "subject": subject_of(account), "text": text, "attempts": 0, "via": "",
        "fault": "", "state": MessageState.WAITING.value, "next_ms": at_ms, "created_ms": at_ms,
    }  # fmt: skip


def take_notice(conn: Connection, entry: LedgerEntry, now_ms: int) -> None:
    """What an edge told its consumer, from the mirrored journal."""
    try:
        evidence = evidence_of(entry)
    except ContractError:
        return
    if not isinstance(evidence, MessageEvidence):
        return
    if evidence.code == CREDITED:
        _tell_others(conn, entry, evidence, now_ms)
    if now_ms - entry.at_ms >= STALE_MS:
        return
    put(conn, entry.account_no, evidence.code, f"{entry.epoch}/{entry.seq}", now_ms, ((p.name, p.value) for p in evidence.params))


def _tell_others(conn: Connection, entry: LedgerEntry, evidence: MessageEvidence, now_ms: int) -> None:
    """The meter's side has booked money: its receipt, for other systems (C3-S1.10)."""
    amounts = {p.name: decimal_text(int(p.value)) for p in evidence.params}
    announce(conn, Topic.CREDIT_APPLIED, f"{entry.account_no}/{entry.epoch}/{entry.seq}", now_ms, f"/accounts/{entry.account_no}/ledger", {
        "account_no": entry.account_no, "meter_no": entry.meter_no, "epoch": entry.epoch, "seq": entry.seq, "completed_ms": entry.at_ms,
        "amount": amounts.get("a"), "balance": amounts.get("b"),
    })  # fmt: skip


def ways(conn: Connection, account: Account) -> tuple[tuple[Channel, str], ...]:
    """The channels of an account and their addresses."""
    customer, wanted = customer_of(conn, account.customer_no), choices(conn, account.account_no)
    addresses = {Channel.SMS: customer.phone, Channel.EMAIL: customer.email}
    found = tuple((channel, addresses[channel]) for channel in CHOSEN if wanted[channel] and addresses[channel])
    return found or ((Channel.LOG, ""),)


def choices(conn: Connection, account_no: int) -> dict[Channel, bool]:
    """What the household chose; told by every channel until it says otherwise."""
    c = contact_choice.c
    rows = {r.channel: bool(r.wanted) for r in conn.execute(select(contact_choice).where(c.account_no == account_no))}
    return {channel: rows.get(channel.value, True) for channel in CHOSEN}


def choose(conn: Connection, account_no: int, channel: str, wanted: bool, at_ms: int, actor: str) -> None:
    """The household wants to be told by a channel, or no more. Raises RefusedCommand (unknown_channel, unknown_account)."""
    account_of(conn, account_no)
    if channel not in [c.value for c in CHOSEN]:
        raise RefusedCommand(ContactReason.UNKNOWN_CHANNEL, f"{channel!r}: choose {' or '.join(CHOSEN)}")
    row = {"account_no": account_no, "channel": channel, "wanted": wanted, "changed_by": actor, "changed_ms": at_ms}
    upsert(conn, contact_choice, row)
    record(conn, at_ms, actor, "contact.chosen", f"account:{account_no}", f"{channel} {'on' if wanted else 'off'}")


def messages_of(conn: Connection, account_no: int = 0, limit: int = 50) -> tuple[Outgoing, ...]:
    """Messages of an account, or of all (0), newest first."""
    m = consumer_message.c
    query = select(consumer_message).order_by(m.message_no.desc()).limit(limit)
    return tuple(outgoing_from(r) for r in conn.execute(query.where(m.account_no == account_no) if account_no else query))


def outgoing_from(row: Row[Any]) -> Outgoing:
    return Outgoing(row.message_no, row.account_no, row.code, Channel(row.channel), row.address, row.language, row.subject, row.text,
                    MessageState(row.state), row.via, row.fault, row.attempts, row.created_ms, row.sent_ms)  # fmt: skip
