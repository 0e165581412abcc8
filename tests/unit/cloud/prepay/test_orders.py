"""Limits, settings, and what is kept of money that can not be booked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gridtally_cloud.customers.accounts import account
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.gateway import webhook_signature
from gridtally_cloud.prepay.model import CaptureOutcome, OrderState
from gridtally_cloud.prepay.orders import EXPIRES_AFTER_MS
from gridtally_cloud.prepay.policies import BOUNDARY_MS, add_policy, follow
from gridtally_cloud.prepay.settings import Payments, gateway_from
from gridtally_cloud.prepay.tables import gateway_event, instrument
from gridtally_cloud.prepay.topup_rules import Bounds, bounds
from gridtally_cloud.prepay.trial_gateway import Webhook
from gridtally_cloud.store.tables import meter
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.money import nano
from support.payday import DCU, GATEWAY, SIGNER, Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    yield town
    town.close()


@pytest.mark.covers("C3-BR2")
@pytest.mark.covers_part("BYPL-17.2")
def test_below_the_minimum_is_refused_with_the_amount(town: Payday) -> None:
    with pytest.raises(RefusedCommand) as caught:
        town.order("99.99")
    assert caught.value.reason == "payment_too_small"
    assert "₹ 100.00" in caught.value.detail
    assert town.order("100").amount_nano == nano("100")


@pytest.mark.covers_part("BYPL-17.2")
def test_above_the_maximum_is_refused_with_the_amount(town: Payday) -> None:
    with pytest.raises(RefusedCommand) as caught:
        town.order("20000.01")
    assert caught.value.reason == "payment_too_large"
    assert "₹ 20,000.00" in caught.value.detail


@pytest.mark.covers_part("BYPL-17.2")
def test_an_order_carries_the_reference_of_the_gateway(town: Payday) -> None:
    order = town.order("100")
    with town.db.read() as conn:
        assert prepay.order_at_gateway(conn, "test", order.gateway_order) == order
        assert GATEWAY.hosted_page(conn, order.gateway_order).amount_nano == nano("100")


def test_without_a_gateway_online_payment_is_refused_and_cash_is_taken(town: Payday) -> None:
    bare = Payments(SIGNER)
    with pytest.raises(RefusedCommand, match=r"payments\.gateway"), town.db.write() as conn:
        prepay.create_order(conn, bare, town.account, nano("100"), town.now_ms, "asha")
    with town.db.write() as conn:
        paid = prepay.pay_at_desk(conn, bare, town.account, nano("100"), "A-1", town.now_ms, "desk")
    assert paid.method == "cash"


def test_the_test_gateway_is_never_a_default() -> None:
    assert gateway_from("", (b"a secret of sixteen bytes",)) is None
    with pytest.raises(ConfigError, match=r"payments\.gateway"):
        gateway_from("paypall", (b"a secret of sixteen bytes",))
    with pytest.raises(ConfigError, match="webhook_secret"):
        gateway_from("test", (b"short",))


def signed(webhook: Webhook, before: bytes, after: bytes) -> Webhook:
    body = webhook.body.replace(before, after)
    assert body != webhook.body
    return replace(webhook, body=body, signature=webhook_signature(GATEWAY.secrets[0], body))


def test_a_capture_that_does_not_fit_the_order_is_kept_and_not_booked(town: Payday) -> None:
    webhook = town.choose(town.order("100"))
    other = signed(webhook, b'"amount":"100"', b'"amount":"900"')
    stranger = signed(webhook, b'"order":"tgo_', b'"order":"nobody_')
    assert [town.deliver(h).outcome for h in (other, stranger)] == [CaptureOutcome.IGNORED] * 2
    with town.db.read() as conn:
        outcomes = conn.execute(select(gateway_event.c.outcome)).scalars().all()
        assert conn.execute(select(instrument)).all() == []
    assert outcomes == ["amount_differs"]
    assert town.deliver(webhook).outcome is CaptureOutcome.CAPTURED


def test_a_webhook_that_is_not_one_is_refused(town: Payday) -> None:
    for body in (b"", b"[]", b"{}", b'{"id": 1}', b"\xff\xfe", b'{"id":"e","type":"x"}'):
        with pytest.raises(RefusedCommand, match="malformed"):
            town.deliver(Webhook("e", body, webhook_signature(GATEWAY.secrets[0], body)))


def test_both_secrets_are_good_while_they_rotate(town: Payday) -> None:
    old, new = replace(GATEWAY, secrets=(b"the old webhook secret",)), replace(
        GATEWAY, secrets=(b"the new webhook secret", b"the old webhook secret"))  # fmt: skip
    order = town.order("100")
    with town.db.write() as conn:
        hook = old.choose(conn, order.gateway_order, "card", town.now_ms)
    assert new.parse_webhook(hook.body, hook.signature).amount_nano == nano("100")


def test_an_order_nobody_paid_expires_and_late_money_is_still_taken(town: Payday) -> None:
    order = town.order("100")
    with town.db.write() as conn:
        assert prepay.expire_orders(conn, town.now_ms + EXPIRES_AFTER_MS) == 0
        assert prepay.expire_orders(conn, town.now_ms + EXPIRES_AFTER_MS + 1) == 1
        assert prepay.order(conn, order.order_id).state is OrderState.EXPIRED
    assert town.deliver(town.choose(order)).outcome is CaptureOutcome.CAPTURED


def test_money_before_the_concentrator_waits_and_is_issued_later(town: Payday) -> None:
    with town.db.write() as conn:
        conn.execute(update(meter).values(dcu=None))
    assert town.pay("100").outcome is CaptureOutcome.CAPTURED
    assert (town.balance().pending_nano, town.instruments()) == (nano("100"), [])
    with town.db.write() as conn:
        assert prepay.reconcile(conn) == ()
        conn.execute(update(meter).values(dcu=DCU))
        assert prepay.issue_waiting(conn, SIGNER, town.now_ms) == 1
        assert prepay.issue_waiting(conn, SIGNER, town.now_ms) == 0
        assert prepay.reconcile(conn) == ()
    assert town.balance().pending_nano == nano("100")
    assert len(town.instruments()) == 1


def test_the_gateway_lists_what_it_captured(town: Payday) -> None:
    for choice in ("card", "card-declined"):
        town.choose(town.order("100"), choice)
    listed = GATEWAY.list_for_reconciliation(town.db, town.now_ms, town.now_ms + 1)
    assert GATEWAY.list_for_reconciliation(town.db, 0, town.now_ms) == ()
    with town.db.read() as conn:
        waiting = GATEWAY.undelivered(conn)
    assert [e.amount_nano for e in listed] == [nano("100")]
    assert len(waiting) == 2


def test_the_policy_says_what_a_top_up_may_be_and_what_the_account_may_hold(town: Payday) -> None:
    begins_ms = (town.now_ms // BOUNDARY_MS + 1) * BOUNDARY_MS
    rule = {"min": "150", "max": "1000", "multiple": "50", "max_balance": "1200"}
    with town.db.write() as conn:
        add_policy(conn, begins_ms, json.dumps({"kind": "policy", "code": "home", "currency": "INR", "topup": rule}), town.now_ms, "desk")
        follow(conn, town.account, "home", town.now_ms, "desk")
        here, held_nano = account(conn, town.account), town.balance().balance_nano
        before, now = (bounds(conn, town.payments, here, ms) for ms in (begins_ms - 1, begins_ms))
    assert (before.least_nano, before.multiple_nano) == (nano("100"), 0)
    most_nano = min(nano("1000"), (nano("1200") - held_nano) // nano("50") * nano("50"))
    assert now == Bounds(nano("150"), most_nano, nano("50"))
    town.wait(begins_ms - town.now_ms)
    for amount, reason in (("100", "payment_too_small"), ("160", "payment_not_a_multiple"), ("5000", "payment_too_large")):
        with pytest.raises(RefusedCommand) as caught, town.db.write() as conn:
            prepay.create_order(conn, town.payments, town.account, nano(amount), town.now_ms, "asha")
        assert caught.value.reason == reason
    town.pay("200")
    with town.db.read() as conn:
        left_nano = (nano("1000") - held_nano) // nano("50") * nano("50")
        assert bounds(conn, town.payments, here, town.now_ms).most_nano == min(nano("1000"), left_nano)
