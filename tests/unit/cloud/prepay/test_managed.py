"""Accounts the MDM runs itself: the same day costs the same in both modes, and nothing is lost between them (safety.md 17)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from gridtally_cloud.assets import config_publisher
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay import control, handover, managed_run, replaced
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.prepay.wallet import ledger_state
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.money import nano
from support.linked_pair import LinkedPair
from support.payday import DAY_MS, DCU, HOUR_MS, OPENED_WH, SIGNER

TARIFF = {
    "kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
    "versions": [{"from": "2020-01-01", "hours": [{"bands": [
        {"from": "00:00", "to": "06:00", "period": "night"}, {"from": "06:00", "to": "24:00", "period": "day"}]}],
        "items": [
            {"kind": "energy", "code": "energy", "rates": [
                {"periods": ["night"], "slabs": [{"to_kwh": "2", "price": "2.15"}, {"price": "3.33"}]},
                {"periods": ["day"], "price": "7.77"}]},
            {"kind": "fixed", "code": "fixed", "price": "93.31"},
            {"kind": "percent", "code": "duty", "percent": "7.77", "of": ["energy"]}]}],
}  # fmt: skip
LOCAL, REMOTE = 0, 1


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    """Two homes alike: one is run by its concentrator, one from here. Neither may be cut at zero."""
    pair = LinkedPair(tmp_path, Plan(DCU, postpaid=1, tariff=json.dumps(TARIFF)))
    with pair.db.write() as conn:
        conn.execute(update(account_table).values(zero_action="none"))
        manage(conn, SIGNER, no_of(pair, REMOTE), Managed.CLOUD, pair.now_ms, "asha")
    pair.configure()
    yield pair
    pair.close()


def no_of(pair: LinkedPair, home: int) -> int:
    return pair.homes[home].account_no


def live(pair: LinkedPair, ms: int, wh: int) -> None:
    """Time passes for both homes, and both use the same."""
    pair.wait(ms)
    pair.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms))
    for home in (LOCAL, REMOTE):
        pair.read(home, OPENED_WH + wh)
    managed_run.run(pair.db, SIGNER, pair.now_ms)
    pair.sync()


def without_wan(pair: LinkedPair, wh: int) -> None:
    """The WAN is cut for an hour: the local account is charged on the spot; the readings of the other one come when it is back."""
    before = len(pair.entries())
    pair.tell(p.LinkChanged(False))
    pair.wait(HOUR_MS)
    pair.read(LOCAL, OPENED_WH + wh)
    assert pair.state().charged_wh == wh
    assert len(pair.entries()) > before
    pair.read(REMOTE, OPENED_WH + wh)
    pair.greet()
    managed_run.run(pair.db, SIGNER, pair.now_ms)
    pair.sync()


def state_of(pair: LinkedPair, home: int) -> LedgerState:
    with pair.db.read() as conn:
        account = account_of(conn, no_of(pair, home))
        state = ledger_state(conn, account.account_no, account.account_epoch)
    assert state is not None
    return state


def faults(pair: LinkedPair) -> list[str]:
    with pair.db.read() as conn:
        return [m.text for home in (LOCAL, REMOTE) for m in reconcile(conn, no_of(pair, home))]


@pytest.mark.covers("ETSI-5.2.5-0")
def test_the_same_days_give_the_same_balance_in_both_modes(pair: LinkedPair) -> None:
    """Payments, nights and days, a correction and a debt: every pool agrees to the nano, and the concentrator kept no journal of it."""
    live(pair, 0, 0)
    for home in (LOCAL, REMOTE):
        pair.pay("300", no_of(pair, home))
    pair.meet()
    for hours, wh in ((3, 1_400), (2, 2_900), (6, 4_100), (17, 9_000)):
        live(pair, hours * HOUR_MS, wh)
    without_wan(pair, 10_000)
    with pair.db.write() as conn:
        for home in (LOCAL, REMOTE):
            control.correct(conn, SIGNER, no_of(pair, home), -nano("12.5"), d.ChargeCorrection("reading", 1, 2), pair.now_ms, "asha")
            control.order(conn, SIGNER, no_of(pair, home), d.DebtTaken("time", "old bill"), pair.now_ms, "asha", nano("7"))
    pair.carry_down()
    live(pair, DAY_MS, 15_000)
    local, remote = state_of(pair, LOCAL), state_of(pair, REMOTE)
    assert {k: v for k, v in remote.pools.items() if v} == {k: v for k, v in local.pools.items() if v}
    assert (remote.balance_nano, remote.charged_wh, remote.charged_day) == (local.balance_nano, 15_000, local.charged_day)
    assert local.pools[Pool.DEBT_PAYMENT] == -nano("12.5")
    assert entries_of(pair.money, no_of(pair, REMOTE), 1) == entries_of(pair.money, no_of(pair, REMOTE), 2) == []
    assert faults(pair) == []
    assert managed_run.run(pair.db, SIGNER, pair.now_ms) == 0, "a second run writes nothing (BYPL-1.4)"


def test_given_back_it_goes_on_with_balance_and_slabs(pair: LinkedPair) -> None:
    live(pair, 0, 0)
    for home in (LOCAL, REMOTE):
        pair.pay("300", no_of(pair, home))
    pair.meet()
    live(pair, 4 * HOUR_MS, 2_500)
    with pair.db.write() as conn:
        manage(conn, SIGNER, no_of(pair, REMOTE), Managed.EDGE, pair.now_ms, "asha")
        with pytest.raises(RefusedCommand, match="by the edge already"):
            manage(conn, SIGNER, no_of(pair, REMOTE), Managed.EDGE, pair.now_ms, "asha")
    pair.configure()
    pair.carry_down()
    pair.read(REMOTE, OPENED_WH + 2_500)
    live(pair, HOUR_MS, 4_000)
    local, remote = state_of(pair, LOCAL), state_of(pair, REMOTE)
    assert remote.balance_nano == local.balance_nano
    assert entries_of(pair.money, no_of(pair, REMOTE), 3) != []
    assert faults(pair) == []


def test_what_the_concentrator_still_sends_of_its_epoch_is_set_aside(pair: LinkedPair) -> None:
    """It charged an hour more before it heard that the account is managed from here: that hour is charged here, once."""
    live(pair, 0, 0)
    pair.pay("300")
    pair.meet()
    live(pair, 4 * HOUR_MS, 2_500)
    with pair.db.write() as conn:
        conn.execute(update(account_table).values(zero_action="none"))
        manage(conn, SIGNER, pair.account, Managed.CLOUD, pair.now_ms, "asha")
    sent = state_of_epoch(pair, 1)
    pair.wait(HOUR_MS)
    pair.read(LOCAL, OPENED_WH + 4_000)
    pair.sync()
    assert state_of_epoch(pair, 1) == sent
    managed_run.run(pair.db, SIGNER, pair.now_ms)
    assert state_of(pair, LOCAL).charged_wh == 1_500
    assert faults(pair) == []


def state_of_epoch(pair: LinkedPair, epoch: int) -> LedgerState:
    with pair.db.read() as conn:
        state = ledger_state(conn, pair.account, epoch)
    assert state is not None
    return state


def test_who_may_not_be_managed_is_told_why(pair: LinkedPair) -> None:
    no = no_of(pair, LOCAL)
    with pair.db.write() as conn:
        conn.execute(update(account_table).where(account_table.c.account_no == no).values(zero_action="limit"))
        with pytest.raises(RefusedCommand, match="limit its load"):
            manage(conn, SIGNER, no, Managed.CLOUD, pair.now_ms, "asha")
        with pytest.raises(RefusedCommand, match="not prepaid"):
            manage(conn, SIGNER, pair.postpaid_account, Managed.CLOUD, pair.now_ms, "asha")
        with pytest.raises(RefusedCommand, match="managed from here"):
            handover.convert(conn, SIGNER, no_of(pair, REMOTE), Mode.POSTPAID, pair.now_ms, "asha")
        with pytest.raises(RefusedCommand, match="managed from here"):
            replaced.swap_meter(conn, SIGNER, no_of(pair, REMOTE), 9, None, None, pair.now_ms, "asha")
        accounts = config_publisher.build(conn, DCU, pair.now_ms).accounts
    assert [a.account_no for a in accounts] == [no]
