"""What became of a day that was judged."""

from __future__ import annotations

from gridtally_cloud.vee.model import Finding
from gridtally_shared.records import dataclass

VALIDATED, ESTIMATED, EDITED, FAILED = "validated", "estimated", "edited", "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`estimates` is the number of intervals that have a value of ours; `changed` says that what stood before is another now."""

    day: int
    channel_no: int
    status: str
    findings: tuple[Finding, ...]
    estimates: int = 0
    changed: bool = False
