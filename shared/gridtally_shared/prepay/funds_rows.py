"""Transitions of funds (region B): what is there to spend, and when its owner is told (prepayment.md T4 to T9).

* A spell ends by money that is known. An account that goes on elsewhere stands where it stood until what it brings along is there: its
  owner was told, and is not told again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.prepay import due
from gridtally_shared.prepay.facts import Happening
from gridtally_shared.prepay.regions import Entitlement, Funds
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.prepay.table import Effect, Row, always, keep, now, of

E, F = Entitlement, Funds
SPENT = of(F.OVERDRAWN, F.EXHAUSTED)


def _is_over(s: Situation) -> bool:
    """What there is is known, and it is not zero."""
    return due.is_balance_known(s) and not due.at_zero(s)


def _told(s: Situation) -> Mapping[str, Any]:
    first_ms = s.standing.notice_ms
    return {
        "notice_ms": s.now_ms if first_ms is None else first_ms, "last_notice_ms": s.now_ms,
        "notices": s.standing.notices + 1, "told": tuple(sorted({*s.standing.told, *due.crossed(s)})),
    }  # fmt: skip


def _is_repeated(s: Situation) -> bool:
    """A further level is reached, or the message's own cadence has passed; a dark home is not told again and again."""
    if s.regions.entitlement is E.CUT:
        return False
    cadence_s, last_ms = s.policy.notice.cadence_s, s.standing.last_notice_ms
    return bool({*due.crossed(s)} - {*s.standing.told}) or (
        cadence_s > 0 and last_ms is not None and s.since(last_ms) >= cadence_s * 1000
    )


def _is_gone(s: Situation) -> bool:
    """At zero, and neither emergency credit in use nor one that comes by itself."""
    return due.at_zero(s) and not due.is_emergency_left(s) and not (due.is_offerable(s) and s.policy.emergency.auto)


def _is_taken(s: Situation) -> bool:
    accepted = s.happening is Happening.EMERGENCY_ACCEPTED
    return due.is_offerable(s) and (accepted or (due.at_zero(s) and s.policy.emergency.auto))


def _is_repaid(s: Situation) -> bool:
    above = s.facts.balance_nano > max(s.policy.emergency.threshold_nano, s.policy.zero_nano)
    return (above and s.facts.emergency_nano == 0) or not due.is_prepaid(s)


def _credited(s: Situation) -> Mapping[str, Any]:
    uses = 0 if s.facts.emergency_nano == 0 else s.standing.uses
    return {"uses": uses, "credited_ms": s.now_ms, "last_topup_nano": s.facts.last_topup_nano or s.standing.last_topup_nano}


def _bought(s: Situation) -> Mapping[str, Any]:
    return {"partial_until_ms": s.now_ms + due.partial_days(s) * MS_PER_DAY, "partial_used": True}


FUNDS: tuple[Row, ...] = (
    Row("T9", "funds", None, always, None, note=_credited, on=Happening.CREDITED),
    Row("T4", "funds", of(F.IN_CREDIT), due.is_low, F.LOW, (Effect.TELL_LOW,), note=_told),
    Row("E8", "funds", None, lambda s: due.at_zero(s) and s.standing.zero_since_ms is None, None, (Effect.TELL_ZERO,),
        note=now("zero_since_ms")),
    Row("E8b", "funds", None, lambda s: _is_over(s) and s.standing.zero_since_ms is not None, None,
        note=keep(zero_since_ms=None, asked_ms=None)),
    Row("T4b", "funds", of(*F) - of(F.IN_CREDIT), _is_repeated, None, (Effect.TELL_LOW,), note=_told),
    Row("T5", "funds", of(F.LOW), due.is_offerable, F.EC_OFFERED, (Effect.TELL_OFFER,)),
    Row("T6", "funds", of(F.EC_OFFERED, F.OVERDRAWN, F.EXHAUSTED), _is_taken, F.EC_IN_USE, (Effect.TELL_EMERGENCY,),
        note=lambda s: {"emergency_since_ms": s.now_ms, "uses": s.standing.uses + 1}),
    Row("T7", "funds", of(F.LOW, F.EC_OFFERED, F.EC_IN_USE), lambda s: _is_gone(s) and due.has_allowance(s), F.OVERDRAWN,
        (Effect.TELL_OVERDRAWN,), note=now("overdrawn_since_ms")),
    Row("T8", "funds", of(F.LOW, F.EC_OFFERED, F.EC_IN_USE, F.OVERDRAWN), lambda s: _is_gone(s) and not due.has_allowance(s),
        F.EXHAUSTED, note=now("exhausted_since_ms")),
    Row("T9a", "funds", of(F.EXHAUSTED), lambda s: due.at_zero(s) and due.partial_days(s) > 0, F.OVERDRAWN, note=_bought,
        on=Happening.CREDITED),
    Row("T9b", "funds", of(F.EXHAUSTED), lambda s: due.at_zero(s) and due.has_allowance(s), F.OVERDRAWN),
    Row("T9c", "funds", SPENT, _is_over, F.LOW,
        note=keep(exhausted_since_ms=None, overdrawn_since_ms=None, partial_until_ms=None)),
    Row("T9d", "funds", of(F.EC_IN_USE), _is_repaid, F.LOW, note=keep(emergency_since_ms=None)),
    Row("T9e", "funds", of(F.EC_OFFERED), lambda s: not due.is_offerable(s) and _is_over(s), F.LOW),
    Row("T9f", "funds", of(F.LOW), lambda s: due.is_balance_known(s) and not due.is_low(s), F.IN_CREDIT,
        note=keep(notice_ms=None, last_notice_ms=None, notices=0, told=(), partial_used=False, owed_nano=0)),
)  # fmt: skip


