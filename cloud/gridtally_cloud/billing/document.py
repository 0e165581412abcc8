"""An issued bill as canonical JSON and back. Integers stay integers; a bill read back equals the one issued."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from gridtally_cloud.billing.model import Bill, BillKind, DataQuality, DayUse, Line, LineKind, Party, Reading


def to_json(bill: Bill) -> str:
    return json.dumps(asdict(bill), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_json(document: str) -> Bill:
    raw = json.loads(document)
    return Bill(**{
        **raw,
        "kind": BillKind(raw["kind"]),
        "party": Party(**raw["party"]),
        "lines": tuple(_line(line) for line in raw["lines"]),
        "days": tuple(DayUse(**day) for day in raw["days"]),
        "quality": DataQuality(**raw["quality"]),
    })  # fmt: skip


def _line(raw: dict[str, Any]) -> Line:
    ends = {name: Reading(**raw[name]) if raw[name] else None for name in ("first", "last")}
    return Line(**{**raw, **ends, "kind": LineKind(raw["kind"])})
