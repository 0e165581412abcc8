"""A payment gateway that is slow, away, or whose answer is lost: nobody waits for it, nothing is ordered twice, no payment is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from gridtally_cloud.customers.accounts import hold
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.gateway import GatewayOrder, GatewayReason
from gridtally_cloud.prepay.model import CaptureOutcome, OrderState
from gridtally_cloud.prepay.tables import payment_order
from gridtally_cloud.prepay.tables import test_gateway_order as at_the_bank
from gridtally_cloud.web.api.openapi import BASE
from gridtally_cloud.web.tokens import create_token
from gridtally_shared.clock import SystemClock
from gridtally_shared.errors import LinkDown, RefusedCommand
from gridtally_shared.money import NANO, nano
from support.payday import GATEWAY
from support.web_person import Person
from support.web_street import WebStreet
from support.web_words import plain


class Died(BaseException):
    """Our process is gone."""


class Bank:
    """The test gateway with a line that can fail: `before` it hears of an order, or `after` it took it."""

    def __init__(self, street: WebStreet) -> None:
        self.street = street
        self.asked = 0
        self.before: list[BaseException] = []
        self.after: list[BaseException] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(GATEWAY, name)

    def create_order(self, _store: Any, order_id: str, amount_nano: int, currency: str, at_ms: int) -> GatewayOrder:
        """Meanwhile somebody else pays for the same account at the desk."""
        pay, self.asked = self.street.pay, self.asked + 1
        with pay.db.write() as conn:
            hold(conn, pay.account)
            prepay.pay_at_desk(conn, pay.payments, pay.account, nano("150"), f"till {self.asked}", pay.now_ms, "desk")
        if self.before:
            raise self.before.pop()
        placed = GATEWAY.create_order(pay.db, order_id, amount_nano, currency, at_ms)
        if self.after:
            raise self.after.pop()
        return placed


@pytest.fixture
def bank(street: WebStreet) -> Bank:
    bank = Bank(street)
    street.pay.payments = replace(street.pay.payments, gateway=bank)  # type: ignore[arg-type]
    return bank


def counts(street: WebStreet) -> tuple[int, int]:
    """Orders here and at the gateway."""
    with street.pay.db.read() as conn:
        here, there = (conn.execute(select(func.count()).select_from(t)).scalar_one() for t in (payment_order, at_the_bank))
    return here, there


def test_others_go_on_while_the_gateway_is_asked(street: WebStreet, bank: Bank) -> None:
    asked = Person(street.app(), "asha").post("/account/1/recharge", {"choice": "200"})
    assert (asked.status_code, asked.headers["Location"].startswith("/pay/test/tgo_")) == (303, True)
    assert counts(street) == (1, 1)


@pytest.mark.parametrize("lost", ["question", "answer"])
def test_one_that_does_not_answer_is_asked_again_for_the_same_order(street: WebStreet, bank: Bank, lost: str) -> None:
    (bank.before if lost == "question" else bank.after).append(LinkDown("no answer within 10 s"))
    asha = Person(street.app(), "asha")
    page = asha.post("/account/1/recharge", {"choice": "200"}).headers["Location"]
    said = plain(asha.get(page))
    assert "The payment service does not answer at the moment. Nothing was charged" in said
    assert "Go to the payment page" not in said
    again = asha.post(f"{page}/pay", {}, form=page)
    assert again.headers["Location"].startswith("/pay/test/tgo_")
    assert counts(street) == (1, 1)
    with street.pay.db.write() as conn:
        hook = GATEWAY.choose(conn, again.headers["Location"].removeprefix("/pay/test/"), "card", street.pay.now_ms)
    street.pay.deliver(hook)
    assert "Your payment has arrived" in plain(asha.get(page))
    assert street.pay.balance().pending_nano == (150 + 150 + 200) * NANO


def test_who_died_with_the_answer_loses_no_payment(street: WebStreet, bank: Bank) -> None:
    """The gateway took the order and got its money; our process knows nothing of the answer. Its event names the order by our number."""
    bank.after.append(Died())
    pay = street.pay
    with pytest.raises(Died):
        prepay.order_payment(pay.db, pay.payments, pay.account, nano("200"), pay.now_ms, "asha")
    with pay.db.write() as conn:
        number = conn.execute(select(at_the_bank.c.gateway_order)).scalar_one()
        hook = GATEWAY.choose(conn, number, "card", pay.now_ms)
    assert pay.deliver(hook).outcome is CaptureOutcome.CAPTURED
    with pay.db.read() as conn:
        order_id = conn.execute(select(payment_order.c.order_id)).scalar_one()
    assert prepay.place_order(pay.db, pay.payments, order_id, pay.now_ms).state is OrderState.PAID
    assert pay.deliver(hook).outcome is CaptureOutcome.REPEATED


def test_an_order_the_gateway_refuses_is_over(street: WebStreet, bank: Bank) -> None:
    bank.before.append(RefusedCommand("no_such_currency", "the gateway does not take INR"))
    asha = Person(street.app(), "asha")
    page = asha.post("/account/1/recharge", {"choice": "200"}).headers["Location"]
    said = plain(asha.get(page))
    assert "the gateway does not take INR" in said
    assert "Not paid" in said


def test_the_api_says_when_to_ask_again_and_goes_on_with_the_same_order(street: WebStreet, bank: Bank) -> None:
    bank.before.append(OSError("connection reset"))
    with street.pay.db.write() as conn:
        token = create_token(conn, "phone", ("payments:write",), SystemClock().now_ms(), "test", customer_no=1)
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "r-1"}
    phone = street.app().test_client()
    away = phone.post(f"{BASE}/accounts/1/orders", headers=headers, json={"amount": "200"})
    assert (away.status_code, away.headers["Retry-After"]) == (503, "30")
    assert away.get_json()["type"].endswith("/gateway-away")
    made = phone.post(f"{BASE}/accounts/1/orders", headers=headers, json={"amount": "200"})
    assert (made.status_code, made.get_json()["pay_path"].startswith("/pay/test/tgo_")) == (201, True)
    assert counts(street) == (1, 1)


def test_an_order_of_somebody_else_is_not_placed(street: WebStreet, bank: Bank) -> None:
    bank.before.append(LinkDown("away"))
    page = Person(street.app(), "asha").post("/account/1/recharge", {"choice": "200"}).headers["Location"]
    order_id = page.rsplit("/", 1)[1]
    other = Person(street.app(), "bilal")
    statuses = [other.post(f"/account/{no}/orders/{order_id}/pay", {}, form="/account/2/recharge").status_code for no in (1, 2)]
    assert statuses == [404, 404]
    assert counts(street) == (1, 0)


def test_a_gateway_that_was_taken_out_is_named(street: WebStreet, bank: Bank) -> None:
    bank.before.append(LinkDown("away"))
    pay = street.pay
    with pytest.raises(RefusedCommand, match=GatewayReason.AWAY):
        prepay.order_payment(pay.db, pay.payments, pay.account, nano("200"), pay.now_ms, "asha")
    with pay.db.read() as conn:
        order_id = conn.execute(select(payment_order.c.order_id)).scalar_one()
    with pytest.raises(RefusedCommand, match=GatewayReason.NO_GATEWAY):
        prepay.place_order(pay.db, replace(pay.payments, gateway=None), order_id, pay.now_ms)
