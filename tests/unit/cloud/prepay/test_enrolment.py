"""Requests to prepay, from the first word to the acknowledged confirmation; options by eligibility; both real sides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_cloud.billing.receivables import outstanding_nano, post_bill
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import set_policy
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.outgoing import messages_of
from gridtally_cloud.prepay import enrolment, offers
from gridtally_cloud.prepay.enrolment import EnrolReason, Request, RequestState, Wish
from gridtally_cloud.prepay.offers import Need, OfferReason
from gridtally_cloud.prepay.policies import add_policy, followed
from gridtally_cloud.prepay.replenish_rules import keep_method, remove_method
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.lifecycle import Reason
from gridtally_shared.money import nano
from gridtally_shared.prepay.policy import ZeroAction
from support.linked_pair import LinkedPair
from support.payday import DAY_MS, GATEWAY, HOUR_MS, OPENED_WH, SIGNER

MILD, STRICT = "home_mild", "home_strict"
DESK = "staff:dora"
NEEDS = (Need.SWITCH, Need.NOT_PROTECTED, Need.STORED_METHOD)


def document(code: str, action: str, **more: object) -> str:
    return json.dumps({"kind": "policy", "code": code, "currency": "INR", "zero_action": action, **more})


class Office:
    """A programme "home" with "none" for everybody and "disconnect" for who is fit for it; account 3 is billed."""

    def __init__(self, folder: Path) -> None:
        self.pair = LinkedPair(folder)
        self.pair.read(0, OPENED_WH)
        with self.pair.db.write() as conn:
            for code, action in ((MILD, "none"), (STRICT, "disconnect")):
                add_policy(conn, self.pair.now_ms, document(code, action), self.pair.now_ms, "ada")
            offers.set_option(conn, "home", MILD, (), self.pair.now_ms, "ada")
            offers.set_option(conn, "home", STRICT, NEEDS, self.pair.now_ms, "ada")
        self.pair.tell(p.LinkChanged(True))
        self.pair.tell(p.WelcomeSeen(self.pair.now_ms))
        self.cards: dict[int, int] = {}
        self.store_card(self.pair.postpaid_account)

    def wish(self, account_no: int, **more: object) -> Wish:
        with self.pair.db.read() as conn:
            account = account_of(conn, account_no)
        plain = Wish(account_no, account.customer_name, account.address, self.pair.now_ms, None, "home", "disconnect", "desk", "check 1",
                     nano("200"), "card")  # fmt: skip
        return replace(plain, **more)  # type: ignore[arg-type]

    def ask(self, account_no: int = 0, **more: object) -> Request:
        wish = self.wish(account_no or self.pair.postpaid_account, **more)
        with self.pair.db.write() as conn:
            return enrolment.ask(conn, wish, self.pair.now_ms, DESK)

    def work(self) -> None:
        enrolment.carry_out(self.pair.db, SIGNER, self.pair.now_ms)

    def found(self, number: int) -> Request:
        with self.pair.db.read() as conn:
            return enrolment.request(conn, number)

    def confirm_at_the_meter(self, wh: int) -> None:
        """The configuration and the order reach the meter, and its journal the mirror."""
        self.pair.configure()
        self.pair.carry_down()
        self.pair.wait(HOUR_MS)
        self.pair.read(2, wh)
        self.pair.carry_up()
        self.work()

    def hold(self, account_no: int, *names: str) -> None:
        with self.pair.db.write() as conn:
            policy = account_of(conn, account_no).policy
            set_policy(conn, account_no, replace(policy, holds=names), self.pair.now_ms, "dora")

    def store_card(self, account_no: int = 0) -> None:
        number = account_no or self.pair.account
        with self.pair.db.write() as conn:
            stored = GATEWAY.store_method(conn, "card", self.pair.now_ms)
            self.cards[number] = keep_method(conn, self.pair.payments, number, stored, self.pair.now_ms, "asha").method_no

    def forget_card(self) -> None:
        with self.pair.db.write() as conn:
            remove_method(conn, self.pair.account, self.cards[self.pair.account], self.pair.now_ms, "asha")

    def decisions(self) -> int:
        """How often the edge weighed a cut of the first home."""
        return [e.kind for e in entries_of(self.pair.money, self.pair.account, 1)].count(Kind.DECISION)

    def told(self, account_no: int) -> list[str]:
        with self.pair.db.read() as conn:
            return [m.code for m in reversed(messages_of(conn, account_no)) if m.code.startswith(("prepay_", "option_"))]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.pair.close()


@pytest.mark.covers("C3-N6", "C3-IE6")
@pytest.mark.covers_part("C3-S1.4")
def test_a_billed_account_becomes_prepaid_without_a_deposit_and_the_confirmation_is_acknowledged(office: Office) -> None:
    account_no = office.pair.postpaid_account
    with office.pair.db.write() as conn:
        before_nano = outstanding_nano(conn, account_no)
    asked = office.ask(deposit_nano=nano("80"))
    assert (asked.policy_id, asked.policy_version, asked.state) == (STRICT, 1, RequestState.ASKED)
    with pytest.raises(RefusedCommand, match="confirmed nothing yet"), office.pair.db.write() as conn:
        enrolment.acknowledge(conn, asked.request_no, office.pair.now_ms, DESK)

    office.work()
    assert office.found(asked.request_no).state is RequestState.STARTING
    with pytest.raises(RefusedCommand, match="has a request on its way"):
        office.ask()
    office.confirm_at_the_meter(OPENED_WH)
    assert office.found(asked.request_no).state is RequestState.ACTIVE
    with office.pair.db.read() as conn:
        assert account_of(conn, account_no).mode is Mode.PREPAID
        assert followed(conn)[account_no] == STRICT
    # nothing was paid, nothing is owed but what was; the deposit that was held is the first credit
    assert before_nano == 0
    assert office.pair.balance(account_no).balance_nano == nano("80")
    assert office.told(account_no) == ["prepay_starting", "prepay_active"]

    with office.pair.db.write() as conn:
        done = enrolment.acknowledge(conn, asked.request_no, office.pair.now_ms, DESK)
        again = enrolment.acknowledge(conn, asked.request_no, office.pair.now_ms + 1, "staff:ada")
        seen = [r for r in audit_rows(conn, subject=f"account:{account_no}") if r.action == "prepay.acknowledged"]
    assert (done.acknowledged_by, done.acknowledged_ms) == (DESK, office.pair.now_ms)
    assert again == done
    assert [(r.actor, r.at_ms) for r in seen] == [(DESK, office.pair.now_ms)]


def test_a_meter_that_refuses_ends_the_request_and_the_household_is_told(office: Office) -> None:
    office.pair.takes_mode = Reason.METER_FAULT
    asked = office.ask()
    office.work()
    office.confirm_at_the_meter(OPENED_WH)
    found = office.found(asked.request_no)
    assert (found.state, found.reason) == (RequestState.REFUSED, "meter_refused: meter_fault")
    assert office.told(office.pair.postpaid_account) == ["prepay_starting", "prepay_refused"]
    with office.pair.db.read() as conn:
        assert account_of(conn, office.pair.postpaid_account).mode is Mode.POSTPAID
    assert office.ask().state is RequestState.ASKED


def test_without_a_deposit_that_is_held_nothing_is_asked_for_and_nothing_comes(office: Office) -> None:
    asked = office.ask(amount_nano=0)
    office.work()
    office.confirm_at_the_meter(OPENED_WH)
    assert office.found(asked.request_no).state is RequestState.ACTIVE
    assert office.pair.balance(office.pair.postpaid_account).balance_nano == 0


def test_a_time_frame_begins_and_ends_by_itself(office: Office) -> None:
    account_no, start_ms = office.pair.postpaid_account, office.pair.now_ms + 2 * HOUR_MS
    asked = office.ask(from_ms=start_ms, to_ms=start_ms + DAY_MS)
    office.work()
    assert office.found(asked.request_no).state is RequestState.ASKED
    office.pair.wait(2 * HOUR_MS)
    office.work()
    office.confirm_at_the_meter(OPENED_WH)
    assert office.found(asked.request_no).state is RequestState.ACTIVE
    office.pair.wait(DAY_MS)
    office.work()
    assert office.found(asked.request_no).state is RequestState.ENDED
    office.confirm_at_the_meter(OPENED_WH)
    with office.pair.db.read() as conn:
        assert account_of(conn, account_no).mode is Mode.POSTPAID
    assert office.told(account_no) == ["prepay_starting", "prepay_active", "prepay_ended"]


@pytest.mark.parametrize("field", ["name", "address", "from_ms", "programme", "option", "credential"])
def test_a_field_that_is_missing_is_named(office: Office, field: str) -> None:
    with pytest.raises(RefusedCommand) as refused:
        office.ask(**{field: 0 if field == "from_ms" else ""})
    assert refused.value.reason == EnrolReason.MISSING_FIELD
    assert refused.value.detail.startswith(f"{field.removesuffix('_ms')}: missing")


def test_what_can_not_be_is_refused_and_nothing_is_kept(office: Office) -> None:
    account_no = office.pair.postpaid_account
    for more, reason in (
        ({"name": "Somebody Else"}, EnrolReason.WRONG_IDENTITY), ({"address": "elsewhere"}, EnrolReason.WRONG_IDENTITY),
        ({"to_ms": 1}, EnrolReason.BAD_FIELD), ({"amount_nano": -1}, EnrolReason.BAD_FIELD),
        ({"option": "limit"}, OfferReason.NOT_OFFERED), ({"programme": "hall"}, OfferReason.NOT_OFFERED),
    ):  # fmt: skip
        with pytest.raises(RefusedCommand) as refused:
            office.ask(**more)
        assert refused.value.reason == reason
    with office.pair.db.read() as conn:
        assert enrolment.requests(conn, account_no) == ()


def test_the_same_request_again_is_the_same_one(office: Office) -> None:
    assert office.ask(idempotency_key="k") == office.ask(idempotency_key="k")


@pytest.mark.covers("C3-N3")
def test_who_is_not_eligible_is_refused_and_who_no_longer_is_gets_another_policy_by_the_signed_configuration(office: Office) -> None:
    pair, account_no = office.pair, office.pair.account
    pair.pay("100")
    pair.round()
    with pytest.raises(RefusedCommand, match="stored_method"):
        office.ask(account_no)
    office.store_card()
    office.hold(account_no, "medical")
    with pytest.raises(RefusedCommand, match="not_protected") as refused:
        office.ask(account_no)
    assert refused.value.reason == OfferReason.NOT_ELIGIBLE
    office.hold(account_no)
    asked = office.ask(account_no)
    office.work()
    assert office.found(asked.request_no).state is RequestState.ACTIVE
    with pair.db.read() as conn:
        assert followed(conn)[account_no] == STRICT

    # the stored card is gone: the meter learns what follows by the next configuration, which is signed
    office.forget_card()
    office.work()
    office.work()
    with pair.db.read() as conn:
        assert followed(conn)[account_no] == MILD
    assert office.told(account_no) == ["prepay_active", "option_changed"]
    pair.configure()
    pair.wait(HOUR_MS)
    pair.read(0, OPENED_WH + 40_000)
    assert office.decisions() == 0

    # and back: the same home, the same debt, another policy
    office.store_card()
    office.work()
    with pair.db.read() as conn:
        assert followed(conn)[account_no] == STRICT
    pair.configure()
    pair.wait(HOUR_MS)
    pair.read(0, OPENED_WH + 41_000)
    assert office.decisions() > 0


def test_a_programme_offers_what_its_policies_do_and_first_a_way_back(office: Office) -> None:
    now_ms = office.pair.now_ms
    with office.pair.db.write() as conn:
        for programme, policy_id, needs, reason in (
            ("new", STRICT, (), OfferReason.NO_FALLBACK), ("home", "nobody", (), OfferReason.NOT_OFFERED),
            ("home", MILD, ("luck",), OfferReason.UNKNOWN_NEED),
        ):  # fmt: skip
            with pytest.raises(RefusedCommand) as refused:
                offers.set_option(conn, programme, policy_id, needs, now_ms, "ada")
            assert refused.value.reason == reason
        found = offers.offers(conn, account_of(conn, office.pair.account), now_ms)
    fit = [(o.programme, o.option, o.missing) for o in found]
    assert fit == [("home", ZeroAction.NONE, ()), ("home", ZeroAction.DISCONNECT, (Need.STORED_METHOD,))]


def test_arrears_can_keep_an_option_away(office: Office) -> None:
    account_no, now_ms = office.pair.postpaid_account, office.pair.now_ms
    with office.pair.db.write() as conn:
        offers.set_option(conn, "home", STRICT, ("no_arrears", "not_protected"), now_ms, "ada")
        post_bill(conn, account_of(conn, account_no), nano("300"), "B-1", now_ms)
    with pytest.raises(RefusedCommand, match="no_arrears"):
        office.ask()
