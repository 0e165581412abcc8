"""`make trace`: which requirement is shown by which passing test.

Reads the register (tests/requirements.csv) and the results the covers plugin logged in one run, and writes docs/trace.md for
people and docs/trace.json for programs. `shown`: a passing test shows the whole proof; `partly`: some of its clauses;
`not yet`: nothing. A test that was skipped or failed in any of its forms shows nothing; `same_as` inherits.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REGISTER = ROOT / "tests" / "requirements.csv"
STATUSES = ("shown", "partly", "not yet")


@dataclass(frozen=True, slots=True)
class Requirement:
    ident: str
    text: str
    same_as: str


@dataclass(frozen=True, slots=True)
class Finding:
    status: str
    tests: tuple[str, ...]


def register() -> list[Requirement]:
    with REGISTER.open(newline="", encoding="utf-8") as rows:
        return [Requirement(r["id"], r["requirement"], r["same_as"].strip()) for r in csv.DictReader(rows)]


def group_of(ident: str) -> str:
    """BYPL-3.4 -> BYPL, I2FR26a -> I2FR, C3-NFR2 -> C3."""
    bare = re.match(r"I2(?:FR|NFR|BR)", ident)
    return bare.group(0) if bare else ident.split("-")[0]


def read_results(log: Path) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Requirement id -> tests that show all of it, and those that show a part. Only tests that passed in every run."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    bad = {row["test"] for row in rows if row["outcome"] != "passed"}
    full: dict[str, set[str]] = defaultdict(set)
    part: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["test"] not in bad:
            for ident in row["covers"]:
                full[ident].add(row["test"])
            for ident in row["parts"]:
                part[ident].add(row["test"])
    return full, part


def findings(requirements: list[Requirement], full: dict[str, set[str]], part: dict[str, set[str]]) -> dict[str, Finding]:
    own = {r.ident: _finding(r.ident, full, part) for r in requirements}
    return {r.ident: _inherited(r, own) for r in requirements}


def _finding(ident: str, full: dict[str, set[str]], part: dict[str, set[str]]) -> Finding:
    if full.get(ident):
        return Finding("shown", tuple(sorted(full[ident] | part.get(ident, set()))))
    return Finding("partly", tuple(sorted(part[ident]))) if part.get(ident) else Finding("not yet", ())


def _inherited(requirement: Requirement, own: dict[str, Finding]) -> Finding:
    """A row that repeats another has the better of its own and the other's finding."""
    others = [own[s] for s in re.split(r"[;,\s]+", requirement.same_as) if s in own]
    mine = own[requirement.ident]
    if not others:
        return mine
    inherited = max(others, key=lambda f: STATUSES.index(f.status))  # of several, all must be shown
    return min((mine, inherited), key=lambda f: STATUSES.index(f.status))


def table(requirements: list[Requirement], found: dict[str, Finding]) -> str:
    groups: dict[str, list[Requirement]] = defaultdict(list)
    for requirement in requirements:
        groups[group_of(requirement.ident)].append(requirement)
    lines = ["# Which requirement is shown by which test", "",
             "Made by `make trace` from the tests that ran and passed. Do not edit.", "",
             "| group | shown | partly | not yet |", "| --- | ---: | ---: | ---: |"]  # fmt: skip
    lines += [f"| {name} | {' | '.join(str(n) for n in counts(rows, found))} |" for name, rows in groups.items()]
    lines.append(f"| **all** | {' | '.join(str(n) for n in counts(requirements, found))} |")
    for name, rows in groups.items():
        seen = [r for r in rows if found[r.ident].status != "not yet"]
        if seen:
            lines += ["", f"## {name}", "", "| id | status | requirement | tests |", "| --- | --- | --- | --- |"]
            lines += [_line(r, found[r.ident]) for r in seen]
    return "\n".join(lines) + "\n"


def counts(rows: list[Requirement], found: dict[str, Finding]) -> list[int]:
    return [sum(found[r.ident].status == status for r in rows) for status in STATUSES]


def _line(requirement: Requirement, finding: Finding) -> str:
    tests = "<br>".join(f"`{t}`" for t in finding.tests[:4])
    more = f"<br>and {len(finding.tests) - 4} more" if len(finding.tests) > 4 else ""
    text = requirement.text.replace("|", "/")
    return f"| {requirement.ident} | {finding.status} | {text} | {tests}{more} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, default=ROOT / "artefacts" / "coverage.jsonl", help="what the covers plugin logged")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if docs/trace.json claims more than was shown")
    arguments = parser.parse_args(argv)
    if not arguments.log.exists():
        print(f"trace: {arguments.log} is not there; run `make test` first")
        return 1
    requirements = register()
    found = findings(requirements, *read_results(arguments.log))
    if arguments.check:
        return check(found, skipped(arguments.log))
    as_json = {ident: {"status": f.status, "tests": list(f.tests)} for ident, f in found.items()}
    (ROOT / "docs" / "trace.md").write_text(table(requirements, found), encoding="utf-8")
    (ROOT / "docs" / "trace.json").write_text(json.dumps(as_json, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(table(requirements, found).split("\n## ")[0])
    return 0


def skipped(log: Path) -> frozenset[str]:
    """Tests that found a part of the machine missing."""
    rows = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    return frozenset(row["test"] for row in rows if row["outcome"] == "skipped")


def check(found: dict[str, Finding], absent: frozenset[str]) -> int:
    """Whether the committed table is still true, as far as its tests could run here."""
    path = ROOT / "docs" / "trace.json"
    claimed = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    worse = [i for i, row in claimed.items() if STATUSES.index(row["status"]) < STATUSES.index(found[i].status)]
    worse = [i for i in worse if not absent.intersection(claimed[i]["tests"])]
    for ident in worse:
        print(f"trace: {ident} is claimed {claimed[ident]['status']}, but this run showed: {found[ident].status}")
    print(f"trace: {sum(f.status == 'shown' for f in found.values())} requirements shown, {len(worse)} claimed in vain")
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
