"""Codes from the cloud: paid at a desk, typed at a concentrator that hears nobody, and once only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud.customers.accounts import account
from gridtally_cloud.prepay import keypad
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.instrument_tables import keypad_key
from gridtally_cloud.prepay.policies import BOUNDARY_MS, add_policy, follow
from gridtally_edge.prepay.events import CodeEntered, InstrumentArrived
from gridtally_edge.prepay.rows import CodeEntryRow, one
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.money import nano
from support.payday import Payday


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, 5_000_000)
    town.round()
    yield town
    town.close()


def code_of(town: Payday, gseq: int) -> str:
    with town.db.read() as conn:
        return keypad.code_of(conn, town.account, gseq).text


def types(town: Payday, text: str, entry: int = 1) -> str:
    town.tell(CodeEntered(entry.to_bytes(16, "big"), town.account, text))
    row = one(town.money, CodeEntryRow, entry.to_bytes(16, "big"))
    assert row is not None
    return row.result


def newest(town: Payday) -> int:
    with town.db.read() as conn:
        return prepay.instruments(conn, town.account)[0].gseq


def test_paid_at_the_desk_typed_offline_and_the_same_instrument_by_network_is_a_repeat(town: Payday) -> None:
    before = town.balance().balance_nano
    town.pay("250.50")
    assert types(town, code_of(town, newest(town))) == "accepted"
    for envelope in town.instruments():
        town.tell(InstrumentArrived(envelope))
    town.carry_up()
    view = town.balance()
    assert (view.balance_nano - before, view.pending_nano) == (nano("250.50"), 0)
    with town.db.read() as conn:
        assert prepay.reconcile(conn) == ()


def test_each_account_has_a_key_of_its_own_and_the_edge_holds_the_same(town: Payday) -> None:
    with town.db.read() as conn:
        keys = {row.account_no: bytes(row.secret) for row in conn.execute(select(keypad_key))}
    assert len(set(keys.values())) == len(keys) == 2
    assert town.postpaid_account not in keys


def test_an_account_that_is_not_offered_codes_gets_none_and_takes_none(town: Payday) -> None:
    town.pay("100")
    text = code_of(town, newest(town))
    with town.db.write() as conn:
        keypad.offer(conn, town.account, False, town.now_ms, "desk")
    with pytest.raises(RefusedCommand, match="switched off"):
        code_of(town, newest(town))
    town.configure()
    assert types(town, text) == "not_offered"


def test_a_refund_and_an_odd_amount_have_no_code(town: Payday) -> None:
    paid = town.pay("100").payment
    assert paid is not None
    with town.db.write() as conn:
        prepay.refund_payment(conn, town.payments, paid.payment_no, nano("40"), town.now_ms, "desk")
    with pytest.raises(RefusedCommand, match="as a file"):
        code_of(town, newest(town))
    with pytest.raises(RefusedCommand, match="has no instrument 999"):
        code_of(town, 999)
    town.pay("1310.73")
    with pytest.raises(RefusedCommand, match="does not fit a code"):
        code_of(town, newest(town))


def test_a_policy_without_the_keypad_gives_neither_key_nor_code(town: Payday) -> None:
    town.pay("250")
    bare = json.dumps({"kind": "policy", "code": "home", "currency": "INR", "keypad": False})
    begins_ms = (town.now_ms // BOUNDARY_MS + 1) * BOUNDARY_MS
    with town.db.write() as conn:
        add_policy(conn, begins_ms, bare, town.now_ms, "desk")
        follow(conn, town.account, "home", town.now_ms, "desk")
        accounts = (account(conn, town.account),)
        assert set(keypad.keys_of(conn, accounts, begins_ms - 1)) == {town.account}
        assert keypad.keys_of(conn, accounts, begins_ms) == {}
    before = newest(town)
    town.wait(begins_ms - town.now_ms)
    town.pay("250")
    assert code_of(town, before)
    with pytest.raises(RefusedCommand, match="its policy wants none"):
        code_of(town, newest(town))
