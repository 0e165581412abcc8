"""What is left in the wallet after each deduction, worked by hand; how an option is paid for and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.prepay import control, enrolment, offers
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.enrolment import Wish
from gridtally_cloud.prepay.policies import add_policy, follow
from gridtally_cloud.prepay.wallet import ledger_state
from gridtally_shared.instruments import details as d
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.money import nano
from support.payday import HOUR_MS, OPENED_WH, SIGNER, Payday

QUARTER_MS = 900_000
RULES = {
    "kind": "policy", "code": "arrears", "currency": "INR", "zero_action": "none",
    "debts": [{"kind": "payment", "period": "day", "percent": "25"}, {"kind": "time", "period": "day", "rate": "10"}],
    "emergency": {"limit": "60", "auto": True},
}  # fmt: skip


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Payday]:
    made = Payday(tmp_path)
    yield made
    made.close()


def load(street: Payday, code: str, body: dict[str, object]) -> None:
    with street.db.write() as conn:
        add_policy(conn, street.now_ms, json.dumps(body | {"code": code}), street.now_ms, "ada")


@pytest.mark.covers("BYPL-17.5a")
def test_the_wallet_after_arrears_emergency_credit_and_a_fee_is_what_a_person_works_out(street: Payday) -> None:
    load(street, "arrears", RULES)
    with street.db.write() as conn:
        follow(conn, street.account, "arrears", street.now_ms, "ada")
    street.configure()
    street.read(0, OPENED_WH)
    street.pay("100")
    street.round()
    with street.db.write() as conn:
        for by, why, owed in (("payment", "arrears of last year", "80"), ("time", "reconnection fee", "30")):
            control.order(conn, SIGNER, street.account, d.DebtTaken(by, why), street.now_ms, "dora", nano(owed))
    street.round()

    # 2.50 a day and 7.00 a kWh, with 5 % tax: the day costs 2.625; 20 kWh cost 147.00, one more 7.35
    street.wait(HOUR_MS)
    street.read(0, OPENED_WH + 20_000)
    street.wait(QUARTER_MS)
    street.read(0, OPENED_WH + 20_000)
    street.pay("200")
    street.round()
    street.wait(QUARTER_MS)
    street.read(0, OPENED_WH + 21_000)
    street.carry_up()

    with street.db.read() as conn:
        state = ledger_state(conn, street.account, 1)
    assert state is not None
    # 25 % of 200 went to the arrears; 10 of the fee, once this day; the emergency credit that was used is paid back first
    assert -state.pools.get(Pool.DEBT_PAYMENT, 0) == nano("80") - nano("50")
    assert -state.pools.get(Pool.DEBT_TIME, 0) == nano("30") - nano("10")
    assert state.pools.get(Pool.EMERGENCY, 0) == 0
    assert street.balance().balance_nano == nano("83.025")  # 100 - 2.625 - 147 + 200 - 50 - 10 - 7.35


@pytest.mark.covers("C3-S1.4")
def test_an_amount_three_ways_of_paying_and_the_option_kept_with_its_version(street: Payday) -> None:
    load(street, "mild", {"kind": "policy", "currency": "INR", "zero_action": "none"})
    for option in ("disconnect", "replenish", "postpaid", "limit"):
        steps = {"limit": {"steps": [{"code": "low", "watts": 500}], "at_zero": 1}} if option == "limit" else {}
        load(street, f"home_{option}", {"kind": "policy", "currency": "INR", "zero_action": option, **steps})
    with street.db.write() as conn:
        for code in ("mild", "home_disconnect", "home_replenish", "home_postpaid", "home_limit"):
            offers.set_option(conn, "home", code, (), street.now_ms, "ada")
        account = account_of(conn, street.account)
    street.read(0, OPENED_WH)
    methods = {"card": "disconnect", "netbanking": "limit", "wallet": "replenish"}
    for number, (method, option) in enumerate(methods.items(), 1):
        wish = Wish(street.account, account.customer_name, account.address, street.now_ms, None, "home", option, "portal", "session:asha",
                    nano("200"), method)  # fmt: skip
        with street.db.write() as conn:
            made = enrolment.ask(conn, wish, street.now_ms, "consumer:asha")
        enrolment.carry_out(street.db, SIGNER, street.now_ms)
        paid = street.deliver(street.choose(street.order("200"), method)).payment
        assert paid is not None
        with street.db.read() as conn:
            kept = enrolment.request(conn, made.request_no)
            seen = prepay.payments(conn, street.account)
        assert (kept.wish.option, kept.wish.method, kept.wish.amount_nano) == (option, paid.method, paid.amount_nano)
        assert (kept.policy_id, kept.policy_version) == (f"home_{option}", 1)
        assert len(seen) == number

    # another version of the rules: what was chosen before keeps the number it was chosen under
    street.now_ms += QUARTER_MS
    load(street, "home_postpaid", {"kind": "policy", "currency": "INR", "zero_action": "postpaid", "name": "second"})
    wish = Wish(street.account, account.customer_name, account.address, street.now_ms, None, "home", "postpaid", "portal", "session:asha")
    with street.db.write() as conn:
        assert enrolment.ask(conn, wish, street.now_ms, "consumer:asha").policy_version == 2
        assert [r.policy_version for r in enrolment.requests(conn, street.account)] == [2, 1, 1, 1]
