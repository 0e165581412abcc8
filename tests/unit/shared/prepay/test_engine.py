"""The engine as a whole: it ends, it is settled by one step, and it never reaches for a switch against a test."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.money import nano
from gridtally_shared.prepay.document import policy_of
from gridtally_shared.prepay.engine import advance
from gridtally_shared.prepay.facts import Facts, Happening, Limit, OffReason
from gridtally_shared.prepay.packs import names, pack
from gridtally_shared.prepay.policy import NoSwitch
from gridtally_shared.prepay.regions import Ledger, Schedule, Switch
from gridtally_shared.prepay.standing import Standing, standing_from, standing_text
from gridtally_shared.prepay.table import ORDERS, Effect
from gridtally_shared.prepay.transitions import TABLE

START_MS = 1_772_430_000_000
PACKS = [policy_of(pack(name), 1) for name in names()]
SENDING = [replace(p, no_switch=NoSwitch.FIELD_ORDER, no_switch_days=0, restore=replace(p.restore, spread_s=3_600)) for p in PACKS]
POLICIES = [*PACKS, *SENDING]
ACCOUNT = AccountConfig(101, 1, 1, "INR", "Asia/Kolkata", "home", 0)
MONEY = st.integers(-500, 500).map(lambda n: n * nano("1"))
FACTS = st.builds(
    Facts,
    st.builds(lambda flags, holds, mode: replace(ACCOUNT, flags=flags, holds=holds, mode=mode, contract_w=5_000),
              st.sampled_from([(), ("medical_device",), ("priority",)]), st.sampled_from([(), ("weather",), ("safety",)]),
              st.sampled_from([0, 0, 0, 1])),
    st.integers(0, 40).map(lambda h: START_MS + h * MS_PER_HOUR),
    balance_nano=MONEY,
    emergency_nano=st.integers(0, 12).map(lambda n: n * nano("1")),
    time_left_ms=st.one_of(st.none(), st.integers(0, 300).map(lambda h: h * MS_PER_HOUR)),
    ledger=st.sampled_from([Ledger.OK, Ledger.OK, Ledger.FORKED]),
    clock=st.sampled_from([*ClockState, ClockState.TRUSTED]),
    reading_age_ms=st.sampled_from([None, 0, 10 * MS_PER_HOUR]),
    serial_proven=st.booleans(),
    link_up=st.booleans(),
    cloud_seen_ms=st.just(START_MS),
    lease_until_ms=st.just(START_MS + MS_PER_DAY),
    switch=st.sampled_from(Switch),
    off_reason=st.sampled_from(OffReason),
    demand_w=st.just(900),
    over_for_ms=st.sampled_from([0, 600_000]),
    limits=st.sampled_from([(), (Limit(800, "order"),), (Limit(300, "order"), Limit(900, "schedule"))]),
    moving=st.booleans(),
    demand_over=st.sampled_from([None, True, False]),
    schedule=st.sampled_from(Schedule),
    boundary=st.booleans(),
    cuts_allowed=st.integers(0, 1),
    feeder_cuts=st.integers(0, 1),
    feeder_allowed=st.sampled_from([None, 1]),
)  # fmt: skip


@given(st.sampled_from(POLICIES), st.lists(st.tuples(FACTS, st.sampled_from([None, *Happening])), min_size=1, max_size=6))
def test_any_story_keeps_the_promises(policy, story) -> None:
    standing = Standing()
    for facts, happening in story:
        step = advance(standing, facts, policy, happening)
        orders = [e for f in step.fired for e in f.effects if e in ORDERS]
        assert len(orders) <= 1
        assert not (orders and not facts.is_free)
        assert not (orders and facts.switch is Switch.NOT_FITTED)
        for fired in step.fired:
            if {Effect.ORDER_OPEN, Effect.SET_LIMIT, Effect.TRIP}.intersection(fired.effects):
                assert fired.evidence is not None
                assert all(t.holds for t in fired.evidence.tests)
            if Effect.ASK_FIELD in fired.effects:
                assert fired.evidence is not None
                assert {t.name for t in fired.evidence.tests if not t.holds} == {"switch"}
        standing = step.standing
        assert standing_from(standing_text(standing), standing.decision) == standing
        again = advance(standing, facts, policy)
        assert {f.id for f in again.fired} <= SECOND_TRY


SECOND_TRY = {"T11", "T13", "T16", "T16b"}
"""What a second look at the same facts may do: order again what was ordered, because nothing under way was reported; or say why it
is not ordered again by itself, where it was asked for by hand and its turn has not come."""


def test_every_row_has_its_name_once() -> None:
    ids = [row.id for row in TABLE]
    assert len(ids) == len(set(ids))


def test_every_transition_of_the_model_is_in_the_table() -> None:
    named = {row.id.rstrip("abcdefgh") for row in TABLE}
    assert {f"T{n}" for n in range(1, 31)} - named == {"T20"}
