"""The built-in test gateway: a bank made of two tables, with a hosted page and real signed webhooks. No real money.

* It must be switched on by configuration (`payments.gateway = "test"`); it is never a default.
* The hosted page offers card, net banking and wallet, and for each a way to fail.
* A choice makes an event; its body and signature go to our own webhook address over HTTP like any gateway's. An event
  not yet delivered is offered again by `undelivered`, so a webhook lost in a restart arrives later.
* Paying the same order twice gives the same event: a bank charges once.
* A stored method stands for one of those buttons, so that a charge can fail later as a card does.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.prepay.gateway import (
    EventType,
    GatewayEvent,
    GatewayOrder,
    GatewayReason,
    StoredMethod,
    signature_matches,
    webhook_signature,
)
from gridtally_cloud.prepay.tables import test_gateway_event, test_gateway_method, test_gateway_order
from gridtally_cloud.store.db import Database, in_turn, insert_new
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import decimal_text, nano
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """One button of the hosted page. `reason` is what the bank says; '' pays."""

    key: str
    method: str
    reason: str = ""

    @property
    def pays(self) -> bool:
        return not self.reason


CHOICES: tuple[Choice, ...] = (
    Choice("card", "card"),
    Choice("card-declined", "card", "card_declined"),
    Choice("netbanking", "netbanking"),
    Choice("netbanking-down", "netbanking", "bank_not_reachable"),
    Choice("wallet", "wallet"),
    Choice("wallet-empty", "wallet", "wallet_has_too_little"),
)
BY_KEY = {choice.key: choice for choice in CHOICES}


@dataclass(frozen=True, slots=True)
class HostedPage:
    """What the hosted page shows."""

    gateway_order: str
    order_id: str
    amount_nano: int
    currency: str
    paid: bool
    choices: tuple[Choice, ...] = CHOICES


@dataclass(frozen=True, slots=True)
class Webhook:
    """A request to our own webhook address: raw body and the value of the signature header."""

    event_id: str
    body: bytes
    signature: str


@dataclass(frozen=True, slots=True)
class TrialGateway:
    """`secrets`: the live webhook secrets, the signing one first."""

    secrets: tuple[bytes, ...]
    name: str = "test"

    def create_order(self, db: Database, order_id: str, amount_nano: int, currency: str, at_ms: int) -> GatewayOrder:
        with db.write() as conn:
            self._take(conn, order_id, amount_nano, currency, at_ms)
        return GatewayOrder(_order_no(order_id), f"/pay/test/{_order_no(order_id)}")

    def _take(self, conn: Connection, order_id: str, amount_nano: int, currency: str, at_ms: int) -> int:
        """Whether it is new."""
        new = {"gateway_order": _order_no(order_id), "order_id": order_id, "amount_nano": amount_nano, "currency": currency}
        return insert_new(conn, test_gateway_order, [new | {"created_ms": at_ms}])

    def store_method(self, conn: Connection, choice_key: str, at_ms: int) -> StoredMethod:
        """What the hosted page does for "keep this card". Raises RefusedCommand (malformed)."""
        choice = _choice(choice_key)
        token = "tgm_" + secrets.token_hex(12)
        conn.execute(insert(test_gateway_method).values(token=token, choice=choice.key, created_ms=at_ms))
        return StoredMethod(token, f"{choice.method} {token[-4:]}")

    def charge(self, db: Database, token: str, order_id: str, amount_nano: int, currency: str, at_ms: int) -> GatewayOrder:
        number = _order_no(order_id)
        kept = select(test_gateway_method.c.choice).where(test_gateway_method.c.token == token)
        with db.write() as conn:
            in_turn(conn, f"test gateway {number}")
            choice = conn.execute(kept).scalar_one_or_none()
            if choice is None:
                raise RefusedCommand(GatewayReason.UNKNOWN_METHOD, "the test gateway does not keep this method: store it again")
            if self._take(conn, order_id, amount_nano, currency, at_ms):
                self.choose(conn, number, choice, at_ms)
        return GatewayOrder(number, f"/pay/test/{number}")

    def hosted_page(self, conn: Connection, gateway_order: str) -> HostedPage:
        """Raises RefusedCommand (unknown_order)."""
        row = self._order(conn, gateway_order)
        return HostedPage(row.gateway_order, row.order_id, row.amount_nano, row.currency, row.paid_ref is not None)

    def choose(self, conn: Connection, gateway_order: str, choice_key: str, at_ms: int) -> Webhook:
        """The consumer pressed a button: the event it makes, ready to be delivered. Raises RefusedCommand."""
        row = self._order(conn, gateway_order, hold=True)
        choice = _choice(choice_key)
        if row.paid_ref is not None:
            return self._stored(conn, f"evt_{row.paid_ref}")
        ref = self._next_ref(conn, gateway_order)
        body = _body(row, choice, ref, at_ms)
        event = {"event_id": f"evt_{ref}", "gateway_order": gateway_order, "body": body, "at_ms": at_ms}
        conn.execute(insert(test_gateway_event).values(event))
        if choice.pays:
            mine = test_gateway_order.c.gateway_order == gateway_order
            conn.execute(update(test_gateway_order).where(mine).values(paid_ref=ref))
        return self._signed(f"evt_{ref}", body)

    def undelivered(self, conn: Connection) -> tuple[Webhook, ...]:
        t = test_gateway_event.c
        rows = conn.execute(select(t.event_id, t.body).where(t.delivered_ms.is_(None)).order_by(t.at_ms, t.event_id))
        return tuple(self._signed(r.event_id, r.body) for r in rows)

    def mark_delivered(self, conn: Connection, event_id: str, at_ms: int) -> None:
        conn.execute(update(test_gateway_event).where(test_gateway_event.c.event_id == event_id).values(delivered_ms=at_ms))

    def return_fields(self, gateway_order: str) -> dict[str, str]:
        """Query fields of the return page, signed."""
        return {"order": gateway_order, "signature": webhook_signature(self.secrets[0], b"return|" + gateway_order.encode())}

    def verify_return(self, fields: Mapping[str, str]) -> bool:
        return signature_matches(self.secrets, b"return|" + fields.get("order", "").encode(), fields.get("signature", ""))

    def parse_webhook(self, body: bytes, signature: str) -> GatewayEvent:
        if not signature_matches(self.secrets, body, signature):
            raise RefusedCommand(GatewayReason.SIGNATURE, "the webhook is not signed with a secret of this gateway")
        try:
            return _event_from(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RefusedCommand(GatewayReason.MALFORMED, f"the webhook can not be read: {error!r}") from None

    def refund(self, db: Database, key: str, gateway_ref: str, amount_nano: int, currency: str, at_ms: int) -> str:
        return f"trf_{hashlib.sha256(f'{key}|{gateway_ref}'.encode()).hexdigest()[:24]}"

    def list_for_reconciliation(self, db: Database, from_ms: int, to_ms: int) -> tuple[GatewayEvent, ...]:
        t = test_gateway_event.c
        with db.read() as conn:
            rows = conn.execute(select(t.body).where(t.at_ms >= from_ms, t.at_ms < to_ms).order_by(t.at_ms, t.event_id)).scalars().all()
        return tuple(e for e in (_event_from(json.loads(body)) for body in rows) if e.type is EventType.CAPTURED)

    def _order(self, conn: Connection, gateway_order: str, hold: bool = False) -> Row[Any]:
        query = select(test_gateway_order).where(test_gateway_order.c.gateway_order == gateway_order)
        row = conn.execute(query.with_for_update() if hold else query).one_or_none()
        if row is None:
            raise RefusedCommand(GatewayReason.UNKNOWN_ORDER, "the test gateway does not know this order: start again")
        return row

    def _next_ref(self, conn: Connection, gateway_order: str) -> str:
        tried = select(test_gateway_event.c.event_id).where(test_gateway_event.c.gateway_order == gateway_order)
        return f"tpay_{gateway_order[4:]}_{len(conn.execute(tried).all()) + 1}"

    def _stored(self, conn: Connection, event_id: str) -> Webhook:
        body = conn.execute(select(test_gateway_event.c.body).where(test_gateway_event.c.event_id == event_id)).scalar_one()
        return self._signed(event_id, body)

    def _signed(self, event_id: str, body: bytes) -> Webhook:
        return Webhook(event_id, body, webhook_signature(self.secrets[0], body))


def _order_no(order_id: str) -> str:
    return "tgo_" + hashlib.sha256(order_id.encode()).hexdigest()[:24]


def _choice(key: str) -> Choice:
    choice = BY_KEY.get(key)
    if choice is None:
        raise RefusedCommand(GatewayReason.MALFORMED, f"{key!r} is not a way to pay here")
    return choice


def _body(row: Row[Any], choice: Choice, ref: str, at_ms: int) -> bytes:
    event = EventType.CAPTURED if choice.pays else EventType.FAILED
    fields = {"id": f"evt_{ref}", "type": event.value, "order": row.gateway_order, "payment": ref, "method": choice.method,
              "amount": decimal_text(row.amount_nano), "currency": row.currency, "at_ms": at_ms,
              "reason": choice.reason, "receipt": row.order_id}  # fmt: skip
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _event_from(raw: dict[str, Any]) -> GatewayEvent:
    return GatewayEvent(str(raw["id"]), EventType(raw["type"]), str(raw["order"]), str(raw["payment"]), nano(raw["amount"]),
                        str(raw["currency"]), str(raw["method"]), int(raw["at_ms"]), str(raw["reason"]),
                        str(raw.get("receipt", "")))  # fmt: skip
