"""Where one supply stands between two events: its regions and the few moments and counts the rules ask about.

It is a cache of decisions, kept in the account's row. An empty one is always safe: levels bring it back, and notices
count from anew. `decision` is the newest verdict with what blocked it, "" when nothing is due.
"""

from __future__ import annotations

import json
from dataclasses import asdict, field, fields
from functools import lru_cache
from typing import Any, get_type_hints

from gridtally_shared.prepay.regions import Regions
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """Times in ms, None where it is not so. `told` names the low levels told in this spell, `notices` counts them.
    `owed_nano` is what was owed when the supply was cut; `uses` emergency uses since the last top-up; `field_ms` when somebody was
    sent, because there is no switch; `free_since_ms` when the spread of a cut or of a way back began. `limit_w` is the load limit
    in force and `limit_by` who asked for it (facts.Limit), `limit_held` and `trip_held` what keeps a step and a trip from being taken.
    `credited_ms` is the newest credit, `dormant_ms` when the utility was told that nobody pays here any more,
    `stays_ms` when the consumer was told that a used-up supply without a switch goes on."""

    regions: Regions = field(default_factory=Regions)
    decision: str = ""
    notice_ms: int | None = None
    last_notice_ms: int | None = None
    notices: int = 0
    told: tuple[str, ...] = ()
    last_topup_nano: int = 0
    zero_since_ms: int | None = None
    exhausted_since_ms: int | None = None
    overdrawn_since_ms: int | None = None
    emergency_since_ms: int | None = None
    uses: int = 0
    limited_since_ms: int | None = None
    free_since_ms: int | None = None
    owed_nano: int = 0
    partial_until_ms: int | None = None
    partial_used: bool = False
    asked_ms: int | None = None
    field_ms: int | None = None
    over_since_ms: int | None = None
    tripped_ms: int | None = None
    reclosed_ms: int | None = None
    recloses: int = 0
    limit_w: int | None = None
    limit_by: str = ""
    limit_held: str = ""
    trip_held: str = ""
    convert_since_ms: int | None = None
    credited_ms: int | None = None
    dormant_ms: int | None = None
    stays_ms: int | None = None


def standing_text(standing: Standing) -> str:
    """As JSON, because a person may want to look at it; without the decision, and without what has its default."""
    plain = Standing()
    changed: dict[str, Any] = {
        f.name: value for f in fields(Standing) if (value := getattr(standing, f.name)) != getattr(plain, f.name)
    }
    changed.pop("decision", None)
    if "regions" in changed:
        changed["regions"] = asdict(standing.regions)
    return json.dumps(changed, separators=(",", ":")) if changed else ""


@lru_cache(maxsize=4096)
def standing_from(text: str, decision: str = "") -> Standing:
    """The record of a text; one that this version can not read is an empty one, which is safe."""
    try:
        raw = json.loads(text) if text else {}
        regions = _regions(raw.pop("regions", {}))
        told = tuple(raw.pop("told", ()))
        return Standing(regions=regions, decision=decision, told=told, **raw)
    except (ValueError, TypeError, AttributeError):
        return Standing(decision=decision)


def _regions(raw: dict[str, Any]) -> Regions:
    kinds = get_type_hints(Regions)
    return Regions(**{name: kinds[name](value) for name, value in raw.items() if name in kinds})
