"""May this supply be stepped down, may it be closed? Every test is evidence, with what was seen.

* A cut and each step down of a limit need every test of CUT_TESTS (prepayment.md 3.5; safety.md 5). Not knowing fails a
  test: unknown always means "stay on".
* A restore is the default once a pool is available; only a hold of another kind, the consumer's absence where presence is
  asked for, or a live load side keep the supply off (RESTORE_TESTS). `turn` holds back only what nobody paid for.
* `PROTECTIONS` are the tests whose end is a matter of time or of the person, not of the equipment: T12 rests on them.

Source: prepayment.md 3.5; safety.md 1, 2, 5, 6, 11, 13.
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.ledger.evidence import MessageParam, TestResult
from gridtally_shared.prepay.due import dark_since_ms, emergency_step, is_dormant, is_released_with_others, target
from gridtally_shared.prepay.holds import holds_against_close, holds_against_cut
from gridtally_shared.prepay.limits import can_hold
from gridtally_shared.prepay.policy import Close, OfflineCut, Policy, ZeroAction
from gridtally_shared.prepay.regions import Funds, Ledger, Mode, Switch
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.records import dataclass
from gridtally_shared.supply_test import FLOWING_W, LIVE_MV

ORDER_RESPECTED_MS = MS_PER_DAY
RESYNCS = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """`text` is for whoever reads the raw journal; `params` are the same facts for a text in the reader's language."""

    holds: bool
    text: str
    params: tuple[tuple[str, int | str], ...] = ()


Check = Callable[[Situation], Seen]
Tests = tuple[tuple[str, Check], ...]


Ran = tuple[tuple[str, Seen], ...]
"""What some tests saw, each under its name."""


def run(tests: Tests, s: Situation) -> Ran:
    return tuple([(name, check(s)) for name, check in tests])


def told(ran: Ran) -> tuple[TestResult, ...]:
    """As evidence says it; made only where it is written down."""
    return tuple(
        TestResult(name, seen.holds, seen.text, tuple(MessageParam(k, str(v)) for k, v in seen.params)) for name, seen in ran
    )


def _once(s: Situation, name: str, tests: Tests) -> Ran:
    """Each set of tests runs once a moment."""
    ran: Ran | None = s.memo.get(name)
    if ran is None:
        ran = s.memo[name] = run(tests, s)
    return ran


def cut_results(s: Situation) -> Ran:
    """The cut tests of this moment."""
    return _once(s, "cut", CUT_TESTS)


def restore_results(s: Situation) -> Ran:
    return _once(s, "restore", RESTORE_TESTS)


def limit_results(s: Situation) -> Ran:
    """The tests of a step down of a load limit."""
    return _once(s, "limit", LIMIT_TESTS)


def trip_results(s: Situation) -> Ran:
    return _once(s, "trip", TRIP_TESTS)


def dormant_results(s: Situation) -> Ran:
    return run(DORMANT_TESTS, s)


def failed(ran: Ran) -> tuple[str, ...]:
    return tuple([name for name, seen in ran if not seen.holds])


# ---- the contract and its money -----------------------------------------------------------------------------


def _zero_action(s: Situation) -> Seen:
    action = target(s)
    return Seen(action in (ZeroAction.DISCONNECT, ZeroAction.LIMIT), action.value, (("action", action.value),))


def _policy(s: Situation) -> Seen:
    p = s.policy
    return Seen(s.facts.policy_known, f"{p.code} {p.version}" if s.facts.policy_known else "not known here",
                (("policy", p.code), ("version", p.version)))  # fmt: skip


def _mode(s: Situation) -> Seen:
    mode = s.regions.mode
    return Seen(mode is Mode.PREPAID, mode.value, (("mode", mode.value),))


def _allowance(s: Situation) -> Seen:
    funds = s.regions.funds
    used_up = s.facts.funded and (funds is Funds.EXHAUSTED or emergency_step(s) > 0)
    return Seen(used_up, funds.value, (("funds", funds.value), ("balance_nano", s.facts.balance_nano)))


def _ledger(s: Situation) -> Seen:
    f = s.facts
    return Seen(not f.ledger_fault and f.ledger is Ledger.OK, f.ledger_fault or f.ledger.value, (("fault", f.ledger_fault),))


def _register(s: Situation) -> Seen:
    held = s.facts.register_held
    return Seen(not held, held or "ok", (("held", held),))


def _tariff(s: Situation) -> Seen:
    tariff = s.facts.account.tariff_id
    return Seen(s.facts.tariff_known, tariff, (("tariff", tariff),))


def _parked(s: Situation) -> Seen:
    return Seen(s.facts.parked == 0, f"{s.facts.parked} parked", (("count", s.facts.parked),))


