"""The end of a month in the books of every account, shared by the workers: each thing once, however often it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gridtally_cloud import runs, runs_cli
from gridtally_cloud.billing import deposit_cli, late_run, service
from gridtally_cloud.billing.rules import add_rule
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.store import work
from gridtally_cloud.store.work import Hand
from gridtally_shared.errors import ConfigError
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, START_MS, Payday
from support.typed import typed

ANN, BOB = Hand("ann:1"), Hand("bob:2")
RULES = ({"kind": "late_payment", "currency": "INR", "percent": "1.5", "per": "month"},
         {"kind": "deposit_interest", "currency": "INR", "percent": "6", "per": "year"})  # fmt: skip


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """The bill for November is due on 15 December and is not paid; a deposit of 1,500 is held. It is the first of January, noon."""
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    town.now_ms += 30 * DAY_MS
    town.read(2, OPENED_WH + 100_000)
    with town.db.write() as conn:
        for rule in RULES:
            add_rule(conn, json.dumps(rule), "", 0, town.now_ms, "desk")
        service.issue_bill(conn, town.postpaid_account, START_MS, START_MS + 30 * DAY_MS, town.now_ms, "desk")
    typed(town, deposit_cli, "deposit", "take", str(town.postpaid_account), "1500", "--receipt", "R-1")
    town.now_ms = START_MS + 61 * DAY_MS + 12 * HOUR_MS
    yield town
    town.close()


def _end_of(town: Payday, month: str) -> work.Run:
    assert typed(town, runs_cli, "runs", "start-month-end", "--month", month) == 0
    while runs.take_up(town.db, town.now_ms, ANN) | runs.take_up(town.db, town.now_ms, BOB):
        pass
    with town.db.read() as conn:
        return work.runs(conn)[0]


def _posted(town: Payday) -> list[tuple[str, int]]:
    with town.db.read() as conn:
        rows = conn.execute(select(receivable.c.kind, receivable.c.amount_nano).order_by(receivable.c.receivable_no))
        return [(row.kind, row.amount_nano) for row in rows]


def test_late_payment_and_interest_are_posted_once_however_often_it_runs(town: Payday) -> None:
    before = _posted(town)
    ended = _end_of(town, "2026-12")
    assert (ended.total, ended.done, ended.refused, ended.failed) == (3, 3, 0, 0)
    made = _posted(town)[len(before) :]
    assert [kind for kind, _ in made] == ["late", "deposit_interest"]
    assert _end_of(town, "2026-12").done == 3
    assert _posted(town) == [*before, *made]
    assert late_run.run(town.db, town.now_ms, "desk", "2026-12") == (), "the command finds it done"
    assert typed(town, deposit_cli, "deposit", "interest") == 0
    assert _posted(town) == [*before, *made]


def test_a_month_that_is_not_over_or_no_month_is_refused_before_anything_starts(town: Payday) -> None:
    for month, said in (("2027-01", "not over"), ("January", "such as")):
        with pytest.raises(ConfigError, match=said):
            typed(town, runs_cli, "runs", "start-month-end", "--month", month)
    with town.db.read() as conn:
        assert work.runs(conn) == []
