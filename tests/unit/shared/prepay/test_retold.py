"""What a journal tells of a supply, entry by entry: why the switch is open, where the limit stands, and what of it is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridtally_shared.ledger.entries import GENESIS, Kind, LedgerEntry
from gridtally_shared.ledger.evidence import DecisionEvidence, Evidence, SwitchEvidence, detail
from gridtally_shared.prepay.engine import advance
from gridtally_shared.prepay.facts import Facts, OffReason
from gridtally_shared.prepay.plain import plain_policy
from gridtally_shared.prepay.policy import Limit, LimitStep, Overdraft, Policy, Reclose, Restore, ZeroAction
from gridtally_shared.prepay.regions import LoadLimit, Switch
from gridtally_shared.prepay.retold import LEADS_TO, Retold, retold, standing_cut, standing_limited, standing_with
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.prepay.table import ORDERS, Effect
from gridtally_shared.prepay.transitions import TABLE
from support.cut_cases import ACCOUNT, DUE

L = LoadLimit
RULE = Reclose()
OPEN, CLOSED, ARMED = 0, 1, 2
SECOND_MS, HOUR_MS = 1_000, 3_600_000


def decision(at_s: int, transition: str) -> LedgerEntry:
    return entry(Kind.DECISION, at_s, DecisionEvidence("trip", transition=transition))


def moved(at_s: int, close: bool, origin: str, result: str = "done", counter: int = 1, meter_no: int = 1) -> LedgerEntry:
    after = CLOSED if close else OPEN
    return replace(entry(Kind.SWITCH, at_s, SwitchEvidence(close, result, counter, 4, after, origin=origin)), meter_no=meter_no)


def entry(kind: Kind, at_s: int, evidence: Evidence | None = None) -> LedgerEntry:
    return LedgerEntry(7, 1, 1, GENESIS, kind, at_s * SECOND_MS, detail=detail(evidence) if evidence else b"", meter_no=1)


def told(*entries: LedgerEntry) -> Retold:
    return retold(entries, 1, RULE)


TRIP = (decision(10, "T22"), moved(12, False, "limit", counter=1))
CLOSE = (decision(132, "T23"), moved(133, True, "limit", counter=2))


@pytest.mark.parametrize(
    ("entries", "limit", "recloses", "off_by"),
    [
        (TRIP, L.TRIPPED, 0, OffReason.LIMIT),
        ((*TRIP, *CLOSE), L.RECLOSED_ONCE, 1, OffReason.NONE),
        ((*TRIP, *CLOSE, decision(200, "T24"), moved(201, False, "limit")), L.LOCKED_MANUAL, 1, OffReason.LIMIT),
        ((*TRIP, *CLOSE, decision(200, "T24"), decision(300, "T25"), moved(301, True, "limit")), L.IDLE, 1, OffReason.NONE),
        ((*TRIP, decision(50, "T23l"), moved(51, True, "limit")), L.IDLE, 0, OffReason.NONE),
        ((*TRIP, *CLOSE, decision(4_000, "T22"), moved(4_001, False, "limit")), L.TRIPPED, 0, OffReason.LIMIT),
        ((decision(10, "T22"), moved(12, False, "limit", "withdrawn")), L.IDLE, 0, OffReason.NONE),
        ((decision(10, "T22"), moved(12, False, "limit", "no_answer")), L.TRIPPED, 0, OffReason.NONE),
        ((moved(12, False, "local"),), None, 0, OffReason.BALANCE),
        ((moved(12, False, "local"), moved(13, True, "local", "no_answer")), None, 0, OffReason.BALANCE),
        ((moved(12, False, "command"), decision(13, "T11")), None, 0, OffReason.ORDER),
        ((moved(12, False, "local", meter_no=2),), None, 0, OffReason.NONE),
        ((*TRIP, entry(Kind.METER, 60)), L.TRIPPED, 0, OffReason.NONE),
    ],
    ids=["a trip", "closed again", "locked", "by hand", "lifted", "an hour later it is the first again", "never left", "no answer",
         "money", "a close nobody heard", "a person", "another meter", "behind another meter"],
)  # fmt: skip
def test_where_a_supply_stands(entries: tuple[LedgerEntry, ...], limit: LoadLimit | None, recloses: int, off_by: OffReason) -> None:
    found = told(*entries)
    assert (found.limit, found.recloses, found.off_reason) == (limit, recloses, off_by)


def test_every_decision_that_moves_the_watch_is_read() -> None:
    """A new row that is written down and moves the limit has to be told of here as well."""
    moves = {row.id for row in TABLE if row.region == "limit" and row.verdict and row.to is not None}
    assert moves == set(LEADS_TO)


def test_the_number_of_the_newest_order_counts_whatever_came_of_it() -> None:
    tried = moved(2, True, "local", "no_answer", counter=8)
    assert told(moved(1, False, "local", counter=7), tried, moved(3, True, "local", counter=2)).counter == 8


@pytest.mark.parametrize(("own", "limit"), [
    (Standing(), L.RECLOSED_ONCE), (Standing(tripped_ms=5_000), L.RECLOSED_ONCE), (Standing(reclosed_ms=140_000), L.IDLE),
    (Standing(tripped_ms=150_000), L.IDLE), (Standing(reclosed_ms=132_000), L.IDLE),
], ids=["nothing known", "an older trip", "the button, later", "the meter's own trip, later", "the same"])  # fmt: skip
def test_what_the_engine_saw_later_stands(own: Standing, limit: LoadLimit) -> None:
    found = standing_with(own, told(*TRIP, *CLOSE), HOUR_MS, RULE)
    assert found.regions.limit is limit
    assert found is own or (found.recloses, found.reclosed_ms, found.tripped_ms) == (1, 132_000, None)


def test_a_clean_period_that_is_over_is_over_and_darkness_never_ends_by_itself() -> None:
    late_ms = 132_000 + HOUR_MS
    held = replace(Standing(), recloses=1, tripped_ms=5_000, regions=replace(Standing().regions, limit=L.TRIPPED))
    over = standing_with(held, told(*TRIP, *CLOSE), late_ms, RULE)
    assert (over.regions.limit, over.recloses, over.reclosed_ms, over.tripped_ms) == (L.IDLE, 0, None, None)
    assert standing_with(held, told(*TRIP, *CLOSE), late_ms - 1, RULE).regions.limit is L.RECLOSED_ONCE
    assert standing_with(Standing(), told(*TRIP), 30 * HOUR_MS, RULE).regions.limit is L.TRIPPED


LIMIT_FIRST = replace(
    plain_policy(ACCOUNT), zero_action=ZeroAction.LIMIT, limit=Limit((LimitStep("lifeline", watts=300),), at_zero=1, cut_after_h=3)
)
DAYS_OF_GRACE = replace(plain_policy(ACCOUNT), overdraft=(Overdraft(days=3),), restore=Restore(clear_negative=False))
CUT_OFF = replace(DUE, switch=Switch.OPEN, off_reason=OffReason.BALANCE, off_since_ms=DUE.now_ms - HOUR_MS, balance_nano=-5)


@pytest.mark.parametrize("policy", [LIMIT_FIRST, DAYS_OF_GRACE], ids=["limited first", "days of grace"])
def test_what_had_run_out_before_a_cut_does_not_begin_again(policy: Policy) -> None:
    """Else the healed box would close without a payment, and cut again hours or days later. A payment brings it back."""
    assert Effect.ORDER_CLOSE in _orders(Standing(), CUT_OFF, policy), "what would be"
    standing = standing_cut(Standing(), 0)
    assert _orders(standing, CUT_OFF, policy) == []
    standing = advance(standing, CUT_OFF, policy).standing
    assert _orders(standing, replace(CUT_OFF, balance_nano=10**12), policy) == [Effect.ORDER_CLOSE]


def _orders(standing: Standing, facts: Facts, policy: Policy) -> list[Effect]:
    return [e for fired in advance(standing, facts, policy).fired for e in fired.effects if e in ORDERS]


def test_emergency_credit_that_was_used_is_not_offered_anew_and_one_that_was_not_stays_open() -> None:
    assert [standing_cut(Standing(), nano).uses for nano in (0, 5)] == [0, 1]


def test_want_of_money_limits_until_it_cuts_or_gives_back() -> None:
    limited = (decision(5, "T10"), *TRIP)
    assert told(*limited).limited_ms == 5 * SECOND_MS
    assert [told(*limited, decision(90, way)).limited_ms for way in ("T11", "T16", "T22h")] == [None, None, 5 * SECOND_MS]


def test_a_trip_above_a_limit_of_money_stays_one_until_somebody_pays() -> None:
    """The limit itself is no longer asked for by an engine that does not know it: the supply would be closed at once, and trip again."""
    off = replace(CUT_OFF, off_reason=OffReason.LIMIT, off_since_ms=DUE.now_ms, now_ms=DUE.now_ms + 30 * SECOND_MS)
    trip = replace(told(*TRIP), limit_ms=DUE.now_ms, tripped_ms=DUE.now_ms)
    standing = standing_with(Standing(), trip, off.now_ms, RULE)
    assert _orders(standing, off, LIMIT_FIRST) == [Effect.RECLOSE], "what would be"
    limited = standing_limited(standing, DUE.now_ms - HOUR_MS, 1)
    assert _orders(limited, off, LIMIT_FIRST) == []
    assert _orders(limited, replace(off, now_ms=DUE.now_ms + 120 * SECOND_MS), LIMIT_FIRST) == [Effect.RECLOSE]
    assert _orders(limited, replace(off, balance_nano=10**12), LIMIT_FIRST) == [Effect.RECLOSE]


def test_an_entry_that_can_not_be_read_tells_nothing() -> None:
    assert told(replace(TRIP[0], detail=b"\xff"), TRIP[1]).limit is None
