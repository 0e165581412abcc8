"""The payment gateway as a port: what any adapter does, and the one shape every event is brought into.

* `create_order` tells the gateway what is to be paid and says where to send the consumer. The same order again is the same page.
* Only a webhook with a good signature captures money. The return page proves nothing and credits nothing.
* Gateways deliver at least once and in any order; `event_id` and `gateway_ref` are theirs and never change.
* A stored method is a token at the gateway; no card number is ever seen here. `charge` of one order charges once, a refund of one number
  is given once, however often they are asked for.
* Whatever a gateway is asked, it is asked outside any transaction, and again where the answer was lost: it may be slow, or away.

Source: mdm.md D.2 (the common ground of hosted payment pages).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from gridtally_cloud.store.db import Database
from gridtally_shared.records import dataclass


class EventType(StrEnum):
    CAPTURED = "payment.captured"
    FAILED = "payment.failed"


class GatewayReason(StrEnum):
    SIGNATURE = "signature"
    MALFORMED = "malformed"
    NO_GATEWAY = "no_gateway"
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_METHOD = "unknown_method"
    AWAY = "gateway_away"


@dataclass(frozen=True, slots=True)
class GatewayOrder:
    gateway_order: str
    pay_path: str


@dataclass(frozen=True, slots=True)
class StoredMethod:
    """A method of payment the gateway keeps for later: its token and how a person knows it again."""

    token: str
    label: str


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """`gateway_ref` is the gateway's own number of the payment: unique, and the same in every repetition. `order_id`: our own number of
    the order, where the gateway says it back (reference of the merchant, receipt)."""

    event_id: str
    type: EventType
    gateway_order: str
    gateway_ref: str
    amount_nano: int
    currency: str
    method: str
    at_ms: int
    reason: str = ""
    order_id: str = ""


class Gateway(Protocol):
    """An adapter to one payment service. The store is passed for adapters that keep rows of their own."""

    @property
    def name(self) -> str: ...

    def create_order(self, db: Database, order_id: str, amount_nano: int, currency: str, at_ms: int) -> GatewayOrder:
        """Take an order to be paid on a page of the gateway. The same `order_id` again is answered as before. Raises LinkDown when the
        gateway is away, or whether it heard is not known."""

    def charge(self, db: Database, token: str, order_id: str, amount_nano: int, currency: str, at_ms: int) -> GatewayOrder:
        """Charge a stored method; what became of it comes as a webhook. The same `order_id` again charges nothing more. Raises
        RefusedCommand (unknown_method), LinkDown when the gateway is away, or whether it heard is not known."""

    def verify_return(self, fields: Mapping[str, str]) -> bool:
        """Whether the fields of the return page come from the gateway. For display only."""

    def parse_webhook(self, body: bytes, signature: str) -> GatewayEvent:
        """The event, once its signature is verified. Raises RefusedCommand (signature, malformed)."""

    def refund(self, db: Database, key: str, gateway_ref: str, amount_nano: int, currency: str, at_ms: int) -> str:
        """Give money back; the gateway's number of the refund. The same `key` again gives nothing more. Raises LinkDown when the gateway
        is away."""

    def list_for_reconciliation(self, db: Database, from_ms: int, to_ms: int) -> tuple[GatewayEvent, ...]:
        """What the gateway says it captured in [from, to)."""


def webhook_signature(secret: bytes, body: bytes) -> str:
    """Hex HMAC-SHA256 of the raw body."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def signature_matches(secrets: tuple[bytes, ...], body: bytes, signature: str) -> bool:
    """Whether one of the live secrets (two while they rotate) made the signature; compared in constant time."""
    given = signature.encode("utf-8", "replace")
    return sum(hmac.compare_digest(webhook_signature(s, body).encode(), given) for s in secrets) > 0
