"""One case for each cut test in which it alone blocks: what a decision looks at, with one thing wrong."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from gridtally_shared.contract.messages import ClockState
from gridtally_shared.ledger.evidence import DecisionEvidence
from gridtally_shared.prepay.engine import advance
from gridtally_shared.prepay.facts import Facts
from gridtally_shared.prepay.holds import HOLDS
from gridtally_shared.prepay.plain import plain_policy
from gridtally_shared.prepay.policy import FlagRule, Policy, Weather
from gridtally_shared.prepay.regions import Funds, Ledger, Mode, Regions, Schedule, Switch
from gridtally_shared.prepay.standing import Standing
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, account_of

NOON = START_MS  # 11:10 in Kolkata
ACCOUNT = account_of(1)
DUE = Facts(
    ACCOUNT, NOON, balance_nano=0, clock=ClockState.TRUSTED, reading_age_ms=0, serial_proven=True, link_up=True,
    cloud_seen_ms=NOON - 1, lease_until_ms=NOON + DAY_MS, switch=Switch.CLOSED, cuts_allowed=1,
)  # fmt: skip
SPENT = Standing(
    Regions(Mode.PREPAID, Funds.EXHAUSTED), notice_ms=NOON - 1, last_notice_ms=NOON - 1, notices=1, zero_since_ms=NOON - 1,
    exhausted_since_ms=NOON - 1, told=("money:10000000000",),
)  # fmt: skip


def decided(view: dict[str, Any], account: dict[str, Any], policy: dict[str, Any] | None = None) -> DecisionEvidence | None:
    """What the engine writes down about a supply that is due to be cut, with these things otherwise."""
    behind = replace(ACCOUNT, **account)
    facts = replace(DUE, account=behind, **{n: v for n, v in view.items() if n in _FACTS})
    standing = replace(SPENT, **{n: v for n, v in view.items() if n not in _FACTS})
    step = advance(standing, facts, _policy(plain_policy(behind), policy or {}))
    return next((f.evidence for f in step.fired if f.evidence), None)


def blocked_by(evidence: DecisionEvidence | None) -> tuple[str, ...]:
    return tuple(t.name for t in evidence.tests if not t.holds) if evidence else ()


_FACTS = {f.name for f in fields(Facts)}


def _policy(plain: Policy, changes: dict[str, Any]) -> Policy:
    protected = {n: v for n, v in changes.items() if n in ("weather", "flags")}
    rest = {n: v for n, v in changes.items() if n not in protected}
    return replace(plain, protected=replace(plain.protected, **protected), **rest)


BLOCKING: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("policy", {"policy_known": False}, {}),
    ("mode", {}, {"mode": 1}),
    ("ledger", {"ledger_fault": "fork"}, {}),
    ("ledger", {"ledger": Ledger.RECOVERING}, {}),
    ("register", {"register_held": "went_back"}, {}),
    ("tariff", {"tariff_known": False}, {}),
    ("clock", {"clock": ClockState.UNTRUSTED}, {}),
    ("reading", {"reading_age_ms": 1_800_001}, {}),
    ("reading", {"reading_age_ms": None}, {}),
    ("reading", {"reading_age_ms": -1}, {}),
    ("serial", {"serial_proven": False}, {}),
    ("parked", {"parked": 1}, {}),
    ("gap", {"missing_instruments": True}, {}),
    ("protected_hours", {}, {"protected_hours": ("09:00-17:00",)}),
    ("protected_hours", {}, {"protected_hours": ("nonsense",)}),
    ("protected_hours", {}, {"zone": "Nowhere/Land"}),
    ("protected_hours", {"clock": ClockState.HOLDOVER, "uncertainty_ms": HOUR_MS}, {"protected_hours": ("12:00-13:00",)}),
    *((("holds", {}, {"holds": (h.code,)})) for h in HOLDS.values() if h.blocks_cut),
    ("holds", {}, {"holds": ("never heard of",)}),
    ("notice", {"notice_ms": None}, {}),
    ("notice", {}, {"notice_lead_s": 3600}),
    ("offline", {"link_up": False}, {"offline_cut": "never"}),
    ("offline", {"link_up": False}, {"offline_cut": "allowed", "keypad_key": b""}),
    ("offline", {"link_up": False}, {"offline_cut": "a policy nobody knows"}),
    ("offline", {"link_up": False, "offline_since_ms": NOON - HOUR_MS}, {"offline_cut": "grace", "offline_grace_h": 1}),
    ("offline", {"link_up": False, "started": True}, {"offline_cut": "allowed", "keypad_key": b"k" * 16}),
    ("lease", {"lease_until_ms": NOON - 1}, {}),
    ("lease", {"lease_until_ms": 0}, {}),
    ("lease", {"config_behind": True}, {}),
    *((("switch", {"switch": s}, {})) for s in (Switch.UNKNOWN, Switch.NOT_FITTED)),
    ("stuck", {"stuck_until_ms": NOON + 1}, {}),
    ("resync", {"resyncs": 2}, {}),
    ("order", {"closed_by_order_ms": NOON - HOUR_MS}, {}),
    ("hourly_share", {"cuts_last_hour": 1}, {}),
    ("schedule", {"schedule": Schedule.RUNNING}, {}),
    ("feeder", {"feeder_cuts": 1, "feeder_allowed": 1}, {}),
    ("breaker", {"breaker_tripped": True}, {}),
]  # fmt: skip

UNDER_A_POLICY: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("flags", {}, {"flags": ("medical_device",)}, {"flags": (FlagRule("medical_device"),)}),
    ("flags", {}, {"flags": ("winter",)}, {"flags": (FlagRule("winter", 1, 200),)}),
    ("weather", {"cloud_seen_ms": NOON - 7 * HOUR_MS}, {}, {"weather": Weather(6, 3)}),
    ("weather", {"cloud_seen_ms": 0}, {}, {"weather": Weather(6, 3)}),
    ("conversion", {"converted_ms": NOON - DAY_MS}, {}, {"convert_grace_days": 30}),
]
"""Tests that the single rules of an account's record never ask: the case names the rules of a catalogue too."""
NEVER_ALONE = {"zero_action", "allowance", "pending"}
"""Without these no step down is due at all, so nothing is decided: no row of the table reaches for the switch."""
