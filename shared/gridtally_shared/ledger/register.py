"""How far a register can have moved in a time. What moved further is no use of this service: nothing is charged by it, nobody is cut."""

from __future__ import annotations

from gridtally_shared.clock import MS_PER_HOUR

LARGEST_LOAD_W = 100_000
SLACK_WH = 1_000


def possible_wh(elapsed_ms: int) -> int:
    return SLACK_WH + LARGEST_LOAD_W * elapsed_ms // MS_PER_HOUR
