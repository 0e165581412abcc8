"""The validation rules as pure functions, and the run that keeps their findings."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select

from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef
from gridtally_cloud.store.tables import channel, interval_block, reading, vee_finding
from gridtally_cloud.vee.model import DayBlock, DayContext, RegisterSample, RuleSet, Tolerance
from gridtally_cloud.vee.rules import RULES, conflict, gap, limit, sum_check, validate
from gridtally_cloud.vee.run import findings_of, run_day, run_pending, status_of
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block

QUARTER_MS = 900_000
DAY_MS = 86_400_000
DAY = START_MS // DAY_MS


def _block(values: list[int | None], unit: str = "Wh") -> DayBlock:
    present = bytes(v is not None for v in values)
    return DayBlock(1, DAY, START_MS, 900, unit, array("q", [v or 0 for v in values]), array("H", [0] * len(values)), present)


def _context(**more: object) -> DayContext:
    return DayContext(**({"rules": RuleSet(), "limit_w": 11_000, "register_step": 1} | more))  # type: ignore[arg-type]


def test_each_hole_is_one_finding_with_its_span() -> None:
    found = gap(_block([None, 1, None, None, 1, None]), _context())
    spans = [((f.start_ms - START_MS) // QUARTER_MS, (f.end_ms - START_MS) // QUARTER_MS) for f in found]
    assert spans == [(0, 1), (2, 4), (5, 6)]
    assert gap(_block([1, 2]), _context()) == ()


@given(st.lists(st.one_of(st.none(), st.integers(0, 100)), min_size=1, max_size=100))
def test_the_holes_found_are_exactly_the_missing_intervals(values: list[int | None]) -> None:
    missing = [START_MS + i * QUARTER_MS for i, v in enumerate(values) if v is None]
    found = [at for f in gap(_block(values), _context()) for at in range(f.start_ms, f.end_ms, QUARTER_MS)]
    assert found == missing


@pytest.mark.parametrize(("value", "fails"), [(0, 0), (3300, 0), (3301, 1), (-1, 1)])
def test_the_limit_is_power_times_interval_times_k(value: int, fails: int) -> None:
    assert len(limit(_block([5, value, 5]), _context(limit_w=11_000))) == fails


def test_the_limit_is_for_energy_only_and_not_for_missing_values() -> None:
    assert limit(_block([230_000], unit="V"), _context()) == ()
    assert limit(_block([None]), _context()) == ()


def test_a_contradiction_names_both_values() -> None:
    found = conflict(_block([5, 6]), _context(contradictions=((START_MS + QUARTER_MS, 9),)))
    assert [(f.start_ms, f.value, f.limit) for f in found] == [(START_MS + QUARTER_MS, 9, 6)]


def _registers(*pairs: tuple[int, int]) -> tuple[RegisterSample, ...]:
    return tuple(RegisterSample(START_MS + at, value) for at, value in pairs)


@pytest.mark.parametrize(("total", "fails"), [(322, 0), (320, 0), (319, 1), (480, 0), (481, 1)])
def test_sum_check_vector_of_the_design_note(total: int, fails: int) -> None:
    """Register 400, step 40 (r 1 x M 40): tolerance 80 (mdm.md B.6, 3)."""
    block_ = _block([total - 3, 1, 1, 1])
    registers = _registers((0, 1000), (4 * QUARTER_MS, 1400))
    context = _context(registers=registers, register_step=40, rules=RuleSet(sum_tolerance=Tolerance(2, 0)))
    assert len(sum_check(block_, context)) == fails


def test_sum_check_counts_a_cut_interval_by_its_share_and_allows_its_use() -> None:
    registers = _registers((QUARTER_MS // 2, 0), (2 * QUARTER_MS, 100 + 50))
    assert sum_check(_block([100, 100]), _context(registers=registers)) == ()
    assert sum_check(_block([100, 100]), _context(registers=_registers((QUARTER_MS // 2, 0), (2 * QUARTER_MS, 253)))) != ()


def test_sum_check_says_nothing_without_two_samples_or_with_a_hole() -> None:
    assert sum_check(_block([1]), _context(registers=_registers((0, 0)))) == ()
    assert sum_check(_block([None, 5]), _context(registers=_registers((0, 0), (2 * QUARTER_MS, 99_999)))) == ()


def test_rules_have_their_own_names_and_stamp_them() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    found = validate(_block([None, 99_999]), _context())
    assert [(f.rule, f.rule_version) for f in found] == [("gap", 1), ("limit", 1)]


# ---- the run --------------------------------------------------------------------------------------------------


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    with street.db.write() as conn:
        conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=11, direction="import", unit="Wh",
                                            exponent=0, period_s=900))  # fmt: skip
    yield street
    street.db.close()


def _store(street: Street, *values: int, first: int = 0) -> None:
    with street.db.write() as conn:
        store_block(conn, ChannelRef(1, "Wh", "UTC"), block(1, START_MS + first * QUARTER_MS, list(values)), START_MS)


def _registers_in(street: Street, *pairs: tuple[int, int]) -> None:
    with street.db.write() as conn:
        for at_ms, value in pairs:
            conn.execute(insert(reading).values(shard=0, meter_no=1, quantity=1, at_ms=START_MS + at_ms, value=value))


def _close_and_run(street: Street) -> str:
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    run_pending(street.db, START_MS + 2 * DAY_MS)
    with street.db.read() as conn:
        return status_of(conn, DAY, 1)


def test_a_complete_day_that_agrees_with_its_register_is_validated(street: Street) -> None:
    _registers_in(street, (0, 500), (DAY_MS, 500 + 96 * 10))
    _store(street, *([10] * 96))
    with street.db.read() as conn:
        assert status_of(conn, DAY, 1) == "raw"
    assert _close_and_run(street) == "validated"


def test_every_rule_is_asked_by_the_run_and_raw_stays(street: Street) -> None:
    _registers_in(street, (0, 500), (2 * QUARTER_MS, 600))
    _store(street, 10, 10, 99_999, *([10] * 92))
    _store(street, 11)
    with street.db.read() as conn:
        before = conn.execute(select(interval_block)).all()
    assert _close_and_run(street) == "failed"
    with street.db.read() as conn:
        assert {f.rule for f in findings_of(conn, 1, DAY, DAY)} == {"gap", "conflict", "limit", "sum"}
        raw = conn.execute(select(interval_block).where(interval_block.c.version == 0)).one()
    assert before == []
    assert raw.source == "raw"


def test_running_twice_changes_nothing(street: Street) -> None:
    _store(street, *([10] * 95))
    _close_and_run(street)
    with street.db.write() as conn:
        first = run_day(conn, DAY, 1, START_MS)
        assert run_day(conn, DAY, 1, START_MS) == first
        assert conn.execute(select(func.count()).select_from(vee_finding)).scalar() == len(first.findings) == 1


@pytest.mark.covers_part("BYPL-6.3")
def test_late_data_make_the_day_run_again(street: Street) -> None:
    _store(street, *([10] * 95))
    assert _close_and_run(street) == "failed"
    _store(street, 10, first=95)
    assert _close_and_run(street) == "validated"
