"""Changes of the way of paying, meters and edges: one reading for both sides, no money made or lost, no switch moved (I26, T2, T3, T29)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.display.account import view_account
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.charge_store import stored_running
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.instruments.details import ModeOrder
from gridtally_shared.ledger.conversion import boundary_ms, postings_of
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool
from gridtally_shared.ledger.replay import LedgerState, apply
from gridtally_shared.money import nano
from gridtally_shared.tariff.carried import carried
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench, account_of, serial_of, tariff

MINUTE_MS = 60_000
PREPAID, POSTPAID = AccountMode.PREPAID, AccountMode.POSTPAID


def ask(bench: Bench, mode: AccountMode, **changes: object) -> None:
    bench.credit(1, "0", type=m.InstrumentType.MODE_SET, detail=encode(ModeOrder(mode)), **changes)


def pass_minutes(bench: Bench, minutes: int, wh: int) -> None:
    bench.now_ms += minutes * MINUTE_MS
    bench.trust()
    bench.read(1, wh)


def modes(bench: Bench) -> list[LedgerEntry]:
    return [e for e in bench.entries() if e.kind == Kind.MODE]


def told(bench: Bench, name: str) -> list[str]:
    return [e.detail for e in bench.events() if e.code == EVENTS[name].code]


def aligned(folder: Path, amount: str = "50") -> Bench:
    """A prepaid home at the beginning of a recording interval of 15 minutes."""
    bench = Bench(folder)
    bench.now_ms += -bench.now_ms % (15 * MINUTE_MS)
    bench.trust()
    bench.credit(1, amount)
    bench.read(1, 1_000_100)
    return bench


# ---- the way of paying


@pytest.mark.covers("C3-FR28")
def test_asked_at_minute_seven_changed_at_minute_fifteen_and_no_switch_moves(tmp_path: Path) -> None:
    bench = aligned(tmp_path)
    pass_minutes(bench, 7, 1_000_200)
    ask(bench, POSTPAID)
    pass_minutes(bench, 5, 1_000_300)
    assert modes(bench) == []
    pass_minutes(bench, 3, 1_000_400)
    (change,) = modes(bench)
    assert (change.at_ms - START_MS) % (15 * MINUTE_MS) == (-START_MS) % (15 * MINUTE_MS)
    assert (change.register_before_wh, change.register_after_wh, change.mode) == (1_000_400, 1_000_400, POSTPAID)
    assert bench.orders() == []
    assert told(bench, "mode_changed") == ["account=101 mode=postpaid register_wh=1000400"]


def test_the_rest_goes_to_the_bill_and_what_is_used_after_is_not_charged_here(tmp_path: Path) -> None:
    bench = aligned(tmp_path)
    ask(bench, POSTPAID)
    pass_minutes(bench, 15, 1_000_400)
    spent = nano("8.00") * 400 // 1000 * 105 // 100
    (change,) = modes(bench)
    assert {x.pool: x.amount_nano for x in change.postings} == {Pool.PAID: spent - nano("50"), Pool.TRANSFER: nano("50") - spent}
    pass_minutes(bench, 600, 1_009_400)
    state, problem = bench.replayed()
    assert problem is None
    assert (state.balance_nano, state.charged_wh) == (0, 400)
    assert bench.orders() == []


def test_arrears_become_a_debt(tmp_path: Path) -> None:
    bench = aligned(tmp_path, "0.10")
    ask(bench, POSTPAID)
    pass_minutes(bench, 15, 1_000_400)
    state, _ = bench.replayed()
    assert state.balance_nano == 0
    assert state.debt_nano == nano("8.00") * 400 // 1000 * 105 // 100 - nano("0.10")


@pytest.mark.covers_part("C3-FR27")
def test_there_and_back_with_the_same_meter(tmp_path: Path) -> None:
    """Two conversions: what was used in between is passed over, the rest is charged to the watt-hour."""
    bench = aligned(tmp_path)
    ask(bench, POSTPAID)
    pass_minutes(bench, 15, 1_000_400)
    pass_minutes(bench, 120, 1_005_000)
    ask(bench, PREPAID)
    bench.credit(1, "20")
    pass_minutes(bench, 15, 1_005_600)
    assert [(e.mode, e.register_before_wh, e.register_after_wh) for e in modes(bench)] == [
        (POSTPAID, 1_000_400, 1_000_400), (PREPAID, 1_000_400, 1_005_600)
    ]  # fmt: skip
    pass_minutes(bench, 60, 1_006_000)
    state, problem = bench.replayed()
    assert problem is None
    assert state.charged_wh == 400 + 400
    assert bench.balance() == nano("20") - nano("8.00") * 400 // 1000 * 105 // 100
    assert sum(state.pools.values()) == 0
    assert bench.orders() == []


def test_days_of_regular_billing_are_not_charged_here(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tariffs=(tariff(fixed_per_day="3"),))
    bench.credit(1, "50")
    ask(bench, POSTPAID)
    pass_minutes(bench, 15, 1_000_000)
    assert bench.balance() == 0
    pass_minutes(bench, 5 * DAY_MS // MINUTE_MS, 1_050_000)
    ask(bench, PREPAID)
    bench.credit(1, "20")
    pass_minutes(bench, 15, 1_050_000)
    before = bench.replayed()[0].pools.get(Pool.FIXED, 0)
    bench.wait(2 * DAY_MS)
    bench.trust()
    bench.read(1, 1_050_000)
    state, problem = bench.replayed()
    assert problem is None
    assert state.pools.get(Pool.FIXED, 0) - before in (2 * nano("3"), 3 * nano("3"))


def test_a_change_waits_for_a_clock_that_is_believed(tmp_path: Path) -> None:
    bench = aligned(tmp_path)
    ask(bench, POSTPAID)
    bench.restart()
    bench.now_ms += 40 * MINUTE_MS
    bench.read(1, 1_000_400)
    assert modes(bench) == []
    bench.trust()
    pass_minutes(bench, 1, 1_000_410)
    assert len(modes(bench)) == 1


@pytest.mark.covers_part("BYPL-13.5", "BYPL-14.6")
def test_an_order_of_mode_counts_once_and_a_replay_changes_nothing(tmp_path: Path) -> None:
    bench = aligned(tmp_path)
    envelope = bench.instrument(1, "0", type=m.InstrumentType.MODE_SET, detail=encode(ModeOrder(POSTPAID)))
    for _ in range(2):
        bench.tell(p.InstrumentArrived(envelope))
        pass_minutes(bench, 15, 1_000_400)
    ask(bench, PREPAID)
    pass_minutes(bench, 15, 1_000_400)
    bench.tell(p.InstrumentArrived(envelope))
    pass_minutes(bench, 30, 1_000_500)
    assert [e.mode for e in modes(bench)] == [POSTPAID, PREPAID]
    assert bench.replayed()[0].mode == PREPAID


@pytest.mark.covers("ETSI-5.2.5-alt1")
@pytest.mark.parametrize("wrong", [
    {"detail": encode(ModeOrder(9))}, {"detail": b"\xa1\x00"}, {"dcu": "dcu-2"}, {"currency": "EUR"},
])  # fmt: skip
def test_a_request_that_is_not_sound_changes_nothing_and_is_told_with_its_time(tmp_path: Path, wrong: dict[str, object]) -> None:
    bench = aligned(tmp_path)
    before = view_account(bench.db, 101, bench.now_ms)
    bench.credit(1, "0", **{"type": m.InstrumentType.MODE_SET, "detail": encode(ModeOrder(POSTPAID)), **wrong})
    at_ms = bench.now_ms
    assert bench.replayed()[0].mode == PREPAID
    assert view_account(bench.db, 101, at_ms) == replace(before, seq=bench.replayed()[0].seq) if before else None
    (event,) = [e for e in bench.events() if e.code == EVENTS["instrument_refused"].code]
    assert event.at_ms == at_ms
    assert "reason=" in event.detail
    pass_minutes(bench, 30, 1_000_100)
    assert modes(bench) == []


def test_a_configuration_may_ask_for_it_too_and_a_new_account_may_begin_without_prepayment(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ready=False)
    bench.trust()
    bench.online()
    bench.configure(mode=int(POSTPAID))
    bench.read(1, 1_000_000)
    pass_minutes(bench, 60, 1_009_000)
    state, _ = bench.replayed()
    assert (state.mode, state.charged_wh, state.balance_nano) == (POSTPAID, 0, 0)
    bench.configure(mode=int(PREPAID))
    pass_minutes(bench, 15, 1_009_500)
    pass_minutes(bench, 15, 1_009_700)
    state, _ = bench.replayed()
    assert (state.mode, state.charged_wh) == (PREPAID, 200)


POOLS = st.fixed_dictionaries({
    Pool.PAID: st.integers(-(10**12), 10**12), Pool.EMERGENCY: st.integers(-(10**12), 0), Pool.DEBT: st.integers(-(10**12), 0),
})  # fmt: skip


@given(POOLS, st.sampled_from(list(AccountMode)))
def test_a_conversion_neither_makes_nor_loses_money(pools: dict[int, int], mode: AccountMode) -> None:
    state = LedgerState(7, 1, pools=dict(pools), register_wh=5, opened_wh=0)
    postings = postings_of(state, mode)
    found = apply(state, LedgerEntry(7, 1, 1, state.head, Kind.MODE, 0, postings, register_before_wh=5, register_after_wh=9, mode=mode))
    assert sum(found.pools.values()) == sum(pools.values())
    assert found.charged_wh == 5
    worth = state.balance_nano - state.emergency_used_nano - state.debt_nano
    handed_over = found.pools.get(Pool.TRANSFER, 0)
    assert found.balance_nano - found.emergency_used_nano - found.debt_nano + handed_over == worth
    if mode is POSTPAID:
        assert (found.balance_nano, found.emergency_used_nano) == (0, 0)
        assert handed_over >= 0


@given(st.integers(0, 2**41), st.sampled_from([900_000, 1_800_000, 3_600_000]))
def test_the_boundary_is_the_end_of_the_interval_it_was_asked_in(asked_ms: int, interval_ms: int) -> None:
    end = boundary_ms(asked_ms, interval_ms)
    assert end % interval_ms == 0
    assert asked_ms < end <= asked_ms + interval_ms


# ---- another meter, another edge


def swap(bench: Bench, account: m.AccountConfig) -> None:
    bench.version += 1
    meters = (m.MeterConfig(1, serial_of(1), 0), m.MeterConfig(2, serial_of(2), 101))
    bench.tell(p.ConfigAccepted(m.DcuConfig(bench.version, "dcu-1", bench.now_ms, meters, (account,), bench.tariffs, 1000,
                                            bench.now_ms + 24 * HOUR_MS)))  # fmt: skip


def test_the_credit_follows_the_account_to_its_new_meter(tmp_path: Path) -> None:
    bench = aligned(tmp_path)
    bench.now_ms += HOUR_MS
    swapped_ms = bench.now_ms
    swap(bench, replace(account_of(1), meter_no=2, closing_wh=1_000_500, opening_wh=7, swapped_ms=swapped_ms))
    bench.read(1, 1_000_900)  # whatever the old one says on the bench of the workshop
    bench.now_ms += HOUR_MS
    bench.read(2, 307)
    state, problem = bench.replayed()
    assert problem is None
    assert (state.meter_no, state.register_wh, state.charged_wh) == (2, 307, 500 + 300)
    assert bench.balance() == nano("50") - nano("8.00") * 800 // 1000 * 105 // 100
    (entry,) = [e for e in bench.entries() if e.kind == Kind.METER]
    assert (entry.register_before_wh, entry.register_after_wh, entry.at_ms) == (1_000_500, 7, swapped_ms)
    assert told(bench, "meter_swapped") == ["account=101 closing_wh=500 opening_wh=7 estimated=0"]
    assert bench.orders() == []


def test_without_values_of_the_work_order_the_swap_is_told_as_estimated(tmp_path: Path) -> None:
    bench = aligned(tmp_path)
    swap(bench, replace(account_of(1), meter_no=2))
    bench.now_ms += HOUR_MS
    bench.read(2, 40)
    bench.now_ms += HOUR_MS
    bench.read(2, 140)
    assert bench.replayed()[0].charged_wh == 100 + 100
    assert told(bench, "meter_swapped")[0].endswith("estimated=1")


def test_a_new_edge_begins_where_the_mirror_says_and_charges_the_gap_once(tmp_path: Path) -> None:
    """The epoch before ended with a dead edge at 999,400 Wh; the supply stayed on and 600 Wh were used since."""
    bench = Bench(tmp_path, ready=False)
    bench.trust()
    bench.online()
    bench.configure(account_epoch=2, opening_wh=999_400, swapped_ms=bench.now_ms - 6 * HOUR_MS)
    bench.credit(1, "12.5", account_epoch=2, type=m.InstrumentType.OPENING)
    bench.read(1, 1_000_000)
    entries = bench.entries(epoch=2)
    assert [e.kind for e in entries if e.kind in (Kind.OPEN, Kind.ENERGY)] == [Kind.OPEN, Kind.ENERGY]
    assert next(e.register_after_wh for e in entries if e.kind == Kind.OPEN) == 999_400
    paid = sum(x.amount_nano for e in entries for x in e.postings if x.pool == Pool.PAID)
    assert paid == nano("12.5") - nano("8.00") * 600 // 1000 * 105 // 100


BANDS = {
    "kind": "tariff", "code": "home", "currency": "INR", "zone": "UTC",
    "versions": [{"from": "2020-01-01", "hours": [{"bands": [
        {"from": "00:00", "to": "06:00", "period": "night"}, {"from": "06:00", "to": "24:00", "period": "day"}]}],
        "items": [{"kind": "energy", "code": "energy", "rates": [
            {"periods": ["night"], "price": "2"}, {"periods": ["day"], "price": "10"}]}]}],
}  # fmt: skip


def behind_a_dead_edge(folder: Path, trusted: bool = True) -> Bench:
    """Epoch 2 in the early evening; the old edge charged up to 999,400 Wh at noon of the day before."""
    bench = Bench(folder, ready=False, tariffs=(m.TariffDocument("home", 1, 0, json.dumps(BANDS)),))
    bench.now_ms += 18 * HOUR_MS - bench.now_ms % DAY_MS
    if trusted:
        bench.trust()
        bench.online()
    bench.configure(account_epoch=2, opening_wh=999_400, swapped_ms=bench.now_ms - 30 * HOUR_MS)
    bench.read(1, 1_000_000)
    return bench


def energy(bench: Bench) -> list[LedgerEntry]:
    return [e for e in bench.entries(epoch=2) if e.kind == Kind.ENERGY]


def test_what_was_used_under_no_edge_costs_the_lowest_rate_and_a_person_is_told(tmp_path: Path) -> None:
    """30 hours without an edge, six of them at night: all 600 Wh at the night's rate. What follows is charged by its hour."""
    bench = behind_a_dead_edge(tmp_path)
    (gap,) = energy(bench)
    assert {x.pool: x.amount_nano for x in gap.postings} == {Pool.PAID: -600 * nano("2") // 1000, Pool.ENERGY: 600 * nano("2") // 1000}
    assert told(bench, "gap_charged") == [f"account=101 wh=600 since_ms={bench.now_ms - 30 * HOUR_MS} lowest rate"]
    bench.now_ms += HOUR_MS
    bench.trust()
    bench.read(1, 1_000_100)
    assert sum(x.amount_nano for x in energy(bench)[-1].postings if x.pool == Pool.ENERGY) == 100 * nano("10") // 1000
    assert len(told(bench, "gap_charged")) == 1
    assert bench.orders() == []


def test_the_gap_waits_for_a_clock_that_is_believed(tmp_path: Path) -> None:
    bench = behind_a_dead_edge(tmp_path, trusted=False)
    assert energy(bench) == []
    bench.now_ms += HOUR_MS
    bench.trust()
    bench.read(1, 1_000_200)
    (gap,) = energy(bench)
    assert sum(x.amount_nano for x in gap.postings if x.pool == Pool.ENERGY) == 800 * nano("2") // 1000


def test_an_order_that_was_not_carried_out_changes_the_mode_after_the_opening(tmp_path: Path) -> None:
    """The old edge died between the order and the change: the new one opens as the configuration says, then changes, with an entry."""
    bench = Bench(tmp_path, ready=False)
    bench.now_ms += -bench.now_ms % (15 * MINUTE_MS)
    bench.trust()
    bench.online()
    bench.configure(account_epoch=2, opening_wh=1_000_000, swapped_ms=bench.now_ms)
    bench.credit(1, "30", account_epoch=2, type=m.InstrumentType.OPENING)
    ask(bench, POSTPAID, account_epoch=2)
    bench.read(1, 1_000_000)
    pass_minutes(bench, 15, 1_000_000)
    (change,) = [e for e in bench.entries(epoch=2) if e.kind == Kind.MODE]
    assert {x.pool: x.amount_nano for x in change.postings} == {Pool.PAID: -nano("30"), Pool.TRANSFER: nano("30")}


STAIRS = {
    "kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
    "versions": [{"from": "2020-01-01", "items": [
        {"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "1", "price": "2"}, {"price": "10"}]}]}],
}  # fmt: skip


def test_the_slabs_of_the_month_go_on_behind_another_meter(tmp_path: Path) -> None:
    """0.8 kWh behind the old one, 0.5 behind the new one, and a power cut: it costs what 1.3 kWh behind one meter cost."""
    stairs = (m.TariffDocument("home", 1, 0, json.dumps(STAIRS)),)
    one = Bench(Path(tempfile.mkdtemp(dir=tmp_path)), tariffs=stairs)
    one.credit(1, "50")
    pass_minutes(one, 180, 1_001_300)
    bench = Bench(tmp_path, tariffs=stairs)
    bench.credit(1, "50")
    pass_minutes(bench, 60, 1_000_500)
    swap(bench, replace(account_of(1), meter_no=2, closing_wh=1_000_800, opening_wh=7, swapped_ms=bench.now_ms))
    bench.now_ms += HOUR_MS
    bench.read(2, 107)
    bench.restart()
    bench.trust()
    bench.now_ms += HOUR_MS
    bench.read(2, 507)
    assert bench.balance() == one.balance() < nano("50") - nano("2")


def test_a_closing_value_of_a_meter_that_came_and_went_unseen_is_not_charged(tmp_path: Path) -> None:
    """Two meters were put there while the box heard nothing: the work order is of the second, the journal at the first."""
    bench = aligned(tmp_path)
    bench.now_ms += HOUR_MS
    swap(bench, replace(account_of(1), meter_no=2, closing_wh=5_000_580, opening_wh=7, swapped_ms=bench.now_ms))
    bench.read(2, 107)
    assert bench.replayed()[0].charged_wh == 100 + 100
    assert told(bench, "meter_swapped")[0].endswith("estimated=1")
    assert bench.orders() == []


def test_what_the_old_meter_counted_last_is_charged_where_our_clock_went_back(tmp_path: Path) -> None:
    """Eight hours of use, and a clock that says that the register was read tomorrow."""
    bench = aligned(tmp_path)
    swapped_ms = bench.now_ms + 8 * HOUR_MS
    bench.now_ms += -DAY_MS + 8 * HOUR_MS
    swap(bench, replace(account_of(1), meter_no=2, closing_wh=1_008_800, opening_wh=0, swapped_ms=swapped_ms))
    bench.read(2, 100)
    assert bench.replayed()[0].charged_wh == 8_800
    bench.now_ms = swapped_ms + HOUR_MS
    bench.trust()
    bench.read(2, 300)
    assert bench.replayed()[0].charged_wh == 8_800 + 300
    assert told(bench, "meter_swapped") == ["account=101 closing_wh=8800 opening_wh=0 estimated=0"]


def test_a_work_order_that_comes_to_the_desk_hours_later_holds_nothing_up(tmp_path: Path) -> None:
    """The new meter has been there since noon; the desk writes the swap down in the evening, as of that moment."""
    bench = aligned(tmp_path)
    bench.now_ms += 8 * HOUR_MS
    swap(bench, replace(account_of(1), meter_no=2, closing_wh=1_000_150, opening_wh=0, swapped_ms=bench.now_ms))
    bench.now_ms += 60_000
    bench.read(2, 3_900)
    assert told(bench, "register_jumped") == []
    assert bench.replayed()[0].charged_wh == 150 + 3_900


@pytest.mark.parametrize(("charged_wh", "closing_wh", "used_wh"), [
    (9_999_950, 37, 87), (10_000_020, 37, 17), (9_999_950, 10_000_037, 87), (9_999_950, 9_999_940, 0), (9_999_950, 3_000_000, 0)
], ids=["over the end", "past it", "as the cloud counts", "back", "not in an hour"])  # fmt: skip
def test_an_old_meter_that_rolled_over_is_charged_to_where_it_ended(
    tmp_path: Path, charged_wh: int, closing_wh: int, used_wh: int
) -> None:
    """Its register has seven digits of Wh; the work order names what it showed when it was taken down."""
    bench = Bench(tmp_path, ready=False)
    bench.trust()
    bench.online()
    bench.configure()
    bench.credit(1, "50")
    bench.read(1, 9_999_900, register_modulus_wh=10_000_000)
    bench.now_ms += HOUR_MS
    bench.read(1, charged_wh % 10_000_000, register_modulus_wh=10_000_000)
    bench.now_ms += HOUR_MS
    swap(bench, replace(account_of(1), meter_no=2, closing_wh=closing_wh, opening_wh=7, swapped_ms=bench.now_ms))
    bench.read(2, 7)
    assert bench.replayed()[0].charged_wh == charged_wh - 9_999_900 + used_wh
    assert told(bench, "meter_swapped")[0].endswith(f"estimated={int(not used_wh)}")


def test_a_register_that_rolled_over_goes_on_behind_another_edge(tmp_path: Path) -> None:
    """The old edge counted 10,000,500 Wh on a register of seven digits, which shows 900 now."""
    bench = Bench(tmp_path, ready=False)
    bench.trust()
    bench.online()
    bench.configure(account_epoch=2, opening_wh=10_000_500, swapped_ms=bench.now_ms - HOUR_MS)
    bench.read(1, 900, register_modulus_wh=10_000_000)
    assert [(e.register_before_wh, e.register_after_wh) for e in energy(bench)] == [(10_000_500, 10_000_900)]


RENT = {
    "kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
    "versions": [{"from": "2020-01-01", "items": [
        {"kind": "energy", "code": "energy", "price": "8"}, {"kind": "fixed", "code": "rent", "price": "30"}]}],
}  # fmt: skip


@pytest.mark.parametrize("opening_wh", [1_000_100, None])
def test_days_that_the_old_edge_had_not_charged_are_charged_by_the_new_one(tmp_path: Path, opening_wh: int | None) -> None:
    """Its last register is of a day whose fixed part it had not charged yet, and the new box sees another meter (no opening): all days from
    there on are charged, each once."""
    rent = (m.TariffDocument("home", 1, 0, json.dumps(RENT)),)
    old = Bench(Path(tempfile.mkdtemp(dir=tmp_path)), tariffs=rent)
    old.read(1, 1_000_100)
    running, price = stored_running(old.core.outbox.connection, 101, 1), old.core._plan.priced[101]
    assert running is not None
    new = Bench(tmp_path, ready=False, tariffs=rent)
    new.now_ms = old.now_ms + 3 * DAY_MS
    new.trust()
    new.online()
    new.configure(account_epoch=2, opening_wh=opening_wh, swapped_ms=old.now_ms + DAY_MS, carried=(carried(price.plan, running),))
    new.read(1, 1_000_100)
    new.wait(HOUR_MS)
    days = [e.day_after for e in new.entries(epoch=2) if e.kind == Kind.FIXED]
    opened = next(e.day_after for e in new.entries(epoch=2) if e.kind == Kind.OPEN)
    assert opened == old.replayed()[0].charged_day
    assert days == [opened + 3]


def behind_its_time(folder: Path, **policy: object) -> Bench:
    """A box that came with a clock two days behind, and reads before it is told the time; in the evening the clock is right."""
    bench = Bench(folder, ready=False, tariffs=(m.TariffDocument("home", 1, 0, json.dumps(RENT)),))
    bench.configure(**policy)
    bench.now_ms += -2 * DAY_MS + HOUR_MS
    bench.read(1, 1_000_100)
    bench.now_ms += 2 * DAY_MS + HOUR_MS
    bench.trust()
    bench.read(1, 1_000_300)
    return bench


def days_of(bench: Bench, epoch: int) -> list[int]:
    return [e.day_after for e in bench.entries(epoch=epoch) if e.kind == Kind.FIXED]


@pytest.mark.parametrize(("opening_wh", "charged_wh"), [(1_000_000, 300), (1_000_100, 200), (None, 200)])
def test_days_before_a_box_came_are_not_charged_because_its_clock_was_behind(
    tmp_path: Path, opening_wh: int | None, charged_wh: int
) -> None:
    """No day begins between the end of the old box and the evening, so none is charged; the next one is, once."""
    bench = behind_its_time(tmp_path, account_epoch=2, opening_wh=opening_wh, swapped_ms=START_MS - HOUR_MS)
    assert days_of(bench, 2) == []
    assert sum(x.amount_nano for e in bench.entries(epoch=2) for x in e.postings if x.pool == Pool.ENERGY) == nano("8") * charged_wh // 1000
    bench.wait(DAY_MS)
    assert days_of(bench, 2) == [date(2026, 3, 3).toordinal()]


def test_what_was_used_under_no_edge_is_of_the_time_since_the_cloud_knows_whatever_the_new_clock_says(tmp_path: Path) -> None:
    bench = behind_its_time(tmp_path, account_epoch=2, opening_wh=1_000_000, swapped_ms=START_MS - HOUR_MS)
    assert next(e.at_ms for e in bench.entries(epoch=2) if e.kind == Kind.OPEN) == START_MS - HOUR_MS


def test_days_before_a_first_account_came_are_not_charged_because_the_clock_was_behind(tmp_path: Path) -> None:
    """No account begins before the cloud signed the configuration that names it."""
    bench = behind_its_time(tmp_path)
    assert days_of(bench, 1) == []
    bench.wait(DAY_MS)
    assert days_of(bench, 1) == [date(2026, 3, 3).toordinal()]
