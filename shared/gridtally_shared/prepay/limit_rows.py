"""Transitions of the load limit (region E): its steps, the trip above it, one automatic re-close, then by hand.

* A step down passes LIMIT_TESTS and is written down; a step up needs nothing. A trip passes TRIP_TESTS.
* Times run by the elapsed, believed time of `Facts.limit_for_ms`; a clock that was set neither shortens nor stretches them.
* A re-close by hand neither raises the limit nor gives the automatic one back: only the clean period does.
* What a command or the money opened in the meantime is not re-closed here.
* A cut that becomes due while the close waits for its line withdraws it. Withdrawn it is still the one automatic close and is given
  as soon as the money allows, for its time of waiting is over. One that had left by then has acted, and the cut follows it.
* A limit that is lifted or raised, or a protection of the person, withdraws a trip that has not left: nobody is opened for a limit that
  is no more. Withdrawn it was none. One that had left by then has acted, and the way back is that of any trip.

Source: prepayment.md T22 to T25b, 6.1; safety.md 1, 2, 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gridtally_shared.prepay import due
from gridtally_shared.prepay.cut_tests import (
    BODILY,
    BY_HAND,
    cut_results,
    failed,
    limit_results,
    restore_results,
    trip_results,
)
from gridtally_shared.prepay.facts import Happening, OffReason
from gridtally_shared.prepay.limits import in_force, lowest
from gridtally_shared.prepay.policy import ZeroAction
from gridtally_shared.prepay.regions import Entitlement, LoadLimit, Switch
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.prepay.table import Effect, Note, Row, keep, now, of

E, L = Entitlement, LoadLimit
OFF = of(L.TRIPPED, L.LOCKED_MANUAL)
OF_THE_SWITCH = frozenset({"switch", "pending", "stuck"})
NO_LIMIT: Note = keep(limit_w=None, limit_by="", limit_held="", trip_held="")


# ---- steps --------------------------------------------------------------------------------------------------


def _is_lower(s: Situation) -> bool:
    wanted, held = lowest(s), in_force(s)
    return wanted is not None and (held is None or wanted.watts < held.watts)


def _is_higher(s: Situation) -> bool:
    wanted, held = lowest(s), in_force(s)
    return held is not None and (wanted is None or wanted.watts > held.watts)


def _is_shielded(s: Situation) -> bool:
    """A protection of the person began while a limit is in force."""
    return s.standing.limit_w is not None and not BODILY.isdisjoint(failed(limit_results(s)))


def _blocked(s: Situation) -> str:
    return ",".join(failed(limit_results(s)))


def _wanted(s: Situation) -> Mapping[str, Any]:
    wanted = lowest(s)
    return {"limit_w": wanted.watts, "limit_by": wanted.by, "limit_held": "", "trip_held": ""} if wanted else dict(NO_LIMIT(s))


# ---- trips --------------------------------------------------------------------------------------------------


def _is_over(s: Situation) -> bool:
    return s.facts.demand_over is True and s.standing.limit_w is not None


def _is_over_long(s: Situation) -> bool:
    return _is_over(s) and s.facts.over_for_ms >= s.policy.limit.guard_s * 1000 and s.facts.is_free


def _trips(s: Situation) -> bool:
    return _is_over_long(s) and not failed(trip_results(s))


def _has_one_left(s: Situation) -> bool:
    return s.standing.recloses < s.policy.reclose.count


def _is_off_by_limit(s: Situation) -> bool:
    return s.facts.switch is Switch.OPEN and s.facts.off_reason is OffReason.LIMIT and s.facts.is_free


def _opened_by_limit(s: Situation) -> bool:
    """The meter's own limiter opened it, since the newest order to close."""
    return _is_off_by_limit(s) and s.facts.off_since_ms > (s.standing.reclosed_ms or 0)


def _did_not_close(s: Situation) -> bool:
    """The order to close did not reach the meter: it is given again, which is no second one."""
    return s.standing.reclosed_ms is not None and s.since(s.standing.reclosed_ms) > 0 and not _opened_by_limit(s)


def _held_trip(s: Situation) -> str:
    return ",".join(failed(trip_results(s)))


def _is_newly_held(s: Situation) -> bool:
    return _is_over_long(s) and s.standing.trip_held != _held_trip(s)


