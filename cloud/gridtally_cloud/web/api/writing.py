"""Rows of the store as JSON values: times RFC 3339 UTC, money decimal strings. One function a schema."""

from __future__ import annotations

import base64
from typing import Any

from gridtally_cloud.billing.model import BillRow
from gridtally_cloud.commands.states import test_result
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.model import BalanceView, LedgerLine, Order, PaymentView
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.reads.commands import CommandRow, CommandStep
from gridtally_cloud.web.reads.daily import DailyRecord
from gridtally_cloud.web.reads.events import EventRow
from gridtally_cloud.web.reads.meters import MeterRow, Sample
from gridtally_cloud.web.reads.usage import Interval
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.money import decimal_text

Json = dict[str, Any]


def time_or_null(at_ms: int | None) -> str | None:
    return utc_text(at_ms) if at_ms else None


def meter(m: MeterRow) -> Json:
    return {
        "meter_no": m.meter_no, "serial": m.serial, "dcu": m.dcu, "address": m.address, "zone": m.zone,
        "interval_s": m.interval_s, "account_no": m.account_no, "answering": m.answering, "supply": m.switch,
        "status_at": time_or_null(m.status_at_ms), "register_wh": m.register_wh, "register_at": time_or_null(m.register_at_ms),
    }  # fmt: skip


def reading(s: Sample) -> Json:
    return {"quantity": s.quantity, "unit": s.unit, "exponent": s.exponent, "at": utc_text(s.at_ms), "value": s.value,
            "quality": s.quality}  # fmt: skip


def interval(i: Interval, events: tuple[str, ...] = ()) -> Json:
    return {
        "start": utc_text(i.start_ms), "seconds": i.period_s, "wh": i.wh, "estimated": i.estimated, "quality": i.quality,
        "events": list(events),
    }  # fmt: skip


def daily(d: DailyRecord) -> Json:
    return {
        "meter_no": d.meter_no, "at": utc_text(d.at_ms), "energy_wh": d.energy_wh, "apparent_vah": d.apparent_vah,
        "power_w": d.power_w, "apparent_va": d.apparent_va, "power_factor_milli": d.power_factor_milli,
        "momentary_at": time_or_null(d.momentary_ms),
        "events": [{"code": code, "name": name, "at": utc_text(at_ms)} for code, name, at_ms in d.events],
    }  # fmt: skip


def event(e: EventRow) -> Json:
    return {
        "event_no": e.event_no, "meter_no": e.meter_no, "dcu": e.dcu, "code": e.type.code, "name": e.type.name,
        "cim": e.type.cim, "urgent": e.type.urgent, "at": utc_text(e.at_ms), "received_at": utc_text(e.received_ms),
        "detail": e.detail,
    }  # fmt: skip


def command(c: CommandRow, steps: tuple[CommandStep, ...]) -> Json:
    return {
        "cmd_id": c.cmd_id, "meter_no": c.meter_no, "type": c.type.name.lower(), "state": c.state.name.lower(),
        "reason": c.reason,
        "issued_at": utc_text(c.issued_at_ms), "state_at": utc_text(c.state_at_ms), "expires_at": utc_text(c.expires_ms),
        "requested_by": c.requested_by, "result_cbor": base64.b64encode(c.result).decode(),
        "test": test_result(c.result) if c.type is CommandType.TEST_SUPPLY else None,
        "steps": [{"at": utc_text(s.at_ms), "state": s.state.name.lower(), "reason": s.reason, "by": s.by} for s in steps],
    }  # fmt: skip


def account(a: Account) -> Json:
    return {
        "account_no": a.account_no, "customer": a.customer_name, "address": a.address, "meter_no": a.meter_no,
        "meter_serial": a.meter_serial, "mode": a.mode.value, "currency": a.currency, "zone": a.zone, "tariff_id": a.tariff_id,
        "opened_at": utc_text(a.opened_at_ms), "closed_at": time_or_null(a.closed_at_ms),
    }  # fmt: skip


def balance(b: BalanceView, outstanding_nano: int) -> Json:
    return {
        "account_no": b.account_no, "currency": b.currency, "balance": decimal_text(b.balance_nano) if b.known else None,
        "pending": decimal_text(b.pending_nano), "as_of": time_or_null(b.as_of_ms), "seq": b.seq,
        "outstanding": decimal_text(outstanding_nano), "supply": b.supply.value, "supply_as_of": time_or_null(b.supply_as_of_ms),
    }  # fmt: skip


def ledger_line(line: LedgerLine) -> Json:
    return {
        "epoch": line.epoch, "seq": line.seq, "at": utc_text(line.at_ms), "kind": line.kind.lower(),
        "amount": decimal_text(line.amount_nano), "balance": decimal_text(line.balance_nano), "energy_wh": line.energy_wh,
        "tax": decimal_text(line.tax_nano),
    }  # fmt: skip


def bill(b: BillRow) -> Json:
    return {
        "bill_no": b.bill_no, "kind": b.kind.value, "from": utc_text(b.from_ms), "to": utc_text(b.to_ms),
        "issued_at": utc_text(b.issued_at_ms), "total": decimal_text(b.total_nano), "due": decimal_text(b.due_nano),
        "currency": b.currency, "state": b.state.value,
    }  # fmt: skip


def payment(p: PaymentView) -> Json:
    credit = p.instrument
    return {
        "payment_no": p.payment_no, "account_no": p.account_no, "amount": decimal_text(p.amount_nano), "currency": p.currency,
        "reference": p.gateway_ref, "at": utc_text(p.captured_at_ms), "credit": credit.state.value if credit else None,
        "applied_seq": credit.applied_seq if credit else None,
    }  # fmt: skip


def order(o: Order, payment: PaymentView | None) -> Json:
    credit = payment.instrument if payment else None
    return {
        "order_id": o.order_id, "account_no": o.account_no, "amount": decimal_text(o.amount_nano), "currency": o.currency,
        "state": o.state.value, "pay_path": o.pay_path, "gateway_order": o.gateway_order,
        "credit": credit.state.value if credit else None, "applied_seq": credit.applied_seq if credit else None,
    }  # fmt: skip
