"""What the edge charges can be priced again from its own journal, to the nano; what is falsified is found, what is lost made anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_edge.prepay.book import open_book
from gridtally_edge.prepay.charge_store import stored_running, walked
from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.ledger.charges import charge_of
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Posting
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.ledger.rerating import Walk, rerated
from gridtally_shared.tariff.pinned import pinned_plan
from support.prepay_bench import DAY_MS, HOUR_MS, Bench

ITEMS = [
    {"kind": "energy", "code": "energy", "slabs": [{"to_kwh": "20", "price": "3.15"}, {"price": "6.4"}]},
    {"kind": "fixed", "code": "fixed", "price": "55"},
    {"kind": "percent", "code": "duty", "percent": "7.7", "of": ["energy", "fixed"]},
]  # fmt: skip
VERSIONS = [{"from": "2026-01-01", "items": ITEMS}]
DOCUMENT = {"kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata", "versions": VERSIONS}
TARIFFS = (TariffDocument("home", 1, 0, json.dumps(DOCUMENT)),)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A month and some days of use, with a restart without a clock and a silent week."""
    bench = Bench(tmp_path, tariffs=TARIFFS)
    bench.credit(1, "1000")
    wh = 1_000_000
    for day in range(40):
        bench.now_ms += DAY_MS
        if day == 15:
            bench.restart()
        if day != 15:
            bench.trust()
        wh += 900 + day
        if not 20 <= day < 27:
            bench.read(1, wh)
        bench.wait(HOUR_MS)
    return bench


def walk(entries: list[LedgerEntry]) -> Walk:
    plan = pinned_plan(TARIFFS, "Asia/Kolkata")
    return rerated(Walk(LedgerState(101, 1)), entries, lambda terms: plan)


def test_the_journal_priced_again_is_the_journal(bench: Bench) -> None:
    again = walk(bench.entries())
    assert again.differences == []
    assert again.running == stored_running(bench.db, 101, 1)
    kinds = [e.kind for e in bench.entries()]
    assert kinds.count(Kind.FIXED) >= 30
    assert any(record.provisional for e in bench.entries() if (record := charge_of(e)))


def test_one_nano_too_much_is_found_once(bench: Bench) -> None:
    entries = bench.entries()
    place = next(i for i, e in enumerate(entries) if e.kind == Kind.ENERGY and i > 20)
    first, second, *rest = entries[place].postings
    dearer = (Posting(first.pool, first.amount_nano - 1), Posting(second.pool, second.amount_nano + 1), *rest)
    entries[place] = replace(entries[place], postings=dearer)
    found = walk(entries).differences
    assert [(d.seq, d.found_nano - d.expected_nano) for d in found] == [(entries[place].seq, 1)]


def test_a_lost_running_account_goes_on_as_if_it_had_not_been_lost(bench: Bench) -> None:
    bench.db.execute("DELETE FROM charging")
    bench.restart()
    bench.trust()
    bench.now_ms += HOUR_MS
    bench.read(1, 1_100_000)
    assert walk(bench.entries()).differences == []


def test_a_walk_is_made_once_and_again_when_journal_or_plans_are_others(bench: Bench) -> None:
    """After a heal every tick asks for the running charge until the next one is written."""
    state, first = open_book(bench.db, 101, 1).state, bench.entries()[0]
    found = walked(bench.db, state)
    assert found == stored_running(bench.db, 101, 1)
    assert walked(bench.db, state) is found
    bench.db.execute("UPDATE journal SET body = ? WHERE seq = 1", (replace(first, mono_ms=first.mono_ms + 1).to_bytes(),))
    again = walked(bench.db, state)
    assert again == found
    assert again is not found
    bench.db.execute("DELETE FROM tariff")
    assert walked(bench.db, state) is None


def test_a_month_that_ended_without_use_is_known_to_who_prices_provisional_use_again(tmp_path: Path) -> None:
    """The cheap slab begins anew with the month, though nothing was used and so nothing written when it began."""
    bench = Bench(tmp_path, tariffs=TARIFFS)
    bench.credit(1, "1000")
    for hours, wh in ((0, 1_000_000), (24, 1_025_000), (24 * 32, 1_025_000)):
        bench.now_ms += hours * HOUR_MS
        bench.trust()
        bench.read(1, wh)
    bench.restart()
    for wh in (1_027_000, 1_031_000):
        bench.now_ms += HOUR_MS
        bench.read(1, wh)
    guesses = [r for e in bench.entries() if (r := charge_of(e)) and r.provisional]
    assert [line.rate for record in guesses for line in record.lines if line.code == "energy"] == [3_150_000, 3_150_000]
    assert [bool(record.from_ms) for record in guesses] == [True, False]
    assert walk(bench.entries()).differences == []
    bench.now_ms += HOUR_MS
    bench.trust()
    bench.read(1, 1_032_000)
    again = walk(bench.entries())
    assert again.differences == []
    assert again.running == stored_running(bench.db, 101, 1)


def test_a_guess_that_was_right_is_settled_with_an_entry_of_its_own(tmp_path: Path) -> None:
    """Found by seed 193: without one, who prices the journal again goes on believing that the use is only guessed."""
    bench = Bench(tmp_path, tariffs=TARIFFS)
    bench.credit(1, "1000")
    for wh in (1_000_000, 1_001_000):
        bench.now_ms += HOUR_MS
        bench.trust()
        bench.read(1, wh)
    bench.restart()
    bench.now_ms += HOUR_MS
    bench.read(1, 1_004_000)
    bench.now_ms += HOUR_MS
    bench.trust()
    bench.read(1, 1_004_000)
    settled = next(e for e in reversed(bench.entries()) if e.kind == Kind.ENERGY)
    record = charge_of(settled)
    assert record is not None
    assert (settled.postings, record.wh, record.provisional) == ((), 3_000, False)
    bench.restart()
    bench.now_ms += HOUR_MS
    bench.read(1, 1_005_000)
    again = walk(bench.entries())
    assert again.differences == []
    assert again.running == stored_running(bench.db, 101, 1)
