"""Payments, refunds, orders and auto-replenish at the same time, on PostgreSQL: money counts once, numbers have no gap.

Run with GRIDTALLY_STORE=postgresql, as `make test` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, update

from gridtally_cloud.billing.receivables import outstanding_nano, post_assessment, post_payment
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import set_policy
from gridtally_cloud.prepay import arrears, control, disconnect_run, paystation, policies, refunds, refused, settling
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.arrears_tables import arrears_limit
from gridtally_cloud.prepay.capture import hold, pay_at_desk
from gridtally_cloud.prepay.instruments import issue_waiting
from gridtally_cloud.prepay.model import CaptureOutcome, OrderState
from gridtally_cloud.prepay.refunds import refund_payment
from gridtally_cloud.prepay.replenish import AttemptState, attempts, replenish
from gridtally_cloud.prepay.replenish_rules import RuleState, Wish, agree, keep_method, rule_of, switch_off
from gridtally_cloud.prepay.station_day import Station
from gridtally_cloud.prepay.tables import instrument, payment_order, refund
from gridtally_cloud.store.tables import meter, meter_status
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from support.meanwhile import beside, meanwhile
from support.payday import GATEWAY, HOUR_MS, OPENED_WH, SIGNER, Payday
from support.stores import ON_POSTGRES

pytestmark = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

TILL = Station(7, "Mira", "Asia/Kolkata")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    yield town
    town.close()


def cash(town: Payday, receipt: str, amount: str = "200", account_no: int = 0, **more: Any) -> Any:
    """A step: money on the desk."""
    return lambda conn: pay_at_desk(conn, town.payments, account_no or town.account, nano(amount), receipt, town.now_ms, "desk", **more)


def give_back(town: Payday, payment_no: int, amount: str = "200") -> Any:
    return lambda conn: refund_payment(conn, town.payments, payment_no, nano(amount), town.now_ms, "desk")


def issued(town: Payday, account_no: int = 0) -> list[tuple[int, int]]:
    """The number and amount of each instrument."""
    i = instrument.c
    with town.db.read() as conn:
        rows = conn.execute(select(i.gseq, i.amount_nano).where(i.account_no == (account_no or town.account)).order_by(i.gseq))
        return [(r.gseq, r.amount_nano) for r in rows]


def given_back(town: Payday) -> int:
    with town.db.read() as conn:
        return int(conn.execute(select(func.coalesce(func.sum(refund.c.amount_nano), 0))).scalar_one())


def paid(town: Payday, amount: str = "200") -> int:
    """The number of a payment that was made."""
    with town.db.write() as conn:
        return int(cash(town, f"before {amount}", amount)(conn).payment_no)


# ---- capture --------------------------------------------------------------------------------------------------


def test_a_webhook_that_comes_to_two_workers_at_once_is_one_payment(town: Payday) -> None:
    hook = town.choose(town.order("200"))

    def deliver(conn: Connection) -> Any:
        return prepay.handle_webhook(conn, town.payments, hook.body, hook.signature, town.now_ms)

    assert meanwhile(town.db, deliver, deliver).result().outcome is CaptureOutcome.REPEATED
    assert issued(town) == [(1, nano("200"))]


def test_two_clicks_on_the_page_of_the_test_bank_pay_once(town: Payday) -> None:
    order = town.order("200")
    hooks = [lambda conn: GATEWAY.choose(conn, order.gateway_order, "card", town.now_ms) for _ in range(2)]
    other = meanwhile(town.db, *hooks).result()
    with town.db.read() as conn:
        assert [hook.event_id for hook in GATEWAY.undelivered(conn)] == [other.event_id]


def test_a_try_that_failed_and_is_told_late_does_not_undo_the_one_that_paid(town: Payday) -> None:
    order = town.order("200")
    failed, good = town.choose(order, "card-declined"), town.choose(order)
    steps = [lambda conn, hook=hook: prepay.handle_webhook(conn, town.payments, hook.body, hook.signature, town.now_ms)
             for hook in (good, failed)]  # fmt: skip
    meanwhile(town.db, *steps).result()
    with town.db.read() as conn:
        assert prepay.order(conn, order.order_id).state is OrderState.PAID


def test_a_payment_and_an_order_of_the_desk_are_numbered_one_after_the_other(town: Payday) -> None:
    meanwhile(town.db, cash(town, "r1"), lambda conn: control.show_test(conn, SIGNER, town.account, town.now_ms, "desk")).result()
    meanwhile(town.db, lambda conn: control.show_test(conn, SIGNER, town.account, town.now_ms, "desk"), cash(town, "r2")).result()
    assert issued(town) == [(1, nano("200")), (2, 0), (3, 0), (4, nano("200"))]
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


def test_two_new_keys_for_codes_follow_each_other(town: Payday) -> None:
    def new_key(conn: Connection) -> int:
        return control.rotate_keypad_key(conn, SIGNER, town.account, town.now_ms, "desk")

    assert meanwhile(town.db, new_key, new_key).result() == 2


def test_money_that_waited_for_a_concentrator_leaves_once_beside_a_refund_of_it(town: Payday) -> None:
    unserved = update(meter).where(meter.c.meter_no == town.homes[0].meter_no)
    with town.db.write() as conn:
        conn.execute(unserved.values(dcu=None))
    number = paid(town)
    with town.db.write() as conn:
        conn.execute(unserved.values(dcu="dcu-pay"))
    meanwhile(town.db, lambda conn: issue_waiting(conn, SIGNER, town.now_ms), give_back(town, number)).result()
    assert issued(town) == [(1, nano("200")), (2, -nano("200"))]
    with town.db.read() as conn:
        assert (outstanding_nano(conn, town.account), prepay.reconcile(conn)) == (0, ())


# ---- money back -----------------------------------------------------------------------------------------------


def test_two_desks_give_a_payment_back_once(town: Payday) -> None:
    number = paid(town)
    with pytest.raises(RefusedCommand, match="refund_too_large"):
        meanwhile(town.db, give_back(town, number), give_back(town, number, "150")).result()
    assert given_back(town) == nano("200")
    assert issued(town) == [(1, nano("200")), (2, -nano("200"))]


def test_two_desks_give_the_payment_of_a_bill_back_once(town: Payday) -> None:
    with town.db.write() as conn:
        number = cash(town, "r1", account_no=town.postpaid_account)(conn).payment_no
    with pytest.raises(RefusedCommand, match="at most"):
        meanwhile(town.db, give_back(town, number), give_back(town, number)).result()
    with town.db.read() as conn:
        assert (given_back(town), outstanding_nano(conn, town.postpaid_account)) == (nano("200"), 0)


@pytest.mark.parametrize("desk_first", [True, False])
def test_a_desk_and_the_station_do_not_both_give_a_payment_back(town: Payday, desk_first: bool) -> None:
    with town.db.write() as conn:
        number = paystation.pay(conn, town.payments, TILL, town.account, nano("200"), "k1", town.now_ms).payment.payment_no
    steps = [give_back(town, number), lambda conn: paystation.reverse(conn, town.payments, TILL, number, "wrong home", town.now_ms)]
    with pytest.raises(RefusedCommand, match=r"already_refunded|refund_too_large"):
        meanwhile(town.db, *(steps if desk_first else reversed(steps))).result()
    assert given_back(town) == nano("200")


SMALL = {"kind": "policy", "code": "small", "currency": "INR", "topup": {"max_balance": "50.00"}}


def refused_payment(town: Payday) -> int:
    """The number of an instrument of 100 that came to an account which may hold 50."""
    paid(town, "100")
    with town.db.write() as conn:
        policies.add_policy(conn, town.now_ms - town.now_ms % policies.BOUNDARY_MS, json.dumps(SMALL), town.now_ms, "desk")
        policies.follow(conn, town.account, "small", town.now_ms, "desk")
    town.configure()
    town.round()
    with town.db.read() as conn:
        (money,) = refused.unsettled(conn)
    return money.gseq


@pytest.mark.parametrize("again_first", [True, False])
def test_refused_money_is_sent_again_or_given_back_and_never_both(town: Payday, again_first: bool) -> None:
    gseq = refused_payment(town)
    steps = [lambda conn: refused.reissue(conn, town.payments, town.account, gseq, town.now_ms, "desk"),
             lambda conn: refunds.give_back_refused(conn, town.payments, town.account, gseq, town.now_ms, "desk")]  # fmt: skip
    with pytest.raises(RefusedCommand, match="not_refused"):
        meanwhile(town.db, *(steps if again_first else reversed(steps))).result()
    assert (given_back(town), len(issued(town))) == ((0, 2) if again_first else (nano("100"), 1))
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


# ---- what is decided on what was paid -------------------------------------------------------------------------


def test_who_pays_what_he_owes_on_bills_does_not_get_it_as_a_debt_too(town: Payday) -> None:
    def pays(conn: Connection) -> None:
        hold(conn, town.account)
        post_payment(conn, account_of(conn, town.account), nano("50"), 1, town.now_ms)

    with town.db.write() as conn:
        post_assessment(conn, account_of(conn, town.account), nano("50"), town.now_ms)
    done = meanwhile(town.db, pays, lambda conn: settling.carry_bills(conn, SIGNER, town.account, town.now_ms)).result()
    with town.db.read() as conn:
        assert (done, issued(town), outstanding_nano(conn, town.account)) == (False, [], 0)


def test_a_limit_is_lifted_beside_a_payment(town: Payday) -> None:
    """Both want the account and its books: nobody waits for the other for ever."""
    row = {"account_no": town.account, "watts": 500, "owed_nano": nano("50"), "paid_nano": 0, "state": "ordered", "due_ms": 0, "told_ms": 0,
           "actor": "desk"}  # fmt: skip
    with town.db.write() as conn:
        conn.execute(insert(arrears_limit).values(row))

    def posts(conn: Connection) -> None:
        post_payment(conn, account_of(conn, town.account), nano("50"), 1, town.now_ms)
        cash(town, "r1")(conn)

    beside(town.db, lambda conn: hold(conn, town.account), lambda: arrears.carry_out(town.db, SIGNER, town.now_ms), posts).result()
    assert issued(town) == [(1, nano("200")), (2, 0)]
    with town.db.read() as conn:
        assert [limit.state for limit in arrears.limits(conn, town.account)] == ["lifted"]


def test_who_pays_while_a_group_is_cut_is_left_out(town: Payday) -> None:
    paid(town, "100")
    town.carry_down()
    town.now_ms += HOUR_MS
    town.read(0, OPENED_WH + 40_000)
    town.carry_up()
    status = {"shard": 0, "meter_no": town.homes[0].meter_no, "at_ms": town.now_ms, "answering": True, "switch": 1,
              "received_ms": town.now_ms}  # fmt: skip
    with town.db.write() as conn:
        policy = replace(account_of(conn, town.account).policy, zero_action="disconnect")
        set_policy(conn, town.account, policy, town.now_ms, "desk")
        conn.execute(insert(meter_status).values(status))
        number = disconnect_run.announce(conn, town.now_ms, "desk", 0).run_no
    steps = [cash(town, "r1"), lambda conn: disconnect_run.order(conn, SIGNER, number, town.now_ms)]
    run = meanwhile(town.db, *steps).result()
    assert [(item.state, item.reason) for item in run.items if item.account_no == town.account] == [("left_out", "on_its_way")]


# ---- auto-replenish -------------------------------------------------------------------------------------------


def low_with_a_rule(town: Payday, choice: str = "card") -> None:
    """A balance of 150 used down to below 100, and a rule that wants 200 then."""
    paid(town, "150")
    with town.db.write() as conn:
        stored = GATEWAY.store_method(conn, choice, town.now_ms)
        method = keep_method(conn, town.payments, town.account, stored, town.now_ms, "asha").method_no
        agree(conn, town.payments, town.account, Wish(method, nano("100"), nano("200"), nano("600"), True), town.now_ms, "asha")
    town.carry_down()
    town.now_ms += HOUR_MS
    town.read(0, OPENED_WH + 12_000)
    town.carry_up()


def states(town: Payday) -> list[AttemptState]:
    with town.db.read() as conn:
        return [attempt.state for attempt in attempts(conn, town.account)]


def work(town: Payday) -> Any:
    return lambda: replenish(town.db, town.payments, town.now_ms)


def test_a_rule_switched_off_while_a_worker_looks_charges_nothing(town: Payday) -> None:
    def off(conn: Connection) -> None:
        hold(conn, town.account)
        switch_off(conn, town.account, town.now_ms, "asha")

    low_with_a_rule(town)
    beside(town.db, off, work(town)).result()
    assert states(town) == []


def test_who_pays_while_a_worker_looks_is_not_charged_too(town: Payday) -> None:
    low_with_a_rule(town)
    beside(town.db, cash(town, "r1"), work(town)).result()
    assert states(town) == []


def test_a_charge_that_goes_well_at_last_stops_no_rule(town: Payday) -> None:
    """Its first try failed; the second one is told while a worker takes up the first."""
    low_with_a_rule(town, "card-declined")
    work(town)()
    with town.db.write() as conn:
        (failed,) = GATEWAY.undelivered(conn)
        order = conn.execute(select(payment_order).where(payment_order.c.actor == "auto-replenish")).one()
        good = GATEWAY.choose(conn, order.gateway_order, "card", town.now_ms)
        prepay.handle_webhook(conn, town.payments, failed.body, failed.signature, town.now_ms)
        cash(town, "r1")(conn)  # nothing is wanted any more
    town.round()
    beside(town.db, lambda conn: prepay.handle_webhook(conn, town.payments, good.body, good.signature, town.now_ms), work(town)).result()
    with town.db.read() as conn:
        rule = rule_of(conn, town.account)
    assert (states(town), rule.state if rule else None) == ([AttemptState.CAPTURED], RuleState.ACTIVE)