def _elapsed(s: Situation, since_ms: int | None) -> int:
    """What this very step began has not lasted yet: the stopwatch is that of the place before."""
    if since_ms == s.now_ms:
        return 0
    return s.facts.limit_for_ms if s.facts.limit_for_ms is not None else s.since(since_ms)


def _tripped(s: Situation) -> Mapping[str, Any]:
    return {"tripped_ms": s.now_ms, "over_since_ms": None, "reclosed_ms": None, "trip_held": ""}


def _is_void(s: Situation) -> bool:
    """The trip is on its way, and its limit is no more."""
    on_its_way = s.standing.tripped_ms is not None and s.facts.moving and s.facts.switch is not Switch.OPEN
    return on_its_way and (s.standing.limit_w is None or _is_higher(s) or _is_shielded(s))


def _never_opened(s: Situation) -> bool:
    """The trip was withdrawn in time: it has no moment any more, and the switch is as it was."""
    on = s.facts.switch in (Switch.CLOSED, Switch.ARMED)
    return on and s.facts.is_free and s.standing.tripped_ms is None


# ---- the way back -------------------------------------------------------------------------------------------


def _may_close(s: Situation) -> bool:
    """Off by the limit, and neither the money nor a hold keeps it off."""
    return _is_off_by_limit(s) and not _is_cut_due(s) and not failed(restore_results(s))


def _is_cut_due(s: Situation) -> bool:
    """The money would take it off again at once: every test of a cut holds but those that speak of the open switch. Where one does
    not, the supply is owed: unknown always means "stay on"."""
    if s.regions.entitlement in (E.CUT, E.CUT_DUE, E.RESTORE_DUE):
        return True
    cut = due.wants(s) and due.target(s) is ZeroAction.DISCONNECT
    return cut and OF_THE_SWITCH.issuperset(failed(cut_results(s)))


def _may_reclose(s: Situation) -> bool:
    waited = _elapsed(s, s.standing.tripped_ms) >= s.policy.reclose.delay_s * 1000
    return _has_one_left(s) and waited and _may_close(s)


def _is_lifted(s: Situation) -> bool:
    return lowest(s) is None and s.standing.limit_w is None and _may_close(s)


def _may_close_by_hand(s: Situation) -> bool:
    return _is_off_by_limit(s) and not _is_cut_due(s) and not set(failed(restore_results(s))) - BY_HAND


def _is_on_again(s: Situation) -> bool:
    """The consumer pressed the meter's button, or the order to open never acted."""
    on = s.facts.switch in (Switch.CLOSED, Switch.ARMED)
    return on and s.facts.is_free and s.since(s.standing.tripped_ms) > 0


def _is_clean(s: Situation) -> bool:
    """Time in the dark does not count."""
    since_ms, off = s.standing.reclosed_ms, s.facts.off_reason is OffReason.LIMIT
    return not _is_over(s) and not off and since_ms is not None and _elapsed(s, since_ms) >= s.policy.reclose.reset_after_s * 1000


def _is_overtaken(s: Situation) -> bool:
    """The close after a trip is on its way, and the money would take it off again."""
    on_its_way = s.facts.moving and s.facts.switch is Switch.OPEN and s.facts.off_reason is OffReason.LIMIT
    return on_its_way and _is_cut_due(s)


def _was_withdrawn(s: Situation) -> bool:
    """Off again without a new trip: the moment of the close was kept."""
    return s.standing.reclosed_ms is not None


def _as_before(s: Situation) -> Mapping[str, Any]:
    """No close was used; the clean period after one that was begins anew."""
    return {"reclosed_ms": s.now_ms if s.standing.recloses else None}


def _reclosed(s: Situation) -> Mapping[str, Any]:
    return {"reclosed_ms": s.now_ms, "recloses": s.standing.recloses + 1, "tripped_ms": None}


def _by_hand(s: Situation) -> Mapping[str, Any]:
    """The automatic one is used up until the clean period is over."""
    return {"reclosed_ms": s.now_ms, "recloses": max(s.standing.recloses, s.policy.reclose.count), "tripped_ms": None}


FORGET: Note = keep(recloses=0, reclosed_ms=None, tripped_ms=None)

