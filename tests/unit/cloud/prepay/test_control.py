"""Control instruments from the cloud to the edge and back: applied in order, refused ones seen, the books still agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.prepay import control, files, keypad, policies, refunds, refused
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.instruments import Source, issue
from gridtally_cloud.prepay.model import PaymentView
from gridtally_edge.prepay.events import FileBrought
from gridtally_edge.prepay.rows import OrderRow, some
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.money import nano
from support.payday import DCU, SIGNER, Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, 5_000_000)
    town.round()
    yield town
    town.close()


def order(town: Payday, detail: control.Order, owed: str = "0") -> int:
    with town.db.write() as conn:
        return control.order(conn, SIGNER, town.account, detail, town.now_ms, "desk", nano(owed))


def states(town: Payday) -> dict[int, str]:
    with town.db.read() as conn:
        return {i.gseq: i.state.value for i in prepay.instruments(conn, town.account)}


def test_orders_are_applied_in_turn_and_the_books_agree(town: Payday) -> None:
    hold, debt = order(town, d.HoldOrder("customer")), order(town, d.DebtTaken("time", "arrears"), "75")
    with town.db.write() as conn:
        cleared = control.clear_credit(conn, SIGNER, town.account, town.now_ms, "desk")
    town.pay("100")
    town.round()
    town.round()
    assert {states(town)[n] for n in (hold, debt, cleared)} == {"applied"}
    assert {row.name for row in some(town.money, OrderRow, "WHERE value = 1")} == {"hold:customer"}
    assert (town.balance().balance_nano, town.balance().debt_nano) == (nano("100"), nano("75"))
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


def test_what_the_edge_refuses_is_seen_as_refused_and_holds_nothing_up(town: Payday) -> None:
    with town.db.write() as conn:
        account = account_of(conn, town.account)
        gseq = issue(conn, SIGNER, account, InstrumentType.LEASE, 2**62, Source("too much"), town.now_ms, d.LeaseGrant(1, 0))
    town.pay("100")
    town.round()
    town.round()
    assert (states(town)[gseq], states(town)[gseq + 1]) == ("refused", "applied")
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


def test_a_rotated_key_makes_new_codes_only(town: Payday) -> None:
    town.pay("100")
    with town.db.write() as conn:
        gseq = prepay.instruments(conn, town.account)[0].gseq
        before = keypad.code_of(conn, town.account, gseq).text
        control.rotate_keypad_key(conn, SIGNER, town.account, town.now_ms, "desk")
        assert keypad.code_of(conn, town.account, gseq).text != before


def test_nothing_unsound_is_signed(town: Payday) -> None:
    with pytest.raises(RefusedCommand, match="on site"):
        order(town, d.HoldOrder("work", False))
    with pytest.raises(RefusedCommand, match="no reason"):
        order(town, d.ProtectOrder("mood"))
    with pytest.raises(ValueError, match="does not fit its form"), town.db.write() as conn:
        issue(conn, SIGNER, account_of(conn, town.account), InstrumentType.CREDIT, 0, Source("x"), town.now_ms)


def test_a_file_carries_what_the_mirror_has_not_shown(town: Payday) -> None:
    town.pay("100")
    order(town, d.ProtectOrder("medical"))
    before = town.balance().balance_nano
    with town.db.read() as conn:
        text, count = files.file_for(conn, SIGNER, DCU, town.now_ms, town.account)
    town.tell(FileBrought(b"f" * 16, text))
    town.carry_up()
    assert (count, town.balance().balance_nano - before, town.balance().pending_nano) == (2, nano("100"), 0)
    with town.db.read() as conn, pytest.raises(RefusedCommand, match="nothing to carry"):
        files.file_for(conn, SIGNER, DCU, town.now_ms, town.account)


# ---- money an edge refused --------------------------------------------------------------------------------------


SMALL = {"kind": "policy", "code": "small", "currency": "INR", "topup": {"max_balance": "50.00"}}


def follow(town: Payday, policy_id: str) -> None:
    with town.db.write() as conn:
        if policy_id:
            policies.add_policy(conn, town.now_ms - town.now_ms % policies.BOUNDARY_MS, json.dumps(SMALL), town.now_ms, "desk")
        policies.follow(conn, town.account, policy_id, town.now_ms, "desk")
    town.configure()


def refused_payment(town: Payday) -> int:
    """A payment of 100 for an account that may hold 50 when it comes to the edge, and anything later."""
    capture = town.pay("100")
    follow(town, "small")
    town.round()
    town.round()
    gseq = _newest(town, capture.payment)
    assert states(town)[gseq] == "refused"
    follow(town, "")
    return gseq


def _newest(town: Payday, payment: PaymentView | None) -> int:
    assert payment is not None
    assert payment.instrument is not None
    return payment.instrument.gseq


def books(town: Payday) -> tuple[object, ...]:
    with town.db.read() as conn:
        return prepay.reconcile(conn)


def test_refused_money_is_sent_again_once_and_the_books_agree(town: Payday) -> None:
    before = town.balance().balance_nano
    gseq = refused_payment(town)
    assert books(town) == ()
    with town.db.write() as conn:
        (money,) = refused.unsettled(conn)
        assert (money.gseq, money.amount_nano, money.reason) == (gseq, nano("100"), "overflow")
        again = refused.reissue(conn, town.payments, town.account, gseq, town.now_ms, "desk")
        with pytest.raises(RefusedCommand, match="no refused money"):
            refused.reissue(conn, town.payments, town.account, gseq, town.now_ms, "desk")
    town.round()
    town.round()
    assert (states(town)[again], town.balance().balance_nano - before) == ("applied", nano("100"))
    assert books(town) == ()


def test_refused_money_goes_back_whole_and_nothing_is_taken_from_the_meter(town: Payday) -> None:
    before = town.balance().balance_nano
    gseq = refused_payment(town)
    with town.db.write() as conn:
        (money,) = refused.unsettled(conn, town.account)
        with pytest.raises(RefusedCommand, match="whole"):
            refunds.refund_payment(conn, town.payments, money.payment_no, nano("30"), town.now_ms, "desk")
        assert refunds.give_back_refused(conn, town.payments, town.account, gseq, town.now_ms, "desk").refunded_nano == nano("100")
        assert refused.unsettled(conn) == ()
        with pytest.raises(RefusedCommand, match="no refused money"):
            refunds.give_back_refused(conn, town.payments, town.account, gseq, town.now_ms, "desk")
    town.round()
    assert town.balance().balance_nano == before
    assert books(town) == ()