def _gap(s: Situation) -> Seen:
    return Seen(not s.facts.missing_instruments, "an earlier one is missing" if s.facts.missing_instruments else "none")


# ---- what is known of time and meter ------------------------------------------------------------------------


def _clock(s: Situation) -> Seen:
    f = s.facts
    return Seen(f.clock is not ClockState.UNTRUSTED, f"{f.clock.name.lower()}, give or take {f.uncertainty_ms} ms",
                (("clock", f.clock.name.lower()), ("uncertainty_ms", f.uncertainty_ms)))  # fmt: skip


def _reading(s: Situation) -> Seen:
    age_ms, limit_ms = s.facts.reading_age_ms, s.facts.interval_ms * s.policy.stale_read_intervals
    return Seen(age_ms is not None and 0 <= age_ms <= limit_ms, f"age {age_ms} ms, limit {limit_ms} ms",
                (("age_ms", "" if age_ms is None else age_ms), ("limit_ms", limit_ms)))  # fmt: skip


def _serial(s: Situation) -> Seen:
    return Seen(s.facts.serial_proven, "proven" if s.facts.serial_proven else "not proven")


# ---- protections --------------------------------------------------------------------------------------------


def _protected_hours(s: Situation) -> Seen:
    f, zone = s.facts, s.facts.account.zone
    why = s.calendar().reason(s.now_ms - f.uncertainty_ms, s.now_ms + f.uncertainty_ms)
    spans = ", ".join(f"{_hhmm(d.first)}-{_hhmm(d.until)}" for d in s.policy.protected.daily)
    shown = {"": "free", "hours": spans}.get(why, why)
    return Seen(not why, f"{shown} ({zone})", (("why", why), ("spans", spans), ("zone", zone)))


def _flags(s: Situation) -> Seen:
    flags = s.flags_protecting()
    return Seen(not flags, ", ".join(flags) or "none", (("flags", ",".join(flags)),))


def _weather(s: Situation) -> Seen:
    rule = s.policy.protected.weather
    if rule is None:
        return Seen(True, "no rule")
    if s.region.is_dangerous(s.now_ms - s.facts.uncertainty_ms, s.now_ms + s.facts.uncertainty_ms):
        return Seen(False, "announced by the calendar", (("announced", 1),))
    age_ms = s.now_ms - s.facts.cloud_seen_ms
    is_old = age_ms > rule.max_age_h * MS_PER_HOUR
    capped = s.facts.cloud_seen_ms > 0 and age_ms > rule.max_age_h * MS_PER_HOUR + rule.cap_days * MS_PER_DAY
    return Seen(not is_old or capped, f"last word {age_ms} ms ago", (("age_ms", age_ms), ("max_age_h", rule.max_age_h)))


def _holds(s: Situation) -> Seen:
    blocking = holds_against_cut(s.facts.account.holds)
    return Seen(not blocking, ", ".join(blocking) or "none", (("holds", ",".join(blocking)),))


def _conversion(s: Situation) -> Seen:
    days, at_ms = s.policy.convert_grace_days, s.facts.converted_ms
    until_ms = at_ms + days * MS_PER_DAY if at_ms is not None and days else 0
    return Seen(s.now_ms >= until_ms, f"until {until_ms}", (("until_ms", until_ms),))


def _schedule(s: Situation) -> Seen:
    return Seen(not s.scheduled, "running" if s.scheduled else "none")


def _notice(s: Situation) -> Seen:
    rule, at_ms = s.policy.notice, s.standing.notice_ms
    told = at_ms is not None and at_ms + rule.lead_s * 1000 <= s.now_ms and s.standing.notices >= rule.min_count
    return Seen(told, f"notice at {at_ms}, lead {rule.lead_s} s, {s.standing.notices} of {rule.min_count}",
                (("at_ms", "" if at_ms is None else at_ms), ("lead_s", rule.lead_s), ("told", s.standing.notices),
                 ("asked", rule.min_count)))  # fmt: skip


# ---- the right to cut ---------------------------------------------------------------------------------------


