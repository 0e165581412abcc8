"""Transitions of entitlement (region C): steps down and the way back, each with its evidence (prepayment.md T10 to T18)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gridtally_shared.prepay import due
from gridtally_shared.prepay.cut_tests import BY_HAND, PROTECTIONS, cut_results, dormant_results, failed, restore_results, turn_ms
from gridtally_shared.prepay.facts import Happening
from gridtally_shared.prepay.limits import can_hold
from gridtally_shared.prepay.policy import ZeroAction
from gridtally_shared.prepay.regions import Entitlement, Funds, Switch
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.prepay.table import Effect, Note, Row, keep, now, of

E, F = Entitlement, Funds
DOWN = of(E.FULL, E.LIMITED, E.GRACE, E.PROTECTED, E.CUT_DUE)


def held_as(s: Situation) -> str:
    """The decision that is held, with what blocks it: written down once for each new set of reasons."""
    return f"held:{','.join(failed(cut_results(s)))}"


def restore_held_as(s: Situation) -> str:
    return f"restore_held:{','.join(failed(restore_results(s)))}"


def _protections(s: Situation) -> tuple[str, ...]:
    return tuple(name for name in failed(cut_results(s)) if name in PROTECTIONS)


def _steps_down(s: Situation) -> bool:
    return s.facts.is_free and (due.wants_cut(s) or due.wants_limit(s))


def _passes(s: Situation) -> bool:
    return not failed(cut_results(s))


def _is_spread(s: Situation) -> bool:
    """After a protection cuts are spread."""
    return s.since(s.standing.free_since_ms) >= turn_ms(s, s.policy.cut_spread_s)


def _is_restore_due(s: Situation) -> bool:
    return s.facts.is_free and due.is_restorable(s) and not failed(restore_results(s))


def _begins_turn(s: Situation) -> bool:
    """Released with others; a moment that is still to come was told by a wrong clock."""
    since_ms = s.standing.free_since_ms
    return due.is_released_with_others(s) and (since_ms is None or since_ms > s.now_ms)


def _may_send_somebody(s: Situation) -> bool:
    """Every test of a cut but the one of the switch that is not there."""
    return due.wants_field(s) and s.standing.field_ms is None and not set(failed(cut_results(s))) - {"switch"}


def _calls_back(s: Situation) -> bool:
    """Somebody is on the way to a home that is paid by now, or protected. Hours of the day do not call back: who comes keeps them."""
    if s.standing.field_ms is None:
        return False
    return not due.sends_somebody(s) or bool(set(_protections(s)) - {"protected_hours"})


def _protected(s: Situation) -> Mapping[str, Any]:
    """By the calendar: which of its rules; else the test's own name."""
    why = str(dict(dict(cut_results(s))["protected_hours"].params).get("why", ""))
    return {"reason": ",".join(why if name == "protected_hours" else name for name in _protections(s))}


def _otherwise_protected(s: Situation) -> bool:
    return _steps_down(s) and bool(_protections(s)) and s.regions.reason != _protected(s)["reason"]


def _newly_held(s: Situation) -> bool:
    return _steps_down(s) and not _passes(s) and s.standing.decision != held_as(s)


def _newly_kept_off(s: Situation) -> bool:
    if s.happening is Happening.RECLOSED_BY_HAND:
        return False
    return bool(failed(restore_results(s))) and s.standing.decision != restore_held_as(s)


def _may_by_hand(s: Situation) -> bool:
    """Paid, and the consumer is there and asks for it: the presence that a close from afar wants."""
    return s.facts.is_free and due.is_restorable(s) and not set(failed(restore_results(s))) - BY_HAND


def _is_owed_no_more(s: Situation) -> bool:
    """What paid for the close that is on its way was taken back, or what released it is over."""
    return s.facts.moving and due.is_off_by_money(s) and not due.is_restorable(s)


def _is_to_be_told_dormant(s: Situation) -> bool:
    return s.standing.dormant_ms is None and due.is_dormant(s) and not failed(dormant_results(s))


