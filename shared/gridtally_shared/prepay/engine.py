"""The engine of a prepaid supply: `advance` takes it from one standing to the next, by the one table of transitions.

    step = advance(standing, facts, policy)
    step.standing            # keep it
    for fired in step.fired: # in order; carry out fired.effects, write fired.evidence where there is some

* Pure and level-triggered: the same facts again move nothing, facts that were missed are caught up at the next step.
* Each region moves by its first fitting row until none fits, then the next one is asked, which sees it settled: what is
  observed, then mode, then money, then supply. Passes go on until nothing moves. No row moves twice in one step, so it ends.
* One step orders a switch once: what the facts say of an order under way is only true at the next step (I20).

Source: prepayment.md 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any

from gridtally_shared.ledger.evidence import DecisionEvidence
from gridtally_shared.prepay.cut_tests import Ran, cut_results, dormant_results, limit_results, restore_results, told, trip_results
from gridtally_shared.prepay.facts import Facts, Happening
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.prepay.table import Effect, Row
from gridtally_shared.prepay.transitions import TABLE
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Fired:
    """One transition that took place. `evidence` where the row decides something."""

    id: str
    region: str
    before: Enum
    after: Enum
    effects: tuple[Effect, ...]
    evidence: DecisionEvidence | None = None


@dataclass(frozen=True, slots=True)
class Step:
    standing: Standing
    fired: tuple[Fired, ...] = ()


def advance(standing: Standing, facts: Facts, policy: Policy, happening: Happening | None = None) -> Step:
    """One step: everything that follows from what is known now and from what has just happened."""
    fired: list[Fired] = []
    used: set[str] = set()
    moved, acted = True, False
    while moved:
        moved = False
        for region, rows in BY_REGION.items():
            s = Situation(facts, policy, standing, happening)
            while row := _first(rows[getattr(s.regions, region)], s, used, acted):
                used.add(row.id)
                acted = acted or row.acts
                fired.append(_fired(row, s))
                s, moved = replace(s, standing=_applied(row, s), memo={}), True
            standing = s.standing
    return Step(standing, tuple(fired))


def _first(rows: tuple[Row, ...], s: Situation, used: set[str], acted: bool) -> Row | None:
    for row in rows:
        if (row.on is None or row.on is s.happening) and row.guard(s) and row.id not in used and not (acted and row.acts):
            return row
    return None


def _applied(row: Row, s: Situation) -> Standing:
    changes: dict[str, Any] = {row.region: row.target(s), **(row.place(s) if row.place else {})}
    regions = replace(s.regions, **changes)
    return replace(s.standing, regions=regions, **(row.note(s) if row.note else {}))


def _fired(row: Row, s: Situation) -> Fired:
    return Fired(row.id, row.region, getattr(s.regions, row.region), row.target(s), row.effects, _evidence(row, s))


def _evidence(row: Row, s: Situation) -> DecisionEvidence | None:
    if not row.verdict:
        return None
    tests = told(RESULTS[_tests_of(row)](s))
    reason = str((row.place(s) if row.place else {}).get("reason", ""))
    return DecisionEvidence(row.verdict, tests, row.id, s.policy.code, s.policy.version, reason)


def _tests_of(row: Row) -> str:
    """Which tests a verdict rests on: the first word of it; a step of a limit by its own, T10 by those of a cut."""
    word = row.verdict.partition("_")[0]
    return f"{word}:{row.region}" if word == "limit" else word


RESULTS: dict[str, Callable[[Situation], Ran]] = {
    "cut": cut_results,
    "held": cut_results,
    "limit:entitlement": cut_results,
    "limit:limit": limit_results,
    "trip": trip_results,
    "restore": restore_results,
    "reclose": restore_results,
    "dormant": dormant_results,
}


class _Rows(dict[Enum, tuple[Row, ...]]):
    """The rows of a region by the state they start from; looked for once a state."""

    def __init__(self, region: str) -> None:
        self._region = region

    def __missing__(self, state: Enum) -> tuple[Row, ...]:
        self[state] = tuple(r for r in TABLE if r.region == self._region and r.starts_from(state))
        return self[state]


BY_REGION: dict[str, _Rows] = {row.region: _Rows(row.region) for row in TABLE}
