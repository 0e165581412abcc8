"""One case for each cut test in which it alone blocks: what a decision looks at, with one thing wrong."""

from __future__ import annotations

from typing import Any

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.decide import OffReason, SupplyView
from gridtally_edge.prepay.holds import HOLDS
from gridtally_shared.contract.messages import ClockState
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, account_of

NOON = START_MS  # 11:10 in Kolkata
DUE = SupplyView(
    balance_nano=0, funded=True, ledger_fault="", register_held="", tariff_known=True, clock=ClockState.TRUSTED, uncertainty_ms=0,
    reading_age_ms=0, reading_limit_ms=1_800_000, serial_proven=True, parked=0, missing_instruments=False, notice_at_ms=NOON - 1,
    exhausted_since_ms=NOON - 1, link_up=True, offline_since_ms=0, lease_until_ms=NOON + DAY_MS, switch=SwitchState.CLOSED,
    off_reason=OffReason.NONE, pending_action=False, stuck_until_ms=0, resyncs=0, closed_by_order_ms=None, cuts_last_hour=0,
    cuts_allowed=1, breaker_tripped=False, power_w=None,
)  # fmt: skip
POLICY = account_of(1)

BLOCKING: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("zero_action", {}, {"zero_action": "limit"}),
    ("ledger", {"ledger_fault": "fork"}, {}),
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
    ("notice", {"notice_at_ms": None}, {}),
    ("notice", {}, {"notice_lead_s": 3600}),
    ("offline", {"link_up": False}, {"offline_cut": "never"}),
    ("offline", {"link_up": False}, {"offline_cut": "a policy nobody knows"}),
    ("offline", {"link_up": False, "offline_since_ms": NOON - HOUR_MS}, {"offline_cut": "grace", "offline_grace_h": 1}),
    ("lease", {"lease_until_ms": NOON - 1}, {}),
    ("lease", {"lease_until_ms": 0}, {}),
    *((("switch", {"switch": s}, {})) for s in (SwitchState.UNKNOWN, SwitchState.NOT_FITTED)),
    ("pending", {"pending_action": True}, {}),
    ("stuck", {"stuck_until_ms": NOON + 1}, {}),
    ("resync", {"resyncs": 2}, {}),
    ("order", {"closed_by_order_ms": NOON - HOUR_MS}, {}),
    ("hourly_share", {"cuts_last_hour": 1}, {}),
    ("breaker", {"breaker_tripped": True}, {}),
]  # fmt: skip
