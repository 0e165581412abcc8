"""What an account's journal tells of its supply: why the switch is open, and where its load limit stands. Pure.

* A box whose disk was put back to an older image, and one that comes in place of another, know neither: to them an open switch is one that
  nobody ordered, which is never closed from here, and a trip would have its one close by itself again. Their journal, as the mirror
  gives it back, holds every order that reached the switch and every decision on the limit; that is enough.
* What a person did at the meter, and a meter's own limiter, stand in no journal: what the engine itself saw later stays.
* A clean period that is over by now is over here too. One that is not begins anew: only time that was seen to pass counts.

Source: prepayment.md T22 to T25b, T27, 5.9; safety.md 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.ledger.evidence import DecisionEvidence, Evidence, SwitchEvidence, evidence_of
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.prepay.ordered import NONPAYMENT
from gridtally_shared.prepay.policy import Reclose
from gridtally_shared.prepay.regions import Entitlement, LoadLimit
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.records import dataclass

L = LoadLimit
KINDS = (Kind.SWITCH, Kind.DECISION, Kind.METER)
"""The entries that tell something here."""
REACHED = frozenset({"done", "already"})
WITHDRAWN = "withdrawn"
OFF_BY = {
    "local": OffReason.BALANCE, "command": OffReason.ORDER, "schedule": OffReason.SCHEDULE, "limit": OffReason.LIMIT,
    "site": OffReason.ORDER, "back_off": OffReason.ORDER, NONPAYMENT: OffReason.BALANCE,
}  # fmt: skip
"""Why a switch is open, by who ordered it."""
LEADS_TO = {"T22": L.TRIPPED, "T24": L.LOCKED_MANUAL, "T23": L.RECLOSED_ONCE, "T23v": L.RECLOSED_ONCE, "T23l": L.IDLE, "T25": L.IDLE}
"""Where the watch of a limit stands behind a decision that is written down."""
LIMITS = "T10"
STEPS = frozenset({LIMITS, "T11", "T13", "T16", "T16p"})
"""Decisions on the money's part of the supply: a limit, a cut, a way back."""
LONG_AGO_MS = 0
"""Longer ago than any rule asks for."""
OFF_BY_LIMIT = frozenset({L.TRIPPED, L.LOCKED_MANUAL})


@dataclass(frozen=True, slots=True)
class Retold:
    """`state` is what the meter reported behind the newest order that reached it (a SwitchState number), None where there was none, at
    `switched_ms`; `counter` the number of the newest order; `closed_by_order_ms` when somebody ordered it on, None where it is off or came
    on otherwise. `limit`, of `limit_ms`, is None where nothing was decided on a limit;
    `limited_ms` when want of money began to limit, None where it does not."""

    counter: int = 0
    state: int | None = None
    off_reason: OffReason = OffReason.NONE
    switched_ms: int = 0
    closed_by_order_ms: int | None = None
    limit: LoadLimit | None = None
    limit_ms: int = 0
    tripped_ms: int | None = None
    reclosed_ms: int | None = None
    recloses: int = 0
    limited_ms: int | None = None


def retold(entries: Iterable[LedgerEntry], meter_no: int, rule: Reclose) -> Retold:
    """What entries of these kinds tell, oldest first; of the switch only those of this meter."""
    found = Retold()
    for entry in entries:
        evidence = _evidence(entry)
        if entry.kind == Kind.METER:
            found = replace(found, state=None, off_reason=OffReason.NONE, switched_ms=0)
        elif isinstance(evidence, SwitchEvidence) and entry.meter_no == meter_no:
            found = _switched(found, evidence, entry.at_ms)
        elif isinstance(evidence, DecisionEvidence):
            found = _decided(found, evidence.transition, entry.at_ms, rule)
    return found


def _switched(found: Retold, evidence: SwitchEvidence, at_ms: int) -> Retold:
    found = replace(found, counter=max(found.counter, evidence.counter))
    if evidence.result in REACHED:
        reason = OffReason.NONE if evidence.close else OFF_BY.get(evidence.origin, OffReason.UNORDERED)
        by_order_ms = at_ms if evidence.close and evidence.origin == "command" else found.closed_by_order_ms if evidence.close else None
        return replace(found, state=evidence.state_after, off_reason=reason, switched_ms=at_ms, closed_by_order_ms=by_order_ms)
    never_left = evidence.origin == "limit" and not evidence.close and evidence.result == WITHDRAWN
    return replace(found, limit=L.IDLE, tripped_ms=None) if never_left and found.limit in OFF_BY_LIMIT else found


def _decided(found: Retold, transition: str, at_ms: int, rule: Reclose) -> Retold:
    limit = LEADS_TO.get(transition)
    if limit is None:
        return replace(found, limited_ms=at_ms if transition == LIMITS else None) if transition in STEPS else found
    if limit in OFF_BY_LIMIT:
        used = 0 if _is_over(found.reclosed_ms, at_ms, rule) else found.recloses
        return replace(found, limit=limit, limit_ms=at_ms, tripped_ms=at_ms, reclosed_ms=None, recloses=used)
    used = {"T23": found.recloses + 1, "T25": max(found.recloses, rule.count), "T23l": 0}.get(transition, found.recloses)
    return replace(found, limit=limit, limit_ms=at_ms, tripped_ms=None, reclosed_ms=at_ms, recloses=used)


def _is_over(since_ms: int | None, now_ms: int, rule: Reclose) -> bool:
    return since_ms is not None and now_ms - since_ms >= rule.reset_after_s * 1000


def standing_with(standing: Standing, told: Retold, now_ms: int, rule: Reclose) -> Standing:
    """The standing with the limit where the journal says it is, unless the engine itself has seen something later."""
    own_ms = max(standing.tripped_ms or 0, standing.reclosed_ms or 0)
    if told.limit is None or told.limit_ms <= own_ms:
        return standing
    limit = told.limit
    if limit not in OFF_BY_LIMIT and _is_over(told.reclosed_ms or told.limit_ms, now_ms, rule):
        limit, told = L.IDLE, Retold()
    return replace(
        standing, regions=replace(standing.regions, limit=limit), tripped_ms=told.tripped_ms, reclosed_ms=told.reclosed_ms,
        recloses=told.recloses, over_since_ms=None,
    )  # fmt: skip


def standing_limited(standing: Standing, limited_ms: int, step: int) -> Standing:
    """The standing behind a trip above a limit for want of money: it is limited still. Else the trip would count as one whose limit is no
    more, and the supply come back for being asked about. Who has paid meanwhile is lifted by the next look."""
    regions = replace(standing.regions, entitlement=Entitlement.LIMITED, step=step)
    return replace(standing, regions=regions, limited_since_ms=limited_ms)


def standing_cut(standing: Standing, emergency_nano: int) -> Standing:
    """The standing behind a cut of which only the journal tells: when it was made, whatever had to run out first (an overdraft's days, the
    hours of a limit, emergency credit) had run out, and nothing of it begins again by the heal. A payment begins it anew, as ever."""
    uses = max(standing.uses, 1 if emergency_nano > 0 else 0)
    return replace(standing, limited_since_ms=LONG_AGO_MS, overdrawn_since_ms=LONG_AGO_MS, uses=uses)


def _evidence(entry: LedgerEntry) -> Evidence | None:
    try:
        return evidence_of(entry)
    except ContractError:
        return None
