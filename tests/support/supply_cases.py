"""Homes that have used up what was paid, and what their core says of it."""

from __future__ import annotations

from pathlib import Path

from gridtally_shared.events import BY_CODE
from gridtally_shared.prepay.standing import Standing, standing_from
from support.prepay_bench import HOUR_MS, Bench


def names(bench: Bench) -> list[str]:
    return [BY_CODE[e.code].name for e in bench.events()]


def exhausted(folder: Path, meters: int = 1, **policy: object) -> Bench:
    """Every home has used up 8.40 that were paid, an hour ago it had them."""
    bench = Bench(folder, meters, dict(policy))
    for n in range(1, meters + 1):
        bench.credit(n, "8.40")
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    return bench


def standing(bench: Bench) -> Standing:
    text, decision = bench.db.execute("SELECT standing, last_decision FROM account WHERE account_no = 101").fetchone()
    return standing_from(text, decision)


def cut(folder: Path, **policy: object) -> Bench:
    bench = exhausted(folder, **policy)
    bench.finish()
    return bench
