"""Collects which requirements the tests that really ran and passed have shown; `make trace` turns it into a table.

`covers(...)` shows the whole proof of a requirement, `covers_part(...)` some clauses of it. With GRIDTALLY_COVERAGE set, the
results of this run are appended to that file as JSON lines: {"test", "outcome", "covers", "parts"}. A skipped test
shows nothing; an unknown id is an error.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REGISTER = Path(__file__).resolve().parents[1] / "requirements.csv"


def register_ids() -> frozenset[str]:
    with REGISTER.open(newline="", encoding="utf-8") as rows:
        return frozenset(row["id"] for row in csv.DictReader(rows))


def _name_of(item: pytest.Item) -> str:
    """Without the group that a distributed run hangs on."""
    group = item.get_closest_marker("xdist_group")
    return item.nodeid.removesuffix(f"@{group.args[0]}") if group else item.nodeid


def marked(item: pytest.Item, name: str) -> list[str]:
    return sorted({str(i) for mark in item.iter_markers(name) for i in mark.args})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known = register_ids()
    for item in items:
        unknown = (set(marked(item, "covers")) | set(marked(item, "covers_part"))) - known
        if unknown:
            raise pytest.UsageError(f"{item.nodeid} marks requirements that are not in the register: {sorted(unknown)}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    target = os.environ.get("GRIDTALLY_COVERAGE")
    covers, parts = marked(item, "covers"), marked(item, "covers_part")
    if target and report.when == "call" and (covers or parts):
        row = {"test": _name_of(item), "outcome": report.outcome, "covers": covers, "parts": parts}
        with Path(target).open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