def _is_idle(s: Situation) -> bool:
    """Nothing is due that a decision could be about."""
    if not s.standing.decision or s.facts.moving:
        return False
    return not due.is_restorable(s) if due.is_off_by_money(s) else not (due.wants_cut(s) or due.wants_limit(s))


def _full_or_same(s: Situation) -> Entitlement:
    """A limit stays; so does the turn in the spread of cuts after a protection."""
    stays = {E.LIMITED} | ({E.PROTECTED} if s.policy.cut_spread_s else set())
    return s.regions.entitlement if s.regions.entitlement in stays else E.FULL


CUT_NOTE: Note = keep(decision="cut", free_since_ms=None)

ENTITLEMENT: tuple[Row, ...] = (
    Row("T14", "entitlement", DOWN, lambda s: due.is_off_by_money(s) and not s.facts.moving, E.CUT,
        note=lambda s: {"owed_nano": max(0, -s.facts.balance_nano), "free_since_ms": None}, place=keep(step=0, reason="")),
    Row("T17", "entitlement", of(E.RESTORE_DUE), lambda s: not due.is_off_by_money(s) and s.facts.switch is not Switch.UNKNOWN, E.FULL,
        note=keep(limited_since_ms=None, free_since_ms=None)),
    Row("T21b", "entitlement", of(E.CUT), lambda s: not due.is_off_by_money(s) and s.facts.switch is not Switch.UNKNOWN, E.FULL,
        note=keep(free_since_ms=None)),
    Row("T15", "entitlement", of(E.CUT_DUE), lambda s: not due.wants(s), E.FULL, (Effect.WITHDRAW,)),
    Row("T15b", "entitlement", of(E.LIMITED), lambda s: not due.wants(s), E.FULL, (Effect.LIFT_LIMIT,), place=keep(step=0),
        note=keep(limited_since_ms=None)),
    Row("T15c", "entitlement", of(E.PROTECTED), lambda s: not due.wants(s), E.FULL, place=keep(reason=""),
        note=keep(free_since_ms=None)),
    Row("T15d", "entitlement", of(E.GRACE), lambda s: not due.wants(s) and s.regions.funds is not F.OVERDRAWN, E.FULL),
    Row("T7b", "entitlement", of(E.FULL), lambda s: s.regions.funds is F.OVERDRAWN, E.GRACE),
    Row("T18", "entitlement", None, lambda s: due.at_zero(s) and s.policy.zero_action is ZeroAction.POSTPAID and not s.standing.asked_ms,
        None, (Effect.ASK_MODE,), note=now("asked_ms")),
    Row("T18b", "entitlement", None, lambda s: due.at_zero(s) and s.policy.zero_action is ZeroAction.REPLENISH and not s.standing.asked_ms,
        None, (Effect.ASK_PAYMENT,), note=now("asked_ms")),
    Row("T18c", "entitlement", None, _may_send_somebody, None, (Effect.ASK_FIELD, Effect.TELL_FIELD),
        note=lambda s: {"field_ms": s.now_ms, "decision": held_as(s)}, verdict="cut_by_field"),
    Row("T18d", "entitlement", None, _calls_back, None, (Effect.CALL_BACK,), note=keep(field_ms=None), verdict="cut_called_back"),
    Row("T18e", "entitlement", None, lambda s: due.stays_on(s) and s.standing.stays_ms is None, None, (Effect.TELL_STAYS_ON,),
        note=now("stays_ms")),
    Row("T18f", "entitlement", None, lambda s: s.standing.stays_ms is not None and not due.wants(s), None, note=keep(stays_ms=None)),
    Row("T15n", "entitlement", of(E.LIMITED), lambda s: not can_hold(s), E.FULL, (Effect.LIFT_LIMIT,), place=keep(step=0),
        note=keep(limited_since_ms=None)),
    Row("T12b", "entitlement", of(E.CUT_DUE), lambda s: s.facts.moving and due.wants(s) and bool(_protections(s)), E.PROTECTED,
        (Effect.WITHDRAW, Effect.HOLD), note=lambda s: {"decision": held_as(s)}, place=_protected, verdict="held"),
    Row("T13a", "entitlement", of(E.PROTECTED), lambda s: _steps_down(s) and not _protections(s) and s.standing.free_since_ms is None,
        None, note=now("free_since_ms")),
    Row("T13", "entitlement", of(E.PROTECTED), lambda s: s.facts.is_free and due.wants_cut(s) and _passes(s) and _is_spread(s),
        E.CUT_DUE, (Effect.ORDER_OPEN,), note=CUT_NOTE, place=keep(reason=""), verdict="cut"),
    Row("T11", "entitlement", DOWN - of(E.PROTECTED), lambda s: s.facts.is_free and due.wants_cut(s) and _passes(s), E.CUT_DUE,
        (Effect.ORDER_OPEN,), note=CUT_NOTE, place=keep(step=0), verdict="cut"),
    Row("T10", "entitlement", DOWN - of(E.CUT_DUE), lambda s: s.facts.is_free and due.wants_limit(s) and _passes(s), E.LIMITED,
        (Effect.SET_LIMIT,), note=now("limited_since_ms", decision="limit", free_since_ms=None),
        place=lambda s: {"step": due.due_step(s), "reason": ""}, verdict="limit"),
    Row("T12", "entitlement", DOWN - of(E.LIMITED), lambda s: _newly_held(s) and bool(_protections(s)), E.PROTECTED,
        (Effect.HOLD, Effect.TELL_PROTECTED), note=lambda s: {"decision": held_as(s), "free_since_ms": None}, place=_protected,
        verdict="held"),
    Row("T12c", "entitlement", of(E.PROTECTED), _otherwise_protected, None, place=_protected),
    Row("T11b", "entitlement", DOWN, _newly_held, _full_or_same, (Effect.HOLD,), note=lambda s: {"decision": held_as(s)},
        place=keep(reason=""), verdict="held"),
    Row("T16", "entitlement", of(E.CUT, E.RESTORE_DUE),
        _is_restore_due, E.RESTORE_DUE, (Effect.ORDER_CLOSE,), note=keep(decision="restore"), verdict="restore"),
    Row("T16a", "entitlement", of(E.CUT, E.RESTORE_DUE), _begins_turn, None, note=now("free_since_ms")),
    Row("T16d", "entitlement", of(E.CUT), lambda s: s.standing.free_since_ms is not None and not due.is_restorable(s), None,
        note=keep(free_since_ms=None)),
    Row("T16p", "entitlement", of(E.CUT, E.RESTORE_DUE), _may_by_hand, E.RESTORE_DUE, (Effect.ORDER_CLOSE,),
        note=keep(decision="restore"), on=Happening.RECLOSED_BY_HAND, verdict="restore_by_hand"),
    Row("T16b", "entitlement", of(E.CUT, E.RESTORE_DUE),
        lambda s: s.facts.is_free and due.is_restorable(s) and _newly_kept_off(s), None,
        (Effect.HOLD,), note=lambda s: {"decision": restore_held_as(s)}, verdict="restore_held"),
    Row("T16w", "entitlement", of(E.RESTORE_DUE), _is_owed_no_more, E.CUT, (Effect.WITHDRAW_CLOSE,)),
    Row("T16c", "entitlement", of(E.RESTORE_DUE),
        lambda s: s.facts.is_free and due.is_off_by_money(s) and not due.is_restorable(s), E.CUT),
    Row("T14d", "entitlement", of(E.CUT), _is_to_be_told_dormant, None, (Effect.ASK_DORMANT,), note=now("dormant_ms"), verdict="dormant"),
    Row("T14e", "entitlement", None, lambda s: s.standing.dormant_ms is not None and not due.is_dormant(s), None,
        note=keep(dormant_ms=None)),
    Row("T0", "entitlement", None, _is_idle, None, note=keep(decision="")),
)  # fmt: skip


