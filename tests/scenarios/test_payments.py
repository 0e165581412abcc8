"""From the consumer's payment to the credit at the edge and back into the books, with everything a gateway does wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Table, select

from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.gateway import webhook_signature
from gridtally_cloud.prepay.model import CaptureOutcome, InstrumentState, OrderState
from gridtally_cloud.prepay.tables import gateway_event, instrument, payment
from gridtally_cloud.prepay.trial_gateway import CHOICES, Choice, Webhook
from gridtally_cloud.store.tables import outbox_down
from gridtally_edge.prepay.events import InstrumentArrived
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from gridtally_shared.signing import verify1
from support.payday import GATEWAY, HOUR_MS, OPENED_WH, SIGNER, Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    town.read(1, OPENED_WH)
    yield town
    town.close()


def rows(town: Payday, table: Table) -> int:
    with town.db.read() as conn:
        return len(conn.execute(select(table)).all())


def mismatches(town: Payday) -> list[str]:
    with town.db.read() as conn:
        return [f"{m.account_no} {m.check}: {m.text}" for m in prepay.reconcile(conn)]


def test_a_payment_reaches_the_meter_and_the_page_says_so(town: Payday) -> None:
    capture = town.pay("250")
    assert capture.outcome is CaptureOutcome.CAPTURED
    assert town.balance().pending_nano == nano("250")
    assert town.balance().balance_nano == 0
    town.carry_down()
    assert states(town) == [InstrumentState.SENT]
    town.carry_up()
    view = town.balance()
    assert (view.balance_nano, view.pending_nano) == (nano("250"), 0)
    assert states(town) == [InstrumentState.APPLIED]
    assert mismatches(town) == []


def states(town: Payday) -> list[InstrumentState]:
    with town.db.read() as conn:
        return [i.state for i in prepay.instruments(conn, town.account)]


@pytest.mark.covers_part("C3-S1.5", "BYPL-17.4")
def test_a_webhook_repeated_ten_times_credits_once(town: Payday) -> None:
    webhook = town.choose(town.order("100"))
    outcomes = [town.deliver(webhook) for _ in range(10)]
    assert [o.outcome for o in outcomes] == [CaptureOutcome.CAPTURED] + [CaptureOutcome.REPEATED] * 9
    assert len({o.payment.payment_no for o in outcomes if o.payment}) == 1
    assert (rows(town, payment), rows(town, instrument), rows(town, gateway_event)) == (1, 1, 1)
    town.round()
    town.round()
    assert town.balance().balance_nano == nano("100")


@pytest.mark.covers_part("C3-S1.5", "BYPL-17.4")
def test_a_bad_signature_is_refused_and_posts_nothing(town: Payday) -> None:
    webhook = town.choose(town.order("100"))
    more = webhook.body.replace(b'"100"', b'"900"')
    assert more != webhook.body
    for body, signature in ((webhook.body, ""), (webhook.body, "0" * 64), (webhook.body, "é"), (more, webhook.signature),
                            (webhook.body, webhook_signature(b"the secret of somebody else", webhook.body))):  # fmt: skip
        with pytest.raises(RefusedCommand, match="signature"):
            town.deliver(Webhook(webhook.event_id, body, signature))
    assert (rows(town, payment), rows(town, instrument), rows(town, gateway_event)) == (0, 0, 0)


@pytest.mark.covers_part("BYPL-17.4")
def test_the_return_page_alone_credits_nothing(town: Payday) -> None:
    order = town.order("100")
    town.choose(order)
    assert GATEWAY.verify_return(GATEWAY.return_fields(order.gateway_order))
    assert (rows(town, payment), rows(town, instrument)) == (0, 0)
    with town.db.read() as conn:
        assert prepay.order(conn, order.order_id).state is OrderState.CREATED


def test_a_failure_that_comes_after_its_success_changes_nothing(town: Payday) -> None:
    order = town.order("100")
    failed, paid = town.choose(order, "card-declined"), town.choose(order, "wallet")
    assert town.deliver(paid).outcome is CaptureOutcome.CAPTURED
    late = town.deliver(failed)
    assert late.order is not None
    assert late.order.state is OrderState.PAID
    assert rows(town, payment) == 1


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: c.key)
def test_each_way_to_pay_and_each_way_to_fail(town: Payday, choice: Choice) -> None:
    capture = town.deliver(town.choose(town.order("100"), choice.key))
    assert capture.outcome is (CaptureOutcome.CAPTURED if choice.pays else CaptureOutcome.FAILED)
    assert rows(town, payment) == int(choice.pays)
    assert capture.order is not None
    assert capture.order.reason == choice.reason


def test_a_declined_card_then_a_wallet_pays_the_same_order(town: Payday) -> None:
    order = town.order("100")
    assert town.deliver(town.choose(order, "card-declined")).outcome is CaptureOutcome.FAILED
    assert town.deliver(town.choose(order, "wallet")).outcome is CaptureOutcome.CAPTURED
    assert town.deliver(town.choose(order, "card")).outcome is CaptureOutcome.REPEATED
    assert rows(town, payment) == 1


def test_webhooks_in_any_order_credit_each_order_once(town: Payday) -> None:
    hooks = [town.choose(town.order(str(100 + i))) for i in range(5)]
    for hook in [*reversed(hooks), *hooks]:
        town.deliver(hook)
    town.round()
    assert town.balance().balance_nano == nano("510")
    assert mismatches(town) == []


def test_an_instrument_lost_doubled_and_late_is_applied_once(town: Payday) -> None:
    for _ in range(3):
        town.pay("100")
    first, second, third = town.instruments()
    for envelope in (third, third, first, second, first):
        town.tell(arrived(envelope))
    town.carry_up()
    assert town.balance().balance_nano == nano("300")
    assert town.balance().pending_nano == 0


def arrived(envelope: bytes) -> InstrumentArrived:
    return InstrumentArrived(envelope)


@pytest.mark.covers("C3-S1.6")
def test_payment_and_signed_instrument_are_one_transaction(town: Payday) -> None:
    webhook = town.choose(town.order("100"))
    with town.db.engine.connect() as conn, conn.begin() as transaction:
        prepay.handle_webhook(conn, town.payments, webhook.body, webhook.signature, town.now_ms)
        assert len(conn.execute(select(instrument)).all()) == len(conn.execute(select(payment)).all()) == 1
        transaction.rollback()
    assert (rows(town, payment), rows(town, instrument), len(town.instruments())) == (0, 0, 0)
    town.deliver(webhook)
    assert (rows(town, payment), rows(town, instrument), len(town.instruments())) == (1, 1, 1)
    signed = decode(Instrument, verify1({SIGNER.key_id: SIGNER.public}, "instrument", town.instruments()[0]))
    assert (signed.account_no, signed.gseq, signed.amount_nano, signed.currency) == (town.account, 1, nano("100"), "INR")


def test_the_credit_is_used_up_by_energy_and_the_books_agree(town: Payday) -> None:
    town.pay("200")
    town.carry_down()
    for hour in range(1, 30):
        town.wait(HOUR_MS)
        town.read(0, OPENED_WH + hour * 333)
    town.carry_up()
    # opened at local midnight: 29 x 333 Wh at 7 per kWh and the two days that began at 2.50, each plus 5 % tax
    assert town.balance().balance_nano == nano("200") - nano("70.978950") - nano("5.25")
    assert mismatches(town) == []


def test_a_refund_takes_the_credit_back_and_a_second_one_is_refused(town: Payday) -> None:
    paid = town.pay("200").payment
    assert paid is not None
    town.round()
    with town.db.write() as conn:
        after = prepay.refund_payment(conn, town.payments, paid.payment_no, nano("150"), town.now_ms, "desk")
    assert after.refunded_nano == nano("150")
    assert town.balance().pending_nano == -nano("150")
    town.round()
    assert town.balance().balance_nano == nano("50")
    with pytest.raises(RefusedCommand, match=r"₹ 50\.00"), town.db.write() as conn:
        prepay.refund_payment(conn, town.payments, paid.payment_no, nano("50.01"), town.now_ms, "desk")
    assert mismatches(town) == []
    assert prepay.send_refunds(town.db, town.payments, town.now_ms) == 1
    assert prepay.send_refunds(town.db, town.payments, town.now_ms) == 0


def test_a_refund_of_money_already_used_becomes_a_debt(town: Payday) -> None:
    paid = town.pay("100").payment
    assert paid is not None
    town.carry_down()
    town.wait(HOUR_MS)
    town.read(0, OPENED_WH + 10_000)  # 73.50 with tax, and 2.625 for the day
    with town.db.write() as conn:
        prepay.refund_payment(conn, town.payments, paid.payment_no, nano("100"), town.now_ms, "desk")
    town.round()
    view = town.balance()
    assert (view.balance_nano, view.debt_nano) == (0, nano("76.125"))
    assert mismatches(town) == []


def test_cash_at_the_desk_with_the_same_receipt_pays_once(town: Payday) -> None:
    for _ in range(2):
        with town.db.write() as conn:
            prepay.pay_at_desk(conn, town.payments, town.account, nano("500"), "A-17", town.now_ms, "desk")
    assert rows(town, payment) == 1
    with pytest.raises(RefusedCommand, match="A-17"), town.db.write() as conn:
        prepay.pay_at_desk(conn, town.payments, town.account, nano("400"), "A-17", town.now_ms, "desk")


def test_the_outbox_carries_every_instrument(town: Payday) -> None:
    town.pay("100")
    with town.db.read() as conn:
        row = conn.execute(select(outbox_down).where(outbox_down.c.channel == "instrument")).one()
    assert (row.dcu, row.ref) == ("dcu-pay", f"{town.account}/1/1")
