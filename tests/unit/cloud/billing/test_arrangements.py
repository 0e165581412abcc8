"""Arrears by instalments: parts that sum exactly, kept or broken by the books alone, no late payment charge while kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_cloud.billing import arrangement_cli, arrangements, late_run, service
from gridtally_cloud.billing.arrangements import Arrangement
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.instalments import ArrangementState, Instalment, Plan, left_of, monthly, parted, standing
from gridtally_cloud.billing.model import Arranged, ArrangedPart, BillView
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.rules import add_rule
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.store.days import date_of
from gridtally_shared.errors import GridtallyError
from gridtally_shared.money import nano
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, START_MS, Payday
from support.typed import typed

COIN = 10_000_000
RULE = {"kind": "late_payment", "currency": "INR", "percent": "1.5", "per": "month"}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**17), st.lists(st.integers(1, 1000), min_size=1, max_size=60))
def test_the_parts_sum_to_the_whole_and_are_within_a_coin_of_their_share(total: int, weights: list[int]) -> None:
    parts = parted(total, weights, COIN)
    assert sum(parts) == total
    assert all(part % COIN == 0 for part in parts[:-1])
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - total * weight) < COIN * sum(weights) * 2


def test_by_largest_remainder_the_first_comes_first() -> None:
    assert parted(nano("10"), (1, 1, 1), COIN) == (nano("3.34"), nano("3.33"), nano("3.33"))
    assert parted(nano("0.05"), (1, 2, 3), COIN) == (nano("0.01"), nano("0.02"), nano("0.02"))
    assert [str(date_of(day)) for day in monthly(20_849, 3)] == ["2027-01-31", "2027-02-28", "2027-03-31"]


PLAN = Plan(100, 2, (Instalment(110, 60), Instalment(140, 40)))


@pytest.mark.parametrize(("open_at", "today", "state", "ended"), [
    ({}, 112, "running", None), ({113: 41}, 113, "broken", 113), ({113: 40}, 140, "running", None), ({113: 40, 143: 1}, 200, "broken", 143),
    ({113: 40, 143: 0}, 143, "kept", 143),
])  # fmt: skip
def test_it_is_broken_when_an_instalment_is_open_after_its_grace(
    open_at: dict[int, int], today: int, state: str, ended: int | None
) -> None:
    found = standing(PLAN, lambda day: open_at.get(day, 100), 1, today)
    assert (found.state, found.ended_day) == (state, ended)


def test_paid_ahead_it_is_kept_and_what_is_left_is_of_the_last_ones() -> None:
    assert standing(PLAN, lambda _day: 0, 0, 105).state is ArrangementState.KEPT
    assert left_of(PLAN, 55) == (Instalment(110, 15), Instalment(140, 40))
    assert left_of(PLAN, 30) == (Instalment(140, 30),)


# ---- the books ------------------------------------------------------------------------------------------------


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """A bill of 813.75 for November, to be paid by 15 December; time stands at noon of 20 December."""
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    town.now_ms += 30 * DAY_MS
    town.read(2, OPENED_WH + 100_000)
    with town.db.write() as conn:
        add_rule(conn, json.dumps(RULE), "", 0, town.now_ms, "desk")
    bill(town, 0, 30)
    at(town, 49)
    yield town
    town.close()


def bill(town: Payday, first: int, until: int) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, START_MS + first * DAY_MS, START_MS + until * DAY_MS, town.now_ms, "desk")


def at(town: Payday, day: int) -> None:
    town.now_ms = START_MS + day * DAY_MS + 12 * HOUR_MS


def make(town: Payday, *words: str) -> None:
    assert typed(town, arrangement_cli, "arrangement", "make", str(town.postpaid_account), "--note", "agreed", *words) == 0


def newest(town: Payday) -> Arrangement:
    with town.db.read() as conn:
        return arrangements.arrangements_of(conn, account_of(conn, town.postpaid_account), town.now_ms)[-1]


def charged(town: Payday, month: str) -> list[tuple[int, int]]:
    return [(c.until_day - c.first_day, c.base_nano) for c in late_run.run(town.db, town.now_ms, "desk", month)]


def test_while_it_is_kept_nothing_accrues_and_when_it_is_broken_the_rest_is_due(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    make(town, "--first", "2026-12-25", "--instalments", "3", "--grace", "2")
    at(town, 53)
    town.pay("271.25", town.postpaid_account)
    at(town, 61)
    town.read(2, OPENED_WH + 150_000)
    assert charged(town, "2026-12") == [(4, nano("813.75"))], "16 to 19 December, before it was made"
    second = bill(town, 30, 61)
    day = START_MS + 54 * DAY_MS
    parts = (ArrangedPart(day + 31 * DAY_MS, nano("271.25")), ArrangedPart(day + 62 * DAY_MS, nano("271.25")))
    assert second.bill.arranged == Arranged(nano("542.50"), parts)
    assert from_json(to_json(second.bill)) == second.bill
    for language in TEXTS:
        page = bill_page(second, language)
        assert any("271" in note and "542" in note for note in page.notes)
        strong = next(box for box in page.boxes if box.strong)
        assert strong.note.startswith({"en": "please pay", "es": "pague", "hi": "कृपया"}[language])
    at(town, 92)  # 1 February; nothing came on 25 January
    assert charged(town, "2027-01") == [(4, nano("542.50")), (16, second.bill.closing_nano - nano("542.50") - late_of(town))]
    stands = newest(town).standing
    assert (stands.state, str(date_of(stands.ended_day or 0)), stands.rest_nano) == (ArrangementState.BROKEN, "2027-01-28", nano("542.50"))
    with town.db.read() as conn:
        assert [row.action for row in audit_rows(conn, limit=30)].count("arrangement.broken") == 1
    town.read(2, OPENED_WH + 200_000)
    third = bill(town, 61, 92)
    assert third.bill.arranged == Arranged(nano("542.50"), (), START_MS + 88 * DAY_MS)
    for language in TEXTS:
        assert any("542" in note and "28" in note for note in bill_page(third, language).notes)
    capsys.readouterr()
    assert typed(town, arrangement_cli, "arrangement", "show", str(town.postpaid_account)) == 0
    assert "broken since 2027-01-28, 542.5 of 813.75 is open" in capsys.readouterr().out
    make(town, "--first", "2027-02-10", "--instalments", "2", "--shares", "3,1")
    assert newest(town).standing.state is ArrangementState.RUNNING


def late_of(town: Payday) -> int:
    with town.db.read() as conn:
        return late_run.charges_of(conn, town.postpaid_account)[0].amount_nano


def test_a_kept_one_ends_by_itself_and_is_written_down_once(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    make(town, "--on", "2026-12-21,2027-01-10", "--shares", "1,2")
    town.pay("271.25", town.postpaid_account)
    at(town, 62)
    assert newest(town).standing.state is ArrangementState.RUNNING
    town.pay("542.50", town.postpaid_account)
    capsys.readouterr()
    for ended in (1, 0):
        assert typed(town, arrangement_cli, "arrangement", "check") == 0
        assert capsys.readouterr().out.endswith(f"{ended} arrangements ended\n")
    assert (newest(town).standing.state, newest(town).standing.rest_nano) == (ArrangementState.KEPT, 0)


def test_cancelled_by_a_person_the_rest_accrues_again(town: Payday) -> None:
    make(town, "--first", "2026-12-30", "--instalments", "4")
    at(town, 54)  # 25 December
    assert typed(town, arrangement_cli, "arrangement", "cancel", str(town.postpaid_account), "--note", "wishes so") == 0
    assert newest(town).standing.state is ArrangementState.CANCELLED
    at(town, 62)
    assert charged(town, "2026-12") == [(4, nano("813.75")), (7, nano("813.75"))]


REFUSED = (
    (("make", "{no}", "--first", "2026-12-19", "--instalments", "2"), "from today on"),
    (("make", "{no}", "--on", "2026-12-30,2026-12-30"), "later than"), (("make", "{no}", "--on", "Friday"), "2026-04-01"),
    (("make", "{no}", "--first", "2026-12-25", "--instalments", "0"), "1 to 60"), (("make", "{no}"), "--first and --instalments"),
    (("make", "{no}", "--first", "2026-12-25", "--instalments", "61"), "1 to 60"),
    (("make", "{no}", "--first", "2026-12-25", "--instalments", "2", "--shares", "1"), "2 whole numbers"),
    (("make", "{no}", "--first", "2026-12-25", "--instalments", "2", "--shares", "1,x"), "2,1,1"),
    (("make", "{no}", "--first", "2026-12-25", "--instalments", "2", "--grace", "-1"), "0 to 60"),
    (("make", "4711", "--first", "2026-12-25", "--instalments", "2"), "unknown_account"),
    (("make", "{prepaid}", "--first", "2026-12-25", "--instalments", "2"), "nothing to arrange"), (("cancel", "{no}"), "runs"),
)  # fmt: skip


def test_what_can_not_be_arranged_is_refused_and_nothing_is_kept(town: Payday) -> None:
    for words, says in REFUSED:
        filled = (word.format(no=town.postpaid_account, prepaid=town.account) for word in words)
        with pytest.raises(GridtallyError, match=says):
            typed(town, arrangement_cli, "arrangement", *filled, "--note", "x")
    with town.db.read() as conn:
        assert arrangements.arrangements_of(conn, account_of(conn, town.postpaid_account), town.now_ms) == ()
    make(town, "--first", "2026-12-25", "--instalments", "2")
    with pytest.raises(GridtallyError, match="cancel it first"):
        make(town, "--first", "2026-12-25", "--instalments", "2")
