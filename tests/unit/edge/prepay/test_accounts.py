"""What energy, days and instruments do to an account."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.contract.messages import EntryKind, InstrumentType
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.window import WIDTH
from gridtally_shared.money import nano
from gridtally_shared.quality import Quality
from gridtally_shared.signing import KeySigner, sign1
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench, tariff


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def names(bench: Bench) -> list[str]:
    return [BY_CODE[e.code].name for e in bench.events()]


def test_the_first_good_reading_opens_the_account_and_costs_nothing(bench: Bench) -> None:
    opening = bench.entries()[0]
    assert opening.kind == Kind.OPEN
    assert opening.register_after_wh == 1_000_000
    assert bench.balance() == 0


def test_energy_costs_price_and_tax(bench: Bench) -> None:
    bench.credit(1, "100")
    bench.wait(HOUR_MS)
    bench.read(1, 1_002_500)
    charge = bench.entries()[-1]
    assert (charge.register_before_wh, charge.register_after_wh) == (1_000_000, 1_002_500)
    assert {Pool(x.pool): x.amount_nano for x in charge.postings} == {
        Pool.PAID: -nano("21"), Pool.ENERGY: nano("20"), Pool.TAX: nano("1"),
    }  # fmt: skip
    assert bench.balance() == nano("79")


def test_a_reading_without_movement_writes_nothing(bench: Bench) -> None:
    before = len(bench.entries())
    bench.wait(HOUR_MS)
    bench.read(1, 1_000_000)
    assert len(bench.entries()) == before


def test_days_are_charged_at_local_midnight(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tariffs=(tariff(fixed_per_day="2"),))
    bench.credit(1, "100")
    bench.wait(12 * HOUR_MS)  # 23:10 in Kolkata
    assert Kind.FIXED not in bench.kinds()
    bench.wait(HOUR_MS)  # ten past midnight there
    assert bench.balance() == nano("100") - nano("2.1")
    bench.trust()
    bench.wait(3 * DAY_MS)
    assert bench.balance() == nano("100") - 4 * nano("2.1")


def test_days_wait_while_the_clock_is_not_believed_and_are_caught_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tariffs=(tariff(fixed_per_day="2"),))
    bench.restart()
    bench.wait(3 * DAY_MS)
    assert bench.balance() == 0
    bench.trust()
    bench.wait(60_000)
    assert bench.balance() == -3 * nano("2.1")


def test_a_change_of_price_parts_the_consumption_by_time(tmp_path: Path) -> None:
    change_ms = START_MS + HOUR_MS
    bench = Bench(tmp_path, tariffs=(tariff(tax_percent="0"), tariff(change_ms, 2, energy_per_kwh="16.00", tax_percent="0")))
    bench.wait(4 * HOUR_MS)
    bench.read(1, 1_004_000)
    charges = [(e.tariff_version, e.register_after_wh) for e in bench.entries() if e.kind == Kind.ENERGY]
    assert charges == [(1, 1_001_000), (2, 1_004_000)]
    assert bench.balance() == -nano("8") - nano("48")


def test_a_register_that_goes_back_is_held_and_charged_when_it_is_back(bench: Bench) -> None:
    bench.wait(HOUR_MS)
    bench.read(1, 999_000)
    assert bench.kinds() == [Kind.OPEN]
    assert names(bench).count("register_went_back") == 1
    bench.wait(HOUR_MS)
    bench.read(1, 999_500)
    assert names(bench).count("register_went_back") == 1
    bench.wait(HOUR_MS)
    bench.read(1, 1_000_100)
    assert bench.replayed()[0].charged_wh == 100


def test_an_impossible_jump_is_held_until_the_register_is_plausible_again(bench: Bench) -> None:
    bench.wait(HOUR_MS)
    bench.read(1, 9_000_000)
    bench.wait(300 * DAY_MS)
    bench.trust()
    bench.read(1, 9_000_500)
    assert Kind.ENERGY not in bench.kinds()
    assert "register_jumped" in names(bench)
    bench.read(1, 1_000_300)
    assert bench.replayed()[0].charged_wh == 300


def test_a_jump_that_a_clock_set_back_makes_of_a_day_s_use_is_charged_when_the_time_is_known(bench: Bench) -> None:
    """The box starts with a clock of the last minute it knew; the register says a day has passed."""
    bench.restart()
    bench.now_ms += 60_000
    bench.read(1, 1_010_000)
    bench.now_ms += 6 * HOUR_MS
    bench.read(1, 1_011_000)
    assert Kind.ENERGY not in bench.kinds()
    assert names(bench).count("register_jumped") == 1
    bench.now_ms += 18 * HOUR_MS
    bench.trust()
    bench.read(1, 1_012_000)
    assert bench.replayed()[0].charged_wh == 12_000


def test_a_jump_seen_before_the_time_was_known_is_held_when_it_is_one(bench: Bench) -> None:
    bench.restart()
    bench.now_ms += 60_000
    bench.read(1, 9_000_000)
    bench.now_ms += HOUR_MS
    bench.trust()
    bench.read(1, 9_000_100)
    bench.wait(300 * DAY_MS)
    bench.trust()
    bench.read(1, 9_000_200)
    assert Kind.ENERGY not in bench.kinds()


def test_what_is_read_now_is_newer_than_what_a_clock_that_was_ahead_left(bench: Bench) -> None:
    """Also while nobody believes the clock: a dead load side is seen to be dead, and a switch as it stands."""
    bench.read(1, 1_000_100, power_w=1_510)
    bench.now_ms -= DAY_MS
    bench.restart()
    bench.read(1, 1_000_100, SwitchState.OPEN, power_w=0)
    assert bench.db.execute("SELECT state, power_w FROM switch WHERE meter_no = 1").fetchone() == (SwitchState.OPEN.value, 0)


def test_a_rollover_is_followed_where_the_digits_are_known(bench: Bench) -> None:
    modulus = 1_000_200
    bench.wait(HOUR_MS)
    bench.read(1, 100, register_modulus_wh=modulus)
    assert bench.replayed()[0].charged_wh == 300
    bench.wait(HOUR_MS)
    bench.read(1, 150, register_modulus_wh=modulus)
    assert bench.replayed()[0].charged_wh == 350


@pytest.mark.parametrize("flag", [Quality.MISSING, Quality.COMM_ERROR, Quality.METER_INVALID, Quality.ESTIMATED])
def test_a_doubtful_reading_is_not_charged(bench: Bench, flag: Quality) -> None:
    bench.wait(HOUR_MS)
    bench.read(1, 1_000_100, quality=int(flag))
    assert bench.kinds() == [Kind.OPEN]


def test_an_older_reading_that_comes_late_changes_nothing(bench: Bench) -> None:
    bench.wait(HOUR_MS)
    bench.read(1, 1_000_200)
    bench.read(1, 1_000_100, at_ms=bench.now_ms - 60_000)
    assert bench.replayed()[0].charged_wh == 200
    assert "register_went_back" not in names(bench)


def test_another_meter_at_the_address_is_an_event_and_never_charged(bench: Bench) -> None:
    bench.wait(HOUR_MS)
    bench.read(1, 5_000, serial="GT9999")
    bench.read(1, 5_100, serial="GT9999")
    assert bench.kinds() == [Kind.OPEN]
    assert names(bench) == ["serial_mismatch"]


def test_without_a_readable_tariff_nothing_is_charged_now_and_everything_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tariffs=())
    bench.wait(HOUR_MS)
    bench.read(1, 1_000_500)
    assert bench.balance() == 0
    bench.tariffs = (tariff(tax_percent="0"),)
    bench.configure()
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    assert bench.balance() == -nano("8")


def test_money_arrives_once_and_exactly(bench: Bench) -> None:
    envelope = bench.instrument(1, "12.345678901")
    for _ in range(3):
        bench.tell(p.InstrumentArrived(envelope))
    assert bench.balance() == nano("12.345678901")
    assert bench.kinds().count(Kind.CREDIT) == 1
    bench.restart()
    bench.tell(p.InstrumentArrived(envelope))
    assert bench.kinds().count(Kind.CREDIT) == 1


def test_instruments_may_come_in_any_order(bench: Bench) -> None:
    for gseq in (3, 1, 2):
        bench.credit(1, "1", gseq)
    assert bench.balance() == nano("3")
    assert bench.replayed()[0].used.prefix == 3


def test_one_too_far_ahead_is_parked_and_applied_when_the_others_come(bench: Bench) -> None:
    bench.credit(1, "5", WIDTH + 1)
    assert bench.balance() == 0
    bench.credit(1, "1", 1)
    assert bench.balance() == nano("6")


def test_money_for_an_account_that_comes_later_is_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ready=False)
    bench.trust()
    bench.credit(1, "5")
    assert names(bench) == []
    bench.configure()
    assert bench.balance() == nano("5")


REFUSED = [
    ({"dcu": "dcu-2"}, "addressed to dcu-2"),
    ({"account_epoch": 0}, "closed epoch"),
    ({"currency": "EUR"}, "currency"),
    ({"amount_nano": -1}, "amount"),
    ({"amount_nano": 0}, "amount"),
    ({"type": 99}, "unknown type"),
    ({"gseq": 0}, "number"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED, ids=[r for _, r in REFUSED])
def test_a_wrong_instrument_changes_nothing_and_is_told(bench: Bench, changes: dict, reason: str) -> None:
    bench.credit(1, "5", **changes)
    assert bench.balance() == 0
    assert f"reason={reason}" in bench.events()[-1].detail


def test_a_forged_instrument_is_told_at_most_once_an_hour(bench: Bench) -> None:
    forger = KeySigner.from_seed(b"x" * 32)
    for _ in range(5):
        bench.tell(p.InstrumentArrived(sign1(forger, "instrument", b"\xa0")))
        bench.tell(p.InstrumentArrived(b"noise"))
    assert bench.balance() == 0
    assert names(bench) == ["instrument_refused"]


def test_a_used_number_with_other_money_is_an_alarm(bench: Bench) -> None:
    bench.credit(1, "5", 1)
    bench.credit(1, "50", 1)
    assert bench.balance() == nano("5")
    assert "number used by another instrument" in bench.events()[-1].detail


def test_a_refund_takes_what_is_there_and_leaves_a_debt(bench: Bench) -> None:
    bench.credit(1, "5")
    bench.credit(1, "-8", type=InstrumentType.REFUND)
    state, problem = bench.replayed()
    assert problem is None
    assert (state.balance_nano, state.debt_nano) == (0, nano("3"))


def test_every_entry_goes_upward_in_gapless_ranges(bench: Bench) -> None:
    bench.credit(1, "5")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    ranges = bench.outbox(EntryKind.JOURNAL)
    sent = [body for r in ranges for body in r.entries]
    assert sent == [e.to_bytes() for e in bench.entries()]
    assert [r.first_seq for r in ranges] == [1 + sum(len(q.entries) for q in ranges[:i]) for i in range(len(ranges))]


def test_the_meter_shows_the_balance_after_a_credit(bench: Bench) -> None:
    effects = bench.credit(1, "5")
    assert p.ShowOnMeter(1, nano("5"), bench.now_ms) in effects


def test_the_low_message_comes_once_in_each_low_spell(bench: Bench) -> None:
    bench.credit(1, "30")
    bench.wait(3 * HOUR_MS)
    bench.read(1, 1_002_500)  # 21.00 used, 9.00 left
    bench.wait(HOUR_MS)
    bench.read(1, 1_002_600)
    assert bench.messages().count("LOW") == 1
    low = next(e for e in bench.effects if isinstance(e, p.Announce) and e.code == "LOW")
    assert dict(low.params)["b"] == str(nano("9"))
    assert 0 < int(dict(low.params)["t"]) < nano("9") * 3 * HOUR_MS // nano("21")  # told with caution
    bench.credit(1, "20")
    bench.wait(HOUR_MS)
    bench.read(1, 1_005_000)
    assert bench.messages().count("LOW") == 2
    assert names(bench).count("low_balance") == 2


def test_use_behind_an_open_switch_is_told_and_charged(bench: Bench) -> None:
    bench.credit(1, "50")
    bench.read(1, 1_000_000, SwitchState.OPEN)
    for wh in (1_000_020, 1_000_040):
        bench.wait(HOUR_MS)
        bench.read(1, wh, SwitchState.OPEN)
    assert names(bench).count("use_while_open") == 1
    assert bench.replayed()[0].charged_wh == 40


def test_after_a_clock_ran_ahead_readings_of_the_right_time_are_charged_and_a_cut_is_ordered_once(tmp_path: Path) -> None:
    """A reading told at a time still to come must not make every later one look old, nor an executed cut look undone."""
    bench = Bench(tmp_path)
    bench.credit(1, "10")
    bench.now_ms += 5 * DAY_MS
    bench.tell(p.Tick())
    bench.read_all(1_000_100)
    bench.now_ms -= 5 * DAY_MS - HOUR_MS
    bench.tell(p.WelcomeSeen(bench.now_ms))
    bench.trust()
    bench.effects.clear()
    bench.read_all(1_002_000)
    assert bench.replayed()[0].charged_wh == 2_000
    bench.finish(register_wh=1_002_000, register_at_ms=bench.now_ms)
    bench.wait(60_000)
    assert len(bench.orders()) == 1
