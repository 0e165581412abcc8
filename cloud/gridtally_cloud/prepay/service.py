"""Prepayment as pages, webhooks and the command line call it."""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.prepay.model import BalanceView, Capture, InstrumentView, LedgerLine, LedgerMismatch, Order, PaymentView
from gridtally_shared.signing import Signer


def balance(conn: Connection, account_no: int) -> BalanceView: ...


def ledger_lines(conn: Connection, account_no: int, limit: int = 100, before_seq: int | None = None) -> tuple[LedgerLine, ...]: ...


def payments(conn: Connection, account_no: int, limit: int = 100) -> tuple[PaymentView, ...]: ...


def instruments(conn: Connection, account_no: int) -> tuple[InstrumentView, ...]: ...


def create_order(conn: Connection, account_no: int, amount_nano: int, at_ms: int, actor: str, *, bill_no: str = "") -> Order: ...


def order(conn: Connection, order_id: str) -> Order: ...


def handle_webhook(conn: Connection, signer: Signer, gateway: str, body: bytes, signature: str, at_ms: int) -> Capture: ...


def pay_at_desk(conn: Connection, signer: Signer, account_no: int, amount_nano: int, reference: str, at_ms: int,
                actor: str) -> PaymentView: ...  # fmt: skip


def refund(conn: Connection, signer: Signer, payment_no: int, amount_nano: int, at_ms: int, actor: str) -> PaymentView: ...


def reconcile(conn: Connection) -> tuple[LedgerMismatch, ...]: ...
