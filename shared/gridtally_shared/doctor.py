"""What `gridtally doctor` reports: checks of an installation, from the entry points of the group `gridtally.doctor`.

Each entry point is a function () -> list[Check]. A check that fails says what to do about it in `remedy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `message` says what was seen, `remedy` what to do (empty where `ok`)."""

    name: str
    ok: bool
    message: str
    remedy: str = ""


Checkup: TypeAlias = Callable[[], list[Check]]


def failed(checks: list[Check]) -> int:
    """How many checks did not pass."""
    return sum(not check.ok for check in checks)


def table(checks: list[Check]) -> str:
    """The checks as aligned lines, each remedy below its failure."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:{width}}  {check.message}")
        if check.remedy and not check.ok:
            lines.append(f"      {'':{width}}  -> {check.remedy}")
    return "\n".join(lines)