def _offline(s: Situation) -> Seen:
    """ALLOWED asks for a keypad code that can restore on the spot (safety.md 6). Soon after a start nobody is cut offline, nor after one
    behind which the register shows a gap: the disk may be an old one, and the cloud's first word tells."""
    f, p = s.facts, s.policy
    if f.link_up:
        return Seen(True, "online", (("online", "yes"),))
    grace_from_ms = max(f.offline_since_ms, s.standing.exhausted_since_ms or s.now_ms)
    allowed = {
        OfflineCut.ALLOWED: bool(f.account.keypad_key),
        OfflineCut.GRACE: s.now_ms >= grace_from_ms + p.offline_grace_h * MS_PER_HOUR,
    }.get(p.offline_cut, False)
    when = "just started, " if f.started else ""
    return Seen(allowed and not f.started, f"{when}offline since {f.offline_since_ms}, policy {p.offline_cut.value}",
                (("online", "no"), ("since_ms", f.offline_since_ms), ("policy", p.offline_cut.value), ("code", _yes(f.account.keypad_key)),
                 ("grace_h", p.offline_grace_h)))  # fmt: skip


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _lease(s: Situation) -> Seen:
    """The lease of the configuration; a policy that allows cuts offline may make it longer (safety.md 11). A configuration that the cloud
    called older than its own gives no right: what protects a household may stand in the newer one."""
    f, days = s.facts, s.policy.lease_days
    longer_ms = f.cloud_seen_ms + days * MS_PER_DAY if days and s.policy.offline_cut is OfflineCut.ALLOWED and f.cloud_seen_ms else 0
    until_ms = max(f.lease_until_ms, longer_ms)
    behind = "behind the cloud's, " if f.config_behind else ""
    return Seen(s.now_ms + f.uncertainty_ms <= until_ms and not f.config_behind, f"{behind}until {until_ms}", (("until_ms", until_ms),))


# ---- the switch ---------------------------------------------------------------------------------------------


def _switch(s: Situation) -> Seen:
    state = s.facts.switch
    return Seen(state in (Switch.CLOSED, Switch.ARMED), state.value, (("switch", state.value),))


def _limitable(s: Situation) -> Seen:
    """A limit needs a switch, or a meter without one that keeps a limit itself."""
    state = s.facts.switch
    if state is Switch.NOT_FITTED:
        return Seen(can_hold(s), f"{state.value}, limiter {s.facts.limiter or 'not known'}", (("switch", state.value),))
    return _switch(s)


def _switch_for_step(s: Situation) -> Seen:
    return _limitable(s) if target(s) is ZeroAction.LIMIT else _switch(s)


def _pending(s: Situation) -> Seen:
    return Seen(s.facts.is_free, "none" if s.facts.is_free else "an action is under way")


def _close_pending(s: Situation) -> Seen:
    """A hold may be among what is known to be on its way here (safety.md 1)."""
    return Seen(False, "what was ordered before is on its way here") if s.facts.catching_up else _pending(s)


def _stuck(s: Situation) -> Seen:
    until_ms = s.facts.stuck_until_ms
    return Seen(s.now_ms >= until_ms, f"until {until_ms}", (("until_ms", until_ms),))


def _resync(s: Situation) -> Seen:
    return Seen(s.facts.resyncs <= RESYNCS, f"{s.facts.resyncs} since the last cut", (("count", s.facts.resyncs),))


def _order(s: Situation) -> Seen:
    at_ms = s.facts.closed_by_order_ms
    return Seen(at_ms is None or s.since(at_ms) >= ORDER_RESPECTED_MS, f"closed by order at {at_ms}",
                (("at_ms", "" if at_ms is None else at_ms),))  # fmt: skip


def _hourly_share(s: Situation) -> Seen:
    f = s.facts
    return Seen(f.cuts_last_hour < f.cuts_allowed, f"{f.cuts_last_hour} of {f.cuts_allowed}",
                (("cuts", f.cuts_last_hour), ("allowed", f.cuts_allowed)))  # fmt: skip


def _feeder(s: Situation) -> Seen:
    f = s.facts
    if f.feeder_allowed is None:
        return Seen(True, "no limit")
    return Seen(f.feeder_cuts < f.feeder_allowed, f"{f.feeder_cuts} of {f.feeder_allowed}",
                (("cuts", f.feeder_cuts), ("allowed", f.feeder_allowed), ("feeder", f.account.feeder)))  # fmt: skip


def _demand(s: Situation) -> Seen:
    f, limit_w = s.facts, s.standing.limit_w
    over = f.demand_over is True and limit_w is not None
    return Seen(over, f"{f.demand_w} W over {f.over_for_ms} ms, limit {limit_w} W by {s.standing.limit_by}",
                (("demand_w", "" if f.demand_w is None else f.demand_w), ("over_ms", f.over_for_ms),
                 ("limit_w", "" if limit_w is None else limit_w), ("by", s.standing.limit_by)))  # fmt: skip


def _breaker(s: Situation) -> Seen:
    return Seen(not s.facts.breaker_tripped, "waits for a person" if s.facts.breaker_tripped else "closed")


# ---- on the way back ----------------------------------------------------------------------------------------


def _close_holds(s: Situation) -> Seen:
    blocking = holds_against_close(s.facts.account.holds)
    return Seen(not blocking, ", ".join(blocking) or "none", (("holds", ",".join(blocking)),))


