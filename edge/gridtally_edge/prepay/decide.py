"""May this supply be cut, must it be restored? A pure function of what is known; every test is evidence.

* A cut needs every test of CUT_TESTS (prepayment.md 3.5). Not knowing fails a test: unknown always means "stay on".
* A restore is the default once there is credit again; only a hold of another kind, an unordered state or a live load
  side keep the supply off.
* Nothing here acts: the verdict and its tests become a DECISION entry of the journal, and then an order.

Source: prepayment.md 3.3 and 3.5; safety.md 1, 2, 5, 6, 11, 13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.holds import holds_against_close, holds_against_cut, protected_hours
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.ledger.evidence import DecisionEvidence, TestResult

ORDER_RESPECTED_MS = MS_PER_DAY
LIVE_LOAD_W = 10
RESYNCS = 1


class Verdict(Enum):
    """STAY: nothing to do. HELD: a cut is due but a test blocks it. RESTORE_HELD: a restore is due but held."""

    STAY = "stay"
    CUT = "cut"
    HELD = "held"
    RESTORE = "restore"
    RESTORE_HELD = "restore_held"


class OffReason(Enum):
    """Why a switch is open, as far as we know."""

    NONE = ""
    BALANCE = "balance"
    ORDER = "order"
    UNORDERED = "unordered"


@dataclass(frozen=True, slots=True)
class SupplyView:
    """All a decision looks at. Ages in ms; None means never or not known."""

    balance_nano: int
    funded: bool
    ledger_fault: str
    register_held: str
    tariff_known: bool
    clock: ClockState
    uncertainty_ms: int
    reading_age_ms: int | None
    reading_limit_ms: int
    serial_proven: bool
    parked: int
    missing_instruments: bool
    notice_at_ms: int | None
    exhausted_since_ms: int | None
    link_up: bool
    offline_since_ms: int
    lease_until_ms: int
    switch: SwitchState
    off_reason: OffReason
    pending_action: bool
    stuck_until_ms: int
    resyncs: int
    closed_by_order_ms: int | None
    cuts_last_hour: int
    cuts_allowed: int
    breaker_tripped: bool
    power_w: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    tests: tuple[TestResult, ...] = ()

    @property
    def blocked_by(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.tests if not t.holds)

    def evidence(self) -> DecisionEvidence:
        return DecisionEvidence(self.verdict.value, self.tests)


Check = Callable[[SupplyView, AccountConfig, int], tuple[bool, str]]


def _reading(v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[bool, str]:
    age_ms = v.reading_age_ms
    return age_ms is not None and 0 <= age_ms <= v.reading_limit_ms, f"age {age_ms} ms, limit {v.reading_limit_ms} ms"


def _clock(v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[bool, str]:
    return v.clock is not ClockState.UNTRUSTED, f"{v.clock.name.lower()}, give or take {v.uncertainty_ms} ms"


def _protected(v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[bool, str]:
    hours = protected_hours(p.protected_hours, p.zone)
    free = not hours.touches(now_ms - v.uncertainty_ms, now_ms + v.uncertainty_ms)
    return free, f"{', '.join(p.protected_hours) or 'none'} ({p.zone})"


def _notice(v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[bool, str]:
    at_ms = v.notice_at_ms
    return at_ms is not None and at_ms + p.notice_lead_s * 1000 <= now_ms, f"notice at {at_ms}, lead {p.notice_lead_s} s"


def _offline(v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[bool, str]:
    if v.link_up:
        return True, "online"
    grace_from_ms = max(v.offline_since_ms, v.exhausted_since_ms or now_ms)
    allowed = {"allowed": True, "grace": now_ms >= grace_from_ms + p.offline_grace_h * MS_PER_HOUR}
    return allowed.get(p.offline_cut, False), f"offline since {v.offline_since_ms}, policy {p.offline_cut}"


def _holds(v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[bool, str]:
    blocking = holds_against_cut(p.holds)
    return not blocking, ", ".join(blocking) or "none"


def _switch(v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[bool, str]:
    return v.switch in (SwitchState.CLOSED, SwitchState.ARMED), v.switch.name.lower()


def _order(v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[bool, str]:
    at_ms = v.closed_by_order_ms
    return at_ms is None or now_ms - at_ms >= ORDER_RESPECTED_MS, f"closed by order at {at_ms}"


CUT_TESTS: tuple[tuple[str, Check], ...] = (
    ("zero_action", lambda v, p, now: (p.zero_action == "disconnect", p.zero_action)),
    ("ledger", lambda v, p, now: (not v.ledger_fault, v.ledger_fault or "ok")),
    ("register", lambda v, p, now: (not v.register_held, v.register_held or "ok")),
    ("tariff", lambda v, p, now: (v.tariff_known, p.tariff_id)),
    ("clock", _clock),
    ("reading", _reading),
    ("serial", lambda v, p, now: (v.serial_proven, "proven" if v.serial_proven else "not proven")),
    ("parked", lambda v, p, now: (v.parked == 0, f"{v.parked} parked")),
    ("gap", lambda v, p, now: (not v.missing_instruments, "an earlier one is missing" if v.missing_instruments else "none")),
    ("protected_hours", _protected),
    ("holds", _holds),
    ("notice", _notice),
    ("offline", _offline),
    ("lease", lambda v, p, now: (now + v.uncertainty_ms <= v.lease_until_ms, f"until {v.lease_until_ms}")),
    ("switch", _switch),
    ("pending", lambda v, p, now: (not v.pending_action, "an action is under way" if v.pending_action else "none")),
    ("stuck", lambda v, p, now: (now >= v.stuck_until_ms, f"until {v.stuck_until_ms}")),
    ("resync", lambda v, p, now: (v.resyncs <= RESYNCS, f"{v.resyncs} since the last cut")),
    ("order", _order),
    ("hourly_share", lambda v, p, now: (v.cuts_last_hour < v.cuts_allowed, f"{v.cuts_last_hour} of {v.cuts_allowed}")),
    ("breaker", lambda v, p, now: (not v.breaker_tripped, "waits for a person" if v.breaker_tripped else "closed")),
)

RESTORE_TESTS: tuple[tuple[str, Check], ...] = (
    ("holds", lambda v, p, now: (not holds_against_close(p.holds), ", ".join(holds_against_close(p.holds)) or "none")),
    ("remote_close", lambda v, p, now: (not p.arm_only, "the consumer must be present" if p.arm_only else "allowed")),
    ("load_side", lambda v, p, now: (v.power_w is None or v.power_w <= LIVE_LOAD_W, f"{v.power_w} W behind the open switch")),
    ("pending", lambda v, p, now: (not v.pending_action, "an action is under way" if v.pending_action else "none")),
    ("stuck", lambda v, p, now: (now >= v.stuck_until_ms, f"until {v.stuck_until_ms}")),
)  # fmt: skip


def decide(view: SupplyView, policy: AccountConfig, now_ms: int) -> Decision:
    """What to do with this supply now. The tests are given whenever a cut or a restore is due."""
    if view.switch is SwitchState.OPEN and view.off_reason is OffReason.BALANCE:
        return _restore(view, policy, now_ms)
    if is_exhausted(view, policy) and view.switch is not SwitchState.OPEN:
        tests = _run(CUT_TESTS, view, policy, now_ms)
        return Decision(Verdict.CUT if all(t.holds for t in tests) else Verdict.HELD, tests)
    return Decision(Verdict.STAY)


def is_exhausted(view: SupplyView, policy: AccountConfig) -> bool:
    """Nothing left, and the policy speaks of a cut at all. An account that never had an instrument is not exhausted: its
    opening credit may still be under way."""
    return view.funded and view.balance_nano <= 0 and policy.zero_action != "none"


def _restore(view: SupplyView, policy: AccountConfig, now_ms: int) -> Decision:
    """Credit is back, or the policy or a protection no longer lets this supply be off."""
    paid = view.balance_nano >= max(1, policy.restore_min_nano)
    if not (paid or policy.zero_action != "disconnect" or holds_against_cut(policy.holds)):
        return Decision(Verdict.STAY)
    tests = _run(RESTORE_TESTS, view, policy, now_ms)
    return Decision(Verdict.RESTORE if all(t.holds for t in tests) else Verdict.RESTORE_HELD, tests)


def _run(checks: tuple[tuple[str, Check], ...], v: SupplyView, p: AccountConfig, now_ms: int) -> tuple[TestResult, ...]:
    results = ((name, check(v, p, now_ms)) for name, check in checks)
    return tuple(TestResult(name, holds, seen) for name, (holds, seen) in results)
