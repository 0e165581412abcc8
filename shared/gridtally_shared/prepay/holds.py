"""Holds on a switch: what keeps a supply on, and what keeps it off.

* A hold that keeps the supply off is lifted where it was set, never by a payment, by time or by a mass restore.
* A hold this version does not know blocks both ways: unknown never means cut, and never means close.

Source: safety.md 1 and 5; prepayment.md 3.5.
"""

from __future__ import annotations

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    code: str
    blocks_cut: bool
    blocks_close: bool


HOLDS: dict[str, Hold] = {
    h.code: h
    for h in (
        Hold("safety", False, True),
        Hold("work", False, True),
        Hold("tamper", False, True),
        Hold("vacant", False, True),
        Hold("customer", False, True),
        Hold("regulator", True, True),
        Hold("disaster", True, False),
        Hold("weather", True, False),
        Hold("medical", True, False),
        Hold("priority", True, False),
        Hold("dispute", True, False),
        Hold("conversion", True, False),
        Hold("schedule", True, False),
    )
}


def hold_of(code: str) -> Hold:
    return HOLDS.get(code) or Hold(code, True, True)


def holds_against_cut(codes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for c in codes if hold_of(c).blocks_cut)


def holds_against_close(codes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for c in codes if hold_of(c).blocks_close)
