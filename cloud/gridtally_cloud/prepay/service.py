"""Prepayment as pages, webhooks and the command line call it.

`Payments` (settings.py) carries the signer, the gateway and the limits. Refusals are `RefusedCommand` with a code of
`PaymentReason` or `GatewayReason` and a sentence for the person in `detail`. `at_ms` is business time (virtual in a demo).
"""

from __future__ import annotations

from gridtally_cloud.prepay.capture import handle_webhook, pay_at_desk, payment_at
from gridtally_cloud.prepay.history import instruments, payment_of_order, payment_view, payments
from gridtally_cloud.prepay.instruments import issue_waiting
from gridtally_cloud.prepay.orders import (
    check_amount,
    create_order,
    expire_orders,
    order,
    order_at_gateway,
    order_payment,
    place_order,
)
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.refunds import refund_payment, send_refunds
from gridtally_cloud.prepay.settings import Limits, Payments, gateway_from, payments_from
from gridtally_cloud.prepay.wallet import balance, ledger_lines, messages, pending_nano

__all__ = [
    "Limits", "Payments", "balance", "check_amount", "create_order", "expire_orders", "gateway_from",
    "handle_webhook", "instruments", "issue_waiting", "ledger_lines", "messages", "order", "order_at_gateway",
    "order_payment", "pay_at_desk", "payment_at", "payment_of_order", "payment_view", "payments", "payments_from", "pending_nano",
    "place_order", "reconcile", "refund_payment", "send_refunds",
]  # fmt: skip
