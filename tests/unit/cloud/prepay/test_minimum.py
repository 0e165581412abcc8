"""The least payment: the policy's, what brings the supply back, and what a top-up pays off first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from gridtally_cloud.customers.accounts import account
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay.minimum import Least, least_payment, whole_coins
from gridtally_cloud.prepay.model import SupplyState
from gridtally_cloud.prepay.wallet import SWITCHES
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import meter_status
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import MoneyRules
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.ledger.way_back import brings_back
from gridtally_shared.money import decimal_text, nano
from support.payday import HOUR_MS, OPENED_WH, Payday

NUMBER = {state: number for number, state in SWITCHES.items()}
STATES = [
    ({}, MoneyRules(), 0, 100),
    ({Pool.PAID: -50}, MoneyRules(), 0, 150),
    ({Pool.PAID: 100}, MoneyRules(), 0, 0),
    ({Pool.PAID: -50}, MoneyRules(), 120, 30),
    ({Pool.PAID: -50, Pool.DEBT: -30}, MoneyRules(), 0, 180),
    ({Pool.EMERGENCY: -40}, MoneyRules(emergency_nano=100), 0, 140),
    ({Pool.DEBT_PAYMENT: -1000}, MoneyRules(payment_ppm=200_000), 0, 124),
    ({Pool.DEBT_PAYMENT: -10}, MoneyRules(payment_ppm=200_000), 0, 110),
]


@pytest.mark.parametrize(("pools", "rules", "pending", "expected"), STATES)
def test_what_brings_the_supply_back(pools: dict[int, int], rules: MoneyRules, pending: int, expected: int) -> None:
    assert brings_back(LedgerState(1, 1, pools=dict(pools)), rules, 100, pending) == expected


def test_nobody_pays_less_than_a_coin() -> None:
    assert [whole_coins(n, "INR") for n in (0, 1, 10_000_000, 10_000_001)] == [0, 10_000_000, 10_000_000, 20_000_000]
    assert whole_coins(1, "JPY") == nano("1")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """The first home has used up more than was paid."""
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    town.pay("100")
    town.round()
    town.wait(HOUR_MS)
    town.read(0, OPENED_WH + 60_000)
    town.carry_up()
    yield town
    town.close()


def switch(town: Payday, state: SupplyState) -> None:
    row = {"shard": 0, "meter_no": town.homes[0].meter_no, "switch": NUMBER[state], "at_ms": town.now_ms, "answering": True,
           "received_ms": town.now_ms}  # fmt: skip
    with town.db.write() as conn:
        upsert(conn, meter_status, row)
        conn.execute(update(account_table).values(restore_min_nano=nano("50")))


def least(town: Payday) -> Least:
    with town.db.read() as conn:
        return least_payment(conn, town.payments, account(conn, town.account), town.now_ms)


@pytest.mark.covers_part("C3-BR2")
def test_who_is_cut_sees_what_brings_the_supply_back(town: Payday) -> None:
    switch(town, SupplyState.ON)
    assert least(town).reconnect_nano == 0
    switch(town, SupplyState.OFF)
    owed_nano = -town.balance().balance_nano
    assert owed_nano > nano("200")
    found = least(town)
    assert (found.owed_nano, found.restore_nano) == (owed_nano, nano("50"))
    assert found.reconnect_nano == whole_coins(owed_nano + nano("50"), "INR")
    assert found.least_nano == nano("100")
    town.pay("100")
    assert least(town).reconnect_nano == found.reconnect_nano - nano("100")


@pytest.mark.covers_part("C3-BR2")
def test_where_the_policy_says_so_less_is_refused_with_the_amount(town: Payday) -> None:
    switch(town, SupplyState.OFF)
    town.payments = replace(town.payments, minimum_covers_reconnection=True)
    need_nano = least(town).reconnect_nano
    assert least(town).least_nano == need_nano
    with pytest.raises(RefusedCommand, match="payment_too_small"):
        town.order("200")
    town.pay(decimal_text(need_nano))
    town.round()
    assert town.balance().balance_nano >= nano("50")
