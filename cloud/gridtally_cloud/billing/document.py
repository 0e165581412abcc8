"""An issued bill as canonical JSON and back. Integers stay integers; a bill read back equals the one issued."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from gridtally_cloud.billing.model import (
    Arranged,
    ArrangedPart,
    Bill,
    BillKind,
    Correction,
    DataQuality,
    DayMoved,
    DayUse,
    DepositHeld,
    Line,
    LineKind,
    Moved,
    Party,
    Reading,
    Tail,
    Turn,
)


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
        **{name: _reading(raw.get(name)) for name in ("first", "last")},
        "corrects": _correction(raw.get("corrects")),
        "deposit": DepositHeld(**raw["deposit"]) if raw.get("deposit") else None,
        "arranged": _arranged(raw.get("arranged")),
        "tail": Tail(**raw["tail"]) if raw.get("tail") else None,
        "turns": tuple(Turn(**turn) for turn in raw.get("turns", ())),
    })  # fmt: skip


def _reading(raw: dict[str, Any] | None) -> Reading | None:
    return Reading(**raw) if raw else None


def _correction(raw: dict[str, Any] | None) -> Correction | None:
    if not raw:
        return None
    lines = tuple(Moved(**{**line, "kind": LineKind(line["kind"])}) for line in raw["lines"])
    return Correction(**{**raw, "lines": lines, "days": tuple(DayMoved(**day) for day in raw["days"])})


def _arranged(raw: dict[str, Any] | None) -> Arranged | None:
    return Arranged(**{**raw, "parts": tuple(ArrangedPart(**part) for part in raw["parts"])}) if raw else None


def _line(raw: dict[str, Any]) -> Line:
    ends = {name: _reading(raw[name]) for name in ("first", "last")}
    return Line(**{**raw, **ends, "kind": LineKind(raw["kind"])})