def asks_presence(account: AccountConfig, policy: Policy) -> bool:
    """Whether a close from afar may only arm the meter (safety.md 2)."""
    return account.arm_only or policy.restore.close is Close.ARM


def _remote_close(s: Situation) -> Seen:
    """A meter that is not known to close without its button is asked to arm; it says itself when it can not."""
    arm, arms = asks_presence(s.facts.account, s.policy), s.facts.arms
    seen = ("the meter arms, its button closes" if arms is not False else "the consumer must be present") if arm else "allowed"
    return Seen(not arm or arms is not False, seen,
                (("policy", "arm" if arm else "close"), ("button", "" if arms is None else _yes(arms))))  # fmt: skip


def _load_side(s: Situation) -> Seen:
    power_w, voltage_mv = s.facts.power_w, s.facts.load_side_mv
    dead = (power_w is None or power_w <= FLOWING_W) and (voltage_mv is None or voltage_mv <= LIVE_MV)
    return Seen(dead, f"{power_w} W and {voltage_mv} mV behind the open switch",
                (("power_w", "" if power_w is None else power_w), ("voltage_mv", "" if voltage_mv is None else voltage_mv)))  # fmt: skip


def turn_ms(s: Situation, spread_s: int) -> int:
    """How long after the begin of a spread the turn of this supply comes."""
    return s.facts.account.account_no * 2_654_435_761 % (spread_s * 1000) if spread_s else 0


def _unpaid(s: Situation) -> Seen:
    since_ms, days = dark_since_ms(s), s.policy.dormant_days or 0
    return Seen(is_dormant(s), f"off and unpaid since {since_ms}, {days} days", (("since_ms", since_ms), ("days", days)))


def _turn(s: Situation) -> Seen:
    """Supplies that are released together come back in turn, for the feeder's sake."""
    spread_s, since_ms = s.policy.restore.spread_s, s.standing.free_since_ms
    if not spread_s or not is_released_with_others(s):
        return Seen(True, "at once")
    at_ms = (since_ms if since_ms is not None else s.now_ms) + turn_ms(s, spread_s)
    return Seen(since_ms is not None and s.now_ms >= at_ms, f"at {at_ms}, within {spread_s} s", (("at_ms", at_ms),))


CUT_TESTS: Tests = (
    ("zero_action", _zero_action),
    ("policy", _policy),
    ("mode", _mode),
    ("allowance", _allowance),
    ("ledger", _ledger),
    ("register", _register),
    ("tariff", _tariff),
    ("clock", _clock),
    ("reading", _reading),
    ("serial", _serial),
    ("parked", _parked),
    ("gap", _gap),
    ("protected_hours", _protected_hours),
    ("flags", _flags),
    ("weather", _weather),
    ("holds", _holds),
    ("conversion", _conversion),
    ("schedule", _schedule),
    ("notice", _notice),
    ("offline", _offline),
    ("lease", _lease),
    ("switch", _switch_for_step),
    ("pending", _pending),
    ("stuck", _stuck),
    ("resync", _resync),
    ("order", _order),
    ("hourly_share", _hourly_share),
    ("feeder", _feeder),
    ("breaker", _breaker),
)
BODILY = frozenset({"flags", "weather", "holds"})
"""Protections of the person, whatever the hour."""
PROTECTIONS = frozenset({"protected_hours", "flags", "weather", "holds", "conversion", "schedule"})

NOT_OF_A_LIMIT = frozenset({
    "zero_action", "mode", "allowance", "notice", "offline", "hourly_share", "feeder", "order", "resync", "stuck",
})  # fmt: skip
"""What is asked of the money and of long darkness only: a trip ends by itself, and a limit is no cut yet."""
_STEP: Tests = tuple(test for test in CUT_TESTS if test[0] not in NOT_OF_A_LIMIT)
LIMIT_TESTS: Tests = tuple((name, _limitable if name == "switch" else check) for name, check in _STEP)
TRIP_TESTS: Tests = (("demand", _demand), *((name, _switch if name == "switch" else check) for name, check in _STEP), ("stuck", _stuck))
BY_HAND = frozenset({"remote_close", "turn"})
"""What a person's own hand answers for: presence; and hands do not close all homes in one moment."""

RESTORE_TESTS: Tests = (
    ("holds", _close_holds),
    ("remote_close", _remote_close),
    ("load_side", _load_side),
    ("pending", _close_pending),
    ("stuck", _stuck),
    ("turn", _turn),
)

DORMANT_TESTS: Tests = (("unpaid", _unpaid), ("clock", _clock))
"""Behind the word to the utility that nobody pays for a dark supply any more; nothing is switched by it."""


def _hhmm(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
