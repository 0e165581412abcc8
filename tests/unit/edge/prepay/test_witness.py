"""After a start the register says whether the disk saw what happened here."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.prepay.witness import LEAST_MS, LEAST_WH, is_gap
from gridtally_shared.ledger.replay import LedgerState
from support.prepay_bench import DAY_MS, HOUR_MS, Bench

USE_WH = 400


def a_home_of_some_days(folder: Path) -> Bench:
    """400 Wh an hour for three days, 9 kWh of credit left; then the mains of the box fail while it is offline."""
    bench = Bench(folder)
    bench.configure(lease_ms=30 * DAY_MS)
    wh = 1_000_000
    bench.credit(1, "317.52")
    for _ in range(72):
        bench.wait(HOUR_MS)
        wh += USE_WH
        bench.read(1, wh)
    bench.trust()
    bench.offline()
    bench.wh = wh  # type: ignore[attr-defined]
    return bench


def back_after(bench: Bench, hours: int, used_wh: int) -> None:
    """The box starts; what was used is read, and the credit is used up within the hours after."""
    bench.now_ms += hours * HOUR_MS
    bench.restart()
    bench.trust()
    bench.read(1, bench.wh + used_wh)  # type: ignore[attr-defined]
    for hour in range(1, 4):
        bench.wait(HOUR_MS)
        bench.trust()
        bench.read(1, bench.wh + 9_000 + hour * USE_WH)  # type: ignore[attr-defined]


def blocked(bench: Bench) -> set[str]:
    return {t.name for t in bench.decisions()[-1].tests if not t.holds}


def test_a_home_that_lived_on_unseen_is_not_cut_before_the_cloud_has_spoken(tmp_path: Path) -> None:
    bench = a_home_of_some_days(tmp_path)
    back_after(bench, 20, 20 * USE_WH)
    assert bench.orders() == []
    assert blocked(bench) == {"offline"}
    bench.restart()  # it is remembered
    bench.trust()
    bench.wait(HOUR_MS)
    bench.trust()
    bench.read(1, bench.wh + 11_000)  # type: ignore[attr-defined]
    assert bench.orders() == []
    bench.online()
    bench.read(1, bench.wh + 11_100)  # type: ignore[attr-defined]
    assert not bench.order().close


def test_where_the_grid_was_off_too_the_credit_runs_on_as_ever(tmp_path: Path) -> None:
    bench = a_home_of_some_days(tmp_path)
    back_after(bench, 20, USE_WH)
    assert not bench.order().close


def test_the_gap_is_judged_when_the_time_is_known(tmp_path: Path) -> None:
    bench = a_home_of_some_days(tmp_path)
    bench.restart()
    bench.now_ms += 60_000
    bench.read(1, bench.wh + 900)  # type: ignore[attr-defined]
    assert not bench.core._link.unseen
    bench.now_ms += 20 * HOUR_MS
    bench.trust()
    bench.read(1, bench.wh + 19 * USE_WH)  # type: ignore[attr-defined]
    assert bench.core._link.unseen == {101}


@pytest.mark.parametrize(
    ("hours", "moved_wh", "gap"),
    [(24, 4_800, True), (24, 4_799, False), (5, 5_000, False), (6, 1_200, True), (6, 1_199, False)],
)
def test_a_gap_is_half_of_what_is_usual(hours: int, moved_wh: int, gap: bool) -> None:
    state = LedgerState(101, 1, register_wh=1_096_000, opened_wh=1_000_000, opened_day=739_000, charged_day=739_010)
    assert is_gap(state, moved_wh, hours * HOUR_MS) is gap


def test_a_home_without_a_past_counts_from_half_a_unit() -> None:
    empty = LedgerState(101, 1, register_wh=0, opened_wh=0, opened_day=739_000, charged_day=739_000)
    assert is_gap(empty, LEAST_WH, LEAST_MS)
    assert not is_gap(empty, LEAST_WH - 1, LEAST_MS)
