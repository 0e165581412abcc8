"""The cloud walks the mirrored journal as its edge does: prices shown, estimates and what to pay say what the edge then charges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete, update

from gridtally_cloud.app import create_app
from gridtally_cloud.customers.accounts import account
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.seed import Plan, SeedUser
from gridtally_cloud.customers.tariffs import add_tariff
from gridtally_cloud.prepay import charging, control
from gridtally_cloud.prepay.charging import charging_of, cost_of_day_nano, keep, price_now
from gridtally_cloud.prepay.charging_tables import account_charging
from gridtally_cloud.prepay.estimate import SLOT_MS, WEEK_HOURS, Estimate, Profile, Use, estimate
from gridtally_cloud.prepay.minimum import least_payment
from gridtally_cloud.prepay.policies import add_policy, follow
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import meter_status
from gridtally_cloud.web.site import WebSettings
from gridtally_edge.display.account import view_account
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import Words
from gridtally_edge.prepay.book import entries_of
from gridtally_shared.instruments.details import DebtTaken
from gridtally_shared.ledger.entries import OWN
from gridtally_shared.ledger.rerating import Walk
from gridtally_shared.money import decimal_text, nano
from gridtally_shared.tariff.quote import Quote
from support.payday import DAY_MS, DCU, HOUR_MS, METERS, OPENED_WH, START_MS, Payday
from support.web_person import Person
from support.web_street import PASSWORD, StreetClock

PERIODS = [{"from": "00:00", "to": "18:00", "period": "day"}, {"from": "18:00", "to": "24:00", "period": "peak"}]
TARIFF = {
    "kind": "tariff", "code": "home", "name": "Home", "currency": "INR", "zone": "Asia/Kolkata", "versions": [{
        "from": "2020-01-01", "hours": [{"bands": PERIODS}], "items": [
            {"kind": "energy", "code": "energy", "rates": [
                {"periods": ["day"], "slabs": [{"to_kwh": "20", "price": "3.15"}, {"price": "4.85"}]},
                {"periods": ["peak"], "price": "7.43"}]},
            {"kind": "fixed", "code": "fixed", "price": "60.00"},
            {"kind": "percent", "code": "duty", "percent": "9.37", "of": ["energy"]}]}],
}  # fmt: skip
USE = Profile(tuple(4_000 * (50 + 7 * (h % 24)) for h in range(WEEK_HOURS)))
"""Whole Wh in each quarter of an hour."""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """The first home used 8 kWh of its first slab in five days, read each quarter of the last one."""
    users = (SeedUser("asha", "Asha Rao", Role.CONSUMER, PASSWORD, METERS[0].serial),)
    town = Payday(tmp_path, Plan(DCU, postpaid=1, tariff=json.dumps(TARIFF), users=users))
    town.register = OPENED_WH
    town.read(0, OPENED_WH)
    town.pay("900")
    town.round()
    town.wait(5 * DAY_MS)
    town.register += 8_000
    town.read(0, town.register)
    town.carry_up()
    yield town
    town.close()


def live(town: Payday, until_ms: int) -> int:
    """Every quarter of an hour is used as the profile says, read and charged; what was charged."""
    before_nano, plan = town.balance().balance_nano, running(town)[0]
    (series,) = (s for s in Use(plan, USE, None, town.now_ms).series(town.now_ms, until_ms) if s.import_wh)
    assert series.period_ms == SLOT_MS
    for wh in series.import_wh:
        town.wait(SLOT_MS)
        town.register += wh
        town.read(0, town.register)
    town.carry_up()
    return before_nano - town.balance().balance_nano


def running(town: Payday) -> tuple[object, object]:
    with town.db.read() as conn:
        found = charging_of(conn, account(conn, town.account))
    assert found is not None
    return found.plan, found.running


def estimated(town: Payday, from_ms: int, to_ms: int) -> Estimate:
    with town.db.read() as conn:
        return estimate(conn, town.account, from_ms, to_ms, town.now_ms, USE)


@pytest.mark.covers_part("C3-S1.3", "C3-S2.4")
def test_what_is_estimated_is_what_the_edge_then_charges_to_the_nano(town: Payday) -> None:
    """Two days that end the cheap slab and cross the dear hours, and an event within them; tax with its carried remainder."""
    now_ms = town.now_ms
    event_ms, ends_ms, until_ms = now_ms + 19 * HOUR_MS, now_ms + 23 * HOUR_MS, now_ms + 50 * HOUR_MS
    whole, event = estimated(town, now_ms, until_ms), estimated(town, event_ms, ends_ms)
    assert len({line.slab for line in whole.lines if line.code == "energy" and line.period == "day"}) == 2
    assert {line.code for line in whole.lines} == {"energy", "fixed", "duty"}
    spent = [live(town, at_ms) for at_ms in (event_ms, ends_ms, until_ms)]
    assert spent[1] == event.amount_nano
    assert sum(spent) == whole.amount_nano
    assert whole.amount_nano % 1000, "a sum that any rounding would have changed"


@pytest.mark.covers_part("C3-S1.3")
def test_what_is_to_be_paid_is_there_at_the_end_to_the_coin(town: Payday) -> None:
    until_ms = town.now_ms + 20 * DAY_MS
    found = estimated(town, town.now_ms + DAY_MS, until_ms)
    ahead = estimated(town, town.now_ms, until_ms)
    assert found.pay_nano == ahead.pay_nano
    assert ahead.pay_nano is not None
    short = ahead.amount_nano - town.balance().balance_nano
    assert 0 < short <= ahead.pay_nano < short + nano("0.01")
    town.pay(decimal_text(ahead.pay_nano))
    assert estimated(town, town.now_ms, until_ms).pay_nano == 0, "money on its way counts"


POLICY = {
    "kind": "policy", "code": "debts", "currency": "INR", "restore": {"min_balance": "25.00"},
    "debts": [{"kind": "payment", "percent": "25", "period": "week", "cap_per_period": "40.00"},
              {"kind": "time", "period": "week", "rate": "10.00"}],
}  # fmt: skip


def owing(town: Payday) -> None:
    """Follows a policy that collects debts, and owes 100 by payment and 15 by time."""
    with town.db.write() as conn:
        add_policy(conn, town.now_ms, json.dumps(POLICY), town.now_ms, "desk")
        follow(conn, town.account, "debts", town.now_ms, "desk")
        for name, owed in (("payment", "100"), ("time", "15")):
            control.order(conn, town.payments.signer, town.account, DebtTaken(name), town.now_ms, "desk", nano(owed))
    town.configure()
    town.round()


@pytest.mark.covers_part("C3-S1.3")
def test_debts_that_are_collected_meanwhile_are_part_of_what_to_pay(town: Payday) -> None:
    until_ms = town.now_ms + 14 * DAY_MS
    plain = estimated(town, town.now_ms, until_ms)
    owing(town)
    town.wait(60_000)
    town.carry_up()
    found = estimated(town, town.now_ms, until_ms)
    assert 0 < plain.amount_nano - found.amount_nano < nano("2.10"), "debts are no price; the day that began is charged"
    short = found.amount_nano + nano("15") - (town.balance().balance_nano + nano("15") - left_by_time(town))
    assert found.pay_nano is not None
    share = min(nano("40"), found.pay_nano // 4)
    assert 0 <= found.pay_nano - share - short < nano("0.02")


def left_by_time(town: Payday) -> int:
    """What of the 15 is still to be collected."""
    taken = [-p.amount_nano for e in entries_of(town.money, town.account, 1) if e.period for p in e.postings if p.pool in OWN]
    return nano("15") - sum(t for t in taken if t > 0)


@pytest.mark.covers_part("C3-BR2")
def test_the_least_payment_goes_by_the_accounts_own_policy_and_brings_the_supply_back(town: Payday) -> None:
    owing(town)
    town.wait(2 * HOUR_MS)
    town.register += 180_000
    town.read(0, town.register)
    town.carry_up()
    off = {"shard": 0, "meter_no": town.homes[0].meter_no, "switch": 0, "at_ms": town.now_ms, "answering": True, "received_ms": town.now_ms}
    with town.db.write() as conn:
        upsert(conn, meter_status, off)
        found = least_payment(conn, town.payments, account(conn, town.account), town.now_ms)
    assert found.restore_nano == nano("25")
    before_nano = town.balance().balance_nano
    assert before_nano < 0
    town.pay(decimal_text(found.reconnect_nano))
    town.round()
    assert nano("25") <= town.balance().balance_nano < nano("25.01"), "enough, and no coin more"
    share_nano = min(nano("40"), found.reconnect_nano // 4)
    assert 0 <= found.reconnect_nano - share_nano - (nano("25") - before_nano) < nano("0.02"), "a quarter pays off the debt first"


# ---- the price of now -----------------------------------------------------------------------------------------


def shown(town: Payday) -> Quote:
    with town.db.read() as conn:
        found = price_now(conn, account(conn, town.account), town.now_ms)
    assert found is not None
    return found


def home_page(town: Payday) -> str:
    settings = WebSettings(b"a secret key of the tests, 32 b..", False, "Asia/Kolkata")
    app = create_app(settings, town.db, StreetClock(town), town.payments)  # type: ignore[arg-type]
    return Person(app, "asha").get(f"/account/{town.account}/").replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.covers("C3-N4")
@pytest.mark.covers_part("C3-S1.12")
def test_site_and_display_show_the_price_of_the_slab_and_hour_of_now_and_what_today_cost(town: Payday) -> None:
    """3.15, then 4.85 above 20 kWh, 7.43 in the evening; each with 9.37 % of duty."""
    for hours, wh, price in ((17, 5_000, "3.4452"), (0.5, 12_000, "5.3044"), (0.5, 100, "8.1262"), (7, 3_000, "5.3044")):
        town.wait(int(hours * HOUR_MS))
        town.register += wh
        town.read(0, town.register)
        town.carry_up()
        page, view = home_page(town), view_account(town.money, town.account, town.now_ms)
        assert view is not None
        display = balance_page(Words("en", "INR", ZoneInfo("Asia/Kolkata")), view).replace("\N{NO-BREAK SPACE}", " ")
        assert f"{price} per kWh, tax included" in page
        assert f"{price} per kWh, tax included" in display
        assert shown(town).price.kwh_nano == view.price_per_kwh_nano
        with town.db.read() as conn:
            cost_nano = cost_of_day_nano(conn, account(conn, town.account), town.now_ms)
        assert cost_nano == view.cost_today_nano == of_today(town) > 0
        cost = f"₹ {cost_nano // 10**7 / 100:.2f}"
        assert (cost in page, cost in display) == (True, True)


def of_today(town: Payday) -> int:
    """What the journal charged since local midnight, counted here."""
    local = datetime.fromtimestamp(town.now_ms / 1000, UTC) + timedelta(hours=5.5)
    midnight_ms = town.now_ms - ((local.hour * 60 + local.minute) * 60 + local.second) * 1000
    entries = [e for e in entries_of(town.money, town.account, 1) if e.at_ms > midnight_ms and e.tariff_version]
    return -sum(p.amount_nano for e in entries for p in e.postings if p.pool in OWN)


def test_a_further_version_counts_from_its_time_and_another_tariff_begins_anew(town: Payday) -> None:
    dear = json.dumps(TARIFF).replace("3.15", "13.15")
    with town.db.write() as conn:
        add_tariff(conn, "home", START_MS + 30 * DAY_MS, dear, town.now_ms, "desk")
        add_tariff(conn, "other", 0, dear.replace('"home"', '"other"'), town.now_ms, "desk")
        mine = account(conn, town.account)
        found = [price_now(conn, mine, at_ms) for at_ms in (town.now_ms, START_MS + 30 * DAY_MS)]
        assert [q.price.kwh_nano // 10**5 for q in found if q] == [34_451, 143_821]
        other = charging_of(conn, replace(mine, tariff_id="other"))
        assert other is not None
        assert (other.running.terms.tariff_id, other.running.state.cells) == ("other", ())
        assert charging_of(conn, account(conn, town.postpaid_account)) is None


# ---- how far it was walked -------------------------------------------------------------------------------------


def test_a_walk_is_kept_goes_on_from_there_and_is_made_anew_where_it_does_not_fit(
    town: Payday, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(town, town.now_ms + 27 * HOUR_MS)
    plain, walks = running(town), []

    def counted(walk: Walk, entries: object, plan_of: object) -> Walk:
        taken = list(entries)  # type: ignore[call-overload]
        walks.append(len(taken))
        return rerated(walk, taken, plan_of)  # type: ignore[arg-type]

    rerated = charging.rerated
    monkeypatch.setattr(charging, "rerated", counted)
    assert keep(town.db) == 1
    assert keep(town.db) == 0
    live(town, town.now_ms + HOUR_MS)
    walks.clear()
    kept = running(town)
    assert walks[-1] < 10, "only what is new is walked"
    with town.db.write() as conn:
        conn.execute(update(account_charging).values(head=b"another journal"))
    assert running(town) == kept != plain
    assert walks[-1] > 96
    with town.db.write() as conn:
        conn.execute(update(account_charging).values(head=b"", running="not understood"))
    assert running(town) == kept
    with town.db.write() as conn:
        conn.execute(delete(account_charging))
    assert running(town) == kept