LIMIT: tuple[Row, ...] = (
    Row("T22w", "limit", OFF, _is_void, None, (Effect.WITHDRAW_TRIP,), note=keep(tripped_ms=None)),
    Row("T22x", "limit", OFF, _never_opened, L.IDLE, note=_as_before),
    Row("T10p", "limit", None, _is_shielded, None, note=NO_LIMIT),
    Row("T15u", "limit", None, _is_higher, None, note=_wanted),
    Row("T10s", "limit", None, lambda s: _is_lower(s) and not _blocked(s), None, note=_wanted, verdict="limit"),
    Row("T10h", "limit", None, lambda s: _is_lower(s) and s.standing.limit_held != _blocked(s), None, (Effect.HOLD,),
        note=lambda s: {"limit_held": _blocked(s)}, verdict="limit_held"),
    Row("T22m", "limit", of(L.IDLE, L.OVER), lambda s: _opened_by_limit(s) and _has_one_left(s), L.TRIPPED,
        (Effect.TELL_TRIPPED,), note=_tripped),
    Row("T24m", "limit", of(L.IDLE, L.OVER, L.RECLOSED_ONCE), _opened_by_limit, L.LOCKED_MANUAL, (Effect.TELL_LOCKED,),
        note=_tripped),
    Row("T22a", "limit", of(L.IDLE), _is_over, L.OVER, note=lambda s: {"over_since_ms": s.now_ms}),
    Row("T22b", "limit", of(L.OVER), lambda s: not _is_over(s), L.IDLE, note=keep(over_since_ms=None, trip_held="")),
    Row("T22", "limit", of(L.OVER, L.RECLOSED_ONCE), lambda s: _trips(s) and _has_one_left(s), L.TRIPPED,
        (Effect.TRIP, Effect.TELL_TRIPPED), note=_tripped, verdict="trip"),
    Row("T24", "limit", of(L.OVER, L.RECLOSED_ONCE), _trips, L.LOCKED_MANUAL, (Effect.TRIP, Effect.TELL_LOCKED),
        note=_tripped, verdict="trip"),
    Row("T22h", "limit", of(L.OVER, L.RECLOSED_ONCE), _is_newly_held, None, note=lambda s: {"trip_held": _held_trip(s)},
        verdict="trip_held"),
    Row("T25", "limit", OFF, _may_close_by_hand, L.IDLE, (Effect.RECLOSE,), note=_by_hand, on=Happening.RECLOSED_BY_HAND,
        verdict="reclose_by_hand"),
    Row("T23x", "limit", of(L.TRIPPED), lambda s: _was_withdrawn(s) and _is_on_again(s), L.RECLOSED_ONCE, note=keep(tripped_ms=None)),
    Row("T25m", "limit", OFF, _is_on_again, L.IDLE, note=_by_hand),
    Row("T23l", "limit", OFF, _is_lifted, L.IDLE, (Effect.RECLOSE,), verdict="reclose",
        note=now("reclosed_ms", recloses=0, tripped_ms=None)),
    Row("T23v", "limit", of(L.TRIPPED), lambda s: _was_withdrawn(s) and _may_close(s), L.RECLOSED_ONCE, (Effect.RECLOSE,),
        note=now("reclosed_ms", tripped_ms=None), verdict="reclose"),
    Row("T23", "limit", of(L.TRIPPED), _may_reclose, L.RECLOSED_ONCE, (Effect.RECLOSE,), note=_reclosed, verdict="reclose"),
    Row("T23r", "limit", of(L.RECLOSED_ONCE, L.IDLE), lambda s: _did_not_close(s) and _may_close_by_hand(s), None, (Effect.RECLOSE,),
        verdict="reclose"),
    Row("T23w", "limit", of(L.RECLOSED_ONCE), _is_overtaken, L.TRIPPED, (Effect.WITHDRAW_CLOSE,), note=now("tripped_ms")),
    Row("T25w", "limit", of(L.IDLE), _is_overtaken, lambda s: L.TRIPPED if _has_one_left(s) else L.LOCKED_MANUAL,
        (Effect.WITHDRAW_CLOSE,), note=_tripped),
    Row("T25b", "limit", of(L.RECLOSED_ONCE), _is_clean, L.IDLE, note=FORGET),
    Row("T25c", "limit", of(L.IDLE), _is_clean, None, note=FORGET),
)  # fmt: skip
