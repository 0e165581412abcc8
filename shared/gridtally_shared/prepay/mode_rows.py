"""Transitions of mode (region A), and of what is only observed: switch, clock, links, ledger, schedule (D, F, G, H, S)."""

from __future__ import annotations

from collections.abc import Callable

from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.prepay.facts import Happening
from gridtally_shared.prepay.regions import Ledger, Link, Mode, Switch
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.prepay.table import Effect, Guard, Row, State, always, keep, now, of

MODE_OF = {AccountMode.PREPAID: Mode.PREPAID, AccountMode.POSTPAID: Mode.POSTPAID}


def _asked_mode(s: Situation) -> Mode:
    """A mode this version does not know is regular billing: nobody is cut by a word."""
    return MODE_OF.get(AccountMode(s.facts.account.mode), Mode.POSTPAID) if s.facts.account.mode in MODE_OF else Mode.POSTPAID


MODE: tuple[Row, ...] = (
    Row("T1", "mode", of(Mode.NEW), lambda s: s.facts.opened, _asked_mode, (Effect.LOAD_RULES,)),
    Row("T2", "mode", of(Mode.PREPAID, Mode.POSTPAID), lambda s: _asked_mode(s) is not s.regions.mode, Mode.CONVERTING,
        note=now("convert_since_ms")),
    Row("T3", "mode", of(Mode.CONVERTING), lambda s: s.facts.boundary and s.since(s.standing.convert_since_ms) > 0, _asked_mode,
        (Effect.CONVERT,), note=keep(convert_since_ms=None)),
    Row("T29", "mode", None, always, None, (Effect.REBIND,), on=Happening.METER_SWAPPED),
    Row("T30", "mode", None, always, None, (Effect.REPORT_TAMPER,), on=Happening.TAMPERED),
)  # fmt: skip


# ---- what is observed: D switch, F clock, G link, H ledger, S schedule ---------------------------------------


def _switch_seen(s: Situation) -> Switch:
    """A fault is shown; what is decided goes by what the meter itself says."""
    if s.facts.moving:
        return Switch.MOVING
    return Switch.FAULT if s.facts.switch_fault else s.facts.switch


def _cloud_seen(s: Situation) -> Link:
    return Link.ON if s.facts.link_up else Link.OFF


def _meter_seen(s: Situation) -> Link:
    age_ms = s.facts.reading_age_ms
    if age_ms is None:
        return Link.LOST
    return Link.ON if age_ms <= s.facts.interval_ms * s.policy.stale_read_intervals else Link.STALE


def _differs(region: str, seen: Callable[[Situation], State]) -> Guard:
    return lambda s: getattr(s.regions, region) is not seen(s)


OBSERVED: tuple[Row, ...] = (
    Row("T19", "switch", of(Switch.MOVING), _differs("switch", _switch_seen), _switch_seen),
    Row("T21", "switch", None, _differs("switch", _switch_seen), _switch_seen),
    Row("T26", "clock", None, lambda s: s.regions.clock is not s.facts.clock, lambda s: s.facts.clock),
    Row("E16", "cloud", None, _differs("cloud", _cloud_seen), _cloud_seen),
    Row("E16m", "meter", None, _differs("meter", _meter_seen), _meter_seen),
    Row("T27", "ledger", of(Ledger.OK), lambda s: s.facts.ledger is not Ledger.OK, lambda s: s.facts.ledger, (Effect.RECOVER,)),
    Row("T27b", "ledger", None, lambda s: s.regions.ledger is not s.facts.ledger, lambda s: s.facts.ledger),
    Row("T28", "schedule", None, lambda s: s.regions.schedule is not s.facts.schedule, lambda s: s.facts.schedule),
)


